"""EXIF, XMP and resolution of photographs: read from Pillow, and as Pillow writes them."""

import struct
from typing import Any

import numpy as np
from PIL import ExifTags
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

# TIFF/EP 12234-2 "ImageHistory": the record of what was done to an image.
EXIF_IMAGE_HISTORY = 0x9213
EXIF_WIDTH, EXIF_HEIGHT = 0xA002, 0xA003


def read_resolution(picture: PillowImage.Image) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical, where the file says so."""
    dpi = picture.info.get("dpi")
    if not dpi or not all(np.isfinite(float(value)) and value > 0 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])


def read_exif(picture: PillowImage.Image) -> bytes | None:
    """The EXIF block, of a TIFF made from its own tags."""
    if picture.format != "TIFF":
        return picture.info.get("exif")
    # A TIFF's own tags are its EXIF. Those of the pixel layout are rewritten on save, and Pillow
    # has turned the pixels upright by the orientation, which must not be applied twice.
    exif = PillowImage.Exif()
    tags = picture.getexif()
    for tag in _DESCRIPTIVE_TIFF_TAGS & set(tags):
        exif[tag] = tags[tag]
    for directory in {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo} & set(tags):
        exif.get_ifd(directory).update(tags.get_ifd(directory))
    return exif.tobytes() if len(exif) else None


_DESCRIPTIVE_TIFF_TAGS = frozenset(
    (
        ExifTags.Base.ImageDescription.value,
        ExifTags.Base.DocumentName.value,
        ExifTags.Base.Make.value,
        ExifTags.Base.Model.value,
        ExifTags.Base.Software.value,
        ExifTags.Base.DateTime.value,
        ExifTags.Base.Artist.value,
        ExifTags.Base.HostComputer.value,
        ExifTags.Base.Copyright.value,
        EXIF_IMAGE_HISTORY,
    )
)


def read_xmp(picture: PillowImage.Image) -> bytes | None:
    """The XMP packet."""
    xmp = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    return xmp.encode() if isinstance(xmp, str) else xmp


def exif_with_history(exif: bytes | None, shape: tuple[int, ...], history: str) -> bytes:
    """The EXIF block with the new size and one more line of ImageHistory.

    A block that Pillow cannot parse is passed on as it is: it stays what it was.
    """
    edited = PillowImage.Exif()
    try:
        edited.load(exif or b"")
        earlier = str(edited.get(EXIF_IMAGE_HISTORY, "")).rstrip("\0")
        edited[EXIF_IMAGE_HISTORY] = f"{earlier}\n{history}".strip()
        details = edited.get_ifd(ExifTags.IFD.Exif) if ExifTags.IFD.Exif in edited else {}
        for tag, length in ((EXIF_WIDTH, shape[2]), (EXIF_HEIGHT, shape[1])):
            if tag in details:
                details[tag] = length
        return edited.tobytes()
    except (AttributeError, ValueError, TypeError, KeyError, SyntaxError, OSError, struct.error):
        return exif or b""


def metadata_settings(codec: str, exif: bytes, xmp: bytes | None) -> dict[str, Any]:
    """What Pillow's `save` takes to write EXIF and XMP in the format `codec`."""
    if codec == "tiff":
        return _tiff_settings(exif, xmp)
    if not xmp:
        return {"exif": exif}
    return {"exif": exif} | ({"pnginfo": _png_text(xmp)} if codec == "png" else {"xmp": xmp})


def _tiff_settings(exif: bytes, xmp: bytes | None) -> dict[str, Any]:
    """A TIFF's tags are its EXIF block, and XMP is one of them; a block that is none is left out.

    Where there are directories of EXIF or GPS the pixels are not compressed: libtiff, which
    compresses them, writes no such directory, and Pillow alone does.
    """
    tags = PillowImage.Exif()
    try:
        tags.load(exif)
    except SyntaxError:
        tags = PillowImage.Exif()
    if xmp:
        tags[ExifTags.Base.XMLPacket] = xmp
    directories = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo} & set(tags)
    return {"exif": tags} | ({"compression": "raw"} if directories else {})


def _png_text(xmp: bytes) -> PngInfo:
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode(errors="replace"))
    return text
