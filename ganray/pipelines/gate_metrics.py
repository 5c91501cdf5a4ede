"""By which metrics a gate judges: one of fidelity, and one that was no loss of the training."""

import torch

from ganray.errors import ConfigError
from ganray.evaluation.full_reference import GRAY_OR_RGB
from ganray.evaluation.weights import MetricWeights
from ganray.models.checkpoint import Checkpoint
from ganray.models.feature_networks import decode_network
from ganray.pipelines.evaluate_metrics import SEEING, may_be_loss
from ganray.pipelines.gate import AUTO
from ganray.storage import read_uri
from ganray.training.objective import told_losses


def choose_fidelity(bands: int) -> str:
    """Of luma where there is one, otherwise over all bands."""
    return "psnr_y" if bands in GRAY_OR_RGB else "psnr_all"


def choose_perceptual(asked: str, weights: MetricWeights, candidate: Checkpoint) -> str:
    """The metric that has to improve: the one asked for, or what can be had.

    LPIPS where its network is named and was no loss, otherwise SSIM; of other bands than gray or
    RGB, for which neither is defined, the part of the pixels that came closer to the reference.
    NIQE is not chosen: without a reference, noise that was left is as natural as texture. SSIM is
    chosen even where MS-SSIM was a loss, as it is by default with a small weight: akin to it, and
    not the same. Raises ConfigError where the metric that was asked for was a loss, or lacks its
    network.
    """
    require_network(asked, weights)
    losses = told_losses(candidate.training)
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


def require_network(asked: str, weights: MetricWeights) -> None:
    """Raise ConfigError where the metric that is asked for sees by a network that none names."""
    if asked in ("lpips", "dists") and not weights.features:
        raise ConfigError(
            f"gate.perceptual={asked} sees by a network, and weights.features is empty; name a "
            "file of its weights, or choose a metric that needs none, as ssim_y"
        )


def _was_loss(metric: str, weights: MetricWeights, losses: frozenset[str]) -> bool:
    """Whether a metric is one of the losses, or sees by a network that one of them may see by."""
    if metric not in SEEING or "perceptual" not in losses:
        return metric in losses
    data = read_uri(weights.features)
    return may_be_loss(decode_network(data, weights.features, torch.device("cpu")))
