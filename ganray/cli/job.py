"""A job on the command line: its configuration from words, its `--help`, the `--plan` flag."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from itertools import groupby
from pathlib import Path
from typing import Generic, Literal, TypeVar

from ganray.cli.exit_codes import DONE
from ganray.cli.terminal import say
from ganray.config import Section, describe, load_config
from ganray.errors import ConfigError
from ganray.storage import open_store

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class Job(Generic[SectionT]):
    """A command that has a configuration, and what a user is told of it.

    `sources` maps each key that names an archive to the key that selects files of it, or to
    nothing; `target` is the key of what is written, a folder or a file (`writes`). `plan` says
    what `--plan` prints, if anything. `--help` begins with the keys of `first`.
    """

    name: str
    config: type[SectionT]
    purpose: str
    example: str
    sources: Mapping[str, str]
    target: str
    plan: str = ""
    writes: Literal["folder", "file"] = "folder"
    first: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        return f"ganray {self.name} [CONFIG.yaml] [key=value …]{' [--plan]' if self.plan else ''}"


def wants_help(words: Sequence[str]) -> bool:
    return "--help" in words or "-h" in words


def print_help(job: Job[SectionT]) -> int:
    """Print what the job does and every field with its default and its values; done."""
    say(f"usage: {job.usage}\n\n{job.purpose}\n\n  {job.example}\n")
    if job.plan:
        say(f"--plan {job.plan}")
    say("Fields come from the YAML file, then from key=value, which win; each key once.")
    fields = sorted(describe(job.config), key=lambda field: field.key not in job.first)
    for _, section in groupby(fields, lambda field: field.key.rpartition(".")[0]):
        say("")
        for field in section:
            values = f"  ({field.expected})" if field.expected not in ("", "text") else ""
            say(f"  {field.key} = {field.default}{values}\n      {field.description}")
    return DONE


def read_config(job: Job[SectionT], words: Sequence[str]) -> tuple[SectionT, bool]:
    """The job's configuration, and whether only its plan is asked for. Raises ConfigError."""
    known = ("--plan",) if job.plan else ()
    arguments = [word for word in words if word not in known]
    for word in arguments:
        if word.startswith("-"):
            options = ", ".join((*known, "--help"))
            raise ConfigError(f"unknown option {word}; expected key=value, or one of: {options}")
    _require_keys(job, arguments)
    config = load_config(job.config, arguments)
    _require_folders(job, config)
    return config, len(arguments) < len(words)


def _require_keys(job: Job[SectionT], arguments: Sequence[str]) -> None:
    """Refuse folders that are given as other commands take theirs, and say how to write them."""
    bare = [word for word in arguments if "=" not in word]
    if bare and bare[0] == arguments[0] and _may_be_yaml(bare[0]):
        bare = bare[1:]
    if not bare:
        return
    given = {word.partition("=")[0] for word in arguments if "=" in word}
    free = [key for key in (next(iter(job.sources)), job.target) if key not in given]
    meant = shlex.join(f"{key}={word}" for key, word in zip(free, bare, strict=False))
    raise ConfigError(
        f"found {' '.join(bare)} without a key; expected at most one YAML file, first, and then "
        f"key=value{': write ' if meant else ''}{meant}"
    )


def _may_be_yaml(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) or _is_file(word)


def _require_folders(job: Job[SectionT], config: SectionT) -> None:
    """What is no folder, or one in a file's place, is an error before anything is read."""
    for key, include in job.sources.items():
        uri: str = getattr(config, key)
        if _is_file(uri):
            path = Path(uri)
            words = [
                f"{key}={path.parent}",
                *([f"{include}={escape(path.name)}"] if include else []),
            ]
            raise ConfigError(
                f"{key}={uri} is a file; expected a folder or an s3:// URI: write "
                f"{shlex.join(words)}"
            )
    uri = getattr(config, job.target)
    if job.writes == "file":
        if not uri.startswith("s3://") and Path(uri).is_dir():
            raise ConfigError(f"{job.target}={uri} is a folder; expected a file: add its name")
    elif _is_file(uri):
        raise ConfigError(
            f"{job.target}={uri} is a file; expected a folder, which is made if there is none, or "
            "an s3:// URI: name another"
        )


def _is_file(uri: str) -> bool:
    if not uri or uri.startswith("s3://"):
        return False
    path = Path(open_store(uri).uri)
    with suppress(OSError):
        return path.exists() and not path.is_dir()
    return False
