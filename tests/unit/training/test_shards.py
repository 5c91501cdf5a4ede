from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.errors import NotFoundError, TrainingError, UndecodableError
from ganray.storage import Store, open_store
from ganray.training.references import Reading
from ganray.training.samples import SamplePlan, image_of_sample, stack_samples
from ganray.training.shards import (
    INDEX_KEY,
    Shard,
    ShardIndex,
    ShardReader,
    SubImage,
    cut_boxes,
    decode_pixels,
    encode_pixels,
    encode_shard,
    read_index,
    write_index,
)
from ganray.training.sources import open_reader
from tests.unit.memory_store import MemoryStore

few_examples = settings(max_examples=40, deadline=None)
ROWS = (3, 1, 4)


def picture(number: int, side: int = 20) -> np.ndarray:
    """Noise whose first band says which sub-image it is."""
    pixels = np.random.default_rng(number).integers(0, 256, (3, side, side), np.uint8)
    pixels[0] = number
    return pixels


def write_shards(store: Store) -> ShardIndex:
    """Three shards of ROWS sub-images, numbered through."""
    shards, number = [], 0
    for place, num_rows in enumerate(ROWS):
        rows = [SubImage(f"{i}.png", 0, i, picture(i)) for i in range(number, number + num_rows)]
        data = encode_shard(rows)
        store.write(f"shard-{place}.parquet", data)
        shards.append(Shard(f"shard-{place}.parquet", num_rows, len(data), f"{place}" * 64))
        number += num_rows
    index = ShardIndex("archive", "made of", 8, "uint8", (3,), 20, tuple(shards), ("held.png",))
    write_index(store, index)
    return index


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def make_plan(store: Store, index: ShardIndex, **changes: object) -> SamplePlan:
    values = {
        "archive": store.uri,
        "keys": (),
        "reading": Reading(3, "uint8"),
        "patch_pixels": 16,
        "scale": 2,
        "seed": 0,
        "batch_size": 4,
        "shards": index,
        "max_failed": 0.5,
        "cache_bytes": 0,
    }
    return SamplePlan(**(values | changes))  # type: ignore[arg-type]


@few_examples
@given(
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 99),
)
def test_pixels_come_back_bit_by_bit(dtype: str, shape: tuple[int, int, int], seed: int) -> None:
    num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    # Any bits: floats that are not finite among them.
    pixels = np.frombuffer(np.random.default_rng(seed).bytes(num_bytes), dtype).reshape(shape)
    found = decode_pixels(encode_pixels(pixels))
    assert found.dtype == pixels.dtype and found.shape == pixels.shape
    assert found.tobytes() == pixels.tobytes()


@pytest.mark.parametrize("cut", [0, 5, 16, 40, -1])
def test_damaged_pixels_are_undecodable(cut: int) -> None:
    with pytest.raises(UndecodableError):
        decode_pixels(encode_pixels(picture(0))[:cut])


@few_examples
@given(st.integers(1, 400), st.integers(1, 400), st.integers(16, 120), st.integers(0, 15))
def test_boxes_cover_an_image_and_overlap_by_what_was_asked(
    height: int, width: int, side: int, overlap: int
) -> None:
    boxes = cut_boxes(height, width, side, overlap)
    covered = np.zeros((height, width), np.bool_)
    for box in boxes:
        assert (box.bottom - box.top, box.right - box.left) == (min(side, height), min(side, width))
        covered[box.top : box.bottom, box.left : box.right] = True
    assert covered.all()
    tops = sorted({box.top for box in boxes})
    assert all(top + side - below >= overlap for top, below in pairwise(tops))


def test_every_patch_can_be_cut_where_the_overlap_is_its_side_less_one() -> None:
    boxes = cut_boxes(100, 70, 40, 15)
    for top in range(100 - 16 + 1):
        for left in range(70 - 16 + 1):
            assert any(
                box.top <= top <= box.bottom - 16 and box.left <= left <= box.right - 16
                for box in boxes
            )


def test_an_index_comes_back_and_is_none_where_there_is_none(store: Store, tmp_path: Path) -> None:
    index = write_shards(store)
    assert read_index(store) == index
    assert index.num_rows == sum(ROWS)
    (tmp_path / "empty").mkdir()
    assert read_index(open_store(str(tmp_path / "empty"))) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"num_rows": 4', '"num_rows": 4, "more": 1'),
        lambda text: text.replace("1" * 64, "7" * 64),
        lambda text: text.replace("ganray shards 1", "ganray shards 9"),
        lambda text: "[]",
    ],
)
def test_a_damaged_index_is_refused_with_what_to_do(store: Store, spoil) -> None:
    write_shards(store)
    store.write(INDEX_KEY, spoil(store.read(INDEX_KEY).decode()).encode())
    with pytest.raises(UndecodableError, match="ganray shard"):
        read_index(store)


