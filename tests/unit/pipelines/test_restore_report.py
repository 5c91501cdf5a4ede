"""The report of a restoration: whatever a run came to, its page is written, or the run goes on."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganray.errors import StorageError
from ganray.ledger import Ledger, LedgerRow
from ganray.pipelines import restore_report
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_pace import Crew
from ganray.pipelines.restore_report import EndedRun, write_restore_report
from ganray.pipelines.summary import InputCounts, RunFolder, Summary
from ganray.report.config import ReportConfig
from ganray.storage import open_store

RUN_ID = "20260101T000000000000-abcdef"


def ended(tmp_path: Path, trouble: str = "", **counts: int) -> EndedRun:
    config = RestoreConfig(
        source=str(tmp_path / "source"),
        target=str(tmp_path / "target"),
        cost_per_worker_hour=2.0,
        currency="EUR",
        report=ReportConfig(seconds=60.0),
    )
    inputs = InputCounts(**({"listed": 4, "restored": 3, "failed": 1} | counts))
    summary = Summary(RUN_ID, inputs, seconds=30.0, worker_seconds=5400.0, input_pixels=12_000)
    return EndedRun(config, summary, "digest", Crew(2), trouble)


def row(run: EndedRun, key: str, **values: object) -> LedgerRow:
    known: dict[str, object] = {
        "key": key,
        "etag": "e",
        "generator_digest": "digest",
        "config_digest": run.config.pixel_digest,
        "state": "restored",
        "recorded_at": 0.0,
        "run_id": RUN_ID,
        "attempts": 1,
        "output": key,
        "consistency": 0.01,
        "colour_drift": 0.001,
    }
    return LedgerRow(**(known | values))  # type: ignore[arg-type]


def write_pair(tmp_path: Path, key: str, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for folder, factor in (("source", 1), ("target", 2)):
        path = tmp_path / folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1)).save(path)


def page_of(tmp_path: Path, run: EndedRun, rows: list[LedgerRow]) -> str:
    (tmp_path / "target").mkdir(exist_ok=True)
    store = open_store(run.config.target)
    if rows:
        Ledger(store).record(rows, "rows")
    folder = RunFolder(store, RUN_ID)
    assert write_restore_report(folder, run)
    return store.read(folder.prefix + "report.html").decode()


def test_a_page_shows_pictures_failures_trust_cost_and_provenance(tmp_path: Path) -> None:
    run = ended(tmp_path)
    for number in range(3):
        write_pair(tmp_path, f"{number}.png", number)
    rows = [row(run, f"{n}.png", consistency=0.01 * (n + 1)) for n in range(3)]
    rows.append(row(run, "bad.png", state="failed", reason="damaged <b>", output=""))
    html = page_of(tmp_path, run, rows)
    assert html.count("data-strip") == 3 + html.count("[data-strip]")
    assert html.count("<img") == 6
    assert "damaged &lt;b&gt;" in html and "bad.png" in html
    assert "3.00 EUR" in html
    assert "compact-x2" in html and run.config.pixel_digest in html
    assert "cost_per_worker_hour: 2.0" in html
    assert "Consistency error" in html and "How far to trust it" in html


def test_pictures_of_earlier_runs_are_marked(tmp_path: Path) -> None:
    run = ended(tmp_path)
    for number in range(3):
        write_pair(tmp_path, f"{number}.png", number)
    rows = [row(run, f"{n}.png", run_id="earlier" if n else RUN_ID) for n in range(3)]
    assert page_of(tmp_path, run, rows).count("restored by an earlier run") == 2


def test_a_picture_that_cannot_be_shown_is_named_in_its_place(tmp_path: Path) -> None:
    run = ended(tmp_path)
    write_pair(tmp_path, "good.png", 0)
    write_pair(tmp_path, "gone.png", 1)
    (tmp_path / "target/gone.png").unlink()
    html = page_of(tmp_path, run, [row(run, "good.png"), row(run, "gone.png")])
    assert html.count("<img") == 2
    assert "Not shown" in html and "gone.png" in html


def test_a_run_that_was_stopped_or_failed_has_a_page_that_says_so(tmp_path: Path) -> None:
    assert "5 inputs are still to be done" in page_of(tmp_path, ended(tmp_path, pending=5), [])
    assert "ended early: the disk is full" in page_of(
        tmp_path, ended(tmp_path, trouble="the disk is full"), []
    )


def test_without_a_price_there_is_no_cost(tmp_path: Path) -> None:
    run = ended(tmp_path)
    free = run.config.model_copy(update={"cost_per_worker_hour": 0.0})
    html = page_of(tmp_path, EndedRun(free, run.summary, "digest", Crew(2)), [])
    assert "cost of the workers" not in html


def test_no_time_for_pictures_leaves_a_page_without_any(tmp_path: Path) -> None:
    run = ended(tmp_path)
    write_pair(tmp_path, "good.png", 0)
    hurried = run.config.model_copy(update={"report": ReportConfig(seconds=0)})
    run = EndedRun(hurried, run.summary, "digest", Crew(2))
    html = page_of(tmp_path, run, [row(run, "good.png")])
    assert "<img" not in html and "the time for pictures was up" in html


def test_a_report_that_fails_is_logged_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("no store")

    monkeypatch.setattr(restore_report, "gather_findings", fail)
    (tmp_path / "target").mkdir()
    folder = RunFolder(open_store(str(tmp_path / "target")), RUN_ID)
    with caplog.at_level(logging.WARNING):
        assert not write_restore_report(folder, ended(tmp_path))
    assert "event=report_failed" in caplog.text
    assert "no store" in caplog.text and RUN_ID in caplog.text
