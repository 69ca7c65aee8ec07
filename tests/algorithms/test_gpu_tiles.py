"""The Triton kernels on tiles and pieces of a call, and on spectra that a forward pass has kept."""

import itertools

import pytest
import torch

from tests.algorithms.gpu import compare
from tests.operands import images, units
from torchdau.algorithms.layer import Layer
from torchdau.algorithms.spectral import operators, triton
from torchdau.algorithms.spectral.tiling import cut
from torchdau.profile import Profile

pytest.importorskip("triton")
from torchdau.algorithms.spectral.triton import task


@pytest.mark.usefixtures("served")
def test_kept_spectra(monkeypatch):
    """The spectra of the forward pass serve the backward pass, where they are not too large."""
    known = []
    kept_class = task.Kept
    monkeypatch.setattr(task, "Kept", lambda spectra: known.append(spectra.shape) or kept_class(spectra))
    x, (w, mu), bias = images(2, 4, 6, 5), units(6, 2, 2, bound=1.0), images(6)
    compare([x, w, mu, torch.tensor(0.3), bias], groups=2)
    assert known == [(2, 5 * 9, 2, 2, 2)]
    monkeypatch.setattr(triton, "KEPT", 1)
    operators._task.cache_clear()
    compare([x, w, mu, torch.tensor(0.3), bias], groups=2)
    assert len(known) == 1


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("groups", "spectra", "room", "size"),
    [(1, 1 - (1 << 40), 1, (12, 2)), pytest.param(2, 1 << 30, 1 << 30, (4, 14), marks=pytest.mark.slow)],
)
def test_pieces(groups, spectra, room, size, monkeypatch):
    """Every way of cutting: tiles, some of them at a time, and tables of some channels at a time."""
    monkeypatch.setattr(triton, "LONGEST", 16)
    x, bias = images(1, 2, *size), images(2)
    monkeypatch.setattr(task, "SPECTRA", spectra)
    monkeypatch.setattr(task, "FILTERS", room)
    operators._task.cache_clear()
    w, mu = units(2, 2 // groups, 1, bound=1.0)
    compare([x, w, mu, torch.tensor(0.3), bias], groups=groups)


@pytest.mark.parametrize(("size", "stride", "padding"), [(200, 1, -90), (2000, 1, -990), (128, 5, 0), (1000, 2, 3)])
def test_no_transform_is_too_long(size, stride, padding):
    x, w = torch.empty(1, 1, size, 9), torch.empty(1, 1, 1)
    profile = Profile("bilinear", "smooth", 1.0, 0.3)
    made = task.Task(Layer.of(x, w, torch.tensor(0.3), (stride, 1), (padding, 0), 1, profile), tf32=True)
    assert max(made.lengths) <= triton.LONGEST
    assert made.y.whole == (size <= triton.LONGEST - profile.reach)
    assert made.y.outputs.count * made.y.outputs.size >= made.output_shape[2]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("padding", [0, -30])
def test_pixels_that_no_unit_reads(monkeypatch, padding):
    """With a stride beyond the window there are pixels between the tiles; their gradient is zero."""
    monkeypatch.setattr(triton, "LONGEST", 32)
    monkeypatch.setattr(triton, "TILE", 32)
    x, (w, mu) = images(1, 1, 65, 1), units(1, 1, 1, bound=0.0)
    padding = (padding, 0)
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *args, **options: empty_like(*args, **options).fill_(float("nan")))
    compare([x, w, mu, torch.tensor(0.3)], stride=8, padding=padding, max_displacement=0)


def test_tiles_of_a_phase_do_not_meet():
    """The interpreter runs programs one after the other, and would not notice."""
    for size, stride, window in itertools.product((1, 16, 100), (1, 2, 8), (3, 13, 60)):
        for count in range(1, 4):
            tiles = cut(count, size * stride, size, stride, 0, -(window // 2), window // 2).inputs
            assert tiles.phases <= tiles.count
            assert tiles.phases == tiles.count or tiles.step * tiles.phases >= tiles.size
