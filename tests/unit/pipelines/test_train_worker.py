"""What workers measure together, and what a trained generator tells of its making."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganray.config import load_config
from ganray.models.checkpoint import decode_checkpoint, load_checkpoint
from ganray.pipelines import train_validation
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.pipelines.train_validation import measure_validation
from ganray.pipelines.train_worker import encode_generator, start_state, told_place
from ganray.training.samples import Share
from tests.integration.pictures import write_pictures

CPU = torch.device("cpu")


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
    alone = measure_validation(plan, state.generator_ema, Share(0, 1, 8), CPU)
    assert alone.keys() == {"validation_psnr_y", "validation_ssim_y"}
    tables: list[Tensor] = []
    monkeypatch.setattr(train_validation, "sum_over_workers", lambda t: tables.append(t.clone()))
    shares = [Share(rank, num_workers, 8) for rank in range(num_workers)]
    for share in shares:
        measure_validation(plan, state.generator_ema, share, CPU)
    total = torch.stack(tables).sum(dim=0)
    monkeypatch.setattr(train_validation, "sum_over_workers", lambda t: t.copy_(total))
    for share in shares:
        assert measure_validation(plan, state.generator_ema, share, CPU) == alone


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
