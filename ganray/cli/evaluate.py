"""`ganray evaluate`: arguments in, a table of means, intervals and wins out."""

import sys
import time
from collections.abc import Sequence

from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.terminal import say
from ganray.pipelines.evaluate import EvaluateResult, Progress, run_evaluation
from ganray.pipelines.evaluate_config import BICUBIC, EvaluateConfig
from ganray.pipelines.evaluate_summary import ColumnSummary
from ganray.report.amounts import counted

MAX_LISTED = 20
SECONDS_BETWEEN_LINES = 10.0
LONGEST_NAME = 26
BETTER = {"higher": "higher is better", "lower": "lower is better"}
JOB = Job(
    name="evaluate",
    config=EvaluateConfig,
    purpose="Measure generators, and bicubic beside them, on pairs of degraded and reference "
    "images.",
    example="ganray evaluate archive=my-photos generators=my-training/generator.safetensors",
    sources={"archive": "include", "degraded": "include", "reference": "include"},
    target="output",
)


def evaluate(words: Sequence[str]) -> int:
    """`ganray evaluate [CONFIG.yaml] [key=value …]`."""
    if wants_help(words):
        return print_help(JOB)
    config, _ = read_config(JOB, words)
    result = run_evaluation(config, _Lines().report)
    say(format_table(result, config))
    for key, reason in result.failed[:MAX_LISTED]:
        say(f"  failed {key}: {reason}")
    if result.num_failed > MAX_LISTED:
        say(f"  … and {result.num_failed - MAX_LISTED} more: {result.output}/failed.jsonl")
    say(f"every image and the definitions: {result.output}/metrics.json")
    if result.report:
        say(f"to look at: {result.report}")
    else:
        say("warning: report.html was not written; the log says why")
    return SOME_INPUTS_FAILED if result.num_failed else DONE


class _Lines:
    """A line now and then, and one at the end."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def report(self, progress: Progress) -> None:
        now = time.monotonic()
        is_due = now - self._last > SECONDS_BETWEEN_LINES
        if not is_due and progress.num_done < progress.num_pairs:
            return
        self._last = now
        sys.stdout.write(
            f"{progress.num_done} of {counted(progress.num_pairs, 'pair')}, "
            f"{progress.num_failed} failed\n"
        )
        sys.stdout.flush()


def format_table(result: EvaluateResult, config: EvaluateConfig) -> str:
    """Metric by metric, what every generator reached; lines of at most 100 characters."""
    percent = f"{100 * config.confidence:g} %"
    num_measured = result.num_pairs - result.num_failed
    lines = [
        "",
        f"{counted(num_measured, 'image')}; intervals of {percent}; wins–losses are of images, "
        "differences of means, against bicubic",
    ]
    names = list(result.summaries)
    width = max(len(_short(name)) for name in names)
    for metric, first in result.summaries[BICUBIC].items():
        lines.append(f"{metric} ({BETTER[first.better]}{_fewer(first, num_measured)})")
        lines += [
            f"  {_short(name):{width}}  {_cells(result.summaries[name][metric])}" for name in names
        ]
        notices = {columns[metric].notice: None for columns in result.summaries.values()}
        lines += [f"  note: {notice}" for notice in notices if notice]
    return "\n".join(lines)


def _fewer(summary: ColumnSummary, num_measured: int) -> str:
    if summary.num_images == num_measured:
        return ""
    return f"; defined on {counted(summary.num_images, 'image')}"


def _cells(summary: ColumnSummary) -> str:
    if summary.mean is None:
        return f"{'–':>9}"
    cells = f"{summary.mean:>9.4g}"
    if summary.low is not None and summary.high is not None:
        interval = f"{summary.low:.4g} to {summary.high:.4g}"
        cells += f"  {interval:<20}"
    against = summary.against.get(BICUBIC)
    if against is None:
        return cells.rstrip()
    score = f"{against.won}–{against.lost}"
    return (
        f"{cells} {score:>5}  {against.difference:+.2g} ({against.low:+.2g} to {against.high:+.2g})"
    )


def _short(name: str) -> str:
    """A name that leaves room beside it: its end says most."""
    return name if len(name) <= LONGEST_NAME else f"…{name[1 - LONGEST_NAME :]}"
