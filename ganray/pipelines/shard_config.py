"""What the shard job is told."""

from typing import Annotated

from pydantic import Field, model_validator

from ganray.codecs.catalog import Codecs
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.geo_config import GeoConfig
from ganray.config import Section
from ganray.manifest import Selection
from ganray.pipelines.workers import WorkersConfig


class ShardConfig(Section):
    """The shard job: an archive to a folder that `ganray train archive=…` takes instead."""

    archive: str = "sample:training"
    """URI or folder of the references, good images."""
    selection: Selection = Selection()
    output: str = "ganray-output/shards"
    """URI or folder of the shards and their index."""
    side_pixels: Annotated[int, Field(ge=16)] = 384
    """Longest side of a sub-image: what a sample reads and decodes."""
    overlap_pixels: Annotated[int, Field(ge=0)] = 64
    """By how much neighbours overlap at least; as much as a patch, and every patch there is can be
    cut."""
    smallest_pixels: Annotated[int, Field(ge=16)] = 64
    """Images with a shorter side are left out by name; no patch of a training may be larger."""
    shard_bytes: Annotated[int, Field(gt=0)] = 128 * 2**20
    """Pixels of one shard before they are coded, about; a worker holds them in memory."""
    num_validation_images: Annotated[int, Field(ge=0)] = 4
    """Images that are left out and copied beside the shards, for validation; at most one of ten,
    and always the same ones."""
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Part of the images that may be unreadable; beyond it there is no index."""
    geo: GeoConfig = GeoConfig()
    film: FilmConfig = FilmConfig()
    dicom: DicomConfig = DicomConfig()
    workers: WorkersConfig = WorkersConfig()

    @property
    def codecs(self) -> Codecs:
        return Codecs(geo=self.geo, film=self.film, dicom=self.dicom)

    @model_validator(mode="after")
    def _leaves_a_step(self) -> "ShardConfig":
        if self.overlap_pixels >= self.side_pixels:
            raise ValueError(
                f"overlap_pixels {self.overlap_pixels}; expected less than side_pixels "
                f"{self.side_pixels}"
            )
        if self.smallest_pixels > self.side_pixels:
            raise ValueError(
                f"smallest_pixels {self.smallest_pixels} is above side_pixels {self.side_pixels}"
            )
        return self
