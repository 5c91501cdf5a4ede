"""By which metrics a gate judges: one of fidelity, and one that was no loss of the training."""

from collections.abc import Mapping
from typing import Any

import torch

from ganray.config import build_config
from ganray.errors import ConfigError
from ganray.evaluation.full_reference import GRAY_OR_RGB
from ganray.evaluation.weights import MetricWeights
from ganray.models.checkpoint import Checkpoint
from ganray.models.feature_networks import CAFFE_SQUEEZENET, decode_network
from ganray.storage import read_uri
from ganray.training.objective import ObjectiveConfig

AUTO = "auto"
CPU = torch.device("cpu")


def choose_fidelity(bands: int) -> str:
    """Of luma where there is one, otherwise over all bands."""
    return "psnr_y" if bands in GRAY_OR_RGB else "psnr_all"


def choose_perceptual(asked: str, weights: MetricWeights, candidate: Checkpoint) -> str:
    """The metric that has to improve: the one asked for, or what can be had.

    LPIPS where its network is named and was no loss, otherwise SSIM; of other bands than gray or
    RGB, for which neither is defined, the part of the pixels that came closer to the reference.
    NIQE is not chosen: without a reference, noise that was left is as natural as texture.
    Raises ConfigError where the metric that was asked for was a loss.
    """
    losses = _losses(candidate.training)
    if asked == AUTO:
        if candidate.bands not in GRAY_OR_RGB:
            return "improvement"
        return "lpips" if weights.features and not _was_loss("lpips", weights, losses) else "ssim_y"
    if _was_loss(asked, weights, losses):
        raise ConfigError(
            f"gate.perceptual={asked} was, or may have been, what the candidate was trained by "
            f"({', '.join(sorted(losses))}): it would judge itself. Choose another metric, as "
            "ssim_y, or name another network by weights.features"
        )
    return asked


def _losses(training: Mapping[str, Any]) -> set[str]:
    """The terms that a checkpoint says it was trained by; none where it does not say."""
    told = training.get("config", {}).get("objective")
    if told is None:
        return set()
    try:
        objective = build_config(ObjectiveConfig, told)
    except ConfigError:
        # Of another version of ganray.
        return set()
    return {name for name, weight in objective.weights.items() if weight > 0}


def _was_loss(metric: str, weights: MetricWeights, losses: set[str]) -> bool:
    """Whether a metric is one of the losses, or sees by a network that one of them may see by.

    Of the networks that losses know only Caffe's SqueezeNet is one that LPIPS may use.
    """
    if metric != "lpips" or "perceptual" not in losses:
        return metric in losses
    network = decode_network(read_uri(weights.features), weights.features, CPU)
    return network.architecture.name == CAFFE_SQUEEZENET
