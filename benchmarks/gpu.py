"""All measurements on a GPU, in one command of about seven minutes.

    python benchmarks/gpu.py [--folder runs/gpu] [--smoke]

Every figure is immediately appended to ``results.jsonl`` in the folder, and ``page.md`` is written from them. A second
run in the same folder continues where the first was stopped. ``--smoke`` runs everything small on a CPU.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if "--smoke" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"

import torch
from gpu_layers import few_channels, graphs, kernels, large, layers
from gpu_machine import Machine
from gpu_networks import count_compiled, networks, operator_tests, tests
from gpu_page import Figures, page

import torchdau

PARTS = (tests, networks, layers, kernels, few_channels, graphs, large, operator_tests)

SECONDS = 400
"""Seconds after which no further measurement starts; a second run in the same folder continues."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--smoke", action="store_true", help="everything small, on a CPU")
    arguments = parser.parse_args()
    if not arguments.smoke and not torch.cuda.is_available():
        parser.error("there is no GPU here; --smoke runs everything small on a CPU")
    machine = Machine(arguments.smoke)
    count_compiled()
    if arguments.smoke:
        # Triton's interpreter would take minutes for a network
        torchdau.algorithms.spectral.triton.fits = lambda layer: math.prod(layer.input) < 400
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / "results.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    results = [(line["part"], line["name"], line["figures"]) for line in lines]
    finished = {part for part, name, _ in results if name == "finished"}
    latest = {row[:2]: row for row in results if row[0] in finished and row[1] != "finished"}
    results = list(latest.values())
    start = time.perf_counter()
    for part in PARTS:
        if part.__name__ in finished:
            continue
        rows: Iterator[tuple[str, Figures]] = part(machine)
        for name, figures in _guarded(rows):
            with file.open("a") as out:
                out.write(json.dumps({"part": part.__name__, "name": name, "figures": figures}) + "\n")
            if name != "finished":
                results.append((part.__name__, name, figures))
            (arguments.folder / "page.md").write_text(page(machine.name, results))
            seconds = time.perf_counter() - start
            print(f"{seconds:4.0f} s  {part.__name__}: {name} {figures}", flush=True)
            if seconds > SECONDS:
                return


def _guarded(rows: Iterator[tuple[str, Figures]]) -> Iterator[tuple[str, Figures]]:
    """Yield the rows; a failure ends its part, and is a row."""
    try:
        yield from rows
    except Exception as error:
        yield "failed", {"error": f"{type(error).__name__}: {error}"[:500]}
    yield "finished", {}


if __name__ == "__main__":
    main()
