"""A folder as a store: atomic writes, sorted listing, keys that stay below the root.

Symbolic links are followed, since archives are often assembled from them: only keys are
confined to the root, not what its owner links into it.
"""

import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ganray.errors import NotFoundError, StorageError
from ganray.storage.folder_files import (
    PARTIAL_PREFIX,
    FolderMultipart,
    explained,
    remove_partials,
    replace,
)
from ganray.storage.store import Multipart, ObjectInfo, check_key, check_range

_log = logging.getLogger(__name__)

MAX_NAME_BYTES = 255


class FolderStore:
    """Files below one folder, which is created by the first write."""

    def __init__(self, root: str) -> None:
        # Absolute, since a worker's current folder is another one.
        self.root = Path(root).absolute()
        self.uri = str(self.root)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the files whose key begins with `prefix`, in S3's order of keys.

        A name that is not UTF-8 is listed with its bytes as surrogates, as Python reads it.
        """
        # Straight to the folder that the prefix names: those above it may be huge.
        folder = prefix[: prefix.rfind("/") + 1]
        above = self._folders_above(folder)
        if above is not None:
            yield from self._walk(folder, prefix, above)

    def stat(self, key: str) -> ObjectInfo:
        """Describe one file, or raise `NotFoundError`."""
        path = self._path(key)
        with explained("stat", path):
            status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NotFoundError(f"{path}: not a file; check the key")
        return _info(key, status)

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes [start, end) that exist."""
        check_range(start, end)
        # Opening a pipe would wait for its writer for ever; stat refuses it.
        self.stat(key)
        path = self._path(key)
        with explained("read", path), path.open("rb") as file:
            file.seek(start)
            return file.read() if end is None else file.read(max(0, end - start))

    def write(self, key: str, data: bytes) -> ObjectInfo:
        """Write a hidden file beside the target, then rename it over the target."""
        path = self._path(key)
        with explained("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return _info(key, replace(path, lambda file: file.write(data)))

    def multipart(self, key: str) -> Multipart:
        """Begin a file in parts, kept in a hidden folder beside the target."""
        return FolderMultipart(key, self._path(key), self._path)

    def delete(self, key: str) -> None:
        """Remove a file; one that is absent already is fine."""
        path = self._path(key)
        with explained("delete", path):
            if path.is_dir() and not path.is_symlink():
                return
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()

    def abort_unfinished(self, older_than_seconds: float = 0.0) -> int:
        """Remove what killed writers left behind; links are not followed."""
        return remove_partials(self.root, time.time() - older_than_seconds)

    def require_key(self, key: str) -> None:
        """Raise StorageError unless a folder could hold a file of this key."""
        self._path(key)
        longest = max(len(os.fsencode(part)) for part in key.split("/"))
        if longest > MAX_NAME_BYTES:
            raise StorageError(
                f"{self.root}: a name of {longest} bytes in the key {key!r}, and a folder holds "
                f"names of {MAX_NAME_BYTES}; shorten it"
            )

    def _path(self, key: str) -> Path:
        check_key(key)
        parts = key.split("/")
        if any(_is_reserved(part) for part in parts):
            raise StorageError(
                f"{self.root}: a folder cannot hold the key {key!r}; expected names between "
                f"single '/', none of them '.' or beginning with {PARTIAL_PREFIX!r}"
            )
        return self.root.joinpath(*parts)

    def _folders_above(self, folder: str) -> frozenset[tuple[int, int]] | None:
        """Identify the folders above one, which ends in "/"; None if no key is below it."""
        path, above = self.root, frozenset[tuple[int, int]]()
        with explained("list", path):
            identity = _identity(path)
            for name in folder.split("/")[:-1]:
                path = path / name
                if identity in above or name == ".." or _is_reserved(name) or not path.is_dir():
                    return None
                above |= {identity}
                identity = _identity(path)
        return above

    def _walk(
        self, folder: str, prefix: str, above: frozenset[tuple[int, int]]
    ) -> Iterator[ObjectInfo]:
        path = self.root / folder
        with explained("list", path):
            identity = _identity(path)
            names = _sorted_names(path)
        if identity in above:
            _log.warning("event=skipped path=%r reason=%r", str(path), "link to a folder above")
            return
        for name in names:
            key = folder + name
            if not key.startswith(prefix):
                continue
            if name.endswith("/"):
                yield from self._walk(key, prefix, above | {identity})
            else:
                yield from _listed(key, f"{path}/{name}")


def _is_reserved(name: str) -> bool:
    return name in ("", ".") or name.startswith(PARTIAL_PREFIX)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _sorted_names(path: Path) -> list[str]:
    """Read a folder; folders get a final "/", which puts keys in the order of S3.

    Names alone, because a folder may hold a million files.
    """
    with os.scandir(path) as entries:
        return sorted(
            entry.name + ("/" if _is_folder(entry) else "")
            for entry in entries
            if not entry.name.startswith(PARTIAL_PREFIX)
        )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself; `_listed` reports it.
        return False


def _listed(key: str, path: str) -> Iterator[ObjectInfo]:
    """Yield the file's description, or nothing for what cannot be read as a file."""
    try:
        # No Path: making one takes longer than the call.
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        _log.warning("event=skipped path=%r reason=%r", path, error.strerror)
        return
    if stat.S_ISREG(status.st_mode):
        yield _info(key, status)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}")
