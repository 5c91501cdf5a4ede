"""Which version of a name is current, and every change that led to it."""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from ganray.claim import Claim
from ganray.errors import ConfigError, NotFoundError, RegistryError
from ganray.registry.versions import (
    Card,
    Figures,
    encode_json,
    read_card,
    read_version,
    what_stands,
)
from ganray.storage import Store

CURRENT_KEY = "current.json"


@dataclass(frozen=True)
class Change:
    """One change of what is current, and the figures or the reason for it."""

    version: str
    action: Literal["promoted", "rolled_back"]
    time: str
    replaced: str = ""
    figures: Figures = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Pointer:
    """The current version of a name: that of the last change."""

    history: tuple[Change, ...]

    @property
    def version(self) -> str:
        return self.history[-1].version

    @property
    def previous(self) -> str:
        """The version that a rollback leads to; empty where there was none.

        A rollback takes back the promotions since that version, so that a second one goes further
        back, not forth.
        """
        stack: list[str] = []
        for change in self.history:
            if change.action == "rolled_back" and change.version in stack:
                while stack.pop() != change.version:
                    pass
            stack.append(change.version)
        return stack[-2] if len(stack) > 1 else ""


def read_pointer(store: Store) -> Pointer | None:
    """What is current under a name; None where nothing was ever promoted.

    Raises RegistryError if the pointer is damaged.
    """
    try:
        content = json.loads(store.read(CURRENT_KEY))
        changes = tuple(Change(**change) for change in content["history"])
        if not changes or changes[-1].version != content["version"]:
            raise ValueError("its version is not that of its last change")
    except NotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise RegistryError(
            f"{store.uri}/{CURRENT_KEY} is damaged ({error}), so that nothing is known to be "
            f"current; put it back from a copy. {what_stands(store, rollback=False)}"
        ) from error
    return Pointer(changes)


def find_incumbent(store: Store, scale: int, bands: int) -> tuple[Pointer | None, Card | None]:
    """What is current under a name, if anything, whole and comparable with a candidate.

    Raises RegistryError where it is gone or damaged, ConfigError where it does something else.
    """
    pointer = read_pointer(store)
    if pointer is None:
        return None, None
    read_version(store, pointer.version)
    card = read_card(store, pointer.version)
    if (card.scale, card.bands) != (scale, bands):
        raise ConfigError(
            f"the candidate is x{scale} with {bands} bands, and what is current under {store.uri} "
            f"is x{card.scale} with {card.bands}; generators of one scale and one band count are "
            "compared: promote it under a name of its own"
        )
    return pointer, card


def make_current(store: Store, claim: Claim, before: Pointer | None, change: Change) -> Pointer:
    """Replace the pointer that was `before`. Raises RegistryError if another change came between.

    The version is whole; the caller holds the claim on the name.
    """
    if claim.lost or read_pointer(store) != before:
        raise RegistryError(
            f"{store.uri} was changed by another run while this one was at work; nothing was "
            "made current. Run again"
        )
    earlier = before.history if before else ()
    change = replace(change, replaced=before.version if before else "")
    pointer = Pointer((*earlier, change))
    content = {"version": pointer.version, "history": [asdict(c) for c in pointer.history]}
    store.write(CURRENT_KEY, encode_json(content))
    return pointer


def choose_rollback(store: Store, pointer: Pointer | None, version: str) -> str:
    """The version to go back to: the one asked for, or the one before; it is whole.

    Raises RegistryError where there is none.
    """
    if pointer is None:
        raise RegistryError(
            f"{store.uri} has no current version, so that there is nothing to roll back; promote "
            "a generator by ganray promote"
        )
    target = version or pointer.previous
    if not target:
        raise RegistryError(
            f"{store.uri} has no version before {pointer.version}, the first that was promoted; "
            "promote another before going back"
        )
    if target == pointer.version:
        raise RegistryError(
            f"{store.uri}: {target} is current already. {what_stands(store, target)}"
        )
    read_version(store, target)
    return target
