"""Which images a training learns from: the section of its configuration that is about data."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ganray.codecs.catalog import Codecs
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.geo_config import GeoConfig
from ganray.config import Section
from ganray.degradation.recipe import RecipeField
from ganray.manifest import Selection
from ganray.pipelines.archives import SAMPLE, resolve_archive

AUTO = "auto"
SAMPLE_VALIDATION = "sample:held-out"


class DataConfig(Section):
    """What a training learns from; everything has a default, which is the embedded sample."""

    archive: str = "sample:training"
    """URI or folder of the references, good images, from which pairs are synthesised; or of the
    shards that `ganray shard` made of them."""
    degraded: str = ""
    """URI or folder of their degraded twins, 1/scale as large and of the same names, whatever the
    suffix; nothing is synthesised then."""
    selection: Selection = Selection()
    validation: str = AUTO
    """URI or folder of images for validation; empty for none. `auto` leaves some of `archive`
    out for it, at most one of ten and always the same, and takes sample:held-out for the sample."""
    validation_degraded: str = ""
    """URI or folder of the degraded twins of `validation`; otherwise they are synthesised."""
    num_validation_images: Annotated[int, Field(ge=1)] = 4
    """Images of the validation archive that are measured each time, the first by key; with
    `auto`, how many are left out at most."""
    degradation: RecipeField = Field(default="photo", validate_default=True)
    """Recipe: bicubic, photo-mild, photo, satellite, film, inpaint, surveillance, ct;
    or a YAML file, or its steps."""
    patch_pixels: Annotated[int, Field(gt=0)] = 64
    """Side of a reference patch: a multiple of 8 and of the scale."""
    patches_per_image: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """How many consecutive batches take a patch from an image once it is decoded; `auto` is 1 where
    the archive fits `cache_bytes`, and otherwise grows with its images, up to 8."""
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Part of the images that may be unreadable, without a twin or of a wrong size: they are
    skipped by name; beyond it the training is refused, or stops."""
    cache_bytes: Annotated[int, Field(ge=0)] = 512 * 2**20
    """Decoded images that a process which cuts patches keeps."""
    readers: Annotated[int, Field(ge=1)] = 1
    """Processes of one CPU each that cut the patches of a worker; more where it waits for them."""
    geo: GeoConfig = GeoConfig()
    film: FilmConfig = FilmConfig()
    dicom: DicomConfig = DicomConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Of weights, samples and noise."""

    @property
    def codecs(self) -> Codecs:
        return Codecs(geo=self.geo, film=self.film, dicom=self.dicom)

    @model_validator(mode="after")
    def _has_both_sides(self) -> "DataConfig":
        if self.validation_degraded and self.validation in ("", AUTO):
            raise ValueError("validation_degraded is given; name its references by validation=")
        if self.degraded and self.validation not in ("", AUTO) and not self.validation_degraded:
            raise ValueError(
                "training has pairs and validation has none; give validation_degraded, or leave "
                "validation out"
            )
        return self


def resolve_validation(config: DataConfig) -> str:
    """The absolute URI of the validation archive; `auto` and none stay as they are."""
    if config.validation == AUTO and config.archive.startswith(SAMPLE):
        return resolve_archive(SAMPLE_VALIDATION)
    if config.validation in ("", AUTO):
        return config.validation
    return resolve_archive(config.validation)
