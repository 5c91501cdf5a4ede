"""Calls in a child process: what crashes, hangs or bloats there is an error here.

Decoders are C libraries, and among a million files some make one of them crash. This guards
against accidents; it is not a sandbox, the child has all rights of its owner.
"""

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import numpy as np

from ganray.errors import CodecError, GanrayError, RunFailedError, TooLargeError, UndecodableError

P = ParamSpec("P")
T = TypeVar("T")

START_SECONDS = 120.0
EXIT_SECONDS = 5.0
PIPE_BYTES = 1 << 16
LONGEST_WORDS = 200


@dataclass(frozen=True)
class Reply:
    """What a call came to. `tainted` says that its process is of no further use."""

    value: Any = None
    error: GanrayError | None = None
    tainted: bool = False


class IsolatedProcess:
    """A child process that calls functions for its owner, one at a time.

    `seconds` is a call's wall time, and `memory_bytes` the virtual memory that it may add to what
    the process began with. The child starts at the first call, serves until a call ends it, and
    dies with its owner. Threads that want to call at the same time have an object each.
    """

    def __init__(self, *, seconds: float, memory_bytes: int) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result; the function must be one that another process can import.

        Raises its GanrayErrors as they are, UndecodableError for its other exceptions and for a
        crash, TooLargeError if it exceeds a limit, RunFailedError if no child can be started.
        """
        assert function.__module__ != "__main__", "the child cannot import its owner's script"
        request = pack((function, args, kwargs))
        with self._lock:
            used = self._child is not None
            reply = self._attempt(function.__module__, request)
            # A damaged heap or a leak that an earlier call left is no verdict on this one.
            if reply.tainted and used:
                reply = self._attempt(function.__module__, request)
        if reply.error is not None:
            raise reply.error
        value: T = reply.value
        return value

    def close(self) -> None:
        """End the child, after the call that it is at; another call would start a new one."""
        with self._lock:
            self._stop()

    def _attempt(self, module: str, request: Sequence[memoryview]) -> Reply:
        child = self._child = self._child or _Child(module, self._memory_bytes)
        try:
            reply = child.ask(request, self._seconds)
        except TimeoutError:
            self._stop()
            return Reply(error=_too_slow(self._seconds))
        except (EOFError, ConnectionError):
            reply = Reply(error=child.cause_of_death(), tainted=True)
        except BaseException:
            # Its reply, if it came later, would be taken for the next call's.
            self._stop()
            raise
        if reply.tainted:
            self._stop()
        return reply

    def _stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None


class _Child:
    """The owner's end of one child process, which has imported `module` and is ready."""

    def __init__(self, module: str, memory_bytes: int) -> None:
        self._process, self._channel = _spawn(str(memory_bytes), module)
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._lifeline = self._process.stdin
        self._stderr = self._process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        try:
            receive(self._channel, deadline=time.monotonic() + START_SECONDS)
        except (EOFError, ConnectionError, TimeoutError) as error:
            reason = self._read_last_words() or f"no sign of life ({type(error).__name__})"
            self.stop()
            raise _no_start(reason) from error
        except BaseException:
            self.stop()
            raise

    def ask(self, request: Sequence[memoryview], seconds: float) -> Reply:
        """Send a request and wait; raises TimeoutError, or EOFError or ConnectionError at death."""
        self._read_last_words()
        deadline = time.monotonic() + seconds
        self._channel.settimeout(seconds)
        send(self._channel, request)
        reply = unpack(receive(self._channel, deadline=deadline))
        assert isinstance(reply, Reply)
        return reply

    def cause_of_death(self) -> CodecError:
        """Why a child has closed its end, from how its process ended and its last words."""
        try:
            status = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return UndecodableError("its decoder closed the connection to its owner")
        words = self._read_last_words()
        details = f": {words}" if words else ""
        if status >= 0:
            return UndecodableError(f"its decoder ended its process (status {status}){details}")
        if -status == signal.SIGKILL:
            return TooLargeError(
                "its decoder was killed (SIGKILL), as the kernel does when memory runs out; give "
                "the workers more memory, lower limits.memory_bytes or exclude it"
            )
        names = {number.value: number.name for number in signal.Signals}
        return UndecodableError(
            f"its decoder crashed ({names.get(-status, f'signal {-status}')}){details}"
        )

    def stop(self) -> None:
        """Kill the child if it is alive, and leave nothing of it."""
        self._process.kill()
        self._process.wait()
        for end in (self._channel, self._lifeline, self._stderr):
            end.close()

    def _read_last_words(self) -> str:
        """Empty the child's stderr; its last line."""
        try:
            text = os.read(self._stderr.fileno(), PIPE_BYTES).decode(errors="replace")
        except BlockingIOError:
            return ""
        return text.strip().rpartition("\n")[2][-LONGEST_WORDS:]


