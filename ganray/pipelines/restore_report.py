"""The report of a restoration: what was restored, what failed, how far it is to be trusted.

`write_restore_report` is called when a run has ended, however it did; the page is put together from
the run's summary and its ledger, and from a few pictures that are read again.
"""

import logging
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ganray import __version__
from ganray.config import to_yaml
from ganray.ledger import Ledger
from ganray.pipelines.report_pictures import Pictures, Reading, read_pictures
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_findings import (
    Findings,
    Known,
    Reason,
    Scope,
    gather_findings,
)
from ganray.pipelines.restore_pace import Crew, pace_section
from ganray.pipelines.restore_trust import trust_section
from ganray.pipelines.summary import RunFolder, Summary
from ganray.report.amounts import counted, duration, number, scaled
from ganray.report.footprints import footprint_map
from ganray.report.page import Figure, Page, Part, Section, render_page
from ganray.report.parts import Cell, Count, Counts, Facts, Folded, Note, table
from ganray.report.pictures import Strip, Strips
from ganray.report.showing import Pair

_log = logging.getLogger(__name__)

HURRIED_SECONDS = 4.0
"""For pictures of a run that was stopped: the machine may be about to go."""
MOST_REASONS = 25


@dataclass(frozen=True)
class EndedRun:
    """A run whose report is to be written. `trouble` is what ended it early, or empty;
    `passes_before` are earlier runs of the same night."""

    config: RestoreConfig
    summary: Summary
    generator_digest: str
    crew: Crew
    trouble: str = ""
    passes_before: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        return not (self.trouble or self.summary.inputs.pending)


def write_restore_report(folder: RunFolder, run: EndedRun) -> bool:
    """Write `report.html` of a run; whether that worked. A failure is logged: what the report is
    about is done and recorded."""
    try:
        folder.write_report(render_page(restore_page(folder, run)))
    # As wide as that: no mistake here may turn a run that restored everything into one that failed.
    except Exception as error:
        _log.warning("event=report_failed run_id=%s cause=%r", run.summary.run_id, str(error))
        _log.debug("event=report_failed", exc_info=True)
        return False
    return True


def restore_page(folder: RunFolder, run: EndedRun) -> Page:
    """The page of a run, from its ledger and its pictures. Raises GanrayError."""
    now = time.time()
    began = now - run.summary.seconds
    scope = Scope(
        run.summary.run_id,
        run.generator_digest,
        run.config.pixel_digest,
        began,
        now,
        run.config.report.worst,
        run.config.report.random,
        run.passes_before,
    )
    findings = gather_findings(Ledger(folder.store), scope)
    pictures = _read(run, findings)
    sections = (
        _outcome(run),
        *_failures(findings, run.config.target),
        *_pictures(findings, pictures),
        *trust_section(run.config, findings),
        *pace_section(findings, run.summary, run.crew),
        *_map(pictures),
        _provenance(run, began, now),
    )
    return Page(
        kind="Restoration report",
        title=run.config.source.rstrip("/").rpartition("/")[2] or run.config.source,
        subtitle=f"{run.config.source} → {run.config.target}",
        verdict=_verdict(run),
        figures=tuple(_figures(run)),
        sections=sections,
    )


def _verdict(run: EndedRun) -> str:
    counts = run.summary.inputs
    if run.trouble:
        return f"The run ended early: {run.trouble}"
    if counts.pending:
        return (
            f"The run was stopped; {counted(counts.pending, 'input')} are still to be done. The "
            "same command goes on from here."
        )
    done = "Nothing had changed since an earlier run. " if not counts.restored else ""
    if counts.failed:
        return (
            f"{done}{counted(counts.failed, 'input')} of {counts.listed:,} could not be restored."
        )
    return f"{done}Every input is restored."


def _figures(run: EndedRun) -> Iterator[Figure]:
    summary, config = run.summary, run.config
    yield Figure(number(summary.inputs.restored), "inputs restored")
    yield Figure(number(summary.inputs.failed), "failed")
    if summary.flagged:
        yield Figure(number(summary.flagged), "flagged: beyond a limit of trust")
    yield Figure(scaled(summary.input_pixels, "pixel"), "read")
    if summary.output_pixels != summary.input_pixels:
        yield Figure(scaled(summary.output_pixels, "pixel"), "written")
    yield Figure(duration(summary.seconds), "from start to end")
    yield Figure(duration(summary.worker_seconds), "of workers")
    if config.cost_per_worker_hour:
        cost = summary.worker_seconds / 3600 * config.cost_per_worker_hour
        yield Figure(f"{cost:,.2f} {config.currency}".strip(), "cost of the workers")


