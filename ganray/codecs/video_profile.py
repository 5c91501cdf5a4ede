"""All that a film is beside its frames, from its header and its first frame."""

import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ganray.codecs.video_config import VideoConfig
from ganray.codecs.video_pixels import (
    FULL_RANGE,
    LIMITED_RANGE,
    MATRICES,
    MATRIX_BT601,
    MATRIX_BT709,
    MATRIX_UNKNOWN,
    PixelKind,
    describe_format,
)
from ganray.codecs.video_source import (
    ATTACHED_PICTURE,
    Film,
    VideoSource,
    open_film,
    pixel_limit,
    translated,
)
from ganray.errors import UndecodableError, UnsupportedImageError
from ganray.raster.image import Profile

HD_HEIGHT, HD_WIDTH = 577, 1280
"""From here on players take a film that names no matrix for BT.709, below for BT.601."""

KEPT_SIDE_DATA = {
    "DISPLAYMATRIX",
    "MASTERING_DISPLAY_METADATA",
    "CONTENT_LIGHT_LEVEL",
    # What the encoder of the input says of itself and of its work.
    *("SEI_UNREGISTERED", "MOTION_VECTORS", "VIDEO_ENC_PARAMS", "REGIONS_OF_INTEREST"),
    # The decoder has applied it.
    "FILM_GRAIN_PARAMS",
}
SIDE_DATA_NAMES = {
    "A53_CC": "closed captions inside the frames",
    "AFD": "active format description",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "GOP_TIMECODE": "timecode inside the frames",
    "S12M_TIMECODE": "timecode inside the frames",
    "ICC_PROFILE": "ICC profile",
    "SPHERICAL": "spherical projection",
    "STEREO3D": "stereo 3D layout",
}


@dataclass(frozen=True)
class Colour:
    """How samples are colours, by the numbers of ITU-T H.273; 2 is unspecified.

    `matrix` and `colour_range` are those that frames are converted by; where the film names
    none they are the usual ones, and `tagged_matrix` and `tagged_range` say what it names.
    """

    primaries: int
    transfer: int
    matrix: int
    colour_range: int
    tagged_matrix: int
    tagged_range: int


