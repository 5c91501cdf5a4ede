import random
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ganray.codecs.tiff_runs import RunSource
from ganray.codecs.video import StagedFilm, VideoConfig, VideoOutput, VideoSource, join
from ganray.errors import RestorationError, UnsupportedImageError
from ganray.pipelines.film_scenes import find_film_scene, read_plan
from ganray.pipelines.film_tasks import FilmSegmentTask, FrameWindow, choose_frames
from ganray.pipelines.overlap import Engine
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import (
    Outcome,
    Pending,
    RestoreJob,
    Scene,
    SceneFailed,
    WindowDone,
)
from ganray.pipelines.restore_tools import RestoreTools
from ganray.restoration.canvas import RestoredWindow, WindowTask
from ganray.restoration.guard import TrustMeter
from ganray.restoration.tiling import Tiling
from ganray.storage import open_store
from tests.unit.codecs.film_files import Film, decode_all, write_film

SCALE = 2
WIDE = Film(width=600, height=300, times=tuple(range(0, 20 * 512, 512)))


class Device:
    """Nearest neighbours; windows come back late, several at once, in any order."""

    def __init__(self, fail_at: int = -1, error: Exception | None = None) -> None:
        self.fail_at = fail_at
        self.error = error
        self.num_windows = 0
        self.num_at_once = 0
        self.rng = random.Random(0)

    def restore(self, tasks: Iterable[WindowTask | None]) -> Iterator[RestoredWindow]:
        waiting: list[WindowTask] = []
        for task in tasks:
            waiting += [task] if task is not None else []
            if task is None or len(waiting) >= 8:
                yield from self._flush(waiting)
        yield from self._flush(waiting)

    def _flush(self, waiting: list[WindowTask]) -> Iterator[RestoredWindow]:
        frames = {task.frame.number for task in waiting if isinstance(task, FrameWindow)}
        self.num_at_once = max(self.num_at_once, len(frames))
        self.rng.shuffle(waiting)
        while waiting:
            yield self._restore(waiting.pop())

    def _restore(self, task: WindowTask) -> RestoredWindow:
        self.num_windows += 1
        trust = TrustMeter(task.pixels.shape[0])
        if self.num_windows == self.fail_at:
            if self.error is not None:
                raise self.error
            return RestoredWindow(task, None, trust, RestorationError("not finite"))
        core = task.window.core.shift(task.window.read.top, task.window.read.left)
        pixels = task.pixels[:, core.top : core.bottom, core.left : core.right]
        trust.add_sums([0, 1, 2], np.zeros(8, np.float32), pixels.size, pixels.size * SCALE**2)
        return RestoredWindow(task, pixels.repeat(SCALE, 1).repeat(SCALE, 2), trust)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def make_tools(folder: Path, **video: object) -> RestoreTools:
    config = RestoreConfig(
        source=str(folder / "archive"),
        target=str(folder / "restored"),
        window_pixels=256,
        video=VideoConfig(**{"segment_frames": 8} | video),
    )
    job = RestoreJob(
        config=config,
        generator_digest="g",
        scale=SCALE,
        bands=3,
        tiling=Tiling(halo=4, overlap=0),
        run_id="r",
        started_at="now",
        split_pixels=1,
        split_picture_pixels=1,
        samples=(),
    )
    return RestoreTools(job, isolated=False)


def find(tools: RestoreTools, key: str) -> Scene:
    info = tools.source.stat(key)
    item = Pending(key, info.etag, info.num_bytes)
    return find_film_scene(tools.job, item, VideoSource(tools.source, key), target=tools.target)


