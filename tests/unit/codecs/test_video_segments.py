import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.codecs.video import VideoConfig, count_frames, iter_frames
from ganray.codecs.video_entry import is_clean_entry
from ganray.errors import UndecodableError, UnsupportedImageError
from tests.unit.codecs.film_files import (
    LIMIT,
    VFR,
    Film,
    cut,
    decode_all,
    plain_times,
    write_film,
)

CLOSED_GOP = {"x264-params": "keyint=8:min-keyint=8:scenecut=0:bframes=3"}
SHORT_GOP = {"g": "8", "bf": "2"}
PER_FRAME = {"time_base": Fraction(1, 25), "times": tuple(range(40))}
FILMS = {
    "h264 of open groups": (Film(), ".mp4"),
    "h264 of open groups in Matroska": (Film(), ".mkv"),
    "h264 of closed groups": (Film(options=CLOSED_GOP), ".mov"),
    "h264 of variable rate": (Film(times=VFR, audio="aac"), ".mp4"),
    "h264 4:4:4 of 10 bits": (Film(pixel_format="yuv444p10le"), ".mp4"),
    "mpeg2": (Film(codec="mpeg2video", options=SHORT_GOP, **PER_FRAME), ".mkv"),
    "mpeg4": (Film(codec="mpeg4", options=SHORT_GOP, **PER_FRAME), ".avi"),
    # x265 spoils its own memory with frames below 64 pixels.
    "hevc of open groups": (
        Film(
            codec="libx265",
            width=64,
            height=64,
            options={
                "x265-params": "keyint=8:min-keyint=8:scenecut=0:open-gop=1:log-level=none:"
                "pools=none:frame-threads=1"
            },
        ),
        ".mp4",
    ),
    "vp8 with frames that are not shown": (
        Film(codec="libvpx", options={"g": "8", "lag-in-frames": "16", "auto-alt-ref": "1"}),
        ".webm",
    ),
    "vp9": (Film(codec="libvpx-vp9", options={"g": "8", "lag-in-frames": "16"}), ".webm"),
    "prores": (Film(codec="prores_ks", options={}, pixel_format="yuv422p10le"), ".mov"),
    "ffv1 gray": (Film(codec="ffv1", options={"g": "8"}, pixel_format="gray12le"), ".mkv"),
}
H264_AVCC = b"\x01\x64\x00\x0a\xff\xe1"


@pytest.mark.parametrize("name", FILMS)
def test_segments_together_are_the_whole_film_bit_for_bit(name: str, tmp_path: Path) -> None:
    film, suffix = FILMS[name]
    path = write_film(tmp_path / f"film{suffix}", film)
    whole, parts = decode_all(path, 10**6), decode_all(path, 8)
    _, profile, plan = cut(path)
    assert len(plan.segments) > 2
    assert [frame.pts * profile.time_base for frame in parts] == plain_times(path)
    assert [frame.pts for frame in parts] == [frame.pts for frame in whole]
    for frame, expected in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(frame.pixels, expected.pixels)


@pytest.mark.parametrize("name", ["h264 of open groups", "h264 of variable rate", "mpeg2"])
def test_a_segment_decodes_alone_and_twice(name: str, tmp_path: Path) -> None:
    film, suffix = FILMS[name]
    path = write_film(tmp_path / f"film{suffix}", film)
    source, profile, plan = pickle.loads(pickle.dumps(cut(path)))
    segment, config = plan.segments[-1], VideoConfig()
    frames = list(iter_frames(source, profile, segment, config))
    again = list(iter_frames(source, profile, segment, config))
    assert len(frames) == segment.num_frames
    assert all((a.pixels == b.pixels).all() for a, b in zip(frames, again, strict=True))


