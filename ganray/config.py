"""Configuration: a YAML file, then `section.key=value` arguments, into one frozen model.

A component's section is a `Section` that stands beside the component; a job composes
sections. This module knows none of them: it loads, explains, writes and digests any.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ganray.errors import ConfigError


class Section(BaseModel):
    """Parent of every configuration class: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


SectionT = TypeVar("SectionT", bound=Section)

DEFAULT_REGISTRY = "ganray-output/registry"


@dataclass(frozen=True)
class FieldHelp:
    """One configurable key as `--help` shows it."""

    key: str
    default: str
    description: str
    expected: str = ""
    """The values that it takes, in words; empty where its description alone says so."""


def load_config(model: type[SectionT], arguments: Sequence[str]) -> SectionT:
    """Build `model` from an optional leading YAML file and `key=value` arguments, which win.

    Raises ConfigError for an unreadable file, an unknown key, one that is given twice, or a value
    of the wrong type.
    """
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        key, equals, value = argument.partition("=")
        if equals:
            if key in given:
                raise ConfigError(
                    f"{key} is given twice, as {given[key]!r} and as {value!r}; leave one of them "
                    "out"
                )
            given[key] = value
            _assign(values, key, value if _is_text(model, key) else _parse_value(key, value))
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
        known = {field.key: field for field in describe(model)}
        # Each branch of a union has a fault of its own, of one and the same value.
        faults = dict.fromkeys(f"  {_explain(fault, known, values)}" for fault in error.errors())
        raise ConfigError("\n".join(["the configuration is not valid:", *faults])) from None


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
        expected = _expected(field.annotation, field.metadata)
        yield FieldHelp(key, json.dumps(default, default=str), description, expected)


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


def _parse_value(key: str, text: str) -> Any:
    """YAML for numbers, booleans and lists; any other text stays as it was typed.

    Raises ConfigError for what begins as a list or as quoted text and does not end so.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        if _is_unfinished(text):
            why = getattr(error, "problem", None) or "not YAML"
            raise ConfigError(
                f"{key}: the value {text} does not parse ({why}); expected text, or YAML as in "
                f'\'{key}=["first", "second"]\', in quotes for the shell'
            ) from None
        return text
    return value if isinstance(value, bool | int | float | list | dict) else text


def _is_unfinished(text: str) -> bool:
    """Whether text that YAML refuses was meant as YAML: a glob such as `[ab]*.png` was not."""
    closing = {"[": "]", "{": "}", '"': '"', "'": "'"}.get(text[:1])
    if closing is None:
        return False
    return (
        text.endswith(closing) or text.count(text[0]) != text.count(closing) or closing == text[0]
    )


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


def _expected(annotation: Any, constraints: Iterable[Any] = ()) -> str:
    """The values of a type in words; empty if only its own validator knows them."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if annotation in words:
        return words[annotation] + _range(constraints)
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [c for part in parts[1:] for c in getattr(part, "metadata", [part])]
        return _expected(parts[0], inner)
    if origin is Literal:
        *others, last = map(str, parts)
        return f"{', '.join(others)} or {last}" if others else last
    if origin in (Union, UnionType):
        each = [_expected(part) for part in parts]
        return ", or ".join(each) if all(each) else ""
    if origin is tuple:
        number = "" if parts[-1] is Ellipsis else f" of {len(parts)}"
        item = _expected(parts[0])
        return f"a list{number}, each item {item}" if item else f"a list{number}"
    return ""


def _range(constraints: Iterable[Any]) -> str:
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    found = {n: getattr(c, n) for c in constraints for n in words if hasattr(c, n)}
    if found.keys() == {"ge", "le"}:
        return f" from {found['ge']} to {found['le']}"
    limits = " and ".join(f"{words[name]} {limit}" for name, limit in found.items())
    return limits and f" {limits}"


def _explain(fault: ErrorDetails, known: Mapping[str, FieldHelp], values: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_nearest_key(key, list(known))}"
    if fault["type"] == "missing":
        return f"{key}: no value given; expected one"
    message = fault["msg"].removeprefix("Value error, ")
    if not key:
        return message
    below = [name for name in known if name.startswith(f"{key}.")]
    if below and fault["type"] != "value_error":
        keys = ", ".join(below)
        return f"{key}: found {fault['input']!r}; it is a section, expected one of its keys: {keys}"
    field = next((known[k] for k in known if f"{key}.".startswith(f"{k}.")), None)
    # Of a list whose items are sections, the part that is at fault says more than the whole.
    is_list = field is not None and field.expected.startswith("a list")
    if field and is_list and key != field.key and "each item" not in field.expected:
        return f"{key}: {_in_own_words(message, fault['input'])}"
    if field is None or not field.expected or fault["type"] == "value_error":
        return f"{key}: {_in_own_words(message, fault['input'])}"
    found = _value_at(values, field.key, fault["input"])
    return f"{field.key}: found {found!r}; expected {field.expected}. {field.description}".rstrip()


def _in_own_words(message: str, found: Any) -> str:
    """A validator's message; it may name what was found, and a mapping is too long to show."""
    if repr(found) in message or isinstance(found, dict):
        return message
    message = message.replace("Input should be ", "expected ", 1)
    return f"found {found!r}; {message[:1].lower()}{message[1:]}"


def _value_at(values: Any, key: str, otherwise: Any) -> Any:
    """The whole value that was given, where a fault names a part of it."""
    for name in key.split("."):
        if not isinstance(values, dict) or name not in values:
            return otherwise
        values = values[name]
    return values


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


def default_registry() -> str:
    """The registry of this environment: GANRAY_REGISTRY, or a folder beside other outputs."""
    return os.environ.get("GANRAY_REGISTRY") or DEFAULT_REGISTRY
