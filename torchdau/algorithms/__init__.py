"""The ways to compute the operator, and the choice between them; nothing numeric.

Every algorithm is a module with a function ``dau_conv2d(input, weight, displacement, sigma, bias, *, stride, padding,
groups, profile)`` of one meaning, that of docs/operator.md: ``input`` (N, G * I, H, W), ``weight`` (G * O, I, K),
``displacement`` (G * O, I, K, 2) in pixels, within ``profile.max_displacement`` or NaN; ``sigma`` of shape () or
(G * O, I, K) within ``profile.max_sigma``; ``bias`` (G * O,) or None; ``stride`` and ``padding`` per axis (y, x), where
a negative padding crops. The output has the type and device of the input. An algorithm that "auto" may choose also has
``cost``: its time, in multiply-adds of a large matrix product, as a function of shapes alone.
"""

from types import ModuleType

from torchdau.algorithms import dense, reference, spectral

ALGORITHMS: dict[str, ModuleType] = {"reference": reference, "dense": dense, "spectral": spectral}
"""By name, in the order in which they came: the definition first."""

CHOICES = ("spectral", "dense")
"""What "auto" chooses from; of two equals the first."""


def choose(
    n: int, groups: int, i: int, o: int, k: int, size: tuple[int, int], stride: tuple[int, int], window: int
) -> str:
    """The name of the algorithm with the least cost.

    Args:
        n: images.
        groups: groups of channels.
        i: input channels of one group.
        o: output channels of one group.
        k: units per pair of channels.
        size: output pixels (y, x).
        stride: input pixels between two outputs (y, x).
        window: positions of a unit's profile along an axis.
    """
    best = least = None
    for name in CHOICES:  # a loop and no min(key=), which torch.compile cannot trace for sizes that change
        cost = ALGORITHMS[name].cost(n, groups, i, o, k, size, stride, window)
        if least is None or cost < least:
            best, least = name, cost
    assert best is not None
    return best
