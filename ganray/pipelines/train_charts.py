"""The curves of a training, over its stages, with the events marked that are told of in a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ganray.pipelines.train_history import Column, History
from ganray.pipelines.train_validation import VALIDATION_METRICS
from ganray.report.axes import Axis
from ganray.report.charts import Chart, Mark, Series, Stage, line_chart, on_stages
from ganray.training.config import StagesConfig

STAGE_NAMES = {"fidelity": "fidelity", "warmup": "warm-up", "adversarial": "adversarial"}
METRIC_TITLES = {
    "psnr_y": ("PSNR of the validation images", "dB"),
    "ssim_y": ("SSIM of the validation images", "SSIM, 1 is the reference itself"),
}
MOST_TERMS = 6
WIDE = 10


@dataclass(frozen=True)
class Curve:
    """A chart of some columns by their names in the metrics and on the page.

    One that explodes would hide all that was before: by powers of ten, unless `linear`.
    """

    title: str
    label: str
    names: tuple[tuple[str, str], ...]
    linear: bool = False
    averaged: bool = True


CURVES = (
    Curve(
        "Error beside plain interpolation", "1 is as wrong as interpolation",
        (("relative_error", "error"),),
    ),
    Curve(
        "The game", "loss",
        (("discriminator", "discriminator"), ("adversarial", "generator, adversarial term")),
    ),
    Curve(
        "How even the game is", "discriminator's loss; 1 is chance",
        (("strength", "discriminator's loss"),),
    ),
    Curve(
        "Fine detail beside the references'", "1 is as much",
        (("texture", "fine detail"),),
    ),
    Curve(
        "Norms of gradients", "norm",
        (("generator_gradient", "generator"), ("discriminator_gradient", "discriminator")),
        averaged=False,
    ),
    Curve(
        "Gradient penalties", "penalty",
        (("r1", "on references"), ("r2", "on restorations"), ("gradient_penalty", "between")),
    ),
    Curve("Learning rate", "rate", (("learning_rate", "generator"),), averaged=False),
    Curve("Speed", "patches/s", (("patches_per_second", "patches/s"),), linear=True),
)  # fmt: skip
NO_TERMS = {
    *(name for curve in CURVES for name, _ in curve.names),
    *("sign", "gap", "augmentation"),
}
OTHERS = ("time_", "validation_", "bicubic_")


def stages_of(config: StagesConfig) -> tuple[Stage, ...]:
    """The stages as stretches of steps; those without steps are left out."""
    begin, found = 0, []
    for key, name in STAGE_NAMES.items():
        steps = getattr(config, key).steps
        if steps:
            found.append(Stage(name, begin, begin + steps))
        begin += steps
    return tuple(found)


def validation_charts(
    history: History, stages: Sequence[Stage], marks: Sequence[Mark]
) -> tuple[Chart, ...]:
    """What was reached on the validation images, and what bicubic reaches."""
    charts, axis = [], step_axis(history)
    for metric in VALIDATION_METRICS:
        reached = history.columns.get(f"validation_{metric}")
        if reached is None:
            continue
        title, label = METRIC_TITLES[metric]
        series = [Series("averaged generator", reached.steps, reached.values)]
        baseline = bicubic(history, metric)
        if baseline is not None:
            ends = [0.0, float(reached.steps[-1])]
            series.append(Series("bicubic magnification", ends, [baseline, baseline]))
        charts.append(on_stages(line_chart(title, (axis, label), series, marks), stages))
    return tuple(charts)


def step_axis(history: History) -> Axis:
    """From the start to the last step that is known, alike for all charts."""
    return Axis("step", 0, max(1, history.last_step))


def bicubic(history: History, metric: str) -> float | None:
    """What bicubic reaches on the validation images, as measured last."""
    told = history.newest("compared", f"bicubic_{metric}")
    column = history.columns.get(f"bicubic_{metric}")
    if told is not None:
        return float(told)
    return float(column.values[-1]) if column else None


def course_charts(
    history: History, stages: Sequence[Stage], marks: Sequence[Mark]
) -> tuple[Chart, ...]:
    """All other curves that have values."""
    charts, axis = [], step_axis(history)
    for curve in (_terms(history), *CURVES):
        series = list(_series(history, curve))
        if series:
            is_log = not curve.linear and _is_wide([one.y for one in series])
            labels = axis, curve.label
            chart = line_chart(curve.title, labels, series, marks, log_y=is_log)
            charts.append(on_stages(chart, stages))
    return tuple(charts)


def _is_wide(lines: Sequence[ArrayLike]) -> bool:
    """Whether all values are positive, and some many times the others."""
    known = np.concatenate([np.asarray(line, np.float64) for line in lines])
    known = known[np.isfinite(known)]
    return bool(known.min() > 0 and known.max() >= WIDE * known.min())


def _terms(history: History) -> Curve:
    """What the generator is trained for beside the game: all that has no chart of its own."""
    names = [n for n in history.columns if n not in NO_TERMS and not n.startswith(OTHERS)]
    pairs = tuple((name, name.replace("_", " ")) for name in names[:MOST_TERMS])
    return Curve("Losses of the generator", "loss", pairs)


def _series(history: History, curve: Curve) -> Iterator[Series]:
    for key, name in curve.names:
        column = history.columns.get(key)
        # A penalty that is not asked for is 0 throughout.
        if column is None or not column.values.any():
            continue
        shown = column.averaged() if curve.averaged else column
        yield Series(name, *_with_gaps(shown))


def _with_gaps(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, with a gap where a column pauses for a stage or a rest."""
    distances = np.diff(column.steps)
    if len(distances) < 2:
        return column.steps, column.values
    pauses = np.flatnonzero(distances > 4 * np.median(distances)) + 1
    steps = np.insert(column.steps, pauses, column.steps[pauses])
    return steps, np.insert(column.values, pauses, np.nan)
