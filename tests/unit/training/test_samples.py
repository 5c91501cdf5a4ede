import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from ganray.degradation.recipe import Recipe, degrade, read_recipe
from ganray.storage import open_store
from ganray.training import samples
from ganray.training.samples import (
    SamplePlan,
    SampleReader,
    Share,
    image_of_sample,
    read_reference,
    stack_pairs,
)

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


def make_plan(archive: Path, **changes: object) -> SamplePlan:
    values = {
        "archive": str(archive),
        "keys": KEYS,
        "bands": 3,
        "patch_pixels": PATCH,
        "scale": 2,
        "recipe": Recipe.model_validate(read_recipe("photo")),
        "seed": 0,
    }
    return SamplePlan(**(values | changes))  # type: ignore[arg-type]


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
    indices = range(epoch * num_images, (epoch + 1) * num_images)
    images = [image_of_sample(index, num_images, seed) for index in indices]
    assert sorted(images) == list(range(num_images))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(image_of_sample(epoch * 10 + i, 10, seed) for i in range(10))
        for epoch in range(3)
        for seed in range(3)
    }
    assert len(orders) == 9


def test_a_sample_does_not_depend_on_the_reader_or_the_order(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(archive)
    expected = {index: SampleReader(plan).pair(index) for index in range(8)}
    reader = SampleReader(plan)
    # Room for one image: every other sample decodes again.
    monkeypatch.setattr(samples, "CACHE_BYTES", 1)
    for index in (7, 0, 3, 3, 6, 1, 0, 5, 2, 4):
        for one, other in zip(reader.pair(index), expected[index], strict=True):
            assert np.array_equal(one, other)


def test_the_cache_is_bounded(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SampleReader(make_plan(archive))
    # Room for two of the three images.
    monkeypatch.setattr(samples, "CACHE_BYTES", 2 * 4 * 3 * 22 * 40)
    for index in range(12):
        reader.pair(index)
        held = sum(pixels.nbytes for pixels in reader._cache.values())
        assert reader._cached_bytes == held <= samples.CACHE_BYTES
    assert len(reader._cache) == 2


def test_a_decoded_image_is_not_read_again(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SampleReader(make_plan(archive, keys=KEYS[:1]))
    first = reader.pair(0)
    monkeypatch.setattr(reader, "store", None)
    assert np.array_equal(reader.pair(0)[0], first[0])
    assert reader.pair(1)[1].shape == (3, PATCH, PATCH)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_pairs_have_the_shapes_of_the_plan(archive: Path, scale: int) -> None:
    pairs = stack_pairs(SampleReader(make_plan(archive, scale=scale)), range(3, 7))
    assert pairs["degraded"].shape == (4, 3, PATCH // scale, PATCH // scale)
    assert pairs["reference"].shape == (4, 3, PATCH, PATCH)
    assert all(array.dtype == np.float32 for array in pairs.values())


def test_a_reference_is_cut_from_the_image_of_its_number(archive: Path) -> None:
    reader = SampleReader(make_plan(archive))
    for index in range(12):
        _, reference = reader.pair(index)
        image = image_of_sample(index, len(KEYS), 0)
        assert (np.rint(reference[0] * 255) == image).all()
        assert reference.flags.c_contiguous


def test_the_degraded_half_comes_from_the_reference_half(archive: Path) -> None:
    recipe = Recipe.model_validate(read_recipe("bicubic"))
    degraded, reference = SampleReader(make_plan(archive, recipe=recipe)).pair(4)
    whole = torch.from_numpy(reference)[None]
    expected = degrade(whole, recipe, scale=2, seeds=[(0, 4)]).pixels[0].numpy()
    assert np.array_equal(degraded, expected)


def test_positions_turns_and_flips_all_occur(tmp_path: Path) -> None:
    # Every pixel has its own value, so that a patch tells where and how it was cut.
    ramp = np.arange(9 * 10, dtype=np.uint8).reshape(9, 10)
    (tmp_path / "ramp.png").write_bytes(encode(ramp))
    plan = make_plan(tmp_path, keys=("ramp.png",), bands=1, patch_pixels=8)
    reader = SampleReader(plan)
    seen = {(np.rint(reader.pair(index)[1][0] * 255)).tobytes() for index in range(400)}
    patches = [ramp[top : top + 8, left : left + 8] for top in range(2) for left in range(3)]
    allowed = {
        np.rot90(patch, turn)[:, ::flip].astype(np.float32).tobytes()
        for patch in patches
        for turn in range(4)
        for flip in (1, -1)
    }
    assert seen == allowed and len(allowed) == 48


def test_other_seeds_cut_other_patches(archive: Path) -> None:
    first, second = (SampleReader(make_plan(archive, seed=seed)).pair(0) for seed in (0, 1))
    assert not np.array_equal(first[1], second[1])


def test_alpha_is_left_out_and_gray_is_repeated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rgba, gray = rng.integers(0, 256, (8, 9, 4), np.uint8), rng.integers(0, 256, (8, 9), np.uint8)
    (tmp_path / "rgba.png").write_bytes(encode(rgba))
    (tmp_path / "gray.png").write_bytes(encode(gray))
    store = open_store(str(tmp_path))
    colour = np.moveaxis(rgba[..., :3], -1, 0) / np.float32(255)
    assert read_reference(store, "rgba.png", 3) == pytest.approx(colour)
    assert read_reference(store, "rgba.png", 1)[0] == pytest.approx(colour.mean(axis=0))
    assert read_reference(store, "gray.png", 1)[0] == pytest.approx(gray / 255)
    assert (read_reference(store, "gray.png", 3) == read_reference(store, "gray.png", 1)).all()
    assert read_reference(store, "gray.png", 3).shape == (3, 8, 9)
