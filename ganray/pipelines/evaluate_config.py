"""What the evaluate job is told."""

from typing import Annotated

from pydantic import Field, model_validator

from ganray.codecs.catalog import Codecs
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.geo_config import GeoConfig
from ganray.config import Section, default_registry, digest
from ganray.degradation.recipe import RecipeField
from ganray.evaluation.weights import MetricWeights
from ganray.manifest import Globs, Selection
from ganray.pipelines.workers import WorkersConfig

BICUBIC = "bicubic"
DEFAULT_METRICS = ("psnr_y", "psnr_rgb", "ssim_y", "ms_ssim", "consistency", "hallucination")


class DecodingConfig(Section):
    """What decoding one file may cost; one that costs more fails by name."""

    seconds: Annotated[float, Field(gt=0)] = 600.0
    """Seconds in which it has to be read and decoded."""
    memory_bytes: Annotated[int, Field(ge=1)] = 2**33
    """Memory that its decoder may take."""


class EvaluateConfig(Selection):
    """The evaluate job: by default the shipped generator on the sample's held-out images."""

    generators: Globs = ("compact-x2",)
    """Files, URIs, catalog names or `registry:NAME` of generators of one scale; bicubic is always
    measured."""
    registry: str = Field(default_factory=default_registry)
    """URI or folder of the registry that `registry:NAME` is looked up in; by default what
    GANRAY_REGISTRY names."""
    archive: str = "sample:held-out"
    """URI or folder of references, from which pairs are synthesised."""
    degradation: RecipeField = Field(default="photo", validate_default=True)
    """Recipe: bicubic, photo-mild, photo, satellite, film, inpaint, surveillance, ct;
    or a YAML file, or its steps."""
    degraded: str = ""
    """URI or folder of degraded images, paired with `reference` by key; instead of `archive`."""
    reference: str = ""
    """URI or folder of their references; empty to measure by metrics that need none."""
    metrics: Globs = DEFAULT_METRICS
    """Names of the metrics; the README lists them, and what they need."""
    weights: MetricWeights = MetricWeights()
    crop: Annotated[int, Field(ge=0)] | None = None
    """Pixels that are cut from every border before measuring; empty is the scale, as in the
    literature."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the intervals around means and differences, by bootstrap over images."""
    max_failed: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Fraction of the pairs that may fail before the run stops; each is named with its reason."""
    shown: Annotated[int, Field(ge=0, le=24)] = 6
    """Images in the report: the largest wins and losses of the first generator."""
    limits: DecodingConfig = DecodingConfig()
    geo: GeoConfig = GeoConfig()
    film: FilmConfig = FilmConfig()
    dicom: DicomConfig = DicomConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the degradation and of the bootstrap."""
    workers: WorkersConfig = WorkersConfig()
    output: str = "ganray-output/evaluate"
    """URI or folder of metrics.json and report.html."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "EvaluateConfig":
        if self.reference and not self.degraded:
            raise ValueError(
                "reference is given without degraded; give both, or the references as archive"
            )
        if not self.generators:
            raise ValueError("generators is empty; name at least one")
        if not self.metrics:
            raise ValueError("metrics is empty; name at least one")
        for name, values in ("generators", self.generators), ("metrics", self.metrics):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one of them twice: {', '.join(values)}")
        if BICUBIC in self.generators:
            raise ValueError("bicubic is always measured; leave it out of generators")
        return self

    @property
    def codecs(self) -> Codecs:
        return Codecs(geo=self.geo, film=self.film, dicom=self.dicom)

    @property
    def has_references(self) -> bool:
        return bool(self.reference) or not self.degraded

    @property
    def has_masks(self) -> bool:
        """Whether the pairs come with a mask of what is lost."""
        return not self.degraded and self.degradation.has_mask

    @property
    def value_digest(self) -> str:
        """Changes with whatever changes the value of an image; what is made of the values, and
        who measures them, does not count."""
        default = type(self)()
        others = (
            "confidence",
            "max_failed",
            "shown",
            "limits",
            "workers",
            "output",
            "registry",
            "include",
            "exclude",
        )
        same = {name: getattr(default, name) for name in others}
        return digest(self.model_copy(update=same))
