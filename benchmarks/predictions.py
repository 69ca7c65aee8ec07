"""Predictions of segmentation networks for a few validation images, beside the truth, as one picture.

    uv run python benchmarks/predictions.py CHECKPOINT ... --images 0 40 80 --output docs/camvid.png

Columns are the image, its mask, and each checkpoint, named by its network or by the parts in which the paths differ.
Below each prediction is its mean intersection over union on this image alone.
"""

import argparse
from pathlib import Path
from typing import cast

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_confusion_matrix

from torchdau.analysis.confusion import scores
from torchdau.training import Segmentation
from torchdau.training.data.masks import IGNORED
from torchdau.training.data.segmentation import SegmentationData
from torchdau.training.restoring import named_checkpoints
from torchdau.training.restoring_tasks import restore_data, restore_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=Path("runs/predictions.png"))
    options = parser.parse_args()
    data = cast("SegmentationData", restore_data(options.checkpoints[0]))
    data.setup("test")
    tasks = {
        name: cast("Segmentation", restore_task(path)) for name, path in named_checkpoints(options.checkpoints).items()
    }
    colours = ListedColormap(np.array([*data.colours, *[(0, 0, 0)] * (IGNORED + 1 - len(data.colours))]) / 255)
    figure, axes = plt.subplots(
        len(options.images),
        2 + len(tasks),
        figsize=(2.6 * (2 + len(tasks)), 2.2 * len(options.images)),
        squeeze=False,
        layout="constrained",
    )

    def show(axis: Axes, pixels: NDArray[np.uint8], below: str, above: str) -> None:
        axis.imshow(pixels, colours, vmin=0, vmax=IGNORED, interpolation="nearest")
        axis.set(xticks=[], yticks=[], xlabel=below, title=above)

    for row, index in zip(axes, options.images, strict=True):
        image, mask = data.val[index]
        pixels, _ = data.on_after_batch_transfer((image[None], mask[None]), 0)
        show(row[0], image.permute(1, 2, 0).numpy(), "", "image")
        show(row[1], mask.numpy(), "", "truth")
        for axis, (name, task) in zip(row[2:], tasks.items(), strict=True):
            with torch.inference_mode():
                found = task.predict_step((pixels, mask[None]), 0)[0]
            matrix = multiclass_confusion_matrix(found.long(), mask.long(), len(data.classes), ignore_index=IGNORED)
            show(axis, found.numpy(), f"{scores(matrix).mean_iou:.1%}", name)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=110)
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
