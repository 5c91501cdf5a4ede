import builtins
import io
import pickle
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.codecs import geo, geo_dataset
from ganray.codecs.geo import GeoWindows, describe_geo, is_geo, read_geo_box
from ganray.codecs.geo_config import GeoConfig
from ganray.codecs.geo_profile import GeoDetails
from ganray.codecs.geo_whole import require_encodable
from ganray.codecs.isolation import IsolatedProcess
from ganray.codecs.store_blocks import BLOCK_BYTES
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.errors import (
    CodecError,
    MissingExtraError,
    StorageError,
    TooLargeError,
    UndecodableError,
    UnreachableError,
    UnsupportedImageError,
)
from ganray.raster.windows import Box, crop
from ganray.storage import open_store
from tests.unit.codecs.geo_files import (
    KEY,
    dataset_of,
    geotiff,
    opened,
    repeated,
    tile_edges,
    values,
    whole,
)
from tests.unit.codecs.tiff_files import BANDS, Memory, make_tiff, noise

TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
HEIGHT, WIDTH = 150, 171


def with_holes(dtype: str, kind: str, num_bands: int = 3) -> bytes:
    """A raster with pixels that have no value, said in one of the ways there are."""
    pixels = values((num_bands, HEIGHT, WIDTH), dtype)
    holes = np.zeros((HEIGHT, WIDTH), bool)
    holes[20:70, 30:100] = True
    settings: dict[str, Any] = {**TILED, "compress": "deflate"}
    if kind == "nodata":
        pixels[:, holes] = 7
        # A band of its own may lack a value where the others have one.
        pixels[0, 100:, 100:] = 7
        settings["nodata"] = 7
    elif kind == "NaN":
        pixels[:, holes] = np.nan
        pixels[0, 100:, 100:] = np.nan
        settings["nodata"] = np.nan
    elif kind == "mask":
        settings["mask"] = ~holes
    elif kind == "alpha":
        pixels[-1] = np.where(holes, 0, np.maximum(pixels[-1], 1))
        settings |= {"photometric": "RGB", "alpha": "YES"}
    elif kind == "joint":
        pixels[:, holes] = np.array([1, 2, 3]).reshape(3, 1)
        pixels[0, 100:, 100:] = 1
        settings["also"] = lambda dataset: dataset.update_tags(NODATA_VALUES="1 2 3")
    return geotiff(pixels, **settings)


KINDS = [
    *(
        (dtype, kind)
        for dtype in ("uint8", "uint16", "int16", "float32")
        for kind in ("everywhere", "nodata", "mask", "joint")
    ),
    ("float32", "NaN"),
    ("uint8", "alpha"),
    ("uint16", "alpha"),
]


# Identity and magnification


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize(("dtype", "kind"), KINDS)
def test_pixels_masks_and_tags_come_through(dtype: str, kind: str, scale: int) -> None:
    data = with_holes(dtype, kind, num_bands=4 if kind == "alpha" else 3)
    with dataset_of(data) as source, dataset_of(repeated(data, scale)) as restored:
        assert np.array_equal(
            restored.read(),
            source.read().repeat(scale, 1).repeat(scale, 2),
            equal_nan=dtype == "float32",
        )
        assert np.array_equal(
            restored.read_masks(), source.read_masks().repeat(scale, 1).repeat(scale, 2)
        )
        assert restored.mask_flag_enums == source.mask_flag_enums
        assert restored.dtypes == source.dtypes
        assert repr(restored.nodatavals) == repr(source.nodatavals)
        assert restored.colorinterp == source.colorinterp
        assert restored.crs == source.crs
        assert tuple(restored.bounds) == tuple(source.bounds)
        tags = restored.tags()
        assert tags.pop("AREA_OR_POINT") == "Area"
        assert tags == {k: v for k, v in source.tags().items() if k != "AREA_OR_POINT"}


@pytest.mark.parametrize(("dtype", "kind"), KINDS)
def test_the_mask_of_a_window_is_that_of_gdal(dtype: str, kind: str) -> None:
    data = with_holes(dtype, kind, num_bands=4 if kind == "alpha" else 3)
    box = Box(10, 5, 140, 170)
    with dataset_of(data) as source:
        expected = crop(source.dataset_mask()[np.newaxis] != 0, box)[0]
        pixels = crop(source.read(), box)
    raster = opened(data)
    found = raster.read(box)
    assert np.array_equal(found.pixels, pixels, equal_nan=dtype == "float32")
    if kind == "everywhere":
        assert found.mask is None
    else:
        assert np.array_equal(found.mask, expected)
        assert raster.validity.kind == ("nodata" if kind == "NaN" else kind)


