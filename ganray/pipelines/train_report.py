"""The report of a training: how good the generator became, how it got there, and what went wrong.

Put together from what stands at the output: metrics, events, pictures. So it tells of a training
that was resumed as of one that was not, and of one under way.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ganray import __version__
from ganray.config import to_yaml
from ganray.pipelines.train_charts import bicubic, course_charts, stages_of, validation_charts
from ganray.pipelines.train_config import TrainPlan
from ganray.pipelines.train_events import MOST_TOLD, Happening, happenings, marks_of
from ganray.pipelines.train_gate import DECISION_KEY
from ganray.pipelines.train_history import History, read_history
from ganray.pipelines.train_output import Report
from ganray.pipelines.train_resume import read_if_there
from ganray.pipelines.train_strips import data_strip, image_strips
from ganray.report.amounts import counted, duration, number
from ganray.report.charts import Charts
from ganray.report.page import Figure, Page, Part, Section, render_page
from ganray.report.parts import Cell, Facts, Folded, Shares, table
from ganray.report.pictures import Strips
from ganray.storage import Store

REPORT_KEY = "report.html"
LEAST_SECONDS = 60.0
"""Between two reports of a training under way."""
COST = 50
"""The time that they may take is one part in so many."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """A training as its report tells of it. `trouble` is what ended it early, or empty."""

    plan: TrainPlan
    store: Store
    history: History
    trouble: str = ""

    @property
    def last_step(self) -> int:
        return self.history.last_step

    def ended(self, name: str) -> bool:
        """Whether its latest run came to an event of that name."""
        return any(event["event"] == name for event in self.history.latest)


class TrainReporter:
    """Writes the report of one training: now and then while it runs, and at its end.

    `may_write` says whether the output is still this run's.
    """

    def __init__(
        self, plan: TrainPlan, store: Store, report: Report, may_write: Callable[[], bool]
    ) -> None:
        self._plan, self._store = plan, store
        self._report, self._may_write = report, may_write
        self._due = time.monotonic()
        self.is_written = False

    def note_checkpoint(self) -> None:
        """A checkpoint stands: write the report, if the last one is old enough."""
        if time.monotonic() < self._due:
            return
        begin = time.monotonic()
        self.write()
        end = time.monotonic()
        self._due = end + max(LEAST_SECONDS, COST * (end - begin))

    @contextmanager
    def at_the_end(self) -> Iterator[None]:
        """Write the report after what is done in this context, whatever becomes of it."""
        try:
            yield
        except BaseException as error:
            self.write(str(error) or type(error).__name__)
            raise
        self.write()

    def write(self, trouble: str = "") -> None:
        """Write the report as things stand, and note in `is_written` whether that worked.

        A failure is logged and told. It does not stand in events.jsonl, whose last line says how a
        training ended.
        """
        self.is_written = False
        if not self._may_write():
            return
        try:
            told = Told(self._plan, self._store, read_history(self._store), trouble)
            self._store.write(REPORT_KEY, render_page(train_page(told)).encode())
        # As wide as that: no mistake here may end a training, or turn its success into a failure.
        except Exception as error:
            logger.warning("event=report_failed output=%r cause=%r", self._store.uri, str(error))
            logger.debug("event=report_failed", exc_info=True)
            self._report({"event": "report_failed", "step": 0, "cause": str(error)})
            return
        self.is_written = True


def train_page(told: Told) -> Page:
    """The page of a training. Raises GanrayError."""
    config, history = told.plan.config, told.history
    stages = stages_of(config.stages)
    story = happenings(history.events)
    marks = marks_of(story)
    sections = (
        _charts("How good it became", validation_charts(history, stages, marks), _GOOD),
        Section("What it makes of images", _strips(told), _STRIPS),
        Section("The gate", _gate(told), _GATE),
        _charts(
            "How it got there", course_charts(history, stages, marks), _course_lead(told, story)
        ),
        Section("What happened on the way", _story(story), _STORY),
        Section("What it learnt from", _data(told), _DATA),
        Section("Where the time went", _time(told)),
        Section("Provenance", _provenance(told), _PROVENANCE),
    )
    return Page(
        kind="Training report",
        title=config.output.rstrip("/").rpartition("/")[2],
        subtitle=f"{told.plan.trained_on} → {config.output}",
        verdict=_verdict(told),
        figures=tuple(_figures(told)),
        sections=tuple(section for section in sections if section.parts),
    )


_GOOD = (
    "The averaged generator, which is the one that is kept, on images that it did not learn from. "
    "In the adversarial stage these figures fall a little where texture is gained: it is seldom "
    "that of the reference pixel by pixel."
)
_STRIPS = (
    "The same parts of a few validation images, restored by the averaged generator as it was then: "
    "at the start, in between, and last. Move the slider, choose any two; a click, or Enter, "
    "shows pixels at 1:1."
)
_GATE = "By which rules the generator was allowed to replace the one before it, or was not."
_STORY = "The numbers are those of the marks on the curves."
_DATA = (
    "The patches of the first step as the generator gets them, left, and as it should give them "
    "back, right. Degraded ones are shown at the size of their references."
)
_PROVENANCE = (
    "The same configuration, archive and seed give the same generator, on whatever number of "
    "workers."
)


def _verdict(told: Told) -> str:
    """What became of the training, and of what came after it, such as its promotion."""
    if told.trouble and told.ended("finished"):
        return f"{_outcome(told)} What came after failed: {told.trouble}"
    return _outcome(told)


def _outcome(told: Told) -> str:
    steps = f"step {told.last_step:,} of {told.plan.total_steps:,}"
    if told.ended("gave_up"):
        return f"The training gave up at {steps}; the generator is the last good one."
    if told.ended("stopped"):
        return f"The training was stopped at {steps}. The same command goes on from there."
    if told.trouble and not told.ended("finished"):
        return f"The training ended early, at {steps}: {told.trouble}"
    if not told.ended("finished"):
        return f"The training is under way, at {steps}. This page is renewed with its checkpoints."
    reached, baseline = _final(told)
    if reached is None or baseline is None:
        return "The training came to its end."
    word = "better" if reached > baseline else "worse"
    return (
        f"The training came to its end. Its generator is {abs(reached - baseline):.2f} dB {word} "
        f"than bicubic magnification on images that it did not learn from."
    )


def _final(told: Told) -> tuple[float | None, float | None]:
    """The PSNR that was reached last, and bicubic's."""
    column = told.history.columns.get("validation_psnr_y")
    return float(column.values[-1]) if column else None, bicubic(told.history, "psnr_y")


