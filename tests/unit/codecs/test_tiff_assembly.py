import io
import tracemalloc
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from ganray.codecs import tiff_assembly, tiff_overviews, tiff_runs
from ganray.codecs.tiff_assembly import assemble
from ganray.codecs.tiff_runs import RunSource, decode_run, encode_run, read_footer
from ganray.codecs.tiff_tiles import halve
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.errors import UndecodableError
from ganray.raster.windows import crop
from tests.unit.codecs.tiff_files import BANDS, Memory, make_tiff, noise, store_runs

some_examples = settings(max_examples=40, deadline=None)

layouts = st.builds(
    TiffLayout,
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    bands=st.sampled_from(list(BANDS.values())),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    window_side=st.integers(1, 8).map(lambda tiles: 16 * tiles),
    compression=st.sampled_from(["none", "deflate", "zstd"]),
    tile_sides=st.just((16,)),
)
SMALL = TiffLayout(100, 150, BANDS[3], "uint8", 64, tile_sides=(16,))


def channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


@given(layout=layouts, classic_bytes=st.sampled_from([0, 2**32]))
@some_examples
def test_the_file_holds_the_image_and_its_halves_bit_for_bit(
    layout: TiffLayout, classic_bytes: int
) -> None:
    expected = noise(layout)
    data, assembled = make_tiff(layout, expected, classic_bytes=classic_bytes)
    assert assembled.num_bytes == len(data)
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        assert tiff.is_bigtiff is (classic_bytes == 0)
        assert len(tiff.pages) == len(layout.levels)
        for level, page in enumerate(tiff.pages):
            expected = halve(expected) if level else expected
            assert np.array_equal(channels_first(page.asarray()), expected)
            assert page.is_reduced is (level > 0)


@given(layout=layouts)
@some_examples
def test_pillow_reads_the_same_pixels(layout: TiffLayout) -> None:
    layout = replace(layout, bands=BANDS[min(4, len(layout.bands))], dtype="uint8")
    pixels = noise(layout)
    with PillowImage.open(io.BytesIO(make_tiff(layout, pixels)[0])) as picture:
        assert np.array_equal(channels_first(np.asarray(picture)), pixels)


@given(layout=layouts)
@some_examples
def test_directories_come_first_then_overviews_then_the_image(layout: TiffLayout) -> None:
    data, _ = make_tiff(layout, noise(layout))
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        directories = [page.offset for page in tiff.pages]
        pixels = [(min(page.dataoffsets), max(page.dataoffsets)) for page in tiff.pages]
    assert directories == sorted(directories)
    in_file = [edge for level in reversed(pixels) for edge in level]
    assert in_file == sorted(in_file)
    assert directories[-1] < in_file[0]


@given(layout=layouts)
@some_examples
def test_a_run_gives_its_window_back_and_depends_on_nothing_but_its_pixels(
    layout: TiffLayout,
) -> None:
    pixels = noise(layout)
    for index in range(layout.num_windows):
        window = crop(pixels, layout.window_box(index))
        run = encode_run(layout, index, window, {"b": 1, "a": [2.5, None]})
        assert np.array_equal(decode_run(layout, index, run), window)
        assert run == encode_run(layout, index, window.copy(), {"a": [2.5, None], "b": 1})


def test_extras_and_parts_describe_the_file() -> None:
    data, assembled = make_tiff(SMALL, noise(SMALL))
    assert [extra["window"] for extra in assembled.extras] == list(range(SMALL.num_windows))
    assert len(assembled.parts) == 1 + SMALL.num_windows
    position = 0
    for part in assembled.parts:
        content = data[position : position + part.num_bytes]
        assert sha256(content).hexdigest() == part.sha256
        position += part.num_bytes
    assert position == len(data)


def test_a_file_as_large_as_a_classic_tiff_can_be_is_one_and_a_byte_more_is_not() -> None:
    pixels = noise(SMALL)
    size = len(make_tiff(SMALL, pixels)[0])
    assert make_tiff(SMALL, pixels, classic_bytes=size)[0][2:4] == b"*\0"
    assert make_tiff(SMALL, pixels, classic_bytes=size - 1)[0][2:4] == b"+\0"


# What is damaged or out of place


@pytest.fixture(scope="module")
def stored() -> tuple[Memory, list[RunSource]]:
    return store_runs(SMALL, noise(SMALL))


