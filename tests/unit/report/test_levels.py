"""Levels: deep and many-banded images become 8 bits to look at, alike before and after."""

from dataclasses import replace

import numpy as np
import pytest

from ganray.codecs.geo_config import GeoConfig
from ganray.raster.image import Image, Profile
from ganray.report.levels import NO_VALUE, PAPER, find_levels, to_picture

RGB = ("red", "green", "blue")
GEO = GeoConfig()


def image(pixels: np.ndarray, codec: str, bands: tuple[str, ...], mask: object = None) -> Image:
    profile = Profile(codec, str(pixels.dtype), 8 * pixels.dtype.itemsize, bands)
    return Image(pixels, profile, mask)  # type: ignore[arg-type]


def test_eight_bits_are_shown_as_they_are_stored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    shown = image(pixels, "png", RGB)
    levels = find_levels(shown, GEO)
    np.testing.assert_array_equal(to_picture(shown, levels), np.moveaxis(pixels, 0, -1))
    assert not levels.described


def test_sixteen_bits_span_the_range_by_one_pair_of_percentiles() -> None:
    ramp = np.linspace(1000, 3000, 900).reshape(30, 30)
    pixels = np.stack([ramp, ramp, ramp / 2]).astype(np.uint16)
    shown = image(pixels, "tiff", RGB)
    picture = to_picture(shown, find_levels(shown, GEO))
    assert picture[..., 0].max() == 255 and picture.min() == 0
    # One pair for all bands: blue stays darker than red.
    assert (picture[..., 2] <= picture[..., 0]).all()


def test_a_raster_of_many_bands_shows_three_and_says_which() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 10_000, (13, 20, 20)).astype(np.uint16)
    shown = image(pixels, "geotiff", ("undefined",) * 13)
    assert find_levels(shown, GEO).bands == (0, 1, 2)
    levels = find_levels(shown, GeoConfig(bands=(4, 3, 2)))
    assert levels.bands == (3, 2, 1) and "bands 4, 3, 2" in levels.described
    assert to_picture(shown, levels).shape == (20, 20, 3)


def test_pixels_without_a_value_neither_count_nor_stay_black() -> None:
    pixels = np.full((1, 20, 20), -9999, np.float32)
    pixels[0, :10] = np.linspace(0.1, 0.2, 200).reshape(10, 20)
    mask = np.zeros((20, 20), bool)
    mask[:10] = True
    shown = image(pixels, "geotiff", ("gray",), mask)
    picture = to_picture(shown, find_levels(shown, GEO))
    assert (picture[10:] == NO_VALUE).all()
    assert picture[:10].min() == 0 and picture[:10].max() == 255


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_without_any_finite_value_is_shown_gray(value: float) -> None:
    shown = image(np.full((3, 4, 4), value, np.float32), "exr", RGB)
    assert (to_picture(shown, find_levels(shown, GEO)) == NO_VALUE).all()


def test_linear_light_is_shown_brighter_than_its_numbers() -> None:
    light = image(np.linspace(0, 1, 3000, dtype=np.float32).reshape(3, 10, 100), "exr", RGB)
    levels = find_levels(light, GEO)
    plain = replace(levels, gamma=1.0)
    assert to_picture(light, levels).mean() > to_picture(light, plain).mean() + 20


def test_what_shows_through_a_picture_is_paper() -> None:
    pixels = np.zeros((4, 2, 2), np.uint8)
    pixels[3, 0] = 255
    shown = image(pixels, "png", (*RGB, "alpha"))
    picture = to_picture(shown, find_levels(shown, GEO))
    assert (picture[0] == 0).all() and (picture[1] == PAPER).all()


def test_a_restoration_is_shown_at_the_levels_of_its_input() -> None:
    before = image(
        np.linspace(100, 200, 400).reshape(1, 20, 20).astype(np.uint16), "tiff", ("gray",)
    )
    brighter = image((before.pixels + 30).astype(np.uint16), "tiff", ("gray",))
    levels = find_levels(before, GEO)
    assert to_picture(brighter, levels).mean() > to_picture(before, levels).mean() + 50
