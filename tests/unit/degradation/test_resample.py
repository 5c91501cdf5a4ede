import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.degradation.draws import NEIGHBOURS, Stream
from ganray.degradation.resample import Rescale, resample, rescaled_size, resize
from ganray.raster.resample import KERNELS
from ganray.raster.resample import resize as resize_by_pillow
from tests.unit.degradation.streams import CPU, make_draws, noise


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=25, deadline=None)
@given(st.integers(4, 50), st.integers(4, 50), st.integers(3, 60), st.integers(3, 60))
def test_resizing_is_that_of_pillow(kernel: str, h: int, w: int, height: int, width: int) -> None:
    pixels = noise(1, 2, h, w)
    found = resize(pixels, (height, width), kernel)[0].numpy()
    expected = resize_by_pillow(pixels[0].numpy(), height, width, kernel=kernel)
    # Where a box ends in the middle of a pixel, the last bit says whether it is in.
    may_differ = 0.2 if kernel == "area" else 0.0
    assert np.mean(np.abs(found - expected) > 1e-5) <= may_differ


def test_a_long_axis_is_resized_in_blocks_as_in_one() -> None:
    pixels = noise(1, 1, 6, 2000)
    for width in (700, 2900):
        expected = resize_by_pillow(pixels[0].numpy(), 6, width, kernel="lanczos")
        assert resize(pixels, (6, width), "lanczos")[0].numpy() == pytest.approx(expected, abs=1e-5)


def test_every_sample_may_have_another_kernel_and_all_are_cut_to_0_to_1() -> None:
    edge = torch.zeros(12, 1, 24, 24)
    edge[..., 12:] = 1
    found = resample(edge, make_draws(12).choose(("area", "lanczos")), (13, 13))
    assert found.min() == 0 and found.max() == 1
    assert len(found.unique(dim=0)) == 2


def test_an_equal_size_is_kept() -> None:
    pixels = noise(2, 1, 9, 9)
    assert torch.equal(resample(pixels, ("bicubic",) * 2, (9, 9)), pixels)


@pytest.mark.parametrize("size", [(12, 12), (96, 96)])
def test_a_mask_has_all_that_a_kernel_mixes(size: tuple[int, int]) -> None:
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 24, 24] = 1
    share = resize(mask, size, "bicubic", is_mask=True)
    changed = resize(mask, size, "bicubic")
    assert torch.equal(share > 0, changed != 0)
    assert ((share > 0).sum() > 1) and share.min() >= 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**33), st.integers(0, 10**6), st.integers(0, 12))
def test_a_rescaled_size_lies_in_its_range_and_is_that_of_the_neighbours(
    seed: int, index: int, position: int
) -> None:
    step = Rescale(kind="rescale", factor=(0.5, 3.0), probability=0.8)
    stream = Stream.begin(seed, index, CPU)
    size = rescaled_size(step, stream, position, (40, 60), (80, 120))
    if size is not None:
        assert 20 <= size[0] <= 80 and size[1] == pytest.approx(1.5 * size[0], abs=1)
    neighbour = Stream.begin(seed, index // NEIGHBOURS * NEIGHBOURS, CPU)
    assert rescaled_size(step, neighbour, position, (40, 60), (80, 120)) == size
