"""A claim on a target: of two runs at once the second stops, and a dead run's claim expires.

Stores admit several winners of a conditional write, so that nothing is locked by one. Every
run writes a claim of its own and then looks at all others; listing and reading are consistent.
A claim is a candidate until a look showed no other, and established from then on: of two runs
the one that wrote later sees the other. Of two candidates the one with the larger id withdraws;
the other waits until it has. Whoever sees an established claim withdraws.

Whether the owner of a claim lives is known on its own machine by its process, and elsewhere by
watching its beat: no clock of another machine is believed. An owner that was only asleep, or cut
off, finds out when it goes on: its claim is gone, or it is late and another claim is there.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Literal

from ganray.errors import ClaimedError, NotFoundError, StorageError
from ganray.owner import Owner, this_process
from ganray.storage import Store

CLAIMS_PREFIX = "_ganray/claims/"
BEAT_SECONDS = 10.0
EXPIRY_SECONDS = 30.0
LATE_SECONDS = 27.0
"""Less than the expiry, since two machines' clocks do not run alike."""
POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)

State = Literal["candidate", "established"]


@dataclass(frozen=True)
class ClaimRecord:
    """What a claim's object holds."""

    run_id: str
    owner: Owner
    state: State = "candidate"
    beat: int = 0


def _now() -> float:
    # Unlike the monotonic clock, this one goes on while the machine sleeps.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True)
class Clock:
    """Time as a claim sees it, so that a test can supply its own."""

    now: Callable[[], float] = _now
    sleep: Callable[[float], None] = time.sleep


@contextmanager
def claimed(
    store: Store, run_id: str, *, owner: Owner | None = None, clock: Clock | None = None
) -> Iterator["Claim"]:
    """Hold the claim on a target. Raises ClaimedError while another run holds it.

    It takes EXPIRY_SECONDS to know that a claim of another machine is dead. Whoever holds the
    claim looks now and then whether it is `lost`.
    """
    claim = Claim(store, ClaimRecord(run_id, owner or this_process()), clock or Clock())
    claim.acquire()
    try:
        claim.start_beating()
        yield claim
    finally:
        claim.release()


def claiming_runs(store: Store) -> dict[str, bool]:
    """Runs whose claims stand, by id: whether they are known to live, which without watching is
    known of this machine's alone. Of these, the dead are left out."""
    here = this_process()
    return {
        record.run_id: is_here
        for record in _read_all(store, CLAIMS_PREFIX)
        if not (is_here := here.shares_machine(record.owner)) or record.owner.is_alive()
    }


