"""The counts of a restoration: as it begins, after every row, and when too many inputs failed."""

from ganray.codecs.catalog import family_of
from ganray.errors import RunFailedError
from ganray.ledger import LedgerRow
from ganray.pipelines.outcomes import may_pass
from ganray.pipelines.restore_plan import RestorePlan
from ganray.pipelines.summary import InputCounts, Summary

NOT_FOR_DIAGNOSIS = "restored DICOM objects are not for diagnosis, which each of them says"


def first_summary(plan: RestorePlan, run_id: str) -> Summary:
    """A run's summary before any of its work is done."""
    counts = InputCounts(
        listed=plan.num_listed,
        unchanged=plan.num_unchanged,
        failed=len(plan.failed_before),
        pending=plan.num_todo,
    )
    return Summary(run_id, counts, vanished=plan.num_vanished)


def count(summary: Summary, row: LedgerRow) -> None:
    """Take one recorded row into the summary."""
    summary.inputs.pending -= 1
    if row.state == "restored":
        summary.inputs.restored += 1
        if family_of(row.key) == "dicom" and NOT_FOR_DIAGNOSIS not in summary.notices:
            summary.notices.append(NOT_FOR_DIAGNOSIS)
    else:
        summary.inputs.failed += 1
        summary.retryable += row.retry
        summary.passing += may_pass(row)
        summary.failures[row.error] = summary.failures.get(row.error, 0) + 1
    summary.flagged += bool(row.flags)
    summary.windows += row.num_windows
    summary.input_pixels += row.input_pixels
    summary.output_pixels += row.output_pixels


def stop_beyond(summary: Summary, max_failed: float) -> None:
    """Raise RunFailedError if more than this share of the inputs has failed."""
    counts = summary.inputs
    if counts.failed > max_failed * counts.listed:
        raise RunFailedError(
            f"{counts.failed} of {counts.listed} inputs failed, more than max_failed="
            f"{max_failed:g} allows; what is restored stays. See ganray ledger for the reasons"
        )
