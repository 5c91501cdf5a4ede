"""What a large TIFF keeps beside its pixels: ICC profile, XMP, resolution, EXIF and description.

Between `Profile` and tags, in both directions. Pillow's part for small images is
`photo_metadata.py`; both keep the same tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ganray.codecs.tiff_directories import ANY_TAG, TagValues, TiffBytes, open_tiff
from ganray.codecs.tiff_tags import (
    GEOTIFF_TAGS,
    Code,
    Kind,
    Tag,
    directory_tag,
    numbers,
    numbers_tag,
    pack_file,
    rationals,
)
from ganray.errors import UndecodableError
from ganray.raster.image import Profile

INCHES_PER_UNIT = {2: Fraction(1), 3: Fraction(254, 100)}

DESCRIPTIVE_TAGS = frozenset(
    (
        *(Code.DESCRIPTION, Code.MAKE, Code.MODEL, Code.SOFTWARE, Code.DATE_TIME, Code.ARTIST),
        *(Code.HOST_COMPUTER, Code.DOCUMENT_NAME, Code.COPYRIGHT, Code.IMAGE_HISTORY),
    )
)

NOT_KEPT = {
    Code.IPTC: "IPTC",
    Code.PHOTOSHOP: "Photoshop resources",
    Code.PHOTOSHOP_LAYERS: "Photoshop layers",
}
"""Contents that ganray reads past, by the name under which they are reported as lost."""

# Tags that say how pixels are stored, which differs from file to file. In an EXIF block they
# describe the file that it came from.
LAYOUT_TAGS = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284),
        *(288, 289, 290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 322, 323, 324, 325, 330, 332),
        *(338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
    )
)

_EXIF_PREFIX = b"Exif\0\0"
_MAX_LONG = 2**32 - 1


@dataclass(frozen=True)
class Metadata:
    """Tags for the main directory of a TIFF, and the names of what they could not hold."""

    tags: tuple[Tag, ...]
    lost: tuple[str, ...] = ()


def profile_tags(profile: Profile, *, history: str, shape: tuple[int, int, int]) -> Metadata:
    """The tags that keep a profile in a TIFF of (C,H,W) pixels.

    `history` becomes a line of ImageHistory. An EXIF block that is none is named as lost.
    """
    own = [*_resolution_tags(profile)]
    lost = ["resolution"] if profile.resolution and not own else []
    own += [Tag(Code.ICC, Kind.UNDEFINED, profile.icc)] if profile.icc else []
    own += [Tag(Code.XMP, Kind.BYTE, profile.xmp)] if profile.xmp else []
    try:
        block = parse_exif(profile.exif) if profile.exif else ()
    except UndecodableError:
        block = ()
        lost.append("EXIF")
    if any(tag.code in GEOTIFF_TAGS for tag in block):
        lost.append("georeference")
    taken = LAYOUT_TAGS | GEOTIFF_TAGS | {tag.code for tag in own}
    kept = {tag.code: tag for tag in block if tag.code not in taken and (tag.data or tag.children)}
    _update(kept, history, shape)
    return Metadata((*own, *kept.values()), tuple(lost))


def _update(tags: dict[int, Tag], history: str, shape: tuple[int, int, int]) -> None:
    """Write one more line of ImageHistory, and the new size where EXIF states one."""
    earlier = tags[Code.IMAGE_HISTORY].data.rstrip(b"\0") if Code.IMAGE_HISTORY in tags else b""
    lines = b"\n".join(line for line in (earlier, history.encode()) if line)
    tags[Code.IMAGE_HISTORY] = Tag(Code.IMAGE_HISTORY, Kind.ASCII, lines + b"\0")
    sizes: dict[int, int] = {Code.EXIF_WIDTH: shape[2], Code.EXIF_HEIGHT: shape[1]}
    if Code.EXIF in tags:
        tags[Code.EXIF] = directory_tag(
            Code.EXIF,
            [
                numbers_tag(tag.code, Kind.LONG, sizes[tag.code]) if tag.code in sizes else tag
                for tag in tags[Code.EXIF].children
            ],
        )


def parse_exif(block: bytes) -> tuple[Tag, ...]:
    """The tags of an EXIF block's first directory with its sub-directories.

    Raises UndecodableError.
    """
    content = block
    while content.startswith(_EXIF_PREFIX):
        content = content.removeprefix(_EXIF_PREFIX)
    tiff = open_tiff(lambda start, end: content[start:end])
    return tuple(tiff.tree(tiff.first_directory, ANY_TAG))


def pack_exif(tags: Sequence[Tag]) -> bytes:
    """An EXIF block of such tags."""
    return _EXIF_PREFIX + pack_file([tags], big=False)


@dataclass(frozen=True)
class FoundMetadata:
    """What a TIFF's main directory holds, in the terms of `Profile`."""

    resolution: tuple[float, float] | None
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    lost: tuple[str, ...]


