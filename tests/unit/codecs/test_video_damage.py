import struct
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ganray.codecs import video_source
from ganray.codecs.video import VideoConfig, local_source, probe_video, scan_segments
from ganray.codecs.video_integrity import is_damaged_ffv1
from ganray.codecs.video_source import BLOCK_BYTES, RangeFile, VideoSource
from ganray.errors import (
    CodecError,
    MissingExtraError,
    StorageError,
    TooLargeError,
    UndecodableError,
    UnsupportedImageError,
)
from tests.unit.codecs.film_files import LIMIT, Film, cut, decode_all, packets, write_film
from tests.unit.memory_store import MemoryStore

PER_FRAME = {"time_base": Fraction(1, 25), "times": tuple(range(40))}
WITH_AUDIO = Film(audio="aac")
TRUNCATED = {
    "mp4 with its table at the end": (WITH_AUDIO, ".mp4"),
    "mp4 with its table first": (replace(WITH_AUDIO, muxer={"movflags": "faststart"}), ".mp4"),
    "mov": (WITH_AUDIO, ".mov"),
    "Matroska": (WITH_AUDIO, ".mkv"),
    "Matroska of unknown size": (Film(muxer={"live": "1"}), ".mkv"),
    "webm": (Film(codec="libvpx-vp9", options={"g": "8"}), ".webm"),
    "AVI": (Film(codec="mpeg4", options={"g": "8"}, **PER_FRAME), ".avi"),
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_truncated_film_is_an_error_at_every_length(name: str, tmp_path: Path) -> None:
    film, suffix = TRUNCATED[name]
    data = write_film(tmp_path / f"film{suffix}", film).read_bytes()
    path = tmp_path / f"cut{suffix}"
    lengths = [len(data) * part // 60 for part in range(60)] + [len(data) - 1]
    for length in lengths:
        path.write_bytes(data[:length])
        with pytest.raises(UndecodableError):
            decode_all(path)


def test_a_fragmented_film_that_ends_inside_a_fragment_is_an_error(tmp_path: Path) -> None:
    muxer = {"movflags": "frag_keyframe+empty_moov"}
    data = write_film(tmp_path / "film.mp4", Film(muxer=muxer)).read_bytes()
    path = tmp_path / "cut.mp4"
    starts = {n - 4 for n in range(len(data)) if data[n : n + 4] in (b"moof", b"mfra")}
    for length in sorted({len(data) * part // 40 for part in range(40)} - starts):
        path.write_bytes(data[:length])
        with pytest.raises(UndecodableError):
            decode_all(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"#EXTM3U\nfile:///etc/passwd\n", b"x"])
def test_what_is_no_film_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(UndecodableError, match="expected"):
        cut(path)


def test_a_playlist_that_is_named_as_a_film_opens_nothing(tmp_path: Path) -> None:
    other = write_film(tmp_path / "other.mp4", Film())
    path = tmp_path / "film.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {other}\n")
    with pytest.raises(UndecodableError, match="no film"):
        cut(path)


def test_a_damaged_film_is_an_error_or_a_film_and_never_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for film, suffix in ((Film(), ".mp4"), (Film(), ".mkv")):
        data = write_film(tmp_path / f"film{suffix}", film).read_bytes()
        path = tmp_path / f"damaged{suffix}"
        for _ in range(40):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 4):
                damaged[place] = rng.integers(0, 256)
            path.write_bytes(damaged)
            try:
                frames = decode_all(path)
            except CodecError:
                continue
            assert all(frame.pixels.shape == (3, 32, 48) for frame in frames)


def test_a_damaged_frame_of_ffv1_is_told_by_its_checksum(tmp_path: Path) -> None:
    """FFmpeg shows the frame before instead."""
    options = {"g": "1", "level": "3", "slicecrc": "1"}
    film = Film(codec="ffv1", options=options, pixel_format="gray", width=64, height=64)
    path = write_film(tmp_path / "film.mkv", film)
    ((_, packet), *_), *_ = packets(path, "video")
    data = path.read_bytes()
    for place in (5, len(packet) // 2, len(packet) - 1):
        damaged = bytearray(data)
        damaged[data.index(packet) + place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CodecError):
            decode_all(path, 10**6)
    assert not is_damaged_ffv1(packet)
    assert is_damaged_ffv1(packet[:-1])
    assert is_damaged_ffv1(b"")


def test_ffv1_without_checksums_is_read(tmp_path: Path) -> None:
    for level, slicecrc in (("1", "0"), ("3", "0"), ("3", "1")):
        options = {"g": "1", "level": level, "slicecrc": slicecrc}
        film = Film(codec="ffv1", options=options, pixel_format="gray")
        assert len(decode_all(write_film(tmp_path / "film.mkv", film))) == 40


def test_a_damaged_picture_of_h264_is_told(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film())
    frames, *_ = packets(path, "video")
    data = path.read_bytes()
    # A slice's data in a group's middle, where later pictures refer to it.
    packet = max((data for _, data in frames[9:]), key=len)
    damaged = bytearray(data)
    start = data.index(packet)
    damaged[start + 30 : start + len(packet)] = bytes(len(packet) - 30)
    path.write_bytes(damaged)
    with pytest.raises(UndecodableError, match="damaged"):
        decode_all(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_header_that_claims_too_much_is_refused_before_a_frame_is_decoded(
    suffix: str, tmp_path: Path
) -> None:
    film = Film(codec="ffv1", options={"g": "1"}, pixel_format="gray")
    path = write_film(tmp_path / f"film{suffix}", film)
    data = path.read_bytes()
    if suffix == ".mp4":
        place = data.index(b"FFV1") + 28
        data = data[:place] + struct.pack(">2H", 16000, 16000) + data[place + 4 :]
    else:
        data = data.replace(b"\xb0\x81\x30\xba\x81\x20", b"\xb0\x81\xff\xba\x81\xff")
    path.write_bytes(data)
    with pytest.raises(TooLargeError, match=r"limits\.pixels"):
        probe_video(local_source(path), VideoConfig(), max_pixels=60000)


def test_frames_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    source = local_source(write_film(tmp_path / "film.mp4", Film()))
    for call in (probe_video, scan_segments):
        with pytest.raises(TooLargeError, match="48x32 are 1536 pixels"):
            call(source, VideoConfig(), max_pixels=1535)
    assert probe_video(source, VideoConfig(), max_pixels=1536).width == 48


def test_an_encrypted_film_is_refused_by_name(tmp_path: Path) -> None:
    muxer = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    path = write_film(tmp_path / "film.mp4", Film(muxer=muxer))
    with pytest.raises(CodecError, match="encrypted"):
        cut(path)
    with pytest.raises(CodecError, match="encrypted"):
        scan_segments(local_source(path), VideoConfig(), max_pixels=LIMIT)


def test_an_interlaced_film_is_refused_unless_the_configuration_takes_it(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=8:interlaced=1"}
    path = write_film(tmp_path / "film.mp4", Film(options=options))
    with pytest.raises(UnsupportedImageError, match="interlaced=as_frames"):
        cut(path)
    config = VideoConfig(interlaced="as_frames")
    profile = probe_video(local_source(path), config, max_pixels=LIMIT)
    assert "order of the fields" in profile.lost
    assert len(decode_all(path, interlaced="as_frames")) == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 64}, "64x32 yuvj420p, the first 48x32 yuvj420p"),
        ({"pixel_format": "yuvj444p"}, "48x32 yuvj444p, the first 48x32 yuvj420p"),
    ],
)
def test_a_film_that_changes_in_its_middle_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    first = Film(codec="mjpeg", options={}, pixel_format="yuvj420p", colour_range=2, **PER_FRAME)
    films = (first, replace(first, **change))
    paths = [write_film(tmp_path / f"{number}.mkv", film) for number, film in enumerate(films)]
    with av.open(str(tmp_path / "film.mkv"), "w") as out:
        stream = None
        for number, path in enumerate(paths):
            with av.open(str(path)) as film:
                stream = stream or out.add_stream_from_template(film.streams.video[0], opaque=True)
                for packet in film.demux(video=0):
                    if packet.size:
                        packet.pts += 2000 * number
                        packet.dts = packet.pts
                        packet.stream = stream
                        out.mux(packet)
    with pytest.raises(UnsupportedImageError, match=message):
        decode_all(tmp_path / "film.mkv")


