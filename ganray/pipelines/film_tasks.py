"""A film's segments, each a task of any worker, and the task that makes one film of them."""

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ganray.codecs.tiff_runs import RunSource
from ganray.codecs.video import (
    Frame,
    StagedFilm,
    StagedSegment,
    VideoOutput,
    VideoSource,
    encode_segment,
    iter_frames,
    join,
)
from ganray.codecs.video_staging import read_segment_footer
from ganray.errors import GanrayError, NotFoundError, UndecodableError
from ganray.ledger import LedgerRow
from ganray.pipelines.budget import Clocks, PausingBudget
from ganray.pipelines.film_files import BlockReader, upload_file
from ganray.pipelines.film_flow import FrameFlow
from ganray.pipelines.film_scenes import film_output
from ganray.pipelines.outcomes import attempt, failed_row
from ganray.pipelines.restore_orders import Outcome, Scene, SceneFailed, WindowDone
from ganray.pipelines.restore_tools import RestoreTools
from ganray.pipelines.scene_tasks import AssemblyTask
from ganray.pipelines.scratch import ScratchFile
from ganray.raster.image import Pixels, empty_pixels
from ganray.raster.windows import Box, crop, place
from ganray.restoration.canvas import RestoredWindow, WindowTask
from ganray.restoration.guard import TrustMeter

FLIGHT_BYTES = 64 << 20
"""Frames on their way through a worker, decoded and restored; small frames fill a batch so."""
LEAST_FRAMES, MOST_FRAMES = 4, 64
CODEC_FRAMES = 8
"""Those that a decoder refers to, and those that an encoder looks ahead to: more, but smaller."""
SOURCE_BYTES = 24 << 20
"""Blocks of the file that are kept."""
UPLOAD_BYTES = 24 << 20


@dataclass
class FrameInWork:
    """A frame whose windows are on their way through the device."""

    number: int
    source: Frame = field(repr=False)
    num_missing: int
    restored: Pixels | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class FrameWindow(WindowTask):
    """A window of a frame."""

    frame: FrameInWork | None = None


