"""Which codec reads a file: a dictionary from file suffix to family, and how each is configured.

Every suffix that archives use for images is listed, so that a file without a codec is
recorded as failed by name instead of being passed over in silence.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

from ganray.codecs import dicom, film, photo, video_config
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.geo_config import GeoConfig
from ganray.codecs.photo_output import OutputConfig
from ganray.codecs.video_config import VideoConfig
from ganray.config import Section
from ganray.errors import UnsupportedImageError


def _suffixes(formats: Iterable[tuple[str, ...]], family: str) -> dict[str, str]:
    return {suffix: family for suffixes in formats for suffix in suffixes}


FAMILIES = {
    **_suffixes(photo.SUFFIXES.values(), "photo"),
    **_suffixes(film.SUFFIXES.values(), "film"),
    **_suffixes(dicom.SUFFIXES.values(), "dicom"),
    **_suffixes(video_config.SUFFIXES.values(), "video"),
}
"""The family of each suffix. A TIFF may be a photograph or a raster (family "geo"): its first
directory tells."""

WITHOUT_CODEC = {
    *(".avif", ".bmp", ".cr2", ".dng", ".gif", ".heic", ".j2k", ".jp2", ".jxl", ".nef", ".pgm"),
    *(".pnm", ".ppm", ".vrt"),
}


class Codecs(Section):
    """How every family is read and written."""

    output: OutputConfig = OutputConfig()
    geo: GeoConfig = GeoConfig()
    film: FilmConfig = FilmConfig()
    dicom: DicomConfig = DicomConfig()
    video: VideoConfig = VideoConfig()


DEFAULTS = Codecs()


def is_image(key: str) -> bool:
    """Whether the suffix of `key` says that it is an image or a film."""
    suffix = suffix_of(key)
    return suffix in FAMILIES or suffix in WITHOUT_CODEC


def family_of(key: str) -> str:
    """The family of a key, by its suffix.

    Raises UnsupportedImageError if ganray has no codec for it.
    """
    suffix = suffix_of(key)
    if suffix not in FAMILIES:
        raise UnsupportedImageError(
            f"no codec for {suffix or 'a file without suffix'}; expected one of "
            f"{', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[suffix]


def is_tiff(key: str) -> bool:
    """Whether a key is named as a TIFF."""
    return suffix_of(key) in photo.SUFFIXES["tiff"]


def is_video(key: str) -> bool:
    """Whether a key is named as a film of many frames."""
    return FAMILIES.get(suffix_of(key)) == "video"


def output_key(key: str, codecs: Codecs) -> str:
    """Where the restored image of `key` stands: its suffix changes only if its format does.

    The name alone decides, so that it is known before any file is opened.
    """
    suffix = suffix_of(key)
    suffixes = _output_suffixes(suffix, codecs)
    return key if suffix in suffixes else str(PurePosixPath(key).with_suffix(suffixes[0]))


def renames(codecs: Codecs) -> frozenset[str]:
    """Suffixes that outputs get whose inputs have others: there two outputs may be one."""
    moved = (_output_suffixes(suffix, codecs) for suffix in FAMILIES)
    return frozenset(
        new[0] for suffix, new in zip(FAMILIES, moved, strict=True) if suffix not in new
    )


def _output_suffixes(suffix: str, codecs: Codecs) -> tuple[str, ...]:
    """The suffixes of the format that a file of this suffix is written in."""
    family = FAMILIES.get(suffix)
    if family == "video":
        return (video_config.output_suffix(codecs.video),)
    if codecs.output.format != "same":
        return photo.SUFFIXES[codecs.output.format]
    if family == "film":
        read_as = next(name for name, own in film.SUFFIXES.items() if suffix in own)
        return film.SUFFIXES[film.WRITTEN_AS.get(read_as, read_as)]
    return (suffix,)


def suffix_of(key: str) -> str:
    """The suffix of a key, in lower case."""
    return PurePosixPath(key).suffix.lower()
