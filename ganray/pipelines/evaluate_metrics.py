"""The metrics of an evaluation: what they need is checked at first, and each pair is measured."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch

from ganray.errors import ConfigError
from ganray.evaluation.distribution import extract
from ganray.evaluation.full_reference import GRAY_OR_RGB
from ganray.evaluation.metric import Metric
from ganray.evaluation.metrics import (
    METRICS,
    OF_IMAGES,
    SetMetric,
    SetMetricName,
    build_metrics,
    load_features,
    measure_all,
    require_known,
    set_metrics,
)
from ganray.evaluation.weights import MetricWeights
from ganray.models.feature_networks import (
    SMALLEST_SIDE_PIXELS,
    FeatureNetwork,
    decode_network,
)
from ganray.pipelines.evaluate_config import EvaluateConfig
from ganray.pipelines.evaluate_orders import Column, EvaluateJob
from ganray.pipelines.pairs import Pair, sample_of
from ganray.raster.image import FloatPixels, Pixels, to_float
from ganray.restoration.restorer import choose_device
from ganray.storage import read_uri
from ganray.training.objective import told_losses
from ganray.training.perceptual_weights import LOSSES

SET_METRICS: tuple[str, ...] = get_args(SetMetricName)
SEEING = ("lpips", "dists", *SET_METRICS)
"""Metrics by the features of a network."""

Values = tuple[float | None, ...]
Features = tuple[float, ...]


@dataclass(frozen=True)
class Metrics:
    """What is measured of each image, and of the whole set by features of `network`."""

    of_images: dict[str, Metric]
    of_sets: dict[str, SetMetric]
    network: FeatureNetwork | None

    @property
    def digest(self) -> str:
        """Changes with what is measured, and with the content of every file of weights: the
        definitions name their hashes."""
        said = [metric.definition for metric in self.of_images.values()]
        said += [metric.definition for metric in self.of_sets.values()]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def load_metrics(config: EvaluateConfig, device: torch.device) -> Metrics:
    """Read the weights. Raises ConfigError for an unknown metric or weights that are not given."""
    require_known(config.metrics, (*OF_IMAGES, *SET_METRICS))
    named = [name for name in config.metrics if name not in SET_METRICS]
    of_images = build_metrics(named, config.weights, device)
    if len(named) == len(config.metrics):
        return Metrics(of_images, {}, None)
    network = load_features(config.weights, device)
    of_sets = set_metrics(network)
    asked = {name: of_sets[name] for name in config.metrics if name in of_sets}
    return Metrics(of_images, asked, network)


def require_metrics(config: EvaluateConfig, *, bands: int) -> Metrics:
    """The metrics, if the pairs have what they need. Raises ConfigError with what to give."""
    found = load_metrics(config, torch.device("cpu"))
    for name, metric in found.of_images.items():
        _require(name, metric.needs, metric.suits(bands), config, bands)
    for name in found.of_sets:
        _require(name, ("reference",), bands in GRAY_OR_RGB, config, bands)
    return found


def _require(
    name: str, needs: tuple[str, ...], suits: bool, config: EvaluateConfig, bands: int
) -> None:
    if "reference" in needs and not config.has_references:
        others = [n for n, metric in METRICS.items() if "reference" not in metric.needs]
        raise ConfigError(
            f"the metric {name} needs references; give reference=, or metrics="
            f"[{', '.join((*others, 'niqe'))}]"
        )
    if "lost" in needs and not config.has_masks:
        raise ConfigError(
            f"the metric {name} needs a mask of lost pixels; choose a degradation with damage, "
            "such as film or inpaint, or leave it out"
        )
    if not suits:
        others = [
            n for n, metric in METRICS.items() if metric.suits(bands) and "lost" not in metric.needs
        ]
        raise ConfigError(
            f"the metric {name} is not for images of {bands} bands, which the generators restore; "
            f"choose from {', '.join(others)}"
        )


def columns_of(job: EvaluateJob) -> list[Column]:
    """The columns of the table: generator by generator, metrics of images as configured."""
    named = [name for name in job.config.metrics if name not in SET_METRICS]
    return [(generator, metric) for generator in job.names for metric in named]


class Meter:
    """Measures the restorations of one pair after another."""

    def __init__(self, job: EvaluateJob) -> None:
        self.job = job
        self.device = choose_device("auto")
        self.metrics = load_metrics(job.config, self.device)

    def measure(self, pair: Pair, restored: Iterable[Pixels]) -> tuple[Values, Features]:
        """The values of all columns, and the features of the reference and all restorations."""
        values: list[float | None] = []
        features = self._see(None if pair.reference is None else to_float(pair.reference))
        for pixels in restored:
            sample = sample_of(pair, pixels, self.job.scale)
            found = measure_all(self.metrics.of_images, sample, crop=self.job.crop)
            values += found.values()
            features += self._see(sample.restored)
        return tuple(values), tuple(features)

    def _see(self, image: FloatPixels | None) -> list[float]:
        """The features of an image; none where none are asked for, or it is too small."""
        network = self.metrics.network
        if network is None or image is None or min(image.shape[1:]) < SMALLEST_SIDE_PIXELS:
            return []
        return [float(value) for value in extract(network, image, self.device)]


def may_be_loss(network: FeatureNetwork) -> bool:
    """Whether a perceptual loss may see by this network too, by its kind: of a loss a checkpoint
    says where the weights were, not what they were."""
    return network.architecture.name in LOSSES


def notice_of(
    metric: str, generator: str, training: Mapping[str, Any], weights: MetricWeights
) -> str:
    """What must stand beside a metric that is akin to what the generator was trained by."""
    if metric not in SEEING or "perceptual" not in told_losses(training):
        return ""
    network = decode_network(read_uri(weights.features), weights.features, torch.device("cpu"))
    if may_be_loss(network):
        return (
            f"{generator} was trained by a perceptual loss, perhaps by the network by which "
            f"{metric} sees: then this is its loss, not a measure of it"
        )
    return f"{generator} was trained by a perceptual loss, which is akin to {metric} and favours it"
