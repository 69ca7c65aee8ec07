"""PASCAL VOC joined with SBD."""

from pathlib import Path
from typing import Any

from torchvision.datasets import SBDataset, VOCSegmentation

from torchdau.training.data.images import data_root
from torchdau.training.data.masks import colour_map
from torchdau.training.data.pairs import Pair
from torchdau.training.data.segmentation import SegmentationData

VOC_CLASSES = [
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
]


class VOCData(SegmentationData):
    """PASCAL VOC joined with SBD, in their original layouts.

    Training images are VOC's training set with its masks, and all other images of SBD's training set with SBD's masks.
    Validation images are VOC's validation images that are not in SBD's training set: 736 for VOC 2011.

    Args:
        root: folder that holds ``VOCdevkit`` (``TrainVal/VOCdevkit`` for 2011) and the folder of SBD. Default: the
            environment variable ``TORCHDAU_DATA``.
        year: year of VOC. Default: 2011, as in the paper.
        sbd: folder of SBD inside ``root``, with ``img``, ``cls`` and ``train.txt``.
        batch_size: images per training batch, in total over all devices.
        num_workers: processes that read images, for each device.
        crop: side in pixels of random crops of training images.
        scales: smallest and largest factor of random scaling of training images. Default: no scaling, as in the paper,
            which does not mention mirroring either.
        pictures: folder of pictures to predict instead of the validation set.
        **options: further arguments of :class:`ImageData`.

    Reference:
        Everingham et al., The PASCAL Visual Object Classes Challenge 2011; Hariharan et al., Semantic Contours from
        Inverse Detectors, ICCV 2011; section 4.3 of the paper.
    """

    classes = VOC_CLASSES
    colours = colour_map(21)

    def __init__(
        self,
        root: str | None = None,
        year: str = "2011",
        sbd: str = "benchmark_RELEASE/dataset",
        batch_size: int = 20,
        num_workers: int = 8,
        crop: int = 500,
        scales: tuple[float, float] = (1, 1),
        pictures: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(batch_size, num_workers, crop, scales, None, pictures, **options)
        self.root = data_root(root, pictures)
        self.year = year
        self.sbd = sbd

    def pairs(self, train: bool) -> list[Pair]:
        """Return the images and masks of the training or the validation set."""
        try:
            voc = VOCSegmentation(self.root, self.year, "train" if train else "val")
            sbd = SBDataset(self.root / self.sbd, "train", "segmentation")
        except (RuntimeError, FileNotFoundError) as error:
            raise FileNotFoundError(
                f"root must hold VOC {self.year} as its archive unpacks, and SBD in {self.sbd}, got root="
                f"{str(self.root)!r}: {error}."
            ) from error
        sets = [dict(zip(map(_stem, s.images), zip(s.images, s.masks, strict=True), strict=True)) for s in (voc, sbd)]
        if train:
            return list((sets[1] | sets[0]).values())
        return [pair for name, pair in sets[0].items() if name not in sets[1]]


def _stem(file: str) -> str:
    return Path(file).stem
