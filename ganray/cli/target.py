"""`ganray status`, `ledger`, `verify` and `prune`: what a target holds."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, get_args

from ganray.cli.exit_codes import DONE, FAILED
from ganray.cli.terminal import parse_target, print_json, print_json_list, say
from ganray.ledger import LedgerRow
from ganray.pipelines.prune import list_vanished, prune_target
from ganray.pipelines.status import EntryState, LedgerEntry, read_entries, read_status
from ganray.pipelines.verify import Audit, Problem, repair_target, verify_target
from ganray.report.amounts import counted

ROW_FIELDS = (
    *("reason", "output", "generator_digest", "attempts", "seconds"),
    *("consistency", "colour_drift", "clipped", "non_finite", "seam_error", "flags"),
    *("lost", "run_id"),
)


def status(words: Sequence[str]) -> int:
    """`ganray status TARGET [--json]`."""
    target, as_json = parse_target(words, "status", "counts and state of a target")
    found = read_status(target)
    if as_json:
        return print_json(found.as_dict())
    summary, counts = found.summary, found.summary.inputs
    say(f"{target}: run {summary.run_id}, {found.state.replace('_', ' ')}")
    say(
        f"  inputs   {counts.listed} listed: {counts.restored} restored, "
        f"{counts.unchanged} unchanged, {counts.failed} failed, {counts.pending} pending"
    )
    if summary.vanished or summary.flagged:
        say(f"  notes    {summary.vanished} vanished from the archive, {summary.flagged} flagged")
    say(
        f"  pixels   {summary.input_pixels / 1e6:.1f} Mpixel in, "
        f"{summary.output_pixels / 1e6:.1f} out, {summary.windows} windows"
    )
    say(f"  seconds  {summary.seconds:.1f}, of workers {summary.worker_seconds:.1f}")
    return DONE


def ledger(words: Sequence[str]) -> int:
    """`ganray ledger TARGET [--json] [--state STATE]`."""
    parser = argparse.ArgumentParser("ganray ledger", description="one line per input")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--state", choices=get_args(EntryState), help="only inputs in this state")
    options = parser.parse_args(words)
    as_json, state = options.json, options.state
    entries = (each for each in read_entries(options.target) if state in (None, each.state))
    if as_json:
        return print_json_list(_public(entry) for entry in entries)
    for entry in entries:
        say(f"{entry.state:<9} {entry.key}  {_detail(entry)}".rstrip())
    return DONE


def verify(words: Sequence[str]) -> int:
    """`ganray verify TARGET [--json] [--repair]`."""
    parser = argparse.ArgumentParser("ganray verify", description="audits archive against target")
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="let the next ganray restore make missing and damaged outputs again",
    )
    options = parser.parse_args(words)
    target, as_json, repairs = options.target, options.json, options.repair
    audit = Audit()
    audited = repair_target if repairs else verify_target
    problems: Iterable[Problem] = audited(target, audit)
    if as_json:
        found = [{"key": problem.key, "what": problem.what} for problem in problems]
        print_json({"inputs": audit.num_inputs, "failed": audit.num_without, "problems": found})
    else:
        num_repairable = 0
        for problem in problems:
            num_repairable += problem.row is not None
            say(f"{problem.key}: {problem.what}")
        say(_verdict(audit))
        if num_repairable:
            say(_advice(target, num_repairable, repairs=repairs))
    return FAILED if audit.num_problems else DONE


def _verdict(audit: Audit) -> str:
    failed = f", {audit.num_without} of them failed and without an output" * bool(audit.num_without)
    inputs = counted(audit.num_inputs, "input")
    return f"{inputs} audited{failed}, {counted(audit.num_problems, 'problem')}"


def _advice(target: str, number: int, *, repairs: bool) -> str:
    if repairs:
        return f"{number} count as failed now; run ganray restore again to make them anew"
    return (
        f"ganray verify {target} --repair lets the next ganray restore make {number} of them anew"
    )


def prune(words: Sequence[str]) -> int:
    """`ganray prune TARGET [--delete]`."""
    parser = argparse.ArgumentParser(
        "ganray prune", description="outputs whose inputs are no longer in the archive"
    )
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("--delete", action="store_true", help="remove them; else they are listed")
    options = parser.parse_args(words)
    number = 0
    for key in prune_target(options.target) if options.delete else list_vanished(options.target):
        say(key)
        number += 1
    if options.delete:
        say(f"{counted(number, 'output')} removed")
    else:
        advice = "; add --delete to remove" if number else ""
        say(f"{counted(number, 'output')} of inputs no longer in the archive{advice}")
    return DONE


def _detail(entry: LedgerEntry) -> str:
    row: LedgerRow | None = entry.row
    if row is None:
        return ""
    if row.reason:
        return row.reason
    moved = "" if row.output == entry.key else f"{row.output}, "
    flags = f", {row.flags}" if row.flags else ""
    return f"{moved}consistency {row.consistency or 0:.4f}{flags}"


def _public(entry: LedgerEntry) -> dict[str, Any]:
    values: dict[str, Any] = asdict(entry.row) if entry.row else {}
    state = {"key": entry.key, "etag": entry.etag, "state": entry.state}
    return state | {name: values.get(name) for name in ROW_FIELDS}
