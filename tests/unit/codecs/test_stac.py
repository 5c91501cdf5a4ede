import builtins
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from pystac.validation.local_validator import LocalValidator
from rasterio.control import GroundControlPoint

from ganray.codecs.stac import Lineage, item_key, require_pystac, stac_item
from ganray.errors import MissingExtraError
from tests.unit.codecs.geo_files import geotiff, opened, values

LINEAGE = Lineage("0.2.0", "a1b2", "c3d4", "2026-01-02T03:04:05+00:00", "s3://archive/a/scene.tif")


def make(data: bytes, scale: int = 2) -> dict[str, Any]:
    raster = opened(data)
    packed = stac_item(
        raster.profile,
        shape=(raster.height, raster.width),
        scale=scale,
        output_key="a/scene.tif",
        lineage=LINEAGE,
    )
    found: dict[str, Any] = json.loads(packed)
    assert list(LocalValidator().item_validator().iter_errors(found)) == []
    assert pystac.Item.from_dict(found).to_dict(transform_hrefs=False)["id"] == "a_scene"
    return found


def place(code: str, west: float, north: float, size: float, shape: tuple[int, int]) -> bytes:
    height, width = shape
    transform = rasterio.Affine(size / width, 0, west, 0, -size / height, north)
    return geotiff(values((1, *shape), "uint8"), crs=code, transform=transform)


def test_an_item_says_where_the_scene_is_and_what_made_it_of_what() -> None:
    def describe(dataset: Any) -> None:
        dataset.update_tags(TIFFTAG_DATETIME="1999:12:31 23:59:58")
        dataset.descriptions = ["red", "nir"]
        dataset.units = ["1", None]

    data = geotiff(values((2, 40, 50), "int16"), nodata=-1, also=describe)
    item = make(data)
    properties = item["properties"]
    assert properties["datetime"] == "1999-12-31T23:59:58Z"
    assert properties["proj:code"] == "EPSG:32633"
    assert properties["proj:shape"] == [80, 100]
    assert properties["proj:transform"] == [5.0, 0.0, 465181.05, 0.0, -5.0, 5080254.63]
    assert properties["processing:software"] == {"ganray": "0.2.0"}
    assert properties["ganray:generator"] == "a1b2"
    assert "a1b2" in properties["processing:lineage"]
    assert [name.split("/")[3] for name in item["stac_extensions"]] == ["processing", "projection"]
    west, south, east, north = item["bbox"]
    assert (west, south) == pytest.approx((14.5513, 45.8713), abs=1e-3)
    assert (east - west, north - south) == pytest.approx((0.0065, 0.0036), rel=0.05)
    assert item["assets"]["data"]["href"] == "./scene.tif"
    assert item["assets"]["data"]["type"] == pystac.MediaType.COG
    assert item["assets"]["data"]["roles"] == ["data"]
    assert item["assets"]["data"]["bands"] == [
        {"name": "red", "data_type": "int16", "nodata": -1.0, "unit": "1"},
        {"name": "nir", "data_type": "int16", "nodata": -1.0},
    ]
    (link,) = item["links"]
    assert (link["rel"], link["href"]) == ("derived_from", "s3://archive/a/scene.tif")


def test_an_outline_goes_counterclockwise_and_ends_where_it_begins() -> None:
    (ring,) = make(place("EPSG:4326", 10, 50, 2, (20, 20)))["geometry"]["coordinates"]
    assert ring[0] == ring[-1]
    x, y = np.array(ring).T
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2 == pytest.approx(4)


@pytest.mark.parametrize(("code", "west"), [("EPSG:4326", 179.0), ("EPSG:4326", -181.0)])
def test_across_the_date_line_the_outline_is_cut_in_two(code: str, west: float) -> None:
    item = make(place(code, west, 10, 3, (20, 20)))
    assert item["geometry"]["type"] == "MultiPolygon"
    boxes = [
        (min(x for x, _ in ring), max(x for x, _ in ring))
        for (ring,) in item["geometry"]["coordinates"]
    ]
    start = (west + 180) % 360 - 180
    assert boxes == [(start, 180.0), (-180.0, start + 3 - 360)]
    assert item["bbox"] == pytest.approx([start, 7, start + 3 - 360, 10])


def test_across_the_date_line_in_metres() -> None:
    item = make(place("EPSG:32701", 250000, 8000000, 400000, (20, 20)))
    assert item["geometry"]["type"] == "Polygon"
    item = make(place("EPSG:3832", 3300000, 1000000, 200000, (20, 20)))
    assert item["geometry"]["type"] == "MultiPolygon"
    west, _, east, _ = item["bbox"]
    assert west > 0 > east


def test_round_a_pole_the_outline_is_all_longitudes() -> None:
    item = make(place("EPSG:3031", -1e6, 1e6, 2e6, (20, 20)))
    assert item["bbox"][:2] == [-180, -90]
    assert item["bbox"][2] == 180


def test_ground_control_points_say_where_a_scene_is() -> None:
    def fix(dataset: Any) -> None:
        corners = [(0, 0), (0, 50), (40, 50), (40, 0)]
        points = [
            GroundControlPoint(row, col, 10 + col / 50, 50 - row / 40) for row, col in corners
        ]
        dataset.gcps = points, rasterio.CRS.from_epsg(4326)

    item = make(geotiff(values((1, 40, 50), "uint8"), crs=None, transform=None, also=fix))
    assert item["bbox"] == pytest.approx([10, 49, 11, 50], abs=1e-6)


@pytest.mark.parametrize(
    "code", [None, "IAU_2015:49900", "+proj=geos +h=35785831 +lon_0=-75 +sweep=x"]
)
def test_a_scene_that_is_nowhere_on_earth_has_no_geometry(code: str | None) -> None:
    transform = rasterio.Affine(2e4, 0, -5.4e6, 0, -2e4, 5.4e6)
    if code is None or code.startswith("IAU"):
        transform = rasterio.Affine(0.01, 0, 20, 0, -0.01, 5)
    data = geotiff(values((1, 542, 542), "uint8"), crs=code, transform=transform)
    item = make(data)
    assert item["geometry"] is None
    assert "bbox" not in item or item["bbox"] is None
    properties = item["properties"]
    assert properties["proj:code"] is None or properties["proj:code"].startswith("IAU")


@pytest.mark.parametrize("text", [None, "2017:08:21 15:08:70", "yesterday", "0000:00:00 00:00:00"])
def test_a_time_that_is_not_known_is_null_between_bounds(text: str | None) -> None:
    profile = opened(geotiff(values((1, 20, 20), "uint8"))).profile
    profile = replace(profile, details=replace(profile.details, acquired=text))
    item = json.loads(
        stac_item(profile, shape=(20, 20), scale=1, output_key="scene.tif", lineage=LINEAGE)
    )
    assert item["properties"]["datetime"] is None
    assert item["properties"]["start_datetime"] == "1858-01-01T00:00:00Z"
    assert item["properties"]["end_datetime"] == "2026-01-02T03:04:05Z"


def test_nodata_that_is_no_number_is_said_in_words() -> None:
    item = make(geotiff(values((1, 20, 20), "float32"), nodata=np.nan))
    assert item["assets"]["data"]["bands"][0]["nodata"] == "nan"


def test_the_item_is_the_same_every_time_and_stands_beside_its_scene() -> None:
    data = geotiff(values((1, 20, 20), "uint8"))
    assert make(data) == make(data)
    assert item_key("a/scene.tif") == "a/scene.tif.stac.json"


def test_without_pystac_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pystac"):
            raise ImportError("No module named 'pystac'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'ganray\[geo\]'"):
        require_pystac()
