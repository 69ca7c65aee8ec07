"""Where the Triton kernels are tested, and how."""

import torch

from tests.operands import gradients, relative

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""On a CPU, Triton's interpreter computes: it takes milliseconds for each program, so layers are tiny."""


def compare(inputs, dtype=torch.float32, tolerance=2e-6, **options):
    """Output and gradients of the kernels against dense in float64, of the same numbers."""
    options = {"max_displacement": 1, "max_sigma": 0.5} | options
    single = [t.to(dtype) if number in (0, 1, 4) else t.float() for number, t in enumerate(inputs)]
    expected = gradients([t.double() for t in single], **options | {"algorithm": "dense"})
    got = gradients([t.to(DEVICE) for t in single], **{"algorithm": "spectral"} | options)
    for a, b in zip(got, expected, strict=True):
        assert relative(a.cpu(), b) < tolerance * (1 if b.ndim else 20)  # a sum in which most cancels
