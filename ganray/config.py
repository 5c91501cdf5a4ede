"""Configuration: a YAML file, then `section.key=value` arguments, into one frozen model.

A component's section is a `Section` that stands beside the component; a job composes
sections. This module knows none of them: it loads, explains, writes and digests any.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ganray.errors import ConfigError


class Section(BaseModel):
    """Parent of every configuration class: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class FieldHelp:
    """One configurable key as `--help` shows it."""

    key: str
    default: str
    description: str


def load_config(model: type[SectionT], arguments: Sequence[str]) -> SectionT:
    """Build `model` from an optional leading YAML file and `key=value` arguments, which win.

    Raises ConfigError for an unreadable file, an unknown key or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    for position, argument in enumerate(arguments):
        key, equals, value = argument.partition("=")
        if equals:
            _assign(values, key, value if _is_text(model, key) else _parse_value(value))
        elif position == 0:
            values = _read_yaml(Path(argument))
        else:
            raise ConfigError(
                f"found the argument {argument!r}; expected at most one YAML file, first, and then "
                "key=value"
            )
    return build_config(model, values)


def build_config(model: type[SectionT], values: dict[str, Any]) -> SectionT:
    """Validate `values` against `model`; every fault is named in one ConfigError."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        known = [field.key for field in describe(model)]
        faults = "\n".join(f"  {_explain(fault, known)}" for fault in error.errors())
        raise ConfigError(f"the configuration is not valid:\n{faults}") from None


def describe(
    model: type[Section], prefix: str = "", *, values: Section | None = None
) -> Iterator[FieldHelp]:
    """Yield every key of `model` with its default and its description, in declared order.

    `values` are the defaults of a section that its owner gave others than its own.
    """
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        default = field.get_default(call_default_factory=True)  # type: ignore[call-arg, unused-ignore]
        if values is not None:
            default = getattr(values, name)
        nested = _section_of(field.annotation)
        # A section whose default is a name is chosen by name: one key.
        if nested is not None and not isinstance(default, str):
            given = default if isinstance(default, Section) else None
            yield from describe(nested, f"{key}.", values=given)
            continue
        if isinstance(default, Section):
            default = default.model_dump(mode="json")
        description = " ".join((field.description or "").split())
        yield FieldHelp(key, json.dumps(default, default=str), description)


def to_yaml(section: Section) -> str:
    """The resolved configuration as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(section.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def digest(*sections: Section) -> str:
    """16 hex digits that change when a value in one of `sections` changes."""
    content = json.dumps([s.model_dump(mode="json") for s in sections], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def choose(kind: str, name: str, known: Sequence[str]) -> str:
    """Return `name` if it is in `known`; else a ConfigError that lists the known ones."""
    if name in known:
        return name
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else "."
    raise ConfigError(f"unknown {kind} {name!r}{hint} Known: {', '.join(sorted(known))}")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"no configuration file {path}; expected a YAML file or key=value arguments"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path} as YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; expected keys with values")
    return values


def _is_text(model: type[Section], key: str) -> bool:
    """Whether `key` names a field of text, whose argument YAML must not take for a number."""
    name, _, rest = key.partition(".")
    if name not in model.model_fields:
        return False
    annotation = model.model_fields[name].annotation
    nested = _section_of(annotation)
    return _is_text(nested, rest) if nested else annotation is str


def _parse_value(text: str) -> Any:
    """YAML for numbers, booleans and lists; any other text stays as it was typed."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, bool | int | float | list | dict) else text


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        nested = values.setdefault(section, {})
        if not isinstance(nested, dict):
            values[section] = nested = {}
        values = nested
    values[leaf] = value


def _section_of(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return None


def _explain(fault: ErrorDetails, known: Sequence[str]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_nearest_key(key, known)}"
    if fault["type"] == "missing":
        return f"{key}: no value given; expected one"
    message = fault["msg"].removeprefix("Value error, ")
    if not key:
        return message
    return f"{key}: found {fault['input']!r}; {message[:1].lower()}{message[1:]}"


def _nearest_key(key: str, known: Sequence[str]) -> str:
    sections = {k.rpartition(".")[0] for k in known} - {""}
    candidates = [*known, *sections]
    nearest = difflib.get_close_matches(key, candidates, n=1, cutoff=0.5)
    if not nearest:
        leaves = {k.rpartition(".")[2]: k for k in known}
        leaf = difflib.get_close_matches(key.rpartition(".")[2], list(leaves), n=1, cutoff=0.5)
        nearest = [leaves[name] for name in leaf]
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    return f"; known: {', '.join(known)}"