@dataclass(frozen=True)
class StreamInfo:
    """One stream beside the restored one."""

    index: int
    kind: str
    codec: str
    is_picture: bool
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Chapter:
    """A named range of time."""

    identifier: int
    start: int
    end: int
    time_base: Fraction
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class VideoProfile:
    """All that a film is beside its frames. `num_frames` is what the container declares, or None.

    `display_matrix` are the nine numbers of ISO media by which players turn and mirror frames;
    `mastering` and `light_level` are FFmpeg's structures of static HDR metadata.
    """

    container: str
    codec: str
    width: int
    height: int
    pixel_format: str
    kind: PixelKind
    time_base: Fraction
    average_rate: Fraction | None
    num_frames: int | None
    seconds: float | None
    sample_aspect_ratio: Fraction | None
    colour: Colour
    is_interlaced: bool
    streams: tuple[StreamInfo, ...]
    display_matrix: tuple[int, ...] | None = None
    mastering: bytes | None = field(default=None, repr=False)
    light_level: bytes | None = field(default=None, repr=False)
    metadata: tuple[tuple[str, str], ...] = ()
    video_metadata: tuple[tuple[str, str], ...] = ()
    video_disposition: int = 0
    chapters: tuple[Chapter, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def about_frames(self) -> int:
        """How many frames there are, as far as the header tells."""
        guessed = (self.seconds or 0) * float(self.average_rate or 25)
        return max(1, self.num_frames or round(guessed))

    @property
    def image(self) -> Profile:
        """A frame's profile, as a restorer needs it."""
        return Profile(
            codec="video",
            dtype=self.kind.dtype,
            bit_depth=self.kind.bit_depth,
            colorinterp=self.kind.bands,
            lossless=self.codec in ("ffv1", "huffyuv", "rawvideo", "utvideo", "qtrle", "png"),
            lost=self.lost,
            value_range=(0.0, float(2**self.kind.bit_depth - 1)),
        )


def probe_video(source: VideoSource, config: VideoConfig, *, max_pixels: int) -> VideoProfile:
    """Profile of a film from its header and its first frame; no other frame is decoded.

    Raises UndecodableError, UnsupportedImageError or TooLargeError; the size of frames is
    checked against `max_pixels` before one is decoded.
    """
    with open_film(source, max_pixels) as film:
        return _describe(film, first_frame(film, max_pixels), config)


def require_progressive(is_interlaced: bool, config: VideoConfig) -> None:
    """Raise UnsupportedImageError for interlaced frames, unless the configuration takes them."""
    if is_interlaced and config.interlaced == "refuse":
        raise UnsupportedImageError(
            "an interlaced film: each frame mixes two moments, and a generator would blend them; "
            "deinterlace it first, or set interlaced=as_frames"
        )


def first_frame(film: Film, max_pixels: int) -> Any:
    """The frame that is decoded first from where the film stands."""
    context = film.video.codec_context
    context.options = pixel_limit(max_pixels)
    for packet in film.demux(film.video):
        with translated(film.file):
            if packet.has_sidedata("encryption_info"):
                raise UnsupportedImageError("an encrypted film; decrypt it first")
            frames = packet.decode()
        if frames:
            return frames[0]
    with translated(film.file):
        frames = context.decode(None)
    if not frames:
        raise UndecodableError("no frame decodes: damaged, truncated or empty film")
    return frames[0]


def side_data_of(frame: Any) -> dict[str, Any]:
    """A frame's side data by FFmpeg's names."""
    return {data.type.name: data for data in frame.side_data}


def lost_side_data(frame: Any) -> tuple[str, ...]:
    """Names of what a frame carries beside its pixels that no output holds."""
    found = side_data_of(frame).keys() - KEPT_SIDE_DATA
    return tuple(sorted({SIDE_DATA_NAMES.get(name, name.lower()) for name in found}))


def _describe(film: Film, frame: Any, config: VideoConfig) -> VideoProfile:
    container, video = film.container, film.video
    require_progressive(frame.interlaced_frame, config)
    kind = describe_format(frame.format)
    side_data = side_data_of(frame)
    matrix = side_data.get("DISPLAYMATRIX")
    return VideoProfile(
        container=container.format.name,
        codec=film.codec_name,
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        kind=kind,
        time_base=video.time_base,
        average_rate=video.average_rate or video.guessed_rate,
        num_frames=video.frames or None,
        seconds=container.duration / 1e6 if container.duration else None,
        sample_aspect_ratio=video.sample_aspect_ratio or None,
        colour=_colour(film, frame, kind),
        is_interlaced=frame.interlaced_frame,
        streams=tuple(_stream_info(s) for s in container.streams if s.index != video.index),
        display_matrix=struct.unpack("9i", bytes(matrix)) if matrix else None,
        mastering=_bytes_of(side_data.get("MASTERING_DISPLAY_METADATA")),
        light_level=_bytes_of(side_data.get("CONTENT_LIGHT_LEVEL")),
        metadata=_pairs(container.metadata),
        video_metadata=_pairs(video.metadata),
        video_disposition=int(video.disposition),
        chapters=tuple(_chapter(chapter) for chapter in container.chapters()),
        lost=_lost(film, frame, kind),
    )


def _colour(film: Film, frame: Any, kind: PixelKind) -> Colour:
    """Raises UnsupportedImageError for a matrix that swscale does not know."""
    tagged_matrix, tagged_range = int(frame.colorspace), int(frame.color_range)
    is_hd = frame.height >= HD_HEIGHT or frame.width >= HD_WIDTH
    usual = MATRIX_BT709 if is_hd else MATRIX_BT601
    matrix = usual if tagged_matrix == MATRIX_UNKNOWN else tagged_matrix
    if kind.is_yuv and matrix not in MATRICES:
        raise UnsupportedImageError(
            f"YUV of matrix {matrix} (ITU-T H.273); expected one of "
            f"{', '.join(f'{name} ({number})' for number, name in MATRICES.items())}"
        )
    full = frame.format.name.startswith("yuvj")
    return Colour(
        primaries=int(frame.color_primaries),
        transfer=int(frame.color_trc),
        matrix=matrix,
        colour_range=tagged_range or (FULL_RANGE if full else LIMITED_RANGE),
        tagged_matrix=tagged_matrix,
        tagged_range=tagged_range,
    )


def _lost(film: Film, frame: Any, kind: PixelKind) -> tuple[str, ...]:
    lost = list(lost_side_data(frame))
    if frame.interlaced_frame:
        lost.append("order of the fields")
    if film.video.metadata.get("alpha_mode") == "1" and "alpha" not in kind.bands:
        lost.append("alpha band")
    if max((part.bits for part in frame.format.components), default=8) < 8:
        lost.append(f"pixel format {frame.format.name}")
    return tuple(lost)


def _stream_info(stream: Any) -> StreamInfo:
    context = stream.codec_context
    codec = context.codec.canonical_name if context else (getattr(stream, "name", None) or "none")
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=codec,
        is_picture=bool(int(stream.disposition) & ATTACHED_PICTURE),
        metadata=_pairs(stream.metadata),
    )


def _chapter(chapter: Any) -> Chapter:
    return Chapter(
        identifier=chapter["id"],
        start=chapter["start"],
        end=chapter["end"],
        time_base=chapter["time_base"],
        metadata=_pairs(chapter["metadata"]),
    )


def _pairs(metadata: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(metadata.items())


def _bytes_of(data: Any) -> bytes | None:
    return bytes(data) if data else None