def test_bands_are_told_apart_where_only_some_have_a_value() -> None:
    data = with_holes("uint16", "nodata")
    raster = opened(data)
    found = raster.read(whole(raster))
    bands = raster.validity.bands(found.pixels, found.mask)
    with dataset_of(data) as source:
        assert np.array_equal(bands, source.read_masks() != 0)


@pytest.mark.parametrize("layout", [{}, TILED, {**TILED, "interleave": "band"}])
@pytest.mark.parametrize("compress", ["none", "lzw", "deflate", "zstd", "packbits", "lerc"])
def test_any_layout_and_compression_reads_alike(compress: str, layout: dict[str, Any]) -> None:
    pixels = values((5, 90, 130), "int16")
    raster = opened(geotiff(pixels, compress=compress, **layout))
    box = Box(3, 60, 88, 130)
    assert np.array_equal(raster.read(box).pixels, crop(pixels, box))


def test_thirteen_bands_keep_their_names() -> None:
    names = [f"B{number:02d}" for number in range(1, 14)]

    def describe(dataset: Any) -> None:
        dataset.descriptions = names

    data = geotiff(values((13, 80, 90), "uint16"), also=describe)
    with dataset_of(repeated(data, 2)) as restored:
        assert list(restored.descriptions) == names


def test_float64_becomes_float32_and_is_named() -> None:
    pixels = np.linspace(-1e9, 1e9, 4 * 50 * 50).reshape(4, 50, 50)
    pixels[:, :9] = -1.7976931348623157e308
    raster = opened(geotiff(pixels, nodata=-1.7976931348623157e308))
    found = raster.read(whole(raster))
    assert np.array_equal(found.pixels[:, 9:], pixels[:, 9:].astype(np.float32))
    assert np.isnan(found.pixels[:, :9]).all()
    assert found.mask is not None
    assert not found.mask[:9].any()
    assert raster.profile.lost == (
        "float64 (written as float32)",
        "nodata -1.79769e+308 (written as NaN)",
    )
    with dataset_of(repeated(geotiff(pixels, nodata=-1.7976931348623157e308), 2)) as restored:
        assert np.isnan(restored.nodata)
        assert np.array_equal(restored.dataset_mask()[18:] != 0, np.ones((82, 100), bool))


def test_float64_beyond_float32_is_refused() -> None:
    raster = opened(geotiff(np.full((1, 9, 9), 1e300)))
    with pytest.raises(UnsupportedImageError, match="beyond those of float32"):
        raster.read(whole(raster))


# What is refused, and within which limits


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_sar_is_refused_by_name(dtype: str) -> None:
    pixels = np.ones((1, 9, 9), np.complex64)
    data = geotiff(pixels) if dtype == "complex64" else geotiff_of_complex_integers()
    with pytest.raises(UnsupportedImageError, match="complex samples, as of a SAR image"):
        opened(data)


def geotiff_of_complex_integers() -> bytes:
    data = bytearray(geotiff(values((1, 9, 9), "int16")))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        offset = tiff.pages[0].tags[339].valueoffset
    data[offset : offset + 2] = struct.pack("<H", 5)
    return bytes(data)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int8"])
def test_types_that_float32_does_not_hold_are_refused_by_name(dtype: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"bands of {dtype}; expected uint8"):
        opened(geotiff(np.ones((1, 9, 9), dtype)))


def test_a_colour_table_is_refused_by_name() -> None:
    def paint(dataset: Any) -> None:
        dataset.write_colormap(1, {0: (255, 0, 0, 255), 1: (0, 255, 0, 255)})

    with pytest.raises(UnsupportedImageError, match="a colour table"):
        opened(geotiff(np.ones((1, 9, 9), "uint8"), photometric="palette", also=paint))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"photometric": "MINISWHITE"}, "white is 0"),
        ({"photometric": "CMYK"}, "photometric interpretation 5"),
        ({"photometric": "RGB", "alpha": "PREMULTIPLIED"}, "alpha that is multiplied"),
    ],
)
def test_samples_that_would_change_their_meaning_are_refused(
    options: dict[str, str], match: str
) -> None:
    num_bands = 1 if options["photometric"] == "MINISWHITE" else 4
    with pytest.raises(UnsupportedImageError, match=match):
        opened(geotiff(values((num_bands, 9, 9), "uint8"), **options))


