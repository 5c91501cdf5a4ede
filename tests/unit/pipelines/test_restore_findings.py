"""What is gathered from a ledger: the same as from all rows at once, in bounded memory."""

from dataclasses import replace

import numpy as np
import pytest

from ganray.ledger import Ledger, LedgerRow
from ganray.pipelines.restore_findings import (
    COLUMNS,
    FINE_BINS,
    MOST_REASONS,
    MOST_TIFFS,
    TIME_BINS,
    Findings,
    Scope,
    gather_findings,
    kind_of_reason,
)
from tests.unit.memory_store import MemoryStore

BEGAN, ENDED = 1000.0, 1048.0


def row(number: int, **values: object) -> LedgerRow:
    known: dict[str, object] = {
        "key": f"image-{number:06d}.png",
        "etag": "e",
        "generator_digest": "g",
        "config_digest": "c",
        "state": "restored",
        "recorded_at": BEGAN + number % 48,
        "run_id": "run",
        "attempts": 1,
        "input_pixels": 100,
        "output_pixels": 400,
        "consistency": number / 10_000,
        "colour_drift": 0.001,
        "clipped": None,
    }
    return LedgerRow(**(known | values))  # type: ignore[arg-type]


def scope(num_worst: int = 3, num_random: int = 4) -> Scope:
    return Scope("run", "g", "c", BEGAN, ENDED, num_worst, num_random)


def ledger_of(rows: list[LedgerRow]) -> Ledger:
    """A ledger whose rows stand in several objects."""
    ledger = Ledger(MemoryStore())
    for start in range(0, len(rows), 50):
        ledger.record(rows[start : start + 50], f"run-{start:06d}")
    return ledger


def test_the_worst_are_those_with_the_largest_consistency_error() -> None:
    rows = [row(n) for n in range(300)]
    found = gather_findings(ledger_of(rows), scope())
    assert [known.key for known in found.worst] == [row(n).key for n in (299, 298, 297)]
    assert found.num_restored == 300


def test_what_is_drawn_is_uniform_repeatable_and_never_among_the_worst() -> None:
    ledger = ledger_of([row(n) for n in range(200)])
    drawn = [
        known.key
        for seed in range(60)
        for known in gather_findings(ledger, scope(2, 20), seed).random
    ]
    assert len(drawn) == 60 * 20
    assert not {row(199).key, row(198).key} & set(drawn)
    numbers = np.array([int(key[6:12]) for key in drawn])
    assert abs(numbers.mean() - 98.5) < 6 and numbers.min() < 10 and numbers.max() > 187
    once, again = (gather_findings(ledger, scope()).random for _ in range(2))
    assert once == again


def test_earlier_runs_are_shown_only_where_the_run_itself_leaves_room() -> None:
    earlier = [row(n, run_id="earlier") for n in range(100, 300)]
    own = [row(n) for n in range(5)]
    found = gather_findings(ledger_of([*earlier, *own]), scope(3, 4))
    assert [known.key for known in found.worst] == [row(n).key for n in (4, 3, 2)]
    assert [known.is_earlier for known in found.random] == [False, False, True, True]
    found = gather_findings(ledger_of([*earlier, row(0)]), scope(3, 0))
    assert [known.key for known in found.worst] == [row(n).key for n in (0, 299, 298)]
    assert [known.is_earlier for known in found.worst] == [False, True, True]
    assert found.num_restored == 201
    found = gather_findings(ledger_of(earlier), scope(3, 4))
    assert [known.key for known in found.worst] == [row(n).key for n in (299, 298, 297)]


def test_passes_of_the_same_night_count_as_the_run_itself() -> None:
    rows = [row(1, run_id="pass"), row(2, run_id="earlier"), row(0)]
    found = gather_findings(ledger_of(rows), replace(scope(3, 0), passes_before=("pass",)))
    assert [known.key for known in found.worst] == [row(n).key for n in (1, 0, 2)]
    assert found.inputs.sum() == 1, "the pace is of the run alone"