def test_a_film_is_refused_where_the_generator_takes_a_mask(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    write_film(tmp_path / "archive" / "film.mp4", WIDE)
    tools = make_tools(tmp_path)
    config = tools.job.config.model_copy(update={"masks": str(tmp_path / "masks")})
    tools.job = replace(tools.job, config=config)
    with pytest.raises(UnsupportedImageError, match="extract its frames as PNG"):
        find(tools, "film.mp4")


def make_engine(device: Device) -> Engine[Outcome]:
    def commit(outcomes: Sequence[Outcome]) -> None:
        """Nothing is recorded."""

    return Engine(
        device.restore, commit, num_readers=2, num_writers=2, num_ahead=6, buffer_bytes=2**29
    )


def run(
    tools: RestoreTools, scene: Scene, device: Device, indices: Iterable[int] | None = None
) -> list[Outcome]:
    engine = make_engine(device)
    wanted = range(scene.num_windows) if indices is None else indices
    tasks = [FilmSegmentTask(tools, scene, index, engine.clocks) for index in wanted]
    try:
        return list(engine.run(tasks, lambda: False))
    finally:
        engine.close()


def leftovers(scratch: Path) -> list[str]:
    own = ("ganray-decode", "ganray-encode")
    names = [thread.name for thread in threading.enumerate() if thread.name in own]
    return names + [path.name for path in scratch.iterdir()]


def archive(folder: Path, film: Film) -> Path:
    (folder / "archive").mkdir(exist_ok=True)
    return write_film(folder / "archive" / "film.mp4", film)


def test_windows_in_any_order_become_frames_in_order(tmp_path: Path, scratch: Path) -> None:
    path = archive(tmp_path, WIDE)
    tools, device = make_tools(tmp_path), Device()
    scene = find(tools, "film.mp4")
    assert scene.num_windows > 1
    outcomes = run(tools, scene, device)
    assert device.num_at_once > 1, "frames share batches"
    assert device.num_windows == 20 * 6
    sizes = {o.index: o.num_bytes for o in outcomes if isinstance(o, WindowDone)}
    assert len(sizes) == scene.num_windows
    runs = [RunSource(scene.run_key(index), sizes[index]) for index in sorted(sizes)]
    staged = StagedFilm(read_plan(tools.target, scene.plan_key), runs, tools.target.read)
    assert scene.film is not None
    output = VideoOutput(scene.film.profile, tools.job.config.video, SCALE)
    source = VideoSource(tools.source, "film.mp4")
    joined = join(output, source, staged=staged, path=tmp_path / "out.mkv", history="h")
    assert joined.num_frames == scene.film.num_frames == 20
    restored, expected = decode_all(tmp_path / "out.mkv"), decode_all(path)
    for made, frame in zip(restored, expected, strict=True):
        assert np.array_equal(made.pixels, frame.pixels.repeat(SCALE, 1).repeat(SCALE, 2))
    assert {extra["scene"] for extra in joined.extras} == {scene.staging}
    assert sum(extra["trust"]["num_samples"] for extra in joined.extras) == 20 * 3 * 600 * 300
    assert not leftovers(scratch)


@pytest.mark.parametrize("fail_at", [1, 7, 40, 119])
def test_an_engine_that_ends_early_leaves_no_thread_and_no_file(
    fail_at: int, tmp_path: Path, scratch: Path
) -> None:
    archive(tmp_path, WIDE)
    tools = make_tools(tmp_path)
    scene = find(tools, "film.mp4")
    with pytest.raises(ZeroDivisionError):
        run(tools, scene, Device(fail_at, ZeroDivisionError()))
    assert not leftovers(scratch)


def test_after_a_stop_the_segment_at_work_is_finished_and_nothing_is_left(
    tmp_path: Path, scratch: Path
) -> None:
    archive(tmp_path, WIDE)
    tools, device = make_tools(tmp_path), Device()
    scene = find(tools, "film.mp4")
    engine = make_engine(device)
    tasks = [FilmSegmentTask(tools, scene, i, engine.clocks) for i in range(scene.num_windows)]
    outcomes = list(engine.run(tasks, lambda: device.num_windows > 3))
    assert [type(outcome) for outcome in outcomes] == [WindowDone]
    assert engine._budget._free == 2**29
    assert not leftovers(scratch)
    engine.close()


@pytest.mark.parametrize("fail_at", [1, 30, 48])
def test_a_window_that_fails_fails_its_segment_alone(
    fail_at: int, tmp_path: Path, scratch: Path
) -> None:
    archive(tmp_path, WIDE)
    tools = make_tools(tmp_path)
    scene = find(tools, "film.mp4")
    outcomes = run(tools, scene, Device(fail_at))
    failed = [outcome for outcome in outcomes if isinstance(outcome, SceneFailed)]
    assert [outcome.row.reason for outcome in failed] == ["not finite"]
    assert len(outcomes) == scene.num_windows
    assert not leftovers(scratch)


def test_a_damaged_frame_fails_its_segment_by_name(tmp_path: Path, scratch: Path) -> None:
    path = archive(tmp_path, replace(WIDE, codec="ffv1", pixel_format="bgr0", options={"g": "1"}))
    path = path.rename(path.with_suffix(".avi"))
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4] ^= 255
    path.write_bytes(data)
    tools = make_tools(tmp_path)
    scene = find(tools, path.name)
    outcomes = run(tools, scene, Device())
    (failed,) = [outcome for outcome in outcomes if isinstance(outcome, SceneFailed)]
    assert "checksum" in failed.row.reason
    assert not leftovers(scratch)


