"""From a candidate to what the nightly restoration takes, and back."""

import json
from pathlib import Path

import pytest

from ganray.errors import StorageError
from ganray.models.checkpoint import Provenance, encode_checkpoint, load_checkpoint
from ganray.pipelines import train_gate
from ganray.registry import list_versions, open_name
from tests.integration.command import Outcome, ganray_here
from tests.integration.pictures import write_pictures

DONE, FAILED, USAGE = 0, 1, 2


def promote(folder: Path, candidate: str, registry: str = "") -> Outcome:
    """Ask for a promotion of `candidate`, judged by SSIM on two photographs."""
    return ganray_here(
        "promote",
        f"candidate={candidate}",
        "name=photos",
        f"registry={registry or folder / 'registry'}",
        "degradation=bicubic",
        'include=["*chelsea*", "*coffee*"]',
        "gate.min_images=2",
        f"output={folder}/promotion",
        "workers.max=0",
    )


def restore(folder: Path, generator: str = "registry:photos") -> Outcome:
    return ganray_here(
        "restore",
        f"source={folder}/archive",
        f"target={folder}/restored",
        f"generator={generator}",
        "workers.max=0",
        GANRAY_REGISTRY=f"{folder}/registry",
    )


def listing(folder: Path) -> dict:
    (found,) = ganray_here("registry", f"{folder}/registry", "--json").json
    return found


def weakened(folder: Path, part: float) -> str:
    """The shipped generator with `part` of the detail that it adds to plain interpolation."""
    shipped = load_checkpoint("compact-x2")
    for weight in list(shipped.generator.parameters())[-2:]:
        weight.data *= part
    path = folder / f"weakened-{part}.safetensors"
    provenance = Provenance("compact-x2, weakened", {})
    path.write_bytes(encode_checkpoint(shipped.generator, "compact", shipped.network, provenance))
    return str(path)


