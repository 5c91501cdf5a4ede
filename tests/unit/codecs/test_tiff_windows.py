import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from ganray.codecs import tiff_segments
from ganray.codecs.store_blocks import BLOCK_BYTES
from ganray.codecs.tiff_tags import Code
from ganray.codecs.tiff_windows import TiffWindows
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.errors import CodecError, NotFoundError, UndecodableError, UnsupportedImageError
from ganray.raster.windows import Box, crop
from tests.unit.codecs.tiff_files import BANDS, Memory, make_tiff, noise

PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)


def save(pixels: np.ndarray, **options: Any) -> bytes:
    """What another program would have written, of pixels (H,W,C) or (C,H,W) in planes."""
    buffer = io.BytesIO()
    if "photometric" not in options:
        num_bands = 1 if pixels.ndim == 2 else min(pixels.shape)
        options["photometric"] = "minisblack" if num_bands < 3 else "rgb"
        options |= {"extrasamples": ["unassalpha"]} if num_bands in (2, 4) else {}
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def open_tiff(data: bytes) -> TiffWindows:
    return TiffWindows(Memory(photo=data), "photo")


def read_all(data: bytes) -> np.ndarray:
    tiff = open_tiff(data)
    return tiff.read(Box(0, 0, tiff.height, tiff.width))


def channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def changed(data: bytes, code: int, *values: int, page: int = 0) -> bytes:
    """The file with other values in a tag that holds as many of the same type."""
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        tag = tiff.pages[page].tags[code]
        letter = {1: "B", 3: "H", 4: "I", 16: "Q"}[int(tag.dtype)]
        packed = struct.pack(f"{tiff.byteorder}{len(values)}{letter}", *values)
        return data[: tag.valueoffset] + packed + data[tag.valueoffset + len(packed) :]


@st.composite
def boxes(draw: st.DrawFn, height: int, width: int) -> Box:
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    return Box(top, left, bottom, right)


COMPRESSIONS = [None, "lzw", "zlib", "zstd", "packbits", "lzma"]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_box_is_the_slice_of_the_image(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 100)), data.draw(st.integers(1, 100))
    num_bands = data.draw(st.sampled_from([1, 2, 3, 4]))
    dtype = data.draw(st.sampled_from(["uint8", "uint16", "float32"]))
    values = np.random.default_rng(0).random((num_bands, height, width)) * 300
    expected = values.astype(dtype)
    compression = data.draw(st.sampled_from(COMPRESSIONS))
    options: dict[str, Any] = {"compression": compression}
    if compression in ("lzw", "zlib", "zstd", "lzma"):
        options["predictor"] = data.draw(st.sampled_from([1, 3 if dtype == "float32" else 2]))
    if data.draw(st.booleans()):
        options["tile"] = data.draw(st.sampled_from([(16, 16), (32, 48)]))
    else:
        options["rowsperstrip"] = data.draw(st.integers(1, height))
    options["byteorder"] = data.draw(st.sampled_from("<>"))
    options["bigtiff"] = data.draw(st.booleans())
    if num_bands == 1:
        stored = expected[0]
    elif num_bands > 2 and data.draw(st.booleans()):
        stored, options["planarconfig"] = expected, "separate"
        options["photometric"] = "rgb"
        options |= {"extrasamples": ["unassalpha"]} if num_bands == 4 else {}
    else:
        stored = np.ascontiguousarray(np.moveaxis(expected, 0, -1))
        options |= {"planarconfig": "contig"} if num_bands > 1 else {}
        options["photometric"] = "minisblack" if num_bands == 2 else "rgb"
        options |= {"extrasamples": ["unassalpha"]} if num_bands in (2, 4) else {}
    tiff = open_tiff(save(stored, **options))
    assert (tiff.height, tiff.width, tiff.num_pixels) == (height, width, height * width)
    assert tiff.profile.colorinterp == BANDS[num_bands]
    box = data.draw(boxes(height, width))
    pixels = tiff.read(box)
    assert pixels.dtype == dtype
    assert np.array_equal(pixels, crop(expected, box))