def test_a_film_without_video_and_one_with_two_are_refused(tmp_path: Path) -> None:
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(UndecodableError, match="0 video streams"):
        cut(sound)
    two, plain = tmp_path / "two.mkv", Film(options={"x264-params": "bframes=0"})
    one = write_film(tmp_path / "one.mkv", plain)
    with av.open(str(one)) as film, av.open(str(two), "w") as out:
        copies = [
            out.add_stream_from_template(film.streams.video[0], opaque=True) for _ in range(2)
        ]
        for packet in film.demux(video=0):
            for copy in copies if packet.size else ():
                again = av.Packet(bytes(packet))
                again.pts, again.dts, again.time_base = packet.pts, packet.pts, packet.time_base
                again.is_keyframe, again.stream = packet.is_keyframe, copy
                out.mux(again)
    with pytest.raises(UnsupportedImageError, match="2 video streams"):
        cut(two)


def test_h264_with_reordered_frames_in_avi_is_refused(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.avi", Film(**PER_FRAME))
    with pytest.raises(UnsupportedImageError, match="remux"):
        cut(path)


@pytest.mark.parametrize(("pixel_format", "codec"), [("gbrpf32le", "exr"), ("ya8", "png")])
def test_pixel_formats_that_are_not_restored_are_refused_by_name(
    pixel_format: str, codec: str, tmp_path: Path
) -> None:
    film = Film(codec=codec, options={}, pixel_format=pixel_format)
    path = write_film(tmp_path / "film.mov", film)
    with pytest.raises(UnsupportedImageError, match=f"pixel format {pixel_format}"):
        cut(path)


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = local_source(write_film(tmp_path / "film.mp4", Film()))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"ganray\[video\]"):
        probe_video(source, VideoConfig(), max_pixels=LIMIT)


