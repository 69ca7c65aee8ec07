"""Blur by a shaking camera, in linear light."""

import math

import torch
from torch import Tensor

GAMMA = 2.2
"""Exponent from the intensities of a picture to light, from GOPRO."""


def blurred_by(sharp: Tensor, kernel: Tensor) -> Tensor:
    """Blur an 8-bit image (3, H, W) in linear light by a kernel (k, k), to (3, H - k + 1, W - k + 1)."""
    light = (sharp.float() / 255).pow(GAMMA)[:, None]
    light = torch.nn.functional.conv2d(light, kernel.flip(0, 1)[None, None])[:, 0]
    return light.clamp(0, 1).pow(1 / GAMMA).mul(255).round().to(torch.uint8)


def shake(largest: int, generator: torch.Generator) -> Tensor:
    """Draw the trace of a point under a shaking camera: a kernel (largest, largest) with sum 1, centred on its mean.

    The point moves with inertia, is pushed at random and pulled back. This is a simple form of Boracchi and Foi,
    Modeling the Performance of Image Restoration from Motion Blur, IEEE TIP 2012.
    """
    steps = 256
    pushes = torch.randn(steps, 2, generator=generator, dtype=torch.float64)
    strength = 0.3 + 0.7 * torch.rand(1, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * torch.rand(1, generator=generator, dtype=torch.float64)
    velocity = torch.cat([angle.cos(), angle.sin()])
    place = torch.zeros(2, dtype=torch.float64)
    places = torch.empty(steps, 2, dtype=torch.float64)
    for index in range(steps):
        velocity = 0.98 * velocity + 0.2 * pushes[index] - 0.002 * place
        place = place + velocity
        places[index] = place
    places = places - places.mean(0)
    places = places * (strength * (largest // 2 - 1) / places.abs().max()) + largest // 2
    kernel = torch.zeros(largest, largest, dtype=torch.float64)
    corner = places.floor().long()
    share = places - corner
    for y in (0, 1):
        for x in (0, 1):
            weight = (share[:, 0] if y else 1 - share[:, 0]) * (share[:, 1] if x else 1 - share[:, 1])
            kernel.index_put_((corner[:, 0] + y, corner[:, 1] + x), weight, accumulate=True)
    return (kernel / kernel.sum()).float()
