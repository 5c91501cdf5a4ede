"""A process as the owner of something: told from every other, and whether it still lives."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process, as far as it can be told from every other: on its machine, since its start.

    `boot` is of the machine's start and of the container's table of processes; where neither
    is known it is empty, and no process can be asked.
    """

    host: str
    boot: str
    pid: int
    started: str

    def is_alive(self) -> bool:
        """Whether the process lives; only its own machine can tell."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            # Another user's; it may be hidden from what follows.
            pass
        return _process_start(self.pid) in (None, self.started)

    def shares_machine(self, other: "Owner") -> bool:
        return bool(self.boot) and (self.host, self.boot) == (other.host, other.boot)


def this_process() -> Owner:
    """The calling process."""
    boot = ""
    with suppress(OSError):
        processes = Path("/proc/self/ns/pid").readlink()
        boot = f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {processes}"
    return Owner(socket.gethostname(), boot, os.getpid(), _process_start(os.getpid()) or "")


def _process_start(pid: int) -> str | None:
    """When a process started, in the kernel's words; empty if it is a zombie, None if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else fields[19]
