"""`ganray inspect`: what a checkpoint or an image is."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE
from ganray.cli.terminal import parse_target, print_json, say
from ganray.pipelines.inspection import inspect_file


def inspect(words: Sequence[str]) -> int:
    """`ganray inspect CHECKPOINT|IMAGE [--json]`."""
    uri, as_json = parse_target(words, "inspect", "what a checkpoint or an image is")
    description = inspect_file(uri)
    if as_json:
        return print_json(description)
    for name, value in description.items():
        say(f"{name:<24}{value}")
    return DONE