def _spawn(*arguments: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a child in a session of its own, where no Ctrl-C of a terminal reaches it.

    Its stdin is never written to: the end of it tells the child that the owner is gone.
    """
    # The folder that the owner happens to be in is searched only if the owner searches it (-P).
    command = [sys.executable, "-P", "-m", "ganray.codecs.isolation_child"]
    try:
        with ExitStack() as after_failure:
            ours, theirs = socket.socketpair()
            after_failure.callback(ours.close)
            with theirs:
                process = subprocess.Popen(
                    [*command, str(theirs.fileno()), *arguments],
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(),
                    start_new_session=True,
                )
            after_failure.pop_all()
    except OSError as error:
        raise _no_start(str(error)) from error
    return process, ours


def _environment() -> dict[str, str]:
    """The owner's, with its module path; a decoder has no use for a pool of BLAS threads."""
    paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    return os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}


def _no_start(reason: str) -> RunFailedError:
    return RunFailedError(
        f"no process for the decoders could be started: {reason}; check the installation, and "
        "the node's limits of processes and memory"
    )


def _too_slow(seconds: float) -> TooLargeError:
    return TooLargeError(
        f"its decoder did not end within {seconds:g} s; raise limits.seconds or exclude it"
    )


def too_much_memory(memory_bytes: int) -> TooLargeError:
    """The error of a call that was refused memory."""
    return TooLargeError(
        f"its decoder needed more than {memory_bytes / 1e9:.1f} GB; raise limits.memory_bytes or "
        "exclude it"
    )


def pack(message: object) -> list[memoryview]:
    """A message as bytes: its pickle, then the memory of its arrays, which is not copied."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    return [memoryview(head), *(buffer.raw() for buffer in buffers)]


def unpack(parts: Sequence[memoryview]) -> Any:
    """Inverse of `pack`; the arrays lie in `parts` and may be written to."""
    return pickle.loads(parts[0], buffers=parts[1:])


def send(channel: socket.socket, parts: Sequence[memoryview]) -> None:
    """Write a packed message: the number of parts, their sizes in bytes, the parts."""
    channel.sendall(struct.pack(f"<{1 + len(parts)}Q", len(parts), *map(len, parts)))
    for part in parts:
        channel.sendall(part)


def receive(channel: socket.socket, *, deadline: float | None = None) -> list[memoryview]:
    """Read a packed message; raises EOFError at its end, TimeoutError after `deadline`.

    `deadline` is in seconds of the monotonic clock.
    """
    (num_parts,) = struct.unpack("<Q", _read(channel, 8, deadline))
    sizes = struct.unpack(f"<{num_parts}Q", _read(channel, 8 * num_parts, deadline))
    return [_read(channel, size, deadline) for size in sizes]


def _read(channel: socket.socket, num_bytes: int, deadline: float | None) -> memoryview:
    # Not a bytearray: that one fills its memory with zeros first.
    target = np.empty(num_bytes, np.uint8).data
    filled = 0
    while filled < num_bytes:
        if deadline is not None:
            # At zero a socket would no longer wait, and no longer raise TimeoutError either.
            channel.settimeout(max(deadline - time.monotonic(), 1e-6))
        received = channel.recv_into(target[filled:])
        if not received:
            raise EOFError("the other end is closed")
        filled += received
    return target
