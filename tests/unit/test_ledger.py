import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganray.errors import NotFoundError, StorageError
from ganray.ledger import ROWS_PREFIX, SEGMENTS_PREFIX, Ledger, LedgerRow, ResumeRow, Version
from ganray.ledger import ledger as compacting
from ganray.ledger import scan as scanning
from ganray.storage import Store, open_store
from tests.unit.memory_store import MemoryStore


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


FIXTURES = [HealthCheck.function_scoped_fixture]

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
    output_parts=words,
    seconds=finite,
    num_windows=st.integers(0, 2**40),
    input_pixels=st.integers(0, 2**40),
    output_pixels=st.integers(0, 2**40),
    consistency=st.none() | finite,
    colour_drift=st.none() | finite,
    clipped=st.none() | finite,
    non_finite=st.none() | finite,
    seam_error=st.none() | finite,
    lost=words,
    flags=words,
    limits_digest=words,
    ganray_version=words,
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore({"a.png": b"the restored image beside the ledger"})


@pytest.fixture
def ledger(store: MemoryStore) -> Ledger:
    return Ledger(store)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let segments be read by a few rows and bytes at a time."""
    monkeypatch.setattr(scanning, "MOST_SEGMENTS", 4)
    for name in ("_ROWS", "_LEAST_ROWS"):
        monkeypatch.setattr(scanning, name, 4)
    for name in ("_MOST_BYTES", "_LEAST_BYTES"):
        monkeypatch.setattr(scanning, name, 1000)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows be many."""
    monkeypatch.setattr(compacting, "_MOST_MERGED", 2)
    monkeypatch.setattr(scanning, "MOST_SEGMENTS", 2)
    monkeypatch.setattr(scanning, "_GROUP_BYTES", 30_000)
    monkeypatch.setattr(scanning, "_ROWS", 2)
    monkeypatch.setattr(scanning, "_LEAST_ROWS", 2)
    monkeypatch.setattr(scanning, "_MOST_BYTES", 1000)
    monkeypatch.setattr(scanning, "_LEAST_BYTES", 1000)


def objects(ledger: Ledger, prefix: str = "_ganray/") -> list[str]:
    return [info.key for info in ledger.store.list(prefix)]


def order(row: LedgerRow) -> tuple[object, ...]:
    return (row.key, row.recorded_at, row.run_id, row.attempts)


def latest(recorded: Sequence[LedgerRow]) -> dict[str, LedgerRow]:
    """What a ledger of these rows says."""
    return {row.key: row for row in sorted(recorded, key=order)}


def assert_holds(ledger: Ledger, recorded: Sequence[LedgerRow]) -> None:
    """The ledger has the latest row of every key once, in order of keys."""
    expected = list(latest(recorded).values())
    assert list(ledger.scan()) == expected
    assert list(ledger.scan_for_resume()) == [resume_row(row) for row in expected]


def resume_row(row: LedgerRow) -> ResumeRow:
    return ResumeRow(*(getattr(row, name) for name in ResumeRow._fields))


# --- Rows --------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(row=rows)
def test_a_row_is_read_back_as_it_was_recorded(row: LedgerRow) -> None:
    ledger = Ledger(MemoryStore())
    assert ledger.record([row], "run-1-0") == f"{ROWS_PREFIX}run-1-0.parquet"
    assert ledger.rows_of("run-1-") == [row]
    assert ledger.read() == {row.key: row}
    ledger.absorb([row], [f"{ROWS_PREFIX}run-1-0.parquet"], "run-1-0")
    assert ledger.read() == {row.key: row}
    assert ledger.rows_of("run-1-") == []


def test_a_version_changes_with_input_generator_and_configuration() -> None:
    row = make_row()
    assert row.version == resume_row(row).version == Version("1", "g", "c")
    assert replace(row, attempts=2, state="failed").version == row.version
    for name in ("etag", "generator_digest", "config_digest"):
        assert replace(row, **{name: "other"}).version != row.version


def test_rows_are_found_by_the_beginning_of_their_object_s_name(ledger: Ledger) -> None:
    some, others = [make_row("b"), make_row("a")], [make_row("c")]
    ledger.record(some, "run-1-7-0")
    ledger.record(others, "run-1-70-0")
    assert ledger.rows_of("run-1-7-") == some
    assert ledger.rows_of("run-1-") == some + others
    assert ledger.rows_of("run-2-") == []


