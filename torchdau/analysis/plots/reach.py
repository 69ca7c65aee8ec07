"""Receptive fields of networks before and after training, over an image."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from torchdau.analysis.receptive_field import ReceptiveField
from torchdau.analysis.style import COLOURS

SHARES = (0.5, 0.9)
"""Shares of the influence that the drawn areas hold."""


def plot_reach(fields: Mapping[str, tuple[ReceptiveField, ReceptiveField]], image: Tensor) -> Figure:
    """Plot the effective receptive fields of networks before and after training, over an image.

    Args:
        fields: for each network, by its name, the fields before and after training.
        image: background, shape (H, W) like the fields; only for illustration.

    Returns:
        A figure with a column for each network. The filled area holds 50 % of the influence on the middle of the
        output, the line 90 %.
    """
    figure = Figure(figsize=(2.4 * len(fields) + 0.4, 5.2), layout="constrained")
    grid = figure.subplots(2, len(fields), squeeze=False)
    for column, (name, pair) in enumerate(fields.items()):
        for axes, when, field in zip(grid[:, column], ("before", "after"), pair, strict=True):
            axes.imshow(image.numpy(), cmap="gray_r", vmax=2 * image.max().item())
            held = field.held.numpy()
            axes.contourf(held, levels=(0, SHARES[0]), colors=COLOURS[0], alpha=0.55)
            axes.contour(held, levels=SHARES[1:], colors=COLOURS[0])
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(f"90 % within {field.radius(SHARES[1]):.1f} pixels", fontsize=9)
            if column == 0:
                axes.set_ylabel(f"{when} training")
        grid[0, column].set_title(name)
    return figure
