"""What a GeoTIFF's directories say before GDAL sees the file: what it is, and within which limits.

Pages, palettes and samples that ganray would not keep are refused by name. GDAL trusts sizes
that a damaged file claims; nothing is opened before they were looked at here.
"""

from dataclasses import dataclass

from ganray.codecs.tiff_directories import ReadBytes, TagValues, TiffBytes, open_tiff
from ganray.codecs.tiff_pages import (
    REDUCED_RESOLUTION,
    TRANSPARENCY_MASK,
    directories,
    subfile_type,
)
from ganray.codecs.tiff_samples import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, YCBCR
from ganray.codecs.tiff_tags import GEOTIFF_TAGS, Code
from ganray.errors import TooLargeError, UnsupportedImageError

GEO_CODES = GEOTIFF_TAGS | {
    *(Code.GDAL_METADATA, Code.GDAL_NODATA, Code.RPC, Code.INTERGRAPH_MATRIX),
}
PHOTO_BANDS = 4

# JPEG 2000, LERC, WebP, JPEG XL: no reader of photographs knows them inside a TIFF.
GEO_COMPRESSIONS = {34712, 34887, 50001, 50002, 52546}

UNSIGNED, SIGNED, FLOATING, COMPLEX_INTEGERS, COMPLEX_FLOATS = 1, 2, 3, 5, 6
_ASSOCIATED_ALPHA = 1
_PALETTE = 3


@dataclass(frozen=True)
class GeoHeader:
    """The directory of the image, and that of its mask."""

    tiff: TiffBytes
    image: TagValues
    mask: TagValues | None

    @property
    def num_bands(self) -> int:
        return self.image.positive(Code.SAMPLES_PER_PIXEL, 1)


def is_raster(values: TagValues) -> bool:
    """Whether a directory has tags of GeoTIFF or GDAL, or samples that no photograph has."""
    if values.codes & GEO_CODES:
        return True
    num_bands = values.number(Code.SAMPLES_PER_PIXEL, 1)
    formats = values.for_bands(Code.SAMPLE_FORMAT, num_bands)
    depths = values.for_bands(Code.BITS_PER_SAMPLE, num_bands)
    return (
        num_bands > PHOTO_BANDS
        or any(kind in (SIGNED, FLOATING, COMPLEX_INTEGERS, COMPLEX_FLOATS) for kind in formats)
        or any(depth > 16 for depth in depths)
        or values.number(Code.COMPRESSION, 1) in GEO_COMPRESSIONS
    )


def read_header(read: ReadBytes, *, max_bands: int) -> GeoHeader:
    """Read and check the directories.

    Raises UndecodableError, UnsupportedImageError, or TooLargeError for too many bands.
    """
    tiff = open_tiff(read)
    image = TagValues(tiff, tiff.first_directory)
    mask = None
    for number, values in enumerate(directories(tiff)):
        kind = subfile_type(values)
        if number == 0 and kind & (REDUCED_RESOLUTION | TRANSPARENCY_MASK):
            raise UnsupportedImageError(
                "a TIFF that begins with a preview or a mask; expected its image first"
            )
        if number and not kind & (REDUCED_RESOLUTION | TRANSPARENCY_MASK):
            raise UnsupportedImageError(
                "several images in one TIFF; expected one: save each as a file of its own, as "
                "gdal_translate GTIFF_DIR:number:file does"
            )
        if kind == TRANSPARENCY_MASK and mask is None and _size(values) == _size(image):
            mask = values
    _check_bands(image, max_bands)
    _check_samples(image)
    return GeoHeader(tiff, image, mask)


def _size(values: TagValues) -> tuple[int, int]:
    return values.positive(Code.HEIGHT), values.positive(Code.WIDTH)


def _check_bands(values: TagValues, max_bands: int) -> None:
    num_bands = values.positive(Code.SAMPLES_PER_PIXEL, 1)
    if num_bands > max_bands:
        height, width = _size(values)
        raise TooLargeError(
            f"{num_bands} bands of {width}x{height} pixels; geo.max_bands allows {max_bands}"
        )


def _check_samples(values: TagValues) -> None:
    formats = values.for_bands(Code.SAMPLE_FORMAT, values.positive(Code.SAMPLES_PER_PIXEL, 1))
    if any(kind in (COMPLEX_INTEGERS, COMPLEX_FLOATS) for kind in formats):
        raise UnsupportedImageError(
            "complex samples, as of a SAR image before detection; expected real numbers: save its "
            "amplitude or intensity first"
        )
    photometric = values.number(Code.PHOTOMETRIC, BLACK_IS_ZERO)
    if photometric == _PALETTE:
        raise UnsupportedImageError(
            "a colour table: its values are numbers of classes or colours, between which nothing "
            "can be restored; expand it first (gdal_translate -expand rgb)"
        )
    if photometric == WHITE_IS_ZERO:
        raise UnsupportedImageError(
            "a raster where white is 0; save it with black as 0 first "
            "(gdal_translate -co PHOTOMETRIC=MINISBLACK)"
        )
    if photometric not in (BLACK_IS_ZERO, RGB, YCBCR):
        raise UnsupportedImageError(
            f"a TIFF of photometric interpretation {photometric}; expected gray, RGB or bands"
        )
    if _ASSOCIATED_ALPHA in values.all(Code.EXTRA_SAMPLES):
        raise UnsupportedImageError(
            "alpha that is multiplied into the colours; expected one that is not: save it anew "
            "with ALPHA=NON-PREMULTIPLIED"
        )
