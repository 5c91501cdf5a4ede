"""The large TIFF as a Cloud Optimized GeoTIFF, as rio-cogeo and GDAL see it."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rio_cogeo.cogeo import cog_validate

from ganray.codecs.tiff_runs import decode_masked_run, encode_run
from ganray.codecs.tiff_tiles import decode_mask_tile, encode_mask_tile, halve, halve_masked
from ganray.codecs.tiled_tiff import TILE_BYTES, TiffLayout
from ganray.errors import UndecodableError
from ganray.raster.validity import MaskedPixels, Validity
from tests.unit.codecs.geo_files import dataset_of, geotiff, repeated, values

few_examples = settings(max_examples=30, deadline=None)


def require_valid(data: bytes, folder: Path) -> None:
    path = folder / "scene.tif"
    path.write_bytes(data)
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (1, 1),
        (30, 700),
        (512, 513),
        (513, 512),
        (1100, 512),
        (1024, 512),
        (2500, 300),
        (1300, 1536),
    ],
)
@pytest.mark.parametrize("kind", ["nodata", "mask"])
def test_rio_cogeo_finds_no_fault(height: int, width: int, kind: str, tmp_path: Path) -> None:
    pixels = values((1, height, width), "uint8")
    mask = np.arange(height * width).reshape(height, width) % 3 != 0
    data = geotiff(pixels, **({"mask": mask} if kind == "mask" else {"nodata": 0}))
    for classic_bytes in (0, 2**32):
        made = repeated(
            data,
            1,
            window_side=1024,
            tile_sides=(512, 256, 128, 64),
            classic_bytes=classic_bytes,
        )
        assert made[2:4] == (b"*\0" if classic_bytes else b"+\0")
        require_valid(made, tmp_path)


@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    windows=st.sampled_from([512, 1024, 1536]),
    bands=st.sampled_from([1, 13, 200]),
)
@settings(max_examples=300, deadline=None)
def test_no_level_looks_like_strips(height: int, width: int, windows: int, bands: int) -> None:
    names = ("gray", *["undefined"] * (bands - 1))
    layout = TiffLayout(height, width, names, "uint16", windows)
    assert layout.tile_side**2 * bands * 2 <= TILE_BYTES
    assert layout.window_side % layout.tile_side == 0
    if height <= 8 * width:
        assert not any(w == layout.tile_side and h > 512 for h, w in layout.levels)


def test_directories_are_in_the_order_of_gdals_own_driver() -> None:
    data = repeated(geotiff(values((2, 200, 260), "int16"), mask=np.eye(200, 260) == 0), 1)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        kinds = [(int(page.subfiletype), page.imagelength) for page in tiff.pages]
        offsets = [page.offset for page in tiff.pages]
        assert tiff.pages[1].bitspersample == 1
    assert kinds == [
        (0, 200),
        (4, 200),
        *((1, n) for n in (100, 50, 25)),
        *((5, n) for n in (100, 50, 25)),
    ]
    assert offsets == sorted(offsets)


@pytest.mark.parametrize("compression", ["deflate", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_gdal_reads_thirteen_bands_with_their_mask_and_overviews(
    dtype: str, compression: str
) -> None:
    pixels = values((13, 150, 140), dtype)
    mask = np.ones((150, 140), bool)
    mask[33:90, :77] = False
    data = repeated(geotiff(pixels, mask=mask), 1, window_side=128, compression=compression)
    expected = halve_masked(MaskedPixels(pixels, mask), Validity("mask"))
    with dataset_of(data) as dataset:
        assert dataset.overviews(1) == [2, 4]
        assert np.array_equal(dataset.read(), pixels)
        assert np.array_equal(dataset.dataset_mask() != 0, mask)
        halved = dataset.read(out_shape=(13, 75, 70), resampling=Resampling.nearest)
        halved_mask = dataset.read_masks(1, out_shape=(75, 70)) != 0
    assert np.array_equal(halved, expected.pixels)
    assert np.array_equal(halved_mask, expected.mask)


@given(
    kind=st.sampled_from(["nodata", "mask", "alpha"]),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
)
@few_examples
def test_what_has_no_value_never_bleeds_into_overviews(
    kind: str, dtype: str, height: int, width: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    holes = random.random((height, width)) < 0.4
    pixels = random.integers(100, 110, (2, height, width)).astype(dtype)
    pixels[:1, holes] = 0
    image, validity = MaskedPixels(pixels), Validity("nodata", (0.0, 0.0))
    if kind == "mask":
        image, validity = MaskedPixels(pixels, ~holes), Validity("mask")
    if kind == "alpha":
        pixels[1] = np.where(holes, 0, 200)
        validity = Validity("alpha", alpha=1)
    while max(image.pixels.shape[1:]) > 1:
        image = halve_masked(image, validity)
        valid = validity.bands(image.pixels, image.mask)
        colour = image.pixels[0] if valid is None else image.pixels[0][valid[0]]
        assert np.all((colour >= 100) & (colour <= 109))
    if not holes.all():
        assert validity.bands(image.pixels, image.mask) is None


def test_a_mean_that_happens_to_be_nodata_becomes_its_neighbour() -> None:
    pixels = np.array([[[4, 6], [4, 6]]], np.uint8)
    halved = halve_masked(MaskedPixels(pixels), Validity("nodata", (5.0,)))
    assert halved.pixels.tolist() == [[[6]]]


def test_means_are_of_valid_pixels_and_halves_round_up() -> None:
    pixels = np.array([[[-3, 100], [-2, 7]]], np.int16)
    valid = np.array([[[True, False], [True, False]]])
    assert halve(pixels, valid).tolist() == [[[-2]]]
    assert halve(pixels, np.ones_like(valid)).tolist() == halve(pixels).tolist() == [[[26]]]
    assert halve(pixels, np.zeros_like(valid)).tolist() == [[[-3]]]
    assert halve(np.full((1, 2, 2), -32768, np.int16)).tolist() == [[[-32768]]]


@given(
    side=st.sampled_from([16, 64]),
    height=st.integers(1, 64),
    width=st.integers(1, 64),
    compression=st.sampled_from(["none", "deflate", "zstd"]),
    seed=st.integers(0, 9),
)
@few_examples
def test_a_mask_tile_comes_back(
    side: int, height: int, width: int, compression: str, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((min(height, side), min(width, side))) < 0.5
    tile = encode_mask_tile(mask, side, compression)
    decoded = decode_mask_tile(tile, side, compression)
    assert np.array_equal(decoded[: mask.shape[0], : mask.shape[1]], mask)
    assert decoded.sum() == mask.sum()
    with pytest.raises(UndecodableError):
        decode_mask_tile(tile[:-1], side, compression)


def test_a_run_gives_its_mask_back() -> None:
    layout = TiffLayout(70, 90, ("gray",), "int16", 64, validity=Validity("mask"))
    pixels, mask = values((1, 64, 64), "int16"), np.eye(64) == 0
    found = decode_masked_run(layout, 0, encode_run(layout, 0, pixels, mask=mask))
    assert np.array_equal(found.pixels, pixels)
    assert np.array_equal(found.mask, mask)
    everywhere = decode_masked_run(layout, 0, encode_run(layout, 0, pixels))
    assert everywhere.mask is not None
    assert everywhere.mask.all()


def test_what_overviews_are_made_of_is_part_of_a_runs_identity() -> None:
    def digest(validity: Validity) -> str:
        return TiffLayout(70, 90, ("gray",), "int16", 64, validity=validity).digest

    kinds = [Validity(), Validity("mask"), Validity("nodata", (0.0,)), Validity("nodata", (1.0,))]
    assert len({digest(kind) for kind in kinds}) == 4
