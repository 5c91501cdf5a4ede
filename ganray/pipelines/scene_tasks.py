"""A scene's windows, each a task of any worker, and the task that makes one file of them."""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ganray.codecs.files import RASTER, encode_file, lost_in, probe_file
from ganray.codecs.geo_whole import TaggedLayout, tag_raster
from ganray.codecs.tiff_assembly import assemble
from ganray.codecs.tiff_metadata import profile_tags
from ganray.codecs.tiff_runs import RunSource, decode_run, encode_run, read_footer
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.errors import GanrayError, NotFoundError, UndecodableError
from ganray.ledger import LedgerRow
from ganray.pipelines.budget import PausingBudget
from ganray.pipelines.image_task import write_stac
from ganray.pipelines.outcomes import attempt, check_trust, failed_row, restored_row
from ganray.pipelines.restore_orders import AssemblyOrder, Outcome, Scene, SceneFailed, WindowDone
from ganray.pipelines.restore_tools import RestoreTools
from ganray.pipelines.scenes import describe, is_tiled, output_codec, scene_layout
from ganray.raster.filling import fill
from ganray.raster.image import Image, Pixels, Profile, empty_pixels
from ganray.raster.resample import repeat
from ganray.raster.validity import EVERYWHERE, Mask, MaskedPixels, hold
from ganray.raster.windows import Box, crop, place
from ganray.restoration.canvas import RestoredWindow, WindowTask
from ganray.restoration.guard import TrustMeter
from ganray.storage import Concatenation

FILLING_REACH = 1.5
"""In halos: a halo is a square, and the pixel that is nearest to its corner may lie the square
root of two as far away."""


def tag_scene(layout: TiffLayout, profile: Profile, history: str, *, scale: int) -> TaggedLayout:
    """The layout of a scene with the tags of its file."""
    if profile.codec == RASTER:
        return tag_raster(layout, profile, history, scale=scale)
    shape = layout.num_bands, layout.height, layout.width
    metadata = profile_tags(profile, history=history, shape=shape)
    lost = (*lost_in(profile, "tiff"), *metadata.lost)
    return TaggedLayout(replace(layout, tags=metadata.tags), lost)