class Claim:
    """One run's claim. `lost` says that another run may have taken it for dead."""

    def __init__(self, store: Store, record: ClaimRecord, clock: Clock) -> None:
        self.record = record
        self.lost = False
        self._store = store
        self._clock = clock
        self._sights: dict[str, tuple[ClaimRecord, float]] = {}
        self._written_at = clock.now()
        self._released = threading.Event()
        self._beating = threading.Thread(target=self._keep_beating, name="claim", daemon=True)

    def acquire(self) -> None:
        """Return once a look at all claims, taken while this one stood, showed no other."""
        while self._has_rivals(_key(self.record.run_id)):
            # An earlier claim of the same name, which would be overwritten.
            self._clock.sleep(POLL_SECONDS)
        self._written_at = self._clock.now()
        try:
            self._stand("candidate")
            while self._has_rivals():
                self._clock.sleep(POLL_SECONDS)
                self._stand("candidate")
            self._stand("established")
        except BaseException:
            self._withdraw()
            raise

    def start_beating(self) -> None:
        """Show signs of life from now on, in a thread."""
        self._beating.start()

    def beat(self) -> None:
        """Show one sign of life, or find that the claim is lost."""
        standing = _read(self._store, _key(self.record.run_id))
        if standing is None or standing.owner != self.record.owner:
            self._lose("it was removed")
            return
        if self._write("established") and self._rivals():
            self._withdraw()
            self._lose("it came late, and another is there")

    def regain(self) -> bool:
        """Take up a claim that was lost because the store did not answer; False if it is gone.

        Raises StorageError while the store still does not answer.
        """
        self.lost = False
        try:
            self.beat()
        except StorageError:
            self.lost = True
            raise
        if not self.lost:
            self._beating = threading.Thread(target=self._keep_beating, name="claim", daemon=True)
            self._beating.start()
        return not self.lost

    def release(self) -> None:
        """Remove the claim; if that fails, the next run finds its owner dead."""
        self._released.set()
        if self._beating.is_alive():
            # Not for ever: a beat may be waiting for a store that does not answer.
            self._beating.join(BEAT_SECONDS)
        self._withdraw()

    def _stand(self, state: State) -> None:
        """Write the claim while looking at others: what was seen of them must not be old.

        Asleep between a look and what follows from it, it could remove a claim that lives.
        """
        if self._write(state):
            raise ClaimedError(
                f"run {self.record.run_id} was held up for {LATE_SECONDS:g} s while it looked for "
                f"other runs on {self._store.uri}; run again"
            )

    def _write(self, state: State) -> bool:
        """Renew the claim's object; return whether it comes late after the one before."""
        begun_at = self._clock.now()
        self.record = replace(self.record, state=state, beat=self.record.beat + 1)
        content = json.dumps(asdict(self.record)).encode()
        self._store.write(_key(self.record.run_id), content)
        is_late = self._clock.now() - self._written_at >= LATE_SECONDS
        self._written_at = begun_at
        return is_late

    def _has_rivals(self, prefix: str = CLAIMS_PREFIX) -> bool:
        """Whether there are others to wait for; the dead are removed."""
        looked_at = self._clock.now()
        standing = [self._stands(other, looked_at) for other in self._rivals(prefix)]
        return any(standing)

    def _rivals(self, prefix: str = CLAIMS_PREFIX) -> list[ClaimRecord]:
        found = _read_all(self._store, prefix)
        if not self.record.beat:
            # Nothing was written yet, so that even what looks like this claim is another.
            return found
        mine = self.record.run_id, self.record.owner
        return [other for other in found if (other.run_id, other.owner) != mine]

    def _stands(self, other: ClaimRecord, looked_at: float) -> bool:
        """Yield to a claim that goes first, or remove a dead one; whether it is still there."""
        seen, since = self._seen(other)
        is_here = self.record.owner.shares_machine(other.owner)
        is_alive = other.owner.is_alive() if is_here else seen != other
        if is_alive and (other.state == "established" or other.run_id <= self.record.run_id):
            raise ClaimedError(
                f"another run is at work on {self._store.uri}: {other.run_id}, process "
                f"{other.owner.pid} on {other.owner.host}. Wait for its end, or stop it; a claim "
                f"whose owner is dead expires within {EXPIRY_SECONDS:g} s"
            )
        is_dead = (is_here and not is_alive) or looked_at - since > EXPIRY_SECONDS
        if is_dead:
            _log.warning("event=dead_claim run_id=%r pid=%d", other.run_id, other.owner.pid)
            self._store.delete(_key(other.run_id))
        return not is_dead

    def _seen(self, other: ClaimRecord) -> tuple[ClaimRecord, float]:
        """What a claim said at the last look, and since when it says what it says now."""
        before = self._sights.get(other.run_id)
        if before is None:
            _log.info("event=watching_claim run_id=%r host=%r", other.run_id, other.owner.host)
        if before is None or before[0] != other:
            self._sights[other.run_id] = (other, self._clock.now())
        return (before or (other, 0.0))[0], self._sights[other.run_id][1]

    def _keep_beating(self) -> None:
        while not self._released.wait(BEAT_SECONDS) and not self.lost:
            try:
                self.beat()
            except StorageError as error:
                _log.warning("event=beat_failed cause=%r", str(error))
                if self._clock.now() - self._written_at >= EXPIRY_SECONDS:
                    self._lose("the store does not take it")

    def _lose(self, cause: str) -> None:
        _log.error("event=claim_lost run_id=%r cause=%r", self.record.run_id, cause)
        self.lost = True

    def _withdraw(self) -> None:
        """Delete the claim if it is this run's; a failure is logged, others find it dead."""
        key = _key(self.record.run_id)
        try:
            standing = _read(self._store, key)
            if standing is not None and standing.owner == self.record.owner:
                self._store.delete(key)
        except StorageError as error:
            _log.warning("event=claim_left_behind cause=%r", str(error))


def _read_all(store: Store, prefix: str) -> list[ClaimRecord]:
    try:
        keys = [info.key for info in store.list(prefix)]
    except NotFoundError:
        # A target that the first write creates.
        return []
    return [record for key in keys if (record := _read(store, key)) is not None]


def _read(store: Store, key: str) -> ClaimRecord | None:
    try:
        values = json.loads(store.read(key))
        return ClaimRecord(**(values | {"owner": Owner(**values["owner"])}))
    except NotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(
            f"{store.uri}/{key} is no claim of ganray's: {error}; remove it"
        ) from error


def _key(run_id: str) -> str:
    return f"{CLAIMS_PREFIX}{run_id}.json"
