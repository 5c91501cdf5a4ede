import io
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer, RPCTransformer

from ganray.codecs.geo_tags import geo_tags
from ganray.codecs.tiff_metadata import profile_tags
from ganray.codecs.tiff_tags import Code
from ganray.codecs.tiled_tiff import TiffLayout
from tests.unit.codecs.geo_files import dataset_of, geotiff, opened, repeated, values
from tests.unit.codecs.tiff_files import make_tiff

few_examples = settings(max_examples=25, deadline=None)
CODES = ("EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:32760", "EPSG:7415", "ESRI:54009")

# Origins and pixel sizes, in degrees or metres, of which a ground coordinate in float64 still
# tells a thousand-millionth of a pixel of the output.
degrees = st.builds(
    rasterio.Affine,
    st.floats(0.01, 1),
    st.floats(-0.5, 0.5),
    st.sampled_from([-180.0, 179.5, 12.25, 0.0]),
    st.floats(-0.5, 0.5),
    st.sampled_from([-0.25, 0.25, -0.0101]),
    st.floats(-80, 80),
)
metres = st.builds(
    rasterio.Affine,
    st.floats(10, 1000),
    st.floats(-90, 90),
    st.floats(-1e6, 1e6),
    st.floats(-90, 90),
    st.sampled_from([-30.0, 30.0, -900.123]),
    st.floats(-5e6, 5e6),
)
places = st.one_of(
    st.tuples(st.just("EPSG:4326"), degrees), st.tuples(st.just("EPSG:32633"), metres)
)
SIZE = (40, 50)


