"""Which codec reads a file: a dictionary from file suffix to family.

Every suffix that archives use for images is listed, so that a file without a codec is
recorded as failed by name instead of being passed over in silence.
"""

from pathlib import PurePosixPath

from ganray.codecs import photo
from ganray.errors import UnsupportedImageError

PHOTO = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}

WITHOUT_CODEC = {
    *(".avif", ".bmp", ".cin", ".cr2", ".dcm", ".dng", ".dpx", ".exr", ".gif", ".heic", ".j2k"),
    *(".jp2", ".jxl", ".mkv", ".mov", ".mp4", ".nef", ".pgm", ".pnm", ".ppm"),
}


def is_image(key: str) -> bool:
    """Whether the suffix of `key` says that it is an image or a film."""
    return _suffix(key) in PHOTO | WITHOUT_CODEC


def require_codec(key: str) -> None:
    """Raise UnsupportedImageError if ganray has no codec for the suffix of `key`."""
    if _suffix(key) not in PHOTO:
        raise UnsupportedImageError(
            f"no codec for {_suffix(key) or 'a file without suffix'}; expected one of "
            f"{', '.join(sorted(PHOTO))}"
        )


def output_key(key: str, output_format: str) -> str:
    """Where the restored image of `key` stands: its suffix changes only if its format does.

    The name alone decides, so that it is known before any file is opened.
    """
    if output_format == "same" or _suffix(key) in photo.SUFFIXES[output_format]:
        return key
    return str(PurePosixPath(key).with_suffix(photo.SUFFIXES[output_format][0]))


def _suffix(key: str) -> str:
    return PurePosixPath(key).suffix.lower()
