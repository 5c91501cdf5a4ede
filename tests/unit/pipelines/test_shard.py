"""Cutting an archive into shards, and planning a training on them, in this process."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from ganray.claim import claimed
from ganray.errors import ClaimedError, ConfigError
from ganray.pipelines.data_config import DataConfig
from ganray.pipelines.shard import ShardResult, plan_shards, run_sharding
from ganray.pipelines.shard_config import ShardConfig
from ganray.pipelines.train_images import Needs
from ganray.pipelines.train_samples import DataPlan, plan_data
from ganray.storage import open_store
from ganray.training.shards import INDEX_KEY
from tests.integration.pictures import write_pictures

NEEDS = Needs(bands=3, scale=2, batch_size=4)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "archive", 11, side=48)
    return tmp_path / "archive"


def cut(archive: Path, **values: Any) -> ShardResult:
    config = {"archive": str(archive), "output": str(archive.parent / "shards")}
    given = {"smallest_pixels": 16, "workers": {"max": 0}, "max_failed": 1, **values}
    return run_sharding(plan_shards(ShardConfig.model_validate(config | given)), lambda *_: None)


def planned(shards: Path, needs: Needs = NEEDS, **values: Any) -> DataPlan:
    values = {"archive": str(shards), "patch_pixels": 16, **values}
    return plan_data(DataConfig.model_validate(values), needs)


def write_raster(path: Path, pixels: np.ndarray, nodata: int | None = None) -> None:
    bands, height, width = pixels.shape
    with rasterio.open(
        *(path, "w"),
        driver="GTiff",
        width=width,
        height=height,
        count=bands,
        dtype=pixels.dtype,
        nodata=nodata,
        crs="EPSG:32632",
        transform=from_origin(0, 0, 1, 1),
    ) as file:
        file.write(pixels)


def test_a_damaged_index_is_replaced_by_cutting_again(archive: Path, tmp_path: Path) -> None:
    first = cut(archive)
    index = tmp_path / "shards" / INDEX_KEY
    whole = index.read_text()
    index.write_text(whole[:-20])
    assert cut(archive).index == first.index
    assert index.read_text() == whole
    assert cut(archive).already_there


def test_an_image_of_which_no_part_has_values_is_named(archive: Path) -> None:
    pixels = np.zeros((3, 200, 200), np.uint8)
    pixels[:, ::2, ::2] = 7
    write_raster(archive / "empty.tif", pixels, nodata=0)
    result = cut(archive)
    assert [(item.key, "no part" in item.reason) for item in result.left_out] == [
        ("empty.tif", True)
    ]


def test_of_two_cuttings_to_one_output_the_second_stops(archive: Path, tmp_path: Path) -> None:
    with claimed(open_store(str(tmp_path / "shards")), "another"), pytest.raises(ClaimedError):
        cut(archive)
    cut(archive)
    assert not list((tmp_path / "shards").glob("_ganray/claims/*"))


def test_a_training_reads_as_the_shards_were_cut_and_not_otherwise(tmp_path: Path) -> None:
    archive, shards = tmp_path / "rasters", tmp_path / "shards"
    archive.mkdir()
    for seed in range(10):
        pixels = np.random.default_rng(seed).integers(0, 256, (5, 48, 48), np.uint8)
        write_raster(archive / f"{seed}.tif", pixels)
    cut(archive, geo={"bands": [3, 2, 1]})
    plan = planned(shards)
    assert plan.samples.reading.codecs.geo.bands == (3, 2, 1)
    assert len(plan.validation.keys) == 1
    assert planned(shards, geo={"bands": [3, 2, 1]}) == plan
    for name, value in (("geo", {"bands": [1, 2, 3]}), ("selection", {"include": "1*"})):
        with pytest.raises(ConfigError, match=f"{name} would change .* decided when its shards"):
            planned(shards, **{name: value})


def test_images_beside_the_shards_have_to_fit_the_generator_and_are_named_otherwise(
    archive: Path, tmp_path: Path
) -> None:
    (key,) = cut(archive).index.validation
    copied = tmp_path / "shards" / "validation" / key
    assert planned(tmp_path / "shards").validation.keys == (key,)
    # A generator of five bands would have been refused for its sub-images.
    index = tmp_path / "shards" / INDEX_KEY
    index.write_text(json.dumps(json.loads(index.read_text()) | {"bands": [5]}))
    with pytest.raises(ConfigError, match=key):
        planned(tmp_path / "shards", Needs(5, 2, 4), degradation="bicubic")
    index.write_text(json.dumps(json.loads(index.read_text()) | {"bands": [3]}))
    Image.new("L", (48, 48)).save(copied)
    assert planned(tmp_path / "shards").validation.keys == (key,)
    copied.write_bytes(b"words")
    plan = planned(tmp_path / "shards")
    assert plan.validation.keys == ()
    assert [item.key for item in plan.skipped] == [key]
    copied.unlink()
    assert [item.key for item in planned(tmp_path / "shards").skipped] == [key]
