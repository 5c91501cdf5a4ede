"""One input that one worker restores whole: read, decode, restore, encode, write."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ganray import __version__
from ganray.codecs import photo
from ganray.codecs.catalog import family_of, is_tiff
from ganray.codecs.files import (
    RASTER,
    decode_file,
    encode_file,
    lost_in,
    probe_file,
    require_encodable,
)
from ganray.codecs.geo import is_geo_file, read_raster
from ganray.codecs.geo_whole import raster_validity
from ganray.codecs.stac import Lineage, item_key, stac_item
from ganray.errors import GanrayError
from ganray.ledger import LedgerRow
from ganray.pipelines.budget import PausingBudget
from ganray.pipelines.film_scenes import find_film_scene
from ganray.pipelines.outcomes import attempt, check_trust, failed_row, restored_row
from ganray.pipelines.restore_orders import Outcome, Pending, Reader, Scene, SceneFound
from ganray.pipelines.restore_tools import RestoreTools
from ganray.pipelines.scenes import (
    BYTES_PER_PIXEL,
    Shown,
    describe,
    find_picture_scene,
    find_ranged_scene,
    output_codec,
    present,
    reader_of,
    require_bytes,
)
from ganray.raster.filling import fill
from ganray.raster.image import Image, Pixels, Profile, empty_pixels
from ganray.raster.resample import repeat
from ganray.raster.validity import EVERYWHERE, Mask, MaskedPixels, Validity, hold
from ganray.raster.windows import Box, place
from ganray.restoration.canvas import RestoredWindow, WindowTask
from ganray.restoration.guard import TrustMeter
from ganray.restoration.restorer import window_tasks

# A file of which one request reads all is not asked for its header first.
SMALL_FILE_BYTES = 2**20
INDEX_BYTES = 8
"""Row and column of the valid pixel that is nearest."""
MASK_BYTES = 4
"""Of a mask's pixel, decoded: three bands of 8 bits, and what they say."""


