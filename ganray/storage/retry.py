"""Trying again after transient faults: exponential backoff with full jitter.

Knows nothing about S3: an attempt raises `AttemptError`, which says whether another one may
help.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ganray.errors import StorageError

_log = logging.getLogger(__name__)

T = TypeVar("T")


def _random_fraction() -> float:
    # Of the system: a generator with a state, pickled or forked, makes all workers wait alike.
    return random.SystemRandom().random()


@dataclass(frozen=True)
class Timing:
    """The clock, sleep and randomness of a policy, so that a test can supply its own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    fraction: Callable[[], float] = _random_fraction


@dataclass(frozen=True)
class RetryPolicy:
    """How long to keep trying, and how long to wait in between."""

    seconds: float = 120.0
    base_seconds: float = 0.25
    cap_seconds: float = 15.0
    timing: Timing = field(default_factory=Timing)

    def delay_seconds(self, attempt: int, at_least_seconds: float = 0.0) -> float:
        """Draw the wait after the given attempt (from 1), uniform up to its backoff."""
        # The bound on the exponent keeps the power finite in a policy that goes on for days.
        backoff = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 60))
        return max(at_least_seconds, backoff * self.timing.fraction())


PREFLIGHT = RetryPolicy(seconds=6.0, cap_seconds=2.0)
"""For checks before a run starts: someone is waiting for the answer."""


@dataclass(eq=False)
class AttemptError(Exception):
    """One failed attempt: what was found, what to do, and whether trying again may help."""

    kind: type[StorageError]
    found: str
    advice: str
    retryable: bool = False
    retry_after_seconds: float = 0.0


def retrying(attempt: Callable[[], T], policy: RetryPolicy, label: str) -> T:
    """Call until it returns, its fault is final, or the policy's time is over.

    A slow first try may use that time up, and is repeated once all the same. `label` says
    what is tried on which object; it begins every message.
    """
    started = policy.timing.now()
    num_tries = 0
    while True:
        num_tries += 1
        try:
            result = attempt()
        except AttemptError as caught:
            fault = caught
        else:
            if num_tries > 1:
                _log.info("event=recovered target=%r tries=%d", label, num_tries)
            return result
        spent = policy.timing.now() - started
        delay = policy.delay_seconds(num_tries, fault.retry_after_seconds)
        if not fault.retryable:
            raise fault.kind(f"{label}: {fault.found}; {fault.advice}")
        if delay > policy.seconds or (num_tries > 1 and spent + delay > policy.seconds):
            tries = f"{num_tries} tries in {spent:.1f} s"
            raise fault.kind(f"{label}: {fault.found}, {tries}; {fault.advice}")
        _log.warning(
            "event=retry target=%r cause=%r tries=%d delay_seconds=%.2f",
            label,
            fault.found,
            num_tries,
            delay,
        )
        policy.timing.sleep(delay)
