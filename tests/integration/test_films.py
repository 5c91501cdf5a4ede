"""Films through the restore job: segments on their way to one film, whatever happens meanwhile."""

import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from ganray.ledger import Ledger
from ganray.restoration import batches
from ganray.storage import open_store
from tests.integration.command import Outcome, ganray, ganray_here
from tests.integration.pictures import encoded
from tests.integration.test_chaos import start
from tests.integration.test_fidelity import write_repeating_generator
from tests.integration.test_restore import upload, wait_until
from tests.unit.codecs import dicom_objects, geo_files
from tests.unit.codecs.film_files import VFR, Film, decode_all, packets, plain_times, write_film

DONE, FAILED, USAGE, SOME_FAILED = 0, 1, 2, 3
ON_RAY = "workers.max=2", "workers.in_process=never"
HERE = "workers.max=0"
SEGMENTS = "video.segment_frames=8"
LONG = Film(width=320, height=240, times=tuple(range(0, 96 * 512, 512)))


@pytest.fixture(scope="session")
def generators(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """By their scale, generators that repeat every pixel."""
    folder = tmp_path_factory.mktemp("generators")
    return {scale: Path(write_repeating_generator(folder, scale)) for scale in (1, 2)}


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files go, of this process and of its children; Ray wants a short name."""
    with tempfile.TemporaryDirectory(prefix="films-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)
        monkeypatch.undo()


def make(folder: Path, name: str = "film.mp4", film: Film | None = None) -> Path:
    (folder / "archive").mkdir(exist_ok=True)
    return write_film(folder / "archive" / name, film or Film(audio="aac"))


def restore(folder: Path, generator: Path | str, *words: str) -> Outcome:
    return ganray_here(
        "restore",
        f"source={folder}/archive",
        f"target={folder}/restored",
        f"generator={generator}",
        SEGMENTS,
        HERE,
        *words,
    )


def rows(folder: Path) -> dict[str, dict]:
    found = ganray_here("ledger", f"{folder}/restored", "--json").json
    return {row["key"]: row for row in found}


def problems(folder: Path) -> dict[str, str]:
    audit = ganray_here("verify", f"{folder}/restored", "--json").json
    return {problem["key"]: problem["what"] for problem in audit["problems"]}


def staged(target: Path) -> list[Path]:
    return [path for path in (target / "_ganray" / "staging").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("open.mp4", Film(audio="aac", tags={"title": "a film"})),
        ("deep.mkv", Film(pixel_format="yuv422p10le", audio="aac", times=VFR)),
        ("gray.mkv", Film(codec="ffv1", pixel_format="gray", options={"g": "1"})),
        ("alpha.mov", Film(codec="qtrle", pixel_format="argb", options={"g": "5"})),
    ],
)
def test_an_identity_gives_every_frame_as_it_was_shown(
    name: str, film: Film, tmp_path: Path, generators: dict[int, Path], scratch: Path
) -> None:
    path = make(tmp_path, name, film)
    outcome = restore(tmp_path, generators[1])
    assert outcome.code == DONE, outcome.text
    made = (tmp_path / "restored" / name).with_suffix(".mkv")
    before, after = decode_all(path), decode_all(made)
    assert len(before) == len(film.times)
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    tick = 0.0011
    assert plain_times(made) == pytest.approx([float(t) for t in plain_times(path)], abs=tick)
    for own, copied in zip(packets(path, "audio"), packets(made, "audio"), strict=True):
        assert [data for _, data in own] == [data for _, data in copied]
        assert [float(t) for t, _ in copied] == pytest.approx([float(t) for t, _ in own], abs=tick)
    (row,) = rows(tmp_path).values()
    assert row["consistency"] == pytest.approx(0, abs=1e-6)
    assert row["seam_error"] == 0
    status = ganray_here("status", f"{tmp_path}/restored", "--json").json
    assert status["input_pixels"] == len(before) * film.width * film.height
    # Of QuickTime's animation it is not known where decoding may begin.
    assert status["windows"] > 1 or film.codec == "qtrle"
    assert problems(tmp_path) == {}
    assert not staged(tmp_path / "restored")
    assert not list(scratch.glob("ganray-scratch-*"))


def test_two_workers_restore_a_film_in_a_bucket_and_pictures_beside_it(
    tmp_path: Path, bucket: str, generators: dict[int, Path], scratch: Path
) -> None:
    path = make(tmp_path, film=replace(LONG, audio="aac"))
    for number in range(3):
        (tmp_path / "archive" / f"{number}.png").write_bytes(encoded(48, 48, seed=number))
    upload(tmp_path / "archive", f"{bucket}/archive")
    words = f"source={bucket}/archive", f"target={bucket}/restored", SEGMENTS
    outcome = ganray("restore", *words, f"generator={generators[2]}", *ON_RAY)
    assert outcome.code == DONE, outcome.text
    target = open_store(f"{bucket}/restored")
    (tmp_path / "made.mkv").write_bytes(target.read("film.mkv"))
    for one, other in zip(decode_all(path), decode_all(tmp_path / "made.mkv"), strict=True):
        assert np.array_equal(one.pixels.repeat(2, 1).repeat(2, 2), other.pixels)
    assert ganray_here("verify", f"{bucket}/restored").code == DONE
    assert not list(target.list("_ganray/staging/"))
    assert ganray_here("status", f"{bucket}/restored", "--json").json["inputs"]["restored"] == 4
    assert not list(scratch.glob("ganray-scratch-*"))
    second = ganray("restore", *words, f"generator={generators[2]}", *ON_RAY)
    assert "nothing to do" in second.output


def test_a_lone_film_is_spread_over_the_workers(
    tmp_path: Path, generators: dict[int, Path]
) -> None:
    make(tmp_path, film=LONG)
    words = f"source={tmp_path}/archive", f"generator={generators[2]}", SEGMENTS
    assert ganray("restore", *words, f"target={tmp_path}/ray", *ON_RAY).code == DONE
    assert ganray_here("restore", *words, f"target={tmp_path}/here", HERE).code == DONE
    alone, ray = (decode_all(tmp_path / name / "film.mkv") for name in ("here", "ray"))
    for one, other in zip(alone, ray, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_frames_of_several_windows_are_those_of_one(
    tmp_path: Path, generators: dict[int, Path]
) -> None:
    make(tmp_path, film=Film(width=600, height=320, times=tuple(range(0, 6 * 512, 512))))
    for size in (256, 2048):
        assert restore(tmp_path, "compact-x2", f"window_pixels={size}").code == DONE
        (tmp_path / "restored").rename(tmp_path / str(size))
    small, large = (decode_all(tmp_path / str(size) / "film.mkv") for size in (256, 2048))
    for one, other in zip(small, large, strict=True):
        assert one.pixels.shape == (3, 640, 1200)
        assert np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("size", [(48, 32), (300, 270)])
def test_batches_of_more_frames_than_are_on_their_way_are_not_waited_for(
    size: tuple[int, int],
    tmp_path: Path,
    generators: dict[int, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU, where a batch is large and the one before is on its way home."""
    monkeypatch.setitem(batches.BATCH_OUTPUT_PIXELS, "cpu", 2**30)
    monkeypatch.setitem(batches.BATCHES_AHEAD, "cpu", 1)
    film = Film(width=size[0], height=size[1], times=tuple(range(0, 20 * 512, 512)))
    path = make(tmp_path, film=film)
    assert restore(tmp_path, generators[2], "window_pixels=256").code == DONE
    made = decode_all(tmp_path / "restored" / "film.mkv")
    for one, other in zip(decode_all(path), made, strict=True):
        assert np.array_equal(one.pixels.repeat(2, 1).repeat(2, 2), other.pixels)


@pytest.mark.parametrize(("codec", "suffix"), [("prores", ".mov"), ("h264", ".mp4")])
def test_other_codecs_are_written_and_audited(
    codec: str, suffix: str, tmp_path: Path, generators: dict[int, Path]
) -> None:
    make(tmp_path)
    assert restore(tmp_path, generators[2], f"video.codec={codec}").code == DONE
    with av.open(str(tmp_path / "restored" / f"film{suffix}")) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (96, 64)
        assert sum(1 for _ in film.decode(video=0)) == 40
    assert "lossy" in rows(tmp_path)["film.mp4"]["lost"]
    assert problems(tmp_path) == {}


def test_a_film_that_was_interrupted_goes_on_at_its_next_segment(
    tmp_path: Path, scratch: Path
) -> None:
    make(tmp_path, film=replace(LONG, width=640, height=480))
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", HERE, SEGMENTS
    segments = tmp_path / "restored" / "_ganray" / "staging" / "scenes"
    driver = start("restore", *words)
    wait_until(lambda: len(list(segments.glob("*/0*"))) >= 2)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in segments.glob("*/*")}
    assert 3 <= len(before) < 12, "the plan and some segments"
    again = start("restore", *words)
    wait_until(lambda: len(list(segments.glob("*/*"))) > len(before))
    after = {path.name: path.stat().st_mtime_ns for path in segments.glob("*/*")}
    assert all(after.get(name, time) == time for name, time in before.items())
    # SIGTERM ends it in good order, after the segment that it is at.
    again.terminate()
    output, _ = again.communicate(timeout=120)
    assert again.returncode == FAILED, output
    assert "SIGTERM" in output
    assert len(list(segments.glob("*/*"))) < 13
    assert ganray("restore", *words).code == DONE
    assert ganray_here("verify", f"{tmp_path}/restored").code == DONE
    assert len(Ledger(open_store(f"{tmp_path}/restored")).read()) == 1
    assert not staged(tmp_path / "restored")


