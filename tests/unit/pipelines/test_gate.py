"""The gate: which candidates may replace what is current, and what the others are told."""

import pytest

from ganray.config import build_config
from ganray.errors import ConfigError
from ganray.evaluation.statistics import Comparison
from ganray.pipelines.evaluate_summary import ColumnSummary
from ganray.pipelines.gate import (
    CEILINGS,
    Contest,
    GateConfig,
    Verdict,
    judge,
)

LOWER = ("niqe", "lpips", *CEILINGS)
Interval = tuple[float, float]


def column(
    metric: str, interval: Interval | None, num_images: int = 9, **against: Interval
) -> ColumnSummary:
    """What an evaluation found, from intervals alone."""
    low, high = interval or (None, None)
    return ColumnSummary(
        mean=None if interval is None else sum(interval) / 2,
        low=low,
        high=high,
        num_images=num_images,
        crop=2,
        better="lower" if metric in LOWER else "higher",
        definition="",
        against={
            name: Comparison(num_images, 0, 0, sum(ends) / 2, *ends)
            for name, ends in against.items()
        },
    )


def summaries(**changes: ColumnSummary) -> dict[str, dict[str, ColumnSummary]]:
    """A candidate that passes every rule, but for what `changes` says of it."""
    good = {
        "psnr_y": column("psnr_y", (28, 30), bicubic=(-0.5, 0.5), ours=(-2.7, -2.0)),
        "niqe": column("niqe", (4, 5), bicubic=(-2, -1), ours=(-0.5, -0.1)),
        "consistency": column("consistency", (0.01, 0.02)),
        "colour_drift": column("colour_drift", (0.0, 0.01)),
        "hallucination": column("hallucination", (0.1, 0.2)),
    }
    others = {metric: column(metric, (0.1, 0.2)) for metric in good}
    return {"bicubic": others, "ours": others, "new": good | changes}


def refused(
    found: dict[str, dict[str, ColumnSummary]],
    config: GateConfig | None = None,
    *,
    incumbent: str = "ours",
    num_failed: int = 0,
) -> list[Verdict]:
    contest = Contest("new", incumbent, "psnr_y", "niqe", 9, num_failed)
    verdicts = judge(found, contest, config or GateConfig())
    return [verdict for verdict in verdicts if not verdict.passed]


def test_an_adversarial_candidate_that_looks_better_passes_though_its_psnr_is_lower() -> None:
    assert refused(summaries()) == []


@pytest.mark.parametrize(
    ("metric", "changed", "rule", "against", "margin"),
    [
        ("psnr_y", {"bicubic": (-1.8, 0), "ours": (0, 1)}, "fidelity", "bicubic", -0.3),
        ("psnr_y", {"bicubic": (0, 1), "ours": (-3.5, 0)}, "fidelity", "incumbent", -0.5),
        ("niqe", {"bicubic": (-2, 0.5), "ours": (-2, -1)}, "perceptual", "bicubic", -0.5),
        ("niqe", {"bicubic": (-2, -1), "ours": (-2, 0.25)}, "perceptual", "incumbent", -0.25),
    ],
)
def test_a_comparison_is_judged_at_its_unfavourable_end(
    metric: str, changed: dict[str, Interval], rule: str, against: str, margin: float
) -> None:
    (verdict,) = refused(summaries(**{metric: column(metric, (4, 5), **changed)}))
    assert (verdict.rule, verdict.metric, verdict.against) == (rule, metric, against)
    assert verdict.margin == pytest.approx(margin)
    assert f"{-margin:g} short" in str(verdict)


@pytest.mark.parametrize("metric", CEILINGS)
def test_a_ceiling_holds_for_the_upper_end(metric: str) -> None:
    ceiling = getattr(GateConfig(), CEILINGS[metric])
    assert refused(summaries(**{metric: column(metric, (0, ceiling))})) == []
    (verdict,) = refused(summaries(**{metric: column(metric, (0, ceiling + 0.25))}))
    assert (verdict.rule, verdict.metric) == ("ceiling", metric)
    assert verdict.margin == pytest.approx(-0.25)


def test_to_be_as_good_as_the_incumbent_is_not_enough() -> None:
    equal = column("niqe", (4, 5), bicubic=(-2, -1), ours=(0, 0))
    (verdict,) = refused(summaries(niqe=equal))
    assert verdict.against == "incumbent"
    assert "expected more than +0" in str(verdict)


def test_a_gain_has_to_exceed_what_is_asked_for() -> None:
    (verdict,) = refused(summaries(), GateConfig(min_gain=0.2))
    assert (verdict.metric, verdict.against) == ("niqe", "incumbent")
    assert verdict.margin == pytest.approx(-0.1)


@pytest.mark.parametrize("metric", ["frechet_distance", "psnr"])
def test_a_metric_that_has_no_interval_over_images_is_refused_at_once(metric: str) -> None:
    with pytest.raises(ConfigError, match=r"perceptual.*no metric of images.*ssim_y"):
        build_config(GateConfig, {"perceptual": metric})


def test_the_first_candidate_is_compared_with_bicubic_alone() -> None:
    worse_than_ours = column("niqe", (4, 5), bicubic=(-2, -1), ours=(5, 6))
    assert refused(summaries(niqe=worse_than_ours), incumbent="") == []


@pytest.mark.parametrize("metric", ["psnr_y", "niqe", "consistency"])
def test_what_could_not_be_measured_is_a_refusal(metric: str) -> None:
    verdicts = refused(summaries(**{metric: column(metric, None)}))
    assert verdicts
    for verdict in verdicts:
        assert verdict.metric == metric
        assert verdict.margin is None
        assert "could not be measured" in str(verdict)


@pytest.mark.parametrize("metric", ["psnr_y", "niqe", "consistency"])
def test_so_few_images_that_they_prove_nothing_are_a_refusal(metric: str) -> None:
    good = summaries()["new"][metric]
    ends = {name: (found.low, found.high) for name, found in good.against.items()}
    assert good.low is not None and good.high is not None
    few = column(metric, (good.low, good.high), num_images=1, **ends)
    verdicts = refused(summaries(**{metric: few}))
    assert {verdict.metric for verdict in verdicts} == {metric}
    assert all(verdict.measured is None for verdict in verdicts)
    assert all("1 image has a value, and gate.min_images=4" in str(v) for v in verdicts)
    assert refused(summaries(**{metric: few}), GateConfig(min_images=1)) == []


def test_a_ceiling_that_means_nothing_for_the_pairs_is_left_out() -> None:
    found = summaries(hallucination=column("hallucination", None))
    found["bicubic"] = found["bicubic"] | {"hallucination": column("hallucination", None)}
    assert refused(found) == []


def test_too_many_images_that_could_not_be_measured_are_a_refusal() -> None:
    (verdict,) = refused(summaries(), num_failed=1)
    assert verdict.rule == "failed"
    assert refused(summaries(), GateConfig(max_failed=0.2), num_failed=1) == []


def test_everything_that_is_judged_is_measured() -> None:
    contest = Contest("new", "ours", "psnr_y", "niqe", 9, 0)
    verdicts = judge(summaries(), contest, GateConfig())
    assert {verdict.metric for verdict in verdicts} - {"failed"} == set(contest.metrics)
