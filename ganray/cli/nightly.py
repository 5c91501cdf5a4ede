"""`ganray nightly`: what a schedule calls; a restoration that ends by a deadline."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ganray.cli.exit_codes import DONE, SOME_INPUTS_FAILED
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.restore import Shown, print_result
from ganray.cli.terminal import say
from ganray.pipelines.nightly import Listener, run_night
from ganray.pipelines.nightly_config import NightlyConfig
from ganray.pipelines.nightly_deadline import moment_of
from ganray.pipelines.restore_estimate import estimate
from ganray.pipelines.restore_plan import plan_restoration, prepare

JOB = Job(
    name="nightly",
    config=NightlyConfig,
    purpose="Restore what is new or changed in an archive, as a schedule does every night: until a "
    "deadline, with another pass over what failed in passing, and a notification at the end.",
    example="ganray nightly source=my-photos target=my-restored deadline=06:00",
    sources={"source": "include"},
    target="target",
    plan="counts the inputs as ganray restore does, and writes nothing.",
    first=("source", "target", *NightlyConfig.__annotations__),
)


def nightly(words: Sequence[str]) -> int:
    """`ganray nightly [CONFIG.yaml] [key=value …] [--plan]`.

    A night that its deadline cuts is done: 0, or 3 if some inputs failed, and what is pending is
    said, stored and posted.
    """
    if wants_help(words):
        return print_help(JOB)
    config, plan_only = read_config(JOB, words)
    if plan_only:
        say(estimate(plan_restoration(prepare(config.restoration))))
        return DONE
    if config.deadline:
        now = datetime.now(UTC)
        moment = moment_of(config.deadline, now, config.timezone)
        left = timedelta(seconds=round((moment - now).total_seconds()))
        say(f"until {moment:%Y-%m-%d %H:%M} UTC, {left} from now")
    with Shown() as shown:
        done = run_night(config, Listener(shown.begin, shown.report))
    print_result(done.result, config)
    night = done.night
    if night.outcome == "deadline":
        say(f"stopped before the deadline, {night.deadline}: {night.message}")
    return SOME_INPUTS_FAILED if done.result.summary.inputs.failed else DONE
