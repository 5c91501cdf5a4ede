"""A folder for files that are on their way to a store, which no killed process leaves for ever."""

import fcntl
import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ganray.storage.folder_files import explained

PREFIX = "ganray-scratch-"
NEW_SECONDS = 60.0
"""A younger folder may not be locked yet."""


class Scratch:
    """A folder below TMPDIR, made when it is first asked for and removed with all its files.

    Its owner holds a lock on it, by which the next process that makes one tells those whose
    owners were killed, and removes them.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._lock = -1
        self._num_files = 0
        self._making = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def new_path(self, suffix: str = "") -> Path:
        """Where a file may be written that is not there yet. Raises StorageError."""
        with self._making:
            folder = self._folder = self._folder or self._make()
            self._num_files += 1
            return folder / f"{self._num_files:06d}{suffix}"

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)
            self._folder = None

    def _make(self) -> Path:
        root = Path(tempfile.gettempdir())
        with explained("write", root):
            _remove_orphans(root)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        return folder


def _remove_orphans(root: Path) -> None:
    for folder in root.glob(f"{PREFIX}*"):
        # Another's, or removed meanwhile.
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > NEW_SECONDS:
                _remove_unless_locked(folder)


def _remove_unless_locked(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
