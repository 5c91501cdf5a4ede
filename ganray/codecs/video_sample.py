"""One frame of a film, to see what its pixels are like: the first ones are black in many."""

from ganray.codecs.video_config import VideoConfig
from ganray.codecs.video_pixels import PixelConverter
from ganray.codecs.video_profile import first_frame, probe_video
from ganray.codecs.video_source import Film, VideoSource, open_film, translated
from ganray.errors import UnsupportedImageError
from ganray.raster.image import Image


def sample_frame(source: VideoSource, config: VideoConfig, *, max_pixels: int) -> Image:
    """A key frame before the middle of a film. Raises CodecError."""
    profile = probe_video(source, config, max_pixels=max_pixels)
    colour = profile.colour
    converter = PixelConverter(profile.kind, colour.matrix, colour.colour_range)
    with open_film(source, max_pixels) as film:
        _seek_middle(film)
        frame = first_frame(film, max_pixels)
        if frame.format.name != profile.pixel_format:
            raise UnsupportedImageError(
                f"frames of {frame.format.name} and of {profile.pixel_format}; expected one format"
            )
        with translated(film.file):
            return Image(converter.to_pixels(frame), profile.image)


def _seek_middle(film: Film) -> None:
    container = film.container
    if container.duration:
        with translated(film.file):
            container.seek((container.start_time or 0) + container.duration // 2)
