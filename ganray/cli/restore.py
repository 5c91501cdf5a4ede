"""`ganray restore`: arguments in, progress and result out."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.progress import Progress
from ganray.cli.terminal import print_help, say, split_plan, wants_help
from ganray.config import load_config
from ganray.ledger import LedgerRow
from ganray.pipelines.restore import RestoreResult, run_restoration
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_estimate import estimate
from ganray.pipelines.restore_orders import WindowDone
from ganray.pipelines.restore_plan import RestorePlan, plan_restoration, prepare

MAX_LISTED = 20


def restore(words: Sequence[str]) -> int:
    """`ganray restore [CONFIG.yaml] [key=value …] [--plan]`."""
    if wants_help(words):
        return print_help("restore", RestoreConfig)
    arguments, plan_only = split_plan(words)
    config = load_config(RestoreConfig, arguments)
    if plan_only:
        say(estimate(plan_restoration(prepare(config))))
        return DONE
    progress: list[Progress] = []

    def begin(plan: RestorePlan) -> None:
        say(_plan_line(plan))
        progress.append(Progress(plan.num_todo))

    def report(done: LedgerRow | WindowDone) -> None:
        if isinstance(done, WindowDone):
            progress[0].add_window(done)
        else:
            progress[0].add(done)

    try:
        result = run_restoration(config, begin, report)
    finally:
        if progress:
            progress[0].close()
    _print_result(result, config)
    return SOME_INPUTS_FAILED if result.summary.inputs.failed else DONE


def _plan_line(plan: RestorePlan) -> str:
    parts = [f"{plan.num_listed} inputs"]
    if plan.num_unchanged:
        parts.append(f"{plan.num_unchanged} unchanged")
    if len(plan.failed_before):
        parts.append(f"{len(plan.failed_before)} failed earlier")
    parts.append(f"{plan.num_todo} to do")
    line = f"{plan.config.source} → {plan.config.target}: {', '.join(parts)}"
    if plan.num_vanished:
        shown = ", ".join(plan.vanished[:3]) + (", …" if plan.num_vanished > 3 else "")
        line += (
            f"\n{plan.num_vanished} restored earlier are no longer in the archive ({shown}); "
            f"ganray prune {plan.config.target} removes their outputs"
        )
    if plan.num_todo:
        return line
    return f"{line}\nnothing to do: no input, generator or setting has changed"


def _print_result(result: RestoreResult, config: RestoreConfig) -> None:
    counts = result.summary.inputs
    flagged = f", {result.summary.flagged} of them flagged" if result.summary.flagged else ""
    say(
        f"restored {counts.restored}{flagged}, unchanged {counts.unchanged}, failed "
        f"{counts.failed}, pending {counts.pending} of {counts.listed} inputs in "
        f"{result.summary.seconds:.1f} s"
    )
    for notice in result.summary.notices:
        say(f"  {notice}")
    for key, reason in result.failed[:MAX_LISTED]:
        say(f"  failed {key}: {reason}")
    if counts.failed > MAX_LISTED:
        say(f"  … and {counts.failed - MAX_LISTED} more: ganray ledger {config.target}")
