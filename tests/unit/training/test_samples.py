import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from ganray.degradation.recipe import Recipe, read_recipe
from ganray.errors import TrainingError
from ganray.training.batches import make_batch
from ganray.training.references import Reading, Reference
from ganray.training.samples import (
    References,
    SamplePlan,
    SampleReader,
    Share,
    group_of_sample,
    image_of_sample,
    stack_samples,
)
from ganray.training.sources import open_reader

few_examples = settings(max_examples=30, deadline=None)
PATCH = 16
KEYS = tuple(f"image {index}.png" for index in range(3))


def encode(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(0)
    for index, key in enumerate(KEYS):
        pixels = rng.integers(0, 256, (20 + index, 40 - index, 3), np.uint8)
        # The red of a pixel says which image it is from.
        pixels[..., 0] = index
        (folder / key).write_bytes(encode(pixels))
    return folder


def make_plan(archive: Path | str, **changes: object) -> SamplePlan:
    values = {
        "archive": str(archive),
        "keys": KEYS,
        "reading": Reading(3, "uint8"),
        "patch_pixels": PATCH,
        "scale": 2,
        "seed": 0,
        "batch_size": 4,
        "recipe": Recipe.model_validate(read_recipe("photo")),
    }
    return SamplePlan(**(values | changes))  # type: ignore[arg-type]


class Pictures:
    """A source in memory, which counts how often each of its images is loaded."""

    def __init__(self, images: list[Reference], twins: list[Reference] | None = None) -> None:
        self.images = images
        self.twins = twins
        self.num_images = len(images)
        self.loaded: list[int] = []

    def name(self, position: int) -> str:
        return f"picture {position}"

    def load(self, position: int) -> References:
        self.loaded.append(position)
        return References(self.images[position], self.twins[position] if self.twins else None)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


@few_examples
@given(st.integers(1, 40), st.data(), st.integers(0, 5))
def test_the_workers_shares_partition_every_global_batch(
    batch_size: int, data: st.DataObject, step: int
) -> None:
    num_workers = data.draw(st.integers(1, batch_size))
    shares = [Share(rank, num_workers, batch_size) for rank in range(num_workers)]
    indices = [index for share in shares for index in share.indices(step)]
    assert indices == list(range(step * batch_size, (step + 1) * batch_size))
    sizes = [share.size for share in shares]
    assert [len(share.indices(step)) for share in shares] == sizes
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1
    assert sum(share.weight for share in shares) == pytest.approx(1)
    assert all(share.weight == pytest.approx(share.size / batch_size) for share in shares)


@few_examples
@given(st.integers(1, 30), st.integers(0, 4), st.integers(0, 2**32))
def test_every_epoch_takes_each_image_once(num_images: int, epoch: int, seed: int) -> None:
    groups = range(epoch * num_images, (epoch + 1) * num_images)
    images = [image_of_sample(group, num_images, seed) for group in groups]
    assert sorted(images) == list(range(num_images))


@few_examples
@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 200))
def test_a_group_has_as_many_samples_as_turns_in_consecutive_batches(
    batch_size: int, num_turns: int, group: int
) -> None:
    plan = make_plan("", batch_size=batch_size, num_turns=num_turns)
    last = (group + batch_size) * num_turns + batch_size * num_turns
    members = [index for index in range(last) if group_of_sample(index, plan) == group]
    assert [later - earlier for earlier, later in pairwise(members)] == [batch_size] * (
        num_turns - 1
    )


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(image_of_sample(epoch * 10 + i, 10, seed) for i in range(10))
        for epoch in range(3)
        for seed in range(3)
    }
    assert len(orders) == 9


@pytest.mark.parametrize("num_turns", [1, 3])
def test_a_sample_does_not_depend_on_the_reader_or_the_order(archive: Path, num_turns: int) -> None:
    plan = make_plan(archive, num_turns=num_turns)
    expected = [stack_samples(open_reader(plan), [index]) for index in range(8)]
    # Room for one image: every other sample decodes again.
    reader = open_reader(make_plan(archive, num_turns=num_turns, cache_bytes=1))
    order = [7, 0, 3, 3, 6, 1, 0, 5, 2, 4]
    for index in order:
        assert same(stack_samples(reader, [index]), expected[index])
    together = stack_samples(open_reader(plan), order)
    assert together["index"].tolist() == order
    for place, index in enumerate(order):
        assert np.array_equal(together["reference"][place], expected[index]["reference"][0])


