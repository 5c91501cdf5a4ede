"""`ganray train`: arguments in, a line of metrics now and then, the generator's place out."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE
from ganray.cli.terminal import print_help, say, split_plan, wants_help
from ganray.config import load_config
from ganray.pipelines.train import run_training
from ganray.pipelines.train_config import TrainConfig, plan_training
from ganray.training.loop import Metrics


def train(words: Sequence[str]) -> int:
    """`ganray train [CONFIG.yaml] [key=value …] [--plan]`."""
    if wants_help(words):
        return print_help("train", TrainConfig)
    arguments, plan_only = split_plan(words)
    config = load_config(TrainConfig, arguments)
    plan = plan_training(config)
    say(
        f"{plan.total_steps} steps of {config.batch_size} patches from {plan.trained_on}, "
        f"x{plan.samples.scale}, degradation {plan.samples.recipe.name}, "
        + (f"{config.workers.max} workers" if config.workers.max else "in this process")
    )
    if plan_only:
        say("nothing was written")
        return DONE
    result = run_training(plan, lambda metrics: say(metrics_line(metrics, plan.total_steps)))
    if result.already_finished:
        say(f"nothing to do: {result.generator} is trained; resume=false starts anew")
    else:
        say(f"trained {result.steps_done} steps: {result.generator}")
    return DONE


def metrics_line(metrics: Metrics, total_steps: int) -> str:
    """One line of a training: step, stage, losses, patches per second."""
    if "resumed" in metrics:
        source = metrics["resumed"]
        return f"going on from {source}" if source else "starting at step 0"
    words = [f"step {metrics['step']}/{total_steps}"]
    for name, value in metrics.items():
        if name == "step":
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        words.append(shown if name == "stage" else f"{name}={shown}")
    return "  ".join(words)
