import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BeforeValidator, Field

from ganray.config import (
    FieldHelp,
    Section,
    build_config,
    choose,
    describe,
    digest,
    load_config,
    to_yaml,
)
from ganray.errors import ConfigError

few_examples = settings(max_examples=50, deadline=None)
# Neither YAML nor a command line can carry control characters or lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


class Workers(Section):
    """A nested section."""

    min: int = 0
    """Fewest workers."""
    max: int = 4
    """Most workers,
    over all machines."""
    name: str = "pool"
    """Their name."""


def _shape(value: str) -> str:
    try:
        return choose("shape", value, ["square"])
    except ConfigError as error:
        raise ValueError(str(error)) from None


class Job(Section):
    """A configuration with one field of each kind."""

    source: str = "archive"
    """Where from."""
    window_pixels: int = 2048
    """Side of a window."""
    learning_rate: float = 2e-4
    """How fast."""
    overwrite: bool = False
    """Whether."""
    precision: Literal["auto", "float32"] = "auto"
    """Which."""
    include: tuple[str, ...] = ("*",)
    """Globs."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Part."""
    bands: Literal["all"] | tuple[Annotated[int, Field(gt=0)], ...] = "all"
    """Which bands."""
    shape: Annotated[str, BeforeValidator(_shape)] = "square"
    """Which form."""
    workers: Workers = Workers()


class Required(Section):
    """A field without a default."""

    source: str


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def write_file(content: str) -> str:
        path = tmp_path / "job.yaml"
        path.write_text(content, encoding="utf-8")
        return str(path)

    return write_file


def refusal(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(Job, arguments)
    return str(caught.value)


def test_no_argument_gives_the_defaults() -> None:
    assert load_config(Job, []) == Job()


def test_a_file_changes_what_it_names_and_arguments_win(write: Callable[[str], str]) -> None:
    path = write("window_pixels: 512\nsource: from file\nworkers: {min: 2, max: 3}\n")
    job = load_config(Job, [path, "source=from argument", "workers.max=8"])
    assert job == Job(window_pixels=512, source="from argument", workers=Workers(min=2, max=8))


def test_a_key_given_twice_is_refused_with_both_values() -> None:
    message = refusal("window_pixels=1", "source=a", "window_pixels=2")
    assert "window_pixels" in message and "'1'" in message and "'2'" in message


def test_an_empty_file_changes_nothing(write: Callable[[str], str]) -> None:
    assert load_config(Job, [write("# nothing but a comment\n")]) == Job()


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("window_pixels=512", "window_pixels", 512),
        ("learning_rate=1e-4", "learning_rate", 1e-4),
        ("learning_rate=3", "learning_rate", 3.0),
        ("overwrite=true", "overwrite", True),
        ("precision=float32", "precision", "float32"),
        ("include=[a*, 'b c']", "include", ("a*", "b c")),
        ("source=", "source", ""),
        ("source=null", "source", "null"),
        ("source=s3://bucket/prefix?a=b", "source", "s3://bucket/prefix?a=b"),
        ("source=C: drive", "source", "C: drive"),
        ("source=12:30", "source", "12:30"),
        ("source=roll #7", "source", "roll #7"),
        ("source=7 # seven", "source", "7 # seven"),
        ("source=- dash", "source", "- dash"),
        ("source='quoted'", "source", "'quoted'"),
        ("source=[unclosed", "source", "[unclosed"),
        ("source=2024-01-31", "source", "2024-01-31"),
        ("source=*.png", "source", "*.png"),
        ("source=2024", "source", "2024"),
        ("source=010", "source", "010"),
        ("source=on", "source", "on"),
        ("source=[a]", "source", "[a]"),
        ("workers.name=1.10", "workers", Workers(name="1.10")),
    ],
)
def test_an_argument_is_read_as_its_field_means_it(argument: str, name: str, value: object) -> None:
    assert getattr(load_config(Job, [argument]), name) == value


@few_examples
@given(st.sampled_from(["a: b", "x #y", "s3://b/c", "k: [v", "#1"]), texts)
def test_text_with_a_colon_or_a_hash_is_kept_as_it_was_typed(mark: str, text: str) -> None:
    assert load_config(Job, [f"source=/{text}{mark}"]).source == f"/{text}{mark}"


@pytest.mark.parametrize(
    ("argument", "key", "nearest"),
    [
        ("window_pixel=1", "window_pixel", "window_pixels"),
        ("worker.max=1", "worker", "workers"),
        ("workers.maxx=1", "workers.maxx", "workers.max"),
        ("workers.maximum=1", "workers.maximum", "workers.max"),
        ("max=1", "max", "workers.max"),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest_neighbour(
    argument: str, key: str, nearest: str
) -> None:
    assert f"unknown key {key!r}; did you mean {nearest!r}?" in refusal(argument)


def test_an_unknown_key_unlike_all_others_lists_the_known_ones() -> None:
    message = refusal("zzz=1")
    assert all(field.key in message for field in describe(Job))


def test_every_fault_is_named_at_once() -> None:
    message = refusal("window_pixel=1", "workers.max=many", "precision=half")
    assert "'window_pixel'" in message
    assert "workers.max: found 'many'" in message
    assert "precision: found 'half'" in message


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (
            "workers.max=two",
            "workers.max: found 'two'; expected a whole number. Most workers, over",
        ),
        ("precision=half", "precision: found 'half'; expected auto or float32. Which."),
        ("share=2", "share: found 2; expected a number from 0 to 1. Part."),
        ("share=most", "share: found 'most'; expected a number from 0 to 1. Part."),
        ("overwrite=perhaps", "overwrite: found 'perhaps'; expected true or false."),
        ("include=[a, 1]", "include: found ['a', 1]; expected a list, each item text"),
        ("bands=[1, 0]", "bands: found [1, 0]; expected all, or a list, each item a whole number"),
        ("bands=some", "a whole number above 0. Which bands."),
        ("workers=3", "workers: found 3; it is a section, expected one of its keys: workers.min"),
        ("shape=round", "shape: unknown shape 'round'. Known: square"),
    ],
)
def test_a_wrong_value_says_what_was_found_and_what_the_key_takes(
    argument: str, words: str
) -> None:
    message = refusal(argument)
    assert words in message
    assert len(message.splitlines()) == 2
    assert not any(word in message.lower() for word in ("input should", "instance", "parse"))