def find_metadata(tiff: TiffBytes) -> FoundMetadata:
    """Read the metadata of the first directory. Raises UndecodableError.

    A damaged directory of EXIF or GPS is named as lost.
    """
    codes = TagValues(tiff, tiff.first_directory).codes
    lost = [name for code, name in NOT_KEPT.items() if code in codes]
    wanted = DESCRIPTIVE_TAGS | {Code.X_RESOLUTION, Code.Y_RESOLUTION, Code.RESOLUTION_UNIT}
    wanted |= {Code.ICC, Code.XMP}
    tags = {tag.code: tag for tag in tiff.tree(tiff.first_directory, wanted)}
    described = [tag for tag in tags.values() if tag.code in DESCRIPTIVE_TAGS]
    try:
        below = tiff.tree(tiff.first_directory, {Code.EXIF, Code.GPS})
        described += [tag for tag in below if tag.children]
    except UndecodableError:
        lost.append("EXIF")
    return FoundMetadata(
        resolution=_read_resolution(tags),
        icc=tags[Code.ICC].data if Code.ICC in tags else None,
        exif=pack_exif(described) if described else None,
        xmp=tags[Code.XMP].data if Code.XMP in tags else None,
        lost=tuple(lost),
    )


def _resolution_tags(profile: Profile) -> tuple[Tag, ...]:
    """Resolution in pixels per inch, or nothing where a rational cannot hold it."""
    if profile.resolution is None:
        return ()
    pairs = [_ratio(value) for value in profile.resolution]
    if not all(over for over, _ in pairs):
        return ()
    return (
        numbers_tag(Code.X_RESOLUTION, Kind.RATIONAL, *pairs[0]),
        numbers_tag(Code.Y_RESOLUTION, Kind.RATIONAL, *pairs[1]),
        numbers_tag(Code.RESOLUTION_UNIT, Kind.SHORT, 2),
    )


def _ratio(value: float) -> tuple[int, int]:
    """The nearest fraction of two 32-bit integers; (0, 1) where there is none."""
    if not 0 < value <= _MAX_LONG:
        return 0, 1
    largest = _MAX_LONG if value <= 1 else int(_MAX_LONG / value)
    nearest = Fraction(value).limit_denominator(max(1, largest))
    return nearest.numerator, nearest.denominator


def _read_resolution(tags: dict[int, Tag]) -> tuple[float, float] | None:
    """Pixels per inch, where the file says so in a unit of length."""
    if Code.X_RESOLUTION not in tags or Code.Y_RESOLUTION not in tags:
        return None
    unit = numbers(tags[Code.RESOLUTION_UNIT]).tolist() if Code.RESOLUTION_UNIT in tags else [2]
    factor = INCHES_PER_UNIT.get(unit[0]) if unit else None
    across, down = rationals(tags[Code.X_RESOLUTION]), rationals(tags[Code.Y_RESOLUTION])
    if factor is None or not across or not down or not across[0] or not down[0]:
        return None
    return float(across[0] * factor), float(down[0] * factor)
