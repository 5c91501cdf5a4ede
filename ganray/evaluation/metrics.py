"""The metrics by name: of one image, by weights that the user names, and of whole sets.

Start here; the formulas are in the modules beside. `build_metrics` prepares what a configuration
asks for, `measure_all` applies it to one sample.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from ganray.errors import ConfigError
from ganray.evaluation.distribution import (
    FeatureSums,
    SetValue,
    frechet_distance,
    kernel_distance,
)
from ganray.evaluation.full_reference import FULL_REFERENCE, GRAY_OR_RGB
from ganray.evaluation.metric import Better, Metric, Sample, cut, cut_pair
from ganray.evaluation.multiband import MULTIBAND
from ganray.evaluation.naturalness import decode_niqe, niqe, shipped_niqe
from ganray.evaluation.perceptual import decode_dists, decode_heads, dists, equal_heads, lpips
from ganray.evaluation.trust import TRUST
from ganray.evaluation.weights import MetricWeights
from ganray.models.feature_networks import (
    CAFFE_SQUEEZENET,
    SMALLEST_SIDE_PIXELS,
    TORCHVISION_SQUEEZENET,
    VGG16,
    FeatureNetwork,
    decode_network,
)
from ganray.raster.image import FloatPixels
from ganray.storage import read_uri

SetMetricName = Literal["frechet_distance", "kernel_distance"]

METRICS: Final[dict[str, Metric]] = {
    metric.name: metric for metric in (*FULL_REFERENCE, *MULTIBAND, *TRUST)
}
"""Those that need no weights."""


@dataclass(frozen=True)
class SetMetric:
    """One number about a set of restored images and a set of references."""

    name: str
    definition: str
    better: Better
    function: Callable[[FeatureSums, FeatureSums], SetValue]


def build_metrics(
    names: Sequence[str], weights: MetricWeights, device: torch.device
) -> dict[str, Metric]:
    """The named metrics, in that order, with what they need read.

    Raises ConfigError for an unknown name or weights that are not given, CheckpointError or
    StorageError for weights that cannot be had.
    """
    require_known(names, OF_IMAGES)
    return {
        name: METRICS[name] if name in METRICS else WEIGHTED[name](weights, device)
        for name in names
    }


def require_known(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigError for names that are not among the known ones."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ConfigError(
            f"unknown metric {', '.join(unknown)}; choose from {', '.join(sorted(known))}"
        )


def measure_all(
    metrics: Mapping[str, Metric], sample: Sample, *, crop: int
) -> dict[str, float | None]:
    """Measure one sample by each metric, after cutting `crop` pixels from every border.

    The field's convention is a crop of the scale. A value is None where it is undefined: too
    little is left, the bands do not suit, or what is needed is not there.
    """
    return {name: metric.measure(sample, crop) for name, metric in metrics.items()}


def load_features(
    weights: MetricWeights, device: torch.device, among: Sequence[str] = ()
) -> FeatureNetwork:
    """The network that the weights name; raises ConfigError where they name none."""
    data, source = _read(weights.features, "features")
    return decode_network(data, source, device, among)


def set_metrics(network: FeatureNetwork) -> dict[str, SetMetric]:
    """The set metrics by their names, each saying what network it sees by."""
    seen = (
        f"on the last layer of {_title(network)}, averaged over each image's pixels; "
        "comparable only with values by the same network"
    )
    return {
        "frechet_distance": SetMetric(
            "frechet_distance",
            f"Squared Fréchet distance between Gaussians fitted to both sets, {seen}.",
            "lower",
            frechet_distance,
        ),
        "kernel_distance": SetMetric(
            "kernel_distance",
            "Squared maximum mean discrepancy under the kernel (x·y/D + 1)^3, unbiased, between "
            f"random subsets of at most 1000 images, {seen}.",
            "lower",
            kernel_distance,
        ),
    }


def _lpips(weights: MetricWeights, device: torch.device) -> Metric:
    """LPIPS by the named network.

    With VGG16's or SqueezeNet's weights of torchvision and their heads it is the published LPIPS
    (v0.1). SqueezeNet of torchvision was trained anew, so that the heads' channels are not those of
    Caffe's: there heads are but some weights ≥ 0. Equal ones are the untrained variant.
    """
    among = (VGG16, CAFFE_SQUEEZENET, TORCHVISION_SQUEEZENET)
    network = load_features(weights, device, among)
    heads, heads_said = equal_heads(network, device), "all channels weighted equally"
    if weights.lpips_heads:
        data = read_uri(weights.lpips_heads)
        heads = decode_heads(data, weights.lpips_heads, network, device)
        heads_said = f"linear heads (sha256 {_digest(data)})"
    own = network.architecture.name == CAFFE_SQUEEZENET or not weights.lpips_heads
    definition = (
        "Learned perceptual image patch similarity (Zhang et al. 2018) of RGB or gray in 0 to 1, "
        f"by {_title(network)}, {heads_said}"
        f"{'; not the published LPIPS, and comparable only with itself' if own else ''}; "
        "after a crop of `crop` pixels (the scale) from each border."
    )
    return _perceptual("lpips", definition, partial(lpips, network, heads), device)


def _dists(weights: MetricWeights, device: torch.device) -> Metric:
    data, source = _read(weights.dists, "dists")
    balance = decode_dists(data, source, device)
    network = load_features(weights, device, (VGG16,))
    definition = (
        "Deep image structure and texture similarity (Ding et al. 2020) of RGB or gray in 0 to 1, "
        f"by {_title(network)}, alpha and beta (sha256 {_digest(data)}), at full size; "
        "after a crop of `crop` pixels (the scale) from each border."
    )
    return _perceptual("dists", definition, partial(dists, network.tensors, balance), device)


def _niqe(weights: MetricWeights, _: torch.device) -> Metric:
    data = read_uri(weights.niqe) if weights.niqe else shipped_niqe()
    model = decode_niqe(data, weights.niqe or "the shipped model of NIQE")

    def measure(sample: Sample, crop: int) -> float | None:
        return niqe(model, cut(sample.restored, crop))

    return Metric(
        name="niqe",
        definition=(
            "Natural image quality evaluator (Mittal et al. 2013) on Y rounded to 8 bits, blocks "
            "of 96x96 pixels, no reference, by "
            f"{'the named' if weights.niqe else 'the shipped'} parameters (sha256 "
            f"{_digest(data)}); after a crop of `crop` pixels (the scale) from each border."
        ),
        better="lower",
        needs=(),
        function=measure,
        bands=GRAY_OR_RGB,
    )


WEIGHTED: Final[dict[str, Callable[[MetricWeights, torch.device], Metric]]] = {
    "lpips": _lpips,
    "dists": _dists,
    "niqe": _niqe,
}
"""Those that need weights."""

OF_IMAGES: Final = (*METRICS, *WEIGHTED)
"""The names of all that measure one image."""


def _perceptual(
    name: str, definition: str, distance: Callable[[Tensor, Tensor], Tensor], device: torch.device
) -> Metric:
    def measure(sample: Sample, crop: int) -> float | None:
        restored, reference = cut_pair(sample, crop)
        if min(restored.shape[1:]) < SMALLEST_SIDE_PIXELS:
            return None
        with torch.inference_mode():
            return float(distance(_batch(restored, device), _batch(reference, device)))

    return Metric(name, definition, "lower", ("reference",), measure, GRAY_OR_RGB)


def _batch(pixels_CHW: FloatPixels, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels_CHW)).to(device)[None]


def _read(uri: str, key: str) -> tuple[bytes, str]:
    if not uri:
        raise ConfigError(
            f"weights.{key} is empty, and a metric that was asked for needs it; name a file of "
            "these weights, or leave the metric out"
        )
    return read_uri(uri), uri


def _title(network: FeatureNetwork) -> str:
    return f"{network.architecture.title} (sha256 {network.digest})"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