def choose_frames(output: VideoOutput) -> tuple[int, int]:
    """How many frames of a film may be on their way at once, and the bytes that they take, the
    decoder's and the encoder's own included."""
    kind = output.profile.kind
    sample_bytes = len(kind.bands) * np.dtype(kind.dtype).itemsize
    decoded = output.profile.width * output.profile.height * sample_bytes
    restored = output.width * output.height * sample_bytes
    number = max(LEAST_FRAMES, min(MOST_FRAMES, FLIGHT_BYTES // (decoded + restored)))
    looks_ahead = output.config.codec == "h264"
    inside = CODEC_FRAMES * decoded + (CODEC_FRAMES if looks_ahead else 1) * restored
    return number, number * (decoded + restored) + inside + SOURCE_BYTES


class FilmSegmentTask:
    """One segment of a film: its frames are restored and wait in staging, encoded; see
    `overlap.Task`.

    Loading begins to decode, a few frames ahead of the device.
    """

    def __init__(self, tools: RestoreTools, scene: Scene, index: int, clocks: Clocks) -> None:
        self.tools = tools
        self.scene = scene
        self.index = index
        self.name = f"{scene.item.key} segment {index}"
        self.held_bytes = 0
        self.device_seconds = 0.0
        # Decoder and encoder have clocks of their own, begun anew with every frame.
        self.is_timed = False
        self._clocks = clocks
        self._output = film_output(tools.job, scene)
        self._grid = tools.job.grid(scene.height, scene.width)
        self._error: GanrayError | None = None
        self._staged_bytes = 0
        self._budget: PausingBudget | None = None
        self._flow: FrameFlow[StagedSegment] | None = None
        self._file: ScratchFile | None = None
        self._meter = TrustMeter(len(scene.bands))
        self._extra: dict[str, Any] = {"scene": scene.staging}
        self._num_issued = self._num_collected = self._num_put = 0
        self._has_ended = False
        self._early: dict[int, Frame] = {}

    def refuse(self, error: GanrayError) -> None:
        self._error = error

    def load(self, budget: PausingBudget) -> None:
        """Begin to decode, unless an earlier run has restored the segment."""
        if self._error is None:
            self._error = attempt(lambda: self._load(budget))

    def _load(self, budget: PausingBudget) -> None:
        self._segment = self.tools.film_plan(self.scene).segments[self.index]
        self._staged_bytes = self._find_staged()
        if self._staged_bytes:
            return
        num_frames, num_bytes = choose_frames(self._output)
        self._budget = budget
        self.held_bytes = budget.acquire(num_bytes)
        self._file = ScratchFile(".segment")
        self._flow = FrameFlow(
            self._decode, self._encode, num_frames=num_frames, clocks=self._clocks, name=self.name
        )

    def _find_staged(self) -> int:
        """Bytes of what an earlier run has left of this segment; 0 if it is not there, or not
        whole, or of another film."""
        target, key = self.tools.target, self.scene.run_key(self.index)
        try:
            source = RunSource(key, target.stat(key).num_bytes)
            footer = read_segment_footer(
                self._output.digest, self._segment, source=source, read=target.read
            )
        except (NotFoundError, UndecodableError):
            return 0
        return source.num_bytes if footer.extra.get("scene") == self.scene.staging else 0

    def _decode(self) -> Generator[Frame, None, None]:
        assert self.scene.film is not None
        source = VideoSource(self.tools.source, self.scene.item.key)
        return iter_frames(
            source, self.scene.film.profile, self._segment, self.tools.job.config.video
        )

    def _encode(self, frames: Iterator[Frame]) -> StagedSegment:
        assert self._file is not None
        return encode_segment(
            self._output, self._segment, frames=frames, path=self._file.path, extra=self._extra
        )

    def windows(self) -> Iterator[WindowTask | None]:
        """Windows of all frames. One is held back until it is known whether it is the last."""
        if self._error is not None or self._flow is None:
            return
        number, last = 0, None
        for frame in self._flow.frames():
            if frame is None:
                yield None
                continue
            if last is not None:
                yield self._issue(last)
            *others, last = self._cut(number, frame)
            yield from map(self._issue, others)
            number += 1
            if self._error is not None:
                break
        self._has_ended = True
        if last is not None:
            yield self._issue(last)

    def _cut(self, number: int, frame: Frame) -> Iterator[FrameWindow]:
        work = FrameInWork(number, frame, self._grid.num_windows)
        for window in self._grid.windows():
            yield FrameWindow(
                crop(frame.pixels, window.read),
                self._grid,
                window,
                token=self,
                ranges=self.scene.ranges,
                parts=self.scene.parts,
                frame=work,
            )

    def _issue(self, window: FrameWindow) -> FrameWindow:
        self._num_issued += 1
        return window

    def collect(self, restored: RestoredWindow) -> bool:
        """Put one window into its frame, and complete frames into their order."""
        self._num_collected += 1
        window = restored.task
        assert isinstance(window, FrameWindow)
        if restored.pixels is None:
            self._error = self._error or restored.error
        else:
            assert window.frame is not None
            self._meter.merge(restored.trust.as_dict())
            self._take(window.frame, restored.pixels, window.window.core)
        is_last = self._has_ended and self._num_collected == self._num_issued
        if is_last:
            self._end()
        return is_last

    def _take(self, frame: FrameInWork, pixels: Pixels, core: Box) -> None:
        if self._grid.num_windows == 1:
            frame.restored = pixels
        else:
            if frame.restored is None:
                shape = len(self.scene.bands), self._output.height, self._output.width
                frame.restored = empty_pixels(*shape, pixels.dtype)
            place(frame.restored, pixels, core.scale(self._output.scale))
        frame.num_missing -= 1
        if frame.num_missing:
            return
        self._early[frame.number] = replace(frame.source, pixels=frame.restored)
        assert self._flow is not None
        while (due := self._early.pop(self._num_put, None)) is not None:
            self._num_put += 1
            self._flow.put(due)

    def _end(self) -> None:
        """Say what the segment's file is to say of itself; it is written behind the last frame."""
        assert self._flow is not None
        self._extra |= {
            "trust": self._meter.as_dict(),
            "seam_error": self.tools.seam_error(is_one_patch=self._grid.is_one_patch),
            "seconds": self.device_seconds + self._flow.seconds,
        }
        self._flow.end()

    def store(self) -> Outcome:
        """Put the segment into staging; what became of it."""
        try:
            error = self._error or attempt(self._write)
        finally:
            self.abandon()
        item = self.scene.item
        if error is not None:
            row = failed_row(self.tools.job, item, error, item.attempts + 1)
            return SceneFailed(self.scene, self.index, row)
        return WindowDone(self.scene, self.index, self._staged_bytes)

    def _write(self) -> None:
        if self._staged_bytes:
            return
        assert self._flow is not None
        assert self._budget is not None
        staged = self._flow.result()
        # The frames are gone: the next segment need not wait until a store has taken this one.
        given_back = max(0, self.held_bytes - UPLOAD_BYTES)
        self.held_bytes -= given_back
        self._budget.release(given_back)
        key = self.scene.run_key(self.index)
        self._staged_bytes = upload_file(staged.path, self.tools.target, key).num_bytes

    def abandon(self) -> None:
        """End the threads; leave no file."""
        if self._flow is not None:
            self._flow.cancel()
        if self._file is not None:
            self._file.remove()
            self._file = None
        self._early.clear()


class FilmAssemblyTask(AssemblyTask):
    """A film whose segments all wait in staging becomes one file; see `overlap.Task`.

    It is written to a local file: the headers of films are completed last.
    """

    def _assemble(self) -> LedgerRow:
        begin = time.perf_counter()
        tools, scene = self.tools, self.scene
        output = film_output(tools.job, scene)
        read = BlockReader(tools.target.read)
        staged = StagedFilm(tools.film_plan(scene), self._runs, read)
        source = VideoSource(tools.source, scene.item.key)
        file = ScratchFile(".film")
        try:
            film = join(output, source, staged=staged, path=file.path, history=tools.history)
            row = self._judge(film.extras)
            made = upload_file(file.path, tools.target, row.output)
        finally:
            file.remove()
        return replace(
            row,
            output_bytes=made.num_bytes,
            output_sha256=made.sha256,
            output_parts=json.dumps(made.part_bytes),
            lost=", ".join(film.lost),
            seconds=row.seconds + time.perf_counter() - begin,
        )
