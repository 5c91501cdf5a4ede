"""The training job on real Ray Train and Ray Data workers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ganray.restoration import Restorer
from ganray.storage import open_store
from tests.integration.command import Outcome, ganray, ganray_here
from tests.integration.pictures import encoded, write_pictures
from tests.integration.test_restore import wait_until

DONE, FAILED, USAGE = 0, 1, 2
TINY = (
    "init_from=",
    "generator.options.num_features=8",
    "generator.options.num_convs=1",
    "discriminator.options.num_features=4",
    "patch_pixels=16",
    "batch_size=4",
    "log_every=1",
    "seed=3",
)


def stages(fidelity: int, warmup: int, adversarial: int) -> list[str]:
    return [
        f"stages.fidelity.steps={fidelity}",
        f"stages.warmup.steps={warmup}",
        f"stages.adversarial.steps={adversarial}",
    ]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "archive", 4, side=48)
    return tmp_path / "archive"


def train(archive: Path | str, output: Path | str, *words: str) -> Outcome:
    where = f"archive={archive}", f"validation={archive}", f"output={output}"
    run = ganray_here if "workers.max=0" in words else ganray
    given = {word.partition("=")[0] for word in words}
    tiny = [word for word in TINY if word.partition("=")[0] not in given]
    return run("train", *where, *tiny, *words)


def weights(output: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load((output / "generator.safetensors").read_bytes())


def test_two_workers_learn_what_one_process_learns(archive: Path, tmp_path: Path) -> None:
    plan = stages(4, 2, 4)
    alone = train(archive, tmp_path / "alone", *plan, "workers.max=0")
    assert alone.code == DONE, alone.text
    pair = train(archive, tmp_path / "pair", *plan, "workers.max=2")
    assert pair.code == DONE, pair.text
    for name, tensor in weights(tmp_path / "alone").items():
        torch.testing.assert_close(tensor, weights(tmp_path / "pair")[name], rtol=0, atol=1e-5)
    lines = [json.loads(x) for x in (tmp_path / "pair" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "stage" in line] == list(range(1, 11))
    assert any("validation_psnr_y" in line for line in lines)
    assert "patches_per_second" in pair.output


def test_the_trained_generator_restores_and_a_finished_training_is_left_alone(
    archive: Path, bucket: str
) -> None:
    output = f"{bucket}/training"
    first = train(archive, output, *stages(2, 1, 2), "workers.max=0")
    assert first.code == DONE, first.text
    keys = {info.key for info in open_store(output).list()}
    assert {"generator.safetensors", "config.yaml", "metrics.jsonl"} <= keys
    assert any(key.startswith("checkpoints/") for key in keys)
    assert any(key.startswith("tensorboard/") for key in keys)
    events = open_store(output).read("events.jsonl").decode().splitlines()
    kinds = [json.loads(line)["event"] for line in events]
    # A checkpoint is stored beside the steps, and told when it stands.
    assert (kinds[0], kinds[-1]) == ("started", "finished")
    assert sorted(kinds) == ["checkpoint", "compared", "finished", "started"]
    restorer = Restorer.load(f"{output}/generator.safetensors")
    assert restorer.scale == 2
    assert restorer.checkpoint.radius == 3
    before = open_store(output).stat("generator.safetensors")
    again = train(archive, output, *stages(2, 1, 2), "workers.max=0")
    assert again.code == DONE
    assert "nothing to do" in again.output
    assert open_store(output).stat("generator.safetensors") == before


def test_a_training_and_its_continuation_are_told_of_by_one_report(
    archive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert train(archive, output, *stages(4, 2, 2), "workers.max=0").code == DONE
    assert train(archive, output, *stages(4, 2, 6), "workers.max=0").code == DONE
    page = (output / "report.html").read_text()
    for words in ("came to its end", "steps of 12", "48", "Extended", "than bicubic magnification"):
        assert words in page, words
    # Four validation images in five states, and the patches of the first step in two.
    assert page.count('class="whole"') == 4 * 5 + 2
    assert (output / "samples" / "patches-degraded.png").exists()
    assert "http" not in page.replace("http-equiv", "")


def test_a_killed_training_goes_on_to_the_same_weights(archive: Path, tmp_path: Path) -> None:
    plan = [*stages(30, 5, 30), "checkpoint_every=5", "validate_every=1000", "workers.max=0"]
    assert train(archive, tmp_path / "whole", *plan).code == DONE
    output = tmp_path / "killed"
    words = ["train", f"archive={archive}", f"validation={archive}", f"output={output}", *TINY]
    process = subprocess.Popen(
        [sys.executable, "-m", "ganray", *words, *plan], stdout=subprocess.DEVNULL
    )
    wait_until(lambda: len(list(output.glob("checkpoints/*.pt"))) >= 1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "generator.safetensors").exists()
    resumed = train(archive, output, *plan)
    assert resumed.code == DONE
    assert "going on from checkpoints/step-" in resumed.output
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(output)[name]), name


def test_a_damaged_reference_is_skipped_by_name(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = (archive / "image-000.png").read_bytes()
    (archive / "image-000.png").write_bytes(whole[: len(whole) - 300])
    words = *stages(3, 0, 0), "workers.max=0", "validation=", "max_failed=0.5"
    outcome = ganray_here("train", f"archive={archive}", f"output={tmp_path}/o", *TINY, *words)
    assert outcome.code == DONE, outcome.text
    assert "image-000.png" in caplog.text


def test_a_new_start_never_removes_what_it_starts_from(archive: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert train(archive, output, *stages(2, 0, 0), "workers.max=0").code == DONE
    words = [f"init_from={output}/generator.safetensors", "resume=false", "workers.max=0"]
    tiny = [word for word in TINY if not word.startswith(("init_from", "generator"))]
    outcome = ganray_here("train", f"archive={archive}", f"output={output}", *tiny, *words)
    assert outcome.code == USAGE
    assert (output / "generator.safetensors").exists()


def test_a_generator_that_is_asked_for_starts_from_random_weights(
    archive: Path, tmp_path: Path
) -> None:
    words = f"archive={archive}", "validation=", "generator.options.scale=4", "patch_pixels=32"
    outcome = ganray_here("train", *words, f"output={tmp_path}/out", "--plan")
    assert outcome.code == DONE, outcome.text
    assert "x4" in outcome.output
    words += (*stages(2, 0, 0), "workers.max=0", "batch_size=2", "init_from=compact-x2")
    outcome = ganray_here("train", *words, f"output={tmp_path}/out")
    assert outcome.code == DONE, outcome.text
    assert "adapted" in outcome.output


def test_a_start_of_which_nothing_fits_shows_in_the_plan(archive: Path, tmp_path: Path) -> None:
    words = f"archive={archive}", "generator.architecture=rrdb", "init_from=compact-x2"
    outcome = ganray_here("train", *words, f"output={tmp_path}/out", "--plan")
    assert outcome.code == FAILED, outcome.text
    assert "a weights file of another network: compact" in outcome.text
    assert not (tmp_path / "out").exists()


def test_tensorboard_events_hold_the_losses(archive: Path, tmp_path: Path) -> None:
    assert train(archive, tmp_path / "out", *stages(2, 0, 0), "workers.max=0").code == DONE
    (path,) = (tmp_path / "out" / "tensorboard").iterdir()
    assert b"pixel" in path.read_bytes()


def test_an_archive_without_a_large_enough_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "small.png").write_bytes(encoded(8, 8, seed=1))
    outcome = train(tmp_path / "archive", tmp_path / "out", *stages(1, 0, 0), "workers.max=0")
    assert outcome.code == FAILED
    assert "at least 16 pixels" in outcome.errors


def test_another_network_at_the_same_output_is_refused_by_name(
    archive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert train(archive, output, *stages(2, 0, 0), "workers.max=0").code == DONE
    words = *stages(4, 0, 0), "workers.max=0", "generator.options.num_features=4"
    outcome = train(archive, output, *words)
    assert outcome.code == USAGE
    assert "generator.options.num_features: 8 → 4" in outcome.errors
    assert "resume=false" in outcome.errors


def test_an_impossible_batch_or_patch_is_named(archive: Path, tmp_path: Path) -> None:
    for word, hint in (("patch_pixels=20", "multiple of 8"), ("batch_size=1", "workers.max")):
        outcome = train(archive, tmp_path / "out", word, "workers.max=2")
        assert outcome.code == USAGE
        assert hint in outcome.errors