def test_sub_images_are_numbered_through_all_shards(store: Store) -> None:
    reader = ShardReader(store, write_shards(store))
    for number in (7, 0, 3, 4, 2, 1, 6, 5):
        assert np.array_equal(reader.read(number), picture(number))
    assert [reader.place(number) for number in range(8)] == [
        *((0, row) for row in range(3)),
        (1, 0),
        *((2, row) for row in range(4)),
    ]


def test_a_sub_image_costs_one_small_read_once_its_shard_is_open() -> None:
    memory = MemoryStore()
    index = write_shards(memory)
    reads: list[str] = []
    watched = memory.seen_by(lambda action, key: reads.append(action))
    reader = ShardReader(watched, index)
    reader.read(4)
    reads.clear()
    reader.read(6)
    assert reads == ["read"]


def test_shards_are_parquet_that_others_read(store: Store, tmp_path: Path) -> None:
    write_shards(store)
    file = pq.ParquetFile(tmp_path / "shard-2.parquet")
    assert file.num_row_groups == 4
    table = file.read()
    assert table["key"].to_pylist() == ["4.png", "5.png", "6.png", "7.png"]
    assert table["left"].to_pylist() == [4, 5, 6, 7]


def test_the_same_rows_make_the_same_bytes() -> None:
    rows = [SubImage("a.png", 0, 0, picture(0)), SubImage("a.png", 0, 8, picture(1))]
    assert encode_shard(rows) == encode_shard(rows)


def test_samples_come_from_the_sub_images_of_their_numbers(store: Store) -> None:
    plan = make_plan(store, write_shards(store))
    arrays = stack_samples(open_reader(plan), range(24))
    for index, patch in enumerate(arrays["reference"]):
        assert (patch[0] == image_of_sample(index, 8, 0)).all()
    assert set(arrays["failure"]) == {""}


def spoil_row(store: Store, key: str, number: int) -> None:
    """Change one byte in the middle of a sub-image's pixels."""
    data = bytearray(store.read(key))
    place = data.find(encode_pixels(picture(number)))
    assert place > 0
    data[place + 200] ^= 1
    store.write(key, bytes(data))


def test_a_damaged_row_group_falls_to_the_next_and_is_named(store: Store) -> None:
    index = write_shards(store)
    spoil_row(store, "shard-2.parquet", 5)
    plan = make_plan(store, index)
    first, second = open_reader(plan), open_reader(plan)
    arrays = stack_samples(first, range(24))
    backwards = stack_samples(second, range(23, -1, -1))
    assert np.array_equal(arrays["reference"], backwards["reference"][::-1])
    for sample, (patch, failure) in enumerate(
        zip(arrays["reference"], arrays["failure"].tolist(), strict=True)
    ):
        wanted = image_of_sample(sample, 8, 0)
        assert (patch[0] == (6 if wanted == 5 else wanted)).all()
        assert failure.startswith("shard-2.parquet row group 1\0") == (wanted == 5)


@pytest.mark.parametrize("how", ["missing", "short"])
def test_a_damaged_shard_falls_to_the_next_and_is_named(store: Store, how: str) -> None:
    index = write_shards(store)
    if how == "missing":
        store.delete("shard-0.parquet")
    else:
        store.write("shard-0.parquet", store.read("shard-0.parquet")[:-100])
    arrays = stack_samples(open_reader(make_plan(store, index)), range(16))
    assert arrays["reference"][:, 0, 0, 0].min() == 3
    named = {failure.partition("\0")[0] for failure in arrays["failure"]} - {""}
    assert named == {f"shard-0.parquet row group {row}" for row in range(3)}


def test_a_training_stops_when_too_many_sub_images_are_damaged(store: Store) -> None:
    index = write_shards(store)
    store.delete("shard-2.parquet")
    with pytest.raises(TrainingError, match=r"max_failed=0.3 .* shard-2.parquet row group"):
        stack_samples(open_reader(make_plan(store, index, max_failed=0.3)), range(16))


def test_a_store_that_fails_is_no_damage(store: Store) -> None:
    index = write_shards(store)
    gone = replace(make_plan(store, index), archive=f"{store.uri}/elsewhere")
    with pytest.raises((TrainingError, NotFoundError)):
        stack_samples(open_reader(gone), range(4))
