"""The commands beside the jobs: look at a target, a file, the embedded store; the demo."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ganray import object_store
from ganray.cli.demo import DEMO_FOLDER, run_demo
from ganray.cli.exit_codes import DONE, FAILED
from ganray.ledger import LedgerRow
from ganray.pipelines.inspection import inspect_file
from ganray.pipelines.status import read_rows, read_status, verify_target

LEDGER_FIELDS = (
    *("key", "etag", "state", "reason", "output", "attempts", "seconds"),
    *("consistency", "colour_drift", "clipped", "lost", "run_id"),
)


def status(words: Sequence[str]) -> int:
    """`ganray status TARGET [--json]`."""
    target, as_json = _target(words, "status", "counts and state of a target")
    summary = read_status(target)
    if as_json:
        return _print_json(summary.as_dict())
    counts = summary.inputs
    _say(f"{target}: run {summary.run_id}")
    _say(
        f"  inputs   {counts.listed} listed: {counts.restored} restored, "
        f"{counts.unchanged} unchanged, {counts.failed} failed, {counts.pending} pending"
    )
    _say(
        f"  pixels   {summary.input_pixels / 1e6:.1f} Mpixel in, "
        f"{summary.output_pixels / 1e6:.1f} out, {summary.windows} windows"
    )
    _say(f"  seconds  {summary.seconds:.1f}, of workers {summary.worker_seconds:.1f}")
    return DONE


def ledger(words: Sequence[str]) -> int:
    """`ganray ledger TARGET [--json]`."""
    target, as_json = _target(words, "ledger", "one line per input")
    rows = read_rows(target)
    if as_json:
        return _print_json([_public(row) for row in rows])
    for row in rows:
        detail = row.reason or f"{row.output}, consistency {row.consistency or 0:.4f}"
        _say(f"{row.state:<9} {row.key}  {detail}")
    return DONE


def verify(words: Sequence[str]) -> int:
    """`ganray verify TARGET [--json]`."""
    target, as_json = _target(words, "verify", "audits archive against target")
    num_inputs, problems = verify_target(target)
    if as_json:
        _print_json({"inputs": num_inputs, "problems": [asdict(problem) for problem in problems]})
    else:
        for problem in problems:
            _say(f"{problem.key}: {problem.what}")
        _say(f"{num_inputs} inputs audited, {len(problems)} problems")
    return FAILED if problems else DONE


def inspect(words: Sequence[str]) -> int:
    """`ganray inspect CHECKPOINT|IMAGE [--json]`."""
    uri, as_json = _target(words, "inspect", "what a checkpoint or an image is")
    description = inspect_file(uri)
    if as_json:
        return _print_json(description)
    for name, value in description.items():
        _say(f"{name:<24}{value}")
    return DONE


def store(words: Sequence[str]) -> int:
    """`ganray store start|stop DIR`."""
    parser = argparse.ArgumentParser("ganray store", description="the embedded object store")
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(words)
    if options.action == "stop":
        stopped = object_store.stop(options.folder)
        _say("stopped" if stopped else f"no store runs in {options.folder}")
        return DONE
    running = object_store.start(options.folder)
    # Only what a shell evaluates goes to standard output: eval "$(ganray store start DIR)".
    for name, value in running.environment.items():
        _say(f"export {name}={value}")
    sys.stderr.write(f"S3 endpoint {running.endpoint_url}, data in {running.folder}\n")
    return DONE


def demo(words: Sequence[str]) -> int:
    """`ganray demo [DIR]`."""
    parser = argparse.ArgumentParser("ganray demo", description="the main line, end to end")
    parser.add_argument("folder", type=Path, nargs="?", default=DEMO_FOLDER)
    parser.add_argument("--steps", type=int, default=60, help="adversarial steps of the training")
    options = parser.parse_args(words)
    return run_demo(options.folder, adversarial_steps=options.steps)


def _target(words: Sequence[str], name: str, description: str) -> tuple[str, bool]:
    parser = argparse.ArgumentParser(f"ganray {name}", description=description)
    parser.add_argument("target", metavar="FILE" if name == "inspect" else "TARGET")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    return options.target, options.json


def _public(row: LedgerRow) -> dict[str, Any]:
    values = asdict(row)
    return {name: values[name] for name in LEDGER_FIELDS}


def _print_json(content: Any) -> int:
    _say(json.dumps(content, indent=2))
    return DONE


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
