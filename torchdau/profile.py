"""The 1-D profile of a unit, its derivatives and its window; it knows nothing about images or filters."""

import math
import operator
from typing import NamedTuple

import torch
from torch import Tensor

INTERPOLATIONS = ("bilinear", "gaussian")
DISPLACEMENT_GRADIENTS = ("smooth", "exact")

MIN_SIGMA = 0.1
"""Lower bound of a learned sigma in pixels, as in the official code."""

MAX_SIGMA = 64
"""Upper bound of any sigma in pixels: a larger one, with a window of 400 pixels, is a mistake in the arguments."""

MAX_DISPLACEMENT = 1 << 14
"""Upper bound of any displacement in pixels: a larger one is a mistake in the arguments, not an image size."""


class Profile(NamedTuple):
    """The shape of a unit along one axis: one of the paper's two forms, and the window that holds it.

    Along an axis, a unit at displacement ``mu`` is a row of samples ``g(q; mu, sigma)`` at the integers ``q`` of the
    window ``first..last``. These samples are the first dimension of every tensor in this class.

    Attributes:
        interpolation: ``"bilinear"``, equations (11) to (14), or ``"gaussian"``, equations (2) to (4).
        displacement_gradient: ``"smooth"``, equation (16), or ``"exact"``; the Gaussian form has its true derivative.
        max_displacement: bound of ``|mu|`` in pixels.
        max_sigma: bound of ``sigma`` in pixels.
    """

    interpolation: str
    displacement_gradient: str
    max_displacement: float
    max_sigma: float

    @property
    def radius(self) -> int:
        """Half-width r of the sampled Gaussian in pixels."""
        return operator.index(math.ceil(3 * self.max_sigma))  # index gives a number even for a symbol of torch.compile

    @property
    def reach(self) -> int:
        """Half-width L of the window in pixels: no unit reads farther."""
        return operator.index(math.ceil(self.max_displacement)) + self.radius

    @property
    def first(self) -> int:
        """The first position of the window, in pixels."""
        return -self.reach

    @property
    def last(self) -> int:
        """The last position of the window: one beyond the reach if the derivative at the bound reads there."""
        beyond = self.interpolation == "bilinear" and self.displacement_gradient == "exact"
        return self.reach + int(beyond)

    @property
    def size(self) -> int:
        """Number of positions in the window."""
        return self.last - self.first + 1

    def value(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """Return the samples ``g(q; mu, sigma)``.

        Args:
            mu: displacements along this axis in pixels, any shape.
            sigma: Gaussian widths in pixels, broadcastable to ``mu``.

        Returns:
            Tensor of shape ``(size, *mu.shape)``, twice differentiable in both arguments.
        """
        value: Tensor = _Value.apply(mu, sigma, self)
        return value

    def samples(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """Return the samples of :meth:`value` without its derivative rule."""
        if self.interpolation == "gaussian":
            return self._drawn(mu, sigma)[1]
        return self._convolved(self._hats(mu), self._weights(sigma)[1])

    def displacement_derivative(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """Return the samples that stand for dg/dmu in the gradient."""
        if self.interpolation == "gaussian":
            distance, g = self._drawn(mu, sigma)
            return g * (distance - (g * distance).sum(0)) / sigma**2
        j, weights = self._weights(sigma)
        if self.displacement_gradient == "smooth":
            return self._convolved(self._hats(mu), weights * j / sigma**2)
        offset = self._hat_positions(mu) - torch.floor(mu)
        return self._convolved((offset == 1).to(mu) - (offset == 0).to(mu), weights)

    def sigma_derivative(self, mu: Tensor, sigma: Tensor) -> Tensor:
        """Return the samples dg/dsigma."""
        if self.interpolation == "gaussian":
            distance, g = self._drawn(mu, sigma)
            square = distance**2
            return g * (square - (g * square).sum(0)) / sigma**3
        j, weights = self._weights(sigma)
        return self._convolved(self._hats(mu), weights * (j**2 - (weights * j**2).sum(0)) / sigma**3)

    def _drawn(self, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return distances ``q - mu`` and the Gaussian at the sub-pixel position (2), (3), normalised over q (4)."""
        distance = _column(self.first, self.last, mu) - mu
        # The softmax is the normalised exponential; it is safe if a narrow Gaussian underflows at every position.
        return distance, torch.softmax(-(distance**2) / (2 * sigma**2), dim=0)

    def _weights(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions j = -r..r of the zero-mean Gaussian and its samples G(j), normalised (4)."""
        j = _column(-self.radius, self.radius, sigma)
        return j, torch.softmax(-(j**2) / (2 * sigma**2), dim=0)

    def _hat_positions(self, mu: Tensor) -> Tensor:
        return _column(self.first + self.radius, self.last - self.radius, mu)

    def _hats(self, mu: Tensor) -> Tensor:
        """Return bilinear weights of pixels around each unit (14): 1 - a at floor(mu), a at floor(mu) + 1, else 0."""
        return (self._hat_positions(mu) - mu).abs_().neg_().add_(1).relu_()

    def _convolved(self, columns: Tensor, kernel: Tensor) -> Tensor:
        """Convolve columns, one per unit, with one kernel for all of them or with one for each."""
        if kernel.ndim > 1:
            table = columns.new_zeros(self.size, *columns.shape[1:])
            for shift, weight in enumerate(kernel):
                table[shift : shift + len(columns)] += weight * columns
            return table
        q = torch.arange(self.size, device=columns.device)[:, None]
        j = q - torch.arange(len(columns), device=columns.device)
        band = torch.where((j >= 0) & (j < len(kernel)), kernel[j.clamp(0, len(kernel) - 1)], 0)
        return torch.mm(band, columns.reshape(len(columns), -1)).view(-1, *columns.shape[1:])


class _Value(torch.autograd.Function):
    """The profile with the derivative that :class:`Profile` names; the derivative of its samples can differ."""

    generate_vmap_rule = True

    @staticmethod
    def forward(mu: Tensor, sigma: Tensor, profile: Profile) -> Tensor:
        return profile.samples(mu, sigma)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        mu, sigma, ctx.profile = inputs
        ctx.save_for_backward(mu, sigma)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        mu, sigma = ctx.saved_tensors
        grad_mu = grad_sigma = None
        if ctx.needs_input_grad[0]:
            grad_mu = (grad * ctx.profile.displacement_derivative(mu, sigma)).sum(0)
        if ctx.needs_input_grad[1]:
            grad_sigma = (grad * ctx.profile.sigma_derivative(mu, sigma)).sum(0).sum_to_size(sigma.shape)
        return grad_mu, grad_sigma, None


def _column(first: int, last: int, like: Tensor) -> Tensor:
    """Return the integers first..last as a column that broadcasts over ``like``."""
    return torch.arange(first, last + 1, dtype=like.dtype, device=like.device).view(-1, *[1] * like.ndim)
