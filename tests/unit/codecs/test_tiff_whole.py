import io
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import ImageCms

from ganray.codecs.photo_output import OutputConfig
from ganray.codecs.tiff_whole import encode_tiff, open_tiff_bytes
from ganray.raster.image import Image, Pixels, Profile
from ganray.raster.windows import Box

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BANDS = {
    1: ("gray",),
    2: ("gray", "alpha"),
    3: ("red", "green", "blue"),
    4: ("red", "green", "blue", "alpha"),
}
SHAPES = ((1, 1), (3, 700), (530, 40), (513, 514))


def make_image(num_bands: int, height: int, width: int, dtype: str) -> Image:
    values = np.random.default_rng(0).random((num_bands, height, width), np.float32)
    largest = 1 if dtype == "float32" else np.iinfo(dtype).max
    profile = Profile(
        codec="tiff",
        dtype=dtype,
        bit_depth=8 * np.dtype(dtype).itemsize,
        colorinterp=BANDS[num_bands],
        resolution=(300.0, 600.0),
        icc=ICC,
        xmp=b"<xmp/>",
    )
    return Image((values * largest).astype(dtype), profile)


def read_all(data: bytes) -> Pixels:
    picture = open_tiff_bytes(data)
    return picture.read(Box(0, 0, picture.height, picture.width))


@pytest.mark.parametrize("compression", ["deflate", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("num_bands", "shape"), list(product(BANDS, SHAPES)))
def test_a_file_of_any_bands_and_type_is_exact(
    num_bands: int, shape: tuple[int, int], dtype: str, compression: str
) -> None:
    image = make_image(num_bands, *shape, dtype)
    data = encode_tiff(image, OutputConfig(tiff_compression=compression), "history")
    assert np.array_equal(read_all(data), image.pixels)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert len(tiff.pages) == 1 and not tiff.is_bigtiff
        samples = tiff.asarray().reshape(*shape, num_bands)
        assert np.array_equal(np.moveaxis(samples, -1, 0), image.pixels)


def test_the_profile_comes_back() -> None:
    image = make_image(3, 20, 30, "uint16")
    found = open_tiff_bytes(encode_tiff(image, OutputConfig(), "history")).profile
    assert (found.icc, found.xmp, found.resolution) == (ICC, b"<xmp/>", (300, 600))
    assert (found.dtype, found.colorinterp) == ("uint16", BANDS[3])


def test_a_small_file_has_no_large_tile() -> None:
    image = make_image(3, 17, 40, "uint16")
    data = encode_tiff(image, OutputConfig(tiff_compression="none"), "")
    assert len(data) < 48 * 48 * 6 + len(ICC) + 1000


def test_the_beginning_of_a_file_tells_its_size_if_the_length_is_given() -> None:
    image = make_image(3, 200, 300, "uint16")
    data = encode_tiff(image, OutputConfig(), "")
    picture = open_tiff_bytes(data[:8192], len(data))
    assert (picture.height, picture.width) == (200, 300)