def test_the_cache_is_bounded_and_spares_decoding() -> None:
    pictures = Pictures([Reference(np.zeros((3, 20, 20), np.uint8)) for _ in range(3)])
    one_image = 3 * 20 * 20
    reader = SampleReader(make_plan("", cache_bytes=2 * one_image), pictures)
    for index in range(12):
        reader.sample(index)
        assert reader._kept.num_bytes <= 2 * one_image
        assert reader._kept.num_bytes == one_image * len(reader._kept._images)
    assert len(reader._kept._images) == 2
    roomy = Pictures(pictures.images)
    stack_samples(SampleReader(make_plan("", cache_bytes=3 * one_image), roomy), range(12))
    assert sorted(roomy.loaded) == [0, 1, 2]


def test_samples_that_are_cut_together_share_a_decoded_image_without_any_cache() -> None:
    pictures = Pictures([Reference(np.zeros((3, 20, 20), np.uint8)) for _ in range(100)])
    plan = make_plan("", cache_bytes=0, batch_size=4, num_turns=8)
    stack_samples(SampleReader(plan, pictures), range(4 * 8))
    assert len(pictures.loaded) == len(set(pictures.loaded)) == 4


def test_patches_keep_their_depth(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (20, 20), np.uint16)
    (tmp_path / "deep.png").write_bytes(encode(deep))
    (tmp_path / "shallow.png").write_bytes(encode((deep >> 8).astype(np.uint8)))
    keys = ("deep.png", "shallow.png")
    plan = make_plan(tmp_path, keys=keys, reading=Reading(1, "uint16"), patch_pixels=20)
    arrays = stack_samples(open_reader(plan), range(2))
    assert arrays["reference"].dtype == np.uint16
    by_key = {keys[image_of_sample(i, 2, 0)]: arrays["reference"][i, 0] for i in range(2)}
    assert sorted(by_key["deep.png"].flat) == sorted(deep.flat)
    assert sorted(by_key["shallow.png"].flat) == sorted(((deep >> 8) * 257).flat)


def test_a_reference_is_cut_from_the_image_of_its_number(archive: Path) -> None:
    arrays = stack_samples(open_reader(make_plan(archive)), range(12))
    for index, reference in enumerate(arrays["reference"]):
        assert (reference[0] == image_of_sample(index, len(KEYS), 0)).all()
    assert arrays["reference"].shape == (12, 3, PATCH, PATCH)
    assert arrays["failure"].tolist() == [""] * 12


def test_positions_turns_and_flips_all_occur(tmp_path: Path) -> None:
    # Every pixel has its own value, so that a patch tells where and how it was cut.
    ramp = np.arange(9 * 10, dtype=np.uint8).reshape(9, 10)
    (tmp_path / "ramp.png").write_bytes(encode(ramp))
    plan = make_plan(tmp_path, keys=("ramp.png",), reading=Reading(1, "uint8"), patch_pixels=8)
    reader = open_reader(plan)
    seen = {reader.sample(index).reference.tobytes() for index in range(400)}
    patches = [ramp[top : top + 8, left : left + 8] for top in range(2) for left in range(3)]
    allowed = {
        np.rot90(patch, turns)[:, ::flip].tobytes()
        for patch in patches
        for turns in range(4)
        for flip in (1, -1)
    }
    assert seen == allowed and len(allowed) == 48


def test_other_seeds_cut_other_patches(archive: Path) -> None:
    first, second = (
        stack_samples(open_reader(make_plan(archive, seed=seed)), range(4)) for seed in (0, 1)
    )
    assert not np.array_equal(first["reference"], second["reference"])


def test_both_halves_of_a_pair_are_cut_at_one_place_and_turned_alike() -> None:
    # Each small pixel's value says where it is, and the large ones repeat it.
    small = np.arange(12 * 10, dtype=np.uint8).reshape(1, 12, 10)
    large = small.repeat(2, 1).repeat(2, 2)
    pictures = Pictures([Reference(large)], [Reference(small)])
    plan = make_plan("", reading=Reading(1, "uint8"), recipe=None, patch_pixels=8)
    arrays = stack_samples(SampleReader(plan, pictures), range(60))
    assert arrays["degraded"].shape == (60, 1, 4, 4)
    assert np.array_equal(arrays["degraded"].repeat(2, 2).repeat(2, 3), arrays["reference"])
    # Eight symmetries of three rows and two columns of positions.
    assert len({patch.tobytes() for patch in arrays["degraded"]}) > 40


def test_patches_without_values_are_avoided_and_what_remains_is_filled() -> None:
    pixels = np.full((2, 40, 40), 7, np.uint8)
    valid = np.ones_like(pixels, np.bool_)
    valid[:, :, :20] = False
    valid[:, ::8, 30] = False
    pixels[~valid] = 255
    pictures = Pictures([Reference(pixels, valid)])
    plan = make_plan("", reading=Reading(2, "uint8"), recipe=None)
    arrays = stack_samples(SampleReader(plan, pictures), range(60))
    assert (arrays["reference"] == 7).all()
    again = stack_samples(SampleReader(plan, Pictures(pictures.images)), range(60))
    assert same(arrays, again)


