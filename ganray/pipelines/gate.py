"""The gate: by which rules a candidate may replace the incumbent, and what became of each.

Measures nothing itself: it reads what an evaluation measured of the candidate, the incumbent and
bicubic on the same images. A rule holds where the images prove it: compared is the unfavourable
end of the interval, not the mean.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ganray.config import Section
from ganray.evaluation.metrics import OF_IMAGES
from ganray.pipelines.evaluate_config import BICUBIC
from ganray.pipelines.evaluate_summary import Summaries

AUTO = "auto"
CEILINGS = {
    "consistency": "max_consistency",
    "colour_drift": "max_colour_drift",
    "hallucination": "max_hallucination",
}
"""Metric → the key of its ceiling."""

Amount = Annotated[float, Field(ge=0)]
Opponent = Literal["bicubic", "incumbent"]


class GateConfig(Section):
    """By which rules a candidate is promoted; each takes the unfavourable end of its interval."""

    perceptual: str = AUTO
    """Metric that has to be better than bicubic's and the incumbent's; `auto` is lpips where
    `weights.features` names a network that was no loss, otherwise ssim_y, which does not like much
    texture and is akin to MS-SSIM, a loss by default; of other bands than gray or RGB
    improvement. None over a whole set: it has no interval."""
    min_gain: Amount = 0.0
    """By how much more than this it has to be better, in its own units."""
    max_loss_to_bicubic: Amount = 1.5
    """Decibels of PSNR that the candidate may lie below bicubic: texture costs fidelity."""
    max_loss_to_incumbent: Amount = 3.0
    """Decibels of PSNR that it may lie below the incumbent; adversarial training costs 2 to 2.7
    against the same generator trained for fidelity alone."""
    max_consistency: Amount = 0.05
    """Ceiling of the mean difference between the input and the restoration brought back to its
    size, for values from 0 to 1."""
    max_colour_drift: Amount = 0.02
    """Ceiling of the largest shift of a band's mean, for values from 0 to 1."""
    max_hallucination: Amount = 0.5
    """Ceiling of the part of an image's change that is in neither input nor reference, 0 to 1."""
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Fraction of the images that may not be measured."""
    min_images: Annotated[int, Field(ge=1)] = 4
    """Images that a metric, or a comparison, needs to prove anything, by default as many as a
    training is validated on. By chance alone four are all won once in sixteen times: give more."""

    @field_validator("perceptual")
    @classmethod
    def _measures_images(cls, name: str) -> str:
        if name not in (AUTO, *OF_IMAGES):
            raise ValueError(
                f"{name} is no metric of images, whose means have intervals; choose from "
                f"{', '.join((AUTO, *OF_IMAGES))}"
            )
        return name


@dataclass(frozen=True)
class Verdict:
    """What became of one rule: `measured` has to be at least `threshold`, or at most.

    Of a comparison `measured` is how much better the candidate is, in the metric's units, negative
    where it is worse; None where it could not be measured, which is a refusal. `margin` is what
    was left, negative where it falls short. `reason` is why nothing was measured, where it is
    known.
    """

    rule: str
    metric: str
    against: Opponent | None
    measured: float | None
    bound: Literal["min", "max"]
    threshold: float
    passed: bool
    reason: str = ""

    @property
    def margin(self) -> float | None:
        if self.measured is None:
            return None
        above = self.measured - self.threshold
        return above if self.bound == "min" else -above

    @property
    def expected(self) -> str:
        """The bound in words."""
        bound = "at least" if self.bound == "min" else "at most"
        bound = "more than" if self.rule == "perceptual" else bound
        return f"{bound} {self.threshold:{self._sign}.4g}"

    @property
    def _sign(self) -> str:
        return "+" if self.against else ""

    def __str__(self) -> str:
        """In words: what was found, what was expected, and what is missing."""
        whose = f" against {self.against}" if self.against else ""
        if self.measured is None or self.margin is None:
            why = f": {self.reason}" if self.reason else ""
            return f"{self.metric}{whose} could not be measured, expected {self.expected}{why}"
        words = f"{self.metric}{whose} {self.measured:{self._sign}.4g}, expected {self.expected}"
        return words if self.passed else f"{words}: {-self.margin:.4g} short"


@dataclass(frozen=True)
class Contest:
    """Who was measured under which name, by which metrics, and on how many images.

    `incumbent` is empty where nothing is current yet.
    """

    candidate: str
    incumbent: str
    fidelity: str
    perceptual: str
    num_images: int = 0
    num_failed: int = 0

    @property
    def opponents(self) -> dict[Opponent, str]:
        """Against whom, and under which name they were measured."""
        found: dict[Opponent, str] = {"bicubic": BICUBIC}
        return {**found, "incumbent": self.incumbent} if self.incumbent else found

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the rules need to know."""
        return tuple(dict.fromkeys((self.fidelity, self.perceptual, *CEILINGS)))