def _figures(told: Told) -> Iterator[Figure]:
    config, history = told.plan.config, told.history
    reached, baseline = _final(told)
    if reached is not None:
        beside = "" if baseline is None else f"; bicubic {baseline:.2f}"
        yield Figure(f"{reached:.2f} dB", f"PSNR of validation{beside}")
    yield Figure(number(told.last_step), f"steps of {told.plan.total_steps:,}")
    yield Figure(number(told.last_step * config.batch_size), "patches")
    yield Figure(duration(history.seconds), "of training")
    if history.patches_per_second > 0:
        yield Figure(number(float(f"{history.patches_per_second:.3g}")), "patches a second")
    workers = next((e["workers"] for e in reversed(history.events) if "workers" in e), None)
    if workers is not None:
        yield Figure(number(workers), "worker" if workers == 1 else "workers")


def _charts(title: str, charts: tuple[Any, ...], lead: str) -> Section:
    return Section(title, (Charts(charts),) if charts else (), lead)


def _course_lead(told: Told, story: tuple[Happening, ...]) -> str:
    stretch = max((column.stretch for column in told.history.columns.values()), default=1)
    stages = [stage.name for stage in stages_of(told.plan.config.stages)]
    lead = f"Shaded are the stages, from left to right: {', '.join(stages)}. "
    if stretch > 1:
        lead += f"Losses are means over {stretch} lines of metrics.jsonl each. "
    if story:
        lead += "Dashed lines are the events of the table below, by their numbers."
    return lead.rstrip()


def _strips(told: Told) -> tuple[Part, ...]:
    strips = image_strips(told.store, told.plan)
    return (Strips(strips),) if strips else ()


def _gate(told: Told) -> tuple[Part, ...]:
    """What a promotion at the end decided, rule by rule."""
    content = read_if_there(told.store, DECISION_KEY)
    if content is None:
        return ()
    found = json.loads(content)
    rows = [_rule(rule) for rule in found["rules"]]
    caption = f"Refused as {found['name']}" if found["refused"] else f"Promoted as {found['name']}"
    return (table(caption, ("Rule", "Metric", "Against", "Measured", "Expected", ""), rows),)


def _rule(rule: dict[str, Any]) -> tuple[str, ...]:
    measured = "not measured" if rule["measured"] is None else number(rule["measured"])
    return (
        *(rule["rule"], rule["metric"], rule["against"] or "", measured),
        *(rule["expected"], "passed" if rule["passed"] else "refused"),
    )


def _story(story: tuple[Happening, ...]) -> tuple[Part, ...]:
    if not story:
        return ()
    rows = [
        (Cell(str(h.number), h.number), Cell(h.steps, h.first), h.title, h.reason, h.reaction)
        for h in story[:MOST_TOLD]
    ]
    more = len(story) - MOST_TOLD
    caption = f"and {more:,} more in events.jsonl" if more > 0 else ""
    headings = ("Mark", "Step", "What happened", "Why", "What was done")
    return (table(caption, headings, rows),)


def _data(told: Told) -> tuple[Part, ...]:
    strip = data_strip(told.store, told.plan)
    return (Strips((strip,)),) if strip else ()


def _time(told: Told) -> tuple[Part, ...]:
    parts = []
    for stage in stages_of(told.plan.config.stages):
        shares = told.history.time_shares(stage.begin, stage.end)
        if shares:
            caption = f"{stage.name} stage".capitalize()
            parts.append(Shares(caption, shares))
    return tuple(parts)


def _provenance(told: Told) -> tuple[Part, ...]:
    plan, history = told.plan, told.history
    recipe = plan.samples.recipe
    facts = [
        ("Learnt from", plan.trained_on),
        ("Degradation", recipe.name if recipe else f"pairs with {plan.config.degraded}"),
        ("Generator", f"{plan.architecture}, ×{plan.samples.scale}"),
        ("Started from", plan.config.init_from or "random weights"),
        ("Validated on", _validated(plan)),
        ("Seed", str(plan.config.seed)),
        ("ganray", __version__),
    ]
    if weights := history.newest("transferred", "weights"):
        facts.insert(4, ("Weights taken over", str(weights)))
    times = [str(event["time"]) for event in history.events if "time" in event]
    facts += [("Began", _moment(times[0])), ("Last heard of", _moment(times[-1]))] if times else []
    return (Facts(tuple(facts)), Folded("The resolved configuration", to_yaml(plan.config)))


def _validated(plan: TrainPlan) -> str:
    keys = plan.data.validation.keys
    return f"{counted(len(keys), 'image')} of {plan.data.validation.archive}" if keys else "nothing"


def _moment(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")
