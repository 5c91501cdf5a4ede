"""`ganray status`, `ganray ledger` and `ganray verify`: what a target holds."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ganray.cli.exit_codes import DONE, FAILED
from ganray.cli.terminal import parse_target, print_json, say
from ganray.ledger import LedgerRow
from ganray.pipelines.status import LedgerEntry, read_entries, read_status, verify_target

ROW_FIELDS = (
    *("reason", "output", "attempts", "seconds"),
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
    entries = read_entries(target)
    if as_json:
        return print_json([_public(entry) for entry in entries])
    for entry in entries:
        say(f"{entry.state:<9} {entry.key}  {_detail(entry.row)}".rstrip())
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


def _detail(row: LedgerRow | None) -> str:
    if row is None:
        return ""
    return row.reason or f"{row.output}, consistency {row.consistency or 0:.4f}"


def _public(entry: LedgerEntry) -> dict[str, Any]:
    values: dict[str, Any] = asdict(entry.row) if entry.row else {}
    state = {"key": entry.key, "etag": entry.etag, "state": entry.state}
    return state | {name: values.get(name) for name in ROW_FIELDS}
