"""A registry: what is current is always whole, and every change can be taken back."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganray.claim import Claim, claimed
from ganray.errors import ClaimedError, ConfigError, RegistryError, StorageError
from ganray.registry import (
    Change,
    Pointer,
    add_version,
    choose_rollback,
    list_names,
    list_versions,
    locate,
    make_current,
    open_name,
    parse_reference,
    read_card,
    read_pointer,
    read_version,
)
from ganray.storage import Store, open_store
from tests.unit.memory_store import MemoryStore
from tests.unit.registry.generators import tiny


def promote(store: Store, seed: int, time: str = "now") -> str:
    """Make a tiny generator current, as a promotion that passed its gate does."""
    checkpoint, data = tiny(seed)
    with claimed(store, f"promote-{seed}") as claim:
        before = read_pointer(store)
        card = add_version(store, checkpoint, data, time=time, figures={})
        return make_current(store, claim, before, Change(card.version, "promoted", time)).version


def roll_back(store: Store, version: str = "") -> str:
    with claimed(store, "rollback") as claim:
        before = read_pointer(store)
        target = choose_rollback(store, before, version)
        return make_current(store, claim, before, Change(target, "rolled_back", "now")).version


@pytest.fixture
def registry(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


def photos(registry: str) -> Store:
    return open_name(registry, "photos")


def current(registry: str) -> str:
    return locate(registry, parse_reference("registry:photos"))[1]


def test_what_is_promoted_is_current_and_comes_back_byte_for_byte(registry: str) -> None:
    for seed in (1, 2):
        version = promote(photos(registry), seed)
        assert current(registry) == version
        assert read_version(photos(registry), version) == tiny(seed)[1]
    assert list_names(registry) == ["photos"]


def test_versions_sort_by_their_promotion_and_name_their_generator(registry: str) -> None:
    versions = [promote(photos(registry), seed) for seed in range(12)]
    assert versions == sorted(versions) == list_versions(photos(registry))
    for seed, version in enumerate(versions):
        assert version.partition("-")[2] == tiny(seed)[0].digest[:8]


def test_the_same_generator_is_the_same_version_whenever_it_is_promoted(registry: str) -> None:
    first = promote(photos(registry), 1, "monday")
    promote(photos(registry), 2)
    assert promote(photos(registry), 1, "tuesday") == first
    assert read_card(photos(registry), first).time == "monday"
    assert len(list_versions(photos(registry))) == 2


def test_two_generators_whose_digests_begin_alike_are_two_versions() -> None:
    store = MemoryStore()
    first = promote(store, 1)
    card = json.loads(store.objects[f"versions/{first}/card.json"])
    card["digest"] = card["digest"][:8] + "0" * 8
    store.objects[f"versions/{first}/card.json"] = json.dumps(card).encode()
    assert promote(store, 1) != first


def test_where_nothing_was_promoted_a_rollback_says_how_to(registry: str) -> None:
    with pytest.raises(RegistryError, match=r"nothing to roll back; promote .* ganray promote"):
        roll_back(photos(registry))


def test_figures_that_are_not_finite_are_refused_with_where_to_look(registry: str) -> None:
    checkpoint, data = tiny(1)
    figures = {"candidate": {"psnr_y": float("nan")}}
    with pytest.raises(RegistryError, match=r"is not finite .*metrics\.json.* promote again"):
        add_version(photos(registry), checkpoint, data, time="now", figures=figures)


def test_a_rollback_after_another_goes_further_back(registry: str) -> None:
    first, second, third = (promote(photos(registry), seed) for seed in (1, 2, 3))
    assert [roll_back(photos(registry)) for _ in range(2)] == [second, first]
    with pytest.raises(RegistryError, match=f"no version before {first}"):
        roll_back(photos(registry))
    assert roll_back(photos(registry), third) == third
    with pytest.raises(RegistryError, match=f"{third} is current already. .*{first}, {second}"):
        roll_back(photos(registry), third)
    pointer = read_pointer(photos(registry))
    assert pointer is not None
    assert [change.replaced for change in pointer.history] == [
        *("", first, second, third, second, first)
    ]


@given(st.lists(st.sampled_from("abcd<"), min_size=1, max_size=12))
def test_rollbacks_follow_a_stack_of_promotions(moves: list[str]) -> None:
    stack: list[str] = []
    history: tuple[Change, ...] = ()
    for move in moves:
        if stack and move == stack[-1]:
            continue  # Nothing that is current is promoted again.
        if move != "<":
            stack.append(move)
            history += (Change(move, "promoted", ""),)
        elif history and (target := Pointer(history).previous):
            assert target == stack[-2]
            stack.pop()
            history += (Change(target, "rolled_back", ""),)
        if history:
            assert Pointer(history).version == stack[-1]


@pytest.mark.parametrize("num_good", range(3))
def test_a_store_that_fails_at_any_write_leaves_the_pointer_sound(num_good: int) -> None:
    store = MemoryStore()
    before = promote(store, 1)
    num_written = 0

    def fail(action: str, key: str) -> None:
        nonlocal num_written
        if action == "write" and "claims" not in key:
            num_written += 1
            if num_written > num_good:
                raise StorageError(f"{key}: the store is gone")

    with pytest.raises(StorageError, match="the store is gone"):
        promote(store.seen_by(fail), 2)
    pointer = read_pointer(store)
    assert pointer is not None
    assert pointer.version == before
    assert read_version(store, before) == tiny(1)[1]
    after = promote(store, 2)
    assert after.startswith("0002-")
    assert read_version(store, after) == tiny(2)[1]
    assert list_versions(store) == [before, after]


def test_of_two_promotions_at_once_the_second_is_told_so(registry: str) -> None:
    with claimed(photos(registry), "first"), pytest.raises(ClaimedError, match="another run"):
        promote(photos(registry), 2)


def test_a_change_that_came_between_is_not_overwritten() -> None:
    store = MemoryStore()
    promote(store, 1)
    before = read_pointer(store)
    promote(store, 2)
    with claimed(store, "late") as claim, pytest.raises(RegistryError, match="another run"):
        make_current(store, claim, before, Change("0001-00000000", "promoted", "now"))


def test_whoever_lost_the_claim_changes_nothing() -> None:
    store = MemoryStore()
    promote(store, 1)
    before = read_pointer(store)
    with claimed(store, "slow") as claim:
        assert isinstance(claim, Claim)
        claim.lost = True
        with pytest.raises(RegistryError, match="nothing was made current"):
            make_current(store, claim, before, Change("0001-00000000", "promoted", "now"))
    assert read_pointer(store) == before


def test_a_pointer_to_a_deleted_version_names_the_others_and_the_way_back(registry: str) -> None:
    first, second = (promote(photos(registry), seed) for seed in (1, 2))
    for name in ("generator.safetensors", "card.json"):
        photos(registry).delete(f"versions/{second}/{name}")
    with pytest.raises(RegistryError, match=f"photos@{second}.* is not there") as refused:
        read_version(photos(registry), current(registry))
    command = f"ganray registry {registry} --rollback photos@{first}"
    assert command in str(refused.value)
    assert roll_back(photos(registry)) == first


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("card.json", b'{"version": ', "damaged card"),
        ("card.json", b'{"version": "1"}', "damaged card"),
        ("card.json", b"\xff", "damaged card"),
        ("generator.safetensors", b"other bytes", "its generator has the SHA-256"),
        ("generator.safetensors", None, "has a card and no generator"),
    ],
)
def test_a_damaged_version_is_refused_and_written_again_by_a_promotion(
    name: str, content: bytes | None, expected: str, registry: str
) -> None:
    version = promote(photos(registry), 1)
    key = f"versions/{version}/{name}"
    if content is None:
        photos(registry).delete(key)
    else:
        photos(registry).write(key, content)
    with pytest.raises(RegistryError, match=expected):
        read_version(photos(registry), version)
    assert promote(photos(registry), 1) == version
    assert read_version(photos(registry), version) == tiny(1)[1]


def test_a_card_of_another_version_is_refused(registry: str) -> None:
    first, second = (promote(photos(registry), seed) for seed in (1, 2))
    card = photos(registry).read(f"versions/{first}/card.json")
    photos(registry).write(f"versions/{second}/card.json", card)
    with pytest.raises(RegistryError, match=f"has the card of {first}"):
        read_version(photos(registry), second)


def test_a_rollback_to_what_is_damaged_is_refused(registry: str) -> None:
    first, second = (promote(photos(registry), seed) for seed in (1, 2))
    photos(registry).write(f"versions/{first}/generator.safetensors", b"other bytes")
    with pytest.raises(RegistryError, match="is damaged"):
        roll_back(photos(registry))
    assert current(registry) == second


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": "1", "history": []}', b"\xff"])
def test_a_damaged_pointer_says_which_versions_there_are(content: bytes, registry: str) -> None:
    version = promote(photos(registry), 1)
    photos(registry).write("current.json", content)
    with pytest.raises(RegistryError, match=f"is damaged.*{version}"):
        current(registry)


def test_a_first_promotion_that_did_not_end_says_so(registry: str) -> None:
    checkpoint, data = tiny(1)
    add_version(photos(registry), checkpoint, data, time="now", figures={})
    with pytest.raises(RegistryError, match="promote again"):
        current(registry)
    assert promote(photos(registry), 1) == current(registry)


@pytest.mark.parametrize("reference", ["registry:photo", "registry:photo@0001-00000000"])
def test_an_unknown_name_is_answered_with_the_nearest(reference: str, registry: str) -> None:
    promote(photos(registry), 1)
    with pytest.raises(ConfigError, match="did you mean 'photos'"):
        locate(registry, parse_reference(reference))


def test_an_empty_registry_says_how_to_fill_it(registry: str) -> None:
    with pytest.raises(ConfigError, match="ganray promote"):
        current(registry)


@pytest.mark.parametrize("text", ["registry:", "registry:a/b", "registry:..", ""])
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected registry:NAME"):
        parse_reference(text)


def test_a_version_that_is_cut_off_is_answered_with_the_form_of_one() -> None:
    with pytest.raises(ConfigError, match="version '0001'; expected a whole one such as 0001-"):
        parse_reference("registry:a@0001")


def test_other_files_beside_a_registry_are_no_names(registry: str) -> None:
    promote(photos(registry), 1)
    open_store(registry).write("notes/readme.txt", b"")
    open_store(registry).write("current.json", b"")
    assert list_names(registry) == ["photos"]
