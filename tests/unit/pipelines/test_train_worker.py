"""What workers measure together, and what a trained generator tells of its making."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganray.cli.train import event_line
from ganray.config import load_config
from ganray.errors import StorageError, UndecodableError
from ganray.models.checkpoint import decode_checkpoint, load_checkpoint
from ganray.pipelines import train_validation
from ganray.pipelines.pairs import Pair
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.pipelines.train_signals import NOTHING, Link
from ganray.pipelines.train_validation import (
    Measuring,
    compare_with_bicubic,
    measure_validation,
    validation_pair,
)
from ganray.pipelines.train_worker import (
    WorkerPlace,
    encode_generator,
    run_worker,
    start_state,
    told_once,
    told_place,
)
from ganray.training.samples import Share
from tests.integration.pictures import write_pictures

CPU = torch.device("cpu")
ALONE = Share(0, 1, 8)


@pytest.fixture
def plan(tmp_path: Path) -> TrainPlan:
    write_pictures(tmp_path / "secret-folder" / "photos", 5, side=48)
    archive = tmp_path / "secret-folder" / "photos"
    words = f"archive={archive}", f"validation={archive}", f"output={tmp_path}/secret-folder/out"
    config = load_config(
        TrainConfig,
        [*words, "patch_pixels=16", "num_validation_images=5", "objective.perceptual_weights="],
    )
    return plan_training(config)


@pytest.mark.parametrize("num_workers", [2, 3, 7])
def test_validation_gives_the_same_numbers_for_every_number_of_workers(
    plan: TrainPlan, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, _ = start_state(plan, CPU)
    alone = measure_validation(plan, state.generator_ema, Measuring(ALONE, CPU, refuse_to_note))
    assert alone.keys() == {"validation_psnr_y", "validation_ssim_y"}
    tables: list[Tensor] = []
    monkeypatch.setattr(train_validation, "sum_over_workers", lambda t: tables.append(t.clone()))
    shares = [Share(rank, num_workers, 8) for rank in range(num_workers)]
    places = [Measuring(share, CPU, refuse_to_note) for share in shares]
    for place in places:
        measure_validation(plan, state.generator_ema, place)
    total = torch.stack(tables).sum(dim=0)
    monkeypatch.setattr(train_validation, "sum_over_workers", lambda t: t.copy_(total))
    for place in places:
        assert measure_validation(plan, state.generator_ema, place) == alone


def refuse_to_note(key: str, reason: str) -> None:
    raise AssertionError(f"{key}: {reason}")


def fail_to_read(monkeypatch: pytest.MonkeyPatch, key: str, error: Exception) -> None:
    """Let the validation image of a key be one that cannot be read."""

    def pair(plan: TrainPlan, row: int) -> Pair:
        if plan.data.validation.keys[row] == key:
            raise error
        return validation_pair(plan, row)

    monkeypatch.setattr(train_validation, "validation_pair", pair)


@pytest.mark.parametrize("error", [UndecodableError("truncated"), StorageError("slow down")])
def test_a_validation_image_that_cannot_be_read_is_left_out_and_told_once(
    plan: TrainPlan, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, _ = start_state(plan, CPU)
    generator, key = state.generator_ema, plan.data.validation.keys[2]
    kept = replace(plan.data.validation, keys=plan.data.validation.keys[:2])
    others = replace(plan, data=replace(plan.data, validation=kept))
    expected = measure_validation(others, generator, Measuring(ALONE, CPU, refuse_to_note))
    three = replace(plan.data.validation, keys=plan.data.validation.keys[:3])
    plan = replace(plan, data=replace(plan.data, validation=three))
    fail_to_read(monkeypatch, key, error)
    noted: list[tuple[str, str]] = []
    note = told_once(lambda key, reason: noted.append((key, reason)))
    for _ in range(2):
        assert measure_validation(plan, generator, Measuring(ALONE, CPU, note)) == expected
    compared = compare_with_bicubic(plan, generator, CPU, note)
    assert compared["validation_psnr_y"] == expected["validation_psnr_y"]
    assert noted == [(key, f"not validated on: {error}")]


def test_a_generator_that_is_not_finite_is_worse_than_bicubic(plan: TrainPlan) -> None:
    state, _ = start_state(plan, CPU)
    for parameter in state.generator_ema.parameters():
        parameter.data.fill_(float("nan"))
    compared = compare_with_bicubic(plan, state.generator_ema, CPU, refuse_to_note)
    json.dumps(compared, allow_nan=False)
    line = event_line({"event": "compared", "step": 1, **compared})
    assert line.startswith("warning:") and "not finite" in line


def test_counts_have_their_thousands_apart() -> None:
    line = event_line({"event": "started", "step": 0, "workers": 1024})
    assert line == "starting at step 0 with 1,024 workers"


def test_a_comparison_that_fails_costs_no_training(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("ganray.pipelines.train_worker.compare_with_bicubic", fail)
    monkeypatch.setattr("ganray.pipelines.train_worker.train", lambda state, *_: state)
    monkeypatch.setattr("ganray.pipelines.train_worker.gave_up", lambda monitor: True)
    heard: list[str] = []
    link = Link(lambda line: heard.append(line.get("event", "")), lambda: NOTHING)
    run_worker(plan, WorkerPlace(ALONE, CPU, link))
    assert heard[-1] == "finished" and "compared" not in heard


def test_validation_images_that_were_refused_are_named(plan: TrainPlan) -> None:
    broken = Path(plan.config.validation) / "broken.png"
    broken.write_bytes(b"words")
    config = plan.config.model_copy(update={"max_failed": 0.5})
    reasons = [item.reason for item in plan_training(config).data.skipped]
    assert [reason.startswith("not validated on: ") for reason in reasons] == [False, True]


def test_a_generator_names_what_it_started_from_and_nothing_of_the_machine(
    plan: TrainPlan, tmp_path: Path
) -> None:
    state, origin = start_state(plan, CPU)
    state.step = 7
    made = decode_checkpoint(encode_generator(plan, state, origin), "memory")
    assert made.training["steps"] == 7
    first = load_checkpoint("compact-x2")
    assert made.training["init_from"]["digest"] == first.digest
    assert made.training["init_from"]["trained_on"] == first.trained_on
    assert made.training["config"]["archive"] == "photos"
    assert made.trained_on == "5 images of photos"
    told = json.dumps(made.training) + made.trained_on
    assert "secret-folder" not in told and str(tmp_path) not in told


def test_a_place_in_a_store_is_told_as_it_is() -> None:
    assert told_place("s3://bucket/photos") == "s3://bucket/photos"
    assert told_place("/home/someone/photos/") == "photos"
    assert told_place("") == ""
