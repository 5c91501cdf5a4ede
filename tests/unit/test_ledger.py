from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.errors import StorageError
from ganray.ledger import ROWS_PREFIX, SEGMENTS_PREFIX, Ledger, LedgerRow, Version
from ganray.storage import Store, open_store


def make_row(key: str = "a.png", **changes: object) -> LedgerRow:
    row = LedgerRow(
        key=key,
        etag="1",
        generator_digest="g",
        config_digest="c",
        state="restored",
        recorded_at=1.0,
        run_id="run-1",
        attempts=1,
    )
    return replace(row, **changes)


finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
rows = st.builds(
    LedgerRow,
    key=words.filter(bool),
    etag=words,
    generator_digest=words,
    config_digest=words,
    state=st.sampled_from(["restored", "failed"]),
    recorded_at=finite,
    run_id=st.sampled_from(["run-1", "run-2"]),
    attempts=st.integers(1, 100),
    reason=words,
    retry=st.booleans(),
    output=words,
    output_bytes=st.integers(0, 2**62),
    output_sha256=words,
    seconds=finite,
    num_windows=st.integers(0, 2**40),
    input_pixels=st.integers(0, 2**40),
    output_pixels=st.integers(0, 2**40),
    consistency=st.none() | finite,
    colour_drift=st.none() | finite,
    clipped=st.none() | finite,
    lost=words,
    ganray_version=words,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "target"))


@pytest.fixture
def ledger(store: Store) -> Ledger:
    store.write("a.png", b"the restored image beside the ledger")
    return Ledger(store)


def objects(ledger: Ledger, prefix: str) -> list[str]:
    return [info.key for info in ledger.store.list(prefix)]


class KilledError(Exception):
    """Stands for a kill."""


class KilledStore:
    """A store whose process dies at a certain deletion."""

    def __init__(self, store: Store, num_deletions: int) -> None:
        self.store = store
        self.left = num_deletions

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    def delete(self, key: str) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1
        self.store.delete(key)


@settings(max_examples=15, deadline=None)
@given(row=rows)
def test_a_row_is_read_back_as_it_was_recorded(
    tmp_path_factory: pytest.TempPathFactory, row: LedgerRow
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("ledger")))
    store.write("a.png", b"")
    ledger = Ledger(store)
    ledger.record(row)
    assert ledger.find(row.run_id, row.key) == row
    assert ledger.read() == {row.key: row}


def test_a_row_that_was_not_recorded_is_not_found(ledger: Ledger) -> None:
    ledger.record(make_row())
    assert ledger.find("run-2", "a.png") is None
    assert ledger.find("run-1", "b.png") is None


def test_a_ledger_without_rows_is_empty(ledger: Ledger) -> None:
    assert ledger.read() == {}
    ledger.compact("run-1")
    assert objects(ledger, "_ganray/") == []


def test_rows_come_in_the_order_of_keys(ledger: Ledger) -> None:
    for key in ("c", "B", "a/b", "ä", "a"):
        ledger.record(make_row(key))
    assert list(ledger.read()) == ["B", "a", "a/b", "c", "ä"]


def test_recording_an_attempt_again_replaces_it(ledger: Ledger) -> None:
    ledger.record(make_row(state="failed", recorded_at=1.0))
    ledger.record(make_row(state="restored", recorded_at=2.0))
    assert len(objects(ledger, ROWS_PREFIX)) == 1
    assert ledger.read()["a.png"].state == "restored"


@settings(max_examples=12, deadline=None)
@given(times=st.permutations(range(5)), compact_after=st.integers(0, 5))
def test_the_latest_row_wins_whatever_the_order_and_the_compactions(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], compact_after: int
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("ledger")))
    store.write("a.png", b"")
    ledger = Ledger(store)
    for position, time in enumerate(times):
        if position == compact_after:
            ledger.compact("compaction")
        ledger.record(make_row(run_id=f"run-{time}", recorded_at=float(time)))
    assert ledger.read()["a.png"].run_id == "run-4"


