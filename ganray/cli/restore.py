"""`ganray restore`: arguments in, progress and result out."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.progress import Progress
from ganray.cli.terminal import print_help, say, split_plan, wants_help
from ganray.config import load_config
from ganray.ledger import LedgerRow
from ganray.pipelines.restore import RestoreResult, run_restoration
from ganray.pipelines.restore_config import RestoreConfig, RestorePlan, plan_restoration
from ganray.pipelines.restore_estimate import estimate

MAX_LISTED = 20


def restore(words: Sequence[str]) -> int:
    """`ganray restore [CONFIG.yaml] [key=value …] [--plan]`."""
    if wants_help(words):
        return print_help("restore", RestoreConfig)
    arguments, plan_only = split_plan(words)
    config = load_config(RestoreConfig, arguments)
    if plan_only:
        say(estimate(plan_restoration(config)))
        return DONE
    progress: list[Progress] = []

    def begin(plan: RestorePlan) -> None:
        say(_plan_line(plan))
        progress.append(Progress(plan.num_pending + len(plan.unreadable)))

    def report(row: LedgerRow) -> None:
        progress[0].add(row)

    try:
        result = run_restoration(config, begin, report)
    finally:
        if progress:
            progress[0].close()
    _print_result(result, config)
    return SOME_INPUTS_FAILED if result.failed else DONE


def _plan_line(plan: RestorePlan) -> str:
    parts = [f"{plan.num_listed} inputs"]
    if plan.unchanged:
        parts.append(f"{len(plan.unchanged)} unchanged")
    if plan.failed_before:
        parts.append(f"{len(plan.failed_before)} failed earlier")
    num_todo = plan.num_pending + len(plan.unreadable)
    parts.append(f"{num_todo} to do")
    line = f"{plan.config.source} → {plan.config.target}: {', '.join(parts)}"
    if num_todo:
        return line
    return f"{line}\nnothing to do: no input, generator or setting has changed"


def _print_result(result: RestoreResult, config: RestoreConfig) -> None:
    counts = result.summary.inputs
    say(
        f"restored {counts.restored}, unchanged {counts.unchanged}, failed {counts.failed}, "
        f"pending {counts.pending} of {counts.listed} inputs in {result.summary.seconds:.1f} s"
    )
    for row in result.failed[:MAX_LISTED]:
        say(f"  failed {row.key}: {row.reason}")
    if len(result.failed) > MAX_LISTED:
        say(f"  … and {len(result.failed) - MAX_LISTED} more: ganray ledger {config.target}")