class SceneWindowTask:
    """One window of a scene: its pixels are restored and wait in staging; see `overlap.Task`."""

    def __init__(self, tools: RestoreTools, scene: Scene, index: int) -> None:
        self.tools = tools
        self.scene = scene
        self.index = index
        self.name = f"{scene.item.key} window {index}"
        self.held_bytes = 0
        self.device_seconds = 0.0
        self.is_timed = True
        self._own_seconds = 0.0
        self._error: GanrayError | None = None
        self._staged_bytes = 0
        self._pixels: Pixels | None = None
        self._source: MaskedPixels | None = None
        self._lost: Mask | None = None
        self._restored: RestoredWindow | None = None

    def refuse(self, error: GanrayError) -> None:
        self._error = error

    def load(self, budget: PausingBudget) -> None:
        """Read the window with its halo, unless an earlier run has restored it."""
        if self._error is not None:
            return
        begin = time.perf_counter()
        self._error = attempt(lambda: self._load(budget))
        self._own_seconds += time.perf_counter() - begin

    def _load(self, budget: PausingBudget) -> None:
        scene, tools = self.scene, self.tools
        self._staged_bytes = self._find_staged()
        if self._staged_bytes:
            return
        self._grid = tools.job.grid(scene.height, scene.width)
        self._window = self._grid.window(self.index)
        sample_bytes = len(scene.bands) * np.dtype(scene.dtype).itemsize
        copies = 1 + tools.job.scale**2
        self.held_bytes = budget.acquire(self._window.read.num_pixels * sample_bytes * copies)
        # Floats may be none of their own.
        is_everywhere = scene.validity == EVERYWHERE and np.dtype(scene.dtype).kind != "f"
        margin = 0 if is_everywhere else math.ceil(FILLING_REACH * self._grid.halo)
        whole = Box(0, 0, scene.height, scene.width)
        # What a pixel in the halo is filled with may lie beyond it.
        box = self._window.read.grow(margin, whole)
        found = tools.inputs.read(scene.item.key, scene.reader, box)
        filled = fill(found.pixels, scene.validity.bands(found.pixels, found.mask))
        self._pixels = crop(filled, self._window.read.shift(box.top, box.left))
        self._source = found.crop(self._window.core.shift(box.top, box.left))
        if tools.job.config.masks:
            shape = scene.height, scene.width
            self._lost = tools.masks.window(scene.item.key, shape, self._window.read)

    def _find_staged(self) -> int:
        """Bytes of what an earlier run has left of this window; 0 if it is not there or damaged."""
        layout, key = scene_layout(self.tools.job, self.scene), self.scene.run_key(self.index)
        try:
            num_bytes = self.tools.target.stat(key).num_bytes
            source = RunSource(key, num_bytes)
            read_footer(layout, self.index, source=source, read=self.tools.target.read)
        except (NotFoundError, UndecodableError):
            return 0
        return num_bytes

    def windows(self) -> Iterator[WindowTask]:
        """The window, if it is still to be restored."""
        if self._error is None and self._pixels is not None:
            yield WindowTask(
                self._pixels,
                self._grid,
                self._window,
                token=self,
                ranges=self.scene.ranges,
                parts=self.scene.parts,
                mask=self._lost,
            )

    def collect(self, restored: RestoredWindow) -> bool:
        self._error = restored.error
        self._restored = restored
        return True

    def store(self) -> Outcome:
        """Put the window into staging; what became of it."""
        begin = time.perf_counter()
        error = self._error or attempt(self._write)
        self._own_seconds += time.perf_counter() - begin
        self._pixels = self._restored = self._source = self._lost = None
        item = self.scene.item
        if error is not None:
            row = failed_row(self.tools.job, item, error, item.attempts + 1)
            return SceneFailed(self.scene, self.index, row)
        return WindowDone(self.scene, self.index, self._staged_bytes)

    def abandon(self) -> None:
        """Nothing: what was loaded is memory."""

    def _write(self) -> None:
        if self._staged_bytes:
            return
        assert self._restored is not None
        assert self._restored.pixels is not None
        assert self._source is not None
        extra = {
            "scene": self.scene.staging,
            "trust": self._restored.trust.as_dict(),
            "seam_error": self.tools.seam_error(is_one_patch=self._grid.is_one_patch),
            "seconds": self._own_seconds + self.device_seconds,
        }
        layout = scene_layout(self.tools.job, self.scene)
        scale = self.tools.job.scale
        pixels = hold(self._restored.pixels, self._source, self.scene.validity, scale)
        mask = None
        if layout.has_mask and self._source.mask is not None:
            mask = repeat(self._source.mask, scale)
        run = encode_run(layout, self.index, pixels, extra, mask=mask)
        self.tools.target.write(self.scene.run_key(self.index), run)
        self._staged_bytes = len(run)


