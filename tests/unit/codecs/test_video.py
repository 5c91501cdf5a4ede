import io
import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.codecs.tiff_runs import RunSource
from ganray.codecs.video import (
    Frame,
    StagedFilm,
    VideoConfig,
    VideoOutput,
    count_frames,
    encode_segment,
    iter_frames,
    join,
    local_source,
    output_suffix,
    probe_video,
    read_local,
    require_encodable,
)
from ganray.codecs.video_join import HISTORY_TAG
from ganray.config import build_config
from ganray.errors import ConfigError, UndecodableError, UnsupportedImageError
from tests.unit.codecs.film_files import (
    LIMIT,
    VFR,
    Film,
    Restored,
    cut,
    decode_all,
    packets,
    plain_times,
    restore,
    write_film,
)

GRAY = Film(codec="ffv1", options={"g": "1"}, pixel_format="gray12le")
RGBA = Film(codec="ffv1", options={"g": "1"}, pixel_format="bgra")
DEEP = Film(codec="ffv1", options={"g": "1"}, pixel_format="gbrp16le")
KINDS = {
    "yuv 4:2:0": (Film(), ".mp4"),
    "yuv 4:2:0 of full range": (Film(matrix=6, colour_range=2), ".mkv"),
    "yuv 4:2:2 of 10 bits": (Film(pixel_format="yuv422p10le"), ".mov"),
    "BT.2020 of 10 bits": (Film(pixel_format="yuv420p10le", matrix=9, transfer=16), ".mp4"),
    "odd sides": (Film(codec="ffv1", options={"g": "1"}, width=47, height=31), ".mkv"),
    "gray of 12 bits": (GRAY, ".mkv"),
    "rgb of 16 bits": (DEEP, ".mkv"),
    "rgb with alpha": (RGBA, ".mkv"),
    "yuv with alpha": (
        Film(codec="prores_ks", options={"profile": "4444"}, pixel_format="yuva444p10le"),
        ".mov",
    ),
}
OUTPUTS: list[dict[str, Any]] = [
    {},
    {"container": "mp4"},
    {"codec": "prores"},
    {"codec": "h264"},
]
EVERYTHING = Film(
    times=VFR,
    audio="aac",
    rotation=90,
    aspect=Fraction(4, 3),
    tags={"title": "Zwölf", "comment": "a comment"},
    video_tags={"timecode": "01:02:03:04"},
    chapters=True,
)


# Pixels


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("name", KINDS)
def test_restored_frames_are_stored_bit_for_bit(name: str, scale: int, tmp_path: Path) -> None:
    film, suffix = KINDS[name]
    restored = restore(write_film(tmp_path / f"film{suffix}", film), tmp_path, scale)
    stored = decode_all(restored.path)
    height, width = film.height * scale, film.width * scale
    assert len(stored) == len(restored.frames) == len(film.times)
    for frame, expected in zip(stored, restored.frames, strict=True):
        assert frame.pixels.shape[1:] == (height, width)
        np.testing.assert_array_equal(frame.pixels, expected.pixels)


@pytest.mark.parametrize("name", ["gray of 12 bits", "rgb of 16 bits", "rgb with alpha"])
def test_the_identity_of_what_is_no_yuv_keeps_the_decoded_planes(name: str, tmp_path: Path) -> None:
    film, suffix = KINDS[name]
    path = write_film(tmp_path / f"film{suffix}", film)
    restored = restore(path, tmp_path)
    assert planes(restored.path) == planes(path)
    assert restored.joined.lost == ()


