"""What the generator is trained for: weighted terms beside the adversarial one.

One number, `texture`, stands for all weights; each may be given by itself. The formulas are in
the modules of the losses; here they are only chosen, weighed and summed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ganray.config import Section, build_config
from ganray.errors import ConfigError
from ganray.storage import read_uri
from ganray.training.artifacts import ldl
from ganray.training.frequency_losses import focal_frequency, wavelet
from ganray.training.perceptual import RandomFeatures, feature_matching, random_features
from ganray.training.perceptual_weights import decode_perceptual
from ganray.training.pixel_losses import PIXEL, ms_ssim_loss

Weight = Annotated[float, Field(ge=0)]
COLOUR_BANDS = (1, 3)


def adversarial_weight(texture: float) -> float:
    """0.08·t²: nothing at 0, 0.02 at a half, near Real-ESRGAN's and traiNNer's 0.1 at 1."""
    return 0.08 * texture**2


TEXTURE_WEIGHTS: dict[str, Callable[[float], float]] = {
    "pixel": lambda t: 1.0,
    "ms_ssim": lambda t: 0.1 * t,
    "feature_matching": lambda t: 0.4 * t**2,
    "focal_frequency": lambda t: 0.0,
    "wavelet": lambda t: 0.0,
    "random_features": lambda t: 0.0,
    "perceptual": lambda t: 0.04 * t**2,
    "ldl": lambda t: max(0.0, 2 * t - 1),
}
"""Each term's weight by texture t, where none is given; `perceptual` only with a file.

At a half, the adversarial term moves a restoration as much as the pixel loss does, feature matching
half as much, MS-SSIM a quarter (norms of gradients, photographs, a warmed-up U-Net); `perceptual`
has traiNNer's 0.01 there, and LDL its authors' 1 at the end.
"""


class ObjectiveConfig(Section):
    """What the generator is trained for, from fidelity to texture."""

    texture: Annotated[float, Field(ge=0, le=1)] = 0.5
    """0 is faithful and smooth, 1 rich in texture that may be invented; it stands for the weights
    of all terms that are not given, the adversarial one among them."""
    pixel: Weight | None = None
    """Weight of the distance pixel by pixel; empty is 1."""
    pixel_kind: Literal["charbonnier", "l1"] = "charbonnier"
    """Which distance pixel by pixel."""
    ms_ssim: Weight | None = None
    """Weight of 1 − MS-SSIM; empty is by texture."""
    feature_matching: Weight | None = None
    """Weight of the distance between the discriminator's features; empty is by texture."""
    focal_frequency: Weight | None = None
    """Weight of the focal frequency loss; empty is 0."""
    wavelet: Weight | None = None
    """Weight of the distance of wavelet details; empty is 0."""
    random_features: Weight | None = None
    """Weight of the perceptual loss by a network of random weights; empty is 0."""
    perceptual: Weight | None = None
    """Weight of the perceptual loss by `perceptual_weights`; empty is by texture."""
    ldl: Weight | None = None
    """Weight of the loss against artifacts (LDL); empty is by texture, above a half."""
    perceptual_weights: str = ""
    """File or URI of the weights of VGG19 or SqueezeNet 1.1 for `perceptual`; empty for none."""

    @model_validator(mode="after")
    def _has_its_file(self) -> "ObjectiveConfig":
        if self.perceptual and not self.perceptual_weights:
            raise ValueError(
                f"perceptual={self.perceptual} needs trained weights: give perceptual_weights, or "
                "use random_features, which needs none"
            )
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term: as given, or as texture says."""
        by_texture = {name: rule(self.texture) for name, rule in TEXTURE_WEIGHTS.items()}
        if not self.perceptual_weights:
            by_texture["perceptual"] = 0.0
        given = {name: getattr(self, name) for name in TEXTURE_WEIGHTS}
        return {name: by_texture[name] if w is None else w for name, w in given.items()}


def told_losses(training: Mapping[str, Any]) -> frozenset[str]:
    """The terms that a checkpoint says it was trained by; none where it does not say.

    What it says in the words of another version may be any of them.
    """
    told = training.get("config", {}).get("objective")
    if told is None:
        return frozenset()
    try:
        objective = build_config(ObjectiveConfig, told)
    except ConfigError:
        return frozenset((*TEXTURE_WEIGHTS, *told))
    return frozenset(name for name, weight in objective.weights.items() if weight > 0)


@dataclass(frozen=True)
class Judged:
    """Restorations with what they are judged by: images (B,C,H,W), and features if needed.

    The features are those of a discriminator, the logits last; only the fake ones carry a gradient.
    """

    restored: Tensor
    reference: Tensor
    real_features: Sequence[Tensor] = ()
    fake_features: Sequence[Tensor] = ()
    restored_ema: Tensor | None = None


@dataclass(frozen=True)
class Verdict:
    """The weighted sum, to be minimised, and each term without its weight, for the log."""

    total: Tensor
    terms: dict[str, Tensor]


class Objective:
    """The terms that a configuration asks for, with the networks that they need."""

    def __init__(
        self, config: ObjectiveConfig, *, bands: int, device: torch.device, seed: int
    ) -> None:
        """Raises ConfigError, CheckpointError or StorageError if a network cannot be had."""
        self.weights = {name: weight for name, weight in config.weights.items() if weight > 0}
        terms = _terms(config)
        if "random_features" in self.weights:
            network = random_features(RandomFeatures(bands, seed).to(device))
            terms["random_features"] = lambda j: network(j.restored, j.reference)
        if "perceptual" in self.weights:
            _require_colour(bands)
            source = config.perceptual_weights
            trained = decode_perceptual(read_uri(source), source, device)
            terms["perceptual"] = lambda j: trained(j.restored, j.reference)
        self._terms = {name: terms[name] for name in self.weights}

    @property
    def needs_ema(self) -> bool:
        """Whether the restorations by the averaged generator must be given."""
        return "ldl" in self.weights

    def judge(self, judged: Judged) -> Verdict:
        """Compute each term of positive weight, in float32 whatever the autocast."""
        total = judged.restored.new_zeros((), dtype=torch.float32)
        values = {}
        with torch.autocast(judged.restored.device.type, enabled=False):
            for name, term in self._terms.items():
                value = term(judged)
                total = total + self.weights[name] * value
                values[name] = value.detach()
        return Verdict(total, values)


def _terms(config: ObjectiveConfig) -> dict[str, Callable[[Judged], Tensor]]:
    """Those that need no network of their own."""
    pixel = PIXEL[config.pixel_kind]
    return {
        "pixel": lambda j: pixel(j.restored.float(), j.reference.float()),
        "ms_ssim": lambda j: ms_ssim_loss(j.restored, j.reference),
        "feature_matching": lambda j: feature_matching(j.real_features, j.fake_features),
        "focal_frequency": lambda j: focal_frequency(j.restored, j.reference),
        "wavelet": lambda j: wavelet(j.restored, j.reference),
        "ldl": _ldl,
    }


def _ldl(judged: Judged) -> Tensor:
    assert judged.restored_ema is not None, "needs_ema says that it must be given"
    return ldl(judged.restored, judged.reference, judged.restored_ema)


def _require_colour(bands: int) -> None:
    if bands not in COLOUR_BANDS:
        raise ConfigError(
            "perceptual_weights are of a network of colour photographs, and the images have "
            f"{bands} bands; expected 1 or 3. Leave perceptual_weights empty, and use "
            "random_features, which takes any number of bands"
        )
