"""Cityscapes, with the classes of its benchmark."""

from typing import Any

import torch
from torchvision.datasets import Cityscapes

from torchdau.training.data.files import only_pictures
from torchdau.training.data.images import data_root
from torchdau.training.data.masks import IGNORED
from torchdau.training.data.pairs import Pair
from torchdau.training.data.segmentation import SegmentationData


class CityscapesData(SegmentationData):
    """Cityscapes in its original layout, with its fine masks and the 19 evaluated classes.

    Args:
        root: folder that holds ``leftImg8bit`` and ``gtFine``. Default: the environment variable ``TORCHDAU_DATA``.
        batch_size: images per training batch, in total over all devices.
        num_workers: processes that read images, for each device.
        crop: side in pixels of random crops of training images.
        scales: smallest and largest factor of random scaling of training images.
        pictures: folder of pictures to predict instead of the validation set.
        **options: further arguments of :class:`ImageData`.

    Reference:
        Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016; section 6.2 of the
        paper.
    """

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 8,
        num_workers: int = 8,
        crop: int = 769,
        scales: tuple[float, float] = (0.5, 2.0),
        pictures: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, crop, scales, None, pictures, **options)
        self.root = data_root(root, pictures)
        evaluated = sorted((c for c in Cityscapes.classes if c.train_id not in (-1, IGNORED)), key=lambda c: c.train_id)
        self.classes = [c.name for c in evaluated]
        self.colours = [c.color for c in evaluated]
        self.table = torch.full((256,), -1)
        self.table[IGNORED] = IGNORED  # the license plate has the number -1
        for c in Cityscapes.classes:
            self.table[c.id] = c.train_id if c in evaluated else IGNORED

    def pairs(self, train: bool) -> list[Pair]:
        """Return the images and masks of the training or the validation set."""
        part = "train" if train else "val"
        folders = {kind: self.root / kind / part for kind in ("leftImg8bit", "gtFine")}
        images = only_pictures(folders["leftImg8bit"].glob("*/*"), folders["leftImg8bit"])
        pairs = [
            (
                image,
                folders["gtFine"] / image.parent.name / image.name.replace("leftImg8bit.png", "gtFine_labelIds.png"),
            )
            for image in images
        ]
        alone = [image for image, mask in pairs if not mask.is_file()]
        if alone or not pairs:
            some = f"{len(alone)} images without a mask, such as {str(alone[0])!r}" if alone else "no image"
            raise FileNotFoundError(
                f"root must hold leftImg8bit and gtFine of Cityscapes, each with train and val, got root="
                f"{str(self.root)!r}: {some} in {part}."
            )
        return [(str(image), str(mask)) for image, mask in pairs]
