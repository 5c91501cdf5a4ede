"""Showing what became of an input: each family by its codec, of what is large the middle."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganray.codecs.catalog import Codecs
from ganray.errors import CodecError
from ganray.report import regions
from ganray.report.encoding import Encoded
from ganray.report.showing import Bounds, Pair, find_outlines, show_pair
from tests.unit.codecs.geo_files import geotiff, values

rasterio = pytest.importorskip("rasterio")
BOUNDS = Bounds(1 << 24, 1 << 20)
UTM = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(500_000, 5e6, 10, 10)}


def pair(folder: Path, key: str, before: bytes, after: bytes) -> Pair:
    for name, data in (("source", before), ("target", after)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / key).write_bytes(data)
    return Pair(str(folder / "source"), key, str(folder / "target"), key, ("a note",))


def tiff(pixels: np.ndarray, **settings: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", **settings)
    return buffer.getvalue()


def decoded(encoded: Encoded) -> np.ndarray:
    data = base64.b64decode(encoded.uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def photograph(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_a_photograph_is_shown_as_it_is_before_and_after(tmp_path: Path) -> None:
    before = photograph(40)
    after = before.repeat(2, 0).repeat(2, 1)
    strip = show_pair(pair(tmp_path, "a.tif", tiff(before), tiff(after)), Codecs(), BOUNDS)
    assert [state.name for state in strip.states] == ["Input", "Restored"]
    assert strip.exact and (strip.width, strip.height) == (80, 80)
    np.testing.assert_array_equal(decoded(strip.states[0].whole), before)
    np.testing.assert_array_equal(decoded(strip.states[1].whole), after)
    assert strip.notes == ("a note",)


@pytest.mark.parametrize("large_bytes", [0, 1 << 30])
def test_of_a_large_picture_the_same_middle_is_shown(
    large_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by ranges or decoded whole, which is the same."""
    monkeypatch.setattr(regions, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(regions, "REGION_SIDE", 20)
    monkeypatch.setattr(regions, "LARGE_TIFF_BYTES", large_bytes)
    before = photograph(60)
    after = before.repeat(2, 0).repeat(2, 1)
    strip = show_pair(pair(tmp_path, "a.tif", tiff(before), tiff(after)), Codecs(), BOUNDS)
    np.testing.assert_array_equal(decoded(strip.states[0].whole), before[25:35, 25:35])
    np.testing.assert_array_equal(decoded(strip.states[1].whole), after[50:70, 50:70])
    assert "the middle of 120×120" in strip.notes


def test_a_raster_of_deep_bands_is_shown_and_its_place_is_found(tmp_path: Path) -> None:
    before = values((4, 32, 48), "uint16")
    after = before.repeat(2, 1).repeat(2, 2)
    shown = pair(tmp_path, "s.tif", geotiff(before, **UTM), geotiff(after, **UTM))
    strip = show_pair(shown, Codecs(), BOUNDS)
    assert (strip.width, strip.height) == (96, 64)
    assert any(note.startswith("bands 1, 2, 3") for note in strip.notes)
    (tmp_path / "source/photo.tif").write_bytes(tiff(photograph(8)))
    (tmp_path / "source/broken.tif").write_bytes(b"II*\0")
    keys = ["photo.tif", "s.tif", "broken.tif", "gone.tif"]
    (outline,) = find_outlines(shown.source, keys, Codecs())
    assert outline.text == "s.tif"
    longitude, latitude = outline.geometry["coordinates"][0][0]
    assert longitude == pytest.approx(15, abs=0.1) and latitude == pytest.approx(45.1, abs=0.1)


def test_an_output_of_another_size_is_not_shown_beside_its_input(tmp_path: Path) -> None:
    shown = pair(tmp_path, "a.tif", tiff(photograph(40)), tiff(photograph(50)))
    with pytest.raises(CodecError, match="no multiple"):
        show_pair(shown, Codecs(), BOUNDS)
