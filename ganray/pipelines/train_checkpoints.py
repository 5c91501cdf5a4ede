"""Checkpoints in the output of a training: found, verified, stored, and removed when two newer
ones stand."""

import logging
from dataclasses import dataclass

from ganray.errors import DamagedError, NotFoundError, StorageError
from ganray.storage import ObjectInfo, Store
from ganray.training.state import require_whole

NUM_KEPT_CHECKPOINTS = 2
PREFIX = "checkpoints/"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundCheckpoint:
    """The newest checkpoint that is whole, and the keys of newer ones that are not."""

    key: str
    data: bytes
    damaged: tuple[str, ...]


def list_checkpoints(store: Store) -> list[ObjectInfo]:
    """States of a training, oldest first."""
    try:
        infos = [info for info in store.list(PREFIX) if info.key.endswith(".pt")]
    except NotFoundError:
        return []
    return sorted(infos, key=checkpoint_step)


def checkpoint_step(info: ObjectInfo) -> int:
    """The step that a state's key names."""
    return int(info.key.removesuffix(".pt").rpartition("-")[2])


def find_checkpoint(store: Store) -> FoundCheckpoint | None:
    """Read the newest checkpoint that is whole; None where there is none at all.

    Raises DamagedError if there are checkpoints and none of them is whole: what is left of a
    long training is not thrown away in silence.
    """
    damaged: list[str] = []
    for info in reversed(list_checkpoints(store)):
        data = store.read(info.key)
        try:
            require_whole(data, f"{store.uri}/{info.key}")
        except DamagedError as error:
            _log.warning("event=damaged_checkpoint key=%r cause=%r", info.key, str(error))
            damaged.append(info.key)
            continue
        return FoundCheckpoint(info.key, data, tuple(damaged))
    if damaged:
        raise DamagedError(
            f"{store.uri} holds the checkpoints {', '.join(damaged)}, and none of them is whole. "
            "Copy one again, or set resume=false to start anew"
        )
    return None


def store_checkpoint(store: Store, step: int, data: bytes) -> str:
    """Store a state, look whether it stands, and only then remove older ones; return its key.

    Newer ones go too: they are damaged, or of a future that was given up.
    """
    key = f"{PREFIX}step-{step:08d}.pt"
    write_verified(store, key, data)
    infos = list_checkpoints(store)
    until_now = [info for info in infos if checkpoint_step(info) <= step]
    kept = {info.key for info in until_now[-NUM_KEPT_CHECKPOINTS:]}
    for info in infos:
        if info.key not in kept:
            store.delete(info.key)
    return key


def write_verified(store: Store, key: str, data: bytes) -> None:
    """Write an object and ask the store for it. Raises StorageError unless all of it stands."""
    store.write(key, data)
    found = store.stat(key).num_bytes
    if found != len(data):
        raise StorageError(
            f"{store.uri}/{key} holds {found} bytes after {len(data)} were written; check the "
            "store's free space and quota"
        )
