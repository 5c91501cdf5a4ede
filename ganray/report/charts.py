"""Charts drawn as SVG: lines with event marks, histograms, scatters. Bounded in bytes.

The drawing is stretched to the page's width; its texts are HTML beside it, so that they keep their
size on a telephone. Shapes are in a square of SIDE units, y downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganray.report.amounts import number
from ganray.report.axes import Axis, Tick, axis_over

SIDE = 1000
MOST_POINTS = 600
"""Of one line; a longer one is drawn by the extremes of each of its stretches."""
MOST_DOTS = 2000
MOST_MARKS = 60
LABEL_WIDTH = 0.045
"""That a mark's label takes of a chart's width."""
NAMED_WIDTH = 0.22
"""Of a stage, from which its name has room above it."""
NUM_TONES = 6
LEAST_COUNT = 5

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """A named row of points; NaN interrupts its line."""

    name: str
    x: ArrayLike
    y: ArrayLike


@dataclass(frozen=True)
class Mark:
    """An event at a place of the x axis, such as a rollback or a limit.

    With a `label`, that is what stands above its line; otherwise `text` stands below the chart.
    """

    x: float
    text: str
    label: str = ""


@dataclass(frozen=True)
class Stage:
    """A named stretch of the x axis, shaded unlike its neighbours."""

    name: str
    begin: float
    end: float


@dataclass(frozen=True)
class Heading:
    """What stands above a stretch of a chart, both in percent of its width."""

    text: str
    left: float
    width: float


@dataclass(frozen=True)
class Shape:
    """A path of the drawing: `tone` numbers its colour, `text` is shown where it is pointed at."""

    kind: Literal["line", "dots", "bar", "mark", "stage"]
    path: str
    tone: int = 0
    text: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing with its axes; `description` is what it says in words. `legend` pairs names with
    tones, and is empty where there is but one."""

    title: str
    x: Axis
    y: Axis
    shapes: tuple[Shape, ...]
    description: str
    legend: tuple[tuple[str, int], ...] = ()
    marks: tuple[Mark, ...] = ()
    headings: tuple[Heading, ...] = ()
    template: ClassVar[str] = "chart.html"

    @property
    def side(self) -> int:
        return SIDE

    @property
    def labels(self) -> tuple[Tick, ...]:
        """The labels of marks, but those that would stand on the one before."""
        labelled = sorted((mark for mark in self.marks if mark.label), key=lambda mark: mark.x)
        kept: list[Tick] = []
        for place, mark in zip(self.x.places([m.x for m in labelled]), labelled, strict=True):
            if not kept or place - kept[-1].place >= LABEL_WIDTH:
                kept.append(Tick(float(place), mark.label))
        return tuple(kept)


@dataclass(frozen=True)
class Charts:
    """Several charts beside each other."""

    charts: tuple[Chart, ...]
    template: ClassVar[str] = "charts.html"


def line_chart(
    title: str,
    labels: tuple[str | Axis, str | Axis],
    series: Sequence[Series],
    marks: Sequence[Mark] = (),
    *,
    log_y: bool = False,
) -> Chart:
    """Lines over one axis; `labels` are those of x and y, with units. Charts that are to have the
    same axis are given it; otherwise it is as long as the lines.

    Of more than MOST_MARKS marks the first are drawn. With `log_y` values of 0 and below interrupt
    a line.
    """
    points = [np.array([s.x, s.y], np.float64) for s in series]
    x, y = labels
    if isinstance(x, str):
        x = axis_over(x, _joined([p[0] for p in points] + [np.array([m.x for m in marks])]))
    if isinstance(y, str):
        y = axis_over(y, _joined([p[1] for p in points]), log=log_y)
    lines = [
        Shape("line", _line(x.places(xs), y.places(ys)), tone % NUM_TONES, s.name)
        for tone, (s, (xs, ys)) in enumerate(zip(series, map(_thinned, points), strict=True))
    ]
    kept = tuple(marks[:MOST_MARKS])
    return Chart(
        title, x, y, (*lines, *_mark_shapes(x, kept)),
        description="; ".join(_described(s) for s in series),
        legend=_legend(series), marks=kept,
    )  # fmt: skip


def on_stages(chart: Chart, stages: Sequence[Stage]) -> Chart:
    """The chart over shaded stages; those that are wide enough are named above it."""
    x = chart.x
    shown = [s for s in stages if s.end > s.begin and s.begin < x.high and s.end > x.low]
    shapes, headings = [], []
    for tone, stage in enumerate(shown):
        left, right = x.places([max(stage.begin, x.low), min(stage.end, x.high)])
        area = f"M{left * SIDE:.1f} 0H{right * SIDE:.1f}V{SIDE}H{left * SIDE:.1f}Z"
        shapes.append(Shape("stage", area, tone % 2, stage.name))
        if right - left >= NAMED_WIDTH:
            headings.append(Heading(stage.name, float(100 * left), float(100 * (right - left))))
    return replace(chart, shapes=(*shapes, *chart.shapes), headings=tuple(headings))


