"""The gate at the end of a training: what is asked is decided once, and anew where it changes."""

import json
from pathlib import Path

import pytest

from ganray.config import load_config
from ganray.pipelines import train_gate
from ganray.pipelines.gate import Verdict
from ganray.pipelines.promote import PromoteResult
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.pipelines.train_gate import awaits_gate, pass_gate
from tests.integration.pictures import write_pictures
from tests.unit.memory_store import MemoryStore

REFUSAL = Verdict("perceptual", "ssim_y", "bicubic", 0.1, "min", 0.5, passed=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_pictures(folder, 5, side=48)
    return folder


def make_plan(photos: Path, *words: str) -> TrainPlan:
    place = f"output={photos.parent}/training", f"registry={photos.parent}/registry"
    given = f"archive={photos}", f"validation={photos}", "gate.name=photos", "patch_pixels=16"
    values = dict(word.split("=", 1) for word in (*place, *given, *words))
    return plan_training(load_config(TrainConfig, [f"{k}={v}" for k, v in values.items()]))


@pytest.fixture
def refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """The output of a training whose generator was refused."""
    result = PromoteResult("it", "photos", "", "", "digest", (REFUSAL,))
    monkeypatch.setattr(train_gate, "run_promotion", lambda config, report: result)
    store = MemoryStore({"events.jsonl": b'{"event": "finished", "step": 4}\n'})
    pass_gate(make_plan(photos), store, 4, lambda line: None)
    return store


def events(store: MemoryStore) -> list[str]:
    return [json.loads(line)["event"] for line in store.objects["events.jsonl"].splitlines()]


@pytest.mark.parametrize("words", [(), ("workers.max=7",), ("log_every=3",)])
def test_what_was_decided_is_not_asked_again(
    photos: Path, refused: MemoryStore, words: tuple[str, ...]
) -> None:
    plan = make_plan(photos, *words)
    assert not awaits_gate(plan, refused)
    pass_gate(plan, refused, 4, lambda line: None)
    assert events(refused) == ["finished", "refused"]


@pytest.mark.parametrize(
    "word",
    [
        "gate.min_gain=0.01",
        "gate.archive=PHOTOS",
        "gate.name=others",
        "num_validation_images=5",
        "registry=/elsewhere",
    ],
)
def test_other_rules_images_or_places_are_another_promotion(
    photos: Path, refused: MemoryStore, word: str
) -> None:
    plan = make_plan(photos, word.replace("PHOTOS", str(photos)))
    assert awaits_gate(plan, refused)
    pass_gate(plan, refused, 4, lambda line: None)
    assert events(refused) == ["finished", "refused", "refused"]
