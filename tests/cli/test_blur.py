"""Pairs to train on, out of sharp photographs."""

from functools import partial

import pytest
import torch

from tests.training.data.layouts import save_image
from torchdau.training import GOPROData
from torchdau.training.shake import blurred_by, shake


def test_a_shake():
    for seed in range(20):
        kernel = shake(21, torch.Generator().manual_seed(seed))
        assert kernel.shape == (21, 21)
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        places = torch.arange(21.0) - 10
        assert abs((kernel.sum(0) * places).sum()) < 1e-4  # its mean is the middle
        assert abs((kernel.sum(1) * places).sum()) < 1e-4
        assert (kernel > 0).sum() > 15
    assert not torch.equal(shake(21, torch.Generator().manual_seed(0)), shake(21, torch.Generator().manual_seed(1)))


def test_light_is_blurred_and_not_its_code():
    """Half black, half white in light is 255 * 0.5 ** (1 / 2.2); the kernel is a convolution's."""
    image = torch.zeros(3, 5, 6, dtype=torch.uint8)
    image[..., 3:] = 255
    kernel = torch.zeros(3, 3)
    kernel[1, 0], kernel[1, 1] = 0.5, 0.5  # the pixel itself and, in a convolution, its right neighbour
    result = blurred_by(image, kernel)
    half = round(255 * 0.5 ** (1 / 2.2))
    assert result.shape == (3, 3, 4)
    assert result[0, 0].tolist() == [0, half, 255, 255]
    assert torch.equal(blurred_by(image, torch.eye(3)[1][:, None] * torch.eye(3)[1]), image[:, 1:-1, 1:-1])


def test_pairs_of_photographs(torchdau, tmp_path, capsys):
    for index in range(10):
        save_image(tmp_path / f"photos/{index}.jpg", 60, 50, seed=index)
    make = partial(torchdau, "blur", tmp_path / "photos", "--kernels", "2", "--largest", "9")
    make("--output", tmp_path / "pairs")
    assert "written: 20 pairs" in capsys.readouterr().out
    data = GOPROData(str(tmp_path / "pairs"), batch_size=2, num_workers=0, crop=24)
    data.setup("fit")
    assert (len(data.train), len(data.test)) == (18, 2)
    assert data.test[0][0].shape == (3, 42, 52)
    make("--output", tmp_path / "again")
    for path in (tmp_path / "pairs").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "pairs")).read_bytes()
    make("--output", tmp_path / "other", "--seed", "1")
    with pytest.raises(SystemExit, match=r"torchdau blur: output must be a new folder, got '.*pairs', which is there"):
        make("--output", tmp_path / "pairs")
    with pytest.raises(SystemExit, match=r"largest must be odd and at least 3, .* got largest=4"):
        make("--output", tmp_path / "new", "--largest", "4")
    with pytest.raises(SystemExit, match=r"largest must be smaller than photographs, got largest=51 for '.*0.jpg'"):
        make("--output", tmp_path / "new", "--largest", "51")
    for index in range(1, 10):
        (tmp_path / f"photos/{index}.jpg").unlink()
    with pytest.raises(
        SystemExit, match=r"photographs must be at least 2, one for testing, got 1. Or give --test_share 0"
    ):
        make("--output", tmp_path / "new")
    save_image(tmp_path / "photos/1.jpg", 60, 50)
    make("--output", tmp_path / "two")
    assert "written: 4 pairs" in (said := capsys.readouterr().out)
    assert "2 of them for testing" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "other", "pairs", "photos", "two"]
