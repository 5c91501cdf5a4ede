"""`ganray restore`: arguments in, progress and result out."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.progress import Progress
from ganray.cli.terminal import say
from ganray.ledger import LedgerRow
from ganray.pipelines.restore import RestoreResult, run_restoration
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_estimate import estimate
from ganray.pipelines.restore_orders import WindowDone
from ganray.pipelines.restore_plan import RestorePlan, plan_restoration, prepare
from ganray.registry import is_reference
from ganray.report.amounts import counted

MAX_LISTED = 20
JOB = Job(
    name="restore",
    config=RestoreConfig,
    purpose="Restore every image of an archive into a target, and record each in its ledger.",
    example="ganray restore source=my-photos target=my-restored",
    sources={"source": "include"},
    target="target",
    plan="counts the inputs, measures a sample of them, says how long the run would take, and "
    "writes nothing.",
)


def restore(words: Sequence[str]) -> int:
    """`ganray restore [CONFIG.yaml] [key=value …] [--plan]`."""
    if wants_help(words):
        return print_help(JOB)
    config, plan_only = read_config(JOB, words)
    if plan_only:
        say(estimate(plan_restoration(prepare(config))))
        return DONE
    with Shown() as shown:
        result = run_restoration(config, shown.begin, shown.report)
    print_result(result, config)
    return SOME_INPUTS_FAILED if result.summary.inputs.failed else DONE


class Shown:
    """A run as it is shown: its plan in a line, then its progress."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __enter__(self) -> "Shown":
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.close()

    def begin(self, plan: RestorePlan) -> None:
        say(_plan_line(plan))
        self._progress = Progress(plan.num_todo)

    def report(self, done: LedgerRow | WindowDone) -> None:
        assert self._progress is not None
        if isinstance(done, WindowDone):
            self._progress.add_window(done)
        else:
            self._progress.add(done)


def _plan_line(plan: RestorePlan) -> str:
    parts = [counted(plan.num_listed, "input")]
    if plan.num_unchanged:
        parts.append(f"{plan.num_unchanged} unchanged")
    if len(plan.failed_before):
        parts.append(f"{len(plan.failed_before)} failed earlier")
    parts.append(f"{plan.num_todo} to do")
    line = f"{plan.config.source} → {plan.config.target}: {', '.join(parts)}"
    if is_reference(plan.preparation.asked):
        line = f"{plan.preparation.asked} is {plan.config.generator}\n{line}"
    if plan.num_vanished:
        shown = ", ".join(plan.vanished[:3]) + (", …" if plan.num_vanished > 3 else "")
        line += (
            f"\nno longer in the archive: {counted(plan.num_vanished, 'input')} restored earlier "
            f"({shown}); ganray prune {plan.config.target} lists and removes what has no input"
        )
    if plan.num_todo:
        return line
    line += "\nnothing to do: no input, generator or setting has changed"
    if len(plan.failed_before):
        line += "; retry_failed=true tries what failed earlier again"
    return line


def print_result(result: RestoreResult, config: RestoreConfig) -> None:
    counts = result.summary.inputs
    flagged = f", {result.summary.flagged} of them flagged" if result.summary.flagged else ""
    say(
        f"restored {counts.restored}{flagged}, unchanged {counts.unchanged}, failed "
        f"{counts.failed}, pending {counts.pending} of {counted(counts.listed, 'input')} in "
        f"{result.summary.seconds:.1f} s"
    )
    for notice in result.summary.notices:
        say(f"  {notice}")
    if result.report:
        say(f"  report {result.report}")
    for key, reason in result.failed[:MAX_LISTED]:
        say(f"  failed {key}: {reason}")
    if counts.failed > MAX_LISTED:
        say(
            f"  … and {counts.failed - MAX_LISTED} more: "
            f"ganray ledger {config.target} --state failed"
        )