class AssemblyTask:
    """A scene whose windows all wait in staging becomes one file; see `overlap.Task`."""

    def __init__(self, tools: RestoreTools, order: AssemblyOrder) -> None:
        self.tools = tools
        self.scene = order.scene
        self.name = f"{order.scene.item.key} assembly"
        self.held_bytes = 0
        self.device_seconds = 0.0
        # It takes as long as the store needs to copy a scene.
        self.is_timed = False
        self._error: GanrayError | None = None
        self._runs = [
            RunSource(order.scene.run_key(index), num_bytes)
            for index, num_bytes in enumerate(order.run_bytes)
        ]

    def refuse(self, error: GanrayError) -> None:
        self._error = error

    def load(self, budget: PausingBudget) -> None:
        """Nothing: its input is in staging, and is read piece by piece."""

    def windows(self) -> Iterator[WindowTask]:
        """None: no generator is needed."""
        return iter(())

    def collect(self, restored: RestoredWindow) -> bool:
        raise AssertionError("an assembly has no windows")

    def store(self) -> Outcome:
        """Write the output; the row of the scene."""
        rows: list[LedgerRow] = []
        item = self.scene.item
        error = self._error or attempt(lambda: rows.append(self._assemble()))
        if error is not None:
            return failed_row(self.tools.job, item, error, item.attempts + 1)
        return rows[0]

    def abandon(self) -> None:
        """Nothing: nothing was loaded."""

    def _assemble(self) -> LedgerRow:
        begin = time.perf_counter()
        layout, profile = scene_layout(self.tools.job, self.scene), self._profile()
        is_tiled_file = is_tiled(output_codec(self.tools.job, self.scene.codec))
        shape = self.scene.height, self.scene.width
        output = self.tools.job.output_key(self.scene.item.key)
        write_stac(self.tools, profile, shape, output, self.scene.item)
        row = (self._write_tiff if is_tiled_file else self._write_whole)(layout, profile)
        return replace(row, seconds=row.seconds + time.perf_counter() - begin)

    def _judge(self, extras: Sequence[Mapping[str, Any]]) -> LedgerRow:
        """The row without its output, from what the windows' runs say of themselves.

        Raises DistrustedError, as long as nothing is written.
        """
        tools, scene = self.tools, self.scene
        meter = TrustMeter(len(scene.bands))
        for extra in extras:
            if extra["scene"] != scene.staging:
                raise UndecodableError("a window in staging is of another scene; remove staging/")
            meter.merge(extra["trust"])
        seams = [extra["seam_error"] for extra in extras if extra["seam_error"] is not None]
        seam_error = max(seams, default=None)
        trust = meter.result()
        flags = check_trust(trust, seam_error, tools.job.config.trust, dtype=scene.dtype)
        return replace(
            restored_row(tools, scene.item, trust, flags),
            output=tools.job.output_key(scene.item.key),
            num_windows=scene.num_windows,
            input_pixels=scene.num_pixels,
            output_pixels=scene.num_pixels * tools.job.scale**2,
            seam_error=seam_error,
            seconds=sum(extra["seconds"] for extra in extras),
        )

    def _profile(self) -> Profile:
        tools, key = self.tools, self.scene.item.key
        if self.scene.reader != "whole":
            return describe(tools.job, key, self.scene.reader, tools.guarded)[0]
        codecs = tools.job.config.codecs
        return tools.guarded(probe_file, key, tools.source.read(key), codecs)[0]

    def _write_tiff(self, layout: TiffLayout, profile: Profile) -> LedgerRow:
        """Copy the tiles of all windows into one file, behind its header; none is decoded."""
        tools = self.tools
        tagged = tag_scene(layout, profile, tools.history, scale=tools.job.scale)
        expected = sum(source.num_bytes for source in self._runs)
        output = tools.job.output_key(self.scene.item.key)
        with Concatenation(tools.target, output, expected) as sink:
            made = assemble(tagged.layout, self._runs, read=tools.target.read, sink=sink)
            row = self._judge(made.extras)
        digests = b"".join(bytes.fromhex(part.sha256) for part in made.parts)
        return replace(
            row,
            output_bytes=made.num_bytes,
            output_sha256=hashlib.sha256(digests).hexdigest(),
            output_parts=json.dumps([part.num_bytes for part in made.parts]),
            lost=", ".join(dict.fromkeys((*profile.lost, *tagged.lost))),
        )

    def _write_whole(self, layout: TiffLayout, profile: Profile) -> LedgerRow:
        """Decode all windows and encode them as one picture, in memory."""
        tools, read = self.tools, self.tools.target.read
        footers = [
            read_footer(layout, index, source=source, read=read)
            for index, source in enumerate(self._runs)
        ]
        row = self._judge([footer.extra for footer in footers])
        pixels = empty_pixels(layout.num_bands, layout.height, layout.width, layout.dtype)
        for index, source in enumerate(self._runs):
            window = decode_run(layout, index, read(source.key))
            place(pixels, window, layout.window_box(index))
        codec = output_codec(tools.job, self.scene.codec)
        codecs, scale = tools.job.config.codecs, tools.job.scale
        content = encode_file(Image(pixels, profile), codec, codecs, tools.history, scale=scale)
        tools.target.write(row.output, content)
        return replace(
            row,
            output_bytes=len(content),
            output_sha256=hashlib.sha256(content).hexdigest(),
            lost=", ".join(profile.lost),
        )
