from itertools import product
from pathlib import Path

import numpy as np
import OpenImageIO
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.codecs.film_dpx import parse_dpx
from ganray.codecs.film_packing import DEPTHS, METHODS, Packing, pack, unpack
from tests.unit.codecs.film_frames import codes, make_dpx, samples_of, write_with_oiio

METHOD_NAMES = ("Packed", "Filled, method A", "Filled, method B")
PACKINGS = [Packing(*values) for values in product(DEPTHS, METHODS, "<>", (1, 3, 4))]


@settings(max_examples=300, deadline=None)
@given(
    packing=st.sampled_from(PACKINGS),
    height=st.integers(1, 9),
    width=st.integers(1, 40),
    padding=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
def test_every_code_value_comes_back(
    packing: Packing, height: int, width: int, padding: int, seed: int
) -> None:
    pixels = codes(packing.num_bands, height, width, depth=packing.bit_depth, seed=seed)
    stride = packing.line_bytes(width) + padding
    data = pack(pixels, packing, stride)
    assert len(data) == height * stride
    again = unpack(data, packing, pixels.shape, stride)
    assert again.dtype == pixels.dtype and np.array_equal(again, pixels)
    without_last = data[: len(data) - padding]
    assert np.array_equal(unpack(without_last, packing, pixels.shape, stride), pixels)


@pytest.mark.parametrize(
    ("packing", "values", "word"),
    [
        (Packing(10, 1, ">", 3), (1, 2, 3), "0040200c"),
        (Packing(10, 1, "<", 3), (1, 2, 3), "0c204000"),
        (Packing(10, 2, ">", 3), (1, 2, 3), "00100803"),
        # Gray alone begins at the low end.
        (Packing(10, 1, ">", 1), (1, 2, 3), "00c02004"),
        (Packing(10, 0, ">", 3), (1, 2, 3), "00300801"),
        (Packing(12, 0, ">", 1), (1, 2), "00002001"),
        (Packing(12, 1, ">", 1), (0x123,), "1230"),
        (Packing(12, 2, ">", 1), (0x123,), "0123"),
        (Packing(16, 0, "<", 1), (0x1234,), "3412"),
    ],
)
def test_a_word_holds_its_samples_where_the_standard_has_them(
    packing: Packing, values: tuple[int, ...], word: str
) -> None:
    pixels = np.array(values, np.uint16).reshape(-1, 1, packing.num_bands).T.copy()
    pixels = pixels.reshape(packing.num_bands, 1, -1)
    assert pack(pixels, packing, packing.line_bytes(pixels.shape[2])).hex() == word


def test_a_code_that_is_too_large_leaves_its_neighbours_alone() -> None:
    pixels = np.array([2000, 5, 1023], np.uint16).reshape(3, 1, 1)
    packing = Packing(10, 1, ">", 3)
    again = unpack(pack(pixels, packing, 4), packing, (3, 1, 1), 4)
    assert again.ravel().tolist() == [1023, 5, 1023]


def widened(pixels: np.ndarray, depth: int) -> np.ndarray:
    """As OpenImageIO shows code values: the highest bits again at the low end."""
    if depth in (8, 16):
        return pixels
    return (pixels << (16 - depth)) | (pixels >> (2 * depth - 16))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("num_bands", [1, 3, 4])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_what_openimageio_writes_is_read_as_it_meant(
    tmp_path: Path, depth: int, method: int, num_bands: int, order: str
) -> None:
    pixels = codes(num_bands, 5, 23, depth=depth)
    spec = OpenImageIO.ImageSpec(23, 5, num_bands, str(pixels.dtype))
    data = write_with_oiio(
        tmp_path / "frame.dpx",
        np.moveaxis(widened(pixels, depth), 0, -1),
        spec,
        oiio__BitsPerSample=depth,
        oiio__Endian="little" if order == "<" else "big",
        dpx__Packing=METHOD_NAMES[method],
    )
    header = parse_dpx(data)
    assert header.packing.bit_depth == depth and header.order == order
    content = data[len(header.data) :]
    assert np.array_equal(unpack(content, header.packing, pixels.shape, header.stride(23)), pixels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_openimageio_reads_our_colours(tmp_path: Path, depth: int, method: int, order: str) -> None:
    pixels = codes(3, 5, 24, depth=depth)
    data = make_dpx(pixels, Packing(depth, method, order, 3))
    found = samples_of(tmp_path / "frame.dpx", data, str(pixels.dtype))
    assert np.array_equal(found >> (16 - depth if depth > 8 else 0), pixels)
