"""What travels between the driver of a restoration and its workers: a few hundred bytes each."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ganray import __version__
from ganray.codecs import catalog
from ganray.codecs.video import VideoProfile
from ganray.errors import DistrustedError, GanrayError, TooLargeError
from ganray.ledger import LedgerRow
from ganray.pipelines.restore_config import RestoreConfig
from ganray.raster.ranges import ValueRanges
from ganray.raster.validity import EVERYWHERE, Validity
from ganray.raster.windows import Grid
from ganray.restoration.canvas import Part
from ganray.restoration.tiling import Tiling

STAGING_PREFIX = "_ganray/staging/"
SCENES_PREFIX = f"{STAGING_PREFIX}scenes/"
ATTEMPTS_PREFIX = f"{STAGING_PREFIX}attempts/"


@dataclass(frozen=True, slots=True)
class Pending:
    """An input that is to be restored. `attempts` were made in earlier runs."""

    key: str
    etag: str
    num_bytes: int
    attempts: int = 0


Reader = Literal["tiff", "geo", "whole", "film"]
"""Who reads the windows of a scene: by ranges ganray's own reader or GDAL; or every worker decodes
the input whole; of a film FFmpeg decodes segments."""


@dataclass(frozen=True, slots=True)
class Film:
    """What is known of a scene that is a film; its plan stands beside its segments."""

    profile: VideoProfile
    num_frames: int


@dataclass(frozen=True, slots=True)
class Scene:
    """An input that is restored window by window, by several workers.

    Of a film, `height` and `width` are those of a frame, and a window is a segment. `validity`,
    `parts` and `ranges` say how its bands are shown to a generator: found once, so that all
    windows agree.
    """

    item: Pending
    height: int
    width: int
    bands: tuple[str, ...]
    dtype: str
    codec: str
    num_windows: int
    staging: str
    reader: Reader
    validity: Validity = EVERYWHERE
    parts: tuple[Part, ...] = ()
    ranges: ValueRanges | None = None
    film: Film | None = None

    @property
    def num_pixels(self) -> int:
        num_frames = self.film.num_frames if self.film else 1
        return num_frames * self.height * self.width

    @property
    def plan_key(self) -> str:
        """Where the segments of a film are written down."""
        return f"{self.staging}plan.json"

    @property
    def staged_keys(self) -> Iterator[str]:
        """All that waits in staging for the scene to be put together."""
        yield from map(self.run_key, range(self.num_windows))
        if self.film:
            yield self.plan_key

    def run_key(self, index: int) -> str:
        """Where the restored pixels of one window wait for the scene to be put together."""
        return f"{self.staging}{index:06d}"


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """Inputs that one worker restores whole."""

    name: str
    items: tuple[Pending, ...]


@dataclass(frozen=True, slots=True)
class WindowOrder:
    """Windows of one scene."""

    name: str
    scene: Scene
    windows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AssemblyOrder:
    """A scene whose windows are all restored: one worker makes one file of them."""

    name: str
    scene: Scene
    run_bytes: tuple[int, ...]


WorkOrder = ImageOrder | WindowOrder | AssemblyOrder


@dataclass(frozen=True, slots=True)
class WindowDone:
    """A window's pixels wait in staging, in an object of `num_bytes`."""

    scene: Scene
    index: int
    num_bytes: int

    @property
    def identity(self) -> str:
        return f"window {self.scene.staging} {self.index}"


@dataclass(frozen=True, slots=True)
class SceneFound:
    """An input turned out to be too large for one worker: it is to be split."""

    scene: Scene

    @property
    def identity(self) -> str:
        return f"scene {self.scene.item.key}"


@dataclass(frozen=True, slots=True)
class SceneFailed:
    """A window of a scene could not be restored: nor can the scene."""

    scene: Scene
    index: int
    row: LedgerRow

    @property
    def identity(self) -> str:
        return f"window {self.scene.staging} {self.index}"


Outcome = LedgerRow | WindowDone | SceneFound | SceneFailed


@dataclass(frozen=True, slots=True)
class OrderDone:
    """An order ended with these outcomes; its rows stand in these objects of the ledger.

    The outcomes were told one by one before. Where a worker died and another took its order over,
    some may not have arrived. `worker_seconds` are those since the worker of this id began.
    """

    name: str
    objects: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    worker: str = ""
    worker_seconds: float = 0.0


Told = Outcome | OrderDone


def identity(outcome: Outcome) -> str:
    """Names what an outcome is of: told twice, it counts once."""
    return f"row {outcome.key}" if isinstance(outcome, LedgerRow) else outcome.identity


@dataclass(frozen=True)
class RestoreJob:
    """What every worker of a run is given once.

    `started_at` is in ISO 8601. TIFFs of more than `split_pixels` are split, and other pictures,
    which every worker decodes whole, above `split_picture_pixels`. `samples` are keys of inputs
    on whose patches the generator is measured. `compiles` says that there is enough to restore for
    a compiler to pay. `scale`, `bands` and `tiling` are the
    generator's, for those who do not load it.
    """

    config: RestoreConfig
    generator_digest: str
    scale: int
    bands: int
    tiling: Tiling
    run_id: str
    started_at: str
    split_pixels: int
    split_picture_pixels: int
    samples: tuple[str, ...]
    compiles: bool = False

    @property
    def generator_key(self) -> str:
        """Where the target keeps the generator: every worker can read it, and so can an audit."""
        return f"_ganray/generators/{self.generator_digest}.safetensors"

    def grid(self, height: int, width: int) -> Grid:
        """The patches and windows of an input of this size."""
        return self.tiling.grid(height, width, self.config.window_pixels)

    def qualification_key(self, device: str) -> str:
        """Where the target keeps what was measured of the generator on a kind of device."""
        return f"_ganray/generators/{self.generator_digest}.{device}.json"

    def output_key(self, key: str) -> str:
        return catalog.output_key(key, self.config.codecs)

    def failed_row(
        self, item: Pending, error: GanrayError, *, attempts: int = 0, retry: bool = False
    ) -> LedgerRow:
        """The row of an attempt that ended in `error`; by default the attempt after those of
        earlier runs."""
        is_by_limit = isinstance(error, TooLargeError | DistrustedError)
        return LedgerRow(
            key=item.key,
            etag=item.etag,
            generator_digest=self.generator_digest,
            config_digest=self.config.pixel_digest,
            state="failed",
            recorded_at=time.time(),
            run_id=self.run_id,
            attempts=attempts or item.attempts + 1,
            reason=str(error),
            retry=retry,
            limits_digest=self.config.limits_digest if is_by_limit else "",
            ganray_version=__version__,
            error=type(error).__name__,
        )
