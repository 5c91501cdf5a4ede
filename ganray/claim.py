"""A claim on a target: of two runs at once the second stops, and a dead run's claim expires.

Stores admit several winners of a conditional write, so that nothing is locked by one. Every
run writes a claim of its own and then looks at all others; listing and reading are consistent.
A claim is a candidate until its owner has looked, and established from then on. Of two
candidates that see each other the one with the larger id withdraws; the other waits until it
has. Whoever sees an established claim withdraws.

Whether the owner of a claim lives is known on its own machine by its process, and elsewhere by
watching its beat: no clock of another machine is believed.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from ganray.errors import ClaimedError, NotFoundError, StorageError
from ganray.storage import Store

CLAIMS_PREFIX = "_ganray/claims/"
BEAT_SECONDS = 10.0
EXPIRY_SECONDS = 30.0
POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A process, as far as it can be told from every other: on its machine, since its start."""

    host: str
    boot: str
    pid: int
    started: str

    def is_alive(self) -> bool:
        """Whether the process lives; only its own machine can tell."""
        return _process_start(self.pid) == self.started

    def shares_machine(self, other: "Owner") -> bool:
        return (self.host, self.boot) == (other.host, other.boot)


def this_process() -> Owner:
    """The calling process."""
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Owner(socket.gethostname(), boot, os.getpid(), _process_start(os.getpid()))


@dataclass(frozen=True)
class ClaimRecord:
    """What a claim's object holds."""

    run_id: str
    owner: Owner
    state: Literal["candidate", "established"] = "candidate"
    beat: int = 0


@dataclass(frozen=True)
class Clock:
    """Time as a claim sees it, so that a test can supply its own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass
class Claim:
    """A claim that is held. `lost` says that another run took it for dead."""

    record: ClaimRecord
    lost: bool = False
    _released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def claimed(
    store: Store, run_id: str, *, owner: Owner | None = None, clock: Clock | None = None
) -> Iterator[Claim]:
    """Hold the claim on a target. Raises ClaimedError while another run holds it."""
    record = ClaimRecord(run_id, owner or this_process())
    try:
        _Election(store, record, clock or Clock()).win()
        claim = Claim(replace(record, state="established"))
        _write(store, claim.record)
        beating = threading.Thread(target=_beat, args=(store, claim), daemon=True)
        beating.start()
        try:
            yield claim
        finally:
            claim._released.set()
            beating.join()
    finally:
        store.delete(_key(run_id))


class _Election:
    """One candidate among the other claims of a target."""

    def __init__(self, store: Store, mine: ClaimRecord, clock: Clock) -> None:
        self.store = store
        self.mine = mine
        self.clock = clock
        self._is_standing = False
        self._watched: dict[str, tuple[ClaimRecord, float]] = {}

    def win(self) -> None:
        """Return once a look at all claims, taken while this one stood, showed no other."""
        while True:
            if not self._is_standing:
                _write(self.store, self.mine)
                self._is_standing = True
            others = [c for c in _read_all(self.store) if c.run_id != self.mine.run_id]
            if not others:
                return
            for other in others:
                self._face(other)
            self.clock.sleep(POLL_SECONDS)
            if not self._is_standing:
                self._wait_for_smaller()

    def _face(self, other: ClaimRecord) -> None:
        """Remove a dead claim, yield to one that goes first, outlast one that does not."""
        if self._is_dead(other):
            _log.warning("event=dead_claim run_id=%r pid=%d", other.run_id, other.owner.pid)
            self.store.delete(_key(other.run_id))
            return
        goes_first = other.state == "established" or other.run_id < self.mine.run_id
        if goes_first and self._is_alive(other):
            raise ClaimedError(
                f"another run is at work on {self.store.uri}: {other.run_id}, process "
                f"{other.owner.pid} on {other.owner.host}. Wait for its end, or stop it; a claim "
                f"whose owner is dead expires within {EXPIRY_SECONDS:g} s"
            )
        if goes_first and other.state == "candidate" and self._is_standing:
            # It may be waiting for this one to step back, and cannot be seen to live.
            self.store.delete(_key(self.mine.run_id))
            self._is_standing = False

    def _wait_for_smaller(self) -> None:
        """After stepping back: until no candidate goes first any more."""
        while others := [
            other
            for other in _read_all(self.store)
            if other.state == "candidate" and other.run_id < self.mine.run_id
        ]:
            for other in others:
                self._face(other)
            self.clock.sleep(POLL_SECONDS)

    def _is_alive(self, other: ClaimRecord) -> bool:
        """Whether the owner surely lives: its process does, or its beat has changed."""
        if self.mine.owner.shares_machine(other.owner):
            return other.owner.is_alive()
        return self._first_sight(other)[0].beat != other.beat

    def _is_dead(self, other: ClaimRecord) -> bool:
        """Whether the owner is surely dead, or has shown no sign of life for long."""
        if self.mine.owner.shares_machine(other.owner):
            return not other.owner.is_alive()
        seen, since = self._first_sight(other)
        return seen == other and self.clock.now() - since > EXPIRY_SECONDS

    def _first_sight(self, other: ClaimRecord) -> tuple[ClaimRecord, float]:
        seen = self._watched.get(other.run_id)
        if seen is None or seen[0].state != other.state:
            seen = self._watched[other.run_id] = other, self.clock.now()
        return seen


def _beat(store: Store, claim: Claim) -> None:
    """Show signs of life until the claim is released, or until it is gone."""
    while not claim._released.wait(BEAT_SECONDS):
        try:
            store.stat(_key(claim.record.run_id))
            claim.record = replace(claim.record, beat=claim.record.beat + 1)
            _write(store, claim.record)
        except NotFoundError:
            claim.lost = True
            return
        except StorageError as error:
            _log.warning("event=beat_failed cause=%r", str(error))


def _read_all(store: Store) -> list[ClaimRecord]:
    try:
        keys = [info.key for info in store.list(CLAIMS_PREFIX)]
    except NotFoundError:
        return []
    claims = []
    for key in keys:
        try:
            values = json.loads(store.read(key))
            claims.append(ClaimRecord(**(values | {"owner": Owner(**values["owner"])})))
        except NotFoundError:
            continue
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(f"{key} is no claim of ganray's: {error}; remove it") from error
    return claims


def _write(store: Store, record: ClaimRecord) -> None:
    store.write(_key(record.run_id), json.dumps(asdict(record)).encode())


def _key(run_id: str) -> str:
    return f"{CLAIMS_PREFIX}{run_id}.json"


def _process_start(pid: int) -> str:
    """When a process started, in the kernel's words; empty if it is dead or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
