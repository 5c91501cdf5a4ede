"""What surrounds the pixels survives a restoration, for every family of files.

The generator repeats pixels, so that an output is known: at scale 1 it is its input.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import rasterio
import torch
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint
from rio_cogeo.cogeo import cog_validate

from ganray.codecs import dicom, film
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.film_packing import Packing
from ganray.models.checkpoint import Provenance, build_generator, encode_checkpoint
from ganray.raster.validity import repeat
from tests.integration.command import ganray, ganray_here
from tests.integration.pictures import textured
from tests.unit.codecs import dicom_objects, film_frames

DONE, SOME_FAILED = 0, 3
SCALES = (1, 2, 4)
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


def scene_kinds() -> dict[str, Callable[[Path], tuple[str, ...]]]:
    """Writers of rasters by name; each returns what the restoration is told."""

    def with_nodata(dtype: str, bands: int, nodata: float) -> Callable[[Path], tuple[str, ...]]:
        def write(path: Path) -> tuple[str, ...]:
            pixels = values(dtype, bands)
            pixels[:, ~holes(pixels)] = nodata
            write_raster(path, pixels, nodata=nodata)
            is_float = dtype == "float32"
            fixed = ("geo.values=fixed", "geo.low=-0.2", "geo.high=0.9") if is_float else ()
            return (*fixed, *(("geo.bands=each",) if bands > 3 else ()))

        return write

    def with_mask(path: Path) -> tuple[str, ...]:
        pixels = values("uint8", 3)
        write_raster(path, pixels, mask=holes(pixels), photometric="RGB")
        return ()

    def with_alpha(path: Path) -> tuple[str, ...]:
        pixels = values("uint8", 4)
        pixels[3] = np.where(holes(pixels), 255, 0)
        write_raster(path, pixels, photometric="RGB", alpha="YES")
        return ()

    def with_points(path: Path) -> tuple[str, ...]:
        points = [
            GroundControlPoint(row, column, 5.0 + column / 90, 45.0 - row / 90, 100.0)
            for row, column in ((0, 0), (0, 130), (90, 0), (90, 130), (45.5, 65.5))
        ]
        write_raster(path, values("uint16", 1), transform=None, crs=None, gcps=points)
        with rasterio.open(path, "r+") as dataset:
            dataset.gcps = points, rasterio.CRS.from_epsg(4326)
        return ()

    return {
        "nodata-uint8": with_nodata("uint8", 3, 0),
        "nodata-uint16-13-bands": with_nodata("uint16", 13, 65535),
        "nodata-int16": with_nodata("int16", 1, -9999),
        "NaN-float32": with_nodata("float32", 3, float("nan")),
        "mask": with_mask,
        "alpha": with_alpha,
        "ground control points": with_points,
    }


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", scene_kinds())
def test_a_raster_stays_what_and_where_it_is(kind: str, scale: int, tmp_path: Path) -> None:
    path = archive(tmp_path) / "scene.tif"
    words = scene_kinds()[kind](path)
    target = magnify(tmp_path, scale, *words)
    is_valid, errors, warnings = cog_validate(target / "scene.tif", strict=True, quiet=True)
    assert (is_valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as before, rasterio.open(target / "scene.tif") as after:
        np.testing.assert_array_equal(after.read(), repeat(before.read(), scale))
        np.testing.assert_array_equal(after.dataset_mask(), repeat(before.dataset_mask(), scale))
        assert after.dtypes == before.dtypes
        assert after.nodatavals == before.nodatavals or np.isnan(before.nodata)
        assert (after.crs, after.colorinterp) == (before.crs, before.colorinterp)
        assert (after.scales, after.offsets) == (before.scales, before.offsets)
        assert after.descriptions == before.descriptions
        assert after.tags()["PLATFORM"] == "a satellite"
        assert_same_places(before, after, scale)
    (row,) = ganray_here("ledger", str(target), "--json").json
    assert (row["state"], row["lost"]) == ("restored", "")


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
        expected = before.transform * (column, row)
        found = ~before.transform * (after.transform * (column * scale, row * scale))
        assert found == pytest.approx((column, row), abs=1e-9)
        assert expected == pytest.approx(after.transform * (column * scale, row * scale))


def test_what_stands_for_no_value_never_bleeds(tmp_path: Path) -> None:
    pixels = values("uint8", 3).clip(20, 230)
    valid = holes(pixels)
    outputs = []
    for name, nodata in (("dark", 0), ("bright", 255)):
        folder = tmp_path / name
        folder.mkdir()
        with_holes = np.where(valid, pixels, nodata).astype(np.uint8)
        write_raster(archive(folder) / "scene.tif", with_holes, nodata=nodata, photometric="RGB")
        restore(folder)
        with rasterio.open(folder / "restored" / "scene.tif") as dataset:
            outputs.append(dataset.read())
            assert (dataset.read()[:, ~repeat(valid, 2)] == nodata).all()
            assert (dataset.dataset_mask() != 0)[repeat(valid, 2)].all()
    inside = repeat(valid, 2)
    dark, bright = (output[:, inside].astype(int) for output in outputs)
    # A value that says "none" is moved aside.
    assert np.abs(dark - bright).max() <= 1
    assert (dark != bright).mean() < 0.001


def test_windows_of_a_raster_by_two_workers_are_the_whole(tmp_path: Path, bucket: str) -> None:
    pixels = values("uint16", 3, 600, 900)
    valid = np.ones((600, 900), bool)
    # Across the borders of windows, where filling could differ.
    valid[200:330, 180:560], valid[505:520, 250:262] = False, False
    words = "split_pixels=1000", "window_pixels=256"
    for kind in ("mask", "nodata"):
        folder = tmp_path / kind
        folder.mkdir()
        if kind == "mask":
            write_raster(archive(folder) / "scene.tif", pixels, mask=valid, photometric="RGB")
        else:
            holed = np.where(valid, pixels, 0).astype(np.uint16)
            write_raster(archive(folder) / "scene.tif", holed, nodata=0, photometric="RGB")
        restore(folder)
        target = folder / "windows"
        pool = ("workers.max=2", "workers.in_process=never") if kind == "mask" else ()
        outcome = ganray(
            "restore",
            *(f"source={archive(folder)}", f"target={target}"),
            *(pool or ("workers.max=0",)),
            *words,
        )
        assert outcome.code == DONE, outcome.text
        assert ganray_here("status", str(target), "--json").json["windows"] > 4
        with (
            rasterio.open(folder / "restored" / "scene.tif") as whole,
            rasterio.open(target / "scene.tif") as windows,
        ):
            np.testing.assert_array_equal(windows.read(), whole.read())
            np.testing.assert_array_equal(windows.dataset_mask(), whole.dataset_mask())
            np.testing.assert_array_equal(windows.dataset_mask() != 0, repeat(valid, 2))
            assert windows.transform == whole.transform


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
    expected = [
        np.asarray(
            Image.fromarray(b.astype(np.float32)).resize((260, 180), Image.Resampling.BICUBIC)
        )
        for b in pixels
    ]
    far = np.s_[8:-8, 8:-8]
    for band in range(5):
        distance = np.abs(found[band] - expected[band])[far].mean()
        # The interpolations differ in their kernel alone.
        assert distance < 0.02 * np.ptp(pixels[band]), band
    assert not np.array_equal(found[0], found[1])


def test_a_stac_item_says_what_was_made_of_what(tmp_path: Path) -> None:
    write_raster(archive(tmp_path) / "scene.tif", values("uint8", 3), photometric="RGB")
    target = magnify(tmp_path, 2, "geo.stac=true")
    item = __import__("json").loads((target / "scene.tif.stac.json").read_text())
    assert item["properties"]["proj:code"] == "EPSG:32633"
    assert item["properties"]["proj:shape"] == [180, 260]
    (link,) = [link for link in item["links"] if link["rel"] == "derived_from"]
    assert link["href"].endswith("archive/scene.tif")
    assert item["assets"]["data"]["href"].endswith("scene.tif")


# Film


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_code_values_of_film_are_exact_and_its_header_is_kept(
    depth: int, order: str, scale: int, tmp_path: Path
) -> None:
    pixels = film_frames.codes(3, 33, 41, depth=depth)
    packing = Packing(depth, 0 if depth in (8, 16) else 1, order, 3)
    timecode = 0x01020304.to_bytes(4, "little" if order == "<" else "big")
    data = film_frames.make_dpx(pixels, packing, fields={1920: timecode, 1764: b"a slate"})
    for name in ("shot.0007.dpx", "shot.0010.dpx"):
        (archive(tmp_path) / name).write_bytes(data)
    target = magnify(tmp_path, scale)
    assert sorted(p.name for p in target.glob("*.dpx")) == ["shot.0007.dpx", "shot.0010.dpx"]
    made = (target / "shot.0010.dpx").read_bytes()
    image = film.decode(made, FilmConfig(), max_pixels=LIMIT)
    np.testing.assert_array_equal(image.pixels, repeat(pixels, scale))
    assert image.profile.bit_depth == depth
    assert made[:4] == data[:4] and made[1920:1924] == timecode
    assert made[1764:1771] == b"a slate"


@pytest.mark.parametrize("space", ["stored", "linear", "display"])
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


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_exr_keeps_its_floats_beyond_white_and_what_is_not_finite(
    dtype: str, scale: int, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).uniform(-0.5, 6, (4, 24, 30)).astype(dtype)
    pixels[3] = pixels[3].clip(0, 1)
    pixels[0, 3, 4], pixels[1, 9, 9] = np.nan, np.inf
    made = film_frames.make_exr(tmp_path / "x.exr", pixels, ("R", "G", "B", "A"))
    (archive(tmp_path) / "x.exr").write_bytes(made)
    target = magnify(tmp_path, scale)
    found = film.decode((target / "x.exr").read_bytes(), FilmConfig(), max_pixels=LIMIT)
    expected = repeat(pixels, scale)
    assert found.pixels.dtype == dtype
    finite = np.isfinite(expected)
    step = {"float16": 0.0, "float32": 2e-6}[dtype]
    np.testing.assert_allclose(found.pixels[finite], expected[finite], rtol=0, atol=step)
    np.testing.assert_array_equal(np.isfinite(found.pixels), finite)


# DICOM


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("syntax", ["explicit", "rle"])
def test_a_series_of_ct_stays_one_series_with_its_values(
    syntax: str, scale: int, tmp_path: Path
) -> None:
    slices = [dicom_objects.noise(12, seed=seed) for seed in range(3)]
    for number, stored in enumerate(slices):
        data = dicom_objects.make(stored, 12, SOPInstanceUID=f"1.2.3.9.{number}")
        (archive(tmp_path) / f"{number}.dcm").write_bytes(data)
    # The window is narrow: most values lie outside, and come back all the same.
    words = f"dicom.transfer_syntax={syntax}", "dicom.hu_low=0", "dicom.hu_high=80"
    target = magnify(tmp_path, scale, *words)
    found = [pydicom.dcmread(target / f"{number}.dcm") for number in range(3)]
    for number, made in enumerate(found):
        image = dicom.decode(
            (target / f"{number}.dcm").read_bytes(), DicomConfig(), max_pixels=LIMIT
        )
        np.testing.assert_array_equal(image.pixels[0], repeat(slices[number], scale))
        assert "not for diagnosis" in made.DerivationDescription.lower()
    assert len({made.SeriesInstanceUID for made in found}) == 1
    assert len({made.SOPInstanceUID for made in found}) == 3
    notices = ganray_here("status", str(target), "--json").json["notices"]
    assert any("not for diagnosis" in notice for notice in notices)


# Photographs


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bands", [2, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_photographs_of_16_bits_are_exact(
    suffix: str, bands: int, scale: int, tmp_path: Path
) -> None:
    from ganray.codecs import deep_photo
    from ganray.codecs.photo_output import OutputConfig
    from ganray.raster.image import Image as Picture
    from ganray.raster.image import Profile

    names = {2: ("gray", "alpha"), 3: ("red", "green", "blue")}
    names[4] = (*names[3], "alpha")
    pixels = np.random.default_rng(0).integers(0, 2**16, (bands, 21, 34), np.uint16)
    codec = {"png": "png", "tif": "tiff"}[suffix]
    profile = Profile(codec, "uint16", 16, names[bands], resolution=(300.0, 300.0), icc=b"")
    data = deep_photo.encode(Picture(pixels, profile), codec, OutputConfig(), "")
    (archive(tmp_path) / f"deep.{suffix}").write_bytes(data)
    target = magnify(tmp_path, scale)
    made = deep_photo.decode((target / f"deep.{suffix}").read_bytes(), max_pixels=LIMIT)
    np.testing.assert_array_equal(made.pixels, repeat(pixels, scale))
    assert made.profile.colorinterp == names[bands]
    assert made.profile.resolution == pytest.approx((300, 300), abs=0.01)
