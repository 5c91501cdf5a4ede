"""The immutable versions of one name: a generator's file, and its card."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ganray.errors import NotFoundError, RegistryError
from ganray.models.checkpoint import Checkpoint
from ganray.storage import Store, join_uri

GENERATOR_NAME = "generator.safetensors"
CARD_NAME = "card.json"
VERSIONS_PREFIX = "versions/"
VERSION = re.compile(r"\d{4,}-[0-9a-f]{8}")

Figures = dict[str, dict[str, float | None]]
"""Generator → metric → mean, as a gate measured them."""


@dataclass(frozen=True)
class Card:
    """What a version is: `digest` of its network and weights, `sha256` of its file.

    `training` is the provenance that its training wrote, `figures` what it was first promoted by.
    """

    version: str
    digest: str
    sha256: str
    time: str
    ganray_version: str
    architecture: str
    scale: int
    bands: int
    trained_on: str
    training: dict[str, Any]
    figures: Figures = field(default_factory=dict)


def list_versions(store: Store) -> list[str]:
    """The whole versions of a name, oldest first."""
    return [version for version, is_whole in _versions(store).items() if is_whole]


def _versions(store: Store) -> dict[str, bool]:
    """Versions in order, and whether both files of each are there."""
    files: dict[str, set[str]] = {}
    for key in list_keys(store, VERSIONS_PREFIX):
        version, _, name = key.removeprefix(VERSIONS_PREFIX).partition("/")
        files.setdefault(version, set()).add(name)
    found = sorted((v for v in files if VERSION.fullmatch(v)), key=_number)
    return {version: files[version] >= {GENERATOR_NAME, CARD_NAME} for version in found}


def _number(version: str) -> tuple[int, str]:
    number, _, digest = version.partition("-")
    return int(number), digest


def list_keys(store: Store, prefix: str = "") -> list[str]:
    try:
        return [info.key for info in store.list(prefix)]
    except NotFoundError:
        if store.uri.startswith("s3://"):
            raise
        return []


def version_uri(store: Store, version: str) -> str:
    """The URI of a version's generator."""
    return join_uri(store.uri, f"{VERSIONS_PREFIX}{version}/{GENERATOR_NAME}")


def read_card(store: Store, version: str) -> Card:
    """The card of a version. Raises RegistryError if it is gone or damaged."""
    key = f"{VERSIONS_PREFIX}{version}/{CARD_NAME}"
    try:
        card = Card(**json.loads(store.read(key)))
    except NotFoundError:
        raise RegistryError(f"{_told(store, version)} is not there. {what_stands(store)}") from None
    except (ValueError, TypeError) as error:
        raise RegistryError(
            f"{_told(store, version)} has a damaged card ({error}). {what_stands(store, version)}"
        ) from error
    if card.version != version:
        raise RegistryError(
            f"{_told(store, version)} has the card of {card.version}. {what_stands(store, version)}"
        )
    return card


def read_version(store: Store, version: str) -> bytes:
    """The generator of a version, byte for byte as its card says.

    Raises RegistryError, which names what else there is, if it is gone or damaged.
    """
    card = read_card(store, version)
    try:
        data = store.read(f"{VERSIONS_PREFIX}{version}/{GENERATOR_NAME}")
    except NotFoundError:
        raise RegistryError(
            f"{_told(store, version)} has a card and no generator. {what_stands(store, version)}"
        ) from None
    if (found := hashlib.sha256(data).hexdigest()) != card.sha256:
        raise RegistryError(
            f"{_told(store, version)} is damaged: its generator has the SHA-256 {found[:16]}…, and "
            f"its card says {card.sha256[:16]}…. {what_stands(store, version)}"
        )
    return data


def add_version(
    store: Store, checkpoint: Checkpoint, data: bytes, *, time: str, figures: Figures
) -> Card:
    """Store a generator as a version, or find the version that it is; nothing becomes current.

    `data` is the file of `checkpoint`. The caller holds the claim on the name. What was stored is
    read back. A version of this generator that is damaged or half is written again.
    """
    version = _version_of(store, checkpoint.digest)
    try:
        read_version(store, version)
        return read_card(store, version)
    except RegistryError:
        # Not there, or not whole.
        pass
    card = Card(
        version=version,
        digest=checkpoint.digest,
        sha256=hashlib.sha256(data).hexdigest(),
        time=time,
        ganray_version=checkpoint.version,
        architecture=checkpoint.architecture,
        scale=checkpoint.scale,
        bands=checkpoint.bands,
        trained_on=checkpoint.trained_on,
        training=checkpoint.training,
        figures=figures,
    )
    store.write(f"{VERSIONS_PREFIX}{version}/{GENERATOR_NAME}", data)
    store.write(f"{VERSIONS_PREFIX}{version}/{CARD_NAME}", encode_json(asdict(card)))
    read_version(store, version)
    return card


def _version_of(store: Store, digest: str) -> str:
    """The version that a generator is or will be: its own number, or the next."""
    found = _versions(store)
    for version in found:
        if _number(version)[1] == digest[:8] and _digest_of(store, version) in ("", digest):
            return version
    highest = max((_number(version)[0] for version in found), default=0)
    return f"{highest + 1:04d}-{digest[:8]}"


def _digest_of(store: Store, version: str) -> str:
    """Of its card; empty where there is none that can be read."""
    try:
        return read_card(store, version).digest
    except RegistryError:
        return ""


def _told(store: Store, version: str) -> str:
    registry, _, name = store.uri.rpartition("/")
    return f"{name}@{version} of the registry {registry}"


def what_stands(store: Store, damaged: str = "", *, rollback: bool = True) -> str:
    """Which versions there are, and how to go back to the last of them."""
    registry, _, name = store.uri.rpartition("/")
    standing: Sequence[str] = [v for v in list_versions(store) if v != damaged]
    if not standing:
        return "No other version is there; promote one, or copy it again"
    words = f"Versions that are there: {', '.join(standing)}"
    if not rollback:
        return words
    return f"{words}. Go back with: ganray registry {registry} --rollback {name}@{standing[-1]}"


def encode_json(content: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise RegistryError(
            f"a figure of {content['version']} is not finite ({error}), and was not written; find "
            "the image that it comes from in metrics.json, leave it out, and promote again"
        ) from error