@settings(max_examples=6, deadline=None)
@given(segment_frames=st.integers(1, 50), threads=st.integers(1, 3))
def test_wherever_it_is_cut_the_film_is_the_same(
    segment_frames: int, threads: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut-anywhere.mp4"
    if not path.exists():
        write_film(path, Film(times=VFR))
    whole = decode_all(path, 10**6)
    parts = decode_all(path, segment_frames, threads=threads)
    assert [frame.pts for frame in parts] == [frame.pts for frame in whole]
    assert all((a.pixels == b.pixels).all() for a, b in zip(parts, whole, strict=True))


def test_segments_decode_in_several_threads_at_once(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film(times=VFR))
    source, profile, plan = cut(path, 4)
    config = VideoConfig()
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(
            lambda segment: list(iter_frames(source, profile, segment, config)), plan.segments
        )
        frames = [frame for part in parts for frame in part]
    whole = decode_all(path, 10**6)
    assert all((a.pixels == b.pixels).all() for a, b in zip(frames, whole, strict=True))


def test_equal_films_have_equal_plans(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film())
    assert cut(path)[1:] == cut(path)[1:]


def test_a_film_that_only_recovers_little_by_little_is_not_cut(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=8:intra-refresh=1:bframes=0"}
    path = write_film(tmp_path / "film.mp4", Film(options=options))
    _, _, plan = cut(path)
    with av.open(str(path)) as film:
        assert sum(packet.is_keyframe for packet in film.demux(video=0) if packet.size) > 3
    assert len(plan.segments) == 1


def test_what_an_edit_list_hides_is_not_shown(tmp_path: Path) -> None:
    times = tuple(range(-3 * 512, 37 * 512, 512))
    path = write_film(tmp_path / "film.mp4", Film(times=times, options=CLOSED_GOP))
    source, profile, _ = cut(path)
    frames = decode_all(path)
    assert [frame.pts * profile.time_base for frame in frames] == plain_times(path)
    assert len(frames) == 37
    assert count_frames(source, max_pixels=LIMIT) == 37


def test_pictures_before_the_first_key_frame_are_named(tmp_path: Path) -> None:
    """As when a film of open groups was cut without encoding it again."""
    path = write_film(tmp_path / "film.mkv", Film())
    tail = remux(path, tmp_path / "tail.mkv", first_packet=7)
    _, profile, plan = cut(tail)
    frames = decode_all(tail)
    whole = {frame.pts: frame for frame in decode_all(path)}
    begin = plain_times(tail)[0] - frames[0].pts * profile.time_base
    assert begin == 0
    assert plan.lost == ("frames that refer to what is before the first key frame: 1",)
    shift = max(whole) - frames[-1].pts
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, whole[frame.pts + shift].pixels)


def test_packets_before_the_first_key_frame_are_named(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mkv", Film(options=CLOSED_GOP))
    _, _, plan = cut(remux(path, tmp_path / "tail.mkv", first_packet=5))
    assert plan.lost == ("frames before the first key frame: 3",)
    assert plan.num_frames == 32


def test_frames_at_one_time_are_refused(tmp_path: Path) -> None:
    times = (0, 1, 2, 2, *range(3, 20))
    with av.open(str(tmp_path / "film.mkv"), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, pts in enumerate(times):
            frame = av.VideoFrame(48, 32, "yuvj420p")
            frame.pts, frame.time_base = number, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.pts = packet.dts = pts
                out.mux(packet)
    with pytest.raises(UnsupportedImageError, match="several frames at one presentation time"):
        cut(tmp_path / "film.mkv")


def test_a_plan_of_another_film_is_noticed(tmp_path: Path) -> None:
    source, profile, plan = cut(write_film(tmp_path / "film.mp4", Film()))
    moved = replace(plan.segments[1], entry_pts=plan.segments[1].entry_pts + 1)
    with pytest.raises(UndecodableError, match="no key frame at"):
        list(iter_frames(source, profile, moved, VideoConfig()))
    other = replace(plan.segments[1], pts_digest="0" * 16)
    with pytest.raises(UndecodableError, match="frames decode between"):
        list(iter_frames(source, profile, other, VideoConfig()))


def test_an_entry_is_found_where_the_container_seeks_to_another_place(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film())
    source, profile, plan = cut(path)
    config = VideoConfig()
    right = list(iter_frames(source, profile, plan.segments[1], config))
    for time in (0, plan.segments[-1].seek_time, 10**9):
        segment = replace(plan.segments[1], seek_time=time)
        found = list(iter_frames(source, profile, segment, config))
        assert all((a.pixels == b.pixels).all() for a, b in zip(found, right, strict=True))


@pytest.mark.parametrize(
    ("unit", "is_entry"),
    [
        (b"\x65\x88", True),  # IDR
        (b"\x41\x9a", False),  # a slice of another picture
        (b"\x06\x06\x01\xc4\x80", True),  # recovered after 0 frames, exactly
        (b"\x06\x06\x01\x84\x80", False),  # not exactly
        (b"\x06\x06\x01\x48\x80", False),  # after 1 frame
        (b"\x06\x05\x02aa\x06\x01\xc4\x80", True),  # behind another message
    ],
)
def test_entries_of_h264_are_told_by_their_units(unit: bytes, *, is_entry: bool) -> None:
    packet = len(unit).to_bytes(4, "big") + unit
    assert is_clean_entry("h264", H264_AVCC, packet) is is_entry
    assert is_clean_entry("h264", b"", b"\0\0\x01" + unit) is is_entry


def test_codecs_that_nobody_looked_at_are_not_cut() -> None:
    assert not is_clean_entry("svq3", b"", b"anything")


def remux(path: Path, target: Path, first_packet: int) -> Path:
    """The same packets without the first, as cutting without encoding makes it."""
    with av.open(str(path)) as film, av.open(str(target), "w") as out:
        stream = film.streams.video[0]
        copy = out.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in film.demux(stream) if packet.size][first_packet:]
        base = packets[0].pts - 200
        for packet in packets:
            packet.pts -= base
            packet.dts = None if packet.dts is None else packet.dts - base
            packet.stream = copy
            out.mux(packet)
    return target