def test_rows_that_are_absorbed_while_they_are_asked_for_are_left_out(store: MemoryStore) -> None:
    key = Ledger(store).record([make_row()], "run-1-0")
    Ledger(store).record([make_row("b")], "run-1-1")

    def absorb(action: str, reads: str) -> None:
        if action == "read":
            store.objects.pop(key, None)

    assert Ledger(store.seen_by(absorb)).rows_of("run-1-") == [make_row("b")]


def test_a_ledger_without_rows_is_empty(ledger: Ledger) -> None:
    assert ledger.read() == {}
    ledger.compact("run-1")
    assert objects(ledger) == []


def test_a_target_that_is_not_there_is_not_an_empty_ledger(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Ledger(open_store(str(tmp_path / "absent"))).read()


def test_recording_an_object_again_replaces_it(ledger: Ledger) -> None:
    ledger.record([make_row(state="failed", recorded_at=1.0)], "run-1-0")
    ledger.record([make_row(state="restored", recorded_at=2.0)], "run-1-0")
    assert len(objects(ledger, ROWS_PREFIX)) == 1
    assert ledger.read()["a.png"].state == "restored"


# --- Reading -----------------------------------------------------------------------------


def test_rows_come_in_the_order_of_keys_as_s3_lists_them(ledger: Ledger) -> None:
    keys = ["c", "B", "a/b", "ä", "a", "\U0001f600", "\uffee"]
    for number, key in enumerate(keys):
        ledger.record([make_row(key)], f"run-1-{number}")
    ledger.absorb([make_row("b"), make_row("A")], [], "run-1")
    assert list(ledger.read()) == sorted([*keys, "b", "A"], key=str.encode)


@settings(max_examples=15, deadline=None)
@given(times=st.permutations(range(5)), compact_after=st.integers(0, 5))
def test_the_latest_row_wins_whatever_the_order_and_the_compactions(
    times: list[int], compact_after: int
) -> None:
    ledger = Ledger(MemoryStore())
    for position, time in enumerate(times):
        if position == compact_after:
            ledger.compact("compaction")
        ledger.record([make_row(run_id=f"run-{time}", recorded_at=float(time))], f"run-{time}")
    assert ledger.read()["a.png"].run_id == "run-4"


@settings(max_examples=25, deadline=None, suppress_health_check=FIXTURES)
@given(parts=st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=6))
def test_segments_that_overlap_are_merged_piece_by_piece(
    small_pieces: None, parts: list[list[int]]
) -> None:
    ledger = Ledger(MemoryStore())
    recorded = []
    for number, part in enumerate(parts):
        some = [make_row(f"{key:02}", recorded_at=float(number), etag=str(number)) for key in part]
        recorded += some
        ledger.absorb(some, [], f"run-{number}")
    assert_holds(ledger, recorded)