def test_pixel_format_same_goes_back_within_two_steps(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film(pixel_format="yuv444p"))
    restored = restore(path, tmp_path, pixel_format="same")
    assert restored.profile.pixel_format == probe(restored.path).pixel_format == "yuv444p"
    for found, expected in zip(samples(restored.path), samples(path), strict=True):
        # Colours outside RGB, which the pattern has many of, are cut.
        assert np.median(np.abs(found - expected)) <= 1
    assert restored.joined.lost == ("exact pixels: the restored RGB is converted to yuv444p",)


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(1, 20), width=st.integers(1, 20), deep=st.booleans(), seed=st.integers(0, 99)
)
def test_any_pixels_are_stored_exactly(
    height: int,
    width: int,
    seed: int,
    *,
    deep: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("noise")
    pixel_format = "gbrp10le" if deep else "bgr0"
    film = Film(
        codec="ffv1",
        options={"g": "1", "level": "3", "slices": "1"},
        pixel_format=pixel_format,
        height=height,
        width=width,
        times=(0, 512),
    )
    source, profile, plan = cut(write_film(folder / "film.mkv", film))
    noise = np.random.default_rng(seed).integers(
        0, 1024 if deep else 256, (2, 3, height, width), profile.kind.dtype
    )
    output = VideoOutput(profile, VideoConfig(), 1)
    times = (0, 40)
    frames = [Frame(pts, 40, pixels) for pts, pixels in zip(times, noise, strict=True)]
    staged = encode_segment(output, plan.segments[0], frames=frames, path=folder / "segment")
    files = StagedFilm(plan, [RunSource(str(staged.path), staged.num_bytes)], read_local)
    join(output, source, staged=files, path=folder / "out.mkv", history="")
    for frame, expected in zip(decode_all(folder / "out.mkv"), noise, strict=True):
        np.testing.assert_array_equal(frame.pixels, expected)


# What surrounds the pixels


@pytest.mark.parametrize("config", OUTPUTS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_all_that_surrounds_the_pixels_is_kept(
    suffix: str, config: dict[str, Any], tmp_path: Path
) -> None:
    path = write_film(tmp_path / f"film{suffix}", EVERYTHING)
    restored = restore(path, tmp_path, **config)
    require_kept(path, restored)


def require_kept(path: Path, restored: Restored) -> None:
    with av.open(str(restored.path)) as film:
        tags = {name.lower(): value for name, value in film.metadata.items()}
        assert tags["title"] == "Zwölf"
        assert tags["comment"] == "a comment"
        assert json.loads(tags[HISTORY_TAG]) == {"software": "ganray"}
        chapters = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
            for c in film.chapters()
        ]
        half = Fraction(1, 2)
        assert chapters == [(0, half, "part 1"), (half, 1, "part 2")]
        video = film.streams.video[0]
        found = {**film.metadata, **video.metadata}
        assert {name.lower(): v for name, v in found.items()}["timecode"] == "01:02:03:04"
        assert video.sample_aspect_ratio == Fraction(4, 3)
        assert film.streams.audio[0].language == "eng"
        frame = next(film.decode(video))
        assert frame.rotation == 90
        assert (frame.color_primaries, frame.color_trc) == (1, 1)
        if restored.output.is_rgb:
            assert (frame.colorspace, frame.color_range) in ((0, 2), (2, 2))
        else:
            assert (frame.colorspace, frame.color_range) == (1, 1)
    assert plain_times(restored.path) == plain_times(path)


@pytest.mark.parametrize("audio", ["aac", "libopus", "flac", "libmp3lame", "ac3"])
@pytest.mark.parametrize(
    ("suffix", "config"), [(".mp4", {}), (".mkv", {}), (".mp4", {"codec": "h264"})]
)
def test_audio_is_copied_bit_for_bit(
    audio: str, suffix: str, config: dict[str, Any], tmp_path: Path
) -> None:
    path = write_film(tmp_path / f"film{suffix}", Film(audio=audio))
    restored = restore(path, tmp_path, **config)
    (before,), (after,) = packets(path, "audio"), packets(restored.path, "audio")
    assert [data for _, data in after] == [data for _, data in before]
    with av.open(str(path)) as film:
        base = film.streams.audio[0].time_base
    # Exactly, or nearer to the time that was than to its neighbours.
    for (found, _), (expected, _) in zip(after, before, strict=True):
        assert round(found / base) * base == expected


def test_times_in_matroska_are_those_of_the_film(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film(times=VFR))
    restored = restore(path, tmp_path)
    assert [frame.pts for frame in restored.frames] == list(VFR)
    assert plain_times(restored.path) == [Fraction(pts, 12800) for pts in VFR]


@pytest.mark.parametrize("base", [Fraction(1, 30000), Fraction(1001, 30000), Fraction(1, 90000)])
def test_times_that_are_no_nanoseconds_are_told_apart(base: Fraction, tmp_path: Path) -> None:
    step = 1 if base.numerator > 1 else 7
    times = tuple(range(0, 40 * step, step))
    path = write_film(tmp_path / "film.mp4", Film(times=times, time_base=base, audio="aac"))
    restored = restore(path, tmp_path)
    own = restored.profile.time_base
    expected = [frame.pts for frame in restored.frames]
    assert [round(time / own) for time in plain_times(restored.path)] == expected
    exact = restore(path, tmp_path, container="mp4")
    assert plain_times(exact.path) == plain_times(path)


def test_a_rotation_is_scaled_with_its_translation(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film(rotation=90))
    data = path.read_bytes()
    place = data.rindex(struct.pack(">3i", 0, 0, 0x40000000))
    path.write_bytes(data[:place] + struct.pack(">i", 32 << 16) + data[place + 4 :])
    assert probe(path).display_matrix[6] == 32 << 16
    restored = restore(path, tmp_path, 2, container="mp4")
    assert probe(restored.path).display_matrix[6] == 64 << 16


def test_hdr_metadata_goes_into_matroska(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mkv", hdr_film())
    restored = restore(path, tmp_path)
    before, after = probe(path), probe(restored.path)
    assert before.mastering is not None
    assert rationals(after.mastering) == pytest.approx(rationals(before.mastering), abs=1e-4)
    assert after.light_level == before.light_level == struct.pack("2I", 1000, 400)
    in_mp4 = restore(path, tmp_path, container="mp4")
    assert {"mastering display of HDR", "light level of HDR"} <= set(in_mp4.joined.lost)


def hdr_film() -> Film:
    parameters = (
        "keyint=8:log-level=none:pools=none:frame-threads=1:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    )
    return Film(
        codec="libx265",
        options={"x265-params": parameters},
        pixel_format="yuv420p10le",
        width=64,
        height=64,
        matrix=9,
        transfer=16,
    )


def rationals(mastering: bytes | None) -> list[float]:
    values = struct.unpack_from("20i", mastering or b"")
    return [top / bottom for top, bottom in zip(values[::2], values[1::2], strict=True)]


def test_subtitles_of_mp4_become_plain_text_in_matroska(tmp_path: Path) -> None:
    path = with_subtitles(tmp_path, "mov_text", ".mp4")
    restored = restore(path, tmp_path)
    (texts,) = packets(restored.path, "subtitle")
    assert texts == [(Fraction(n, 4), f"line {n}".encode()) for n in range(4)]
    assert "styles of the subtitles" in restored.joined.lost
    same = restore(path, tmp_path, codec="h264")
    assert packets(same.path, "subtitle") == packets(path, "subtitle")


def test_subtitles_that_mp4_does_not_hold_are_named(tmp_path: Path) -> None:
    path = with_subtitles(tmp_path, "subrip", ".mkv")
    kept = restore(path, tmp_path)
    assert packets(kept.path, "subtitle") == packets(path, "subtitle")
    lost = restore(path, tmp_path, codec="h264").joined.lost
    assert "subtitle stream 1 (srt)" in " ".join(lost).replace("subrip", "srt")


def with_subtitles(folder: Path, codec: str, suffix: str) -> Path:
    plain = write_film(folder / f"plain{suffix}", Film())
    target = folder / f"film{suffix}"
    with av.open(str(plain)) as film, av.open(str(target), "w") as out:
        copy = out.add_stream_from_template(film.streams.video[0], opaque=True)
        text = out.add_mux_stream(codec)
        for number in range(4):
            line = f"line {number}".encode()
            data = struct.pack(">H", len(line)) + line if codec == "mov_text" else line
            packet = av.Packet(data)
            packet.pts = packet.dts = number * 250
            packet.duration, packet.time_base = 250, Fraction(1, 1000)
            packet.is_keyframe, packet.stream = True, text
            out.mux(packet)
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    return target


def test_covers_and_attachments_go_along(tmp_path: Path) -> None:
    cover = io.BytesIO()
    av.VideoFrame(16, 16, "rgb24").to_image().save(cover, "JPEG")
    path = tmp_path / "film.mkv"
    plain = write_film(tmp_path / "plain.mkv", Film())
    with av.open(str(plain)) as film, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(film.streams.video[0], opaque=True)
        out.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        out.add_attachment("font.ttf", "font/ttf", b"a font" * 999)
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    restored = restore(path, tmp_path)
    with av.open(str(restored.path)) as film:
        assert [stream.data for stream in film.streams.attachments] == [b"a font" * 999]
        pictures = [bytes(p) for p in film.demux(film.streams.video[1]) if p.size]
    assert pictures == [cover.getvalue()]
    lost = restore(path, tmp_path, codec="h264").joined.lost
    assert any("font" in name or "attachment" in name for name in lost)


def test_a_cover_of_mp4_goes_into_matroska(tmp_path: Path) -> None:
    art = write_film(tmp_path / "art.mkv", Film(codec="mjpeg", pixel_format="yuvj420p", options={}))
    ((_, cover), *_), *_ = packets(art, "video")
    plain = write_film(tmp_path / "plain.mp4", Film(audio="aac"))
    path = tmp_path / "film.mp4"
    with av.open(str(plain)) as film, av.open(str(art)) as pictures, av.open(str(path), "w") as out:
        picture = out.add_stream_from_template(pictures.streams.video[0], opaque=True)
        picture.disposition = 0x400
        copies = [out.add_stream_from_template(s, opaque=True) for s in list(film.streams)[:2]]
        packet = av.Packet(cover)
        packet.pts = packet.dts = 0
        packet.time_base, packet.stream = Fraction(1, 1000), picture
        out.mux(packet)
        for packet in film.demux(*list(film.streams)[:2]):
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    restored = restore(path, tmp_path)
    with av.open(str(restored.path)) as film:
        (stream,) = (s for s in film.streams.video if int(s.disposition) & 0x400)
        assert bytes(next(iter(film.demux(stream)))) == cover
    (before,), (after,) = packets(path, "audio"), packets(restored.path, "audio")
    assert [data for _, data in after] == [data for _, data in before]
    assert after[0][0] < 0
    lost = restore(path, tmp_path, codec="h264").joined.lost
    assert any(name.startswith("video stream") and "mjpeg" in name for name in lost)


def test_tracks_behind_an_attachment_keep_their_times(tmp_path: Path) -> None:
    plain = write_film(tmp_path / "plain.mp4", Film(audio="aac"))
    path = tmp_path / "film.mkv"
    with av.open(str(plain)) as film, av.open(str(path), "w") as out:
        out.add_attachment("font.ttf", "font/ttf", b"a font")
        copies = [out.add_stream_from_template(s, opaque=True) for s in list(film.streams)[:2]]
        for packet in film.demux(*list(film.streams)[:2]):
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    restored = restore(path, tmp_path)
    assert packets(restored.path, "audio") == packets(path, "audio")
    assert plain_times(restored.path) == plain_times(path)


def test_streams_that_nothing_holds_are_named(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mov", Film(chapters=True))
    data = path.read_bytes()
    # Its titles of chapters become what a camera says of itself.
    for name, other in ((b"chap", b"none"), (b"chpl", b"none"), (b"text", b"gpmd")):
        data = data.replace(name, other)
    path.write_bytes(data)
    restored = restore(path, tmp_path)
    assert restored.profile.chapters == ()
    assert "data stream 1 (bin_data, SubtitleHandler)" in restored.joined.lost


def test_what_the_change_of_pixels_loses_is_named(tmp_path: Path) -> None:
    restored = restore(write_film(tmp_path / "film.mp4", Film()), tmp_path)
    assert restored.joined.lost == ("pixel format yuv420p: RGB is stored, as it was restored",)
    lossy = restore(write_film(tmp_path / "film.mp4", Film()), tmp_path, codec="prores")
    assert "exact pixels: prores is lossy" in lossy.joined.lost


# Segments


@pytest.mark.parametrize("config", OUTPUTS)
def test_equal_films_give_equal_files(config: dict[str, Any], tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", EVERYTHING)
    first = restore(path, tmp_path, **config).path.read_bytes()
    second = restore(path, tmp_path, threads=2, **config).path.read_bytes()
    assert first == second


def test_the_joined_film_does_not_depend_on_where_it_was_cut(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", EVERYTHING)
    whole = restore(path, tmp_path, segment_frames=10**6).path.read_bytes()
    assert restore(path, tmp_path, segment_frames=8).path.read_bytes() == whole


def test_a_lossy_film_decodes_across_its_segments(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film())
    restored = restore(path, tmp_path, codec="h264", crf=0)
    for frame, expected in zip(samples(restored.path), samples(path), strict=True):
        assert np.median(np.abs(frame - expected)) <= 2


def test_damaged_staged_segments_are_noticed(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film())
    restored = restore(path, tmp_path)
    segment = tmp_path / "1.segment"
    whole = segment.read_bytes()
    for damaged in (whole[:-1], whole[:1000], b"", whole[:99] + b"x" + whole[100:]):
        segment.write_bytes(damaged)
        with pytest.raises(UndecodableError, match="restore the segment again"):
            rejoin(path, restored, tmp_path)
        assert not (tmp_path / "again.mkv").exists()


def test_segments_of_another_configuration_are_refused(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film())
    restore(path, tmp_path, slices=9)
    other = VideoOutput(probe(path), VideoConfig(segment_frames=8), 1)
    source, _, plan = cut(path)
    sources = [
        RunSource(str(file), file.stat().st_size)
        for file in sorted(tmp_path.glob("*.segment"), key=lambda file: int(file.stem))
    ]
    with pytest.raises(UndecodableError, match="of the output"):
        staged = StagedFilm(plan, sources, read_local)
        join(other, source, staged=staged, path=tmp_path / "again.mkv", history="")


def rejoin(path: Path, restored: Restored, folder: Path) -> None:
    names = [folder / f"{segment.index}.segment" for segment in restored.plan.segments]
    sources = [RunSource(str(name), name.stat().st_size) for name in names]
    staged = StagedFilm(restored.plan, sources, read_local)
    target = folder / "again.mkv"
    join(restored.output, local_source(path), staged=staged, path=target, history="")


def test_a_segment_that_lacks_a_frame_is_not_written(tmp_path: Path) -> None:
    source, profile, plan = cut(write_film(tmp_path / "film.mp4", Film()))
    output, segment = VideoOutput(profile, VideoConfig(), 1), plan.segments[0]
    frames = list(iter_frames(source, profile, segment, VideoConfig()))[1:]
    with pytest.raises(UndecodableError, match="whose times are not those"):
        encode_segment(output, segment, frames=frames, path=tmp_path / "segment")


def test_what_a_worker_says_of_its_segment_reaches_the_one_that_joins(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film())
    source, profile, plan = cut(path)
    config = VideoConfig()
    output = VideoOutput(profile, config, 1)
    sources = []
    for segment in plan.segments:
        said: dict[str, Any] = {}

        def frames(said: dict[str, Any] = said, segment: Any = segment) -> Any:
            yield from iter_frames(source, profile, segment, config)
            said["trust"] = segment.index

        file = encode_segment(
            output, segment, frames=frames(), path=tmp_path / f"{segment.index}", extra=said
        )
        sources.append(RunSource(str(file.path), file.num_bytes))
    staged = StagedFilm(plan, sources, read_local)
    joined = join(output, source, staged=staged, path=tmp_path / "out.mkv", history="")
    assert [extra["trust"] for extra in joined.extras] == [0, 1, 2]
    assert joined.num_frames == count_frames(local_source(tmp_path / "out.mkv"), max_pixels=LIMIT)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    film = Film(width=480, height=270, times=tuple(range(0, 100 * 512, 512)))
    source, profile, plan = cut(write_film(tmp_path / "film.mp4", film), 10**6)
    output = VideoOutput(profile, VideoConfig(), 1)
    memory: list[int] = []

    def frames() -> Any:
        for frame in iter_frames(source, profile, plan.segments[0], VideoConfig()):
            memory.append(psutil.Process().memory_info().rss)
            yield frame

    encode_segment(output, plan.segments[0], frames=frames(), path=tmp_path / "segment")
    # The 70 frames between are 27 MB.
    assert memory[-1] - memory[30] < 12e6


# Configuration


def test_the_suffix_follows_from_the_configuration() -> None:
    assert output_suffix(VideoConfig()) == ".mkv"
    assert output_suffix(VideoConfig(codec="prores")) == ".mov"
    assert output_suffix(VideoConfig(codec="h264")) == ".mp4"
    assert output_suffix(VideoConfig(codec="h264", container="matroska")) == ".mkv"


def test_a_container_that_does_not_hold_the_codec_is_a_wrong_configuration() -> None:
    with pytest.raises(ConfigError, match="mp4 does not hold prores"):
        build_config(VideoConfig, {"codec": "prores", "container": "mp4"})


def test_frames_that_the_codec_does_not_hold_are_refused(tmp_path: Path) -> None:
    alpha = probe(write_film(tmp_path / "alpha.mkv", RGBA))
    with pytest.raises(UnsupportedImageError, match="no alpha"):
        require_encodable(VideoOutput(alpha, VideoConfig(codec="h264"), 1))
    odd = probe(write_film(tmp_path / "odd.mkv", KINDS["odd sides"][0]))
    with pytest.raises(UnsupportedImageError, match="even sides"):
        require_encodable(VideoOutput(odd, VideoConfig(codec="h264"), 1))
    with pytest.raises(UnsupportedImageError, match="smaller scale"):
        require_encodable(VideoOutput(odd, VideoConfig(), 2000))
    require_encodable(VideoOutput(odd, VideoConfig(codec="h264"), 2))


def probe(path: Path) -> Any:
    return probe_video(local_source(path), VideoConfig(), max_pixels=LIMIT)


def planes(path: Path) -> list[list[bytes]]:
    """The decoded samples as they are, of every frame."""
    with av.open(str(path)) as film:
        return [
            [
                b"".join(
                    bytes(plane)[row * plane.line_size :][: plane.width * size(frame)]
                    for row in range(plane.height)
                )
                for plane in frame.planes
            ]
            for frame in film.decode(video=0)
        ]


def size(frame: Any) -> int:
    component = frame.format.components[0]
    packed = 4 if frame.format.name in ("bgra", "bgr0") else 1
    return packed * (2 if component.bits > 8 else 1)


def samples(path: Path) -> list[np.ndarray]:
    """8-bit samples of the first plane of every frame."""
    return [np.frombuffer(frame[0], np.uint8).astype(int) for frame in planes(path)]


def test_a_limit_beyond_all_frames_is_none(tmp_path: Path) -> None:
    source = local_source(write_film(tmp_path / "film.mp4", Film()))
    for limit in (2**31, 2**62, 2**70):
        assert probe_video(source, VideoConfig(), max_pixels=limit).width == 48
        assert count_frames(source, max_pixels=limit) == 40
