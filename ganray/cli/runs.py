"""`ganray runs`: what happened on a target, night by night."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE
from ganray.cli.terminal import parse_target, print_json_list, say
from ganray.pipelines.runs import RunLine, read_runs
from ganray.pipelines.summary import InputCounts

HEADER = (
    f"{'started (UTC)':<19}  {'state':<11} {'listed':>8} {'restored':>8} {'unchanged':>9} "
    f"{'failed':>6} {'pending':>8} {'Mpixel/s':>8} {'duration':>8} {'cost':>8}  "
    f"{'run':<27}  generator"
)
DIGEST_DIGITS = 8


def runs(words: Sequence[str]) -> int:
    """`ganray runs TARGET [--json]`."""
    target, as_json = parse_target(words, "runs", "a target's history of runs, latest first")
    lines = list(read_runs(target))
    if as_json:
        return print_json_list(line.as_dict() for line in lines)
    say(HEADER)
    for line in lines:
        say(_row(line))
    return DONE


def _row(line: RunLine) -> str:
    inputs = line.inputs
    counts = vars(inputs) if inputs else dict.fromkeys(vars(InputCounts()), "")
    rate = "" if line.pixels_per_second is None else f"{line.pixels_per_second / 1e6:.2f}"
    cost = "" if line.cost is None else f"{line.cost:.2f}"
    digest = line.generator_digest[:DIGEST_DIGITS]
    generator = f"{line.generator} ({digest})" if line.generator else digest
    return (
        f"{line.started_at[:19].replace('T', ' '):<19}  {line.state:<11} "
        f"{counts['listed']:>8} {counts['restored']:>8} {counts['unchanged']:>9} "
        f"{counts['failed']:>6} {counts['pending']:>8} {rate:>8} {_duration(line.seconds):>8} "
        f"{cost:>8}  {line.run_id:<27}  {generator}"
    ).rstrip()


def _duration(seconds: float | None) -> str:
    """Hours, minutes and seconds, as clocks show them."""
    if seconds is None:
        return ""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
