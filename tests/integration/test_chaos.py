"""What an archive operator fears: faults of the store, kills, crashes, hangs, two runs at once."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import boto3
import numpy as np
import psutil
import pytest
from PIL import Image, PngImagePlugin

from ganray.claim import CLAIMS_PREFIX
from ganray.ledger import Ledger
from ganray.object_store import ObjectStore
from ganray.storage import open_store
from tests.integration.command import Outcome, ganray, ganray_here
from tests.integration.fault_proxy import (
    FaultProxy,
    LoseReply,
    Reset,
    SlowStart,
    Status,
    Truncate,
)
from tests.integration.pictures import encoded, write_pictures
from tests.integration.test_restore import end, upload, wait_until

DONE, FAILED, USAGE, SOME_FAILED = 0, 1, 2, 3
ON_RAY = "workers.in_process=never"
SPLIT = "split_pixels=100000", "window_pixels=256"


def write_scene(path: Path, side: int = 600) -> None:
    coarse = np.random.default_rng(5).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((side, side)).save(path, compression="tiff_adobe_deflate")


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ganray", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )


def states(target: Path | str) -> dict[str, dict]:
    return {row["key"]: row for row in ganray_here("ledger", str(target), "--json").json}


def test_faults_of_the_store_change_nothing(
    bucket: str, object_store: ObjectStore, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "archive", 12, side=64)
    write_scene(tmp_path / "archive" / "scene.tif")
    upload(tmp_path / "archive", f"{bucket}/archive")
    words = f"source={bucket}/archive", *SPLIT, "workers.max=0"
    assert ganray_here("restore", *words, f"target={bucket}/calm").code == DONE
    faults = [Status(503), Reset(), Reset(100), Truncate(100), LoseReply(), SlowStart(0.5)]
    with FaultProxy(object_store.endpoint_url) as proxy:
        proxy.spoil(0.05, faults, seed=3)
        outcome = ganray_here(
            "restore", *words, f"target={bucket}/stormy", AWS_ENDPOINT_URL=proxy.url
        )
    assert outcome.code == DONE, outcome.text
    assert proxy.num_faults > 5
    assert ganray_here("verify", f"{bucket}/stormy").code == DONE
    calm, stormy = (
        {key: row["output"] for key, row in states(f"{bucket}/{name}").items()}
        for name in ("calm", "stormy")
    )
    assert calm == stormy
    store = open_store(bucket)
    for key in calm:
        pixels = [decoded(store.read(f"{name}/{key}")) for name in ("calm", "stormy")]
        assert np.array_equal(*pixels)


def decoded(data: bytes) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("workers", ["workers.max=0", "workers.max=2"])
def test_kills_at_random_moments_lose_nothing(workers: str, bucket: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 25, side=200)
    write_scene(tmp_path / "archive" / "scene.tif")
    upload(tmp_path / "archive", f"{bucket}/archive")
    target = f"{bucket}/restored"
    words = ["restore", f"source={bucket}/archive", f"target={target}", workers, ON_RAY, *SPLIT]
    rng = random.Random(workers)
    known: dict = {}
    for _ in range(2 if workers == "workers.max=2" else 4):
        driver = start(*words)
        number = len(known) + rng.randint(1, 8)
        while driver.poll() is None and len(row_objects(target)) < number / 4:
            time.sleep(0.05)
        time.sleep(rng.random())
        family = psutil.Process(driver.pid).children(recursive=True)
        os.kill(driver.pid, signal.SIGKILL)
        driver.communicate()
        end(family)
        now = Ledger(open_store(target)).read()
        assert all(now[key] == row for key, row in known.items()), "a recorded input was redone"
        known = now
    last = ganray(*words)
    assert last.code == DONE, last.text
    after = Ledger(open_store(target)).read()
    assert len(after) == 26
    assert all(after[key] == row for key, row in known.items()), "a recorded input was redone"
    assert ganray_here("verify", target).code == DONE
    assert not list(open_store(target).list("_ganray/staging/"))
    assert not list(open_store(target).list(CLAIMS_PREFIX))
    assert not open_uploads(bucket)


def row_objects(target: str) -> list:
    return list(open_store(target).list("_ganray/ledger/"))


def open_uploads(bucket: str) -> list:
    client = boto3.client("s3")
    return client.list_multipart_uploads(Bucket=bucket.removeprefix("s3://")).get("Uploads", [])


def test_workers_that_are_told_to_leave_or_killed_are_replaced_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    write_pictures(tmp_path / "archive", 60, side=256)
    target = tmp_path / "restored"
    words = f"source={tmp_path}/archive", f"target={target}", "workers.max=2"
    driver = start("restore", *words, ON_RAY)
    rows = target / "_ganray" / "ledger" / "rows"
    wait_until(lambda: rows.is_dir() and len(list(rows.iterdir())) >= 2)
    family = psutil.Process(driver.pid).children(recursive=True)
    leaving, killed = [process for process in family if "MapWorker" in process.name()]
    leaving.terminate()
    gone, _ = psutil.wait_procs([leaving], timeout=60)
    assert gone, "a worker that was told to leave is still there"
    killed.kill()
    output, _ = driver.communicate(timeout=180)
    assert driver.returncode == DONE, output
    counts = ganray_here("status", str(target), "--json").json["inputs"]
    assert (counts["restored"], counts["pending"]) == (60, 0)
    assert ganray_here("verify", str(target)).code == DONE


def test_a_second_run_on_the_same_target_stops_and_a_dead_ones_claim_does_not_count(
    tmp_path: Path,
) -> None:
    write_pictures(tmp_path / "archive", 30, side=320)
    target = tmp_path / "restored"
    words = "restore", f"source={tmp_path}/archive", f"target={target}", "workers.max=0"
    first = start(*words)
    wait_until(lambda: (target / "_ganray" / "ledger" / "rows").is_dir())
    second = ganray_here(*words)
    assert second.code == FAILED
    assert "another run" in second.errors
    assert str(first.pid) in second.errors
    pruning = ganray_here("prune", str(target), "--delete")
    assert pruning.code == FAILED
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert ganray_here(*words).code == DONE


@pytest.mark.parametrize("workers", ["workers.max=0", "workers.max=2"])
def test_sigterm_finishes_what_is_in_flight_and_records_it(workers: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 60, side=256)
    target = tmp_path / "restored"
    words = "restore", f"source={tmp_path}/archive", f"target={target}", workers, ON_RAY
    driver = start(*words)
    rows = target / "_ganray" / "ledger" / "rows"
    wait_until(lambda: rows.is_dir() and len(list(rows.iterdir())) >= 2)
    driver.send_signal(signal.SIGTERM)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == FAILED, output
    assert "stopped by SIGTERM" in output
    assert "Traceback" not in output
    status = ganray_here("status", str(target), "--json").json
    assert status["state"] == "stopped"
    assert status["inputs"]["restored"] > 0
    assert status["inputs"]["pending"] > 0
    written = {path.name for path in target.glob("*.png")}
    assert written == {key for key, row in states(target).items() if row["state"] == "restored"}
    assert ganray_here(*words).code == DONE
    assert ganray_here("status", str(target), "--json").json["inputs"]["unchanged"] > 0


EVIL = textwrap.dedent(
    """
    import os, resource, signal, time
    import numpy
    import PIL.Image

    honest = PIL.Image.Image.load

    def load(self, *args, **kwargs):
        deed = self.info.get("deed")
        if deed == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if deed == "hang":
            time.sleep(1000)
        if deed == "bloat":
            # Without a limit a process would be ended by the kernel, for want of memory.
            if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
                os.kill(os.getpid(), signal.SIGKILL)
            self.bloat = [numpy.empty(2**28, numpy.uint8) for _ in range(64)]
        return honest(self, *args, **kwargs)

    PIL.Image.Image.load = load
    PIL.PngImagePlugin.PngImageFile.load = load
    """
)


@pytest.mark.parametrize("workers", ["workers.max=0", "workers.max=2"])
def test_inputs_that_crash_hang_or_bloat_fail_by_name_and_their_neighbours_do_not(
    workers: str, tmp_path: Path
) -> None:
    write_pictures(tmp_path / "archive", 6, side=64)
    for deed in ("crash", "hang", "bloat"):
        text = PngImagePlugin.PngInfo()
        text.add_text("deed", deed)
        Image.new("RGB", (32, 32)).save(tmp_path / "archive" / f"{deed}.png", pnginfo=text)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "sitecustomize.py").write_text(EVIL)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", workers, ON_RAY
    limits = "limits.seconds=5", "limits.memory_bytes=1000000000"
    outcome = ganray("restore", *words, *limits, PYTHONPATH=f"{tmp_path}/evil")
    assert outcome.code == SOME_FAILED, outcome.text
    found = states(tmp_path / "restored")
    assert {key for key, row in found.items() if row["state"] == "failed"} == {
        *("bloat.png", "crash.png", "hang.png")
    }
    assert "crashed" in found["crash.png"]["reason"]
    assert "limits.seconds" in found["hang.png"]["reason"]
    assert "raise limits.memory_bytes" in found["bloat.png"]["reason"]
    assert ganray_here("verify", f"{tmp_path}/restored").code == DONE


def test_a_vanished_input_is_reported_and_pruned_on_demand(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 3)
    target = tmp_path / "restored"
    words = "restore", f"source={tmp_path}/archive", f"target={target}", "workers.max=0"
    assert ganray_here(*words).code == DONE
    (tmp_path / "archive" / "image-001.png").unlink()
    again = ganray_here(*words)
    assert again.code == DONE
    assert "image-001.png" in again.output
    assert ganray_here("status", str(target), "--json").json["vanished"] == 1
    listed = ganray_here("prune", str(target))
    assert "image-001.png" in listed.output
    assert (target / "image-001.png").exists()
    assert ganray_here("prune", str(target), "--delete").code == DONE
    assert not (target / "image-001.png").exists()
    assert ganray_here("verify", str(target)).code == DONE
    (tmp_path / "archive" / "image-001.png").write_bytes(encoded(64, 64, seed=1))
    assert ganray_here(*words).code == DONE
    assert states(target)["image-001.png"]["state"] == "restored"


def test_prune_refuses_an_archive_that_is_empty(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 2)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0"
    assert ganray_here("restore", *words).code == DONE
    shutil.rmtree(tmp_path / "archive")
    (tmp_path / "archive").mkdir()
    outcome = ganray_here("prune", f"{tmp_path}/restored", "--delete")
    assert outcome.code == FAILED
    assert "no image any more" in outcome.errors
    assert len(list((tmp_path / "restored").glob("*.png"))) == 2


def refuse(tmp_path: Path, *words: str) -> Outcome:
    write_pictures(tmp_path / "archive", 2)
    return ganray_here(
        "restore",
        f"source={tmp_path}/archive",
        f"target={tmp_path}/restored",
        "workers.max=0",
        *words,
    )


def test_limits_of_trust_flag_or_refuse(tmp_path: Path) -> None:
    assert refuse(tmp_path, "trust.max_consistency=0").code == DONE
    found = states(tmp_path / "restored")
    assert all("trust.max_consistency" in row["flags"] for row in found.values())
    assert ganray_here("status", f"{tmp_path}/restored", "--json").json["flagged"] == 2
    strict = "trust.max_consistency=0", "trust.beyond=refuse", "output.png_level=2"
    assert refuse(tmp_path, *strict).code == SOME_FAILED
    found = states(tmp_path / "restored")
    assert all("not trusted" in row["reason"] for row in found.values())
    # Under other limits they are tried again.
    assert refuse(tmp_path, "output.png_level=2").code == DONE


def test_a_file_of_more_bytes_than_allowed_is_not_read(tmp_path: Path) -> None:
    outcome = refuse(tmp_path, "limits.bytes=10")
    assert outcome.code == SOME_FAILED
    assert "limits.bytes" in outcome.output


def test_odd_keys_are_restored_or_refused_by_name(bucket: str, tmp_path: Path) -> None:
    store = open_store(bucket)
    good = ["a b/ü 字.png", "a%20b.png", "emoji 🛰.png", "quote'\".png", "new\nline.png"]
    for key in good:
        store.write(f"archive/{key}", encoded(32, 32, seed=1))
    client = boto3.client("s3")
    name = bucket.removeprefix("s3://")
    for key in ("archive/../up.png", "archive//slash.png"):
        client.put_object(Bucket=name, Key=key, Body=encoded(32, 32, seed=2))
    words = f"source={bucket}/archive", "workers.max=0"
    outcome = ganray_here("restore", *words, f"target={tmp_path}/restored")
    assert outcome.code == SOME_FAILED, outcome.text
    found = states(tmp_path / "restored")
    assert {key for key, row in found.items() if row["state"] == "restored"} == set(good)
    assert "'..'" in found["../up.png"]["reason"]
    assert found["/slash.png"]["state"] == "failed"
    assert not (tmp_path / "up.png").exists()
    assert ganray_here("verify", f"{tmp_path}/restored").code == DONE


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    (tmp_path / "archive" / os.fsdecode(b"latin-\xe9.png")).write_bytes(encoded(32, 32, seed=1))
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0"
    outcome = ganray_here("restore", *words)
    assert outcome.code == SOME_FAILED, outcome.text
    assert "not UTF-8" in outcome.output
    again = ganray_here("restore", *words)
    assert "no longer in the archive" not in again.output
    assert ganray_here("verify", f"{tmp_path}/restored").code == DONE


def test_the_events_of_a_run_are_one_json_object_a_line(tmp_path: Path) -> None:
    assert refuse(tmp_path).code == DONE
    (path,) = (tmp_path / "restored" / "_ganray" / "runs").glob("*/events.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["event"] for event in events] == ["planned", "ended"]
