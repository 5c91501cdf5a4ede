"""What the tasks of one restore worker share: stores, the generator, decoders and their limits."""

import json
import threading
from collections.abc import Callable
from functools import cached_property
from time import sleep
from typing import ParamSpec, TypeVar

import numpy as np
import torch

from ganray import __version__
from ganray.codecs.catalog import is_tiff, is_video
from ganray.codecs.files import decode_file
from ganray.codecs.geo import GeoWindows
from ganray.codecs.geo_config import GeoConfig
from ganray.codecs.isolation import IsolatedProcess
from ganray.codecs.tiff_windows import TiffWindows
from ganray.codecs.video import SegmentPlan, VideoSource
from ganray.codecs.video_sample import sample_frame
from ganray.errors import (
    CodecError,
    MissingExtraError,
    NotFoundError,
    RestorationError,
    StorageError,
)
from ganray.models.checkpoint import Checkpoint, decode_checkpoint
from ganray.pipelines.archive_windows import ArchiveWindows
from ganray.pipelines.film_files import BeatingStore
from ganray.pipelines.film_scenes import read_plan
from ganray.pipelines.mask_reader import MaskReader
from ganray.pipelines.restore_orders import RestoreJob, Scene
from ganray.pipelines.scenes import present, reader_of
from ganray.raster.image import FloatPixels, Image, Pixels
from ganray.raster.windows import Box, crop
from ganray.restoration import Restorer
from ganray.restoration.generator import Encoding
from ganray.restoration.qualification import Qualification, device_name, qualify
from ganray.restoration.restorer import DTYPES, choose_device
from ganray.storage import Store, open_store

P = ParamSpec("P")
T = TypeVar("T")

SAMPLE_SIDE = 512
WHOLE_TIFF_BYTES = 2**20
"""A larger TIFF is sampled by a window: its pixels may be too many for one process."""
MAX_SAMPLE_BYTES = 64 << 20
"""A larger file that can only be read whole is no sample."""
SETTLE_SECONDS = 1.0


