"""What a registry holds, name by name, as far as it can be read."""

from dataclasses import dataclass

from ganray.errors import RegistryError
from ganray.pipelines.archives import absolute_uri
from ganray.registry import (
    Card,
    Change,
    list_names,
    list_versions,
    open_name,
    read_card,
    read_pointer,
)
from ganray.storage import Store


@dataclass(frozen=True)
class NameListing:
    """One name: its current version, all whole ones, every change; what is wrong, if anything."""

    name: str
    current: str
    versions: tuple[Card, ...]
    history: tuple[Change, ...]
    problem: str = ""


def list_registry(registry: str) -> list[NameListing]:
    """Every name of a registry. What is damaged is told, and the rest is listed all the same."""
    registry = absolute_uri(registry)
    return [_list_name(open_name(registry, name), name) for name in list_names(registry)]


def _list_name(store: Store, name: str) -> NameListing:
    problems: list[str] = []
    cards: list[Card] = []
    for version in list_versions(store):
        try:
            cards.append(read_card(store, version))
        except RegistryError as error:
            problems.append(str(error))
    try:
        pointer = read_pointer(store)
    except RegistryError as error:
        return NameListing(name, "", tuple(cards), (), "; ".join([*problems, str(error)]))
    if pointer is None:
        problems.append("nothing is current: its first promotion did not end; promote again")
        return NameListing(name, "", tuple(cards), (), "; ".join(problems))
    if pointer.version not in list_versions(store):
        problems.append(f"{pointer.version} is current, and is not there: roll back")
    problem = "; ".join(problems)
    return NameListing(name, pointer.version, tuple(cards), pointer.history, problem)
