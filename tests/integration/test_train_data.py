"""What a training is fed with: shards, pairs, bad input; the same with Ray and without."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganray.config import load_config
from ganray.pipelines.train_config import TrainConfig, TrainPlan, plan_training
from ganray.pipelines.train_data import local_batches, step_blocks, streamed_batches
from ganray.pipelines.train_samples import MOST_TURNS
from ganray.pipelines.workers import WorkersConfig, ray_cluster
from ganray.training.samples import Arrays, Share
from tests.integration import test_train
from tests.integration.command import Outcome, ganray_here
from tests.integration.pictures import encoded, textured, write_pictures

DONE, FAILED, USAGE, SOME_INPUTS_FAILED = 0, 1, 2, 3
TINY = (*test_train.TINY, *test_train.stages(2, 0, 0), "workers.max=0")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "archive", 12, side=48)
    return tmp_path / "archive"


def train(*words: str) -> Outcome:
    given = {word.partition("=")[0] for word in words}
    return ganray_here(
        "train", *(word for word in TINY if word.partition("=")[0] not in given), *words
    )


def planned(*words: str) -> TrainPlan:
    given = {word.partition("=")[0] for word in words}
    tiny = (word for word in TINY if word.partition("=")[0] not in given)
    return plan_training(load_config(TrainConfig, [*tiny, *words]))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def events(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines()]


def equal(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def test_actors_of_ray_cut_what_this_process_cuts(archive: Path, tmp_path: Path) -> None:
    plan = planned(f"archive={archive}", f"output={tmp_path}/out", "batch_size=5")
    samples = replace(plan.samples, num_turns=3, cache_bytes=0)
    steps = range(3, 21)
    with ray_cluster(WorkersConfig(), 3):
        for rank in range(2):
            share = Share(rank, 2, 5)
            streamed = list(streamed_batches(samples, share, steps, num_readers=2))
            here = list(local_batches(samples, share, steps))
            assert len(streamed) == len(here) == len(steps)
            assert all(map(equal, streamed, here))
            assert here[0]["index"].tolist() == list(share.indices(3))


def test_blocks_of_steps_begin_at_the_same_steps_wherever_a_training_resumes() -> None:
    for begin in range(20):
        blocks = list(step_blocks(range(begin, 40)))
        assert [step for block in blocks for step in block] == list(range(begin, 40))
        assert all(block.start % MOST_TURNS == 0 for block in blocks[1:])


def test_a_training_on_shards_needs_nothing_but_the_shards(archive: Path, tmp_path: Path) -> None:
    (archive / "broken.png").write_bytes(encoded(48, 48, seed=1)[:-300])
    shards = tmp_path / "shards"
    words = "shard", f"archive={archive}", f"output={shards}", "workers.max=0"
    small = "smallest_pixels=16", "side_pixels=32", "overlap_pixels=16", "shard_bytes=20000"
    cut = ganray_here(*words, *small)
    assert cut.code == SOME_INPUTS_FAILED, cut.text
    assert "warning: skipped broken.png: " in cut.output
    index = json.loads((shards / "ganray-shards.json").read_text())
    assert index["num_images"] == 11 and len(index["validation"]) == 1
    assert len(index["shards"]) > 2
    again = ganray_here(*words, *small)
    assert "nothing to do" in again.output
    for path in archive.iterdir():
        path.unlink()
    outcome = train(f"archive={shards}", f"output={tmp_path}/out")
    assert outcome.code == DONE, outcome.text
    assert "44 sub-images of 11 images" in outcome.output
    assert f"left out of the training: {index['validation'][0]}" in outcome.output
    assert "validation_psnr_y" in outcome.output


def test_shards_that_do_not_fit_a_training_are_refused(archive: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    words = "shard", f"archive={archive}", f"output={shards}", "workers.max=0"
    assert ganray_here(*words, "smallest_pixels=16", "side_pixels=32", "overlap_pixels=0").code == 0
    for word, hint in (
        ("patch_pixels=40", "smallest_pixels=40"),
        (f"degraded={archive}", "no degraded twins"),
        ("generator.options.bands=4", "sub-images of 3 bands, and the generator takes 4"),
    ):
        outcome = train(f"archive={shards}", f"output={tmp_path}/out", word)
        assert outcome.code == USAGE and hint in outcome.errors


def test_an_interrupted_cutting_leaves_no_index(archive: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    words = "shard", f"archive={archive}", f"output={shards}", "workers.max=0", "smallest_pixels=16"
    assert ganray_here(*words).code == DONE
    for number in range(3):
        whole = encoded(48, 48, seed=number)
        (archive / f"image-{number:03d}.png").write_bytes(whole[: len(whole) - 300])
    outcome = ganray_here(*words)
    assert outcome.code == FAILED and "max_failed=0.1" in outcome.errors
    assert "image-000.png" in outcome.errors
    assert not (shards / "ganray-shards.json").exists()


def test_pairs_are_learnt_from_without_synthesis(tmp_path: Path) -> None:
    for number in range(12):
        picture = textured(48, 64, seed=number)
        save(tmp_path / "good" / f"roll/{number:02d}.png", picture)
        save(tmp_path / "bad" / f"roll/{number:02d}.tif", picture[::2, ::2])
    where = f"archive={tmp_path}/good", f"degraded={tmp_path}/bad", f"output={tmp_path}/out"
    plan = planned(*where)
    assert plan.samples.recipe is None
    arrays = next(local_batches(plan.samples, Share(0, 1, 4), range(1)))
    assert np.array_equal(arrays["reference"].shape, (4, 3, 16, 16))
    # Every second pixel of a reference, from whichever corner it was turned to.
    for reference, degraded in zip(arrays["reference"], arrays["degraded"], strict=True):
        corners = [reference[:, top::2, left::2] for top in (0, 1) for left in (0, 1)]
        assert any(np.array_equal(degraded, corner) for corner in corners)
    outcome = train(*where)
    assert outcome.code == DONE, outcome.text
    assert "11 pairs of" in outcome.output and "nothing is synthesised" in outcome.output
    assert "validation_psnr_y" in outcome.output
    validation = f"validation={tmp_path}/good", f"validation_degraded={tmp_path}/bad"
    assert len(planned(*where, *validation).data.validation.degraded_keys) == 4
    assert train(*where, validation[0]).code == USAGE


def test_pairs_of_wrong_sizes_and_images_without_a_twin_are_named(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / "good" / f"{number}.png", textured(48, 48, seed=number))
        save(tmp_path / "bad" / f"{number}.png", textured(24, 24, seed=number))
    save(tmp_path / "bad" / "1.png", textured(23, 24, seed=1))
    (tmp_path / "bad" / "2.png").unlink()
    where = f"archive={tmp_path}/good", f"degraded={tmp_path}/bad", f"output={tmp_path}/out"
    refused = train(*where)
    assert refused.code == FAILED
    assert "2 of 6 images" in refused.errors
    outcome = train(*where, "max_failed=0.5", "--plan")
    assert outcome.code == DONE
    assert "4 pairs of" in outcome.output
    assert "skipped 1.png: 48x48, and its degraded twin 1.png is 24x23" in outcome.output
    assert "skipped 2.png: no degraded twin" in outcome.output


def test_images_that_cannot_be_used_are_warned_of_and_become_events(
    archive: Path, tmp_path: Path
) -> None:
    whole = (archive / "image-003.png").read_bytes()
    (archive / "image-003.png").write_bytes(whole[: len(whole) - 300])
    (archive / "no-image.png").write_bytes(b"words")
    (archive / "small.png").write_bytes(encoded(8, 48, seed=1))
    where = f"archive={archive}", f"output={tmp_path}/out", "validation="
    outcome = train(*where, "max_failed=0.2", "stages.fidelity.steps=12")
    assert outcome.code == DONE, outcome.text
    skipped = [event["key"] for event in events(tmp_path / "out") if event["event"] == "skipped"]
    for key in ("image-003.png", "no-image.png", "small.png"):
        assert skipped.count(key) == 1
        assert outcome.output.count(f"warning: skipped {key}: ") == 1


def test_too_many_unreadable_images_are_refused_before_or_stop_the_training(
    archive: Path, tmp_path: Path
) -> None:
    for number in range(2):
        (archive / f"image-{number:03d}.png").write_bytes(b"words")
    outcome = train(f"archive={archive}", f"output={tmp_path}/out")
    assert outcome.code == FAILED
    assert "2 of 12 images" in outcome.errors and "image-000.png" in outcome.errors
    for number in range(2):
        whole = encoded(48, 48, seed=number)
        (archive / f"image-{number:03d}.png").write_bytes(whole[: len(whole) - 300])
    outcome = train(f"archive={archive}", f"output={tmp_path}/out", "stages.fidelity.steps=20")
    assert outcome.code == FAILED
    assert "max_failed=0.1" in outcome.errors
    assert not (tmp_path / "out" / "generator.safetensors").exists()


def test_fewer_images_than_a_batch_give_several_patches_each(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 2, side=48)
    outcome = train(f"archive={tmp_path}/archive", f"output={tmp_path}/out", "--plan")
    assert outcome.code == DONE
    assert "2 images, batches of 4: several patches of an image in each" in outcome.output
    assert "no validation: too few images" in outcome.output
    plan = planned(f"archive={tmp_path}/archive", f"output={tmp_path}/out")
    arrays = next(local_batches(plan.samples, Share(0, 1, 4), range(1)))
    assert len({patch.tobytes() for patch in arrays["reference"]}) == 4


def test_validation_images_are_left_out_and_stay_the_same(archive: Path, tmp_path: Path) -> None:
    write_pictures(archive, 40, side=48)
    first = planned(f"archive={archive}", f"output={tmp_path}/out")
    held_out = first.data.validation.keys
    assert len(held_out) == 4
    assert not set(held_out) & set(first.samples.keys)
    assert len(first.samples.keys) == 36
    other = planned(f"archive={archive}", f"output={tmp_path}/out", "seed=5")
    assert other.data.validation.keys == held_out
    more = archive / "another.png"
    more.write_bytes(encoded(48, 48, seed=7))
    kept = set(planned(f"archive={archive}", f"output={tmp_path}/out").data.validation.keys)
    assert len(kept & set(held_out)) >= 3


def test_the_sample_is_validated_on_its_held_out_images(tmp_path: Path) -> None:
    plan = planned(f"output={tmp_path}/out")
    assert plan.data.validation.archive.endswith("held-out")
    assert len(plan.data.validation.keys) == 4


@pytest.mark.parametrize("output", ["", "/inside", "/.."])
@pytest.mark.parametrize("command", ["train", "shard"])
def test_an_output_among_the_archive_is_refused(archive: Path, command: str, output: str) -> None:
    words = f"archive={archive}", f"output={archive}{output}", "workers.max=0"
    outcome = ganray_here(command, *words)
    assert outcome.code == USAGE
    assert "one lies inside the other" in outcome.errors


def test_a_training_of_no_steps_is_refused(archive: Path, tmp_path: Path) -> None:
    outcome = train(f"archive={archive}", f"output={tmp_path}/out", "stages.fidelity.steps=0")
    assert outcome.code == USAGE
    assert "0 steps" in outcome.errors


def test_bands_that_do_not_fit_are_refused_with_files_and_counts(
    archive: Path, tmp_path: Path
) -> None:
    words = f"archive={archive}", f"output={tmp_path}/out", "generator.options.bands=4"
    outcome = train(*words)
    assert outcome.code == USAGE
    assert "takes 4 bands" in outcome.errors
    assert "12 of 3 bands (image-000.png, " in outcome.errors


def test_large_archives_give_several_patches_for_a_decoded_image(
    archive: Path, tmp_path: Path
) -> None:
    save(archive / "large.png", textured(2048, 2048, seed=1))
    where = f"archive={archive}", f"output={tmp_path}/out", "validation="
    assert planned(*where).samples.num_turns == 1
    assert planned(*where, "cache_bytes=1000000").samples.num_turns == 1
    large = "selection.include=large*"
    assert planned(*where, "cache_bytes=1000000", large).samples.num_turns == MOST_TURNS
    assert planned(*where, "patches_per_image=5").samples.num_turns == 5