def test_several_images_in_one_file_are_refused() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        for _ in range(2):
            tiff.write(np.zeros((20, 20), np.int16))
    with pytest.raises(UnsupportedImageError, match="several images in one TIFF"):
        opened(buffer.getvalue())


def hostile(height: int, width: int, num_bands: int) -> bytes:
    """A few bytes that claim to be a large raster."""
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1)),
        *((273, 4, 1, 8), (277, 3, 1, num_bands), (278, 4, 1, height), (279, 4, 1, 2**32 - 1)),
    ]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + table + bytes(4)


@pytest.mark.parametrize("shape", [(65535, 900, 65535), (2**31 - 1, 2**31 - 1, 1), (9, 9, 513)])
def test_a_header_that_claims_too_much_is_refused_before_gdal_sees_it(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geo, "open_dataset", lambda opener: pytest.fail("opened"))
    with pytest.raises((TooLargeError, UndecodableError)) as raised:
        opened(hostile(*shape))
    if shape[2] > 512:
        assert "geo.max_bands allows 512" in str(raised.value)


def test_strips_that_need_much_memory_are_refused() -> None:
    data = geotiff(
        np.zeros((1, 9000, 9000), np.float32), compress="deflate", blockysize=9000, tiled=False
    )
    with pytest.raises(TooLargeError, match="tiles or strips of 324000000 bytes"):
        opened(data)


def test_another_format_would_lose_what_a_raster_is() -> None:
    profile = opened(with_holes("uint8", "nodata")).profile
    require_encodable(profile, "geotiff", 10, 10)
    with pytest.raises(UnsupportedImageError, match="png would lose the georeference"):
        require_encodable(profile, "png", 10, 10)


def test_without_rasterio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("rasterio"):
            raise ImportError("No module named 'rasterio'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'ganray\[geo\]'"):
        geo_dataset.require_rasterio()


# What is damaged


@pytest.fixture(scope="module")
def tiled() -> bytes:
    return geotiff(values((2, 130, 140), "uint16"), compress="deflate", predictor=2, **TILED)


@given(share=st.floats(0, 0.9999))
@settings(max_examples=80, deadline=None)
def test_a_truncated_file_is_never_read(tiled: bytes, share: float) -> None:
    with pytest.raises(UndecodableError):
        opened(tiled[: int(len(tiled) * share)])


@pytest.mark.parametrize("compress", ["none", "deflate", "lzw", "zstd", "lerc", "jpeg"])
@pytest.mark.parametrize("layout", [{}, TILED])
def test_a_truncated_file_is_refused_at_once(compress: str, layout: dict[str, Any]) -> None:
    data = geotiff(values((1, 130, 140), "uint8"), compress=compress, **layout)
    last = max(tile_edges(data, number)[1] for number in range(2))
    with pytest.raises(UndecodableError, match="damaged or truncated"):
        opened(data[: last - 1])


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "lerc", "jpeg", "packbits"])
def test_a_tile_that_breaks_off_is_never_zeros(compress: str) -> None:
    # Of pure noise some compressions store the bytes as they are, without a checksum.
    pixels = values((1, 130, 140), "uint8") // 16 + np.arange(140, dtype=np.uint8)
    data = bytearray(geotiff(pixels, compress=compress, **TILED))
    start, end = tile_edges(bytes(data), 1)
    middle = (start + end) // 2
    data[middle:end] = bytes(end - middle)
    raster = opened(bytes(data))
    with pytest.raises(UndecodableError, match="damaged or truncated"):
        raster.read(Box(0, 64, 64, 128))
    # Other tiles are as they were.
    box = Box(64, 0, 130, 64)
    expected = crop(pixels, box)
    found = raster.read(box).pixels
    assert found.shape == expected.shape
    if compress != "jpeg":
        assert np.array_equal(found, expected)


def test_overviews_never_stand_in_for_pixels() -> None:
    def reduce(dataset: Any) -> None:
        dataset.write(values((1, 512, 512), "uint16"))
        dataset.build_overviews([2, 4])

    data = geotiff(values((1, 512, 512), "uint16"), compress="zstd", also=reduce, **TILED)
    start, end = tile_edges(data, 9)
    damaged = data[:start] + bytes(end - start) + data[end:]
    raster = opened(damaged)
    with pytest.raises(UndecodableError):
        raster.read(whole(raster))


