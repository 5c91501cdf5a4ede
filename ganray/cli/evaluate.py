"""`ganray evaluate`: arguments in, a table of means out."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.terminal import say
from ganray.pipelines.evaluate import EvaluateConfig, EvaluateResult, PairMetrics, run_evaluation

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

    def report(pair: PairMetrics, num_pairs: int) -> None:
        state = f"failed: {pair.reason}" if pair.reason else "measured"
        say(f"  {pair.key}: {state} (of {num_pairs})")

    result = run_evaluation(config, report)
    _print_metrics(result, config)
    return SOME_INPUTS_FAILED if result.failed else DONE


def _print_metrics(result: EvaluateResult, config: EvaluateConfig) -> None:
    width = max(map(len, result.content))
    say(" " * width + "".join(f"{name:>10}" for name in config.metrics))
    for generator, columns in result.content.items():
        means = [columns[name]["mean"] for name in config.metrics]
        cells = "".join(f"{'–' if mean is None else f'{mean:.4g}':>10}" for mean in means)
        say(f"{generator:{width}}{cells}")
    say(f"definitions and every image: {result.output}/metrics.json")
