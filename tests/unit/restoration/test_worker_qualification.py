"""How a restore worker comes to its qualification: on which samples, and beside other workers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ganray.pipelines import restore_tools
from ganray.pipelines.restore_config import LimitsConfig, RestoreConfig
from ganray.pipelines.restore_tools import RestoreTools
from ganray.raster.image import FloatPixels, to_float
from ganray.restoration.qualification import Qualification
from tests.unit.codecs.film_files import Film, decode_all, write_film

OWN = Qualification("cpu", "float32", "bfloat16", 1.0, None, None, None, None, 9, 0, 1)
OTHER = replace(OWN, precision="bfloat16", half_speed=2.0, seam_error=0.1)


def tools(folder: Path, *samples: str, pixels: int = 2**20) -> RestoreTools:
    config = RestoreConfig(
        source=str(folder / "archive"),
        target=str(folder / "restored"),
        limits=LimitsConfig(pixels=pixels),
    )
    job = SimpleNamespace(
        config=config, samples=samples, bands=3, qualification_key=lambda device: f"{device}.json"
    )
    made = RestoreTools(job, isolated=False)  # type: ignore[arg-type]
    made._checkpoint = None  # type: ignore[assignment]
    return made


def write(folder: Path, name: str, height: int, width: int, mode: str = "RGB") -> np.ndarray:
    """A picture; its pixels (C,h,w)."""
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (folder / "archive").mkdir(exist_ok=True)
    Image.fromarray(values).save(folder / "archive" / name)
    return np.moveaxis(values, -1, 0) if mode == "RGB" else values[None]


@pytest.fixture(autouse=True)
def qualified(monkeypatch: pytest.MonkeyPatch) -> list[FloatPixels]:
    """The samples that were measured; nothing else is."""
    seen: list[FloatPixels] = []

    def qualify(checkpoint: object, config: object, samples: list[FloatPixels]) -> Qualification:
        seen.extend(samples)
        return OWN

    monkeypatch.setattr(restore_tools, "qualify", qualify)
    monkeypatch.setattr(restore_tools, "sleep", lambda seconds: None)
    return seen


def recorded(folder: Path) -> Qualification:
    return Qualification(**json.loads((folder / "restored" / "cpu.json").read_bytes()))


def record(folder: Path, content: bytes) -> None:
    (folder / "restored").mkdir(exist_ok=True)
    (folder / "restored" / "cpu.json").write_bytes(content)


def as_json(found: Qualification) -> bytes:
    return json.dumps(found.as_dict()).encode()


def test_a_gray_sample_goes_in_repeated(tmp_path: Path, qualified: list[FloatPixels]) -> None:
    pixels = write(tmp_path, "gray.png", 40, 50, "L")
    assert tools(tmp_path, "gray.png").qualification == OWN
    (sample,) = qualified
    assert np.array_equal(sample, to_float(pixels).repeat(3, 0))


def test_a_large_tiff_is_sampled_by_a_window_of_its_middle(
    tmp_path: Path, qualified: list[FloatPixels]
) -> None:
    pixels = write(tmp_path, "scene.TIF", 600, 800)
    assert (tmp_path / "archive" / "scene.TIF").stat().st_size > 2**20
    # Decoding it whole would exceed the limit.
    assert tools(tmp_path, "scene.TIF", pixels=1000).qualification == OWN
    (sample,) = qualified
    assert np.array_equal(sample, to_float(pixels[:, 44:556, 144:656]))


def test_a_tiff_that_is_narrower_than_a_sample_gives_what_it_has(
    tmp_path: Path, qualified: list[FloatPixels]
) -> None:
    pixels = write(tmp_path, "strip.tif", 100, 4000)
    assert tools(tmp_path, "strip.tif").qualification == OWN
    (sample,) = qualified
    assert np.array_equal(sample, to_float(pixels[:, :, 1744:2256]))


def test_a_large_file_of_another_kind_is_not_even_read(
    tmp_path: Path, qualified: list[FloatPixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "photo.png", 60, 60)
    monkeypatch.setattr(restore_tools, "MAX_SAMPLE_BYTES", 1000)
    worker = tools(tmp_path, "photo.png", "absent.png")
    monkeypatch.setattr(worker.source, "read", lambda *_: pytest.fail("was read"))
    assert worker.qualification is None and not qualified


def test_a_film_is_sampled_by_a_frame_of_its_middle(
    tmp_path: Path, qualified: list[FloatPixels]
) -> None:
    (tmp_path / "archive").mkdir()
    path = write_film(tmp_path / "archive" / "film.mp4", Film())
    assert tools(tmp_path, "film.mp4").qualification == OWN
    (sample,) = qualified
    frames = [to_float(frame.pixels) for frame in decode_all(path)]
    places = [number for number, frame in enumerate(frames) if np.array_equal(sample, frame)]
    assert places and 8 <= places[0] <= 24


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff", b"{", b"[]", b"7", b"{}", b'{"device": "cpu", "unheard_of": 1}'),
        as_json(replace(OTHER, precision="float8")),
        as_json(replace(OTHER, precision=[])),  # type: ignore[arg-type]
    ],
)
def test_a_finding_that_cannot_be_read_is_made_again(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "photo.png", 60, 60)
    record(tmp_path, content)
    assert tools(tmp_path, "photo.png").qualification == OWN
    assert recorded(tmp_path) == OWN


def test_a_recorded_finding_is_used(tmp_path: Path, qualified: list[FloatPixels]) -> None:
    write(tmp_path, "photo.png", 60, 60)
    record(tmp_path, as_json(OTHER))
    assert tools(tmp_path, "photo.png").qualification == OTHER and not qualified


def test_a_finding_that_another_worker_made_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "photo.png", 60, 60)

    def qualify(*_: object) -> Qualification:
        record(tmp_path, as_json(OTHER))
        return OWN

    monkeypatch.setattr(restore_tools, "qualify", qualify)
    assert tools(tmp_path, "photo.png").qualification == OTHER == recorded(tmp_path)


def in_the_settle(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    monkeypatch.setattr(restore_tools, "sleep", lambda seconds: act())


def test_workers_that_write_at_once_all_use_what_was_written_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "photo.png", 60, 60)
    in_the_settle(monkeypatch, lambda: record(tmp_path, as_json(OTHER)))
    assert tools(tmp_path, "photo.png").qualification == OTHER
    (tmp_path / "restored" / "cpu.json").unlink()
    in_the_settle(monkeypatch, lambda: record(tmp_path, b"damaged"))
    assert tools(tmp_path, "photo.png").qualification == OWN


def test_where_no_seam_was_measured_none_is_told(tmp_path: Path) -> None:
    write(tmp_path, "photo.png", 60, 60)
    worker = tools(tmp_path, "photo.png")
    assert worker.seam_error(is_one_patch=False) is None
    assert worker.seam_error(is_one_patch=True) == 0
