import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from ganray import sample
from ganray.codecs.photo import decode
from ganray.errors import MissingExtraError, UndecodableError
from ganray.manifest import Input, Selection, Unreadable, list_images, probe_all
from ganray.sample import BROKEN, PHOTOGRAPHS, Photograph, write_sample
from ganray.storage import open_store

CODECS = {".png": "png", ".jpg": "jpeg", ".webp": "webp", ".tif": "tiff"}
BANDS = {"L": 1, "RGB": 3, "RGBA": 4, "I;16": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_exactly_the_listed_files_are_written(folder: Path) -> None:
    assert set(contents(folder)) == {photo.key for photo in (*PHOTOGRAPHS, BROKEN)}


def test_every_photograph_has_the_format_and_mode_it_is_listed_with(folder: Path) -> None:
    store = open_store(str(folder))
    items = list(probe_all(store, list_images(store, Selection(exclude=("damaged/*",)))))
    found = {item.key: (item.codec, item.num_bands, item.dtype) for item in items}
    assert found == {
        photo.key: (
            CODECS[Path(photo.key).suffix],
            BANDS[photo.mode],
            "uint16" if photo.mode == "I;16" else "uint8",
        )
        for photo in PHOTOGRAPHS
    }


def test_both_halves_hold_every_format(folder: Path) -> None:
    for half in ("training/", "held-out/"):
        suffixes = {Path(photo.key).suffix for photo in PHOTOGRAPHS if photo.key.startswith(half)}
        assert suffixes == set(CODECS)


def test_the_broken_file_looks_whole_in_its_header_and_is_not(folder: Path) -> None:
    store = open_store(str(folder))
    (item,) = probe_all(store, list_images(store, Selection(include=("damaged/*",))))
    assert isinstance(item, Input) and not isinstance(item, Unreadable)
    with pytest.raises(UndecodableError, match="truncated"):
        decode((folder / BROKEN.key).read_bytes(), max_pixels=10**7)


def test_sixteen_bits_are_used_in_full(folder: Path) -> None:
    deep = next(photo for photo in PHOTOGRAPHS if photo.mode == "I;16")
    image = decode((folder / deep.key).read_bytes(), max_pixels=10**7)
    assert image.pixels.max() > 2**15 and not (image.pixels % 257).any()


def test_lossless_photographs_are_their_sources(folder: Path) -> None:
    for photo in PHOTOGRAPHS:
        if photo.mode in ("RGB", "L") and photo.key.endswith((".png", ".tif")):
            image = decode((folder / photo.key).read_bytes(), max_pixels=10**7)
            source = np.asarray(sample._open(photo.source).convert(photo.mode))
            assert np.array_equal(np.moveaxis(image.pixels, 0, -1).squeeze(), source)


def test_photographs_carry_a_resolution_and_a_description(folder: Path) -> None:
    for photo in PHOTOGRAPHS:
        image = decode((folder / photo.key).read_bytes(), max_pixels=10**7)
        assert image.profile.exif is not None and photo.source.encode() in image.profile.exif
        if not photo.key.endswith(".webp"):
            assert image.profile.resolution == pytest.approx((300, 300), abs=0.1)


def test_a_second_call_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)
    monkeypatch.setattr(sample, "_encode", lambda _: pytest.fail("a file was made again"))
    write_sample(folder)
    assert contents(folder) == before


def tiny(photograph: Photograph) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new("L", (4, 4)).save(buffer, format="PNG")
    return buffer.getvalue()


def test_only_what_is_absent_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_encode", tiny)
    write_sample(tmp_path)
    kept = tmp_path / PHOTOGRAPHS[0].key
    kept.write_bytes(b"changed by hand")
    (tmp_path / PHOTOGRAPHS[1].key).unlink()
    (tmp_path / BROKEN.key).unlink()
    write_sample(tmp_path)
    assert set(contents(tmp_path)) == {photo.key for photo in (*PHOTOGRAPHS, BROKEN)}
    assert kept.read_bytes() == b"changed by hand"


def test_without_scikit_image_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(sample, "files", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'ganray\[demo\]'"):
        write_sample(tmp_path)
    assert contents(tmp_path) == {}
