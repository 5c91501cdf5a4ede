"""Encoding the restored frames of one segment, so that segments of a film can be joined.

An encoder is set up by the film's profile and the configuration alone. So every segment has
the same header (extradata), and a decoder goes from one to the next as within one. No frame is
shown in another order than it is stored: joining keeps each frame's time as it is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ganray.codecs.video_config import VideoConfig
from ganray.codecs.video_frames import Frame
from ganray.codecs.video_pixels import (
    FULL_RANGE,
    GRAY,
    MATRIX_RGB,
    MATRIX_UNKNOWN,
    RGBA,
    PixelConverter,
)
from ganray.codecs.video_profile import VideoProfile
from ganray.codecs.video_segments import Segment
from ganray.codecs.video_source import require_av
from ganray.codecs.video_staging import SegmentWriter, StagedPacket, StagedSegment
from ganray.config import digest
from ganray.errors import UnsupportedImageError

ENCODERS = {"ffv1": "ffv1", "prores": "prores_ks", "h264": "libx264"}
PRORES_FORMATS = {False: "yuv444p10le", True: "yuva444p10le"}
H264_FORMATS = {
    *("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    *("gray", "gray10le"),
}
SAME_SAMPLES = {
    "yuvj420p": "yuv420p",
    "yuvj422p": "yuv422p",
    "yuvj444p": "yuv444p",
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "p010le": "yuv420p10le",
    "p210le": "yuv422p10le",
    "p410le": "yuv444p10le",
}
"""Formats that hold the same samples in another order, which encoders take."""

AV_CODEC_FLAG_GLOBAL_HEADER, AV_CODEC_FLAG_CLOSED_GOP = 1 << 22, 1 << 31
AV_CODEC_FLAG_BITEXACT = 1 << 23
SLICED_SIDE = 16
"""FFV1 does not divide smaller frames into as many slices as are asked for."""
LARGEST_SIDE = {"ffv1": 65535, "prores": 65535, "h264": 16384}


@dataclass(frozen=True)
class VideoOutput:
    """How one film is written: what it is, the configuration, and the magnification."""

    profile: VideoProfile
    config: VideoConfig
    scale: int

    @property
    def width(self) -> int:
        return self.profile.width * self.scale

    @property
    def height(self) -> int:
        return self.profile.height * self.scale

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of the written pixel format."""
        kind = self.profile.kind
        if self.config.codec == "prores":
            return PRORES_FORMATS["alpha" in kind.bands]
        same = SAME_SAMPLES.get(self.profile.pixel_format, self.profile.pixel_format)
        if self.config.codec == "h264":
            return same if same in H264_FORMATS else _nearest_h264(kind.bit_depth)
        if self.config.pixel_format == "same" and kind.is_yuv and same in _ffv1_formats():
            return same
        packed = {"gbrp": "bgr0", "gbrap": "bgra"}
        return packed.get(kind.planar_format, kind.planar_format)

    @property
    def is_rgb(self) -> bool:
        return self.pixel_format.startswith(("bgr", "gbr"))

    @property
    def digest(self) -> str:
        """Changes with whatever changes the bytes of a segment; the number of threads does not."""
        config = self.config.model_copy(update={"threads": 1, "segment_frames": 1})
        profile = self.profile
        return f"{digest(config)}-{self.scale}-{profile.width}x{profile.height}-" + str(
            profile.time_base
        )

    @property
    def lost(self) -> tuple[str, ...]:
        """Names of what the pixel format and the codec of the output change."""
        lost = []
        source, kind = self.profile.pixel_format, self.profile.kind
        if self.is_rgb and kind.is_yuv:
            lost.append(f"pixel format {source}: RGB is stored, as it was restored")
        elif SAME_SAMPLES.get(source, source) != self.pixel_format and kind.is_yuv:
            lost.append(f"pixel format {source}: stored as {self.pixel_format}")
        if self.config.codec != "ffv1":
            lost.append(f"exact pixels: {self.config.codec} is lossy")
        elif kind.is_yuv and not self.is_rgb:
            lost.append(f"exact pixels: the restored RGB is converted to {self.pixel_format}")
        return tuple(lost)


def require_encodable(output: VideoOutput) -> None:
    """Raise UnsupportedImageError unless the configured codec holds the film's frames."""
    kind, codec = output.profile.kind, output.config.codec
    if kind.bands == RGBA and codec == "h264":
        raise UnsupportedImageError("h264 holds no alpha; set codec=ffv1 or prores")
    longest = max(output.width, output.height)
    if longest > LARGEST_SIDE[codec]:
        raise UnsupportedImageError(
            f"frames of {output.width}x{output.height}; {codec} holds {LARGEST_SIDE[codec]} "
            "pixels a side; choose a smaller scale"
        )
    is_odd = output.width % 2 or output.height % 2
    if codec == "h264" and is_odd and "420" in output.pixel_format:
        raise UnsupportedImageError(
            f"frames of {output.width}x{output.height}: h264 of {output.pixel_format} needs even "
            "sides; set codec=ffv1"
        )


