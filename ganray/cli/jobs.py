"""The three jobs on the command line: arguments in, progress and result out."""

import sys
from collections.abc import Sequence

from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.progress import Progress, metrics_line
from ganray.config import Section, describe, load_config
from ganray.ledger import LedgerRow
from ganray.pipelines.evaluate import EvaluateConfig, EvaluateResult, PairMetrics, run_evaluation
from ganray.pipelines.restore import RestoreResult, run_restoration
from ganray.pipelines.restore_config import RestoreConfig, RestorePlan, plan_restoration
from ganray.pipelines.restore_estimate import estimate
from ganray.pipelines.train import run_training
from ganray.pipelines.train_config import TrainConfig, plan_training

MAX_LISTED = 20


def restore(words: Sequence[str]) -> int:
    """`ganray restore [CONFIG.yaml] [key=value …] [--plan]`."""
    if _wants_help(words):
        return _print_help("restore", RestoreConfig)
    arguments, plan_only = _split_plan(words)
    config = load_config(RestoreConfig, arguments)
    if plan_only:
        _say(estimate(plan_restoration(config)))
        return DONE
    progress: list[Progress] = []

    def begin(plan: RestorePlan) -> None:
        _say(_plan_line(plan))
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


def train(words: Sequence[str]) -> int:
    """`ganray train [CONFIG.yaml] [key=value …] [--plan]`."""
    if _wants_help(words):
        return _print_help("train", TrainConfig)
    arguments, plan_only = _split_plan(words)
    config = load_config(TrainConfig, arguments)
    plan = plan_training(config)
    _say(
        f"{plan.total_steps} steps of {config.batch_size} patches from {plan.trained_on}, "
        f"x{plan.samples.scale}, degradation {plan.samples.recipe.name}, "
        f"{config.workers.max or 'no Ray,'} workers"
    )
    if plan_only:
        return DONE
    result = run_training(plan, lambda metrics: _say(metrics_line(metrics, plan.total_steps)))
    if result.already_finished:
        _say(f"nothing to do: {result.generator} is trained; resume=false starts anew")
    else:
        _say(f"trained {result.steps_done} steps: {result.generator}")
    return DONE


def evaluate(words: Sequence[str]) -> int:
    """`ganray evaluate [CONFIG.yaml] [key=value …]`."""
    if _wants_help(words):
        return _print_help("evaluate", EvaluateConfig)
    config = load_config(EvaluateConfig, words)

    def report(pair: PairMetrics, num_pairs: int) -> None:
        state = f"failed: {pair.reason}" if pair.reason else "measured"
        _say(f"  {pair.key}: {state} (of {num_pairs})")

    result = run_evaluation(config, report)
    _print_metrics(result, config)
    return SOME_INPUTS_FAILED if result.failed else DONE


def _wants_help(words: Sequence[str]) -> bool:
    return "--help" in words or "-h" in words


def _split_plan(words: Sequence[str]) -> tuple[list[str], bool]:
    return [word for word in words if word != "--plan"], "--plan" in words


def _print_help(name: str, model: type[Section]) -> int:
    _say(f"usage: ganray {name} [CONFIG.yaml] [key=value …]\n")
    for field in describe(model):
        _say(f"  {field.key} = {field.default}\n      {field.description}")
    return DONE


def _plan_line(plan: RestorePlan) -> str:
    parts = [f"{plan.num_listed} inputs"]
    if plan.unchanged:
        parts.append(f"{len(plan.unchanged)} unchanged")
    if plan.failed_before:
        parts.append(f"{len(plan.failed_before)} failed earlier")
    parts.append(f"{plan.num_pending + len(plan.unreadable)} to do")
    return f"{plan.config.source} → {plan.config.target}: {', '.join(parts)}"


def _print_result(result: RestoreResult, config: RestoreConfig) -> None:
    counts = result.summary.inputs
    if counts.restored == 0 and counts.listed == counts.unchanged + counts.failed:
        _say("nothing to do: every input is done with this generator and configuration")
    _say(
        f"restored {counts.restored}, unchanged {counts.unchanged}, failed {counts.failed}, "
        f"pending {counts.pending} of {counts.listed} inputs in {result.summary.seconds:.1f} s"
    )
    for row in result.failed[:MAX_LISTED]:
        _say(f"  failed {row.key}: {row.reason}")
    if len(result.failed) > MAX_LISTED:
        _say(f"  … and {len(result.failed) - MAX_LISTED} more: ganray ledger {config.target}")


def _print_metrics(result: EvaluateResult, config: EvaluateConfig) -> None:
    _say(f"{'':24}" + "".join(f"{name:>10}" for name in config.metrics))
    for generator, columns in result.content.items():
        means = [columns[name]["mean"] for name in config.metrics]
        cells = "".join(f"{'–' if m is None else f'{m:.4g}':>10}" for m in means)
        _say(f"{generator[-24:]:24}{cells}")
    _say(f"definitions and every image: {result.output}/metrics.json")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