@settings(max_examples=12, deadline=None)
@given(recorded=st.lists(rows, max_size=6))
def test_compaction_changes_no_state_and_leaves_one_segment(
    tmp_path_factory: pytest.TempPathFactory, recorded: list[LedgerRow]
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("ledger")))
    store.write("a.png", b"")
    ledger = Ledger(store)
    for row in recorded:
        ledger.record(row)
    before = ledger.read()
    num_objects = len(objects(ledger, ROWS_PREFIX))
    ledger.compact("run-2")
    assert ledger.read() == before
    if num_objects > 1:
        assert objects(ledger, "_ganray/") == [f"{SEGMENTS_PREFIX}run-2.parquet"]


def test_segments_of_earlier_runs_are_merged(ledger: Ledger) -> None:
    for run in ("run-1", "run-2", "run-3"):
        for key in ("a", "b", run):
            ledger.record(make_row(key, run_id=run, recorded_at=float(run[-1])))
        ledger.compact(run)
    assert objects(ledger, "_ganray/") == [f"{SEGMENTS_PREFIX}run-3.parquet"]
    assert {key: row.run_id for key, row in ledger.read().items()} == {
        **{"a": "run-3", "b": "run-3"},
        **{"run-1": "run-1", "run-2": "run-2", "run-3": "run-3"},
    }


@pytest.mark.parametrize("num_deletions", [0, 1, 3])
def test_an_interrupted_compaction_changes_nothing(ledger: Ledger, num_deletions: int) -> None:
    for index in range(5):
        ledger.record(make_row(f"{index}.png", recorded_at=float(index)))
    before = ledger.read()
    with pytest.raises(KilledError):
        Ledger(KilledStore(ledger.store, num_deletions)).compact("run-1")
    assert len(objects(ledger, SEGMENTS_PREFIX)) == 1
    assert len(objects(ledger, ROWS_PREFIX)) >= 1
    assert ledger.read() == before
    ledger.record(make_row("0.png", run_id="run-2", recorded_at=9.0))
    ledger.compact("run-2")
    assert ledger.read() == before | {"0.png": make_row("0.png", run_id="run-2", recorded_at=9.0)}
    assert objects(ledger, "_ganray/") == [f"{SEGMENTS_PREFIX}run-2.parquet"]


def test_a_version_changes_with_input_generator_and_configuration() -> None:
    row = make_row()
    assert row.version == Version("1", "g", "c")
    assert replace(row, attempts=2, state="failed").version == row.version
    for name in ("etag", "generator_digest", "config_digest"):
        assert replace(row, **{name: "other"}).version != row.version


def test_the_table_has_a_typed_column_for_every_field(ledger: Ledger, tmp_path: Path) -> None:
    ledger.record(make_row())
    (path,) = (tmp_path / "target" / ROWS_PREFIX).iterdir()
    schema = pq.read_schema(path)
    assert schema.names == [field.name for field in fields(LedgerRow)]
    for name, kind in {
        **dict.fromkeys(("recorded_at", "seconds", "consistency", "clipped"), pa.float64()),
        **dict.fromkeys(("attempts", "output_bytes", "output_pixels"), pa.int64()),
        **{"retry": pa.bool_(), "key": pa.string(), "state": pa.string()},
    }.items():
        assert schema.field(name).type == kind


def test_columns_of_another_version_are_passed_over(ledger: Ledger) -> None:
    values = {field.name: [getattr(make_row(), field.name)] for field in fields(LedgerRow)}
    values["of_the_future"] = ["x"]
    del values["lost"]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(values), sink)
    ledger.store.write(f"{SEGMENTS_PREFIX}later.parquet", sink.getvalue().to_pybytes())
    assert ledger.read() == {"a.png": make_row()}


@pytest.mark.parametrize(
    "data", [b"", b"no Parquet", b"PAR1" + bytes(40) + b"PAR1"], ids=["empty", "text", "zeros"]
)
def test_an_object_that_is_no_parquet_file_is_an_error(ledger: Ledger, data: bytes) -> None:
    ledger.store.write(f"{ROWS_PREFIX}run-1-0.parquet", data)
    with pytest.raises(StorageError, match="no Parquet file"):
        ledger.read()
