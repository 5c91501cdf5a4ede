"""The report of a training: whatever it came to, its page is written, or the training goes on."""

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganray.config import load_config
from ganray.errors import StorageError
from ganray.pipelines import train_report
from ganray.pipelines.gate import Verdict
from ganray.pipelines.promote import PromoteResult
from ganray.pipelines.train import _remove_earlier
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.pipelines.train_events import TITLES, happenings
from ganray.pipelines.train_history import gather_columns
from ganray.pipelines.train_report import TrainReporter
from ganray.storage import open_store
from tests.integration.pictures import write_pictures
from tests.unit.memory_store import MemoryStore

ALARM = {"reason": "error_grew", "player": "generator", "value": 62.9, "expected": 1.7}
ROLLBACK = {"event": "rolled_back", "step": 120, **ALARM, "rate": 0.25, "weight": 0.5}
SKIP = {"event": "step_skipped", "player": "generator", "value": "inf", "expected": 0.5,
        "reason": "non_finite"}  # fmt: skip


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrainPlan:
    folder = tmp_path_factory.mktemp("training")
    write_pictures(folder / "photos", 3, side=48)
    words = f"archive={folder}/photos", f"validation={folder}/photos", f"output={folder}/out"
    return plan_training(load_config(TrainConfig, [*words, "patch_pixels=16"]))


def metrics(num_lines: int, last_step: int = 220) -> list[dict[str, Any]]:
    """Lines of metrics from the first to the last step, and validations of some."""
    rng = np.random.default_rng(0)
    steps = np.linspace(1, last_step, num_lines).round().astype(int).tolist()
    lines: list[dict[str, Any]] = [{"step": 0, "bicubic_psnr_y": 27.5, "bicubic_ssim_y": 0.8}]
    for step, noise in zip(steps, rng.random(num_lines).tolist(), strict=True):
        losses = {"pixel": noise, "discriminator": 0.7 + noise, "generator_gradient": noise}
        rates = {"learning_rate": 1e-4, "patches_per_second": 50.0}
        times = {"time_data": 0.25, "time_generator": 0.75}
        lines.append({"step": step, "stage": "fidelity", **losses, **rates, **times})
    lines.append({"step": last_step, "validation_psnr_y": 28.0, "validation_ssim_y": 0.82})
    return lines


def event(name: str, step: int, second: int = 0, **details: Any) -> dict[str, Any]:
    return {"event": name, "step": step, "time": f"2026-01-01T00:00:{second:02d}+00:00", **details}


def store_of(lines: list[dict[str, Any]], events: list[dict[str, Any]]) -> MemoryStore:
    files = {"metrics.jsonl": lines, "events.jsonl": events}
    return MemoryStore(
        {key: "".join(json.dumps(x) + "\n" for x in all_).encode() for key, all_ in files.items()}
    )


def write(plan: TrainPlan, store: MemoryStore, trouble: str = "") -> str:
    """The page that is written."""
    one = reporter(plan, store)
    one.write(trouble)
    assert one.is_written
    return store.objects["report.html"].decode()


def reporter(
    plan: TrainPlan, store: MemoryStore, heard: list[Any] | None = None, *, may_write: bool = True
) -> TrainReporter:
    told: list[Any] = [] if heard is None else heard
    return TrainReporter(plan, store, told.append, lambda: may_write)


def test_a_finished_training_is_told_with_its_gain_and_its_figures(plan: TrainPlan) -> None:
    started, ended = event("started", 0, 0, workers=3), event("finished", 220, 40)
    page = write(plan, store_of(metrics(22), [started, ended]))
    for words in ("0.50 dB better than bicubic", "28.00 dB", "1,760", "40 s", "workers"):
        assert words in page, words


def test_a_page_of_a_hundred_thousand_lines_and_events_is_small_and_quickly_made(
    plan: TrainPlan,
) -> None:
    events = [event("started", 0, workers=1)]
    events += [{**(ROLLBACK if n % 2 else SKIP), "step": n} for n in range(2000)]
    store = store_of(metrics(100_000, last_step=1_000_000), events)
    begin = time.process_time()
    page = write(plan, store)
    assert len(page.encode()) < 2**20
    assert time.process_time() - begin < 20


def test_a_page_asks_nothing_of_any_host(plan: TrainPlan) -> None:
    page = write(plan, store_of(metrics(22), [event("started", 0, workers=1)]))
    assert not re.search(r"(src|href)=.?(https?:)?//|url\(\s*.?http|@import", page)


def test_a_training_of_which_nothing_is_stored_yet_has_a_page(plan: TrainPlan) -> None:
    page = write(plan, MemoryStore())
    assert "under way" in page and "Provenance" in page and "<svg" not in page


def test_events_are_marked_on_every_curve_and_told_in_words(plan: TrainPlan) -> None:
    events = [event("started", 0, workers=1), *({**SKIP, "step": n} for n in (100, 101)), ROLLBACK]
    page = write(plan, store_of(metrics(22), events))
    num_charts = page.count("<svg")
    assert num_charts >= 5
    for number in "12":
        marks = re.findall(rf'class="mark-label" style="left:([\d.]+)%">{number}<', page)
        assert len(marks) == num_charts
    assert float(marks[0]) == pytest.approx(100 * 120 / 220, abs=0.01)
    for words in ("Step skipped, 2 times", "100 to 101", "grew to 62.9, beyond 1.7",
                  "learning rate ×0.25", "the generator&#39;s gradient was not"):  # fmt: skip
        assert words in page, words


