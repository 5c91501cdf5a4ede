"""The restore job end to end: real Ray, a real object store, real files."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from ganray.ledger import Ledger
from ganray.models.checkpoint import Provenance, encode_checkpoint, load_checkpoint
from ganray.sample import PHOTOGRAPHS, write_sample
from ganray.storage import open_store
from tests.integration.command import ganray, ganray_here
from tests.integration.pictures import encoded, write_pictures

DONE, FAILED, USAGE, SOME_FAILED = 0, 1, 2, 3
ON_RAY = "workers.max=2", "workers.in_process=never"


def upload(folder: Path, uri: str) -> None:
    source, target = open_store(str(folder)), open_store(uri)
    for info in source.list():
        target.write(info.key, source.read(info.key))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder


def test_the_sample_is_restored_from_bucket_to_bucket_by_two_workers(
    sample: Path, bucket: str
) -> None:
    source, target = f"{bucket}/archive", f"{bucket}/restored"
    upload(sample, source)
    first = ganray("restore", f"source={source}", f"target={target}", *ON_RAY)
    assert first.code == SOME_FAILED, first.text
    assert "damaged/truncated-coffee.png" in first.output

    status = ganray_here("status", target, "--json").json
    counts = status["inputs"]
    assert counts == {
        "listed": len(PHOTOGRAPHS) + 1,
        "restored": len(PHOTOGRAPHS),
        "unchanged": 0,
        "failed": 1,
        "pending": 0,
    }
    assert status["output_pixels"] == 4 * status["input_pixels"]
    rows = {row["key"]: row for row in ganray_here("ledger", target, "--json").json}
    assert rows["damaged/truncated-coffee.png"]["state"] == "failed"
    assert "truncated" in rows["damaged/truncated-coffee.png"]["reason"]
    assert ganray_here("verify", target).code == DONE

    store = open_store(target)
    for photograph in PHOTOGRAPHS:
        before = Image.open(sample / photograph.key)
        after = Image.open(io.BytesIO(store.read(photograph.key)))
        assert after.size == (2 * before.width, 2 * before.height), photograph.key
        assert (after.format, after.mode) == (before.format, before.mode), photograph.key
        assert after.getexif()[0x010E] == before.getexif()[0x010E], photograph.key
        assert "ganray" in after.getexif()[0x9213], photograph.key

    second = ganray("restore", f"source={source}", f"target={target}", "workers.max=2")
    assert second.code == SOME_FAILED
    assert "nothing to do" in second.output and "retry_failed=true" in second.output
    again = ganray_here("status", target, "--json").json["inputs"]
    assert (again["restored"], again["unchanged"], again["failed"]) == (0, len(PHOTOGRAPHS), 1)


def test_ray_and_the_process_itself_restore_the_same_bytes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 3)
    for workers, target in ((("workers.max=0",), "alone"), (ON_RAY, "ray")):
        words = f"source={tmp_path}/archive", f"target={tmp_path}/{target}"
        assert ganray("restore", *words, *workers).code == DONE
    for path in sorted((tmp_path / "archive").iterdir()):
        alone, ray = (Image.open(tmp_path / name / path.name) for name in ("alone", "ray"))
        assert np.array_equal(np.asarray(alone), np.asarray(ray))


def test_windows_do_not_change_the_result(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1, side=600)
    for side, target in ((256, "windows"), (4096, "whole")):
        words = f"source={tmp_path}/archive", f"target={tmp_path}/{target}"
        assert ganray_here("restore", *words, f"window_pixels={side}", "workers.max=0").code == DONE
    windows, whole = (
        np.asarray(Image.open(tmp_path / name / "image-000.png")) for name in ("windows", "whole")
    )
    assert np.array_equal(windows, whole)
    assert ganray_here("status", str(tmp_path / "windows"), "--json").json["windows"] == 9
    assert ganray_here("status", str(tmp_path / "whole"), "--json").json["windows"] == 1


def test_a_driver_killed_in_the_middle_redoes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    number = 60
    write_pictures(tmp_path / "archive", number, side=320)
    target = tmp_path / "restored"
    words = ["restore", f"source={tmp_path}/archive", f"target={target}", *ON_RAY]
    driver = subprocess.Popen([sys.executable, "-m", "ganray", *words], stdout=subprocess.DEVNULL)
    rows = target / "_ganray" / "ledger" / "rows"
    wait_until(lambda: rows.is_dir() and len(list(rows.glob("*.parquet"))) >= 5)
    family = psutil.Process(driver.pid).children(recursive=True)
    workers = [process for process in family if "MapWorker" in process.name()]
    assert len(workers) == 2
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, "workers outlived their driver"
    end(family)

    before = Ledger(open_store(str(target))).read()
    assert 5 <= len(before) < number
    status = ganray_here("status", str(target), "--json").json
    assert status["state"] == "lost"
    assert status["inputs"]["listed"] == number
    assert status["inputs"]["restored"] == len(before)
    assert status["inputs"]["pending"] == number - len(before)

    assert ganray(*words).code == DONE
    after = Ledger(open_store(str(target))).read()
    assert len(after) == number
    assert all(after[key] == row for key, row in before.items()), "a recorded input was redone"
    assert {row.attempts for row in after.values()} == {1}
    assert ganray_here("verify", str(target)).code == DONE


def test_changed_inputs_generators_and_settings_are_restored_again(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 2)
    words = [f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0"]
    assert ganray_here("restore", *words).code == DONE
    (tmp_path / "archive" / "image-001.png").write_bytes(encoded(64, 64, seed=9))
    (tmp_path / "archive" / "image-002.png").write_bytes(encoded(64, 64, seed=10))
    assert ganray_here("restore", *words).code == DONE
    counts = ganray_here("status", f"{tmp_path}/restored", "--json").json["inputs"]
    assert (counts["restored"], counts["unchanged"]) == (2, 1)
    assert ganray_here("restore", *words, "output.png_level=2").code == DONE
    counts = ganray_here("status", f"{tmp_path}/restored", "--json").json["inputs"]
    assert (counts["restored"], counts["unchanged"]) == (3, 0)


def test_verify_finds_planted_damage(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 7)
    target = tmp_path / "restored"
    words = f"source={tmp_path}/archive", f"target={target}", "workers.max=0"
    assert ganray_here("restore", *words).code == DONE
    other = f"generator={other_weights(tmp_path)}", f"target={tmp_path}/other"
    assert ganray_here("restore", words[0], words[2], *other).code == DONE
    (target / "image-004.png").write_bytes((tmp_path / "other" / "image-004.png").read_bytes())
    whole = (target / "image-005.png").read_bytes()
    (target / "image-005.png").write_bytes(whole[: len(whole) // 2])
    (target / "image-000.png").unlink()
    (target / "image-001.png").write_bytes(b"")
    (target / "image-002.png").write_bytes((target / "image-003.png").read_bytes())
    audit = ganray_here("verify", str(target), "--json")
    assert audit.code == FAILED
    problems = {problem["key"] for problem in audit.json["problems"]}
    assert problems == {f"image-{number:03d}.png" for number in (0, 1, 2, 4, 5)}


def other_weights(folder: Path) -> Path:
    """The shipped generator, one of whose weights was changed a little."""
    shipped = load_checkpoint("compact-x2")
    with torch.no_grad():
        shipped.generator.body[0].weight[0] += 0.01
    provenance = Provenance(shipped.trained_on, shipped.training)
    data = encode_checkpoint(shipped.generator, "compact", shipped.network, provenance)
    (folder / "other.safetensors").write_bytes(data)
    return folder / "other.safetensors"


def test_verify_tells_a_vanished_input_from_one_that_was_not_selected(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 3)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0"
    assert ganray_here("restore", *words).code == DONE
    assert ganray_here("restore", *words, "exclude=*-002.png").code == DONE
    assert ganray_here("verify", f"{tmp_path}/restored").code == DONE
    (tmp_path / "archive" / "image-001.png").unlink()
    audit = ganray_here("verify", f"{tmp_path}/restored", "--json")
    assert audit.code == FAILED
    assert [problem["key"] for problem in audit.json["problems"]] == ["image-001.png"]


def test_bad_files_are_rows_and_their_neighbours_are_restored(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_pictures(archive, 2)
    (archive / "empty.png").write_bytes(b"")
    (archive / "text.png").write_text("this is not an image")
    (archive / "cut.jpg").write_bytes(encoded(96, 96, seed=1, format_name="JPEG")[:-200])
    (archive / "scan.bmp").write_bytes(b"BM")
    (archive / "notes.txt").write_text("not an input")
    words = f"source={archive}", f"target={tmp_path}/restored", "workers.max=0"
    outcome = ganray_here("restore", *words)
    assert outcome.code == SOME_FAILED
    rows = {r["key"]: r for r in ganray_here("ledger", f"{tmp_path}/restored", "--json").json}
    assert {key: row["state"] for key, row in rows.items()} == {
        "image-000.png": "restored",
        "image-001.png": "restored",
        "empty.png": "failed",
        "text.png": "failed",
        "cut.jpg": "failed",
        "scan.bmp": "failed",
    }
    assert "empty" in rows["empty.png"]["reason"]
    assert "this is not" in rows["text.png"]["reason"]
    assert "truncated" in rows["cut.jpg"]["reason"]
    assert ".bmp" in rows["scan.bmp"]["reason"]


def test_an_input_that_was_too_large_is_restored_under_another_limit(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0"
    for _ in range(2):
        outcome = ganray_here("restore", *words, "limits.pixels=100")
        assert outcome.code == SOME_FAILED
        assert "limits.pixels" in outcome.output
    assert "nothing to do" in outcome.output
    assert ganray_here("restore", *words).code == DONE


def test_a_target_is_audited_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "archive", 2)
    monkeypatch.chdir(tmp_path)
    words = "source=archive", "target=restored", "workers.max=0", "include=*.png"
    assert ganray_here("restore", *words).code == DONE
    monkeypatch.chdir("/")
    assert ganray_here("verify", f"{tmp_path}/restored").code == DONE


def test_the_ledger_names_every_input_once_with_its_state(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 2)
    (tmp_path / "archive" / "bad.png").write_bytes(b"no")
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0"
    for states in (["failed", "restored", "restored"], ["failed", "unchanged", "unchanged"]):
        assert ganray_here("restore", *words).code == SOME_FAILED
        entries = ganray_here("ledger", f"{tmp_path}/restored", "--json").json
        assert [entry["state"] for entry in entries] == states
    (tmp_path / "archive" / "new.png").write_bytes(encoded(64, 64, seed=5))
    entries = ganray_here("ledger", f"{tmp_path}/restored", "--json").json
    assert [entry["state"] for entry in entries][-1] == "pending"


def test_too_many_failures_stop_the_run(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_pictures(archive, 2)
    for index in range(3):
        (archive / f"bad-{index}.png").write_bytes(b"no")
    words = f"source={archive}", f"target={tmp_path}/restored", "workers.max=0", "max_failed=0.2"
    outcome = ganray_here("restore", *words)
    assert outcome.code == FAILED
    assert "max_failed=0.2" in outcome.errors
    counts = ganray_here("status", f"{tmp_path}/restored", "--json").json["inputs"]
    assert counts["failed"] == 2
    assert counts["pending"] == 3
    (page,) = (tmp_path / "restored").glob("_ganray/runs/*/report.html")
    assert "The run ended early: 2 of 5 inputs failed" in page.read_text()


def test_what_is_in_flight_when_too_many_failed_is_counted(tmp_path: Path) -> None:
    archive, target = tmp_path / "archive", tmp_path / "restored"
    write_pictures(archive, 12)
    for index in range(3):
        (archive / f"bad-{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = ganray_here(
        "restore", f"source={archive}", f"target={target}", *ON_RAY, "max_failed=0.1"
    )
    assert outcome.code == FAILED
    assert "max_failed=0.1" in outcome.errors and "Report: " in outcome.errors
    inputs = ganray_here("status", str(target), "--json").json["inputs"]
    assert inputs["restored"] == len(list(target.glob("*.png")))
    (run,) = ganray_here("runs", str(target), "--json").json
    assert run["state"] == "failed"
    # What failed in an earlier run stops no later one.
    again = ganray_here("restore", f"source={archive}", f"target={target}", "max_failed=0.1")
    assert again.code == SOME_FAILED, again.text


def test_the_plan_is_printed_and_nothing_is_written(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 3)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored"
    outcome = ganray_here("restore", *words, "--plan")
    assert outcome.code == DONE
    assert outcome.output.splitlines()[:2] == [
        f"source      {tmp_path}/archive",
        f"target      {tmp_path}/restored",
    ]
    assert "3 to restore" in outcome.output
    assert "done in this process" in outcome.output
    assert not (tmp_path / "restored").exists()
    pool = ganray_here("restore", *words, "workers.in_process=never", "--plan")
    assert "workers.max=2: about 10 s" in pool.output


def test_the_plan_names_what_it_could_not_measure_with_reasons(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "--plan"
    for index in range(5):
        (tmp_path / "archive" / f"bad-{index}.png").write_bytes(b"no")
    output = ganray_here("restore", *words).output
    assert "5 of the 6 sampled:" in output
    assert output.count("it begins with b'no'") == 3
    assert "… and 2 more" in output
    nothing = ganray_here("restore", *words, "include=bad-*").output
    assert "nothing in it could be measured" in nothing


def test_the_runs_files_stand_in_the_target(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    target = tmp_path / "restored"
    words = f"source={tmp_path}/archive", f"target={target}", "workers.max=0"
    outcome = ganray_here("restore", *words)
    assert outcome.code == DONE
    (run,) = (target / "_ganray" / "runs").iterdir()
    assert f"report {run}/report.html" in outcome.output
    page = (run / "report.html").read_text()
    assert "Every input is restored." in page and page.count("<img") == 2
    assert {path.name for path in run.iterdir()} == {
        *("config.yaml", "summary.json", "events.jsonl", "report.html"),
    }
    assert json.loads((run / "summary.json").read_text())["run_id"] == run.name
    assert len(list((target / "_ganray" / "ledger").rglob("*.parquet"))) == 1
    (found,) = (target / "_ganray" / "generators").glob("*.cpu.json")
    assert json.loads(found.read_text())["seam_error"] <= 1e-5


def wait_until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def end(processes: list[psutil.Process]) -> None:
    """End what Ray leaves running after the SIGKILL of a driver: its agents."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def test_a_handful_of_images_does_not_wait_for_a_cluster(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 3)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=8"
    assert ganray_here("restore", *words).code == DONE
    (events,) = (tmp_path / "restored" / "_ganray" / "runs").glob("*/events.jsonl")
    assert json.loads(events.read_text().partition("\n")[0])["workers"] == 0
