"""Any images and masks in folders."""

from typing import Any

from torchdau.training.data.faults import MOST_NAMED
from torchdau.training.data.files import only_pictures
from torchdau.training.data.images import data_root
from torchdau.training.data.masks import colour_map
from torchdau.training.data.pairs import Pair
from torchdau.training.data.segmentation import SegmentationData


class SegmentationFolderData(SegmentationData):
    """Any images and masks: ``root/train/images/*``, ``root/train/masks/*`` with the same names, and ``val`` alike.

    Masks have a class number or 255 in each pixel, with a palette or a single channel. All of them are read before a
    training starts.

    Args:
        classes: names of the classes, in the order of their numbers.
        root: folder that holds the two sets. Default: the environment variable ``TORCHDAU_DATA``.
        batch_size: images per training batch, in total over all devices.
        num_workers: processes that read images, for each device.
        crop: side in pixels of random crops of training images.
        scales: smallest and largest factor of random scaling of training images.
        size: pixels to which the shorter side of images and masks is first resized, for validation too. Default: sizes
            are kept.
        pictures: folder of pictures to predict instead of the validation set.
        **options: further arguments of :class:`ImageData`.

    Raises:
        FileNotFoundError: a folder is missing, or an image has no mask.
        ValueError: masks are invalid; the message names files.
    """

    check_all = True

    def __init__(
        self,
        classes: list[str],
        root: str | None = None,
        batch_size: int = 8,
        num_workers: int = 2,
        crop: int = 512,
        scales: tuple[float, float] = (0.5, 2.0),
        size: int | None = None,
        pictures: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, crop, scales, size, pictures, **options)
        self.root = data_root(root, pictures)
        self.classes = classes
        self.colours = colour_map(len(classes) + 1)[1:]  # black is for pixels without a class

    def pairs(self, train: bool) -> list[Pair]:
        """Return the images and masks of the training or the validation set."""
        folder = self.root / ("train" if train else "val")
        for part in (folder / "images", folder / "masks"):
            if not part.is_dir():
                raise FileNotFoundError(f"root must hold train and val with images and masks, but {part} is missing.")
        images, files = (only_pictures((folder / part).iterdir(), folder / part) for part in ("images", "masks"))
        masks = {path.stem: path for path in files}
        alone = [image for image in images if image.stem not in masks]
        if alone or not images:
            some = ", ".join(map(str, alone[:MOST_NAMED])) or "no image at all"
            raise FileNotFoundError(
                f"root must hold for every image a mask of the same name, but {folder} has {len(alone)} alone: {some}."
            )
        return [(str(image), str(masks[image.stem])) for image in images]