class RestoreTools:
    """Loaded once per worker. With `isolated`, decoders run in processes of their own."""

    def __init__(self, job: RestoreJob, *, isolated: bool) -> None:
        self.job = job
        self.source: Store = open_store(job.config.source)
        self.target: Store = open_store(job.config.target)
        self._isolated = isolated
        self._decoders: list[IsolatedProcess] = []
        self._own = threading.local()
        self._plan: tuple[str, SegmentPlan] | None = None

    @cached_property
    def restorer(self) -> Restorer:
        """The generator, loaded when the first window asks for it: assemblies need none."""
        config = self.job.config.restorer.model_copy(update={"compile": self.job.compiles})
        return Restorer(self._checkpoint, config, half=self._half)

    @cached_property
    def qualification(self) -> Qualification | None:
        """What was measured of the generator on this kind of device, here or by an earlier
        worker. None if no input can serve as a sample: then `auto` is float32.

        Workers that measure at once may find differently. Each records its finding unless there
        is one, and after a second uses what is recorded: that which was written last. They
        decide alike unless a finding is replaced by a write that comes later than that, or after
        a worker that had nothing to measure has read it."""
        device = choose_device(self.job.config.restorer.device)
        key = self.job.qualification_key(device_name(device))
        recorded = self._recorded(key)
        if recorded is not None:
            return recorded
        samples = [s for s in map(self._sample, self.job.samples) if s is not None]
        fitting = [s for s in samples if s.shape[0] == self.job.bands]
        if not fitting:
            return None
        found = qualify(self._checkpoint, self.job.config.restorer, fitting)
        if self._recorded(key) is None:
            self.target.write(key, (json.dumps(found.as_dict(), indent=2) + "\n").encode())
        sleep(SETTLE_SECONDS)
        return self._recorded(key) or found

    def _recorded(self, key: str) -> Qualification | None:
        """An earlier finding; None if there is none, or one that this version cannot read."""
        try:
            found = Qualification(**json.loads(self.target.read(key)))
            return found if found.precision in DTYPES else None
        except (NotFoundError, TypeError, ValueError):
            return None

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        key = self.job.generator_key
        return decode_checkpoint(self.target.read(key), key)

    @property
    def _half(self) -> torch.dtype | None:
        return self.qualification.half if self.qualification else None

    def guarded(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a codec; in a process of the calling thread's own where that was asked for."""
        if not self._isolated:
            return function(*args, **kwargs)
        return self._apart(function, *args, **kwargs)

    def _apart(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not hasattr(self._own, "decoder"):
            limits = self.job.config.limits
            self._own.decoder = IsolatedProcess(
                seconds=limits.seconds, memory_bytes=limits.memory_bytes
            )
            self._decoders.append(self._own.decoder)
        decoder: IsolatedProcess = self._own.decoder
        return decoder.call(function, *args, **kwargs)

    @cached_property
    def inputs(self) -> ArchiveWindows:
        """Windows of the archive's images."""
        return ArchiveWindows(self.source, self.job.config, self.guarded, isolated=self._isolated)

    @cached_property
    def masks(self) -> MaskReader:
        """Their masks of lost pixels, where the generator takes some."""
        return MaskReader(self.job.config, self.guarded, isolated=self._isolated)

    def film_source(self, key: str, beat: Callable[[], None]) -> VideoSource:
        """A film, for a codec that `guarded` calls and that may read it from end to end: `beat`
        is called as it does. A process of its own has a clock of its own."""
        store = self.source if self._isolated else BeatingStore(self.source, beat)
        return VideoSource(store, key)

    def film_plan(self, scene: Scene) -> SegmentPlan:
        """The segments of a film; the last plan is kept for the segments that follow."""
        if self._plan is None or self._plan[0] != scene.plan_key:
            self._plan = scene.plan_key, read_plan(self.target, scene.plan_key)
        return self._plan[1]

    def close(self) -> None:
        for decoder in self._decoders:
            decoder.close()

    @property
    def history(self) -> str:
        """The provenance that is written into every restored file."""
        return json.dumps(
            {
                "software": f"ganray {__version__}",
                "generator": self.job.generator_digest,
                "config": self.job.config.pixel_digest,
                "time": self.job.started_at,
            }
        )

    def seam_error(self, *, is_one_patch: bool) -> float | None:
        """What the generator's seams may add to an image: nothing where there is no seam, None
        where it was not measured."""
        if is_one_patch:
            return 0.0
        return self.qualification.seam_error if self.qualification else None

    def _sample(self, key: str) -> FloatPixels | None:
        """The middle of what a generator sees of an input; None if it cannot be read, or only at
        too high a price, or is nothing to be seen at once."""
        try:
            image = self._middle(key)
            if image is None:
                return None
            shown = present(self.job, image.profile)
        except (CodecError, MissingExtraError, RestorationError, StorageError):
            return None
        bands = list(shown.parts[0].bands)
        ranges = shown.ranges and tuple(shown.ranges[band] for band in bands)
        stored = torch.from_numpy(np.ascontiguousarray(_signed(image.pixels[bands])))[None]
        encoding = Encoding(str(image.pixels.dtype), ranges)
        unit = encoding.to_unit(encoding.to_numbers(stored)).nan_to_num(0).clamp(0, 1)
        colour: FloatPixels = unit[0].numpy()
        return colour.repeat(self.job.bands, 0) if len(bands) == 1 else colour

    def _middle(self, key: str) -> Image | None:
        # Before the first input, when nobody watches over this worker yet: always apart.
        num_bytes = self.source.stat(key).num_bytes
        config = self.job.config
        if is_tiff(key) and reader_of(self.source, key) == "geo":
            return self._apart(read_raster_middle, self.source.uri, key, config.geo)
        if is_tiff(key) and num_bytes > WHOLE_TIFF_BYTES:
            return self._apart(read_tiff_middle, self.source.uri, key)
        if is_video(key):
            film, limit = VideoSource(self.source, key), config.limits.pixels
            return _cut_middle(self._apart(sample_frame, film, config.video, max_pixels=limit))
        if num_bytes > MAX_SAMPLE_BYTES:
            return None
        data = self.source.read(key)
        image = self._apart(decode_file, key, data, config.codecs, max_pixels=config.limits.pixels)
        if image.pixels.dtype == np.float16:
            return None
        return _cut_middle(image)


def _cut_middle(image: Image) -> Image:
    _, height, width = image.pixels.shape
    return Image(crop(image.pixels, _middle_box(height, width)), image.profile)


def _signed(pixels: Pixels) -> Pixels:
    """As `Encoding` takes them: 16 bits without a sign in those with one."""
    return pixels.view(np.int16) if pixels.dtype == np.uint16 else pixels


def read_raster_middle(uri: str, key: str, config: GeoConfig) -> Image:
    """The middle of a raster, for a process that is called once."""
    raster = GeoWindows(open_store(uri), key, config)
    try:
        found = raster.read(_middle_box(raster.height, raster.width))
        return Image(found.pixels, raster.profile, found.mask)
    finally:
        raster.close()


def read_tiff_middle(uri: str, key: str) -> Image:
    """The middle of a TIFF, read by ranges, for a process that is called once."""
    picture = TiffWindows(open_store(uri), key)
    return Image(picture.read(_middle_box(picture.height, picture.width)), picture.profile)


def _middle_box(height: int, width: int) -> Box:
    """A box of SAMPLE_SIDE in the middle of an image, or what the image has of it."""
    top, left = max(0, (height - SAMPLE_SIDE) // 2), max(0, (width - SAMPLE_SIDE) // 2)
    return Box(top, left, min(top + SAMPLE_SIDE, height), min(left + SAMPLE_SIDE, width))


def out_of_memory() -> tuple[type[BaseException], ...]:
    """What is raised where memory, of the machine or of the device, does not suffice."""
    return MemoryError, torch.cuda.OutOfMemoryError
