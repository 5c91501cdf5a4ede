"""Files that are on their way to a store, which no killed process leaves for ever."""

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ganray.storage.folder_files import explained

PREFIX = "ganray-scratch-"
NEW_SECONDS = 60.0
"""A younger file may not be locked yet."""


class ScratchFile:
    """An empty file below TMPDIR, at `path`, for its owner to write and to remove.

    Its owner holds a lock on it. By that the next one tells files whose owners were killed, and
    removes them. Raises StorageError.
    """

    def __init__(self, suffix: str) -> None:
        root = Path(tempfile.gettempdir())
        with explained("write", root):
            _remove_orphans(root)
            self._file, name = tempfile.mkstemp(suffix, PREFIX, root)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self.path = Path(name)

    def remove(self) -> None:
        """Remove the file, which may be gone; once."""
        self.path.unlink(missing_ok=True)
        os.close(self._file)


def _remove_orphans(root: Path) -> None:
    for path in root.glob(f"{PREFIX}*"):
        # Another user's, in use, or removed meanwhile.
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > NEW_SECONDS:
                _remove_unless_locked(path)


def _remove_unless_locked(path: Path) -> None:
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(lock)
