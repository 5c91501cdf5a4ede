"""What the promote job is told."""

from typing import Annotated

from pydantic import Field, model_validator

from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.geo_config import GeoConfig
from ganray.config import default_registry
from ganray.degradation.recipe import RecipeField
from ganray.evaluation.weights import MetricWeights
from ganray.manifest import Selection
from ganray.pipelines.evaluate_config import DecodingConfig, EvaluateConfig
from ganray.pipelines.gate import GateConfig
from ganray.pipelines.workers import WorkersConfig
from ganray.registry import require_name


class PromoteConfig(Selection):
    """The promote job: by default a shipped generator, measured on the sample's held-out
    images, becomes current under the name `sample`."""

    candidate: str = "photo-x2"
    """File, URI or catalog name of the generator, or `registry:NAME@VERSION`."""
    name: str = "sample"
    """Name that it is promoted under: `restore generator=registry:NAME` takes it from then on."""
    registry: str = Field(default_factory=default_registry)
    """URI or folder of the registry; by default what GANRAY_REGISTRY names."""
    gate: GateConfig = GateConfig()
    archive: str = "sample:held-out"
    """URI or folder of references that no training saw, from which pairs are synthesised."""
    degradation: RecipeField = Field(default="photo", validate_default=True)
    """Recipe: bicubic, photo-mild, photo, satellite, film, inpaint, surveillance, ct;
    or a YAML file, or its steps."""
    degraded: str = ""
    """URI or folder of degraded images, paired with `reference` by key; instead of `archive`."""
    reference: str = ""
    """URI or folder of their references."""
    weights: MetricWeights = MetricWeights()
    limits: DecodingConfig = DecodingConfig()
    geo: GeoConfig = GeoConfig()
    film: FilmConfig = FilmConfig()
    dicom: DicomConfig = DicomConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the degradation and of the bootstrap."""
    workers: WorkersConfig = WorkersConfig()
    output: str = "ganray-output/promote"
    """URI or folder of gate.json and of what was measured."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "PromoteConfig":
        if bool(self.degraded) != bool(self.reference):
            raise ValueError("degraded and reference belong together; give both or none")
        require_name(self.name)
        return self

    def measuring(self, generators: tuple[str, ...], metrics: tuple[str, ...]) -> EvaluateConfig:
        """The evaluation that the gate judges by."""
        shared = EvaluateConfig.model_fields.keys() & type(self).model_fields.keys()
        values = {name: getattr(self, name) for name in shared}
        return EvaluateConfig(**values, generators=generators, metrics=metrics)