def test_it_does_not_matter_in_which_tables_the_rows_come() -> None:
    rows = [row(n, run_id="run" if n % 7 == 0 else "earlier") for n in range(60)]
    (table,) = ledger_of(rows).scan_columns(COLUMNS)
    found, rng = Findings(scope(12, 4)), np.random.default_rng(0)
    for start in range(0, 60, 5):
        found.add(table.slice(start, 5), rng)
    found.finish()
    own, rest = [56, 49, 42, 35, 28, 21, 14, 7, 0], [59, 58, 57]
    assert [known.key for known in found.worst] == [row(n).key for n in (*own, *rest)]
    assert {known.is_earlier for known in found.random} == {True}


def test_rows_that_were_never_measured_are_not_among_the_worst() -> None:
    found = gather_findings(ledger_of([row(n, consistency=None) for n in range(3)]), scope())
    assert not found.worst and len(found.random) == 3


def test_every_restored_input_counts_once_in_each_figure() -> None:
    found = gather_findings(ledger_of([row(n) for n in range(300)]), scope())
    assert found.fine["consistency"].sum() == 300
    assert found.fine["clipped"].sum() == 0
    assert found.fine["colour_drift"][int(0.001 * FINE_BINS)] == 300


def test_rows_of_another_generator_or_configuration_do_not_count() -> None:
    rows = [row(0), row(1, generator_digest="other"), row(2, config_digest="other")]
    found = gather_findings(ledger_of(rows), scope())
    assert found.num_restored == 1 and [k.key for k in found.worst] == [row(0).key]


def test_pixels_fall_into_the_time_when_they_were_recorded() -> None:
    rows = [row(n) for n in range(96)]
    rows += [row(96, run_id="earlier"), row(97, recorded_at=BEGAN - 9, input_pixels=7)]
    found = gather_findings(ledger_of(rows), scope())
    assert found.pixels.sum() == 96 * 100 + 7
    assert len(found.pixels) == TIME_BINS
    # A clock that is behind counts at the beginning.
    assert found.pixels[0] == 207


def test_failures_that_differ_in_numbers_and_names_are_one_reason() -> None:
    words = "the file ends before byte {}: truncated '{}' in /a/{}/b"
    rows = [row(n, state="failed", reason=words.format(n, n, n)) for n in range(120)]
    rows.append(row(500, state="failed", reason="no codec for .jp2"))
    found = gather_findings(ledger_of(rows), scope())
    by_number = sorted(reason.number for reason in found.reasons.values())
    assert by_number == [1, 120]
    (most,) = [reason for reason in found.reasons.values() if reason.number == 120]
    assert most.words == words.format(0, 0, 0)
    assert most.keys == [row(n).key for n in range(3)]
    assert found.num_restored == 0


def test_kinds_of_reasons_are_bounded_and_the_rest_is_counted() -> None:
    letters = [f"{chr(97 + n % 26)}{chr(97 + n // 26)} failed" for n in range(MOST_REASONS + 20)]
    rows = [row(n, state="failed", reason=words) for n, words in enumerate(letters)]
    found = gather_findings(ledger_of(rows), scope())
    assert len(found.reasons) == MOST_REASONS and found.num_other_reasons == 20


@pytest.mark.parametrize(
    ("one", "other"),
    [("12 of 30 tiles", "1 of 9 tiles"), ("found b'\\x89' here", "found b'PN' here")],
)
def test_a_kind_leaves_out_what_differs(one: str, other: str) -> None:
    assert kind_of_reason(one) == kind_of_reason(other)


def test_tiffs_are_kept_for_the_map_up_to_a_number() -> None:
    rows = [row(n, key=f"scene-{n:06d}.{'TIF' if n % 2 else 'png'}") for n in range(800)]
    found = gather_findings(ledger_of(rows), scope())
    assert len(found.tiffs) == MOST_TIFFS and all(key.endswith(".TIF") for key in found.tiffs)


def test_an_empty_ledger_finds_nothing() -> None:
    found = gather_findings(ledger_of([]), scope(0, 0))
    assert found.num_restored == 0 and not found.worst and not found.random and not found.fine