def corners_and_random_pixels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the input, in coordinates of areas."""
    height, width = SIZE
    random = np.random.default_rng(seed)
    columns = np.concatenate([[0, width, width, 0], random.integers(0, width, 100) + 0.5])
    rows = np.concatenate([[0, 0, height, height], random.integers(0, height, 100) + 0.5])
    return columns, rows


@given(place=places, point=st.booleans(), scale=st.sampled_from([1, 2, 4]), seed=st.integers(0, 9))
@few_examples
def test_ground_coordinates_agree_to_a_thousand_millionth_of_a_pixel(
    place: tuple[str, Any], point: bool, scale: int, seed: int
) -> None:
    crs, transform = place

    def as_points(dataset: Any) -> None:
        dataset.update_tags(AREA_OR_POINT="Point" if point else "Area")

    data = geotiff(values((1, *SIZE), "uint8"), crs=crs, transform=transform, also=as_points)
    with dataset_of(data) as source, dataset_of(repeated(data, scale)) as restored:
        assert restored.tags()["AREA_OR_POINT"] == ("Point" if point else "Area")
        assert restored.crs == source.crs
        columns, rows = corners_and_random_pixels(seed)
        expected = np.array(source.transform @ (columns, rows))
        found = np.array(restored.transform @ (columns * scale, rows * scale))
        assert np.abs(found - expected).max() <= 1e-9 * abs(source.transform.determinant) ** 0.5


@pytest.mark.parametrize("crs", CODES)
@pytest.mark.parametrize("scale", [1, 2])
def test_a_reference_system_is_the_same(crs: str, scale: int) -> None:
    data = geotiff(values((1, *SIZE), "uint8"), crs=crs)
    with dataset_of(data) as source, dataset_of(repeated(data, scale)) as restored:
        assert restored.crs == source.crs
        assert restored.crs.to_wkt() == source.crs.to_wkt()


@pytest.mark.parametrize("point", [True, False])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_ground_control_points_stay_where_they_are(scale: int, point: bool) -> None:
    points = [
        GroundControlPoint(row=row, col=col, x=12 + col / 99 + row / 999, y=50 - row / 77, z=row)
        for row, col in [(0, 0), (0, 49.5), (39.25, 50), (40, 0.125), (20, 20)]
    ]

    def place(dataset: Any) -> None:
        dataset.update_tags(AREA_OR_POINT="Point" if point else "Area")
        dataset.gcps = points, rasterio.CRS.from_epsg(4326)

    data = geotiff(values((1, *SIZE), "uint8"), crs=None, transform=None, also=place)
    columns, rows = corners_and_random_pixels(0)
    with dataset_of(data) as source, dataset_of(repeated(data, scale)) as restored:
        assert restored.gcps[1] == source.gcps[1]
        found = [(p.row, p.col, p.x, p.y, p.z) for p in restored.gcps[0]]
        expected = [(p.row * scale, p.col * scale, p.x, p.y, p.z) for p in source.gcps[0]]
        assert np.allclose(found, expected, rtol=0, atol=1e-9)
        with GCPTransformer(source.gcps[0]) as old, GCPTransformer(restored.gcps[0]) as new:
            before = np.array(old.xy(rows, columns, offset="ul"))
            after = np.array(new.xy(rows * scale, columns * scale, offset="ul"))
        # A polynomial is fitted anew, which costs a few digits.
        assert np.allclose(before, after, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_rational_polynomials_look_at_the_same_ground(scale: int) -> None:
    random = np.random.default_rng(1)
    rpc = RPC(
        **{f"{name}_off": value for name, value in zip(NAMES, [25, 20, 50, 12, 300], strict=True)},
        **{f"{name}_scale": v for name, v in zip(NAMES, [25.5, 20.25, 0.1, 0.2, 500], strict=True)},
        samp_num_coeff=[0, 1, *random.normal(0, 1e-4, 18)],
        samp_den_coeff=[1, *random.normal(0, 1e-4, 19)],
        line_num_coeff=[0, 0, -1, *random.normal(0, 1e-4, 17)],
        line_den_coeff=[1, *random.normal(0, 1e-4, 19)],
    )

    def place(dataset: Any) -> None:
        dataset.rpcs = rpc

    data = geotiff(values((1, *SIZE), "uint8"), crs=None, transform=None, also=place)
    columns, rows = corners_and_random_pixels(0)
    with dataset_of(data) as source, dataset_of(repeated(data, scale)) as restored:
        if scale == 1:
            assert restored.rpcs == source.rpcs
        with RPCTransformer(source.rpcs) as old, RPCTransformer(restored.rpcs) as new:
            ground = old.xy(rows, columns, offset="ul")
            seen = np.array(old.rowcol(*ground, op=float))
            again = np.array(new.rowcol(*ground, op=float))
        # GDAL reads polynomials through texts of 15 digits.
        assert np.allclose(again, seen * scale, rtol=0, atol=1e-9)


NAMES = ("samp", "line", "lat", "long", "height")


def describe(dataset: Any) -> None:
    dataset.update_tags(PROJECT="harbour", STATISTICS_MEAN="1.5", OVERVIEW_RESAMPLING="NEAREST")
    dataset.update_tags(ns="MISSION", ORBIT="117", ANGLE="a=b & <c>")
    dataset.update_tags(1, GAIN="0.1", STATISTICS_MAXIMUM="9")
    dataset.update_tags(2, ns="SENSOR", WAVELENGTH="865")
    dataset.update_tags(TIFFTAG_SOFTWARE="maker 1.0", TIFFTAG_DATETIME="1999:12:31 23:59:58")
    dataset.descriptions = ["blue", None, "near infrared"]
    dataset.scales = [0.0001, 1.0, 1 / 3]
    dataset.offsets = [-1000.0, 0.0, 1e-7]
    dataset.units = ["reflectance", None, "K"]


@pytest.mark.parametrize("scale", [1, 2])
def test_what_is_said_of_a_raster_and_its_bands_is_kept_but_statistics(scale: int) -> None:
    data = geotiff(values((3, *SIZE), "uint16"), photometric="MINISBLACK", also=describe)
    with dataset_of(repeated(data, scale)) as restored:
        assert restored.descriptions == ("blue", None, "near infrared")
        assert restored.scales == (0.0001, 1.0, 1 / 3)
        assert restored.offsets == (-1000.0, 0.0, 1e-7)
        assert restored.units == ("reflectance", None, "K")
        assert restored.tags() == {
            "AREA_OR_POINT": "Area",
            "PROJECT": "harbour",
            "OVERVIEW_RESAMPLING": "AVERAGE",
            "TIFFTAG_SOFTWARE": "maker 1.0",
            "TIFFTAG_DATETIME": "1999:12:31 23:59:58",
        }
        assert restored.tags(ns="MISSION") == {"ORBIT": "117", "ANGLE": "a=b & <c>"}
        assert restored.tags(1) == {"GAIN": "0.1"}
        assert restored.tags(2, ns="SENSOR") == {"WAVELENGTH": "865"}


COLOURS = [
    ("blue", "green", "red", "nir"),
    ("red", "green", "blue", "undefined"),
    ("red", "green", "blue", "alpha"),
    ("gray", "alpha", "undefined"),
    ("pan",),
    ("red", "green", "blue"),
    ("gray", "undefined", "alpha"),
]


@pytest.mark.parametrize("names", COLOURS)
def test_bands_mean_what_they_meant(names: tuple[str, ...]) -> None:
    def paint(dataset: Any) -> None:
        dataset.colorinterp = [ColorInterp[name] for name in names]

    data = geotiff(values((len(names), *SIZE), "uint8"), photometric="MINISBLACK", also=paint)
    with dataset_of(data) as source:
        assert tuple(band.name for band in source.colorinterp) == names
    with dataset_of(repeated(data, 2)) as restored:
        assert tuple(band.name for band in restored.colorinterp) == names


def test_what_is_kept_beside_a_georeference_is_that_of_a_photograph() -> None:
    data = geotiff(values((1, *SIZE), "uint8"))
    raster = opened(data)
    assert raster.profile.lost == ()
    with tifffile.TiffFile(io.BytesIO(repeated(data, 1))) as tiff:
        assert tiff.pages[0].tags[Code.IMAGE_HISTORY].value == "{}"


def test_tags_that_nobody_knows_and_tiling_schemes_are_named() -> None:
    def scheme(dataset: Any) -> None:
        dataset.update_tags(ns="TILING_SCHEME", NAME="GoogleMapsCompatible", ZOOM_LEVEL="18")

    with dataset_of(geotiff(values((1, 9, 9), "uint8"), also=scheme)) as dataset:
        pixels = dataset.read()
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        tiff.write(
            pixels[0].astype("int16"), extratags=[(65000, 2, 4, "dim", True)], software=False
        )
    assert opened(buffer.getvalue()).profile.lost == ("tag 65000",)
    raster = opened(geotiff(pixels, also=scheme))
    assert raster.profile.lost == ("tiling scheme",)


def test_nodata_is_written_as_it_was_and_in_overviews_too() -> None:
    data = geotiff(values((1, 150, 150), "uint8"), nodata=7)
    with tifffile.TiffFile(io.BytesIO(repeated(data, 1))) as tiff:
        texts = [page.tags[Code.GDAL_NODATA].value for page in tiff.pages]
    assert texts == ["7"] * 3


def test_the_tags_are_the_same_every_time() -> None:
    data = geotiff(values((3, *SIZE), "uint16"), also=describe, nodata=3)
    assert geo_tags(opened(data).profile, 2) == geo_tags(opened(data).profile, 2)
    assert repeated(data, 2) == repeated(data, 2)


def test_tags_fit_into_a_layout_beside_those_of_photographs() -> None:
    profile = opened(geotiff(values((3, *SIZE), "uint8"), also=describe)).profile
    others = profile_tags(profile, history="x", shape=(3, *SIZE)).tags
    layout = TiffLayout(
        *SIZE,
        profile.colorinterp,
        "uint8",
        64,
        tags=others + geo_tags(profile, 1),
        tile_sides=(64,),
    )
    assert make_tiff(layout, values((3, *SIZE), "uint8"))
