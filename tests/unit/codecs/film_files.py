"""Small films that other programs might have written, made by FFmpeg's own encoders."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from ganray.codecs.tiff_runs import RunSource
from ganray.codecs.video import (
    Frame,
    JoinedFilm,
    SegmentPlan,
    StagedFilm,
    VideoConfig,
    VideoOutput,
    VideoProfile,
    VideoSource,
    encode_segment,
    iter_frames,
    join,
    local_source,
    output_suffix,
    probe_video,
    read_local,
    scan_segments,
)

LIMIT = 10**6
VFR = tuple(int(t) for t in np.cumsum([0, *([512, 517, 1024, 300, 2048, 511] * 12)]))[:40]
OPEN_GOP = {"x264-params": "keyint=8:min-keyint=8:scenecut=0:open-gop=1:bframes=3:b-pyramid=2"}


@dataclass(frozen=True)
class Film:
    """What a film is made of."""

    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=lambda: dict(OPEN_GOP))
    times: Sequence[int] = tuple(range(0, 40 * 512, 512))
    time_base: Fraction = Fraction(1, 12800)
    width: int = 48
    height: int = 32
    audio: str | None = None
    matrix: int = 1
    transfer: int | None = None
    colour_range: int = 1
    rotation: int | None = None
    aspect: Fraction | None = None
    tags: dict[str, str] = field(default_factory=dict)
    video_tags: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    chapters: bool = False


def picture(number: int, width: int, height: int) -> np.ndarray:
    """A moving pattern (H,W,3)."""
    y, x = np.mgrid[0:height, 0:width]
    bands = (x * 4 + number * 5, y * 6 + number * 7, (x + y) * 3 + number * 11)
    return np.stack([band % 256 for band in bands], -1).astype(np.uint8)


def write_film(path: Path, film: Film) -> Path:
    with av.open(str(path), "w", container_options=film.muxer) as out:
        video = out.add_stream(film.codec, rate=25, options=film.options)
        context = video.codec_context
        context.width, context.height = film.width, film.height
        context.pix_fmt, context.time_base = film.pixel_format, film.time_base
        context.colorspace, context.color_primaries = film.matrix, film.matrix
        context.color_trc = film.transfer or film.matrix
        context.color_range = film.colour_range
        if film.aspect:
            context.sample_aspect_ratio = film.aspect
        if film.rotation is not None:
            video.set_display_rotation(film.rotation)
        sound = out.add_stream(film.audio, rate=48000) if film.audio else None
        if sound is not None:
            sound.codec_context.layout = "stereo"
            sound.metadata["language"] = "eng"
        out.metadata.update(film.tags)
        video.metadata.update(film.video_tags)
        if film.chapters:
            out.set_chapters(
                [
                    {
                        "id": number + 1,
                        "start": 500 * number,
                        "end": 500 * (number + 1),
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": f"part {number + 1}"},
                    }
                    for number in range(2)
                ]
            )
        for number, pts in enumerate(film.times):
            frame = av.VideoFrame.from_ndarray(picture(number, film.width, film.height), "rgb24")
            frame.colorspace = film.matrix
            frame = frame.reformat(format=film.pixel_format, dst_color_range=film.colour_range)
            frame.pts, frame.time_base = pts, film.time_base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            _write_sound(out, sound, float(film.times[-1] * film.time_base))
    return path


def _write_sound(out: Any, stream: Any, seconds: float) -> None:
    for start in range(0, int(48000 * seconds), 1024):
        tone = np.sin(np.arange(2048) / 20 + start) * 8000
        frame = av.AudioFrame.from_ndarray(
            tone.astype(np.int16).reshape(1, -1), format="s16", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


@dataclass(frozen=True)
class Restored:
    """A film that went through the whole chain."""

    path: Path
    profile: VideoProfile
    plan: SegmentPlan
    output: VideoOutput
    joined: JoinedFilm
    frames: list[Frame]


def cut(path: Path, segment_frames: int = 8) -> tuple[VideoSource, VideoProfile, SegmentPlan]:
    source, config = local_source(path), VideoConfig(segment_frames=segment_frames)
    profile = probe_video(source, config, max_pixels=LIMIT)
    return source, profile, scan_segments(source, config, max_pixels=LIMIT)


def decode_all(path: Path, segment_frames: int = 8, **options: Any) -> list[Frame]:
    """All frames, segment by segment, as their workers would decode them."""
    source, config = local_source(path), VideoConfig(segment_frames=segment_frames, **options)
    profile = probe_video(source, config, max_pixels=LIMIT)
    plan = scan_segments(source, config, max_pixels=LIMIT)
    return [
        frame
        for segment in plan.segments
        for frame in iter_frames(source, profile, segment, config)
    ]


def restore(path: Path, folder: Path, scale: int = 1, **options: Any) -> Restored:
    """The whole chain with a nearest-neighbour generator; at scale 1 the identity."""
    config = VideoConfig(**{"segment_frames": 8} | options)
    source = local_source(path)
    profile = probe_video(source, config, max_pixels=LIMIT)
    plan = scan_segments(source, config, max_pixels=LIMIT)
    output = VideoOutput(profile, config, scale)
    frames: list[Frame] = []
    staged = []
    for segment in plan.segments:
        inside = [
            replace(frame, pixels=frame.pixels.repeat(scale, 1).repeat(scale, 2))
            for frame in iter_frames(source, profile, segment, config)
        ]
        frames += inside
        file = encode_segment(
            output, segment, frames=iter(inside), path=folder / f"{segment.index}.segment"
        )
        staged.append(RunSource(str(file.path), file.num_bytes))
    target = folder / f"restored{output_suffix(config)}"
    film = StagedFilm(plan, staged, read_local)
    joined = join(output, source, staged=film, path=target, history='{"software":"ganray"}')
    return Restored(target, profile, plan, output, joined, frames)


def packets(path: Path, kind: str) -> list[list[tuple[Fraction, bytes]]]:
    """Time and bytes of every packet of every stream of a kind."""
    with av.open(str(path)) as film:
        indices = [stream.index for stream in film.streams if stream.type == kind]
    found = []
    for index in indices:
        with av.open(str(path)) as film:
            demuxed = film.demux(film.streams[index])
            found.append([(p.pts * p.time_base, bytes(p)) for p in demuxed if p.size])
    return found


def plain_times(path: Path) -> list[Fraction]:
    """Times of the frames as PyAV decodes them."""
    with av.open(str(path)) as film:
        return [frame.pts * frame.time_base for frame in film.decode(video=0)]
