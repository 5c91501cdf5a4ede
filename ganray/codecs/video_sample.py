"""One frame of a film, to see what its pixels are like: the first ones are black in many."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ganray.codecs.video_config import VideoConfig
from ganray.codecs.video_pixels import PixelConverter
from ganray.codecs.video_profile import first_frame, probe_video
from ganray.codecs.video_source import Film, VideoSource, open_film, pixel_limit, translated
from ganray.errors import UndecodableError, UnsupportedImageError
from ganray.raster.image import Image

MICROSECONDS = 1_000_000
TOLERANCE_SECONDS = 0.002
"""Containers round times, a few to milliseconds."""


def sample_frame(source: VideoSource, config: VideoConfig, *, max_pixels: int) -> Image:
    """A key frame before the middle of a film. Raises CodecError."""
    return middle_frame(source, config, max_pixels=max_pixels)[0]


def middle_frame(
    source: VideoSource, config: VideoConfig, *, max_pixels: int
) -> tuple[Image, float]:
    """A key frame before the middle of a film, and its seconds from the film's beginning.

    Raises CodecError.
    """
    with _sampled(source, config, max_pixels) as (film, to_image):
        if film.container.duration:
            _seek(film, film.container.duration // 2)
        frame = first_frame(film, max_pixels)
        return to_image(frame), _seconds(film, frame)


def frame_at(source: VideoSource, config: VideoConfig, seconds: float, *, max_pixels: int) -> Image:
    """The frame that is shown so many seconds from a film's beginning. Raises CodecError."""
    with _sampled(source, config, max_pixels) as (film, to_image):
        _seek_before(film, seconds)
        film.video.codec_context.options = pixel_limit(max_pixels)
        for frame in _frames(film):
            if _seconds(film, frame) >= seconds - TOLERANCE_SECONDS:
                return to_image(frame)
    raise UndecodableError(f"no frame decodes at {seconds:.2f} s: damaged or truncated film")


def _frames(film: Film) -> Iterator[Any]:
    """Frames as they are shown, from where the film stands."""
    for packet in film.demux(film.video):
        with translated(film.file):
            frames = packet.decode()
        yield from frames
    with translated(film.file):
        frames = film.video.codec_context.decode(None)
    yield from frames


@contextmanager
def _sampled(
    source: VideoSource, config: VideoConfig, max_pixels: int
) -> Iterator[tuple[Film, Callable[[Any], Image]]]:
    """An open film, and what makes an image of its frames."""
    profile = probe_video(source, config, max_pixels=max_pixels)
    colour = profile.colour
    converter = PixelConverter(profile.kind, colour.matrix, colour.colour_range)
    with open_film(source, max_pixels) as film:

        def to_image(frame: Any) -> Image:
            if frame.format.name != profile.pixel_format:
                raise UnsupportedImageError(
                    f"frames of {frame.format.name} and of {profile.pixel_format}; expected one "
                    "format"
                )
            with translated(film.file):
                return Image(converter.to_pixels(frame), profile.image)

        yield film, to_image


def _seek(film: Film, microseconds: int) -> None:
    """To the key frame at a time from the film's beginning, or the last one before it."""
    container = film.container
    with translated(film.file):
        container.seek((container.start_time or 0) + microseconds)


def _seek_before(film: Film, seconds: float) -> None:
    """To a key frame that is shown no later than that.

    A demuxer may choose by the times of decoding: the key frame that it finds may be shown later.
    """
    for earlier in (0.0, 1.0, 10.0, seconds):
        begin = max(0.0, seconds - earlier)
        _seek(film, int(begin * MICROSECONDS))
        first = next(film.demux(film.video), None)
        if first is not None and _seconds(film, first) <= seconds + TOLERANCE_SECONDS:
            _seek(film, int(begin * MICROSECONDS))
            return


def _seconds(film: Film, shown: Any) -> float:
    """When a frame or a packet is shown, from the film's beginning."""
    # Not by its own time base: the last frames that a decoder gives have none.
    begin = (film.container.start_time or 0) / MICROSECONDS
    return float((shown.pts or 0) * film.video.time_base) - begin
