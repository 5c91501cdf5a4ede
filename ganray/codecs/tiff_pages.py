"""What a TIFF holds beside the image of its first directory: overviews are fine, pages are not."""

import re
from collections.abc import Iterator

from ganray.codecs.tiff_directories import TagValues, TiffBytes
from ganray.codecs.tiff_tags import GEOTIFF_TAGS, Code
from ganray.errors import UndecodableError, UnsupportedImageError

MAX_DIRECTORIES = 256

REDUCED_RESOLUTION, TRANSPARENCY_MASK = 1, 4
_OLD_REDUCED_RESOLUTION = 2


def refuse_pages(tiff: TiffBytes, *, may_be_turned: bool = False) -> tuple[str, ...]:
    """Refuse what is more than one upright photograph; return the names of what is not read.

    `may_be_turned` is for a caller that turns the pixels upright by the orientation.

    Raises UnsupportedImageError or, for directories that are damaged, UndecodableError.
    """
    lost: tuple[str, ...] = ()
    for number, values in enumerate(directories(tiff)):
        kind = subfile_type(values)
        if number == 0:
            _refuse_first(values, kind, may_be_turned=may_be_turned)
        elif kind & TRANSPARENCY_MASK:
            lost = ("transparency mask",)
        elif not kind & REDUCED_RESOLUTION:
            raise UnsupportedImageError("several frames or pages in one file; expected one")
    return lost


def directories(tiff: TiffBytes) -> Iterator[TagValues]:
    """All chained directories, and those below the first."""
    seen: set[int] = set()
    pending = [tiff.first_directory]
    while pending:
        offset = pending.pop()
        if offset in seen or len(seen) == MAX_DIRECTORIES:
            raise UndecodableError(
                f"TIFF directories in a circle, or more than {MAX_DIRECTORIES}: damaged"
            )
        values = TagValues(tiff, offset)
        if not seen:
            pending += values.all(Code.SUB_DIRECTORIES).tolist()
        pending += [values.following] if values.following else []
        seen.add(offset)
        yield values


def subfile_type(values: TagValues) -> int:
    kind = values.number(Code.SUBFILE_TYPE, 0)
    if not kind and values.number(Code.OLD_SUBFILE_TYPE, 0) == _OLD_REDUCED_RESOLUTION:
        return REDUCED_RESOLUTION
    return kind


def _refuse_first(values: TagValues, kind: int, *, may_be_turned: bool) -> None:
    if GEOTIFF_TAGS & values.codes:
        raise UnsupportedImageError(
            "a GeoTIFF: its georeference would be lost; expected a photograph"
        )
    if kind & (REDUCED_RESOLUTION | TRANSPARENCY_MASK):
        raise UnsupportedImageError(
            "a TIFF that begins with a preview or a mask, as raw photographs do; save it anew first"
        )
    orientation = values.number(Code.ORIENTATION, 1)
    if 2 <= orientation <= 8 and not may_be_turned:
        raise UnsupportedImageError(
            f"a large TIFF of orientation {orientation}; rotate it upright first, or keep it below "
            "split_pixels"
        )
    if values.number(Code.FILL_ORDER, 1) != 1:
        raise UnsupportedImageError("a TIFF of reversed bit order; save it anew first")
    if _num_images(values) != 1 or values.number(Code.DEPTH, 1) != 1:
        raise UnsupportedImageError("a stack of several images in one file; expected one")


def _num_images(values: TagValues) -> int:
    """How many images there are, of which a microscope's software may keep more than it lists."""
    if Code.METAMORPH in values:
        return 0
    description = values.data(Code.DESCRIPTION) or b""
    found = re.match(rb"ImageJ=.*?^images=(\d{1,9})\s", description, re.DOTALL | re.MULTILINE)
    return int(found[1]) if found else 1