def judge(summaries: Summaries, contest: Contest, config: GateConfig) -> tuple[Verdict, ...]:
    """Every rule's verdict; the candidate deserves its promotion if all have passed."""
    part_failed = contest.num_failed / max(1, contest.num_images)
    return (
        _ceiling("failed", "failed", _Proof(part_failed), config.max_failed),
        *_comparisons(summaries, contest, config),
        *_ceilings(summaries, contest, config),
    )


@dataclass(frozen=True)
class _Proof:
    """An unfavourable end, or why there is none."""

    end: float | None = None
    reason: str = ""


def _proven(end: float | None, num_images: int, config: GateConfig) -> _Proof:
    """The end of an interval over so many images, if they are enough to prove anything."""
    if end is None or num_images >= config.min_images:
        return _Proof(end)
    images = "1 image has" if num_images == 1 else f"{num_images} images have"
    return _Proof(
        reason=f"{images} a value, and gate.min_images={config.min_images} are needed; give more"
    )


def _comparisons(summaries: Summaries, contest: Contest, config: GateConfig) -> Iterator[Verdict]:
    """The fidelity may fall so far and no further; what the eye sees has to be better."""
    for opponent, name in contest.opponents.items():
        loss: float = getattr(config, f"max_loss_to_{opponent}")
        metric, gain = contest.fidelity, _gain(summaries, contest, name, contest.fidelity, config)
        passed = gain.end is not None and gain.end >= -loss
        yield Verdict("fidelity", metric, opponent, gain.end, "min", -loss, passed, gain.reason)
    for opponent, name in contest.opponents.items():
        metric, least = contest.perceptual, config.min_gain
        gain = _gain(summaries, contest, name, metric, config)
        # Not better is not enough, even where no gain is asked for.
        passed = gain.end is not None and gain.end > least
        yield Verdict("perceptual", metric, opponent, gain.end, "min", least, passed, gain.reason)


def _gain(
    summaries: Summaries, contest: Contest, other: str, metric: str, config: GateConfig
) -> _Proof:
    """How much better the candidate is, at the unfavourable end of the interval."""
    found = summaries[contest.candidate][metric]
    against = found.against.get(other)
    if against is None:
        return _Proof()
    end = against.low if found.better == "higher" else -against.high
    return _proven(end, against.won + against.lost + against.tied, config)


def _ceilings(summaries: Summaries, contest: Contest, config: GateConfig) -> Iterator[Verdict]:
    for metric, key in CEILINGS.items():
        # Where not even bicubic has a value, the metric does not apply: without magnification.
        if summaries[BICUBIC][metric].mean is None:
            continue
        found = summaries[contest.candidate][metric]
        highest = _proven(found.high, found.num_images, config)
        yield _ceiling("ceiling", metric, highest, getattr(config, key))


def _ceiling(rule: str, metric: str, measured: _Proof, most: float) -> Verdict:
    passed = measured.end is not None and measured.end <= most
    return Verdict(rule, metric, None, measured.end, "max", most, passed, measured.reason)
