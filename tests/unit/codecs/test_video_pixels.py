from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.codecs.video_pixels import PixelConverter, describe_format
from ganray.errors import UnsupportedImageError

RED_BLUE = {
    1: (0.2126, 0.0722),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, by matrix."""
HEIGHT, WIDTH = 24, 38


def describe(name: str) -> Any:
    return describe_format(av.VideoFormat(name, WIDTH, HEIGHT))


def make_frame(name: str, planes: list[np.ndarray]) -> Any:
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], name)
    for plane, samples in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        packed = np.ascontiguousarray(samples).view(np.uint8).reshape(plane.height, -1)
        rows[:, : packed.shape[1]] = packed
    return frame


def by_formula(planes: list[np.ndarray], matrix: int, colour_range: int) -> np.ndarray:
    """RGB of 0-255 by the definition of the matrix."""
    luma, blue, red = (plane.astype(np.float64) for plane in planes)
    if colour_range == 1:
        luma, blue, red = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    else:
        luma, blue, red = luma / 255, (blue - 128) / 255, (red - 128) / 255
    weight_red, weight_blue = RED_BLUE[matrix]
    r = luma + 2 * (1 - weight_red) * red
    b = luma + 2 * (1 - weight_blue) * blue
    g = (luma - weight_red * r - weight_blue * b) / (1 - weight_red - weight_blue)
    return np.clip(np.stack([r, g, b]), 0, 1) * 255


@pytest.mark.parametrize("colour_range", [1, 2])
@pytest.mark.parametrize("matrix", RED_BLUE)
def test_yuv_becomes_rgb_by_the_matrix_and_range_of_the_film(
    matrix: int, colour_range: int
) -> None:
    rng = np.random.default_rng(0)
    low, high = (16, 236) if colour_range == 1 else (0, 256)
    planes = [rng.integers(low, high, (HEIGHT, WIDTH), np.uint8) for _ in range(3)]
    converter = PixelConverter(describe("yuv444p"), matrix, colour_range)
    pixels = converter.to_pixels(make_frame("yuv444p", planes))
    # Half a step of rounding, and a little of swscale's.
    assert np.abs(pixels - by_formula(planes, matrix, colour_range)).max() < 0.52


def test_matrices_and_ranges_are_not_mixed_up() -> None:
    planes = [np.full((HEIGHT, WIDTH), value, np.uint8) for value in (120, 90, 180)]
    seen = {
        PixelConverter(describe("yuv444p"), matrix, colour_range)
        .to_pixels(make_frame("yuv444p", planes))
        .tobytes()
        for matrix in (1, 6, 7, 9)
        for colour_range in (1, 2)
    }
    assert len(seen) == 8


def test_rgb_of_many_bits_has_the_white_of_swscale() -> None:
    planes = [np.full((HEIGHT, WIDTH), value, np.uint16) for value in (940, 512, 512)]
    pixels = PixelConverter(describe("yuv444p10le"), 1, 1).to_pixels(
        make_frame("yuv444p10le", planes)
    )
    assert set(pixels.ravel()) == {1020}


@pytest.mark.parametrize("name", ["gbrp", "gbrp10le", "gbrp16le", "gray", "gray12le", "gbrap12le"])
@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_what_is_no_yuv_is_presented_as_it_is_stored(
    name: str, height: int, width: int, seed: int
) -> None:
    kind = describe(name)
    rng = np.random.default_rng(seed)
    shape = (len(kind.bands), height, width)
    pixels = rng.integers(0, 2**kind.bit_depth, shape, kind.dtype)
    converter = PixelConverter(kind, 1, 1)
    frame = converter.to_frame(pixels, name)
    np.testing.assert_array_equal(converter.to_pixels(frame), pixels)


@pytest.mark.parametrize(
    ("name", "bands", "depth"),
    [
        ("yuv420p", 3, 8),
        ("yuvj422p", 3, 8),
        ("nv12", 3, 8),
        ("p010le", 3, 10),
        ("yuv420p9be", 3, 9),
        ("yuv444p12le", 3, 12),
        ("uyvy422", 3, 8),
        ("rgb24", 3, 8),
        ("bgr0", 3, 8),
        ("rgb48le", 3, 16),
        ("rgb565le", 3, 8),
        ("x2rgb10le", 3, 10),
        ("gray", 1, 8),
        ("gray14be", 1, 14),
        ("rgba", 4, 8),
        ("yuva444p10le", 4, 10),
    ],
)
def test_pixel_formats_have_bands_and_a_depth(name: str, bands: int, depth: int) -> None:
    kind = describe(name)
    assert (len(kind.bands), kind.bit_depth) == (bands, depth)
    frame = av.VideoFrame(WIDTH, HEIGHT, name)
    pixels = PixelConverter(kind, 1, 1).to_pixels(frame)
    assert (pixels.shape, str(pixels.dtype)) == ((bands, HEIGHT, WIDTH), kind.dtype)


@pytest.mark.parametrize(
    "name", ["pal8", "ya8", "gbrpf32le", "grayf32le", "xyz12le", "bayer_rggb8"]
)
def test_pixel_formats_without_such_bands_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"pixel format {name}"):
        describe(name)


@pytest.mark.parametrize("name", ["yuv444p", "yuv444p10le"])
def test_colours_inside_rgb_come_back_to_the_same_yuv(name: str) -> None:
    kind = describe(name)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255 * 2 ** (kind.bit_depth - 8) + 1, (3, HEIGHT, WIDTH), kind.dtype)
    converter = PixelConverter(kind, 1, 1)
    yuv = converter.to_frame(pixels, name)
    assert (yuv.colorspace, yuv.color_range) == (1, 1)
    found = converter.to_pixels(yuv).astype(int)
    assert np.abs(found - pixels).max() <= 3