def test_missing_tiles_are_refused_unless_something_says_that_they_have_no_value() -> None:
    def skip(dataset: Any) -> None:
        dataset.nodata = None

    pixels = np.zeros((1, 128, 128), "uint8")
    pixels[0, :64, :64] = 9
    sparse = {**TILED, "sparse_ok": True, "compress": "deflate"}
    with pytest.raises(UndecodableError, match="3 of 4 tiles or strips are missing"):
        opened(geotiff(pixels, also=skip, **sparse))
    raster = opened(geotiff(pixels, nodata=0, **sparse))
    found = raster.read(whole(raster))
    assert found.mask is not None
    assert np.array_equal(found.mask, pixels[0] == 9)


@given(position=st.integers(0, 2**20), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_raises_one_of_ganrays_errors_or_none(
    tiled: bytes, position: int, value: int
) -> None:
    changed = bytearray(tiled)
    changed[position % min(len(tiled), 900)] = value
    try:
        raster = opened(bytes(changed))
        if raster.num_pixels < 10**6:
            raster.read(whole(raster))
            assert raster.profile
    except CodecError:
        pass


# How it is read


class Flaky(Memory):
    """A store that fails once it is told to."""

    is_down = False

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        if self.is_down:
            raise UnreachableError(f"{key}: no answer")
        return super().read(key, start, end)


def test_a_failing_store_is_not_taken_for_a_damaged_file() -> None:
    pixels = values((1, 400, 400), "uint16")
    store = Flaky(**{KEY: geotiff(pixels, compress="zstd", **TILED)})
    raster = GeoWindows(store, KEY, GeoConfig())
    store.is_down = True
    with pytest.raises(StorageError, match="no answer"):
        raster.read(Box(0, 0, 400, 400))
    store.is_down = False
    assert np.array_equal(raster.read(Box(0, 0, 400, 400)).pixels, pixels)


def test_a_window_reads_the_tiles_that_it_needs_and_close_ones_with_one_request() -> None:
    layout = TiffLayout(2048, 2048, BANDS[3], "uint16", 512, "none", tile_sides=(128,))
    memory = Memory(**{KEY: make_tiff(layout, noise(layout))[0]})
    raster = GeoWindows(memory, KEY, GeoConfig())
    assert sum(end - start for _, start, end in memory.reads) <= 4 * BLOCK_BYTES
    memory.reads.clear()
    # 4 x 2 tiles, of which those of a row stand side by side.
    raster.read(Box(512, 512, 512 + 4 * 128, 512 + 2 * 128))
    tiles = [(start, end) for _, start, end in memory.reads if end - start > BLOCK_BYTES]
    others = [(start, end) for _, start, end in memory.reads if end - start <= BLOCK_BYTES]
    assert sum(end - start for start, end in tiles) == 8 * 128 * 128 * 6
    assert len(tiles) <= 4
    assert len(others) <= 1
    whole_file = len(memory.objects[KEY])
    assert sum(end - start for _, start, end in memory.reads) < whole_file / 30


def test_each_thread_has_a_handle_of_its_own() -> None:
    pixels = values((3, 512, 512), "uint16")
    store = Memory(**{KEY: geotiff(pixels, compress="deflate", **TILED)})
    own = threading.local()

    def read(number: int) -> bool:
        if not hasattr(own, "raster"):
            own.raster = GeoWindows(store, KEY, GeoConfig())
        top, left = divmod(number * 37 % 4096, 64)
        box = Box(top, left, top + 300, left + 300)
        return np.array_equal(own.raster.read(box).pixels, crop(pixels, box))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(64)))


def test_it_is_read_in_a_process_of_its_own(tmp_path: Any) -> None:
    data = with_holes("int16", "nodata")
    (tmp_path / KEY).write_bytes(data)
    config, box = GeoConfig(values="percentiles"), Box(10, 10, 60, 60)
    with IsolatedProcess(seconds=60, memory_bytes=2 << 30) as child:
        profile, height, width = child.call(describe_geo, str(tmp_path), KEY, config)
        found = child.call(read_geo_box, str(tmp_path), KEY, box, config)
    raster = GeoWindows(open_store(str(tmp_path)), KEY, config)
    assert (profile, height, width) == (raster.profile, HEIGHT, WIDTH)
    assert np.array_equal(found.pixels, raster.read(box).pixels)
    assert np.array_equal(found.mask, raster.read(box).mask)
    assert pickle.loads(pickle.dumps(profile)) == profile


