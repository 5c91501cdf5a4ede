"""What became of an input: the rows of success and of failure, and which errors are a failure."""

import time
from collections.abc import Callable

from ganray import __version__
from ganray.errors import (
    AccessDeniedError,
    CodecError,
    DistrustedError,
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
from ganray.pipelines.restore_config import TrustConfig
from ganray.pipelines.restore_orders import Pending, RestoreJob
from ganray.pipelines.restore_tools import RestoreTools, out_of_memory
from ganray.restoration.guard import Trust

KILLING_ATTEMPTS = 3
PASSING = tuple(
    error.__name__
    for error in (
        *(StorageError, NotFoundError, AccessDeniedError, UnreachableError),
        LostWorkerError,
    )
)
"""Errors that may be gone within the hour; what is not installed stays so, and memory as small."""


def attempt(action: Callable[[], None]) -> GanrayError | None:
    """Run a step; what it failed by, unless that is no fault of the input."""
    try:
        action()
    except UnreachableError:
        raise
    except (CodecError, MissingExtraError, RestorationError, StorageError) as error:
        return error
    except out_of_memory() as error:
        return TooLargeError(f"out of memory: {error}; lower limits.pixels or split_pixels")
    return None


def failed_row(job: RestoreJob, item: Pending, error: GanrayError, attempts: int) -> LedgerRow:
    """The row of a failure; one of a store, of memory or of what is not installed is tried again
    by the next run."""
    # If it is the target that refuses, so does the record of this row, and the run stops.
    retry = isinstance(error, MissingExtraError | StorageError) or str(error).startswith(
        "out of memory"
    )
    # Two lost workers may have been bad luck; three times two were not.
    retry = retry or (isinstance(error, LostWorkerError) and attempts < KILLING_ATTEMPTS)
    return job.failed_row(item, error, attempts=attempts, retry=retry)


def may_pass(row: LedgerRow) -> bool:
    """Whether a failure may pass by itself, of a store or of workers that were lost."""
    return row.retry and row.error in PASSING


def restored_row(tools: RestoreTools, item: Pending, trust: Trust, flags: str) -> LedgerRow:
    """What every row of a restored input says; the output is the caller's to add."""
    return LedgerRow(
        key=item.key,
        etag=item.etag,
        generator_digest=tools.job.generator_digest,
        config_digest=tools.job.config.pixel_digest,
        state="restored",
        recorded_at=time.time(),
        run_id=tools.job.run_id,
        attempts=item.attempts + 1,
        consistency=trust.consistency,
        colour_drift=trust.colour_drift,
        clipped=trust.clipped,
        non_finite=trust.non_finite,
        flags=flags,
        ganray_version=__version__,
    )


def check_trust(
    trust: Trust, seam_error: float | None, limits: TrustConfig, *, dtype: str = "uint8"
) -> str:
    """The limits that a restoration exceeds, in words; RestorationError if it is then refused."""
    found = {
        "consistency": trust.consistency,
        "colour_drift": trust.colour_drift,
        "clipped": trust.clipped,
        "non_finite": trust.non_finite,
        "seam_error": seam_error or 0.0,
    }
    beyond = [
        f"{name} {value:.4g} above trust.max_{name}={getattr(limits, f'max_{name}'):g}"
        for name, value in found.items()
        if value > getattr(limits, f"max_{name}")
    ]
    # Of 8 bits a generator knows dark pictures; deep values are easily shown to it as nearly flat.
    if dtype != "uint8" and 0 < trust.span < limits.min_span:
        beyond.append(
            f"span {trust.span:.2g} below trust.min_span={limits.min_span:g}: the generator saw "
            "nearly flat values; say which are black and white (geo.values, dicom.value_high, "
            "film.white)"
        )
    if beyond and limits.beyond == "refuse":
        raise DistrustedError(f"not trusted, and nothing was written: {', '.join(beyond)}")
    return ", ".join(beyond)
