"""From `registry:NAME` to the version that it means now."""

import re
from dataclasses import dataclass

from ganray.config import choose
from ganray.errors import ConfigError, RegistryError
from ganray.registry.pointer import CURRENT_KEY, read_pointer
from ganray.registry.versions import VERSION, VERSIONS_PREFIX, list_keys
from ganray.storage import Store, join_uri, open_store

SCHEME = "registry:"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Reference:
    """`registry:NAME`, the current version of a name, or `registry:NAME@VERSION`."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.version}" if self.version else self.name


def is_reference(generator: str) -> bool:
    return generator.startswith(SCHEME)


def parse_reference(text: str) -> Reference:
    """`[registry:]NAME[@VERSION]`. Raises ConfigError."""
    name, at, version = text.removeprefix(SCHEME).partition("@")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{text} names nothing in a registry; expected registry:NAME or registry:NAME@VERSION, "
            "NAME of letters, digits, '.', '_' and '-'"
        )
    if at and not VERSION.fullmatch(version):
        raise ConfigError(
            f"{text}: found the version {version!r}; expected a whole one such as 0001-1a2b3c4d, "
            "as ganray registry lists them"
        )
    return Reference(name, version)


def require_name(name: str) -> None:
    """Raise ConfigError unless a generator may be promoted under it."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a generator; expected up to 100 letters, digits, '.', '_' "
            "and '-', without a version, which is found"
        )


def open_name(registry: str, name: str) -> Store:
    """The store that holds one name's versions; a claim on it is a claim on the name."""
    require_name(name)
    return open_store(join_uri(registry, name))


def list_names(registry: str) -> list[str]:
    """The names in a registry; none where there is no folder yet."""
    return sorted(
        {key.split("/")[0] for key in list_keys(open_store(registry)) if _is_content(key)}
    )


def _is_content(key: str) -> bool:
    name, _, rest = key.partition("/")
    return bool(_NAME.fullmatch(name)) and (rest == CURRENT_KEY or rest.startswith(VERSIONS_PREFIX))


def locate(registry: str, reference: Reference) -> tuple[Store, str]:
    """The store and the exact version that a reference means now.

    Raises ConfigError for an unknown name, RegistryError where nothing is current.
    """
    store = open_name(registry, reference.name)
    if reference.version:
        if CURRENT_KEY not in list_keys(store, CURRENT_KEY):
            _require_name(registry, reference.name)
        return store, reference.version
    pointer = read_pointer(store)
    if pointer is None:
        _require_name(registry, reference.name)
        raise RegistryError(
            f"{store.uri} has no current version: its first promotion did not end; promote again"
        )
    return store, pointer.version


def _require_name(registry: str, name: str) -> None:
    known = list_names(registry)
    if not known:
        raise ConfigError(
            f"the registry {registry} holds no generator; expected one named {name}: promote one "
            "with ganray promote, or name another registry (registry=, GANRAY_REGISTRY)"
        )
    choose(f"generator of the registry {registry}", name, known)
