"""What the commands share: words to the terminal, JSON, the target as an argument."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ganray.cli.exit_codes import DONE


def say(text: str) -> None:
    """Print a line at once: a log that follows a job must not wait for a buffer.

    What the terminal cannot show is escaped.
    """
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


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