def histogram(
    title: str, label: str, edges: ArrayLike, counts: ArrayLike, marks: Sequence[Mark] = ()
) -> Chart:
    """Bars over bins; `edges` (N+1) bound the `counts` (N), `label` names x with its unit."""
    bounds, numbers = np.asarray(edges, np.float64), np.asarray(counts, np.float64)
    x = Axis(label, float(bounds[0]), float(bounds[-1]))
    # Counts are whole: up to five at least, ticks are too.
    y = axis_over("inputs", [*numbers, LEAST_COUNT], zero=True)
    left, right, top = x.places(bounds[:-1]), x.places(bounds[1:]), y.places(numbers)
    bars = tuple(
        Shape("bar", _bar(a, b, h), 0, f"{number(low)} to {number(high)}: {number(n)}")
        for a, b, h, low, high, n in zip(
            left, right, top, bounds[:-1], bounds[1:], numbers, strict=True
        )
        if n
    )
    peak = int(numbers.argmax())
    description = (
        f"{number(numbers.sum())} in all, from {number(bounds[0])} to {number(bounds[-1])}; most "
        f"between {number(bounds[peak])} and {number(bounds[peak + 1])}"
    )
    inside = tuple(mark for mark in marks if x.low <= mark.x <= x.high)
    return Chart(title, x, y, (*bars, *_mark_shapes(x, inside)), description, marks=inside)


def scatter(title: str, labels: tuple[str, str], series: Sequence[Series]) -> Chart:
    """Dots of several groups; of more than MOST_DOTS in all, evenly spread ones are drawn."""
    points = [np.array([s.x, s.y], np.float64) for s in series]
    x = axis_over(labels[0], _joined([p[0] for p in points]))
    y = axis_over(labels[1], _joined([p[1] for p in points]))
    every = -(-sum(p.shape[1] for p in points) // MOST_DOTS) or 1
    dots = tuple(
        Shape("dots", _dots(x.places(p[0, ::every]), y.places(p[1, ::every])), tone % NUM_TONES,
              s.name)
        for tone, (s, p) in enumerate(zip(series, points, strict=True))
    )  # fmt: skip
    description = "; ".join(f"{s.name}: {number(p.shape[1])} points"
                            for s, p in zip(series, points, strict=True))  # fmt: skip
    return Chart(title, x, y, dots, description, legend=_legend(series))


def _legend(series: Sequence[Series]) -> tuple[tuple[str, int], ...]:
    named = tuple((s.name, tone % NUM_TONES) for tone, s in enumerate(series))
    return named if len(named) > 1 else ()


def _described(series: Series) -> str:
    y = np.asarray(series.y, np.float64)
    y = y[np.isfinite(y)]
    if not y.size:
        return f"{series.name}: no values"
    return (
        f"{series.name}: {number(float(y[0]))} at first, {number(float(y[-1]))} at last, between "
        f"{number(float(y.min()))} and {number(float(y.max()))}"
    )


def _joined(values: Sequence[Points]) -> Points:
    return np.concatenate(values) if values else np.zeros(0)


def _thinned(points: Points) -> Points:
    """Points (2,N) as at most MOST_POINTS: first, extremes, and last of each stretch."""
    num = points.shape[1]
    if num <= MOST_POINTS:
        return points
    kept: set[int] = set()
    for stretch in np.array_split(np.arange(num), MOST_POINTS // 4):
        y = points[1, stretch]
        kept |= {int(stretch[0]), int(stretch[-1])}
        if np.isfinite(y).any():
            kept |= {int(stretch[np.nanargmin(y)]), int(stretch[np.nanargmax(y)])}
    return points[:, sorted(kept)]


def _line(x: Points, y: Points) -> str:
    """A path through the points, begun anew after each gap."""
    commands = []
    pen_down = False
    for a, b in zip(x, y, strict=True):
        if not (np.isfinite(a) and np.isfinite(b)):
            pen_down = False
            continue
        commands.append(f"{'L' if pen_down else 'M'}{_at(a, b)}")
        # A point between two gaps is a dot.
        commands += [] if pen_down else ["h0"]
        pen_down = True
    return "".join(commands)


def _dots(x: Points, y: Points) -> str:
    """Lines of no length, whose round ends stay round however the drawing is stretched."""
    finite = np.isfinite(x) & np.isfinite(y)
    return "".join(f"M{_at(a, b)}h0" for a, b in zip(x[finite], y[finite], strict=True))


def _bar(left: float, right: float, height: float) -> str:
    return f"M{_at(left, 0)}V{_down(height)}H{right * SIDE:.1f}V{SIDE}Z"


def _mark_shapes(x: Axis, marks: Sequence[Mark]) -> tuple[Shape, ...]:
    return tuple(
        Shape("mark", f"M{place * SIDE:.1f} 0V{SIDE}", 0, mark.text)
        for place, mark in zip(x.places([mark.x for mark in marks]), marks, strict=True)
    )


def _at(x: float, y: float) -> str:
    return f"{x * SIDE:.1f} {_down(y)}"


def _down(y: float) -> str:
    return f"{(1 - y) * SIDE:.1f}"
