"""The frames of one segment of a film, decoded: all of them, or an error that says what is wrong.

FFmpeg conceals damage and drops frames that it cannot decode. Here a decoder's error, a frame
that it calls corrupt, and a frame that is missing or too much end the segment.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ganray.codecs.video_config import VideoConfig
from ganray.codecs.video_integrity import is_damaged_ffv1
from ganray.codecs.video_pixels import PixelConverter
from ganray.codecs.video_profile import VideoProfile, lost_side_data, require_progressive
from ganray.codecs.video_segments import Segment, digest_times
from ganray.codecs.video_source import (
    Film,
    VideoSource,
    open_film,
    pixel_limit,
    require_av,
    translated,
)
from ganray.errors import UndecodableError, UnsupportedImageError
from ganray.raster.image import Pixels

DECODER_OPTIONS = {
    # H.264's decoder otherwise guesses how far frames are reordered, and drops those that it
    # guessed wrong.
    "h264": {"err_detect": "crccheck+bitstream+buffer", "strict": "1"},
}
STRICT_OPTIONS = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""Of all others. H.264's decoder would also refuse what precedes an entry of an open group."""


@dataclass(frozen=True)
class Frame:
    """A frame: times in the film's time base, pixels (C,H,W) as `VideoProfile.image` says.

    A duration of 0 is unknown. `lost` names what the first frame of a segment carries that no
    output holds; it is empty for the others.
    """

    pts: int
    duration: int
    pixels: Pixels
    lost: tuple[str, ...] = ()


def iter_frames(
    source: VideoSource, profile: VideoProfile, segment: Segment, config: VideoConfig
) -> Generator[Frame, None, None]:
    """Decode the frames of a segment, in the order in which they are shown.

    Memory is the decoder's, some frames, and the frame yielded. Raises UndecodableError or
    UnsupportedImageError, at the end for frames that are missing.
    """
    max_pixels = profile.width * profile.height
    colour = profile.colour
    converter = PixelConverter(profile.kind, colour.matrix, colour.colour_range)
    times: list[int] = []
    with open_film(source, max_pixels) as film:
        for frame in _decode(film, segment, config, max_pixels):
            if not _is_inside(frame, segment):
                continue
            _check_frame(frame, profile, config)
            with translated(film.file):
                pixels = converter.to_pixels(frame)
                # PyAV never frees a frame whose side data was looked at, until Python's garbage is
                # collected: once a segment is what memory allows.
                lost = () if times else lost_side_data(frame)
            times.append(frame.pts)
            yield Frame(frame.pts, frame.duration or 0, pixels, lost)
            if len(times) == segment.num_frames and segment.end_pts is not None:
                break
    if digest_times(times) != segment.pts_digest:
        raise UndecodableError(
            f"{len(times)} of {segment.num_frames} frames decode between {segment.start_pts} and "
            f"{segment.end_pts or 'the end'} (time base {profile.time_base}): damaged or truncated"
        )


def _is_inside(frame: Any, segment: Segment) -> bool:
    if frame.pts is None:
        raise UndecodableError("a frame without a presentation time; damaged film")
    begins = frame.pts >= segment.start_pts
    return begins and (segment.end_pts is None or frame.pts < segment.end_pts)


def _check_frame(frame: Any, profile: VideoProfile, config: VideoConfig) -> None:
    where = f"the frame at {frame.pts} (time base {profile.time_base})"
    if frame.is_corrupt:
        raise UndecodableError(f"{where} is damaged")
    found = (frame.width, frame.height, frame.format.name)
    expected = (profile.width, profile.height, profile.pixel_format)
    if found != expected:
        raise UnsupportedImageError(
            f"{where} is {found[0]}x{found[1]} {found[2]}, the first {expected[0]}x{expected[1]} "
            f"{expected[2]}; expected one size and format; cut the film there"
        )
    tags = (int(frame.colorspace), int(frame.color_range))
    if tags != (profile.colour.tagged_matrix, profile.colour.tagged_range):
        raise UnsupportedImageError(
            f"{where} has another matrix or range of colour than the first: {tags}; expected one"
        )
    require_progressive(frame.interlaced_frame, config)


def _decode(film: Film, segment: Segment, config: VideoConfig, max_pixels: int) -> Iterator[Any]:
    context = film.video.codec_context
    options = DECODER_OPTIONS.get(film.codec_name, STRICT_OPTIONS)
    context.options = options | pixel_limit(max_pixels)
    context.thread_count = config.threads
    first = next(film.demux(film.video))
    # Earlier versions of FFV1 have no header, and no slices.
    has_slices = film.codec_name == "ffv1" and bool(context.extradata)
    if segment.index:
        _prime(film, first)
    for packet in _packets(film, segment):
        if has_slices and is_damaged_ffv1(bytes(packet)):
            raise UndecodableError(f"the frame at {packet.pts} differs from its checksum")
        # What follows the entry and is shown before it may refer to what is not decoded here.
        frames: list[Any] = []
        with _tolerated(packet.pts < segment.entry_pts), translated(film.file):
            frames = packet.decode()
        yield from frames
    with translated(film.file):
        frames = context.decode(None)
    yield from frames


def _prime(film: Film, first: Any) -> None:
    """Show the film's first packet to the decoder, which learns from it what made the film.

    Only there do x264 and others name their version, by which decoders tell how to read what
    old versions wrote in ways of their own.
    """
    with _tolerated(True), translated(film.file):
        first.decode()
    film.video.codec_context.flush_buffers()


@contextmanager
def _tolerated(is_leading: bool) -> Iterator[None]:
    try:
        yield
    except UndecodableError:
        if not is_leading:
            raise


def _packets(film: Film, segment: Segment) -> Iterator[Any]:
    """Packets from a segment's entry on; containers do not always find it by its time."""
    for time in (segment.seek_time, film.video.start_time or 0, -(2**31)):
        with translated(film.file):
            try:
                film.container.seek(time, stream=film.video)
            except require_av().error.FFmpegError:
                continue
        if (yield from _from_entry(film, segment)):
            return
    raise UndecodableError(
        f"no key frame at {segment.entry_pts} any more; the film has changed, or it cannot be "
        "searched; run again"
    )


def _from_entry(film: Film, segment: Segment) -> Generator[Any, None, bool]:
    """Yield packets from the entry on; returns whether it was found."""
    entry, is_found = (segment.entry_pts, segment.entry_position), False
    for packet in film.demux(film.video):
        is_found = is_found or (packet.pts, packet.pos) == entry
        if is_found:
            yield packet
        elif (packet.pos or 0) > (segment.entry_position or 2**63):
            return False
    return is_found
