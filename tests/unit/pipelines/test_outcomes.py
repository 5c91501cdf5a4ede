"""Which failures may pass within a night, and which the next run merely tries again."""

import pytest

from ganray import errors
from ganray.errors import (
    AccessDeniedError,
    CodecError,
    GanrayError,
    LostWorkerError,
    MissingExtraError,
    NotFoundError,
    RestorationError,
    StorageError,
    TooLargeError,
    UnreachableError,
)
from ganray.ledger import LedgerRow
from ganray.pipelines.outcomes import PASSING, may_pass


def failed(error: type[GanrayError], *, retry: bool = True) -> LedgerRow:
    given = {"recorded_at": 0.0, "run_id": "r", "attempts": 1, "retry": retry}
    return LedgerRow("k", "e", "g", "c", "failed", error=error.__name__, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [StorageError, NotFoundError, AccessDeniedError, UnreachableError, LostWorkerError],
)
def test_a_failure_of_a_store_or_of_workers_may_pass(error: type[GanrayError]) -> None:
    assert may_pass(failed(error))


@pytest.mark.parametrize("error", [MissingExtraError, TooLargeError, CodecError, RestorationError])
def test_what_is_not_installed_too_large_or_bad_does_not_pass_by_itself(
    error: type[GanrayError],
) -> None:
    assert not may_pass(failed(error))


def test_what_is_not_tried_again_does_not_pass() -> None:
    assert not may_pass(failed(LostWorkerError, retry=False))


def test_every_failure_of_a_store_is_known_as_one_that_passes() -> None:
    found = [e for e in vars(errors).values() if isinstance(e, type)]
    assert {e.__name__ for e in found if issubclass(e, StorageError)} < set(PASSING)