def encode_segment(
    output: VideoOutput,
    segment: Segment,
    *,
    frames: Iterable[Frame],
    path: Path,
    extra: Mapping[str, Any] | None = None,
) -> StagedSegment:
    """Encode a segment's restored frames into a file that `join` understands.

    `frames` are taken one by one; their pixels are (C, scale·H, scale·W) in the profile's type.
    `extra`, JSON, is read when the last frame is encoded, and kept for whoever joins. Equal
    frames give equal files. Raises what `frames` raises; the file is then not complete.
    """
    context = require_av().CodecContext.create(ENCODERS[output.config.codec], "w")
    configure_encoder(context, output)
    _open(context, output)
    lost: dict[str, None] = {}
    with SegmentWriter(path, output.digest, segment) as writer:
        for packet in _encode(context, output, frames, lost):
            writer.add(packet)
        return writer.finish(context.extradata or b"", tuple(lost), extra or {})


def configure_encoder(context: Any, output: VideoOutput) -> None:
    """Set a new encoder up for a film: its own, or that of a stream of an output."""
    profile, config = output.profile, output.config
    context.width, context.height = output.width, output.height
    context.pix_fmt = output.pixel_format
    context.time_base = profile.time_base
    context.framerate = profile.average_rate or Fraction(25)
    if profile.sample_aspect_ratio:
        context.sample_aspect_ratio = profile.sample_aspect_ratio
    colour = profile.colour
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    if output.is_rgb:
        context.colorspace, context.color_range = MATRIX_RGB, FULL_RANGE
    else:
        unnamed = profile.kind.bands == GRAY and colour.tagged_matrix == MATRIX_RGB
        context.colorspace = MATRIX_UNKNOWN if unnamed else _written_matrix(output)
        context.color_range = colour.colour_range if profile.kind.is_yuv else colour.tagged_range
    context.flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT
    context.thread_count = config.threads
    context.options = _encoder_options(output)


def _open(context: Any, output: VideoOutput) -> None:
    try:
        context.open()
    except (ValueError, require_av().error.FFmpegError) as error:
        raise UnsupportedImageError(
            f"FFmpeg's encoder refuses {output.width}x{output.height} {output.pixel_format} as "
            f"{output.config.codec} ({error}); set another codec"
        ) from error


def _written_matrix(output: VideoOutput) -> int:
    """The film's own, named only where it was named; that of converted RGB always."""
    colour = output.profile.colour
    return colour.tagged_matrix if output.profile.kind.is_yuv else colour.matrix


def _encoder_options(output: VideoOutput) -> dict[str, str]:
    config = output.config
    if config.codec == "ffv1":
        # Version 3, a checksum in every slice, every frame on its own.
        slices = config.slices if min(output.width, output.height) >= SLICED_SIDE else 1
        return {"level": "3", "slicecrc": "1", "g": "1", "slices": str(slices)}
    if config.codec == "prores":
        return {"profile": "4444", "vendor": "apl0"}
    # Without B-frames, whose times of decoding would overlap where segments meet.
    return {"preset": config.preset, "crf": str(config.crf), "bf": "0", "flags": "+cgop"}


def _encode(
    context: Any, output: VideoOutput, frames: Iterable[Frame], lost: dict[str, None]
) -> Iterator[StagedPacket]:
    profile = output.profile
    converter = PixelConverter(profile.kind, profile.colour.matrix, profile.colour.colour_range)
    shape = (len(profile.kind.bands), output.height, output.width)
    durations: dict[int, int] = {}
    for frame in frames:
        assert frame.pixels.shape == shape, f"pixels {frame.pixels.shape}; expected {shape}"
        assert frame.pixels.dtype == profile.kind.dtype, f"{frame.pixels.dtype} pixels"
        lost.update(dict.fromkeys(frame.lost))
        durations[frame.pts] = frame.duration
        encoded = converter.to_frame(frame.pixels, output.pixel_format)
        encoded.pts, encoded.time_base = frame.pts, profile.time_base
        # ProRes writes what each frame says.
        encoded.colorspace, encoded.color_range = context.colorspace, context.color_range
        encoded.color_primaries, encoded.color_trc = context.color_primaries, context.color_trc
        yield from _packets(context.encode(encoded), durations)
    yield from _packets(context.encode(None), durations)


def _packets(packets: Iterable[Any], durations: dict[int, int]) -> Iterator[StagedPacket]:
    for packet in packets:
        assert packet.pts == packet.dts, "an encoder that reorders frames"
        yield StagedPacket(
            pts=packet.pts,
            duration=durations.pop(packet.pts),
            is_key=packet.is_keyframe,
            data=bytes(packet),
        )


def _ffv1_formats() -> set[str]:
    codec = require_av().codec.Codec("ffv1", "w")
    return {video_format.name for video_format in codec.video_formats}


def _nearest_h264(bit_depth: int) -> str:
    return "yuv420p" if bit_depth == 8 else "yuv420p10le"