class ImageTask:
    """An input on its way through a worker; see `overlap.Task`."""

    def __init__(self, tools: RestoreTools, item: Pending, attempts: int) -> None:
        self.tools = tools
        self.item = item
        self.attempts = attempts
        self.name = item.key
        self.held_bytes = 0
        self.device_seconds = 0.0
        self.is_timed = True
        self._own_seconds = 0.0
        self._error: GanrayError | None = None
        self._scene: Scene | None = None
        self._image: Image | None = None
        self._shown = Shown((), None)
        self._validity = EVERYWHERE
        self._seen: Pixels = np.empty((0, 0, 0), np.uint8)
        self._lost: Mask | None = None
        self._restored: Pixels | None = None
        self._num_missing = self._num_windows = 0
        self._seam_error: float | None = None
        self._meter = TrustMeter(0)

    def refuse(self, error: GanrayError) -> None:
        self._error = error

    def load(self, budget: PausingBudget) -> None:
        """Read and decode; an input that is too large for one worker becomes a scene."""
        if self._error is not None:
            return
        begin = time.perf_counter()
        self._error = attempt(lambda: self._load(budget))
        self._own_seconds += time.perf_counter() - begin

    def _load(self, budget: PausingBudget) -> None:
        tools, key, limits = self.tools, self.item.key, self.tools.job.config.limits
        require_bytes(self.item, limits.bytes)
        if family_of(key) == "video":
            film = tools.film_source(key, budget.beat)
            self._scene = find_film_scene(
                tools.job, self.item, film, target=tools.target, call=tools.guarded
            )
            return
        data = None
        reader: Reader = "whole"
        if is_tiff(key) and self.item.num_bytes > SMALL_FILE_BYTES:
            reader = reader_of(tools.source, key)
        elif is_tiff(key):
            data = tools.source.read(key)
            reader = "geo" if is_geo_file(data) else "whole"
        if reader != "whole":
            self._scene = find_ranged_scene(tools.job, self.item, reader, tools.guarded)
            if self._scene is not None:
                return
        is_raster = reader == "geo"
        self._image = self._read_raster(budget) if is_raster else self._read_file(budget, data)
        self._show(self._image)

    def _read_raster(self, budget: PausingBudget) -> Image:
        """A raster that is small: its pixels come from the store by ranges."""
        tools, config = self.tools, self.tools.job.config
        profile, height, width = describe(tools.job, self.item.key, "geo", tools.guarded)
        self._admit(budget, profile, height, width)
        return tools.guarded(
            read_raster,
            tools.source.uri,
            self.item.key,
            config.geo,
            max_pixels=config.limits.pixels,
        )

    def _read_file(self, budget: PausingBudget, data: bytes | None) -> Image:
        tools, key, config = self.tools, self.item.key, self.tools.job.config
        require_bytes(self.item, config.limits.pixels * BYTES_PER_PIXEL, "limits.pixels")
        if data is None:
            data = tools.source.read(key)
        profile, height, width = tools.guarded(probe_file, key, data, config.codecs)
        self._scene = find_picture_scene(tools.job, self.item, profile, height, width)
        if self._scene is not None:
            return Image(np.empty((0, 0, 0), profile.dtype), profile)
        self._admit(budget, profile, height, width)
        limit = config.limits.pixels
        return tools.guarded(decode_file, key, data, config.codecs, max_pixels=limit)

    def _admit(self, budget: PausingBudget, profile: Profile, height: int, width: int) -> None:
        """Refuse what could not be restored or written, then wait for its memory."""
        job = self.tools.job
        present(job, profile)
        codec = output_codec(job, profile.codec)
        require_encodable(profile, codec, height * job.scale, width * job.scale)
        if height * width <= job.config.limits.pixels:
            num_bytes = pixel_bytes(profile, job.scale) + (MASK_BYTES if job.config.masks else 0)
            self.held_bytes = budget.acquire(height * width * num_bytes)

    def _show(self, image: Image) -> None:
        """Make of an image what a generator can see: values everywhere, in a type it takes."""
        if self._scene is not None:
            return
        self._shown = present(self.tools.job, image.profile)
        if self.tools.job.config.masks:
            _, height, width = image.pixels.shape
            self._lost = self.tools.masks.whole(self.item.key, height, width)
        self._validity = validity_of(image)
        seen = fill(image.pixels, self._validity.bands(image.pixels, image.mask))
        self._seen = seen.astype(np.float32) if seen.dtype == np.float16 else seen

    def windows(self) -> Iterator[WindowTask]:
        """The image's windows; none if it has failed, or has become a scene."""
        if self._error is not None or self._scene is not None or self._image is None:
            return
        job = self.tools.job
        bands, height, width = self._seen.shape
        grid = job.grid(height, width)
        self._num_missing = grid.num_windows
        self._num_windows = grid.num_windows
        self._seam_error = self.tools.seam_error(is_one_patch=grid.is_one_patch)
        self._meter = TrustMeter(bands)
        for task in window_tasks(self._seen, grid, None, token=self, mask=self._lost):
            yield replace(task, parts=self._shown.parts, ranges=self._shown.ranges)

    def collect(self, restored: RestoredWindow) -> bool:
        """Put one window into its place."""
        self._num_missing -= 1
        if restored.pixels is None:
            self._error = restored.error
        else:
            self._take(restored.pixels, restored.task.window.core)
            self._meter.merge(restored.trust.as_dict())
        return self._num_missing == 0

    def _take(self, pixels: Pixels, core: Box) -> None:
        if self._num_windows == 1:
            self._restored = pixels
            return
        if self._restored is None:
            assert self._image is not None
            bands, height, width = self._image.pixels.shape
            scale = self.tools.job.scale
            self._restored = empty_pixels(bands, height * scale, width * scale, pixels.dtype)
        place(self._restored, pixels, core.scale(self.tools.job.scale))

    def store(self) -> Outcome:
        """Encode and write; the row of what became of the input."""
        begin = time.perf_counter()
        row: LedgerRow | None = None

        def write() -> None:
            nonlocal row
            row = self._write()

        if self._scene is not None:
            return SceneFound(self._scene)
        error = self._error or attempt(write)
        self._own_seconds += time.perf_counter() - begin
        if row is None:
            assert error is not None
            row = failed_row(self.tools.job, self.item, error, self.attempts)
        self._image = self._restored = None
        self._seen, self._lost = np.empty((0, 0, 0), np.uint8), None
        return replace(row, seconds=self._own_seconds + self.device_seconds)

    def abandon(self) -> None:
        """Nothing: what was loaded is memory."""

    def _write(self) -> LedgerRow:
        tools, image = self.tools, self._image
        assert image is not None
        assert self._restored is not None
        config = tools.job.config
        trust = self._meter.result()
        dtype = image.profile.dtype
        flags = check_trust(trust, self._seam_error, config.trust, dtype=dtype)
        codec = output_codec(tools.job, image.profile.codec)
        scale = tools.job.scale
        finished = finish(self._restored, image, self._validity, scale)
        content = encode_file(finished, codec, config.codecs, tools.history, scale=scale)
        output = tools.job.output_key(self.item.key)
        write_stac(tools, image.profile, image.pixels.shape[1:], output, self.item)
        tools.target.write(output, content)
        _, height, width = image.pixels.shape
        row = restored_row(tools, self.item, trust, flags)
        return replace(
            row,
            attempts=self.attempts,
            output=output,
            output_bytes=len(content),
            output_sha256=hashlib.sha256(content).hexdigest(),
            num_windows=self._num_windows,
            input_pixels=height * width,
            output_pixels=height * width * tools.job.scale**2,
            seam_error=self._seam_error,
            lost=", ".join((*image.profile.lost, *lost_in(image.profile, codec))),
        )