def last_event(folder: Path, name: str) -> dict:
    (path,) = sorted((folder / "restored" / "_ganray" / "runs").iterdir())[-1:]
    lines = (path / "events.jsonl").read_text().splitlines()
    return next(event for event in map(json.loads, lines) if event["event"] == name)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in which compact-x2 has replaced half of itself, and two pictures."""
    folder = tmp_path_factory.mktemp("promoted")
    promote_two(folder)
    return folder


def promote_two(folder: Path) -> None:
    write_pictures(folder / "archive", 2, side=64)
    for candidate in (weakened(folder, 0.5), "compact-x2"):
        outcome = promote(folder, candidate)
        assert outcome.code == DONE, outcome.text


def test_a_better_generator_becomes_current_and_its_history_says_by_what(promoted: Path) -> None:
    found = listing(promoted)
    first, second = found["history"]
    assert found["name"] == "photos"
    assert found["current"] == second["version"]
    assert (first["replaced"], second["replaced"]) == ("", first["version"])
    figures = second["figures"]
    assert figures["candidate"]["ssim_y"] > figures["incumbent"]["ssim_y"]
    assert figures["candidate"]["ssim_y"] > figures["bicubic"]["ssim_y"]
    words = ganray_here("registry", f"{promoted}/registry").output
    assert f"photos: {second['version']} is current" in words


def test_a_candidate_that_is_current_already_is_left_alone(promoted: Path) -> None:
    before, gate = listing(promoted), promoted / "promotion" / "gate.json"
    decided = gate.read_text()
    outcome = promote(promoted, "compact-x2")
    assert (outcome.code, listing(promoted)) == (DONE, before)
    assert json.loads(decided)["rules"] and gate.read_text() == decided
    assert "nothing to do: compact-x2 is current already" in outcome.output


def test_a_worse_candidate_is_refused_by_name_of_the_rule_and_changes_nothing(
    promoted: Path,
) -> None:
    before = listing(promoted)
    outcome = promote(promoted, weakened(promoted, 0.25))
    assert (outcome.code, listing(promoted)) == (FAILED, before)
    assert "by the unfavourable end of each 95 % interval:" in outcome.output
    assert "REFUSED ssim_y against incumbent -" in outcome.output
    assert f"photos@{before['current']} stays current" in outcome.output
    gate = json.loads((promoted / "promotion" / "gate.json").read_text())
    assert gate["refused"]
    refused = [rule for rule in gate["rules"] if not rule["passed"]]
    assert all(rule["margin"] < 0 for rule in refused)
    assert ("perceptual", "incumbent") in {(rule["rule"], rule["against"]) for rule in refused}


def test_a_generator_of_another_scale_is_not_compared(promoted: Path) -> None:
    outcome = promote(promoted, "photo-x4")
    assert outcome.code == USAGE
    assert "the candidate is x4 with 3 bands" in outcome.errors


def test_a_restoration_takes_what_is_current_and_a_rollback_restores_all_anew(
    promoted: Path,
) -> None:
    first, second = (change["version"] for change in listing(promoted)["history"][:2])
    outcome = restore(promoted)
    assert "restored 2, unchanged 0" in outcome.output, outcome.text
    planned = last_event(promoted, "planned")
    assert planned["asked"] == "registry:photos"
    assert f"/photos/versions/{second}/" in planned["file"]
    assert "nothing to do" in restore(promoted).output

    back = ganray_here("registry", f"{promoted}/registry", "--rollback", "photos")
    assert back.code == DONE
    assert f"photos@{first} is current, before it {second}" in back.output
    assert "restored 2, unchanged 0" in restore(promoted).output
    assert f"/photos/versions/{first}/" in last_event(promoted, "planned")["file"]
    named = restore(promoted, f"registry:photos@{second}")
    assert f"/photos/versions/{second}/" in named.output

    words = "--rollback", f"photos@{second}", "--reason", "it was a test"
    assert ganray_here("registry", f"{promoted}/registry", *words).code == DONE
    assert listing(promoted)["history"][-1]["reason"] == "it was a test"


def test_an_unknown_name_is_a_mistake_of_the_configuration(promoted: Path) -> None:
    outcome = restore(promoted, "registry:foto")
    assert outcome.code == USAGE
    assert "did you mean 'photos'?" in outcome.errors


def test_the_same_name_is_understood_wherever_a_generator_is_named(promoted: Path) -> None:
    where = {"GANRAY_REGISTRY": f"{promoted}/registry"}
    digest = load_checkpoint("compact-x2").digest
    shown = ganray_here("inspect", "registry:photos", "--json", **where).json
    assert (shown["digest"], "versions" in shown["file"]) == (digest, True)
    write_pictures(promoted / "references", 1, side=64)
    words = f"archive={promoted}/references", f"output={promoted}/evaluation", "workers.max=0"
    metrics = "metrics=[psnr_y]", "generators=[registry:photos]"
    assert ganray_here("evaluate", *words, *metrics, **where).code == DONE
    words = f"archive={promoted}/references", f"output={promoted}/training", "--plan"
    assert ganray_here("train", *words, "init_from=registry:photos", **where).code == DONE


def test_what_is_current_and_gone_is_told_with_the_way_back(tmp_path: Path) -> None:
    promote_two(tmp_path)
    store = open_name(f"{tmp_path}/registry", "photos")
    first, second = list_versions(store)
    for name in ("generator.safetensors", "card.json"):
        store.delete(f"versions/{second}/{name}")
    for outcome in (restore(tmp_path), promote(tmp_path, "compact-x2")):
        assert outcome.code == FAILED
        assert f"photos@{second}" in outcome.errors
        assert f"--rollback photos@{first}" in outcome.errors
    assert f"{second} is current, and is not there" in listing(tmp_path)["problem"]
    assert ganray_here("registry", f"{tmp_path}/registry", "--rollback", "photos").code == DONE
    assert restore(tmp_path).code == DONE


TRAINING = (
    *("workers.max=0", "patch_pixels=32", "batch_size=2", "degradation=bicubic"),
    *("stages.fidelity.steps=1", "stages.warmup.steps=0", "stages.adversarial.steps=0"),
    *(
        "stages.fidelity.learning_rate=1e-7",
        "ema_decay=0",
    ),
)


def train(folder: Path, *words: str) -> Outcome:
    return ganray_here(
        "train",
        "init_from=compact-x2",
        "gate.name=photos",
        f"registry={folder}/registry",
        f"output={folder}/training",
        *TRAINING,
        *words,
    )


def test_a_training_ends_with_its_promotion_once(tmp_path: Path) -> None:
    outcome = train(tmp_path)
    assert outcome.code == DONE, outcome.text
    found = listing(tmp_path)
    assert f"promoted: photos@{found['current']}" in outcome.output
    assert "Promoted as photos" in (tmp_path / "training" / "report.html").read_text()
    trained = load_checkpoint(str(tmp_path / "training" / "generator.safetensors"))
    assert found["versions"][0]["digest"] == trained.digest
    events = (tmp_path / "training" / "events.jsonl").read_text()
    again = train(tmp_path)
    assert "nothing to do" in again.output
    assert (tmp_path / "training" / "events.jsonl").read_text() == events
    assert listing(tmp_path) == found


def test_a_training_whose_generator_is_refused_is_done_and_says_why(tmp_path: Path) -> None:
    outcome = train(tmp_path, "gate.min_gain=0.5")
    assert outcome.code == DONE, outcome.text
    assert "warning: the generator is not promoted under photos, none is current:" in outcome.output
    lines = (tmp_path / "training" / "events.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["event"] == "refused"
    assert "ssim_y against bicubic" in last["reasons"][0]
    assert json.loads((tmp_path / "training" / "gate" / "gate.json").read_text())["refused"]
    assert (tmp_path / "training" / "generator.safetensors").is_file()
    assert ganray_here("registry", f"{tmp_path}/registry", "--json").json == []


def test_a_promotion_that_breaks_is_told_apart_from_the_training_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise StorageError("the registry does not answer")

    report = tmp_path / "training" / "report.html"
    with monkeypatch.context() as broken:
        broken.setattr(train_gate, "run_promotion", fail)
        assert train(tmp_path).code == FAILED
    text = report.read_text()
    assert "The training came to its end." in text and "ended early" not in text
    assert "What came after failed: the registry does not answer" in text
    again = train(tmp_path)
    assert (again.code, f"to look at: {report}" in again.output) == (DONE, True), again.text
    text = report.read_text()
    assert "Promoted as photos" in text and "does not answer" not in text


def test_a_gate_without_images_is_refused_before_the_training_starts(tmp_path: Path) -> None:
    outcome = train(tmp_path, "validation=")
    assert outcome.code == USAGE
    assert "no image is held out" in outcome.errors
    assert not (tmp_path / "training").exists()


def test_a_registry_in_a_bucket_is_promoted_to_restored_from_and_rolled_back(
    bucket: str, tmp_path: Path
) -> None:
    registry = f"{bucket}/registry"
    for part in (0.5, 1.0):
        outcome = promote(tmp_path, weakened(tmp_path, part), registry)
        assert outcome.code == DONE, outcome.text
    first, second = list_versions(open_name(registry, "photos"))
    write_pictures(tmp_path / "archive", 1, side=64)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0"
    outcome = ganray_here("restore", *words, f"registry={registry}", "generator=registry:photos")
    assert f"/photos/versions/{second}/" in outcome.output, outcome.text
    back = ganray_here("registry", registry, "--rollback", "photos", "--json").json
    assert (back["version"], back["replaced"]) == (first, second)
