"""`ganray shard`: arguments in, a line for each shard, then how to train on them."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.terminal import say
from ganray.pipelines.shard import ShardDone, plan_shards, run_sharding
from ganray.pipelines.shard_config import ShardConfig
from ganray.report.amounts import counted

JOB = Job(
    name="shard",
    config=ShardConfig,
    purpose="Cut an archive once into shards of encoded sub-images, which a training reads faster "
    "than large images: a sample costs one small read.",
    example="ganray shard archive=my-photos output=my-shards",
    sources={"archive": "selection.include"},
    target="output",
    plan="counts images and shards, and writes nothing.",
)


def shard(words: Sequence[str]) -> int:
    """`ganray shard [CONFIG.yaml] [key=value …] [--plan]`."""
    if wants_help(words):
        return print_help(JOB)
    config, plan_only = read_config(JOB, words)
    plan = plan_shards(config)
    say(
        f"{counted(plan.num_images, 'image')} of {plan.job.config.archive} to "
        f"{counted(len(plan.orders), 'shard')}, {plan.job.dtype}; "
        f"{counted(len(plan.validation), 'image')} left out for validation"
    )
    if plan_only:
        for item in plan.refused:
            say(f"warning: skipped {item.key}: {item.reason}")
        say("nothing was written")
        return DONE

    def report(done: ShardDone, num_shards: int) -> None:
        if done.shard is not None:
            rows = counted(done.shard.num_rows, "sub-image")
            say(f"  {done.shard.key}: {rows} (of {counted(num_shards, 'shard')})")

    result = run_sharding(plan, report)
    for item in result.left_out:
        say(f"warning: skipped {item.key}: {item.reason}")
    if result.already_there:
        say(f"nothing to do: {result.output} holds these shards already")
    say(
        f"{counted(result.index.num_rows, 'sub-image')} of "
        f"{counted(result.index.num_images, 'image')}: ganray train archive={result.output}"
    )
    return SOME_INPUTS_FAILED if any(not item.is_small for item in result.left_out) else DONE
