"""Files of a folder store: put in place at once, joined from parts, errors explained.

Knows paths, not keys. What is not complete stands in hidden names that no listing shows.
"""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ganray.errors import AccessDeniedError, NotFoundError, StorageError
from ganray.storage.store import check_copy, check_part_number

PARTIAL_PREFIX = ".ganray-partial-"

_COPY_BYTES = 1 << 20

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FolderMultipart:
    """Parts in a hidden folder, joined and renamed over the target on a clean exit."""

    def __init__(self, key: str, path: Path, path_of: Callable[[str], Path]) -> None:
        self._key = key
        self._path = path
        self._path_of = path_of
        self._parts = _partial_path(path)

    def __enter__(self) -> "FolderMultipart":
        with explained("write", self._path):
            self._parts.mkdir(parents=True)
        return self

    def upload(self, part_number: int, data: bytes) -> None:
        """Store one part, from any thread."""
        check_part_number(self._key, part_number)
        with explained("write", self._path):
            replace(self._part(part_number), lambda file: file.write(data))

    def copy(self, part_number: int, key: str, start: int, end: int) -> None:
        """Store bytes of another file as one part, from any thread."""
        check_part_number(self._key, part_number)
        check_copy(key, start, end)
        origin = self._path_of(key)
        with explained("copy", origin), origin.open("rb") as source:
            if os.fstat(source.fileno()).st_size < end:
                raise StorageError(f"{origin}: ends before byte {end}; write it again")
            replace(
                self._part(part_number),
                lambda file: _copy_range(source, file, start, end - start),
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with explained("write", self._path):
                    self._complete()
        finally:
            shutil.rmtree(self._parts, ignore_errors=True)

    def _part(self, part_number: int) -> Path:
        return self._parts / f"{part_number:05d}"

    def _complete(self) -> None:
        parts = sorted(self._parts.glob("[0-9]*"))
        if not parts:
            raise StorageError(f"{self._path}: no part was uploaded; upload at least one")
        whole = parts[0]
        with whole.open("r+b") as target:
            target.seek(0, os.SEEK_END)
            for part in parts[1:]:
                with part.open("rb") as source:
                    _copy_range(source, target, 0, os.fstat(source.fileno()).st_size)
                # At once, so that the disk never holds the object twice.
                part.unlink()
            target.flush()
            os.fsync(target.fileno())
        whole.replace(self._path)


def replace(path: Path, fill: Callable[[BinaryIO], object]) -> os.stat_result:
    """Put a file in place at once; after an error only what was there before remains."""
    partial = _partial_path(path)
    try:
        # Not tempfile: its files are private, and an archive is shared.
        with partial.open("xb") as file:
            fill(file)
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


def remove_partials(root: Path, before: float) -> int:
    """Remove what killed writers left below `root` before a time; return how many.

    Links are not followed: below them may be the files of another owner.
    """
    num_removed = 0
    for folder, folders, files in os.walk(root):
        leftovers = [name for name in (*folders, *files) if name.startswith(PARTIAL_PREFIX)]
        folders[:] = [name for name in folders if not name.startswith(PARTIAL_PREFIX)]
        for path in (Path(folder, name) for name in leftovers):
            with explained("remove", path), suppress(FileNotFoundError):
                if path.lstat().st_mtime <= before:
                    _remove(path)
                    num_removed += 1
    return num_removed


@contextmanager
def explained(action: str, path: Path) -> Iterator[None]:
    """Turn an operating system's error into ours, with the path and what to do."""
    try:
        yield
    except OSError as error:
        found = f"{path}: cannot {action}: {error.strerror}"
        if error.errno == errno.ENOTDIR:
            raise NotFoundError(
                f"{path}: cannot {action}: a file stands where a folder is expected; check the "
                "name, or choose another folder"
            ) from error
        if error.errno in _ABSENT:
            raise NotFoundError(f"{found}; check that the folder and the file exist") from error
        if error.errno in _DENIED:
            advice = "give this user permission on the folder and its files"
            raise AccessDeniedError(f"{found}; {advice}") from error
        if error.errno in _FULL:
            raise StorageError(f"{found}; free space or raise the quota") from error
        raise StorageError(f"{found}; check the disk or the mount") from error


def _partial_path(path: Path) -> Path:
    return path.with_name(PARTIAL_PREFIX + uuid.uuid4().hex)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _copy_range(source: BinaryIO, target: BinaryIO, start: int, num_bytes: int) -> None:
    """Append bytes of one open file to another, inside the kernel where it can."""
    target.flush()
    copied = _copy_in_kernel(source, target, start, num_bytes)
    source.seek(start + copied)
    target.seek(0, os.SEEK_END)
    while copied < num_bytes:
        data = source.read(min(_COPY_BYTES, num_bytes - copied))
        if not data:
            raise OSError(errno.EIO, "the file became shorter while it was read")
        copied += target.write(data)


def _copy_in_kernel(source: BinaryIO, target: BinaryIO, start: int, num_bytes: int) -> int:
    """Copy as much as the file systems allow, possibly nothing; return how many bytes."""
    if not hasattr(os, "copy_file_range"):
        return 0
    copied = 0
    position = target.seek(0, os.SEEK_END)
    # What fails here fails again, with its reason, in the copy that follows.
    with suppress(OSError):
        while copied < num_bytes:
            step = os.copy_file_range(
                source.fileno(),
                target.fileno(),
                num_bytes - copied,
                start + copied,
                position + copied,
            )
            if step == 0:
                break
            copied += step
    return copied