def test_every_event_of_a_training_has_words() -> None:
    details = {"key": "a.png", "cause": "it broke", "damaged": ["x"], "checkpoint": "c",
               "workers": 2, "to_steps": 20, "from_steps": 10, **ALARM}  # fmt: skip
    told = happenings([{**details, "event": name, "step": 1} for name in TITLES])
    assert [h.kind for h in told] == list(TITLES)
    assert all(h.reason for h in told)


@pytest.mark.parametrize(
    ("events", "trouble", "words"),
    [
        ([event("stopped", 9, checkpoint_stored=True)], "stopped by SIGTERM", "was stopped at"),
        ([{**ROLLBACK, "event": "gave_up"}, event("finished", 120)], "", "gave up at step"),
        ([event("finished", 220)], "no gate", "What came after failed: no gate"),
        ([], "no space left", "ended early, at step 220 of 220: no space left"),
    ],
)
def test_a_training_that_did_not_reach_its_end_says_why(
    plan: TrainPlan, events: list[dict[str, Any]], trouble: str, words: str
) -> None:
    store = store_of(metrics(22), [event("started", 0, workers=1), *events])
    assert words in write(plan, store, trouble)


def test_the_time_of_a_resumed_training_is_that_of_its_runs_alone(plan: TrainPlan) -> None:
    first = event("started", 0, 0, workers=1), event("checkpoint", 50, 10)
    going_on = event("resumed", 50, 40, workers=1, checkpoint="c"), event("finished", 220, 55)
    page = write(plan, store_of(metrics(22), [*first, *going_on]))
    assert "<dd>25 s</dd>" in page and "Went on" in page


def test_the_rules_of_a_gate_are_shown_with_what_became_of_them(plan: TrainPlan) -> None:
    store = store_of(metrics(22), [event("started", 0, workers=1)])
    assert "The gate" not in write(plan, store)
    verdicts = (
        Verdict("fidelity", "psnr_y", "bicubic", -2.5, "min", -1.5, passed=False),
        Verdict("perceptual", "ssim_y", "bicubic", 0.0, "min", 0.0, passed=False),
    )
    gate = PromoteResult("it", "photos", "", "", "digest", verdicts).as_dict()
    store.objects["gate/gate.json"] = json.dumps(gate).encode()
    page = write(plan, store)
    assert "Refused as photos" in page and "at least -1.5" in page
    assert "more than +0" in page


def test_a_report_that_fails_is_told_and_ends_nothing(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(told: object) -> None:
        raise StorageError("slow down")

    monkeypatch.setattr(train_report, "train_page", fail)
    heard: list[Any] = []
    with caplog.at_level(logging.WARNING), reporter(plan, MemoryStore(), heard).at_the_end():
        pass
    assert "slow down" in caplog.text
    assert [line["event"] for line in heard] == ["report_failed"]


def test_the_report_of_a_run_that_raises_is_written_and_its_error_goes_on(plan: TrainPlan) -> None:
    store = MemoryStore()
    with pytest.raises(StorageError), reporter(plan, store).at_the_end():
        raise StorageError("bucket gone")
    assert "bucket gone" in store.objects["report.html"].decode()


def test_a_run_whose_output_is_anothers_writes_no_report(plan: TrainPlan) -> None:
    store = MemoryStore()
    one = reporter(plan, store, may_write=False)
    one.write()
    assert not one.is_written and not store.objects


def test_checkpoints_in_quick_succession_write_one_report(plan: TrainPlan) -> None:
    store = MemoryStore()
    written: list[str] = []
    store.step = lambda action, key: written.append(key) if action == "write" else None
    several = reporter(plan, store)
    for _ in range(3):
        several.note_checkpoint()
    assert written == ["report.html"]


def test_the_parts_of_the_time_are_weighted_by_how_long_their_lines_took() -> None:
    slow = {"step": 1, "patches_per_second": 1.0, "time_data": 1.0, "time_generator": 0.0}
    fast = {"step": 2, "patches_per_second": 3.0, "time_data": 0.0, "time_generator": 1.0}
    history = train_report.History(gather_columns([slow, fast]))
    shares = dict(history.time_shares(0, 2))
    assert shares["data"] == pytest.approx(0.75) and sum(shares.values()) == pytest.approx(1)


def test_an_averaged_column_keeps_the_mean_and_few_points() -> None:
    values = np.random.default_rng(1).random(30_000)
    column = gather_columns({"step": n, "a": v} for n, v in enumerate(values))["a"]
    averaged = column.averaged()
    assert len(averaged.values) <= 300
    assert averaged.values.mean() == pytest.approx(values.mean())


def test_a_training_that_starts_anew_leaves_nothing_of_the_one_before(
    plan: TrainPlan, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path))
    for key in ("report.html", "samples/a/step-00000000.png", "kept.txt"):
        store.write(key, b"x")
    _remove_earlier(plan.config.model_copy(update={"output": str(tmp_path)}), store)
    assert [info.key for info in store.list()] == ["kept.txt"]