@pytest.mark.parametrize("value", ['["*.png"', '["*.png]', "[*.png]", "{a: 1", '"*.png'])
def test_a_list_that_does_not_parse_is_refused(value: str) -> None:
    message = refusal(f"include={value}")
    assert f"include: the value {value} does not parse" in message


@pytest.mark.parametrize("glob", ["*.png", "[ab]*.png", "a: b: c", "roll[0-9].png"])
def test_a_glob_is_no_list_that_does_not_parse(glob: str) -> None:
    assert refusal(f"include={glob}").startswith(
        "the configuration is not valid:\n  include: found"
    )


def test_a_field_without_a_value_is_named() -> None:
    with pytest.raises(ConfigError, match="source: no value given"):
        build_config(Required, {})


def test_a_second_file_is_refused() -> None:
    assert "'other.yaml'" in refusal("window_pixels=1", "other.yaml")


@pytest.mark.parametrize(
    ("content", "found"),
    [("- a\n- b\n", "holds a list"), ("text\n", "holds a str"), ("a: [\n", "cannot read")],
)
def test_a_file_that_holds_no_keys_is_refused(
    write: Callable[[str], str], content: str, found: str
) -> None:
    path = write(content)
    message = refusal(path)
    assert found in message and path in message


def test_a_file_that_is_no_text_or_absent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot read" in refusal(str(tmp_path / "binary.yaml"))
    assert "no configuration file" in refusal(str(tmp_path / "absent.yaml"))


@few_examples
@given(
    texts,
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(texts, max_size=3),
    st.integers(),
)
def test_the_resolved_yaml_loads_back_to_an_equal_configuration(
    source: str, window: int, rate: float, include: list[str], workers: int
) -> None:
    job = Job(
        source=source,
        window_pixels=window,
        learning_rate=rate,
        include=tuple(include),
        workers=Workers(max=workers),
    )
    assert build_config(Job, yaml.safe_load(to_yaml(job))) == job


@pytest.mark.parametrize(
    "argument",
    ["source=b", "window_pixels=1", "overwrite=true", "include=[]", "workers.max=1"],
)
def test_the_digest_changes_with_every_value(argument: str) -> None:
    assert digest(load_config(Job, [argument])) != digest(Job())
    assert digest(Workers(), load_config(Job, [argument])) != digest(Workers(), Job())


def test_the_digest_is_sixteen_hex_digits_and_depends_on_values_alone() -> None:
    assert digest(Job()) == digest(load_config(Job, ["window_pixels=2048"]))
    assert len(digest(Job())) == 16 and int(digest(Job()), 16) >= 0
    assert digest(Job(), Workers()) != digest(Workers(), Job())


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Job().source = "other"  # type: ignore[misc]


def test_help_lists_every_field_in_order_with_default_and_description() -> None:
    fields = list(describe(Job))
    assert [field.key for field in fields] == [
        *("source", "window_pixels", "learning_rate", "overwrite", "precision", "include"),
        *("share", "bands", "shape"),
        *("workers.min", "workers.max", "workers.name"),
    ]
    assert fields[-2] == FieldHelp(
        "workers.max", "4", "Most workers, over all machines.", "a whole number"
    )
    assert fields[4].expected == "auto or float32"
    assert [json.loads(field.default) for field in fields[:4]] == ["archive", 2048, 2e-4, False]


def test_help_shows_the_defaults_that_the_owner_of_a_section_gave_it() -> None:
    class Owner(Section):
        """Another default for a nested field, and a section that is chosen by its name."""

        workers: Workers = Workers(max=9)
        chosen: Workers = Field(default="pool", validate_default=True)
        """By name."""

    defaults = {field.key: json.loads(field.default) for field in describe(Owner)}
    assert defaults == {
        **{"workers.min": 0, "workers.max": 9, "workers.name": "pool"},
        "chosen": "pool",
    }


def test_a_choice_is_returned_or_refused_with_the_known_ones() -> None:
    assert choose("recipe", "photo", ["photo", "bicubic"]) == "photo"
    with pytest.raises(ConfigError) as near:
        choose("recipe", "fotos", ["photo", "bicubic"])
    assert str(near.value) == (
        "unknown recipe 'fotos'; did you mean 'photo'? Known: bicubic, photo"
    )
    with pytest.raises(ConfigError) as far:
        choose("recipe", "xyz", ["photo", "bicubic"])
    assert str(far.value) == "unknown recipe 'xyz'. Known: bicubic, photo"
