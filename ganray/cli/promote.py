"""`ganray promote`: arguments in, a line for each rule of the gate, what is current now."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE, FAILED
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.terminal import say
from ganray.pipelines.evaluate import REPORT_KEY, Progress
from ganray.pipelines.promote import GATE_KEY, PromoteResult, run_promotion
from ganray.pipelines.promote_config import PromoteConfig
from ganray.report.amounts import counted

JOB = Job(
    name="promote",
    config=PromoteConfig,
    purpose="Measure a generator against bicubic and against what is current under a name of the "
    "registry, and make it current if it passes every rule of the gate. A refusal is exit code 1.",
    example="ganray promote candidate=my-training/generator.safetensors name=photos "
    "archive=my-photos",
    sources={"archive": "include", "degraded": "include", "reference": "include"},
    target="output",
)


def promote(words: Sequence[str]) -> int:
    """`ganray promote [CONFIG.yaml] [key=value …]`."""
    if wants_help(words):
        return print_help(JOB)
    config, _ = read_config(JOB, words)

    def report(progress: Progress) -> None:
        failed = f", {progress.num_failed} failed" if progress.num_failed else ""
        say(f"  measured {progress.num_done} of {counted(progress.num_pairs, 'image')}{failed}")

    result = run_promotion(config, report)
    if result.verdicts:
        say("by the unfavourable end of each 95 % interval:")
    for verdict in result.verdicts:
        say(f"{'passed' if verdict.passed else 'REFUSED':<8}{verdict}")
    say(_outcome(result, config))
    return FAILED if result.is_refused else DONE


def _outcome(result: PromoteResult, config: PromoteConfig) -> str:
    current = f"{config.name}@{result.version}"
    if result.was_current:
        return f"nothing to do: {result.candidate} is current already, {current}"
    where = f"\nmeasured on {config.archive or config.degraded}: {config.output}/{GATE_KEY}"
    where += f"\nto look at: {config.output}/{REPORT_KEY}"
    if result.is_refused:
        kept = f"{current} stays current" if result.version else f"{config.name} is not current"
        return f"{result.candidate} is refused: {kept}{where}"
    before = f", before it {result.incumbent}" if result.incumbent else ""
    return f"promoted: {current} of {config.registry} is current{before}{where}"