def pixel_bytes(profile: Profile, scale: int) -> int:
    """What a worker holds of an input's pixel: read and restored, and where some may have no value
    filled, held apart and masked too."""
    dtype = np.dtype(profile.dtype)
    sample_bytes = profile.num_bands * max(dtype.itemsize, 4 if dtype.kind == "f" else 1)
    if profile.codec in photo.SUFFIXES:
        return sample_bytes * (1 + scale**2)
    return sample_bytes * (2 + 3 * scale**2) + INDEX_BYTES


def validity_of(image: Image) -> Validity:
    """What says where an image has values."""
    if image.profile.codec == RASTER:
        return raster_validity(image.profile)
    return EVERYWHERE if image.mask is None else Validity("mask")


def finish(restored: Pixels, source: Image, validity: Validity, scale: int) -> Image:
    """What is to be encoded: what had no value stays as it was, and the type is the input's."""
    dtype = source.pixels.dtype
    if dtype == np.float16:
        largest = float(np.finfo(np.float16).max)
        restored = np.clip(restored, -largest, largest).astype(dtype)
    held = hold(restored, MaskedPixels(source.pixels, source.mask), validity, scale)
    mask = None if source.mask is None else repeat(source.mask, scale)
    return Image(held, source.profile, mask)


def write_stac(
    tools: RestoreTools, profile: Profile, shape: tuple[int, ...], output: str, item: Pending
) -> None:
    """The STAC item beside a restored raster, where that is asked for; `shape` is the input's."""
    if profile.codec != RASTER or not tools.job.config.geo.stac:
        return
    job = tools.job
    lineage = Lineage(
        version=__version__,
        generator=job.generator_digest,
        config=job.config.pixel_digest,
        time=job.started_at,
        source=f"{tools.source.uri}/{item.key}",
    )
    height, width = shape
    made = stac_item(
        profile, shape=(height, width), scale=job.scale, output_key=output, lineage=lineage
    )
    tools.target.write(item_key(output), made)
