"""The report of an evaluation: the table, every image as a dot, and the images that say most."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ganray.config import to_yaml
from ganray.manifest import speakable
from ganray.pipelines.evaluate_config import BICUBIC
from ganray.pipelines.evaluate_orders import EvaluateJob
from ganray.pipelines.evaluate_pictures import Pictures
from ganray.pipelines.evaluate_summary import ColumnSummary, Summaries
from ganray.pipelines.evaluate_table import ValueTable
from ganray.pipelines.picture_files import short_names
from ganray.report.amounts import counted, number
from ganray.report.charts import SIDE, Chart, Charts, Series, Shape, scatter
from ganray.report.page import Figure, Page, Part, Section, render_page
from ganray.report.parts import Cell, Facts, Folded, Note, Table, table
from ganray.report.pictures import Missing, Strip, Strips, StripText, make_strip

STRIPS_BYTES = 10 * 2**20
MOST_STRIP_BYTES = 2 * 2**20
MOST_FAILURES = 50
MOST_CHARTS = 6
ARROWS = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Findings:
    """All that the report shows of an evaluation."""

    job: EvaluateJob
    summaries: Summaries
    table: ValueTable
    pictures: Sequence[Pictures]
    failed: Sequence[tuple[str, str]]

    @property
    def short(self) -> dict[str, str]:
        """Each generator's name, bicubic's too, as it is shown."""
        return dict(zip(self.job.names, short_names(self.job.names), strict=True))


def render_report(found: Findings) -> str:
    """The report as HTML. Raises ReportError if it would be too large."""
    num_measured = found.table.num_pairs - len(found.table.failed)
    names = [found.short[name] for name in found.job.generators]
    page = Page(
        kind="evaluation",
        title=", ".join(names),
        subtitle=_source(found.job),
        verdict=_verdict(found),
        figures=(
            Figure(f"{num_measured:,}", "images measured"),
            Figure(f"{len(found.table.failed):,}", "failed"),
            Figure(f"x{found.job.scale}", "scale"),
        ),
        sections=tuple(section for section in _sections(found) if section.parts),
    )
    return render_page(page)


def _source(job: EvaluateJob) -> str:
    config = job.config
    if config.degraded:
        held = f" against {config.reference}" if config.reference else ""
        return f"{config.degraded}{held}"
    return f"{config.archive}, degradation {config.degradation.name}"


def _verdict(found: Findings) -> str:
    """What the first metric says of each generator."""
    return " ".join(filter(None, (_verdict_on(found, name) for name in found.job.generators)))


def _verdict_on(found: Findings, name: str) -> str:
    metric, summary = next(iter(found.summaries[name].items()))
    against = summary.against.get(BICUBIC)
    if against is None:
        return ""
    # The interval of a difference that holds 0 says nothing.
    decided = against.low > 0 or against.high < 0
    gains = (against.difference > 0) == (summary.better == "higher")
    word = ("better than" if gains else "worse than") if decided else "not told apart from"
    return (
        f"{found.short[name]} is {word} bicubic by {metric}: {against.difference:+.3g} "
        f"({against.low:+.3g} to {against.high:+.3g}), better on {against.won} and worse on "
        f"{counted(against.lost, 'image')}."
    )


def _sections(found: Findings) -> list[Section]:
    config = found.job.config
    percent = f"{100 * config.confidence:g} %"
    return [
        Section(
            "Metrics",
            (*_notices(found.summaries), _table(found)),
            f"Means with intervals of {percent} by bootstrap over images; differences to bicubic "
            "are of the same images. ↑ higher is better, ↓ lower.",
        ),
        Section(
            "Image by image",
            _charts(found),
            "Each dot is an image: its value by bicubic, and how much a generator gains on it; "
            "above the line it is better.",
        ),
        Section(
            "Largest wins and losses",
            _strips(found),
            "Made anew for this page. Click a picture for 1:1, move the slider, choose any two.",
        ),
        Section("Failed", _failures(found)),
        Section("What was measured", (_definitions(found), _configuration(found))),
    ]


def _notices(summaries: Summaries) -> tuple[Part, ...]:
    texts = [
        f"{metric}: {summary.notice}"
        for columns in summaries.values()
        for metric, summary in columns.items()
        if summary.notice
    ]
    return tuple(Note(text, "bad") for text in dict.fromkeys(texts))


def _table(found: Findings) -> Table:
    rows = []
    for metric, first in found.summaries[BICUBIC].items():
        for name, columns in found.summaries.items():
            cells = _cells(found.short[name], columns[metric])
            rows.append((f"{metric} {ARROWS[first.better]}", *cells))
    headings = ("metric", "generator", "mean", "interval", "images", "against bicubic")
    return table("", (*headings, "interval", "won–lost–tied"), rows)


def _cells(name: str, summary: ColumnSummary) -> tuple[str | Cell, ...]:
    against = summary.against.get(BICUBIC)
    mean = Cell("–", -np.inf) if summary.mean is None else _number(summary.mean)
    cells = (name, mean, _interval(summary.low, summary.high), _number(
        summary.num_images
    ))  # fmt: skip
    if against is None:
        return (*cells, *[Cell("", -np.inf)] * 2, Cell("", -1))
    return (
        *cells,
        Cell(f"{against.difference:+.3g}", against.difference),
        _interval(against.low, against.high, signed=True),
        Cell(f"{against.won}–{against.lost}–{against.tied}", against.won),
    )


def _number(value: float) -> Cell:
    return Cell(f"{value:.4g}" if isinstance(value, float) else number(value), value)


def _interval(low: float | None, high: float | None, *, signed: bool = False) -> Cell:
    if low is None or high is None:
        return Cell("", -np.inf)
    form = "+.3g" if signed else ".4g"
    return Cell(f"{low:{form}} to {high:{form}}", low)


def _charts(found: Findings) -> tuple[Part, ...]:
    metrics = [m for m in found.summaries[BICUBIC] if (BICUBIC, m) in found.table.columns]
    charts = [_chart(found, metric) for metric in metrics[:MOST_CHARTS]]
    return (Charts(tuple(charts)),) if charts else ()


def _chart(found: Findings, metric: str) -> Chart:
    """Gains over bicubic, with a line where there is none."""
    baseline = found.table.column(BICUBIC, metric)
    sign = sign_of(found.summaries[BICUBIC][metric])
    series = [
        Series(found.short[name], baseline, sign * (found.table.column(name, metric) - baseline))
        for name in found.job.generators
    ]
    chart = scatter(metric, (f"{metric} of bicubic", "gain"), series)
    zero = float(chart.y.places([0.0])[0])
    if not 0 <= zero <= 1:
        return chart
    height = f"{(1 - zero) * SIDE:.1f}"
    line = Shape("mark", f"M0 {height}H{SIDE}", text="as bicubic")
    return replace(chart, shapes=(*chart.shapes, line))


def sign_of(summary: ColumnSummary) -> int:
    """1 where a higher value is better, else -1."""
    return 1 if summary.better == "higher" else -1


def _strips(found: Findings) -> tuple[Part, ...]:
    if not found.pictures:
        return ()
    most = min(MOST_STRIP_BYTES, STRIPS_BYTES // len(found.pictures))
    return (Strips(tuple(_strip(found, pictures, most) for pictures in found.pictures)),)


def _strip(found: Findings, pictures: Pictures, max_bytes: int) -> Strip:
    choice = pictures.choice
    metric = next(iter(found.summaries[BICUBIC]))
    word = "win" if choice.gain > 0 else "loss" if choice.gain < 0 else "tie"
    notes = [f"{word} by {metric} over {found.short[choice.rival]}: {choice.gain:+.3g}"]
    for name in found.job.names:
        value = found.table.column(name, metric)[choice.number]
        notes.append(f"{found.short[name]} {value:.4g}")
    missing = (Missing("pictures", pictures.reason),) if pictures.reason else ()
    text = StripText(speakable(choice.key), tuple(notes), missing)
    return make_strip(text, pictures.views, pictures.size, pictures.spots, max_bytes=max_bytes)


def _failures(found: Findings) -> tuple[Part, ...]:
    if not found.failed:
        return ()
    shown = found.failed[:MOST_FAILURES]
    more = len(found.table.failed) - len(shown)
    caption = f"and {more:,} more in failed.jsonl" if more else ""
    return (table(caption, ("pair", "reason"), shown),)


def _definitions(found: Findings) -> Facts:
    columns = found.summaries[BICUBIC]
    return Facts(tuple((metric, summary.definition) for metric, summary in columns.items()))


def _configuration(found: Findings) -> Folded:
    return Folded("The configuration", to_yaml(found.job.config))
