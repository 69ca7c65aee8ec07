"""Speed of reading images, beside the speed of learning from them.

    uv run python benchmarks/pipeline.py [--images FOLDER] [--workers 0 1 2] [--batch 32]

Reads JPEG files through ImageNetData (decoded, resized to 224 pixels, cut, batched) with several numbers of loader
processes. Measures training steps of plain and unit networks on batches in memory. Without --images it makes files of
500 x 375 pixels from noise with the spectrum of photographs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from torchdau.models import alexnet, dau_alexnet, dau_resnetv2, resnetv2
from torchdau.training import ImageNetData
from torchdau.training.data.images import whole
from torchdau.training.data.in_memory import InMemory
from torchdau.training.data.loading import RandomOrder, TrainingLoader, TrainingSet

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "AlexNet": alexnet,
    "DAU-AlexNet Medium": dau_alexnet,
    "ResNet-50 v2": resnetv2,
    "DAU-ResNet-50 v2": dau_resnetv2,
}


def make_images(folder: Path, count: int = 400) -> None:
    """Write JPEG files of noise whose spectrum falls like the spectrum of photographs."""
    generator = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500))
    amplitude = 1 / np.maximum(frequencies, 1 / 500)
    for set_name in ("train", "val"):
        (folder / set_name / "n00000000").mkdir(parents=True)
    for number in track(range(count), "making images", transient=True):
        noise = generator.normal(size=(3, 375, 251)) + 1j * generator.normal(size=(3, 375, 251))
        waves = np.fft.irfft2(noise * amplitude, s=(375, 500))
        pixels = np.clip(128 + 50 * waves / waves.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        set_name = "val" if number == 0 else "train"
        Image.fromarray(pixels).save(folder / set_name / "n00000000" / f"{number}.JPEG", quality=90)


def reading(root: Path, workers: int, batch: int, repeats: int) -> float:
    """Return images read per second, the median over passes; the start of the processes is left out."""
    data = ImageNetData(str(root), batch_size=batch, num_workers=workers)
    data.setup("fit")
    loader, rates = data.train_dataloader(), []
    for number in range(repeats + 1):
        start, seen = time.perf_counter(), 0
        for images, _ in loader:
            seen += len(images)
        if number:
            rates.append(seen / (time.perf_counter() - start))
    return statistics.median(rates)


def reading_from_memory(batch: int, repeats: int) -> float:
    """Return augmented 32-pixel images per second and core from a set as large as CIFAR-10, the median over epochs."""
    images = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8)
    samples = TrainingSet(InMemory(images, torch.zeros(len(images)), padding=4, mirror=True))
    loader, rates = TrainingLoader(samples, RandomOrder(samples, 1, 0), batch_size=batch, collate_fn=whole), []
    torch.set_num_threads(1)
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in loader:
            pass
        rates.append(len(images) / (time.perf_counter() - start))
    torch.set_num_threads(2)
    return statistics.median(rates)


def learning(model: nn.Module, size: int, batch: int, repeats: int, device: str) -> float:
    """Return images per second of training steps on a batch in memory, the median."""
    model = model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    images = torch.randn(batch, 3, size, size, device=device)
    labels = torch.randint(1000, (batch,), device=device)
    rates = []
    for number in range(repeats + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        if number:
            rates.append(batch / (time.perf_counter() - start))
    return statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    table = Table("what", "images per second", box=None, pad_edge=False)
    with tempfile.TemporaryDirectory() as folder:
        root = options.images or Path(folder)
        if options.images is None:
            make_images(root)
        files = list(root.glob("train/*/*"))
        kilobytes = statistics.mean(file.stat().st_size for file in files) / 1000
        for workers in options.workers:
            rate = reading(root, workers, options.batch, options.repeats)
            table.add_row(f"reading, {workers} loader processes", f"{rate:.0f}")
    table.add_row("32 pixels, from memory, augmented", f"{reading_from_memory(256, options.repeats):,.0f}")
    for name, make in NETWORKS.items():
        size = 227 if "Alex" in name else 224
        rate = learning(make(), size, options.batch, options.repeats, options.device)
        table.add_row(f"training step, {name}", f"{rate:.1f}")
    Console().print(f"{len(files)} files of {kilobytes:.0f} kB on average", table)


if __name__ == "__main__":
    main()
