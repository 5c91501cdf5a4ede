import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as PillowImage
from skimage import data

from ganray.degradation.compression import Jpeg, Quantise, compress, jpeg, quantise
from ganray.raster.image import from_float, to_float
from tests.unit.degradation.streams import make_draws, noise, smooth


def by_pillow(picture: NDArray[np.uint8], quality: int) -> NDArray[np.float64]:
    buffer = io.BytesIO()
    PillowImage.fromarray(picture.squeeze()).save(buffer, format="JPEG", quality=quality)
    return np.asarray(PillowImage.open(buffer)).reshape(picture.shape).astype(float)


@pytest.mark.parametrize("quality", [10, 40, 75, 95])
@pytest.mark.parametrize(
    "picture",
    [data.astronaut()[:203, :301], data.chelsea()[40:], data.camera()[:, :250, None]],
    ids=["astronaut", "chelsea", "camera"],
)
def test_jpeg_is_that_of_libjpeg_to_within_a_gray_level(
    picture: NDArray[np.uint8], quality: int
) -> None:
    pixels = torch.from_numpy(np.moveaxis(picture, -1, 0) / np.float32(255))[None]
    found = np.moveaxis(compress(pixels, [quality])[0].numpy() * 255, 0, -1)
    expected = by_pillow(picture, quality)
    assert np.abs(found - expected).mean() < 0.7
    assert np.mean(np.abs(found - expected) > 2) < 0.06
    lost = np.abs(expected - picture).mean()
    assert np.abs(found - picture).mean() == pytest.approx(lost, rel=0.05, abs=0.05)


@pytest.mark.parametrize("quality", [75, 95])
def test_the_last_rows_of_a_block_that_is_cut_are_those_of_libjpeg(quality: int) -> None:
    picture = data.astronaut()[:200, 100:308]
    pixels = torch.from_numpy(np.moveaxis(picture, -1, 0) / np.float32(255))[None]
    found = np.moveaxis(compress(pixels, [quality])[0].numpy() * 255, 0, -1)
    errors = np.abs(found - by_pillow(picture, quality))[-8:]
    assert errors.mean() < 0.45
    assert np.mean(errors > 2) < 0.028


def test_every_image_has_a_quality_of_its_own_within_the_range() -> None:
    pixels = smooth(1, 3, 32, 32).expand(30, -1, -1, -1)
    found = jpeg(pixels, Jpeg(kind="jpeg", quality=(10, 12)), make_draws(30))
    expected = compress(pixels[:3], [10, 11, 12])
    assert {image.numpy().tobytes() for image in found} == {e.numpy().tobytes() for e in expected}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(1, 100))
def test_jpeg_keeps_any_size_and_gives_whole_gray_levels(
    height: int, width: int, bands: int, quality: int
) -> None:
    found = compress(noise(2, bands, height, width), [quality, 50])
    assert found.shape == (2, bands, height, width)
    assert (found * 255).round().div(255) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("bits", [1, 8, 12])
def test_quantised_pixels_are_the_nearest_of_so_many_bits(bits: int) -> None:
    pixels, largest = noise(1, 2, 16, 16), 2**bits - 1
    found = quantise(pixels, Quantise(kind="quantise", bits=bits))
    assert (found - pixels).abs().max() <= 0.5 / largest + 1e-6
    assert found * largest == pytest.approx((found * largest).round(), abs=1e-3)
    if bits == 8:
        stored = found.numpy()
        assert to_float(from_float(stored, "uint8")) == pytest.approx(stored, abs=1e-7)
