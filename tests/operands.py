"""What the tests of the operator compute with."""

import torch

import torchdau.algorithms
from torchdau import dau_conv2d

F64 = torch.float64
ALGORITHMS = [name for name in torchdau.algorithms.ALGORITHMS if name not in ("reference", "direct")]
"""Those that serve every layer; ``direct`` has its own tests."""


def units(o, i, k, bound=4.0, dtype=F64, seed=0, integer=True):
    """Weight and displacement; two of the displacements on an integer and on the bound."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(o, i, k, dtype=dtype, generator=generator, device="cpu")
    displacement = (torch.rand(o, i, k, 2, dtype=dtype, generator=generator, device="cpu") * 2 - 1) * bound
    if integer:
        displacement[0, 0, 0] = torch.tensor([bound, -bound])
        displacement[-1, -1, -1, 0] = -1.0
    return weight.to(torch.get_default_device()), displacement.to(torch.get_default_device())


def images(*shape, dtype=F64, seed=1):
    drawn = torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed), device="cpu")
    return drawn.to(torch.get_default_device())


def relative(got, expected):
    return ((got.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-300)).item()


def gradients(inputs, **options):
    """The output and the gradients of all inputs, for one and the same gradient of the output."""
    leaves = [t.clone().requires_grad_() for t in inputs]
    output = dau_conv2d(*leaves, **options)
    upstream = images(*output.shape, seed=2).to(output)
    grads = torch.autograd.grad(output, leaves, upstream, allow_unused=True)
    return [output.detach(), *grads]
