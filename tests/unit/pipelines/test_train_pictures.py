"""Pictures of a training: of the same parts, at few steps, and never at its cost."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganray.config import load_config
from ganray.pipelines import train_pictures
from ganray.pipelines.pairs import Pair
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.pipelines.train_pictures import Sampler, cut_pair, picture_steps, watched_images
from ganray.pipelines.train_strips import chosen_steps, data_strip, image_strips
from ganray.pipelines.train_worker import start_state
from ganray.training.config import StagesConfig
from ganray.training.steps import Batch
from tests.integration.pictures import textured, write_pictures
from tests.unit.memory_store import MemoryStore

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrainPlan:
    folder = tmp_path_factory.mktemp("training")
    write_pictures(folder / "photos", 2, side=48)
    words = f"archive={folder}/photos", f"validation={folder}/photos", f"output={folder}/out"
    return plan_training(load_config(TrainConfig, [*words, "patch_pixels=16"]))


def stages(fidelity: int, adversarial: int) -> StagesConfig:
    given = {"fidelity": {"steps": fidelity}, "adversarial": {"steps": adversarial}}
    return StagesConfig.model_validate(given | {"warmup": {"steps": 0}})


@pytest.mark.parametrize("total", [1, 7, 1000, 123_457])
def test_pictures_are_due_at_the_start_at_the_end_and_few_times_between(total: int) -> None:
    steps = picture_steps(stages(total // 3, total - total // 3))
    assert (steps[0], steps[-1]) == (0, total)
    assert total // 3 in steps and len(steps) <= 10


def test_a_training_of_any_length_makes_few_pictures_which_become_strips(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_pictures, "NUM_TIMES", 2)
    state, _ = start_state(plan, CPU)
    store = MemoryStore()
    sampler = Sampler(plan, state, CPU, store.write)
    for step in range(plan.total_steps + 1):
        state.step = step
        sampler.take_due()
    sampler.take()
    for image in watched_images(plan):
        steps = [key for key in store.objects if key.startswith(f"{image.folder}step-")]
        assert len(steps) == len(picture_steps(plan.config.stages))
    strips = image_strips(store, plan)
    assert [strip.title for strip in strips] == list(plan.data.validation.keys)
    names = [state.name for state in strips[0].states]
    assert names == ["Degraded", "Start", "Step 100", "Step 220", "Reference"]
    assert names[strips[0].right] == "Step 220"


def test_a_training_that_goes_on_makes_no_picture_again(plan: TrainPlan) -> None:
    state, _ = start_state(plan, CPU)
    state.step = 110
    kept: list[str] = []
    sampler = Sampler(plan, state, CPU, lambda key, data: kept.append(key))
    sampler.take_due()
    assert not kept
    state.step = 140
    sampler.take_due()
    assert any("step-00000140" in key for key in kept)


def test_the_first_batch_is_kept_as_two_sheets_of_one_size(plan: TrainPlan) -> None:
    state, _ = start_state(plan, CPU)
    store = MemoryStore()
    sampler = Sampler(plan, state, CPU, store.write)
    batch = Batch(torch.full((5, 3, 8, 8), 0.25), torch.full((5, 3, 16, 16), 0.75))
    for _ in sampler.seeing(iter([batch, batch])):
        state.step += 1
    sheets = [np.asarray(Image.open(io.BytesIO(data))) for data in store.objects.values()]
    assert len(sheets) == 2 and sheets[0].shape == sheets[1].shape
    assert {sheet[0, 0, 0] for sheet in sheets} == {64, 191}
    strip = data_strip(store, plan)
    assert strip is not None and strip.states[0].whole.exact


def test_what_is_cut_are_the_same_pixels_of_both_and_where_detail_was_lost() -> None:
    reference = np.moveaxis(textured(600, 800, seed=1), -1, 0).copy()
    reference[:, 400:500, 600:700] = np.random.default_rng(0).integers(0, 256, (3, 100, 100))
    degraded = reference[:, ::2, ::2].copy()
    mask = np.zeros(degraded.shape[1:], bool)
    pair = cut_pair(Pair("a", degraded, reference, mask), 2)
    assert pair.reference is not None and pair.mask is not None
    assert pair.reference.shape == (3, 256, 256) and pair.mask.shape == (128, 128)
    np.testing.assert_array_equal(pair.degraded, pair.reference[:, ::2, ::2])
    noisy = reference[:, 400:500, 600:700].tobytes()
    found = [pair.reference[:, y : y + 100, x : x + 100].tobytes() == noisy
             for y in range(0, 157) for x in range(0, 157)]  # fmt: skip
    assert any(found)


def test_pictures_that_fail_cost_no_training(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(train_pictures, "build_restorer", fail)
    state, _ = start_state(plan, CPU)
    Sampler(plan, state, CPU, lambda key, data: None).take_due()
    assert "out of memory" in caplog.text


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([0], [0]),
        ([0, 50], [0, 50]),
        ([0, 60, 100, 150], [0, 100, 150]),
        ([0, 40, 90], [0, 40, 90]),
    ],
)
def test_a_strip_shows_the_first_the_last_and_the_end_of_fidelity(
    steps: list[int], expected: list[int]
) -> None:
    assert chosen_steps(steps, stages(100, 100)) == expected


def test_folders_of_keys_differ_and_hold_no_path(plan: TrainPlan) -> None:
    folders = {train_pictures._folder(key) for key in ("a/x.png", "b/x.png", "../x.png", "x y/ü")}
    assert len(folders) == 4
    assert all(Path(folder).parent == Path("samples") for folder in folders)