def test_more_objects_than_fit_in_memory_are_merged_on_the_local_disk(
    store: MemoryStore, small_memory: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ledger, recorded = Ledger(store), []
    for number in range(7):
        some = [make_row(f"{key % 13:02}", recorded_at=float(number)) for key in range(number + 5)]
        ledger.record(some, f"run-1-{number}")
        recorded += some
        some = [make_row(f"{key % 17:02}", recorded_at=number + 0.5) for key in range(9 + number)]
        ledger.absorb(some, [], f"run-1-{number}")
        recorded += some
    before = dict(store.objects)
    assert_holds(ledger, recorded)
    assert store.objects == before
    ledger.compact("run-1")
    assert_holds(ledger, recorded)
    abandoned = ledger.scan()
    next(abandoned)
    abandoned.close()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_never_sees_half_a_ledger_whenever_it_is_compacted() -> None:
    """A run absorbs and compacts, in one go, before each possible step of a reader."""
    num_steps, step = 1, 0
    while step < num_steps:
        store, recorded = overtaken_ledger()
        steps: list[str] = []

        def overtake(action: str, key: str, steps: list[str] = steps, at: int = step) -> None:
            steps.append(action)
            if len(steps) == at + 1:
                writer = Ledger(store)  # noqa: B023
                writer.absorb(recorded[:2], objects(writer, ROWS_PREFIX)[:1], "run-2-absorbed")  # noqa: B023
                writer.compact("a-run")

        assert_reads(Ledger(store.seen_by(overtake)), recorded)
        num_steps, step = len(steps), step + 1
    assert step > 10


def overtaken_ledger() -> tuple[MemoryStore, list[LedgerRow]]:
    store = MemoryStore()
    ledger = Ledger(store)
    recorded = [make_row(key, recorded_at=float(n)) for n, key in enumerate("abcadbe")]
    ledger.record(recorded[:2], "run-2-0")
    ledger.record(recorded[2:3], "run-2-1")
    ledger.absorb(recorded[3:5], [], "run-1-1")
    ledger.absorb(recorded[5:], [], "run-1-2")
    return store, recorded


def assert_reads(ledger: Ledger, recorded: Sequence[LedgerRow]) -> None:
    assert list(ledger.scan()) == list(latest(recorded).values())


def test_a_ledger_that_never_rests_is_an_error(store: MemoryStore) -> None:
    writer = Ledger(store)

    def absorb(action: str, key: str) -> None:
        if action == "read":
            for name in objects(writer):
                store.objects[name + "-moved"] = store.objects.pop(name)

    writer.record([make_row()], "run-1-0")
    with pytest.raises(StorageError, match="changed 8 times while it was read; wait") as caught:
        Ledger(store.seen_by(absorb)).read()
    assert not isinstance(caught.value, NotFoundError)


# --- Absorbing and compacting --------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(recorded=st.lists(rows, max_size=8, unique_by=order), num_absorbed=st.integers(0, 8))
def test_compaction_changes_no_state_and_leaves_one_small_segment(
    recorded: list[LedgerRow], num_absorbed: int
) -> None:
    ledger = Ledger(MemoryStore())
    for number, row in enumerate(recorded[num_absorbed:]):
        ledger.record([row], f"run-1-{number}")
    if recorded[:num_absorbed]:
        ledger.absorb(recorded[:num_absorbed], [], "run-1-absorbed")
    before = ledger.read()
    ledger.compact("run-2")
    assert ledger.read() == before
    assert len(objects(ledger)) == min(1, len(recorded))


def test_segments_of_earlier_runs_are_merged(ledger: Ledger) -> None:
    for run in ("run-1", "run-2", "run-3"):
        time = float(run[-1])
        ledger.record(
            [make_row(key, run_id=run, recorded_at=time) for key in ("a", "b", run)], f"{run}-0"
        )
        ledger.compact(run)
    assert len(objects(ledger)) == 1
    assert {key: row.run_id for key, row in ledger.read().items()} == {
        **{"a": "run-3", "b": "run-3"},
        **{"run-1": "run-1", "run-2": "run-2", "run-3": "run-3"},
    }


def test_a_large_segment_is_not_rewritten_for_a_few_rows(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compacting, "_SMALL_BYTES", 20_000)
    large = [make_row(f"{n:06}", etag=sha256(b"%d" % n).hexdigest()) for n in range(4000)]
    ledger.absorb(large, [], "large")
    new = [make_row(f"{n:06}", recorded_at=2.0) for n in range(3)]
    for number, row in enumerate(new):
        ledger.record([row], f"run-2-{number}")
        ledger.compact(f"run-2-{number}")
    assert f"{SEGMENTS_PREFIX}large.parquet" in objects(ledger)
    assert len(objects(ledger)) == 2
    assert_holds(ledger, large + new)


@pytest.mark.parametrize("num_rows", [0, 1, 5000])
def test_a_merged_segment_has_row_groups_of_one_bounded_size(
    ledger: Ledger, store: MemoryStore, num_rows: int
) -> None:
    recorded = [make_row(f"{n:06}") for n in range(num_rows)]
    for start in range(3):
        ledger.absorb(recorded[start::3], [], f"run-1-{start}")
    ledger.compact("run-1")
    (key,) = objects(ledger)
    metadata = pq.ParquetFile(pa.BufferReader(store.objects[key])).metadata
    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert sum(sizes) == num_rows
    assert all(size == 4096 for size in sizes[:-1])
    assert_holds(ledger, recorded)


class KilledError(Exception):
    """Stands for a kill."""


def killed_after(store: MemoryStore, num_changes: int) -> MemoryStore:
    """The store of a process that dies before it changes something once more."""
    left = [num_changes]

    def step(action: str, key: str) -> None:
        if action in ("write", "delete"):
            if left[0] == 0:
                raise KilledError
            left[0] -= 1

    return store.seen_by(step)


keys = st.sampled_from(["a", "b", "c/d", "ä", "z"])
actions = st.lists(
    st.tuples(
        st.sampled_from(["record", "record", "absorb", "compact"]),
        st.lists(keys, min_size=1, max_size=4),
        st.none() | st.integers(0, 6),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(actions=actions, data=st.data())
def test_no_order_of_actions_and_kills_loses_or_revives_a_row(
    actions: list[tuple[str, list[str], int | None]], data: st.DataObject
) -> None:
    store = MemoryStore()
    times = iter(data.draw(st.permutations(range(48))))
    recorded: list[LedgerRow] = []
    waiting: dict[str, list[LedgerRow]] = {}
    for number, (action, some_keys, num_changes) in enumerate(actions):
        survivor = Ledger(store)
        doomed = survivor if num_changes is None else Ledger(killed_after(store, num_changes))
        try:
            if action == "record":
                some = [make_row(key, recorded_at=float(next(times))) for key in some_keys]
                waiting[survivor.record(some, f"run-{number}")] = some
                recorded += some
            elif action == "absorb":
                some = [row for rows in waiting.values() for row in rows]
                doomed.absorb(some, list(waiting), f"run-{number}")
                waiting.clear()
            else:
                doomed.compact(f"run-{number}")
                waiting.clear()
        except KilledError:
            waiting.clear()
        assert_holds(survivor, recorded)


@pytest.mark.parametrize("num_changes", range(8))
def test_an_interrupted_compaction_changes_nothing(ledger: Ledger, num_changes: int) -> None:
    for index in range(5):
        ledger.record([make_row(f"{index}.png", recorded_at=float(index))], f"run-1-{index}")
    before = ledger.read()
    doomed = Ledger(killed_after(ledger.store, num_changes))
    if num_changes < 6:
        with pytest.raises(KilledError):
            doomed.compact("run-1")
    else:
        doomed.compact("run-1")
    assert ledger.read() == before
    new = make_row("0.png", run_id="run-2", recorded_at=9.0)
    ledger.record([new], "run-2-0")
    ledger.compact("run-2")
    assert ledger.read() == before | {"0.png": new}
    assert len(objects(ledger)) == 1


def test_compacting_twice_under_one_name_keeps_both_segments_rows(ledger: Ledger) -> None:
    recorded = [make_row(f"{n:04}", etag=f"{hash(n * 7919):x}") for n in range(2000)]
    ledger.record(recorded, "run-1-0")
    ledger.compact("run-1")
    ledger.record([make_row("other")], "run-1-1")
    ledger.compact("run-1")
    assert_holds(ledger, [*recorded, make_row("other")])


# --- Tables of other versions, and damaged ones ----------------------------------------------


def test_the_table_has_a_typed_column_for_every_field(ledger: Ledger, store: MemoryStore) -> None:
    key = ledger.record([make_row()], "run-1-0")
    schema = pq.read_schema(pa.BufferReader(store.objects[key]))
    assert schema.names == [field.name for field in fields(LedgerRow)]
    for name, kind in {
        **dict.fromkeys(("recorded_at", "seconds", "consistency", "seam_error"), pa.float64()),
        **dict.fromkeys(("attempts", "output_bytes", "output_pixels"), pa.int64()),
        **{"retry": pa.bool_(), "key": pa.string(), "state": pa.string()},
    }.items():
        assert schema.field(name).type == kind


def write_table(store: Store, key: str, columns: dict[str, object]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    store.write(key, sink.getvalue().to_pybytes())


def columns_of(*some: LedgerRow) -> dict[str, object]:
    return {field.name: [getattr(row, field.name) for row in some] for field in fields(LedgerRow)}


@pytest.mark.parametrize("prefix", [ROWS_PREFIX, SEGMENTS_PREFIX])
def test_columns_of_another_version_are_passed_over_and_missing_ones_filled(
    ledger: Ledger, prefix: str
) -> None:
    row = make_row(consistency=None)
    columns = columns_of(row)
    columns["limit_pixels"] = [7]
    columns["attempts"] = pa.array([1], pa.int32())
    for name in ("lost", "flags", "limits_digest", "seam_error", "output_bytes", "retry"):
        del columns[name]
    write_table(ledger.store, f"{prefix}earlier.parquet", columns)
    ledger.absorb([make_row("b")], [], "run-2")
    assert_holds(ledger, [row, make_row("b")])
    ledger.compact("run-2")
    assert_holds(ledger, [row, make_row("b")])


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("key", None, "column key is missing"),
        ("key", [None], "column key has empty cells"),
        ("recorded_at", ["yesterday"], "yesterday"),
    ],
)
def test_a_table_that_is_no_ledger_is_an_error(
    ledger: Ledger, name: str, values: list[object] | None, reason: str
) -> None:
    columns = columns_of(make_row())
    del columns[name]
    write_table(
        ledger.store,
        f"{SEGMENTS_PREFIX}strange.parquet",
        columns if values is None else columns | {name: values},
    )
    with pytest.raises(StorageError, match=rf"strange\.parquet.*{reason}.*remove it"):
        ledger.read()


@pytest.mark.parametrize("names", ["ba", "aa"])
def test_a_segment_out_of_order_is_an_error(ledger: Ledger, names: str) -> None:
    rows = [make_row(name) for name in names]
    write_table(ledger.store, f"{SEGMENTS_PREFIX}strange.parquet", columns_of(*rows))
    with pytest.raises(StorageError, match=r"strange\.parquet.*order of keys"):
        ledger.read()


@pytest.mark.parametrize("prefix", [ROWS_PREFIX, SEGMENTS_PREFIX])
@pytest.mark.parametrize(
    "data", [b"", b"no Parquet", b"PAR1" + bytes(40) + b"PAR1"], ids=["empty", "text", "zeros"]
)
def test_an_object_that_is_no_parquet_file_is_an_error_that_names_it(
    ledger: Ledger, data: bytes, prefix: str
) -> None:
    key = f"{prefix}run-1-0.parquet"
    ledger.store.write(key, data)
    with pytest.raises(StorageError, match=rf"memory/{key}: no Parquet file .* remove it"):
        ledger.read()


@settings(max_examples=40, deadline=None, suppress_health_check=FIXTURES)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_cut=st.booleans())
def test_a_damaged_segment_is_noticed(
    small_pieces: None, place: float, bit: int, is_cut: bool
) -> None:
    store = MemoryStore()
    ledger = Ledger(store)
    recorded = [make_row(f"{n:04}", etag=f"{hash(n * 7919):x}") for n in range(300)]
    ledger.absorb(recorded, [], "run-1")
    (key,) = objects(ledger)
    data = bytearray(store.objects[key])
    position = int(place * len(data))
    data[position] ^= 1 << bit
    store.objects[key] = bytes(data[:position] if is_cut else data)
    try:
        assert_holds(ledger, recorded)
    except StorageError as error:
        assert key in str(error)


def test_a_store_s_error_in_the_middle_of_a_segment_stays_what_it_is(
    store: MemoryStore, small_memory: None
) -> None:
    some = [make_row(f"{n:04}", etag=sha256(b"%d" % n).hexdigest()) for n in range(300)]
    Ledger(store).absorb(some, [], "run-1")
    num_reads = 0

    def fail(action: str, key: str) -> None:
        nonlocal num_reads
        num_reads += action == "read"
        if num_reads == 5:
            raise StorageError("the store is broken")

    with pytest.raises(StorageError, match=r"^the store is broken$"):
        Ledger(store.seen_by(fail)).read()


def test_a_ledger_in_a_folder_is_compacted_to_one_file(tmp_path: Path) -> None:
    ledger = Ledger(open_store(str(tmp_path / "target")))
    recorded = [make_row(f"{n:04}", etag=str(n)) for n in range(100)]
    for number in range(10):
        ledger.record(recorded[number::10], f"run-1-{number}")
    ledger.absorb(recorded[::10], [f"{ROWS_PREFIX}run-1-0.parquet"], "run-1-absorbed")
    assert_holds(ledger, recorded)
    ledger.compact("run-1")
    assert_holds(ledger, recorded)
    assert len(list((tmp_path / "target/_ganray/ledger").rglob("*.*"))) == 1