def test_nothing_beside_the_file_is_read_and_what_is_there_is_named() -> None:
    data = geotiff(values((1, 20, 20), "uint8"))
    beside = {f"{KEY}.aux.xml": b"<PAMDataset/>", "scene.tfw": b"1", f"{KEY}.ovr": data}
    store = Memory(**{KEY: data, **beside, "scene.txt": b"", "scene2.tfw": b""})
    profile = GeoWindows(store, KEY, GeoConfig()).profile
    assert profile.lost == ("sidecar scene.tfw", "sidecar scene.tif.aux.xml")
    assert {key for key, _, _ in store.reads} == {KEY}


def test_a_mask_beside_the_file_is_refused() -> None:
    data = geotiff(values((1, 20, 20), "uint8"))
    store = Memory(**{KEY: data, f"{KEY}.msk": data})
    with pytest.raises(UnsupportedImageError, match="its mask is a file of its own"):
        _ = GeoWindows(store, KEY, GeoConfig()).profile


def test_the_options_of_other_threads_are_left_alone() -> None:
    raster = opened(with_holes("uint8", "nodata"))
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=False) as env:
        raster.read(whole(raster))
        assert env.options == {"GDAL_DISABLE_READDIR_ON_OPEN": False}


# What is a raster


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        (values((3, 9, 9), "uint8"), {}, True),
        (values((3, 9, 9), "uint8"), {"crs": None, "transform": None}, False),
        (values((1, 9, 9), "uint16"), {"crs": None, "transform": None}, False),
        (values((1, 9, 9), "uint16"), {"crs": None, "transform": None, "nodata": 0}, True),
        (values((5, 9, 9), "uint8"), {"crs": None, "transform": None}, True),
        (values((1, 9, 9), "int16"), {"crs": None, "transform": None}, True),
        (values((1, 9, 9), "float32"), {"crs": None, "transform": None}, True),
        (values((1, 9, 9), "uint8"), {"crs": None, "transform": None, "compress": "lerc"}, True),
    ],
)
def test_a_raster_is_told_from_a_photograph(
    pixels: np.ndarray, options: dict[str, Any], expected: bool
) -> None:
    store = Memory(**{KEY: geotiff(pixels, **options)})
    assert is_geo(store, KEY) is expected
    assert len(store.reads) == 1


@pytest.mark.parametrize("data", [b"", b"II*\0", b"no image at all", b"II*\0\xff\xff\xff\xff"])
def test_what_is_no_tiff_is_no_raster(data: bytes) -> None:
    assert not is_geo(Memory(**{KEY: data}), KEY)


def test_a_vrt_named_as_a_tiff_is_not_followed() -> None:
    with dataset_of(geotiff(values((1, 9, 9), "uint8"))) as dataset:
        pointing = f"<VRTDataset><SourceFilename>{dataset.name}</SourceFilename></VRTDataset>"
    with pytest.raises(UndecodableError, match="no TIFF"):
        opened(pointing.encode())


def test_a_raster_without_a_place_stays_without_one() -> None:
    data = geotiff(values((5, 70, 80), "uint8"), crs=None, transform=None)
    with dataset_of(repeated(data, 2)) as restored:
        assert restored.crs is None
        assert restored.transform.is_identity


def test_the_strips_of_a_window_come_with_few_requests() -> None:
    pixels = values((4, 600, 800), "uint16")
    memory = Memory(**{KEY: geotiff(pixels, compress="deflate", blockysize=1)})
    raster = GeoWindows(memory, KEY, GeoConfig())
    memory.reads.clear()
    box = Box(200, 100, 400, 300)
    assert np.array_equal(raster.read(box).pixels, crop(pixels, box))
    assert len(memory.reads) <= 2
    assert sum(end - start for _, start, end in memory.reads) < len(memory.objects[KEY]) / 2.8


def test_after_a_failure_nothing_more_is_asked_of_the_store() -> None:
    store = Flaky(**{KEY: geotiff(values((1, 400, 400), "uint16"), blockysize=1)})
    raster = GeoWindows(store, KEY, GeoConfig())
    asked = []
    read = store.read
    store.read = lambda *args: asked.append(args) or read(*args)
    store.is_down = True
    with pytest.raises(StorageError, match="no answer"):
        raster.read(Box(0, 0, 400, 400))
    assert len(asked) == 1


def test_a_reference_system_is_told_by_its_name_and_code() -> None:
    data = geotiff(values((1, HEIGHT, WIDTH), "uint8"), crs="EPSG:32618")
    details = GeoWindows(Memory(scene=data), "scene", GeoConfig()).profile.details
    assert isinstance(details, GeoDetails)
    assert details.described["crs"] == "WGS 84 / UTM zone 18N (EPSG:32618)"
