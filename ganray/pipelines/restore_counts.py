"""The counts of a restoration: as it begins, after every row, and when too many inputs failed."""

from ganray.codecs.catalog import family_of
from ganray.ledger import LedgerRow
from ganray.pipelines.outcomes import may_pass
from ganray.pipelines.restore_plan import RestorePlan
from ganray.pipelines.summary import InputCounts, Summary
from ganray.report.amounts import counted

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


def beyond(plan: RestorePlan, summary: Summary) -> str:
    """By how much more inputs failed in this run than `max_failed` allows; empty if not."""
    inputs, allowed = summary.inputs, plan.config.max_failed
    num_failed = inputs.failed - len(plan.failed_before)
    if num_failed <= allowed * inputs.listed:
        return ""
    return (
        f"{num_failed} of {counted(inputs.listed, 'input')} failed in this run, more than "
        f"max_failed={allowed:g} allows: ganray ledger {plan.config.target} --state failed tells "
        "why"
    )