def test_damaged_films_fail_by_name_and_their_neighbours_are_restored(
    tmp_path: Path, generators: dict[int, Path], scratch: Path
) -> None:
    good = make(tmp_path, "good.mp4")
    (tmp_path / "archive" / "a.png").write_bytes(encoded(48, 48, seed=1))
    data = good.read_bytes()
    (tmp_path / "archive" / "truncated.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "archive" / "empty.mov").write_bytes(b"")
    (tmp_path / "archive" / "text.mkv").write_bytes(b"no film at all")
    hole = make(tmp_path, "hole.avi", Film(codec="ffv1", pixel_format="bgr0", options={"g": "1"}))
    spoilt = bytearray(hole.read_bytes())
    spoilt[len(spoilt) // 2] ^= 255
    hole.write_bytes(spoilt)
    outcome = restore(tmp_path, generators[1])
    assert outcome.code == SOME_FAILED, outcome.text
    found = rows(tmp_path)
    states = {key: row["state"] for key, row in found.items()}
    assert states.pop("a.png") == states.pop("good.mp4") == "restored"
    assert states == dict.fromkeys(["truncated.mp4", "empty.mov", "text.mkv", "hole.avi"], "failed")
    assert "truncated" in found["truncated.mp4"]["reason"]
    assert "checksum" in found["hole.avi"]["reason"]
    assert problems(tmp_path) == {}
    assert not staged(tmp_path / "restored")
    assert not list(scratch.glob("ganray-scratch-*"))


def test_verify_finds_planted_damage(tmp_path: Path, generators: dict[int, Path]) -> None:
    names = "short.mp4", "swapped.mp4", "flipped.mp4", "cut.mp4", "good.mp4"
    for number, name in enumerate(names):
        make(tmp_path, name, Film(tags={"title": str(number)}))
    make(tmp_path, "longer.mp4", Film(times=tuple(range(0, 44 * 512, 512))))
    assert restore(tmp_path, generators[1]).code == DONE
    assert problems(tmp_path) == {}
    target = tmp_path / "restored"
    data = (target / "short.mkv").read_bytes()
    (target / "short.mkv").write_bytes(data[:-100])
    (target / "swapped.mkv").write_bytes((target / "good.mkv").read_bytes())
    flipped = bytearray((target / "flipped.mkv").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (target / "flipped.mkv").write_bytes(flipped)
    plant(tmp_path, "cut.mp4", like="longer.mp4")
    found = problems(tmp_path)
    assert found.keys() == {"short.mp4", "swapped.mp4", "flipped.mp4", "cut.mp4"}
    assert "another size" in found["cut.mp4"]
    assert "44 frames" in found["cut.mp4"]


def plant(folder: Path, key: str, *, like: str) -> None:
    """Another film's output, and a row that is true of it."""
    store = open_store(f"{folder}/restored")
    known = Ledger(store).read()
    other = known[like]
    output = known[key].output
    store.write(output, store.read(other.output))
    row = replace(other, key=key, etag=known[key].etag, output=output)
    Ledger(store).record([replace(row, recorded_at=row.recorded_at + 100)], "planted")


def test_an_output_beyond_a_limit_of_trust_is_not_written(
    tmp_path: Path, generators: dict[int, Path]
) -> None:
    make(tmp_path)
    words = "trust.max_consistency=0.0", "trust.beyond=refuse"
    outcome = restore(tmp_path, "compact-x2", *words)
    assert outcome.code == SOME_FAILED, outcome.text
    assert "trust.max_consistency" in outcome.output
    assert not list((tmp_path / "restored").glob("*.mkv"))


def test_a_plan_says_that_films_are_not_in_its_figures(
    tmp_path: Path, generators: dict[int, Path]
) -> None:
    make(tmp_path)
    outcome = restore(tmp_path, generators[1], "--plan")
    assert outcome.code == DONE
    assert "films       1 of" in outcome.output
    assert "sample" not in outcome.output
    (tmp_path / "archive" / "a.png").write_bytes(encoded(48, 48, seed=1))
    outcome = restore(tmp_path, generators[1], "--plan")
    assert "films       1 of" in outcome.output
    assert "sample      measured: 1" in outcome.output


@pytest.mark.parametrize(
    ("module", "extra", "name"),
    [("av", "video", "film.mp4"), ("pydicom", "dicom", "a.dcm"), ("rasterio", "geo", "a.tif")],
)
def test_an_input_whose_extra_is_missing_fails_by_name(
    module: str, extra: str, name: str, tmp_path: Path, generators: dict[int, Path]
) -> None:
    write_input(tmp_path / "archive", name)
    (tmp_path / "archive" / "neighbour.png").write_bytes(encoded(48, 48, seed=1))
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / f"{module}.py").write_text(f"raise ImportError('no {module}')\n")
    words = "restore", f"source={tmp_path}/archive", f"target={tmp_path}/restored", HERE
    path = f"{missing}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    outcome = ganray(*words, f"generator={generators[1]}", PYTHONPATH=path)
    assert outcome.code == SOME_FAILED, outcome.text
    found = rows(tmp_path)
    assert found["neighbour.png"]["state"] == "restored"
    assert "pip install" in found[name]["reason"]
    assert f"ganray[{extra}]" in found[name]["reason"]
    plan = ganray(*words, f"generator={generators[1]}", "--plan", PYTHONPATH=path)
    assert plan.code == DONE, plan.text
    # Once it is installed, the next run restores it without being told.
    assert ganray_here(*words, f"generator={generators[1]}").code == DONE


def write_input(folder: Path, name: str) -> None:
    """A small input of an optional family."""
    folder.mkdir()
    if name.endswith(".mp4"):
        write_film(folder / name, Film())
    elif name.endswith(".dcm"):
        (folder / name).write_bytes(dicom_objects.make(dicom_objects.noise(12), 12))
    else:
        pixels = geo_files.values((3, 40, 50), "uint8")
        (folder / name).write_bytes(geo_files.geotiff(pixels))