@given(data=st.data(), compression=st.sampled_from(["none", "deflate", "zstd"]))
@settings(max_examples=30, deadline=None)
def test_what_was_assembled_is_read(data: st.DataObject, compression: str) -> None:
    layout = TiffLayout(170, 131, BANDS[3], "uint16", 64, compression, tile_sides=(16,))
    pixels = noise(layout)
    tiff = open_tiff(
        make_tiff(layout, pixels, classic_bytes=data.draw(st.sampled_from([0, 1e9])))[0]
    )
    box = data.draw(boxes(170, 131))
    assert np.array_equal(tiff.read(box), crop(pixels, box))
    assert tiff.profile.lost == ()


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}, {"rowsperstrip": 16}])
@pytest.mark.parametrize("photometric", ["rgb", "ycbcr", "minisblack"])
def test_jpeg_is_decoded_as_other_readers_do(options: dict, photometric: str) -> None:
    smooth = np.add.outer(np.arange(70), np.arange(90))[..., np.newaxis] + np.arange(3) * 20
    pixels = smooth.astype(np.uint8)[..., 0] if photometric == "minisblack" else smooth.astype("u1")
    data = save(pixels, compression="jpeg", photometric=photometric, **options)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        expected = channels_first(tiff.pages[0].asarray())
    assert np.array_equal(read_all(data), expected)
    assert not open_tiff(data).profile.lossless


def test_jpeg_with_tables_of_its_own_is_decoded_as_pillow_does() -> None:
    buffer = io.BytesIO()
    PillowImage.fromarray(PHOTOGRAPH).save(buffer, "TIFF", compression="jpeg", quality=90)
    with PillowImage.open(buffer) as picture:
        expected = channels_first(np.asarray(picture))
    assert np.array_equal(read_all(buffer.getvalue()), expected)


def test_where_white_is_zero_gray_is_inverted_and_alpha_is_not() -> None:
    gray, deep = PHOTOGRAPH[..., 0], PHOTOGRAPH[..., 0].astype(np.uint16) * 257
    assert np.array_equal(read_all(save(gray, photometric="miniswhite"))[0], 255 - gray)
    assert np.array_equal(read_all(save(deep, photometric="miniswhite"))[0], 65535 - deep)
    both = save(PHOTOGRAPH[..., :2], photometric="miniswhite", extrasamples=["unassalpha"])
    assert np.array_equal(read_all(both)[1], PHOTOGRAPH[..., 1])


def test_a_window_costs_its_tiles_and_adjacent_tiles_one_request() -> None:
    layout = TiffLayout(2048, 2048, BANDS[3], "uint8", 512, "none", tile_sides=(64,))
    memory = Memory(photo=make_tiff(layout, noise(layout))[0])
    tiff = TiffWindows(memory, "photo")
    header = sum(end - start for _, start, end in memory.reads)
    assert header < 3 * BLOCK_BYTES
    memory.reads.clear()
    # Tiles of one window stand together, and so do those of the next one in its row.
    tiff.read(Box(512, 512, 1024, 1536))
    assert len(memory.reads) == 1
    assert sum(end - start for _, start, end in memory.reads) == 2 * 512 * 512 * 3


@pytest.mark.parametrize("rows", [1000, 250, 7])
def test_long_strips_without_compression_are_read_in_pieces(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_segments, "PLAIN_STRIP_BYTES", 1 << 10)
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 100, 3), np.uint8)
    memory = Memory(photo=save(pixels, rowsperstrip=rows))
    tiff = TiffWindows(memory, "photo")
    memory.reads.clear()
    box = Box(501, 20, 540, 60)
    assert np.array_equal(tiff.read(box), crop(channels_first(pixels), box))
    assert sum(end - start for _, start, end in memory.reads) < 47 * 300
    assert np.array_equal(read_all(memory.objects["photo"]), channels_first(pixels))