@given(position=st.integers(0, 10**6), mask=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_of_a_run_is_noticed(
    stored: tuple[Memory, list[RunSource]], position: int, mask: int
) -> None:
    whole, runs = stored
    image_bytes = read_footer(SMALL, 1, source=runs[1], read=whole.read).levels[0].end
    run = bytearray(whole.objects["run-1"])
    position %= len(run)
    run[position] ^= mask
    memory = Memory(**whole.objects | {"run-1": bytes(run)})
    with pytest.raises(UndecodableError):
        decode_run(SMALL, 1, bytes(run))
        # An assembler copies the image's own tiles without a look; all else it checks.
        assert position >= image_bytes
        assemble(SMALL, runs, read=memory.read, sink=memory)


@pytest.mark.parametrize("kept", [0, 1, 19, 20, 1000, -1])
def test_a_truncated_run_is_refused(kept: int) -> None:
    memory, runs = store_runs(SMALL, noise(SMALL))
    memory.objects["run-1"] = memory.objects["run-1"][:kept]
    for source in (runs[1], RunSource("run-1", len(memory.objects["run-1"]))):
        with pytest.raises(UndecodableError, match="run-1: a damaged or truncated run"):
            read_footer(SMALL, 1, source=source, read=memory.read)


def test_a_run_in_another_place_is_refused() -> None:
    memory, runs = store_runs(SMALL, noise(SMALL))
    runs[0], runs[1] = runs[1], runs[0]
    with pytest.raises(UndecodableError, match=r"run-1: .*expected window 0"):
        assemble(SMALL, runs, read=memory.read, sink=memory)
    assert not memory.file


def test_a_run_of_another_layout_is_refused() -> None:
    memory, runs = store_runs(SMALL, noise(SMALL))
    other = replace(SMALL, compression="zstd")
    with pytest.raises(UndecodableError, match=r"run-0: the run of .* another layout"):
        assemble(other, runs, read=memory.read, sink=memory)


def test_a_run_without_one_of_its_tiles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tiff_runs._tile_boxes
    monkeypatch.setattr(tiff_runs, "_tile_boxes", lambda *args: list(real(*args))[:-1])
    memory, runs = store_runs(SMALL, noise(SMALL))
    with pytest.raises(UndecodableError, match="tiles"):
        assemble(SMALL, runs, read=memory.read, sink=memory)


# In little memory, with few requests


def test_memory_does_not_grow_with_the_height(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_overviews, "SPOOL_BYTES", 1 << 10)
    monkeypatch.setattr(tiff_assembly, "CHUNK_BYTES", 16 << 10)
    monkeypatch.setattr(tiff_runs, "FOOTER_READ_BYTES", 4 << 10)
    peaks, heights = [], (1024, 8192)
    for height in heights:
        layout = TiffLayout(height, 1024, BANDS[3], "uint8", 256, tile_sides=(64,))
        memory, runs = store_runs(layout, noise(layout))
        memory.write = memory.copy = lambda *_: None
        tracemalloc.start()
        assemble(layout, runs, read=memory.read, sink=memory)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert max(end - start for _, start, end in memory.reads) <= 16 << 10
    # What is kept of each tile and window is little beside their pixels.
    assert peaks[1] - peaks[0] < 0.02 * 3 * 1024 * (heights[1] - heights[0])
    assert peaks[0] < 1 << 20


def test_the_image_itself_is_copied_and_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_runs, "FOOTER_READ_BYTES", 64)
    layout = TiffLayout(600, 700, BANDS[3], "uint8", 256, "none", tile_sides=(64,))
    memory, runs = store_runs(layout, noise(layout))
    ends = {
        run.key: read_footer(layout, index, source=run, read=memory.read).levels[0].end
        for index, run in enumerate(runs)
    }
    memory.reads.clear()
    assemble(layout, runs, read=memory.read, sink=memory)
    assert all(start >= ends[key] for key, start, _ in memory.reads)
    # The footer in two reads, and each of two shared levels in one.
    assert len(memory.reads) == 4 * layout.num_windows


def test_an_error_of_the_store_is_passed_on() -> None:
    memory, runs = store_runs(SMALL, noise(SMALL))
    del memory.objects["run-3"]
    with pytest.raises(KeyError):
        assemble(SMALL, runs, read=memory.read, sink=memory)
