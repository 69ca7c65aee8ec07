import pytest
import torch

from torchdau import init


@pytest.mark.parametrize(
    ("num_units", "expected"),
    [
        (1, [(0.0, 0.0)]),
        (2, [(0.0, -1.75), (0.0, 1.75)]),
        (4, [(-1.75, -1.75), (-1.75, 1.75), (1.75, -1.75), (1.75, 1.75)]),
        (6, [(y, x) for y in (-1.75, 1.75) for x in (-7 / 3, 0.0, 7 / 3)]),
        (3, [(0.0, -7 / 3), (0.0, 0.0), (0.0, 7 / 3)]),
    ],
)
def test_grid(num_units, expected):
    """The official formula arange(n) (2m + 1) / n - 0.5 + (2m + 1) / (2n) - m with m = 3."""
    displacement = init.grid_(torch.empty(2, 3, num_units, 2), max_displacement=4)
    for o in range(2):
        for i in range(3):
            torch.testing.assert_close(displacement[o, i], torch.tensor(expected))


@pytest.mark.parametrize("bound", [0.0, 0.3, 0.6, 1.0, 1.2, 4.0])
@pytest.mark.parametrize("num_units", [1, 2, 16])
def test_grid_is_within_the_bound(num_units, bound):
    assert init.grid_(torch.empty(1, 1, num_units, 2), bound).abs().max() <= bound


def test_grid_refuses_bad_bounds():
    with pytest.raises(ValueError, match=r"max_displacement must be between 0 and 16384 pixels, got .*nan"):
        init.grid_(torch.empty(1, 1, 2, 2), float("nan"))
    with pytest.raises(ValueError, match="with at least one unit, got displacement of shape"):
        init.grid_(torch.empty(1, 1, 0, 2))


def test_grid_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"displacement must be of shape \(O, I, K, 2\).*, got .*\(4, 3\)"):
        init.grid_(torch.empty(4, 3))


def test_uniform_and_normal():
    torch.manual_seed(0)
    uniform = init.uniform_(torch.empty(20, 50, 4, 2), 2.0)
    assert uniform.abs().max() <= 2.0
    torch.testing.assert_close(uniform.std(), torch.tensor(2 / 3**0.5), rtol=0.02, atol=0)
    normal = init.normal_(torch.empty(20, 50, 4, 2), 0.5)
    torch.testing.assert_close(normal.std(), torch.tensor(0.5), rtol=0.02, atol=0)
    torch.testing.assert_close(normal.mean(), torch.tensor(0.0), rtol=0, atol=0.02)


@pytest.mark.parametrize(("place", "name"), [(init.uniform_, "bound"), (init.normal_, "std")])
def test_sizes_that_do_not_fit(place, name):
    with pytest.raises(ValueError, match=f"{name} must be between 0 and 16384 pixels, got {name}=-1"):
        place(torch.empty(1, 1, 2, 2), -1)
