"""`ganray inspect`: what a checkpoint or an image is, and which networks there are."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ganray.cli.exit_codes import DONE
from ganray.cli.terminal import parse_target, print_json, say
from ganray.config import load_config
from ganray.errors import CheckpointError, ConfigError
from ganray.models.checkpoint import ReadingConfig
from ganray.models.description import describe_catalog
from ganray.pipelines.inspection import inspect_file

# What a third-party generator does not say itself, as under `reading` of the restore job.
READING = re.compile(r"(reading\.)?(architecture|options(\.\w+)?|blend|blend_weight)=")
REGISTRY = "registry="

CATALOG = "architectures"
"""The word that stands for the catalog of networks."""

CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
READS = (
    "inspect reads one image (by its suffix: .png, .jpg, .tif, …), or one generator (a file, or "
    "the name of a shipped one)"
)


def inspect(words: Sequence[str]) -> int:
    """`ganray inspect CHECKPOINT|IMAGE [--json] [registry=…] [architecture=… blend=…]`.

    `ganray inspect architectures`, or without a word, prints the catalog of networks.
    """
    if list(words) in ([], [CATALOG], ["--json"], [CATALOG, "--json"], ["--json", CATALOG]):
        return _print_catalog(as_json="--json" in words)
    told = [word for word in words if READING.match(word)]
    registry = [word for word in words if word.startswith(REGISTRY)]
    others = [word for word in words if word not in (*told, *registry)]
    uri, as_json = parse_target(others, "inspect", "what a checkpoint or an image is")
    reading = load_config(ReadingConfig, [w.removeprefix("reading.") for w in told])
    description = _inspect(uri, reading, "".join(registry[-1:]).removeprefix(REGISTRY))
    if as_json:
        return print_json(description)
    for name, value in description.items():
        say(f"{name:<24}{_in_words(value)}")
    return DONE


def _print_catalog(*, as_json: bool) -> int:
    rows = describe_catalog()
    if as_json:
        return print_json(rows)
    say(_catalog_line("", "", "scale", "parameters", "GFLOP/Mpixel", "sees ± px", "stride"))
    for row in rows:
        cost = f"{row['gflop_per_input_mpixel']:,.0f}"
        shown = (row["scale"], f"{row['parameters']:,}", cost, row["radius"], row["stride"])
        say(_catalog_line(row["role"], row["architecture"], *map(_or_dash, shown)))
    say(
        "At default options: operations per megapixel of input, two for a multiplication and its "
        "addition; sides of a discriminator's images are multiples of its stride. Generators of "
        "other architectures are read from their files."
    )
    return DONE


def _catalog_line(role: str, name: str, *cells: str) -> str:
    widths = (7, 13, 14, 11, 8)
    numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    return f"{role:<15}{name:<10}" + "".join(numbers)


def _or_dash(value: Any) -> str:
    return "-" if value is None else str(value)


def _inspect(uri: str, reading: ReadingConfig, registry: str) -> dict[str, Any]:
    """Describe a file; one that is neither an image nor a generator is told what would be."""
    if Path(uri).is_dir():
        raise ConfigError(
            f"{uri} is a folder; {READS}: name one file of it. ganray restore source={uri} --plan "
            "counts a folder's images"
        )
    try:
        return inspect_file(uri, reading, registry=registry)
    except CheckpointError as error:
        if PurePosixPath(uri).suffix.lower() in CHECKPOINT_SUFFIXES:
            raise
        raise CheckpointError(f"{error}. {READS[:1].upper()}{READS[1:]}") from error


def _in_words(value: Any) -> str:
    """A value as a reader would write it; what a mapping holds, a line each."""
    if isinstance(value, dict):
        lines = [f"{name} {_in_words(item)}" for name, item in value.items()]
        return f"\n{'':<24}".join(lines) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_in_words(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "none" if value is None else str(value)
