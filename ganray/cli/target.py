"""`ganray status`, `ganray ledger` and `ganray verify`: what a target holds."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ganray.cli.exit_codes import DONE, FAILED
from ganray.cli.terminal import parse_target, print_json, say
from ganray.ledger import LedgerRow
from ganray.pipelines.status import read_rows, read_status, verify_target

LEDGER_FIELDS = (
    *("key", "etag", "state", "reason", "output", "attempts", "seconds"),
    *("consistency", "colour_drift", "clipped", "lost", "run_id"),
)


def status(words: Sequence[str]) -> int:
    """`ganray status TARGET [--json]`."""
    target, as_json = parse_target(words, "status", "counts and state of a target")
    summary = read_status(target)
    if as_json:
        return print_json(summary.as_dict())
    counts = summary.inputs
    say(f"{target}: run {summary.run_id}")
    say(
        f"  inputs   {counts.listed} listed: {counts.restored} restored, "
        f"{counts.unchanged} unchanged, {counts.failed} failed, {counts.pending} pending"
    )
    say(
        f"  pixels   {summary.input_pixels / 1e6:.1f} Mpixel in, "
        f"{summary.output_pixels / 1e6:.1f} out, {summary.windows} windows"
    )
    say(f"  seconds  {summary.seconds:.1f}, of workers {summary.worker_seconds:.1f}")
    return DONE


def ledger(words: Sequence[str]) -> int:
    """`ganray ledger TARGET [--json]`."""
    target, as_json = parse_target(words, "ledger", "one line per input")
    rows = read_rows(target)
    if as_json:
        return print_json([_public(row) for row in rows])
    for row in rows:
        detail = row.reason or f"{row.output}, consistency {row.consistency or 0:.4f}"
        say(f"{row.state:<9} {row.key}  {detail}")
    return DONE


def verify(words: Sequence[str]) -> int:
    """`ganray verify TARGET [--json]`."""
    target, as_json = parse_target(words, "verify", "audits archive against target")
    num_inputs, problems = verify_target(target)
    if as_json:
        print_json({"inputs": num_inputs, "problems": [asdict(problem) for problem in problems]})
    else:
        for problem in problems:
            say(f"{problem.key}: {problem.what}")
        say(f"{num_inputs} inputs audited, {len(problems)} problems")
    return FAILED if problems else DONE


def _public(row: LedgerRow) -> dict[str, Any]:
    values = asdict(row)
    return {name: values[name] for name in LEDGER_FIELDS}
