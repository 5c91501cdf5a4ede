"""What the commands share: words to the terminal, `--help` of a job, the `--plan` flag."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ganray.cli.exit_codes import DONE
from ganray.config import Section, describe


def say(text: str) -> None:
    """Print a line at once: a log that follows a job must not wait for a buffer.

    What the terminal cannot show is escaped.
    """
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def wants_help(words: Sequence[str]) -> bool:
    return "--help" in words or "-h" in words


def split_plan(words: Sequence[str]) -> tuple[list[str], bool]:
    return [word for word in words if word != "--plan"], "--plan" in words


def print_help(name: str, model: type[Section]) -> int:
    plan = "" if name == "evaluate" else " [--plan]"
    say(f"usage: ganray {name} [CONFIG.yaml] [key=value …]{plan}\n")
    for field in describe(model):
        say(f"  {field.key} = {field.default}\n      {field.description}")
    return DONE


def parse_target(words: Sequence[str], name: str, description: str) -> tuple[str, bool]:
    """The one argument and whether `--json` was given."""
    parser = argparse.ArgumentParser(f"ganray {name}", description=description)
    parser.add_argument("target", metavar="FILE" if name == "inspect" else "TARGET")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(words)
    return options.target, options.json


def print_json_list(items: Iterable[Any]) -> int:
    """Print a JSON array item by item, so that a long one is never held; done."""
    before = "[\n"
    for item in items:
        sys.stdout.write(before + json.dumps(item))
        before = ",\n"
    say("[]" if before == "[\n" else "\n]")
    return DONE


def print_json(content: Any) -> int:
    """Print `content` as JSON; done."""
    say(json.dumps(content, indent=2))
    return DONE
