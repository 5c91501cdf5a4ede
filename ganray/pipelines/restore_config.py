"""What the restore job is told."""

from typing import Annotated, Literal

from pydantic import Field

from ganray.codecs.catalog import Codecs
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.geo_config import GeoConfig
from ganray.codecs.photo_output import OutputConfig
from ganray.codecs.video_config import VideoConfig
from ganray.config import Section, default_registry, digest
from ganray.manifest import Selection
from ganray.models.checkpoint import ReadingConfig
from ganray.pipelines.workers import NotNegative, WorkersConfig
from ganray.report.config import ReportConfig
from ganray.restoration import RestorerConfig
from ganray.restoration.restorer import Precision

GPU_PREFETCH = 96
"""Three full batches of small tiles at a magnification of 2."""
BYTES_PER_THREAD = 2**27

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class LimitsConfig(Section):
    """What one input may cost; one that costs more fails by name, its neighbours do not."""

    pixels: Positive = 2**27
    """Pixels of an input that is decoded or written whole, or of one frame of a film; a TIFF is
    only if it is small."""
    scene_pixels: Positive = 2**36
    """Pixels of a TIFF that is read and written window by window."""
    bytes: Positive = 2**36
    """Bytes of an input's file."""
    seconds: Annotated[float, Field(gt=0)] = 600.0
    """Seconds of one step of one window, or of one frame of a film: to decode, to restore, or to
    write it."""
    memory_bytes: Positive = 2**33
    """Memory that decoding one input may take beyond the worker's own; on Ray only in a worker that
    replaces one that died, and nowhere of frames of films."""


class TrustConfig(Section):
    """How far a restoration may depart from its input."""

    max_consistency: Fraction = 1.0
    """Mean absolute difference between the input and the restoration brought back to its size."""
    max_colour_drift: Fraction = 1.0
    """Largest difference between a band's means before and after."""
    max_clipped: Fraction = 1.0
    """Fraction of values that fell outside the range and were cut."""
    max_non_finite: Fraction = 1.0
    """Fraction of values that half precision could not hold, computed again in float32."""
    max_seam_error: Fraction = 1.0
    """Largest difference between the generator's tiled and whole result."""
    min_span: Fraction = 0.1
    """Part of the range from black to white that an input of more than 8 bits has to span: on
    nearly flat values a generator leaves a pattern."""
    beyond: Literal["flag", "refuse"] = "flag"
    """What becomes of an input beyond a limit: `flag` names it in the ledger, `refuse` fails it."""


class RestoreWorkersConfig(WorkersConfig):
    """The pool of a restoration, and the threads of each worker."""

    in_process: Literal["auto", "never"] = "auto"
    """`auto` restores a handful of images in this process, where Ray's start would take longer
    than the work; `never` always starts the pool."""
    readers: NotNegative = 0
    """Threads of a worker that read and decode; 0 derives them from its CPUs."""
    writers: NotNegative = 0
    """Threads of a worker that encode and write; 0 derives them from its CPUs."""

    prefetch: NotNegative = 0
    """Inputs that a worker reads ahead of the device; 0 is three for each reader, and for a GPU
    enough small ones to fill its batches."""

    @property
    def num_ahead(self) -> int:
        return self.prefetch or max(3 * self.num_readers, GPU_PREFETCH if self.gpus else 0)

    @property
    def buffer_bytes(self) -> int:
        """What inputs and outputs in flight may take of a worker's memory."""
        return BYTES_PER_THREAD * (self.num_readers + self.num_writers)

    @property
    def num_readers(self) -> int:
        # Threads wait for the store most of the time, so that there are more than CPUs.
        return self.readers or 1 + self.num_threads

    @property
    def num_writers(self) -> int:
        return self.writers or 1 + self.num_threads


class RestoreConfig(Selection):
    """The restore job: everything has a default that restores the embedded sample."""

    source: str = "sample:"
    """URI or folder of the archive."""
    target: str = "ganray-output/restored"
    """URI or folder of the restored archive; the ledger stands there under _ganray/."""
    generator: str = "compact-x2"
    """File, URI or catalog name of the generator, or `registry:NAME` or `registry:NAME@VERSION`."""
    registry: str = Field(default_factory=default_registry)
    """URI or folder of the registry that `registry:NAME` is looked up in; by default what
    GANRAY_REGISTRY names."""
    masks: str = ""
    """URI or folder of masks of lost pixels, for a generator that takes one. A mask has its image's
    key with the extension .png; that of a TIFF is a TIFF of the same key. It has its image's sides,
    gray or colours without hue, and is not 0 where a pixel is lost. What is written is the
    generator's output everywhere, not only there."""
    reading: ReadingConfig = ReadingConfig()
    workers: RestoreWorkersConfig = RestoreWorkersConfig()
    window_pixels: Positive = 2048
    """Side of a window in input pixels, rounded to whole patches."""
    split_pixels: Positive = 2**25
    """Inputs of more pixels are spread over the workers, window by window; so are smaller ones
    where there are fewer inputs than workers."""
    precision: Precision = "auto"
    """Of the generator's arithmetic; `auto` is a half type for 8-bit inputs where that differs
    from float32 by one step at most, and float32 otherwise."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Compile half precision on CUDA, about twice as fast, for up to a minute at the start of a
    worker; `auto` does where there is enough to restore. CPUs gain nothing and never compile."""
    output: OutputConfig = OutputConfig()
    geo: GeoConfig = GeoConfig()
    film: FilmConfig = FilmConfig()
    dicom: DicomConfig = DicomConfig()
    video: VideoConfig = VideoConfig()
    max_failed: Fraction = 1.0
    """Fraction of the inputs that may fail in one run before it stops; those that failed in
    earlier ones do not count."""
    retry_failed: bool = False
    """Try again the inputs that failed in an earlier run for a lasting reason."""
    limits: LimitsConfig = LimitsConfig()
    trust: TrustConfig = TrustConfig()
    cost_per_worker_hour: Annotated[float, Field(ge=0)] = 0.0
    """Price of one worker for an hour, in any currency; `--plan` then prints what the run costs,
    and the report says what it did cost."""
    currency: str = ""
    """Name of that currency, for the report."""
    report: ReportConfig = ReportConfig()

    @property
    def restorer(self) -> RestorerConfig:
        return RestorerConfig(window_pixels=self.window_pixels, precision=self.precision)

    @property
    def codecs(self) -> Codecs:
        return Codecs(
            output=self.output, geo=self.geo, film=self.film, dicom=self.dicom, video=self.video
        )

    @property
    def pixel_digest(self) -> str:
        """Changes with whatever changes the outputs; windows, workers and caches do not."""
        default = Codecs()
        same_geo = {"cache_bytes": default.geo.cache_bytes, "max_bands": default.geo.max_bands}
        same_video = {
            "threads": default.video.threads,
            "segment_frames": default.video.segment_frames,
        }
        codecs = self.codecs.model_copy(
            update={
                "geo": self.geo.model_copy(update=same_geo),
                "video": self.video.model_copy(update=same_video),
            }
        )
        return digest(codecs, RestorerConfig(precision=self.precision))

    @property
    def limits_digest(self) -> str:
        """Changes with the limits: what failed by one is tried again under others."""
        bands = GeoConfig(max_bands=self.geo.max_bands)
        return digest(self.limits, self.trust, bands)
