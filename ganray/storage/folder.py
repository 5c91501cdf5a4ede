"""A folder as a store: atomic writes, sorted listing, keys that stay below the root.

Symbolic links are followed, since archives are often assembled from them: only keys are
confined to the root, not what its owner links into it.
"""

import errno
import logging
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from ganray.errors import AccessDeniedError, NotFoundError, StorageError
from ganray.storage.store import (
    Multipart,
    ObjectInfo,
    check_key,
    check_part_number,
    check_range,
)

_log = logging.getLogger(__name__)

PARTIAL_PREFIX = ".ganray-partial-"

_COPY_BYTES = 1 << 20

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FolderStore:
    """Files below one folder, which is created by the first write."""

    def __init__(self, root: str) -> None:
        # Absolute, since a worker's current folder is another one.
        self.root = Path(root).absolute()
        self.uri = str(self.root)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the files whose key begins with `prefix`, in S3's order of keys."""
        return self._walk("", prefix, frozenset())

    def stat(self, key: str) -> ObjectInfo:
        """Describe one file, or raise `NotFoundError`."""
        path = self._path(key)
        with _explained("stat", path):
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
        with _explained("read", path), path.open("rb") as file:
            file.seek(start)
            return file.read() if end is None else file.read(max(0, end - start))

    def write(self, key: str, data: bytes) -> ObjectInfo:
        """Write a hidden file beside the target, then rename it over the target."""
        path = self._path(key)
        with _explained("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            return _info(key, _replace(path, data))

    def multipart(self, key: str) -> Multipart:
        """Begin a file in parts, kept in a hidden folder beside the target."""
        return _FolderMultipart(key, self._path(key))

    def delete(self, key: str) -> None:
        """Remove a file; one that is absent already is fine."""
        path = self._path(key)
        with _explained("delete", path):
            if path.is_dir() and not path.is_symlink():
                return
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()

    def _path(self, key: str) -> Path:
        check_key(key)
        parts = key.split("/")
        if any(part in ("", ".") or part.startswith(PARTIAL_PREFIX) for part in parts):
            raise StorageError(
                f"{self.root}: a folder cannot hold the key {key!r}; expected names between "
                f"single '/', none of them '.' or beginning with {PARTIAL_PREFIX!r}"
            )
        return self.root.joinpath(*parts)

    def _walk(
        self, folder: str, prefix: str, above: frozenset[tuple[int, int]]
    ) -> Iterator[ObjectInfo]:
        path = self.root / folder
        with _explained("list", path):
            status = path.stat()
            entries = _sorted_entries(path)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            _log.warning("event=skipped path=%r reason=%r", str(path), "link to a folder above")
            return
        for name, entry in entries:
            key = folder + name
            # A folder's name ends in "/", so one of the two holds for each folder on the way.
            if name.endswith("/") and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk(key, prefix, above | {identity})
            elif key.startswith(prefix) and not name.endswith("/"):
                yield from _listed(key, entry)


class _FolderMultipart:
    """Parts in a hidden folder, joined and renamed over the target on a clean exit."""

    def __init__(self, key: str, path: Path) -> None:
        self._key = key
        self._path = path
        self._parts = _partial_path(path)

    def __enter__(self) -> "_FolderMultipart":
        with _explained("write", self._path):
            self._parts.mkdir(parents=True)
        return self

    def upload(self, part_number: int, data: bytes) -> None:
        """Store one part, from any thread."""
        check_part_number(self._key, part_number)
        with _explained("write", self._path):
            _replace(self._parts / f"{part_number:05d}", data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with _explained("write", self._path):
                    self._complete()
        finally:
            shutil.rmtree(self._parts, ignore_errors=True)

    def _complete(self) -> None:
        parts = sorted(self._parts.glob("[0-9]*"))
        if not parts:
            raise StorageError(f"{self._path}: no part was uploaded; upload at least one")
        whole = parts[0]
        with whole.open("ab") as target:
            for part in parts[1:]:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, target, _COPY_BYTES)
                # At once, so that the disk never holds the object twice.
                part.unlink()
            target.flush()
            os.fsync(target.fileno())
        whole.replace(self._path)


def _replace(path: Path, data: bytes) -> os.stat_result:
    """Put a file in place at once; after an error only what was there before remains."""
    partial = _partial_path(path)
    try:
        # Not tempfile: its files are private, and an archive is shared.
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            # Without it, a power cut after the rename can leave an empty file.
            os.fsync(file.fileno())
            status = os.fstat(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    return status


def _partial_path(path: Path) -> Path:
    return path.with_name(PARTIAL_PREFIX + uuid.uuid4().hex)


def _sorted_entries(path: Path) -> list[tuple[str, os.DirEntry[str]]]:
    """Read a folder; folders get a final "/", which puts keys in the order of S3."""
    with os.scandir(path) as entries:
        named = [
            (entry.name + ("/" if _is_folder(entry) else ""), entry)
            for entry in entries
            if not entry.name.startswith(PARTIAL_PREFIX)
        ]
    return sorted(named, key=lambda pair: pair[0])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself; `_listed` reports it.
        return False


def _listed(key: str, entry: os.DirEntry[str]) -> Iterator[ObjectInfo]:
    """Yield the file's description, or nothing for what cannot be read as a file."""
    try:
        status = entry.stat()
    except OSError as error:
        _log.warning("event=skipped path=%r reason=%r", entry.path, error.strerror)
        return
    if stat.S_ISREG(status.st_mode):
        yield _info(key, status)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}")


@contextmanager
def _explained(action: str, path: Path) -> Iterator[None]:
    """Turn an operating system's error into ours, with the path and what to do."""
    try:
        yield
    except OSError as error:
        found = f"{path}: cannot {action}: {error.strerror}"
        if error.errno in _ABSENT:
            raise NotFoundError(f"{found}; check that the folder and the file exist") from error
        if error.errno in _DENIED:
            advice = "give this user permission on the folder and its files"
            raise AccessDeniedError(f"{found}; {advice}") from error
        if error.errno in _FULL:
            raise StorageError(f"{found}; free space or raise the quota") from error
        raise StorageError(f"{found}; check the disk or the mount") from error
