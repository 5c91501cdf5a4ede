"""What the table of an evaluation comes to: means with intervals, and who beats whom how often."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ganray.evaluation.metric import Better, Metric
from ganray.evaluation.metrics import SetMetric
from ganray.evaluation.statistics import Comparison, bootstrap_interval, compare_pairs
from ganray.pipelines.evaluate_config import EvaluateConfig
from ganray.pipelines.evaluate_metrics import notice_of
from ganray.pipelines.evaluate_plan import EvaluatePlan
from ganray.pipelines.evaluate_table import Values, ValueTable

Summaries = Mapping[str, Mapping[str, "ColumnSummary"]]
"""Generator → metric → what was found; bicubic first, metrics as configured."""


@dataclass(frozen=True)
class ColumnSummary:
    """What one metric found of one generator, as it stands in `metrics.json`.

    `mean` with the interval from `low` to `high` is over `num_images` that have a value; of a
    metric over the set it is the one value, without an interval. `against` compares with each
    other generator image by image, where both have a value: how many were won, lost and tied, and
    the mean difference with its interval. `notice` is what a reader must know.
    """

    mean: float | None
    low: float | None
    high: float | None
    num_images: int
    crop: int
    better: Better
    definition: str
    notice: str = ""
    against: Mapping[str, Comparison] = field(default_factory=dict)


def summarise(table: ValueTable, plan: EvaluatePlan) -> Summaries:
    """Sum up every column, and the set metrics."""
    found: dict[str, dict[str, ColumnSummary]] = {name: {} for name in plan.job.names}
    for name in plan.job.config.metrics:
        metric = plan.metrics.of_images.get(name)
        columns = (
            _over_set(plan.metrics.of_sets[name], table, plan)
            if metric is None
            else _by_image(metric, table, plan)
        )
        for generator, summary in columns.items():
            found[generator][name] = summary
    return found


def _by_image(metric: Metric, table: ValueTable, plan: EvaluatePlan) -> dict[str, ColumnSummary]:
    """A metric of images, generator by generator."""
    config = plan.job.config
    columns = {name: table.column(name, metric.name) for name in plan.job.names}
    summaries = {}
    for name, values in columns.items():
        known = values[np.isfinite(values)]
        low, high = _interval(known, config)
        others = {other: column for other, column in columns.items() if other != name}
        summaries[name] = ColumnSummary(
            mean=float(known.mean()) if known.size else None,
            low=low,
            high=high,
            num_images=known.size,
            crop=plan.job.crop,
            better=metric.better,
            definition=metric.definition,
            notice=notice_of(metric.name, name, plan.training.get(name, {}), config.weights),
            against=_compare(values, others, metric.better, config),
        )
    return summaries


def _over_set(metric: SetMetric, table: ValueTable, plan: EvaluatePlan) -> dict[str, ColumnSummary]:
    """A metric over the set, generator by generator."""
    config, num_sides = plan.job.config, 1 + len(plan.job.names)
    reference = table.feature_sums(0, num_sides, plan.keys, config.seed)
    summaries = {}
    for place, name in enumerate(plan.job.names, start=1):
        restored = table.feature_sums(place, num_sides, plan.keys, config.seed)
        found = metric.function(restored, reference)
        notice = notice_of(metric.name, name, plan.training.get(name, {}), config.weights)
        summaries[name] = ColumnSummary(
            mean=found.value,
            low=None,
            high=None,
            num_images=restored.count,
            crop=0,
            better=metric.better,
            definition=metric.definition,
            notice="; ".join(text for text in (found.reason, notice) if text),
        )
    return summaries


def _interval(known: Values, config: EvaluateConfig) -> tuple[float | None, float | None]:
    if not known.size:
        return None, None
    return bootstrap_interval(known.tolist(), confidence=config.confidence, seed=config.seed)


def _compare(
    ours: Values, others: Mapping[str, Values], better: Better, config: EvaluateConfig
) -> dict[str, Comparison]:
    """Against each other generator, on the images where both have a value."""
    found = {}
    for name, theirs in others.items():
        both = np.isfinite(ours) & np.isfinite(theirs)
        if both.any():
            found[name] = compare_pairs(
                ours[both].tolist(),
                theirs[both].tolist(),
                better,
                confidence=config.confidence,
                seed=config.seed,
            )
    return found
