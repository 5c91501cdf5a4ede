"""What surrounds the pixels survives a restoration, for every family of files.

The generator repeats pixels, so that an output is known: at scale 1 it is its input.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.control import GroundControlPoint
from rio_cogeo.cogeo import cog_validate

from ganray.codecs import deep_photo, dicom, film
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.film_packing import Packing
from ganray.codecs.photo_output import OutputConfig
from ganray.models.checkpoint import Provenance, build_generator, encode_checkpoint
from ganray.raster.image import Image as Picture
from ganray.raster.image import Profile
from ganray.raster.validity import repeat
from ganray.storage import open_store
from tests.integration.command import ganray, ganray_here
from tests.integration.pictures import textured
from tests.integration.test_restore import upload
from tests.unit.codecs import dicom_objects, film_frames

DONE, SOME_FAILED = 0, 3
ROTATED = Affine(10.0, 2.5, 499980.0, -1.5, -12.0, 4200000.0)
LIMIT = 2**24


def write_repeating_generator(folder: Path, scale: int) -> str:
    """A generator that shows every pixel `scale` times."""
    generator, network = build_generator(
        "compact", {"num_features": 4, "num_convs": 0, "scale": scale}
    )
    with torch.no_grad():
        for weight in generator.parameters():
            weight.zero_()
    path = folder / f"repeat-{scale}.safetensors"
    path.write_bytes(encode_checkpoint(generator, "compact", network, Provenance("nothing", {})))
    return str(path)


def restore(folder: Path, *words: str, code: int = DONE) -> Path:
    """Restore `archive` of a folder in this process; where the outputs are."""
    source, target = folder / "archive", folder / "restored"
    outcome = ganray_here(
        "restore", f"source={source}", f"target={target}", "workers.max=0", *words
    )
    assert outcome.code == code, outcome.text
    if code == DONE:
        assert ganray_here("verify", str(target)).code == DONE
    return target


def magnify(folder: Path, scale: int, *words: str) -> Path:
    return restore(folder, f"generator={write_repeating_generator(folder, scale)}", *words)


def archive(folder: Path) -> Path:
    made = folder / "archive"
    made.mkdir(exist_ok=True)
    return made


@dataclass(frozen=True)
class Twin:
    """An archive of every family, and what a generator that repeats pixels made of it."""

    source: Path
    target: Path
    scale: int
    rows: dict[str, Any]
    notices: list[str]


@pytest.fixture(scope="module", params=(1, 2, 4))
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Twin:
    folder = tmp_path_factory.mktemp("twin")
    source = archive(folder)
    write_rasters(source)
    write_film(source)
    write_slices(source)
    write_deep_photographs(source)
    # Ranges that do not hold all values: what lies beyond comes back all the same.
    rasters = "geo.bands=each", "geo.values=fixed", "geo.low=0", "geo.high=200"
    scans = "dicom.hu_low=0", "dicom.hu_high=80"
    target = magnify(folder, request.param, *rasters, *scans)
    rows = {row["key"]: row for row in ganray_here("ledger", str(target), "--json").json}
    assert {row["state"] for row in rows.values()} == {"restored"}
    notices = ganray_here("status", str(target), "--json").json["notices"]
    return Twin(source, target, request.param, rows, notices)


# Rasters


def values(dtype: str, bands: int, height: int = 90, width: int = 130) -> np.ndarray:
    pixels = np.moveaxis(textured(height, width, seed=3, bands=3), -1, 0)
    wide = np.concatenate([pixels] * -(-bands // 3))[:bands]
    if dtype == "float32":
        return wide.astype(np.float32) / 300 - 0.1
    return wide if dtype == "uint8" else (wide.astype(np.int32) * 39 - 20).clip(1).astype(dtype)


def write_raster(path: Path, pixels: np.ndarray, *, mask: np.ndarray | None = None, **more: Any):
    profile = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype,
        "crs": "EPSG:32633",
        "transform": ROTATED,
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
        "compress": "deflate",
    }
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **(profile | more)) as dataset,
    ):
        dataset.write(pixels)
        dataset.update_tags(PLATFORM="a satellite")
        dataset.set_band_description(1, "first band")
        dataset.scales, dataset.offsets = [0.5] * pixels.shape[0], [3.0] * pixels.shape[0]
        if mask is not None:
            dataset.write_mask(mask)


def holes(pixels: np.ndarray) -> np.ndarray:
    """True where there is a value."""
    valid = np.ones(pixels.shape[1:], bool)
    valid[10:40, 20:70] = False
    return valid


def write_rasters(folder: Path) -> None:
    """A raster of every kind."""
    for dtype, bands, nodata in (
        *(("uint8", 3, 0), ("uint16", 13, 65535), ("int16", 1, -9999)),
        ("float32", 3, float("nan")),
    ):
        pixels = values(dtype, bands)
        pixels[:, ~holes(pixels)] = nodata
        write_raster(folder / f"nodata-{dtype}.tif", pixels, nodata=nodata)
    pixels = values("uint8", 4)
    write_raster(folder / "mask.tif", pixels[:3], mask=holes(pixels), photometric="RGB")
    pixels[3] = np.where(holes(pixels), 255, 0)
    write_raster(folder / "alpha.tif", pixels, photometric="RGB", alpha="YES")
    points = [
        GroundControlPoint(row, column, 5.0 + column / 90, 45.0 - row / 90, 100.0)
        for row, column in ((0, 0), (0, 130), (90, 0), (90, 130), (45.5, 65.5))
    ]
    placed_by_points = {"transform": Affine.identity(), "gcps": points, "crs": "EPSG:4326"}
    write_raster(folder / "points.tif", values("uint16", 1), **placed_by_points)


RASTERS = (
    *(f"nodata-{dtype}" for dtype in ("uint8", "uint16", "int16", "float32")),
    *("mask", "alpha", "points"),
)


@pytest.mark.parametrize("kind", RASTERS)
def test_a_raster_stays_what_and_where_it_is(kind: str, twin: Twin) -> None:
    path, scale = twin.target / f"{kind}.tif", twin.scale
    is_valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    assert (is_valid, errors, warnings) == (True, [], [])
    with rasterio.open(twin.source / path.name) as before, rasterio.open(path) as after:
        np.testing.assert_array_equal(after.read(), repeat(before.read(), scale))
        np.testing.assert_array_equal(after.dataset_mask(), repeat(before.dataset_mask(), scale))
        assert after.dtypes == before.dtypes
        assert after.nodatavals == before.nodatavals or np.isnan(before.nodata)
        assert (after.crs, after.colorinterp) == (before.crs, before.colorinterp)
        assert (after.scales, after.offsets) == (before.scales, before.offsets)
        assert after.descriptions == before.descriptions
        assert after.tags()["PLATFORM"] == "a satellite"
        assert_same_places(before, after, scale)
    assert twin.rows[path.name]["lost"] == ""


def assert_same_places(before: Any, after: Any, scale: int) -> None:
    """Corners and random places lie where they did, to a thousand-millionth of a pixel."""
    points, crs = before.gcps
    if points:
        assert after.gcps[1] == crs
        for old, new in zip(points, after.gcps[0], strict=True):
            assert (new.x, new.y, new.z) == (old.x, old.y, old.z)
            assert (new.row, new.col) == pytest.approx((old.row * scale, old.col * scale), abs=1e-9)
        return
    rng = np.random.default_rng(0)
    places = [*rng.uniform(0, 1, (100, 2)), (0, 0), (0, 1), (1, 0), (1, 1)]
    for down, across in places:
        column, row = across * before.width, down * before.height
        expected = before.transform @ (column, row)
        found = ~before.transform @ (after.transform @ (column * scale, row * scale))
        assert found == pytest.approx((column, row), abs=1e-9)
        assert expected == pytest.approx(after.transform @ (column * scale, row * scale))


def test_what_stands_for_no_value_never_bleeds(tmp_path: Path) -> None:
    pixels = values("uint8", 3).clip(20, 230)
    valid = holes(pixels)
    for nodata in (0, 255):
        holed = np.where(valid, pixels, nodata).astype(np.uint8)
        path = archive(tmp_path) / f"{nodata}.tif"
        write_raster(path, holed, nodata=nodata, photometric="RGB")
    target = restore(tmp_path)
    inside = repeat(valid, 2)
    outputs = []
    for nodata in (0, 255):
        with rasterio.open(target / f"{nodata}.tif") as dataset:
            outputs.append(dataset.read()[:, inside].astype(int))
            assert (dataset.read()[:, ~inside] == nodata).all()
            assert (dataset.dataset_mask() != 0)[inside].all()
    # A value that says "none" is moved aside.
    assert np.abs(outputs[0] - outputs[1]).max() <= 1
    assert (outputs[0] != outputs[1]).mean() < 0.001


@pytest.mark.parametrize("kind", ["mask", "nodata", "NaN"])
def test_windows_of_a_raster_are_the_whole(kind: str, tmp_path: Path, bucket: str) -> None:
    pixels = values("uint16", 3, 600, 900)
    valid = np.ones((600, 900), bool)
    # Across the borders of windows, where filling could differ.
    valid[200:330, 180:560], valid[505:520, 250:262] = False, False
    said: dict[str, Any] = {"mask": valid}
    if kind == "nodata":
        pixels = np.where(valid, pixels, 0).astype(np.uint16)
        said = {"nodata": 0}
    elif kind == "NaN":
        # Nothing but the values themselves says it.
        pixels = np.where(valid, pixels, np.nan).astype(np.float32)
        pixels[1, ::37, ::41] = np.nan
        said = {}
    write_raster(archive(tmp_path) / "scene.tif", pixels, photometric="RGB", **said)
    fixed = "geo.values=fixed", "geo.low=0", "geo.high=10000"
    restore(tmp_path, *fixed)
    upload(archive(tmp_path), f"{bucket}/archive")
    target = f"{bucket}/windows"
    # One of the two by a pool.
    pool = ("workers.max=2", "workers.in_process=never") if kind == "mask" else ("workers.max=0",)
    words = "split_pixels=1000", "window_pixels=256", *pool, *fixed
    outcome = ganray("restore", f"source={bucket}/archive", f"target={target}", *words)
    assert outcome.code == DONE, outcome.text
    assert ganray_here("status", target, "--json").json["windows"] > 4
    assert ganray_here("verify", target).code == DONE
    (tmp_path / "windows.tif").write_bytes(open_store(target).read("scene.tif"))
    with (
        rasterio.open(tmp_path / "restored" / "scene.tif") as whole,
        rasterio.open(tmp_path / "windows.tif") as windows,
    ):
        np.testing.assert_array_equal(windows.read(), whole.read())
        if kind != "NaN":
            np.testing.assert_array_equal(windows.dataset_mask() != 0, repeat(valid, 2))
        np.testing.assert_array_equal(windows.dataset_mask(), whole.dataset_mask())
        assert windows.transform == whole.transform
        assert windows.tags() == whole.tags()


def test_bands_that_are_chosen_are_restored_and_the_others_interpolated(tmp_path: Path) -> None:
    pixels = values("uint16", 5)
    write_raster(archive(tmp_path) / "scene.tif", pixels)
    refused = restore(tmp_path, code=SOME_FAILED)
    (row,) = ganray_here("ledger", str(refused), "--json").json
    assert "5 colour bands and the generator takes 3" in row["reason"]
    assert "geo.bands" in row["reason"]
    target = restore(tmp_path, "geo.bands=[4,3,1]", "geo.values=percentiles")
    with rasterio.open(target / "scene.tif") as dataset:
        found = dataset.read().astype(float)
    numbers = torch.from_numpy(pixels.astype(np.float32))[None]
    interpolated = torch.nn.functional.interpolate(numbers, scale_factor=2.0, mode="bicubic")
    # Far from borders, where patches end.
    distance = np.abs(found - interpolated[0].numpy())[:, 8:-8, 8:-8].mean((1, 2))
    share = distance / np.ptp(pixels, axis=(1, 2))
    assert (share[[1, 4]] < 0.001).all()
    assert (share[[0, 2, 3]] > 0.003).all() and (share < 0.05).all()


def test_a_stac_item_says_what_was_made_of_what(tmp_path: Path) -> None:
    write_raster(archive(tmp_path) / "scene.tif", values("uint8", 3), photometric="RGB")
    target = magnify(tmp_path, 2, "geo.stac=true")
    item = json.loads((target / "scene.tif.stac.json").read_text())
    assert item["properties"]["proj:code"] == "EPSG:32633"
    assert item["properties"]["proj:shape"] == [180, 260]
    (link,) = [link for link in item["links"] if link["rel"] == "derived_from"]
    assert link["href"].endswith("archive/scene.tif")
    assert item["assets"]["data"]["href"].endswith("scene.tif")
    (tmp_path / "archive" / "scene.tif").rename(tmp_path / "archive" / "other.tif")
    assert ganray_here("prune", str(target), "--delete").code == DONE
    assert not list(target.glob("scene.tif*"))


def test_a_range_that_no_float_holds_fails_its_input_alone(tmp_path: Path) -> None:
    write_slices(archive(tmp_path))
    data = dicom_objects.make(dicom_objects.noise(12), 12, RescaleIntercept="1e20")
    (tmp_path / "archive" / "absurd.dcm").write_bytes(data)
    target = restore(tmp_path, code=SOME_FAILED)
    rows = {row["key"]: row for row in ganray_here("ledger", str(target), "--json").json}
    assert rows.pop("absurd.dcm")["state"] == "failed"
    assert [row["state"] for row in rows.values()] == ["restored"] * NUM_SLICES


def test_nearly_flat_values_are_flagged_unless_their_range_is_said(tmp_path: Path) -> None:
    write_raster(archive(tmp_path) / "scene.tif", values("uint16", 3) // 20)
    target = restore(tmp_path)
    (row,) = ganray_here("ledger", str(target), "--json").json
    assert "below trust.min_span=0.1" in row["flags"] and "geo.values" in row["flags"]
    restore(tmp_path, "geo.values=percentiles")
    (row,) = ganray_here("ledger", str(target), "--json").json
    assert row["flags"] == ""


# Film

DPX = [(depth, order) for depth in (8, 10, 12, 16) for order in "<>"]
EXR = ("float16", "float32")


def write_film(folder: Path) -> None:
    for depth, order in DPX:
        packing = Packing(depth, 0 if depth in (8, 16) else 1, order, 3)
        timecode = 0x01020304.to_bytes(4, "little" if order == "<" else "big")
        said = {1920: timecode, 1764: b"a slate"}
        codes = film_frames.codes(3, 33, 41, depth=depth)
        name = f"shot-{depth}-{'le' if order == '<' else 'be'}.0007.dpx"
        (folder / name).write_bytes(film_frames.make_dpx(codes, packing, fields=said))
    for dtype in EXR:
        pixels = np.random.default_rng(0).uniform(-0.5, 6, (4, 24, 30)).astype(dtype)
        pixels[3] = pixels[3].clip(0, 1)
        pixels[0, 3, 4], pixels[1, 9, 9] = np.nan, np.inf
        film_frames.make_exr(folder / f"{dtype}.exr", pixels, ("R", "G", "B", "A"))


def read_frame(path: Path) -> Any:
    return film.decode(path.read_bytes(), FilmConfig(), max_pixels=LIMIT)


@pytest.mark.parametrize(("depth", "order"), DPX)
def test_code_values_of_film_are_exact_and_its_header_is_kept(
    depth: int, order: str, twin: Twin
) -> None:
    name = f"shot-{depth}-{'le' if order == '<' else 'be'}.0007.dpx"
    before, after = read_frame(twin.source / name), read_frame(twin.target / name)
    np.testing.assert_array_equal(after.pixels, repeat(before.pixels, twin.scale))
    assert after.profile.bit_depth == depth
    headers = [(folder / name).read_bytes()[:2048] for folder in (twin.source, twin.target)]
    for start, end in ((0, 4), (1920, 1924), (1764, 1864)):
        assert headers[0][start:end] == headers[1][start:end]


@pytest.mark.parametrize("dtype", EXR)
def test_an_exr_keeps_what_is_beyond_white_or_not_finite(dtype: str, twin: Twin) -> None:
    before, after = (read_frame(f / f"{dtype}.exr") for f in (twin.source, twin.target))
    assert after.pixels.dtype == dtype
    np.testing.assert_array_equal(after.pixels, repeat(before.pixels, twin.scale))
    assert not np.isfinite(after.pixels).all()


@pytest.mark.parametrize("space", ["linear", "display"])
def test_log_footage_comes_back_exactly_from_any_space(space: str, tmp_path: Path) -> None:
    pixels = film_frames.codes(3, 33, 41, depth=10)
    data = film_frames.make_dpx(pixels, Packing(10, 1, ">", 3))
    (archive(tmp_path) / "log.dpx").write_bytes(data)
    target = magnify(tmp_path, 1, f"film.space={space}")
    made = film.decode((target / "log.dpx").read_bytes(), FilmConfig(), max_pixels=LIMIT)
    np.testing.assert_array_equal(made.pixels, pixels)


def test_cineon_becomes_dpx_and_says_what_it_lost(tmp_path: Path) -> None:
    pixels = film_frames.codes(3, 20, 30, depth=10)
    (archive(tmp_path) / "a.cin").write_bytes(film_frames.make_cineon(pixels))
    target = magnify(tmp_path, 2)
    made = film.decode((target / "a.dpx").read_bytes(), FilmConfig(), max_pixels=LIMIT)
    np.testing.assert_array_equal(made.pixels, repeat(pixels, 2))


# DICOM

NUM_SLICES = 3


def write_slices(folder: Path) -> None:
    for number in range(NUM_SLICES):
        stored = dicom_objects.noise(12, seed=number)
        data = dicom_objects.make(stored, 12, SOPInstanceUID=f"1.2.3.9.{number}")
        (folder / f"{number}.dcm").write_bytes(data)


def read_slice(path: Path) -> np.ndarray:
    return dicom.decode(path.read_bytes(), DicomConfig(), max_pixels=LIMIT).pixels


def test_a_series_of_ct_stays_one_series_with_its_values(twin: Twin) -> None:
    made = [pydicom.dcmread(twin.target / f"{number}.dcm") for number in range(NUM_SLICES)]
    for number, slice_ in enumerate(made):
        before, after = (read_slice(f / f"{number}.dcm") for f in (twin.source, twin.target))
        np.testing.assert_array_equal(after, repeat(before, twin.scale))
        assert "not for diagnosis" in slice_.DerivationDescription.lower()
    assert len({slice_.SeriesInstanceUID for slice_ in made}) == 1
    assert len({slice_.SOPInstanceUID for slice_ in made}) == NUM_SLICES
    assert any("not for diagnosis" in notice for notice in twin.notices)


def test_run_length_encoding_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    write_slices(archive(tmp_path))
    target = magnify(tmp_path, 2, "dicom.transfer_syntax=rle")
    made = pydicom.dcmread(target / "1.dcm")
    assert made.file_meta.TransferSyntaxUID == pydicom.uid.RLELossless
    expected = repeat(read_slice(tmp_path / "archive" / "1.dcm"), 2)
    np.testing.assert_array_equal(read_slice(target / "1.dcm"), expected)


# Photographs

BANDS = {2: ("gray", "alpha"), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}
FORMATS = {"png": "png", "tif": "tiff"}


def write_deep_photographs(folder: Path) -> None:
    for num_bands, bands in BANDS.items():
        pixels = np.random.default_rng(0).integers(0, 2**16, (num_bands, 21, 34), np.uint16)
        for suffix, codec in FORMATS.items():
            profile = Profile(codec, "uint16", 16, bands, resolution=(300.0, 300.0))
            data = deep_photo.encode(Picture(pixels, profile), codec, OutputConfig(), "")
            (folder / f"deep-{num_bands}.{suffix}").write_bytes(data)


@pytest.mark.parametrize("num_bands", BANDS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_photographs_of_16_bits_are_exact(suffix: str, num_bands: int, twin: Twin) -> None:
    before, after = (
        deep_photo.decode((f / f"deep-{num_bands}.{suffix}").read_bytes(), max_pixels=LIMIT)
        for f in (twin.source, twin.target)
    )
    np.testing.assert_array_equal(after.pixels, repeat(before.pixels, twin.scale))
    assert after.profile.colorinterp == BANDS[num_bands]
    assert after.profile.resolution == pytest.approx((300, 300), abs=0.01)
