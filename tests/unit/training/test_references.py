import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from ganray.codecs.catalog import Codecs
from ganray.codecs.geo_config import GeoConfig
from ganray.errors import UnsupportedImageError
from ganray.storage import open_store
from ganray.training.references import (
    Reading,
    Reference,
    fits,
    load_reference,
    read_reference,
    to_depth,
)
from tests.unit.codecs.geo_files import geotiff, values


def encode(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def test_alpha_is_left_out_and_gray_is_repeated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rgba, gray = rng.integers(0, 256, (8, 9, 4), np.uint8), rng.integers(0, 256, (8, 9), np.uint8)
    (tmp_path / "rgba.png").write_bytes(encode(rgba))
    (tmp_path / "gray.png").write_bytes(encode(gray))
    store = open_store(str(tmp_path))
    colour = np.moveaxis(rgba[..., :3], -1, 0) / np.float32(255)
    assert read_reference(store, "rgba.png", 3) == pytest.approx(colour)
    assert read_reference(store, "rgba.png", 1)[0] == pytest.approx(colour.mean(axis=0))
    assert read_reference(store, "gray.png", 1)[0] == pytest.approx(gray / 255)
    assert (read_reference(store, "gray.png", 3) == read_reference(store, "gray.png", 1)).all()
    assert read_reference(store, "gray.png", 3).shape == (3, 8, 9)


def load(
    folder: Path, data: bytes, num_bands: int, dtype: str = "float32", **geo: object
) -> Reference:
    (folder / "scene.tif").write_bytes(data)
    codecs = Codecs(geo=GeoConfig.model_validate(geo))
    return load_reference(open_store(str(folder)), "scene.tif", Reading(num_bands, dtype, codecs))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_raster_over_all_of_its_type_keeps_its_depth(tmp_path: Path, dtype: str) -> None:
    pixels = values((5, 20, 30), dtype)
    found = load(tmp_path, geotiff(pixels), 5, dtype)
    assert found.pixels.dtype == dtype and np.array_equal(found.pixels, pixels)
    assert found.valid is None and not found.is_single


def test_values_between_low_and_high_are_shown_as_fractions_and_others_cut(tmp_path: Path) -> None:
    pixels = np.array([-500, 0, 2500, 10000, 12000], np.int16).reshape(1, 1, 5).repeat(4, 1)
    found = load(tmp_path, geotiff(pixels), 1, values="fixed", low=0, high=10000)
    assert found.pixels[0, 0].tolist() == [0, 0, 0.25, 1, 1]


def test_a_type_that_says_neither_black_nor_white_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImageError, match=r"geo.values=fixed"):
        load(tmp_path, geotiff(values((1, 8, 8), "float32")), 1)


def test_pixels_of_nodata_have_no_value_and_are_filled_by_the_nearest(tmp_path: Path) -> None:
    pixels = np.full((2, 20, 20), 1000, np.uint16)
    pixels[:, 5:7, 5:9] = 0
    found = load(tmp_path, geotiff(pixels, nodata=0), 2, "uint16")
    assert found.valid is not None
    assert np.array_equal(found.valid, pixels != 0)
    store, codecs = open_store(str(tmp_path)), Codecs()
    shown = read_reference(store, "scene.tif", 2, codecs)
    assert shown == pytest.approx(np.full((2, 20, 20), 1000 / 65535, np.float32))


def test_floats_that_are_not_finite_never_reach_a_patch(tmp_path: Path) -> None:
    pixels = np.abs(values((1, 20, 20), "float32"))
    pixels[0, 3, 4], pixels[0, 9, 9] = np.nan, np.inf
    load(tmp_path, geotiff(pixels), 1, values="percentiles")
    codecs = Codecs(geo=GeoConfig(values="percentiles"))
    shown = read_reference(open_store(str(tmp_path)), "scene.tif", 1, codecs)
    assert np.isfinite(shown).all() and 0 <= shown.min() < shown.max() <= 1


def test_an_image_almost_without_values_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((1, 20, 20), np.uint8)
    pixels[0, 0, 0] = 9
    with pytest.raises(UnsupportedImageError, match=r"0\.25% of its pixels"):
        load(tmp_path, geotiff(pixels, nodata=0), 1, "uint8")


def test_the_bands_that_are_numbered_are_taken_in_their_order(tmp_path: Path) -> None:
    pixels = values((6, 9, 8), "uint8")
    found = load(tmp_path, geotiff(pixels), 3, "uint8", bands=[4, 3, 2])
    assert np.array_equal(found.pixels, pixels[[3, 2, 1]])
    with pytest.raises(UnsupportedImageError, match="6 bands besides alpha"):
        load(tmp_path, geotiff(pixels), 3, "uint8", bands=[4, 3, 7])


def test_each_band_may_stand_alone(tmp_path: Path) -> None:
    found = load(tmp_path, geotiff(values((6, 9, 8), "uint8")), 3, "uint8", bands="each")
    assert found.is_single and found.pixels.shape == (6, 9, 8)


@pytest.mark.parametrize(("found", "wanted"), [(4, 3), (3, 4), (1, 4), (2, 3), (4, 1)])
def test_bands_that_do_not_fit_are_refused_with_both_numbers(
    tmp_path: Path, found: int, wanted: int
) -> None:
    assert not fits(found, wanted)
    with pytest.raises(UnsupportedImageError, match=f"{found} bands .* takes {wanted}"):
        load(
            tmp_path,
            geotiff(values((found, 8, 8), "uint8"), photometric="minisblack"),
            wanted,
            "uint8",
        )


def test_a_depth_holds_those_before_it_exactly_and_none_behind() -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    sixteen = to_depth(eight, "uint16")
    assert np.array_equal(to_depth(sixteen, "float32"), to_depth(eight, "float32"))
    with pytest.raises(UnsupportedImageError, match="planned as uint8"):
        to_depth(sixteen, "uint8")


def test_a_film_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "film.mkv").write_bytes(b"")
    with pytest.raises(UnsupportedImageError, match="extract its frames"):
        load_reference(open_store(str(tmp_path)), "film.mkv", Reading(3))
