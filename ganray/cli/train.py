"""`ganray train`: arguments in, a line of metrics now and then, the generator's place out."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.terminal import counted, say
from ganray.pipelines.train import run_training
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.training.loop import Metrics

JOB = Job(
    name="train",
    config=TrainConfig,
    purpose="Train a generator on good images, which are degraded to make the pairs.",
    example="ganray train archive=my-photos validation=my-others output=my-training",
    sources={
        "archive": "selection.include",
        "degraded": "",
        "validation": "",
        "validation_degraded": "",
    },
    target="output",
    plan="prints steps, images and workers, and trains nothing.",
)


def train(words: Sequence[str]) -> int:
    """`ganray train [CONFIG.yaml] [key=value …] [--plan]`."""
    if wants_help(words):
        return print_help(JOB)
    config, plan_only = read_config(JOB, words)
    plan = plan_training(config)
    say(
        f"{counted(plan.total_steps, 'step')} of {config.batch_size} patches from "
        f"{plan.trained_on}, "
        f"x{plan.samples.scale}, {_degradation(plan)}, "
        + (counted(config.workers.max, "worker") if config.workers.max else "in this process")
    )
    for note in plan.data.notes:
        say(note)
    for item in plan.data.skipped:
        say(f"warning: skipped {item.key}: {item.reason}")
    if plan_only:
        say("nothing was written")
        return DONE
    result = run_training(plan, lambda metrics: say(metrics_line(metrics, plan.total_steps)))
    if result.already_finished:
        say(f"nothing to do: {result.generator} is trained; resume=false starts anew")
    else:
        say(f"trained {counted(result.steps_done, 'step')}: {result.generator}")
    return DONE


def _degradation(plan: TrainPlan) -> str:
    recipe = plan.samples.recipe
    if recipe is None:
        return f"pairs with {plan.config.degraded}, nothing is synthesised"
    return f"degradation {recipe.name}"


def metrics_line(metrics: Metrics, total_steps: int) -> str:
    """One line of a training: step, stage, losses, patches per second."""
    if "resumed" in metrics:
        source = metrics["resumed"]
        return f"going on from {source}" if source else "starting at step 0"
    if "skipped" in metrics:
        return f"warning: skipped {metrics['skipped']}"
    words = [f"step {metrics['step']}/{total_steps}"]
    for name, value in metrics.items():
        if name == "step":
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        words.append(shown if name == "stage" else f"{name}={shown}")
    return "  ".join(words)
