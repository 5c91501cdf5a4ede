"""A registry: immutable versions of generators by name, and which of them is current.

    NAME/versions/<version>/{generator.safetensors, card.json}
    NAME/current.json        the current version, and every change that led to it

A version is its number and the digest of its network and weights, so that the same generator is
the same version however often it is promoted. Its card is written last: a version without one is
what a crash left, and the next promotion of that generator completes it. `current.json` alone is
ever replaced, as a whole, by whoever holds the claim on the name.

Measures nothing: whether a generator deserves to be current is the gate's to say.
"""

from ganray.registry.names import (
    is_reference,
    list_names,
    locate,
    open_name,
    parse_reference,
    require_name,
)
from ganray.registry.pointer import (
    Change,
    Pointer,
    choose_rollback,
    find_incumbent,
    make_current,
    read_pointer,
)
from ganray.registry.versions import (
    Card,
    Figures,
    add_version,
    list_versions,
    read_card,
    read_version,
    version_uri,
)

__all__ = [
    "Card",
    "Change",
    "Figures",
    "Pointer",
    "add_version",
    "choose_rollback",
    "find_incumbent",
    "is_reference",
    "list_names",
    "list_versions",
    "locate",
    "make_current",
    "open_name",
    "parse_reference",
    "read_card",
    "read_pointer",
    "read_version",
    "require_name",
    "version_uri",
]