# What is refused by name


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (save(PHOTOGRAPH[..., 0], extratags=[(33550, 12, 3, (1.0, 1.0, 0.0))]), "GeoTIFF"),
        (save(PHOTOGRAPH, extratags=[(274, 3, 1, 6)]), "orientation 6; rotate it upright first"),
        (save(PHOTOGRAPH.astype(np.int16)), "16.16.16-bit samples of format 2.2.2"),
        (save(PHOTOGRAPH.astype(np.float64)), "64.64.64-bit samples"),
        (save(PHOTOGRAPH[..., 0] > 99), "1-bit samples"),
        (save(PHOTOGRAPH[..., 0].astype(np.complex64)), "64-bit samples of format 6"),
        (save(PHOTOGRAPH, photometric="cielab"), "photometric interpretation 8"),
        (save(PHOTOGRAPH[..., [0, 1, 2, 0]], photometric="separated"), "interpretation 5"),
        (
            save(PHOTOGRAPH[..., 0], photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
            "photometric interpretation 3",
        ),
        (
            save(PHOTOGRAPH[..., [0, 1, 2, 0]], photometric="rgb", extrasamples=["assocalpha"]),
            r"4 bands, .* extra samples \[1\]",
        ),
        (save(PHOTOGRAPH, photometric="minisblack", planarconfig="contig"), "3 bands"),
        (save(PHOTOGRAPH, compression="webp"), "compression 50001"),
        (save(np.stack([PHOTOGRAPH] * 2), photometric="rgb"), "several frames or pages"),
        (
            save(np.stack([PHOTOGRAPH] * 2), photometric="rgb", volumetric=True, tile=(2, 16, 16)),
            "stack",
        ),
        (save(PHOTOGRAPH, subfiletype=1), "begins with a preview or a mask"),
        (
            save(PHOTOGRAPH, description="ImageJ=1.5\nimages=30\nslices=30\n"),
            "a stack of several images",
        ),
    ],
)
def test_what_would_be_lost_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(UnsupportedImageError, match=named):
        open_tiff(data)


def test_a_compressed_strip_that_needs_much_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiff_segments, "MAX_SEGMENT_BYTES", 1 << 10)
    with pytest.raises(UnsupportedImageError, match=r"strips of 45000 bytes; .* in tiles of 512"):
        open_tiff(save(PHOTOGRAPH, compression="zlib", rowsperstrip=100))


def test_overviews_are_no_pages_and_masks_are_named() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        options = {"photometric": "rgb", "metadata": None}
        writer.write(PHOTOGRAPH, subifds=1, **options)
        writer.write(PHOTOGRAPH[::4, ::4], subfiletype=1, **options)
        writer.write(PHOTOGRAPH[::2, ::2], subfiletype=1, **options)
        writer.write(PHOTOGRAPH[..., 0] > 9, subfiletype=4, photometric="mask", metadata=None)
    assert np.array_equal(read_all(buffer.getvalue()), channels_first(PHOTOGRAPH))
    assert open_tiff(buffer.getvalue()).profile.lost == ("transparency mask",)


# What is damaged, or lies


def test_an_absent_object_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        TiffWindows(Memory(), "photo")


TILED = save(PHOTOGRAPH, tile=(16, 16), compression="zlib")
STRIPS = save(PHOTOGRAPH, rowsperstrip=10)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "no TIFF: it begins with b''"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "no TIFF"),
        (b"II*\0" + bytes(4), "directory|no TIFF"),
        (TILED[:-100], "lie behind the end of the file"),
        (STRIPS[:-100], "lie behind the end of the file"),
        (TILED[:50], "behind the file's end"),
        (changed(TILED, Code.TILE_WIDTH, 2**16 - 1), "tiles or strips in tag 324; expected"),
        (changed(TILED, Code.TILE_WIDTH, 0), "expected at least 1"),
        (changed(TILED, Code.HEIGHT, 2**32 - 1), "tiles or strips in tag 324; expected"),
        (changed(TILED, Code.WIDTH, 0), "tag 256 is 0"),
        (changed(TILED, Code.TILE_OFFSETS, 0), "1 of 70 tiles or strips are missing"),
        (changed(TILED, Code.TILE_BYTE_COUNTS, 0), "1 of 70 tiles or strips are missing"),
        (changed(TILED, Code.TILE_OFFSETS, 2**32 - 1), "1 of 70 .* behind the end"),
        (changed(STRIPS, Code.STRIP_BYTE_COUNTS, 9), "shorter than their pixels"),
        (changed(TILED, Code.SAMPLES_PER_PIXEL, 65535), "65535 bands"),
    ],
)
def test_a_damaged_file_is_refused_when_it_is_opened(data: bytes, named: str) -> None:
    with pytest.raises((UndecodableError, UnsupportedImageError), match=named):
        open_tiff(data)


