import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from ganray.raster.validity import EVERYWHERE, MaskedPixels, Validity, hold, pixel_mask, repeat

some_examples = settings(max_examples=60, deadline=None)

nodata_of = {
    "uint8": st.integers(0, 255),
    "uint16": st.integers(0, 65535),
    "int16": st.integers(-32768, 32767),
    "float32": st.sampled_from([0.0, -9999.0, 1e-30, -3.4028234663852886e38, 65504.25, np.nan]),
}


@st.composite
def rasters(draw: st.DrawFn) -> tuple[np.ndarray, float]:
    """Pixels around a nodata value, and that value."""
    dtype = draw(st.sampled_from(sorted(nodata_of)))
    nodata = draw(nodata_of[dtype])
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if dtype == "float32":
        near = np.float32(nodata) * (1 + random.integers(-6, 7, (2, 9, 11)) * 2.0**-23)
        pixels = np.where(random.random(near.shape) < 0.5, near, random.normal(0, 9, near.shape))
        with np.errstate(over="ignore"):
            return pixels.astype(np.float32), float(nodata)
    limits = np.iinfo(dtype)
    near = np.clip(nodata + random.integers(-2, 3, (2, 9, 11)), limits.min, limits.max)
    return near.astype(dtype), float(nodata)


@given(rasters())
@some_examples
def test_nodata_is_where_gdal_sees_it(raster: tuple[np.ndarray, float]) -> None:
    pixels, nodata = raster
    settings = {"dtype": str(pixels.dtype), "count": 2, "height": 9, "width": 11}
    with MemoryFile() as file:
        with file.open(driver="GTiff", nodata=nodata, **settings) as dataset:
            dataset.write(pixels)
        with file.open() as dataset:
            expected = dataset.read_masks() != 0
    if pixels.dtype.kind == "f":
        expected &= np.isfinite(pixels)
    found = Validity("nodata", (nodata, nodata)).bands(pixels)
    assert np.array_equal(np.ones_like(expected) if found is None else found, expected)


@given(rasters(), st.integers(1, 3))
@some_examples
def test_what_has_no_value_stays_and_nothing_else_becomes_nodata(
    raster: tuple[np.ndarray, float], scale: int
) -> None:
    pixels, nodata = raster
    validity = Validity("nodata", (nodata, nodata))
    # The worst of generators gives nodata everywhere.
    restored = np.full((2, 9 * scale, 11 * scale), nodata).astype(pixels.dtype)
    held = hold(restored, MaskedPixels(pixels), validity, scale)
    valid = validity.bands(pixels)
    valid = np.ones(pixels.shape, bool) if valid is None else valid
    large = repeat(valid, scale)
    assert np.array_equal(held[~large], repeat(pixels, scale)[~large], equal_nan=True)
    if np.isnan(nodata):
        return
    still = validity.bands(held)
    assert np.array_equal(np.ones_like(large) if still is None else still, large)


@given(rasters(), st.integers(1, 3))
@some_examples
def test_a_generator_that_repeats_changes_nothing(
    raster: tuple[np.ndarray, float], scale: int
) -> None:
    pixels, nodata = raster
    for validity in (
        EVERYWHERE,
        Validity("nodata", (nodata,) * 2),
        Validity("joint", (nodata,) * 2),
    ):
        held = hold(repeat(pixels, scale), MaskedPixels(pixels), validity, scale)
        assert np.array_equal(held, repeat(pixels, scale), equal_nan=pixels.dtype.kind == "f")


def test_all_bands_together_hold_joint_nodata() -> None:
    pixels = np.array([[[1, 1, 5]], [[2, 9, 2]]], np.uint8)
    validity = Validity("joint", (1.0, 2.0))
    bands = validity.bands(pixels)
    assert bands is not None
    assert bands[:, 0].tolist() == [[False, True, True], [False, True, True]]
    held = hold(np.array([[[1, 1, 1]], [[2, 2, 2]]], np.uint8), MaskedPixels(pixels), validity, 1)
    assert held.tolist() == [[[1, 2, 2]], [[2, 2, 2]]]


def test_alpha_says_where_colours_are_and_always_has_a_value_itself() -> None:
    pixels = np.array([[[7, 8]], [[0, 3]]], np.uint8)
    validity = Validity("alpha", alpha=1)
    bands = validity.bands(pixels)
    assert bands is not None
    assert bands[:, 0].tolist() == [[False, True], [True, True]]
    mask = pixel_mask(bands, validity)
    assert mask is not None
    assert mask.tolist() == [[False, True]]
    held = hold(np.full((2, 1, 2), 200, np.uint8), MaskedPixels(pixels), validity, 1)
    assert held.tolist() == [[[7, 200]], [[200, 200]]]


def test_a_pixel_has_a_value_if_one_of_its_bands_has() -> None:
    bands = np.array([[[True, False, False]], [[True, True, False]]])
    mask = pixel_mask(bands, Validity("nodata", (0.0, 0.0)))
    assert mask is not None
    assert mask.tolist() == [[True, True, False]]
    assert pixel_mask(np.ones((2, 1, 3), bool), EVERYWHERE) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_finite_are_no_values(value: float) -> None:
    pixels = np.array([[[1.0, value]]], np.float32)
    bands = EVERYWHERE.bands(pixels)
    assert bands is not None
    assert bands.tolist() == [[[True, False]]]


@pytest.mark.parametrize("nodata", [-9999.0, 256.0, 0.5, np.nan, np.inf])
def test_nodata_that_an_integer_cannot_be_is_nowhere(nodata: float) -> None:
    assert Validity("nodata", (nodata,)).bands(np.zeros((1, 2, 2), np.uint8)) is None
