"""File locks that tell which process of a store lives, and keep two callers apart.

The kernel drops a lock when its process ends, however it ends. So a pid read from a locked
file is the pid of the process that wrote it, never of a stranger that was given the same
number later.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def hold(path: Path) -> int:
    """Write this process's pid to `path` and lock it; returns the descriptor that holds the lock.

    A forked child inherits the lock; it gives it up by closing the descriptor.
    """
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, str(os.getpid()).encode())
    # Renamed last, so that whoever opens `path` finds it written and locked.
    draft.replace(path)
    return descriptor


def holder(path: Path) -> int | None:
    """Pid of the living process that holds `path`, None when there is none."""
    try:
        file = path.open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read())
    return None


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one caller at a time, of any process, into the block."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing is not enough: a process forked in between keeps the file open.
            fcntl.flock(file, fcntl.LOCK_UN)
