import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.codecs.tiff_tags import Code, Kind, Tag, file_bytes, numbers_tag, pack_file, text_tag
from ganray.codecs.tiff_tiles import decode_tile, encode_tile, halve
from ganray.codecs.tiled_tiff import TiffLayout, directories

few_examples = settings(max_examples=100, deadline=None)

layouts = st.builds(
    TiffLayout,
    height=st.integers(1, 1000),
    width=st.integers(1, 1000),
    bands=st.just(("gray",)),
    dtype=st.just("uint8"),
    window_side=st.integers(1, 12).map(lambda tiles: 16 * tiles),
    tile_sides=st.sampled_from([(16,), (32, 16)]),
)


@given(layouts)
@few_examples
def test_windows_cover_every_pixel_and_every_shared_tile_once(layout: TiffLayout) -> None:
    for level in range(layout.num_shared_levels + 1):
        pixels = np.zeros(layout.levels[level], int)
        tiles = np.zeros(layout.tile_grid(level), int)
        for index in range(layout.num_windows):
            box, cells = layout.window_box(index, level), layout.window_tiles(index, level)
            pixels[box.top : box.bottom, box.left : box.right] += 1
            tiles[cells.top : cells.bottom, cells.left : cells.right] += 1
        assert pixels.min() == pixels.max() == 1
        assert tiles.min() == tiles.max() == 1


@given(layouts)
@few_examples
def test_levels_halve_until_one_tile_holds_the_image(layout: TiffLayout) -> None:
    pixels = np.zeros((1, layout.height, layout.width), np.uint8)
    for level, shape in enumerate(layout.levels):
        pixels = halve(pixels) if level else pixels
        assert pixels.shape[1:] == shape
    rows_and_columns = [layout.tile_grid(level) for level in range(len(layout.levels))]
    assert rows_and_columns[-1] == (1, 1)
    assert all(grid != (1, 1) for grid in rows_and_columns[:-1])


def test_the_largest_tile_that_divides_the_window_is_used() -> None:
    def layout(side: int) -> TiffLayout:
        return TiffLayout(9000, 9000, ("gray",), "uint8", window_side=side)

    assert [layout(side).tile_side for side in (4096, 1536, 1280, 256)] == [512, 512, 256, 256]
    assert [layout(side).num_shared_levels for side in (4096, 1536, 1280, 256)] == [3, 0, 0, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"window_side": 100},
        {"dtype": "float64"},
        {"compression": "lzw"},
        {"height": 0},
        {"tags": (numbers_tag(Code.WIDTH, Kind.LONG, 1),)},
        {"tags": (Tag(Code.XMP, Kind.BYTE, b"a"), Tag(Code.XMP, Kind.BYTE, b"b"))},
    ],
)
def test_a_layout_that_cannot_be_written_is_a_programmers_mistake(changes: dict) -> None:
    valid = {"height": 1, "width": 1, "bands": ("gray",), "dtype": "uint8", "window_side": 512}
    with pytest.raises(AssertionError):
        TiffLayout(**valid | changes)


def test_only_what_a_run_depends_on_changes_the_digest() -> None:
    layout = TiffLayout(600, 500, ("gray",), "uint8", 512)
    tagged = TiffLayout(600, 500, ("gray",), "uint8", 512, tags=(Tag(Code.XMP, Kind.BYTE, b"x"),))
    assert layout.digest == tagged.digest
    others = {
        TiffLayout(600, 501, ("gray",), "uint8", 512).digest,
        TiffLayout(600, 500, ("gray",), "uint16", 512).digest,
        TiffLayout(600, 500, ("gray",), "uint8", 1024).digest,
        TiffLayout(600, 500, ("gray",), "uint8", 512, "zstd").digest,
    }
    assert len(others | {layout.digest}) == 5


def test_offsets_behind_4_gib_are_written_as_such() -> None:
    layout = TiffLayout(2000, 1100, ("red", "green", "blue"), "uint16", 1024)
    counts = [np.full(layout.tile_grid(n), 7) for n in range(len(layout.levels))]
    offsets = [2**40 + np.arange(count.size).reshape(count.shape) for count in counts]
    tags = directories(layout, offsets, counts, big=True)
    data = pack_file(tags, big=True)
    assert len(data) == file_bytes(tags, big=True)
    with tifffile.TiffFile(io.BytesIO(data + bytes(100))) as tiff:
        assert [page.dataoffsets for page in tiff.pages] == [tuple(o.ravel()) for o in offsets]
        assert [page.databytecounts for page in tiff.pages] == [tuple(c.ravel()) for c in counts]


def test_overviews_have_tags_of_their_own() -> None:
    described, counted = text_tag(Code.DESCRIPTION, "image"), text_tag(42113, "0")
    layout = TiffLayout(
        1100, 900, ("gray",), "uint8", 512, tags=(described,), overview_tags=(counted,)
    )
    empty = [np.zeros(layout.tile_grid(n)) for n in range(len(layout.levels))]
    found = [{tag.code for tag in tags} for tags in directories(layout, empty, empty, big=False)]
    assert [Code.DESCRIPTION in codes for codes in found] == [True, False, False]
    assert [42113 in codes for codes in found] == [False, True, True]


@given(
    side=st.sampled_from([16, 32]),
    height=st.integers(1, 32),
    width=st.integers(1, 32),
    num_bands=st.integers(1, 5),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    compression=st.sampled_from(["none", "deflate", "zstd"]),
    seed=st.integers(0, 99),
)
@few_examples
def test_a_tile_comes_back_filled_up_with_its_last_pixels(
    side: int, height: int, width: int, num_bands: int, dtype: str, compression: str, seed: int
) -> None:
    shape = (num_bands, min(height, side), min(width, side))
    pixels = (np.random.default_rng(seed).random(shape) * 255).astype(dtype)
    tile = encode_tile(pixels, side, compression)
    decoded = decode_tile(tile, (num_bands, side, side), dtype, compression)
    missing = (0, 0), (0, side - shape[1]), (0, side - shape[2])
    assert np.array_equal(decoded, np.pad(pixels, missing, mode="edge"))
    assert tile == encode_tile(pixels.copy(), side, compression)


def test_halving_rounds_halves_up_and_does_not_overflow() -> None:
    pixels = np.array([[[255, 255, 0], [255, 254, 1], [1, 2, 7]]], np.uint8)
    assert halve(pixels).tolist() == [[[255, 1], [2, 7]]]
    assert halve(np.full((1, 2, 2), 65535, np.uint16)).tolist() == [[[65535]]]
    assert halve(np.array([[[0.5, 1.0]]], np.float32)).tolist() == [[[0.75]]]