def _outcome(run: EndedRun) -> Section:
    counts = run.summary.inputs
    states = (
        Count("restored", counts.restored, "good"),
        Count("unchanged: restored by an earlier run", counts.unchanged, "calm"),
        Count("failed", counts.failed, "bad"),
        Count("pending", counts.pending, "open"),
    )
    notes = [Note(f"{n[:1].upper()}{n[1:]}.", "open") for n in run.summary.notices]
    if run.summary.vanished:
        notes.append(
            Note(
                f"{counted(run.summary.vanished, 'input')} restored earlier are no longer in the "
                "archive; ganray prune lists and removes their outputs."
            )
        )
    shown = tuple(count for count in states if count.value or count.name == "restored")
    return Section("Outcome", (Counts(f"{counted(counts.listed, 'input')} listed", shown), *notes))


def _failures(findings: Findings, target: str) -> Iterator[Section]:
    reasons = sorted(findings.reasons.values(), key=lambda reason: -reason.number)
    if not reasons:
        return
    rows = [
        (Cell(number(r.number), r.number), r.words, _examples(r)) for r in reasons[:MOST_REASONS]
    ]
    left_out = sum(r.number for r in reasons[MOST_REASONS:]) + findings.num_other_reasons
    parts: list[Part] = [table("Failed inputs by reason", ("Inputs", "Reason", "Such as"), rows)]
    if left_out:
        parts.append(Note(f"{counted(left_out, 'input')} failed for other reasons."))
    yield Section(
        "What failed",
        tuple(parts),
        lead="An input that cannot be restored keeps no output. Its neighbours are not affected. "
        f"ganray ledger {shlex.quote(target)} --state failed lists every one with its reason.",
    )


def _examples(reason: Reason) -> str:
    return ", ".join(reason.keys) + ", …" * (reason.number > len(reason.keys))


def _read(run: EndedRun, findings: Findings) -> Pictures:
    config = run.config
    seconds = config.report.seconds
    return read_pictures(
        # Alternately, so that some of each are there if the time is up.
        [_pair(known, config) for known in _alternating(findings.worst, findings.random)],
        config.source,
        findings.tiffs,
        Reading(
            codecs=config.codecs,
            seconds=seconds if run.is_complete else min(seconds, HURRIED_SECONDS),
            memory_bytes=config.limits.memory_bytes,
            max_pixels=config.limits.pixels,
        ),
    )


def _alternating(first: Sequence[Known], second: Sequence[Known]) -> list[Known]:
    longest = max(len(first), len(second))
    return [row for i in range(longest) for rows in (first, second) for row in rows[i : i + 1]]


def _pair(known: Known, config: RestoreConfig) -> Pair:
    notes = (
        [f"consistency error {number(known.consistency)}"] if known.consistency is not None else []
    )
    if known.colour_drift is not None:
        notes.append(f"colour drift {number(known.colour_drift)}")
    if known.flags:
        notes.append(f"flagged: {known.flags}")
    if known.is_earlier:
        notes.append("restored by an earlier run")
    return Pair(config.source, known.key, config.target, known.output, tuple(notes))


def _pictures(findings: Findings, pictures: Pictures) -> Iterator[Section]:
    strips = {strip.title: strip for strip in pictures.strips}
    how = (
        "Drag across a picture or move the slider. A click, or Enter, shows the spot that changed "
        "most at 1:1, pixel for pixel of the restored file."
    )
    for title, rows, lead in (
        ("Where to look first", findings.worst,
         "The restorations that, brought back to the input's size, differ most from it: those of "
         "this run first. "),
        ("Drawn at random", findings.random, "What the rest is like. "),
    ):  # fmt: skip
        shown: list[Strip] = [strips[known.key] for known in rows if known.key in strips]
        if shown:
            yield Section(title, (Strips(tuple(shown)),), lead + how)


def _map(pictures: Pictures) -> Iterator[Section]:
    if pictures.outlines:
        caption = f"Footprints of {counted(len(pictures.outlines), 'georeferenced input')}"
        yield Section("Where it lies", (footprint_map(caption, pictures.outlines),))


def _provenance(run: EndedRun, began: float, ended: float) -> Section:
    config = run.config
    facts = (
        ("Generator", config.generator),
        ("Generator digest", run.generator_digest),
        ("Configuration digest", config.pixel_digest),
        ("ganray", __version__),
        ("Run", run.summary.run_id),
        ("Workers", str(run.crew.num_workers or "in this process")),
        ("Began", _moment(began)),
        ("Ended", _moment(ended)),
    )
    return Section(
        "Provenance",
        (Facts(facts), Folded("The resolved configuration", to_yaml(config))),
        lead="The same generator, configuration and inputs give the same outputs. Both digests "
        "stand in the ledger, and in the restored files whose format has a place for them.",
    )


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
