"""Decoding and FFV1 encoding of films against PyAV used directly, in CPU seconds.

Both sides decode the same film to the same RGB arrays, and encode equal frames with equal
settings; ganray's reads through a store, checks every frame, and stages what it encodes.
"""

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import av
import numpy as np
from measuring import Figure, spread

from ganray.codecs.video import (
    Frame,
    SegmentPlan,
    VideoConfig,
    VideoOutput,
    VideoProfile,
    VideoSource,
    encode_segment,
    iter_frames,
    local_source,
    probe_video,
    scan_segments,
)
from ganray.codecs.video_encoding import configure_encoder
from ganray.codecs.video_pixels import SWSCALE_FLAGS

WIDTH, HEIGHT = 1280, 720
LIMIT = 2**27
CONFIG = VideoConfig()


def run(folder: Path, *, quick: bool) -> list[Figure]:
    num_frames, repeats = (16, 3) if quick else (64, 5)
    path = folder / "film.mp4"
    write_film(path, num_frames)
    source = local_source(path)
    profile = probe_video(source, CONFIG, max_pixels=LIMIT)
    plan = scan_segments(source, CONFIG, max_pixels=LIMIT)
    frames = [f for s in plan.segments for f in iter_frames(source, profile, s, CONFIG)]
    megabytes = sum(frame.pixels.nbytes for frame in frames) / 1e6
    output = VideoOutput(profile, CONFIG, 1)
    decoding = compare(
        lambda: decode(source, profile, plan), lambda: decode_directly(path), megabytes, repeats
    )
    encoding = compare(
        lambda: encode(output, plan, frames, folder / "segment"),
        lambda: encode_directly(output, frames, folder / "direct"),
        megabytes,
        repeats,
    )
    return [*figures("decode H.264", *decoding), *figures("encode FFV1", *encoding)]


def compare(
    own: Callable[[], None], direct: Callable[[], None], megabytes: float, repeats: int
) -> tuple[list[float], list[float]]:
    """MB of pixels per CPU second of both sides, one after the other."""
    own()
    direct()
    speeds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, work in enumerate((own, direct)):
            begin = process_time()
            work()
            speeds[side].append(megabytes / (process_time() - begin))
    return speeds


def figures(what: str, own: list[float], direct: list[float]) -> list[Figure]:
    ratios = [mine / theirs for mine, theirs in zip(own, direct, strict=True)]
    return [
        Figure(f"film: {what}, MB/CPU-s", spread(own, 0), f"PyAV directly {spread(direct, 0)}"),
        Figure(f"film: {what}, ganray ÷ PyAV", spread(ratios), "goal 0.9"),
    ]


def decode(source: VideoSource, profile: VideoProfile, plan: SegmentPlan) -> None:
    for segment in plan.segments:
        for frame in iter_frames(source, profile, segment, CONFIG):
            consume(frame.pixels)


def decode_directly(path: Path) -> None:
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in film.decode(stream):
            frame.color_primaries = frame.color_trc = 2
            rgb = frame.reformat(format="gbrp", interpolation=SWSCALE_FLAGS, threads=1)
            consume(rgb.to_ndarray())


def consume(pixels: np.ndarray) -> None:
    assert pixels.size


def encode(output: VideoOutput, plan: SegmentPlan, frames: list[Frame], path: Path) -> None:
    left = iter(frames)
    for segment in plan.segments:
        own = (next(left) for _ in range(segment.num_frames))
        encode_segment(output, segment, frames=own, path=path)


def encode_directly(output: VideoOutput, frames: list[Frame], path: Path) -> None:
    context: Any = av.CodecContext.create("ffv1", "w")
    configure_encoder(context, output)
    with path.open("wb") as file:
        for frame in frames:
            pixels = np.ascontiguousarray(np.moveaxis(frame.pixels, 0, -1))
            encoded = av.VideoFrame.from_ndarray(pixels, "rgb24")
            encoded.pts, encoded.time_base = frame.pts, output.profile.time_base
            for packet in context.encode(encoded):
                file.write(bytes(packet))
        for packet in context.encode(None):
            file.write(bytes(packet))


def write_film(path: Path, num_frames: int) -> None:
    """A film of a textured pan with grain, as scans have."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:HEIGHT, 0 : 2 * WIDTH]
    bands = (128 + 80 * np.sin(x / 50 + band) * np.cos(y / (30 + band)) for band in range(3))
    scene = np.stack(list(bands), -1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=24, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 16
        for number in range(num_frames):
            view = scene[:, 4 * number : 4 * number + WIDTH]
            grain = rng.normal(0, 4, view.shape)
            picture = np.clip(view + grain, 0, 255).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        for figure in run(Path(name), quick=False):
            print(f"{figure.what}: {figure.value} ({figure.note})")
