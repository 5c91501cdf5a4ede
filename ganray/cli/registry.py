"""`ganray registry`: which generators there are, which is current and since when; the way back."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ganray.cli.exit_codes import DONE
from ganray.cli.terminal import print_json, say
from ganray.config import default_registry
from ganray.pipelines.promote import roll_back
from ganray.pipelines.registry_listing import NameListing, list_registry
from ganray.registry import Change


def registry(words: Sequence[str]) -> int:
    """`ganray registry [URI] [--json] [--rollback NAME[@VERSION] [--reason TEXT]]`."""
    parser = argparse.ArgumentParser(
        "ganray registry", description="generators by name, their versions, and what is current"
    )
    parser.add_argument("uri", metavar="URI", nargs="?", default=default_registry())
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--rollback",
        metavar="NAME[@VERSION]",
        help="make the version before the current one current again, or the one named",
    )
    parser.add_argument("--reason", default="", help="why, for the history")
    options = parser.parse_args(words)
    if options.rollback:
        return _roll_back(options)
    found = list_registry(options.uri)
    if options.json:
        return print_json([asdict(listing) for listing in found])
    if not found:
        say(f"{options.uri} holds no generator; ganray promote adds one")
    for listing in found:
        _print_name(listing)
    return DONE


def _roll_back(options: argparse.Namespace) -> int:
    change = roll_back(options.uri, options.rollback, options.reason)
    name = options.rollback.removeprefix("registry:").partition("@")[0]
    if options.json:
        return print_json({"name": name} | asdict(change))
    say(f"rolled back: {name}@{change.version} is current, before it {change.replaced}")
    return DONE


def _print_name(listing: NameListing) -> None:
    say(f"{listing.name}: {listing.problem or f'{listing.current} is current'}")
    for card in listing.versions:
        mark = "*" if card.version == listing.current else " "
        say(f"  {mark} {card.version}  x{card.scale} {card.architecture}, {card.trained_on}")
    for change in reversed(listing.history):
        say(f"    {change.time}  {_in_words(change)}")


def _in_words(change: Change) -> str:
    action = change.action.replace("_", " ")
    told: list[Any] = [f"{action:<12}{change.version}", _figures(change), change.reason]
    return "  ".join(filter(None, told))


def _figures(change: Change) -> str:
    """What was measured of the candidate, and of bicubic and the incumbent beside it."""
    ours = change.figures.get("candidate", {})
    others = [name for name in ("bicubic", "incumbent") if name in change.figures]
    words = []
    for metric, value in ours.items():
        beside = ", ".join(f"{n} {_short(change.figures[n].get(metric))}" for n in others)
        words.append(f"{metric} {_short(value)} ({beside})")
    return "; ".join(words[:2])


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