def test_a_bug_in_the_decoder_is_raised(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[object]:
        raise ZeroDivisionError
        yield

    archive(tmp_path, WIDE)
    tools = make_tools(tmp_path)
    scene = find(tools, "film.mp4")
    monkeypatch.setattr("ganray.pipelines.film_tasks.iter_frames", broken)
    with pytest.raises(ZeroDivisionError):
        run(tools, scene, Device())
    assert not leftovers(scratch)


def test_a_full_disk_is_a_failure_that_is_tried_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path, WIDE)
    tools = make_tools(tmp_path)
    scene = find(tools, "film.mp4")
    honest = Path.open

    def full(path: Path, mode: str = "r", *others: object) -> object:
        return honest(Path("/dev/full") if path.suffix == ".segment" else path, mode, *others)

    monkeypatch.setattr(Path, "open", full)
    outcomes = run(tools, scene, Device(), [0])
    (failed,) = outcomes
    assert isinstance(failed, SceneFailed)
    assert "space" in failed.row.reason
    assert failed.row.retry


def test_a_staged_segment_is_found_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    archive(tmp_path, WIDE)
    tools = make_tools(tmp_path)
    scene = find(tools, "film.mp4")
    run(tools, scene, Device())
    keys = [scene.run_key(index) for index in range(scene.num_windows)]
    made = {key: tools.target.read(key) for key in keys}
    again = Device()
    assert all(isinstance(outcome, WindowDone) for outcome in run(tools, scene, again))
    assert again.num_windows == 0
    first = made[keys[0]]
    num_frames = read_plan(tools.target, scene.plan_key).segments[0].num_frames
    spoilt = first[:-40] + bytes(4) + first[-36:]
    for damaged in (first[:-1], first[1:], spoilt, b"", made[keys[1]]):
        tools.target.write(keys[0], damaged)
        device = Device()
        run(tools, scene, device)
        assert device.num_windows == num_frames * 6
        assert len(tools.target.read(keys[0])) == pytest.approx(len(first), abs=40)


def test_the_place_in_staging_follows_from_all_that_shapes_a_segment(tmp_path: Path) -> None:
    path = archive(tmp_path, WIDE)
    tools = make_tools(tmp_path)
    scene = find(tools, "film.mp4")
    assert find(tools, "film.mp4") == scene
    others = [find(make_tools(tmp_path, **words), "film.mp4") for words in ({"slices": 9},)]
    others.append(find(make_tools(tmp_path, segment_frames=9), "film.mp4"))
    tools.job = replace(tools.job, generator_digest="h")
    others.append(find(tools, "film.mp4"))
    path.write_bytes(path.read_bytes() + bytes(64))
    others.append(find(make_tools(tmp_path), "film.mp4"))
    assert len({one.staging for one in (scene, *others)}) == 1 + len(others)
    same = find(make_tools(tmp_path, threads=3), "film.mp4")
    assert same.staging == others[-1].staging


def test_a_plan_that_is_there_spares_reading_the_film_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path, WIDE)
    tools = make_tools(tmp_path)
    scene = find(tools, "film.mp4")
    with monkeypatch.context() as patch:
        patch.setattr("ganray.pipelines.film_scenes.scan_segments", None)
        assert find(tools, "film.mp4") == scene
    tools.target.write(scene.plan_key, b"{}")
    assert find(tools, "film.mp4") == scene
    assert len(read_plan(tools.target, scene.plan_key).segments) == scene.num_windows


@pytest.mark.parametrize(("width", "height"), [(320, 240), (1920, 1080), (7680, 4320)])
def test_few_large_frames_or_many_small_ones_are_on_their_way(
    width: int, height: int, tmp_path: Path
) -> None:
    archive(tmp_path, Film())
    profile = find(make_tools(tmp_path), "film.mp4").film.profile
    output = VideoOutput(replace(profile, width=width, height=height), VideoConfig(), SCALE)
    number, num_bytes = choose_frames(output)
    assert number * 5 * 3 * width * height < num_bytes
    assert number == {320: 58, 1920: 4, 7680: 4}[width]


def test_clocks_do_not_count_what_a_scan_reads(tmp_path: Path) -> None:
    archive(tmp_path, WIDE)
    beats = []
    tools = make_tools(tmp_path)
    source = tools.film_source("film.mp4", lambda: beats.append(1))
    info = open_store(str(tmp_path / "archive")).stat("film.mp4")
    item = Pending("film.mp4", info.etag, info.num_bytes)
    find_film_scene(tools.job, item, source, target=tools.target)
    assert len(beats) >= 2
