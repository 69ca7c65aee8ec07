"""The units that come closest to given kernels: a greedy choice of places, then smaller and smaller steps."""

import math

import torch
from torch import Tensor

from torchdau.conv import DAUConv2d

STEP = 0.25
"""Distance in pixels between the places of the greedy choice."""

SWEEPS = 4
"""How often each unit moves after the greedy choice, each time half as far."""

NUMBERS = 1 << 22
"""Largest size of a tensor, in numbers; it limits how many filters are fitted at a time."""


@torch.no_grad()
def fit_units(layer: DAUConv2d, kernel: Tensor, taps: tuple[Tensor, Tensor]) -> None:
    """Set weight and displacement of a layer to the least-squares fit of a kernel.

    With at least as many units as taps, units start on the taps, which is exact as sigma goes to 0. Fewer units are
    placed one after the other, each where it explains most of the remaining kernel. Then they move in turn; the weights
    are the best for the places.

    Args:
        layer: the layer; its sigma stays the same.
        kernel: the kernel, shape (O, I, Ky, Kx).
        taps: positions of the kernel's rows and columns, in whole pixels from the units' origin.
    """
    kernels = kernel.double().flatten(0, 1)
    units = layer.num_units
    y, x = (_candidates(t) for t in taps)
    piece = max(1, NUMBERS // (len(y) * len(x) + 10 * layer.profile.size * units))
    weight, displacement = [], []
    for some in kernels.split(piece):
        fit = _Fit(layer, some, taps)
        if units >= some.shape[1] * some.shape[2]:
            places = torch.cartesian_prod(*(t.double() for t in taps)).reshape(-1, 2)
            spare = places.mean(0).expand(units - len(places), 2)
            fit.place(torch.cat([places, spare]).expand(len(some), -1, -1))
        else:
            fit.choose(y, x)
        fit.move()
        weight.append(fit.weight)
        displacement.append(fit.displacement)
    layer.weight.copy_(torch.cat(weight).view(layer.weight.shape))
    layer.displacement.copy_(torch.cat(displacement).view(layer.displacement.shape))


def _candidates(taps: Tensor) -> Tensor:
    count = 1 + math.ceil(float(taps[-1] - taps[0]) / STEP)
    return torch.linspace(float(taps[0]), float(taps[-1]), count, dtype=torch.float64, device=taps.device)


class _Fit:
    """Units for some kernels: shapes (F, K) and (F, K, 2), in float64."""

    def __init__(self, layer: DAUConv2d, kernels: Tensor, taps: tuple[Tensor, Tensor]) -> None:
        self.kernels = kernels
        self.profile = layer.profile
        self.units = layer.num_units
        self.bound = layer.max_displacement
        self.sigma = torch.as_tensor(layer.arguments()["sigma"], dtype=torch.float64, device=kernels.device)
        self.rows, self.columns = (t - self.profile.first for t in taps)
        self.displacement = kernels.new_zeros(len(kernels), 0, 2)
        self.weight = kernels.new_zeros(len(kernels), 0)

    def choose(self, y: Tensor, x: Tensor) -> None:
        """Place all units, each at one of the given rows and columns."""
        ys, xs = self._samples(y), self._samples(x)
        fits = torch.einsum("fax,xb->fab", torch.einsum("ya,fyx->fax", ys[self.rows], self.kernels), xs[self.columns])
        norms = ys.square().sum(0)[:, None] * xs.square().sum(0)
        left = fits
        for _ in range(self.units):
            best = (left.square() / norms).flatten(1).argmax(1)
            place = torch.stack([y[best // len(x)], x[best % len(x)]], -1)
            self.place(torch.cat([self.displacement, place[:, None]], 1))
            my, mx = self._samples(self.displacement).unbind(-1)
            rows, columns = torch.einsum("sfk,sa->fka", my, ys), torch.einsum("sfk,sa->fka", mx, xs)
            left = fits - torch.einsum("fka,fkb->fab", self.weight[..., None] * rows, columns)

    def move(self) -> None:
        """Move each unit in turn to a place that fits better, if there is one."""
        for sweep in range(SWEEPS):
            for unit in range(self.units):
                self._move(unit, STEP / 2**sweep)

    def place(self, displacement: Tensor) -> None:
        """Place units, and give them the weights that fit best."""
        self.displacement = displacement.clamp(-self.bound, self.bound)
        y, x = self._samples(self.displacement).unbind(-1)
        products = torch.einsum("sfj,sfk->fjk", y, y) * torch.einsum("sfj,sfk->fjk", x, x)
        fits = self._products(y, x).diagonal(dim1=1, dim2=2)
        ridge = 1e-9 * torch.eye(products.shape[1], dtype=products.dtype, device=products.device)  # for equal places
        self.weight = torch.linalg.solve(products + ridge, fits)

    def _move(self, unit: int, step: float) -> None:
        """Move one unit to the best of 25 places around its own."""
        steps = step * torch.linspace(-1, 1, 5, dtype=torch.float64, device=self.kernels.device)
        near = (self.displacement[:, unit, None] + steps[:, None]).clamp(-self.bound, self.bound)
        y, x = self._samples(near).unbind(-1)
        others = self.weight.index_fill(1, torch.tensor(unit, device=near.device), 0)
        my, mx = self._samples(self.displacement).unbind(-1)
        rows, columns = torch.einsum("sfk,sfa->fka", my, y), torch.einsum("sfk,sfa->fka", mx, x)
        taken = torch.einsum("fka,fkb->fab", others[..., None] * rows, columns)
        fits = self._products(y, x) - taken
        norms = y.square().sum(0)[:, :, None] * x.square().sum(0)[:, None, :]
        best = (fits.square() / norms).flatten(1).argmax(1)
        moved = torch.stack([near[..., 0].gather(1, best[:, None] // 5), near[..., 1].gather(1, best[:, None] % 5)], -1)
        displacement = self.displacement.clone()
        displacement[:, unit] = moved[:, 0]
        self.place(displacement)

    def _products(self, y: Tensor, x: Tensor) -> Tensor:
        """Return inner products (F, A, B) of the kernels with units of all rows (S, F, A) and columns (S, F, B)."""
        half = torch.einsum("yfa,fyx->fax", y[self.rows], self.kernels)
        return torch.einsum("fax,xfb->fab", half, x[self.columns])

    def _samples(self, mu: Tensor) -> Tensor:
        return self.profile.value(mu, self.sigma)