# Reading from a store


def test_a_film_is_read_by_ranges_and_never_whole(tmp_path: Path) -> None:
    data = write_film(tmp_path / "film.mp4", Film(width=320, height=240)).read_bytes()
    reads: list[str] = []
    store = MemoryStore({"film.mp4": data}, lambda action, key: reads.append(action))
    source = VideoSource(store, "film.mp4")
    profile = probe_video(source, VideoConfig(), max_pixels=LIMIT)
    assert (profile.width, profile.num_frames) == (320, 40)
    assert reads.count("read") == 1


def test_a_file_is_read_as_python_reads_it() -> None:
    data = np.random.default_rng(0).integers(0, 256, 2 * BLOCK_BYTES + 99, np.uint8).tobytes()
    file = RangeFile(VideoSource(MemoryStore({"film": data}), "film"))
    for position in (0, 5, BLOCK_BYTES - 3, 2 * BLOCK_BYTES + 90, len(data) - 1, len(data)):
        assert file.read_at(position, 77) == data[position : position + 77]
    assert file.seek(-9, 2) == len(data) - 9
    assert file.read() == data[-9:]
    assert file.read(1) == b""
    assert file.seek(10) == file.tell() == 10
    assert file.seek(5, 1) == 15


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_store_that_fails_is_an_error_of_the_store(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_source, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(video_source, "BUFFER_BYTES", 1000)
    film = Film(codec="mpeg4", options={"g": "8"}, width=160, height=96, **PER_FRAME)
    data = write_film(tmp_path / f"film{suffix}", film).read_bytes()
    reads: list[str] = []
    num_good = 10**6

    def step(action: str, key: str) -> None:
        reads.extend([key] if action == "read" else [])
        if len(reads) > num_good:
            raise StorageError("the store has failed")

    source = VideoSource(MemoryStore({"film": data}, step), "film")
    scan_segments(source, VideoConfig(), max_pixels=LIMIT)
    num_reads = len(reads)
    assert num_reads > 5
    while num_reads:
        num_reads -= 1
        num_good = num_reads
        reads.clear()
        with pytest.raises(StorageError, match="the store has failed"):
            scan_segments(source, VideoConfig(), max_pixels=LIMIT)


def test_a_film_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    data = write_film(tmp_path / "film.mkv", Film()).read_bytes()
    store = MemoryStore({"film": data})
    source = VideoSource(store, "film")
    file = RangeFile(source)
    store.objects["film"] = data[:-5]
    with pytest.raises(UndecodableError, match="changed or truncated"):
        file.read()