def test_a_huge_tile_is_refused_before_it_is_decoded() -> None:
    data = save(PHOTOGRAPH, tile=(112, 160), compression="zlib")
    assert np.array_equal(read_all(data), channels_first(PHOTOGRAPH))
    for wide, high in ((2**15, 2**15), (160, 2**15 + 2**14)):
        huge = changed(changed(data, Code.TILE_WIDTH, wide), Code.TILE_HEIGHT, high)
        with pytest.raises(UndecodableError, match=r"tiles of \d+ bytes|bytes decoded"):
            read_all(huge)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "lzma", "packbits"])
def test_a_tile_that_ends_early_is_refused(compression: str) -> None:
    data = save(PHOTOGRAPH, tile=(32, 32), compression=compression)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        num_bytes = tiff.pages[0].databytecounts[0]
    cut = open_tiff(changed(data, Code.TILE_BYTE_COUNTS, num_bytes - 40))
    with pytest.raises(UndecodableError, match="damaged"):
        cut.read(Box(31, 31, 33, 33))
    assert np.array_equal(cut.read(Box(32, 0, 33, 9)), channels_first(PHOTOGRAPH)[:, 32:33, :9])


def test_a_jpeg_tile_that_ends_early_or_has_another_size_is_refused() -> None:
    data = save(PHOTOGRAPH, tile=(32, 32), compression="jpeg", photometric="ycbcr")
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        start, count = tiff.pages[0].dataoffsets[7], tiff.pages[0].databytecounts[7]
    cut = data[: start + count // 2] + bytes(count - count // 2) + data[start + count :]
    with pytest.raises(UndecodableError, match="JPEG in a TIFF that does not end"):
        read_all(cut)
    size = data.index(b"\xff\xc0", start) + 5
    bomb = data[:size] + struct.pack(">HH", 65535, 65535) + data[size + 4 :]
    with pytest.raises(UndecodableError, match="JPEG of 65535x65535"):
        read_all(bomb)


def test_directories_in_a_circle_are_refused() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for subfile_type in (0, 1):
            writer.write(PHOTOGRAPH, subfiletype=subfile_type, photometric="rgb", metadata=None)
    data = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        first, second = tiff.pages[0].offset, tiff.pages[1].offset
        following = second + 2 + 12 * len(tiff.pages[1].tags)
    for target, named in ((second, "circle"), (first, "circle"), (2**31, "behind the file's end")):
        data[following : following + 4] = struct.pack("<I", target)
        with pytest.raises(UndecodableError, match=named):
            open_tiff(bytes(data))


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    memory = Memory(photo=STRIPS)
    tiff = TiffWindows(memory, "photo")
    memory.objects["photo"] = STRIPS[:-1]
    with pytest.raises(UndecodableError, match="changed or truncated"):
        tiff.read(Box(0, 0, 100, 150))


SMALL_FILES = [
    save(PHOTOGRAPH[:40, :40], tile=(16, 16), compression="zlib", predictor=2),
    save(PHOTOGRAPH[:40, :40], rowsperstrip=7, byteorder=">"),
    save(PHOTOGRAPH[:40, :40], compression="jpeg", photometric="ycbcr", bigtiff=True),
]


@given(
    data=st.sampled_from(SMALL_FILES),
    changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4),
    kept=st.one_of(st.none(), st.integers(0, 2000)),
)
@settings(max_examples=500, deadline=None)
def test_a_damaged_file_raises_ours_or_is_an_image(
    data: bytes, changes: list[tuple[int, int]], kept: int | None
) -> None:
    damaged = bytearray(data)
    for position, value in changes:
        damaged[position % len(damaged)] = value
    try:
        tiff = open_tiff(bytes(damaged[:kept]))
        box = Box(0, 0, min(tiff.height, 64), min(tiff.width, 64))
        assert tiff.read(box).shape == (tiff.profile.num_bands, box.height, box.width)
    except CodecError as error:
        assert str(error)
