"""`ganray train`: arguments in, a line of metrics now and then, the generator's place out."""

from collections.abc import Mapping, Sequence
from typing import Any

from ganray.cli.exit_codes import DONE
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.terminal import say
from ganray.pipelines.train import run_training
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.report.amounts import counted

NOT_SHOWN = (
    *("step", "relative_error", "texture", "sign", "strength"),
    *("generator_gradient", "discriminator_gradient"),
)

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
    if plan_only:
        for item in plan.data.skipped:
            say(_skipped(item.key, item.reason))
        say("nothing was written")
        return DONE
    result = run_training(plan, lambda line: _say_line(line, plan.total_steps))
    if result.gave_up_at is not None:
        say(
            f"nothing to do: the training is finished, it gave up at step {result.gave_up_at}; "
            f"{result.generator} is the best it had. Start anew with resume=false and other "
            "settings"
        )
    elif result.already_finished:
        say(f"nothing to do: {result.generator} is trained; resume=false starts anew")
    else:
        say(f"trained {counted(result.steps_done, 'step')}: {result.generator}")
    if result.report:
        say(f"to look at: {result.report}")
    return DONE


def _degradation(plan: TrainPlan) -> str:
    recipe = plan.samples.recipe
    if recipe is None:
        return f"pairs with {plan.config.degraded}, nothing is synthesised"
    return f"degradation {recipe.name}"


def _skipped(key: str, reason: str) -> str:
    return f"warning: skipped {key}: {reason}"


def _say_line(line: Mapping[str, Any], total_steps: int) -> None:
    # Checkpoints come and go; those that fail are told.
    if line.get("event") not in ("checkpoint", "finished"):
        say(event_line(line) if "event" in line else metrics_line(line, total_steps))


def event_line(event: Mapping[str, Any]) -> str:
    """One line of what happened: where it starts, or the event with its details."""
    match event["event"]:
        case "started":
            return f"starting at step 0 with {counted(event['workers'], 'worker')}"
        case "resumed":
            workers = counted(event["workers"], "worker")
            return f"going on from {event['checkpoint']} with {workers}"
        case "skipped":
            return _skipped(event["key"], event["reason"])
        case "promoted":
            return f"promoted: {event['name']}@{event['version']} of {event['registry']} is current"
        case "refused":
            kept = (
                f"{event['incumbent']} stays current" if event["incumbent"] else "none is current"
            )
            return "\n".join(
                [
                    f"warning: the generator is not promoted under {event['name']}, {kept}:",
                    *(f"  {reason}" for reason in event["reasons"]),
                ]
            )
        case "report_failed":
            return f"warning: report.html was not written: {event['cause']}"
        case "compared" if event["validation_psnr_y"] is None:
            return (
                "warning: the generator's results on the validation images are not finite, worse "
                f"than bicubic's {event['bicubic_psnr_y']:.2f} dB: lower its learning rate, or "
                "start from a trained one (init_from)"
            )
        case "compared" if event["validation_psnr_y"] < event["bicubic_psnr_y"]:
            return (
                f"warning: the generator reaches {event['validation_psnr_y']:.2f} dB on the "
                f"validation images and bicubic {event['bicubic_psnr_y']:.2f} dB: train longer, or "
                "start from a trained one (init_from)"
            )
    details = [f"{k}={_short(v)}" for k, v in event.items() if k not in ("event", "step")]
    return "  ".join([f"step {event['step']}", event["event"], *details])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def metrics_line(metrics: Mapping[str, Any], total_steps: int) -> str:
    """One line of a training: step, stage, losses, patches per second, where the time went.

    The monitor's own signals are in metrics.jsonl alone.
    """
    words = [f"step {metrics['step']}/{total_steps}"]
    shares = []
    for name, value in metrics.items():
        if name in NOT_SHOWN:
            continue
        if name.startswith("time_"):
            shares.append(f"{name.removeprefix('time_')} {value:.0%}")
            continue
        words.append(_short(value) if name == "stage" else f"{name}={_short(value)}")
    return "  ".join([*words, *([f"time: {', '.join(shares)}"] if shares else [])])
