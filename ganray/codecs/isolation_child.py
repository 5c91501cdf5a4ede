"""The child of `isolation.IsolatedProcess`, which starts it as
`python -m ganray.codecs.isolation_child CHANNEL MEMORY_BYTES MODULE`.

CHANNEL is the number of its open socket. MODULE is imported before the first call, so that
neither a call's time nor its memory counts for it.
"""

import fcntl
import importlib
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path

from ganray.codecs.isolation import Reply, pack, receive, send, too_much_memory, unpack
from ganray.errors import GanrayError, UndecodableError


def main() -> None:
    """Serve calls until the owner closes its end."""
    number, memory_bytes, module = sys.argv[1:]
    channel = socket.socket(fileno=int(number))
    channel.set_inheritable(False)
    _die_with_owner()
    _die_before_owner()
    importlib.import_module(module)
    ceiling_bytes = _virtual_bytes() + int(memory_bytes)
    send(channel, pack(Reply()))
    # The last words of C libraries go to the owner, who may not listen; Python's go nowhere.
    os.set_blocking(sys.stderr.fileno(), False)
    with (
        Path(os.devnull).open("w") as nowhere,
        redirect_stderr(nowhere),
        suppress(EOFError, ConnectionError),
    ):
        while True:
            request = receive(channel)
            send(channel, _answer(request, int(memory_bytes), ceiling_bytes))


def _answer(
    request: Sequence[memoryview], memory_bytes: int, ceiling_bytes: int
) -> list[memoryview]:
    try:
        with _memory_limit(ceiling_bytes):
            function, args, kwargs = unpack(request)
            return pack(Reply(function(*args, **kwargs)))
    # Whatever a decoder raises is its verdict on the image.
    except Exception as error:
        if _is_want_of_memory(error):
            return pack(Reply(error=too_much_memory(memory_bytes), tainted=True))
        return pack(Reply(error=_portable(error)))


def _is_want_of_memory(error: BaseException | None) -> bool:
    """Whether an error is, or was raised while handling, a MemoryError."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _portable(error: Exception) -> GanrayError:
    """The error itself if the owner knows its class, else its text with its traceback."""
    if isinstance(error, GanrayError):
        return error
    text = " ".join(str(error).split())
    wrapped = UndecodableError(f"{type(error).__name__}: {text}" if text else type(error).__name__)
    wrapped.add_note("".join(traceback.format_exception(error)))
    return wrapped


def _die_with_owner() -> None:
    """Let the kernel end this process when the owner's end of stdin closes.

    A thread that waits for it would wait for ever while a C library holds Python's lock.
    """
    lifeline = sys.stdin.fileno()
    if sys.platform == "linux":
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        sys.exit("the owner is gone")


def _die_before_owner() -> None:
    """Offer this process first to a kernel that is out of memory; leave no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Some containers refuse it, and other systems have no such file: it is a preference.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _virtual_bytes() -> int:
    """Virtual memory of this process; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0


@contextmanager
def _memory_limit(ceiling_bytes: int) -> Iterator[None]:
    """Refuse virtual memory beyond `ceiling_bytes` inside the block, where Linux can."""
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    lower = ceiling_bytes if soft == resource.RLIM_INFINITY else min(ceiling_bytes, soft)
    resource.setrlimit(resource.RLIMIT_AS, (lower, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


if __name__ == "__main__":
    main()