def test_where_values_are_rare_the_fullest_of_some_patches_is_taken() -> None:
    pixels = np.zeros((1, 40, 40), np.uint8)
    valid = np.zeros_like(pixels, np.bool_)
    valid[:, 10:20, 10:20] = True
    pixels[valid] = 9
    plan = make_plan("", reading=Reading(1, "uint8"), recipe=None, patch_pixels=12)
    reader = SampleReader(plan, Pictures([Reference(pixels, valid)]))
    found = [reader.sample(index).reference for index in range(20)]
    assert all((patch == 9).all() for patch in found)


def test_of_bands_that_stand_alone_a_patch_takes_one_and_all_are_taken() -> None:
    pixels = np.arange(5, dtype=np.uint8)[:, None, None].repeat(20, 1).repeat(20, 2)
    plan = make_plan("", patch_pixels=8)
    pictures = Pictures([Reference(pixels, is_single=True)])
    patches = stack_samples(SampleReader(plan, pictures), range(50))["reference"]
    assert patches.shape == (50, 3, 8, 8)
    assert (patches == patches[:, :1, :1, :1]).all()
    assert set(patches[:, 0, 0, 0].tolist()) == set(range(5))


def test_a_damaged_image_is_replaced_alike_by_every_reader_and_named(archive: Path) -> None:
    plan = make_plan(archive, keys=(*KEYS, "absent.png"), max_failed=0.25)
    first, second = open_reader(plan), open_reader(plan)
    one = stack_samples(first, range(16))
    backwards = stack_samples(second, range(15, -1, -1))
    assert np.array_equal(one["reference"], backwards["reference"][::-1])
    failures = one["failure"].tolist()
    hit = [image_of_sample(index, 4, 0) == 3 for index in range(16)]
    assert any(hit)
    assert [bool(failure) for failure in failures] == hit
    assert all(failure.startswith("absent.png\0") for failure in failures if failure)


def test_a_training_stops_when_too_many_images_fail(archive: Path) -> None:
    plan = make_plan(archive, keys=(*KEYS, "absent.png"), max_failed=0.2)
    with pytest.raises(TrainingError, match=r"1 of 4 images .* max_failed=0.2 .* absent.png"):
        stack_samples(open_reader(plan), range(16))


def test_an_image_that_shrank_below_a_patch_is_skipped_by_name(archive: Path) -> None:
    plan = make_plan(archive, patch_pixels=22, max_failed=1.0)
    arrays = stack_samples(open_reader(plan), range(6))
    assert arrays["reference"].shape[2:] == (22, 22)
    assert {failure.partition("\0")[0] for failure in arrays["failure"]} == {"", *KEYS[:2]}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_batch_holds_fractions_of_one_in_every_depth(archive: Path, dtype: str) -> None:
    plan = make_plan(archive, reading=Reading(3, dtype))
    batch = make_batch(stack_samples(open_reader(plan), range(4)), plan, torch.device("cpu"))
    eight = stack_samples(open_reader(make_plan(archive)), range(4))["reference"]
    expected = torch.from_numpy(eight.astype(np.float32) / 255)
    torch.testing.assert_close(batch.reference, expected, rtol=0, atol=1e-6)
    assert batch.degraded.shape == (4, 3, PATCH // 2, PATCH // 2)
    assert 0 <= float(batch.degraded.min()) <= float(batch.degraded.max()) <= 1


def test_what_degrades_a_sample_does_not_depend_on_its_batch(archive: Path) -> None:
    plan = make_plan(archive)
    arrays = stack_samples(open_reader(plan), range(4))
    whole = make_batch(arrays, plan, torch.device("cpu")).degraded
    for begin in range(4):
        part = {name: array[begin : begin + 1] for name, array in arrays.items()}
        alone = make_batch(part, plan, torch.device("cpu")).degraded
        torch.testing.assert_close(alone, whole[begin : begin + 1], rtol=0, atol=0)


def test_given_pairs_are_not_degraded() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "reference": rng.integers(0, 256, (2, 3, 8, 8), np.uint8),
        "degraded": rng.integers(0, 256, (2, 3, 4, 4), np.uint8),
        "index": np.arange(2),
    }
    batch = make_batch(arrays, make_plan("", recipe=None), torch.device("cpu"))
    assert torch.equal(
        (batch.degraded * 255).round().to(torch.uint8).cpu(), torch.from_numpy(arrays["degraded"])
    )
