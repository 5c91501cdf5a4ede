"""Stored values of a DICOM image, out of whatever transfer syntax.

A stored value is what `BitsStored` bits hold, with its sign; rescaling, windows and palettes are
not applied. Frames are decoded by imagecodecs, not by pydicom's plugins: that for JPEG prints on
damage, fills in what is missing and has no 12 bits; that for RLE panics.
"""

from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ganray.codecs.dicom_codestream import Codestream, read_codestream
from ganray.codecs.dicom_file import DicomFile, encapsulated_value, native_end
from ganray.codecs.dicom_layout import Layout, value_range
from ganray.codecs.dicom_library import require_pydicom
from ganray.codecs.dicom_rle import RLE, RawBits, decode_rle
from ganray.errors import UndecodableError, UnsupportedImageError
from ganray.raster.image import Pixels

NATIVE = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
}
JPEG = {
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
}
JPEG_LS = {
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
}
JPEG_2000 = {
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}
EXPLICIT = "1.2.840.10008.1.2.1"
LOSSY_METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}
"""Transfer syntaxes that may lose something, and how LossyImageCompressionMethod calls it."""
PLAIN_COLOURS = ("MONOCHROME1", "MONOCHROME2", "RGB")
CONVERTED_COLOURS = {
    **dict.fromkeys(JPEG, ("YBR_FULL", "YBR_FULL_422")),
    **dict.fromkeys(JPEG_2000, ("YBR_RCT", "YBR_ICT")),
}
"""Colour spaces that belong to the compression and are RGB behind it."""


@dataclass(frozen=True)
class LossyStep:
    """A compression of the source that lost something: `ratio` and `method` are the standard's."""

    ratio: float
    method: str


@dataclass(frozen=True)
class Decoded:
    pixels: Pixels
    lost: tuple[str, ...]
    lossy: LossyStep | None
    end: int
    """Offset where the pixel data end in the file."""


def require_transfer_syntax(file: DicomFile, layout: Layout) -> None:
    """Raise UnsupportedImageError for an encoding or a colour space that ganray does not read."""
    name = file.transfer_syntax
    if name is not None and name not in {**NATIVE, **JPEG, **JPEG_LS, **JPEG_2000, RLE: ""}:
        found = require_pydicom().uid.UID(name).name
        raise UnsupportedImageError(
            f"transfer syntax {found}; expected one without compression, RLE, JPEG, JPEG-LS or "
            "JPEG 2000"
        )
    accepted = PLAIN_COLOURS + CONVERTED_COLOURS.get(name or "", ())
    if layout.photometric not in accepted:
        raise UnsupportedImageError(
            f"colours in {layout.photometric}, whose way to RGB and back is not exact; expected "
            f"{' or '.join(accepted)}"
        )


def decode_pixels(file: DicomFile, layout: Layout) -> Decoded:
    """Stored values (C,H,W) of the one frame."""
    if file.transfer_syntax is None or file.transfer_syntax in NATIVE:
        end = native_end(file, layout.num_bytes)
        return Decoded(*_stored(_native_bits(file, layout), layout, layout.bits_stored), None, end)
    if layout.high_bit != layout.bits_stored - 1:
        raise UnsupportedImageError(
            f"compressed pixels whose high bit is {layout.high_bit} with {layout.bits_stored} "
            "stored; expected the lowest bits to be used"
        )
    frame, end = encapsulated_value(file)
    if file.transfer_syntax == RLE:
        samples = decode_rle(frame, layout.shape, layout.bits_allocated // 8)
        return Decoded(*_stored(samples, layout, layout.bits_stored), None, end)
    codestream = read_codestream(frame)
    _require_agreement(codestream, layout)
    bits = _in_container(_decode_frame(frame, codestream, file, layout), layout)
    # The sign of a value stands at the codestream's own precision, whatever it says of signs.
    pixels, lost = _stored(bits, layout, min(codestream.precision, layout.bits_stored))
    return Decoded(pixels, lost, _lossy_step(frame, codestream, file, layout), end)


def _native_bits(file: DicomFile, layout: Layout) -> RawBits:
    order = "<" if file.little_endian else ">"
    stored_type = np.dtype(f"{order}u{layout.bits_allocated // 8}")
    count = layout.num_bytes // stored_type.itemsize
    bits = np.frombuffer(file.data, stored_type, count, file.value_at)
    if layout.bits_allocated == 8 and not file.little_endian and file.pixel_vr == "OW":
        # Bytes in words of the other order.
        words = np.frombuffer(file.data, "u2", (count + 1) // 2, file.value_at)
        bits = words.byteswap().view("u1")[:count]
    samples, rows, columns = layout.shape
    if samples > 1 and not layout.is_planar:
        bits = np.moveaxis(bits.reshape(rows, columns, samples), -1, 0)
    return bits.reshape(layout.shape).astype(stored_type.newbyteorder("="), order="C")


def _require_agreement(codestream: Codestream, layout: Layout) -> None:
    found = (codestream.samples, codestream.height, codestream.width)
    if found != layout.shape:
        raise UndecodableError(
            f"the header says (samples, rows, columns) = {layout.shape}, the compressed image "
            f"{found}"
        )
    if codestream.precision > layout.bits_allocated:
        raise UndecodableError(
            f"{codestream.precision} bits in the compressed image; the header allocates "
            f"{layout.bits_allocated}"
        )


def _decode_frame(
    frame: bytes, codestream: Codestream, file: DicomFile, layout: Layout
) -> NDArray[Any]:
    """(H,W) or (H,W,C); what a codestream has in luminance and chrominance is RGB."""
    decoded: NDArray[Any]
    if file.transfer_syntax in JPEG_2000:
        decoded = imagecodecs.jpeg2k_decode(frame)
    elif file.transfer_syntax in JPEG_LS:
        decoded = imagecodecs.jpegls_decode(frame)
    elif codestream.is_lossless_jpeg and codestream.samples == 1:
        # Of the decoders of lossless JPEG, only this one notices that data are missing.
        decoded = imagecodecs.ljpeg_decode(frame)
    elif codestream.samples == 1:
        decoded = imagecodecs.jpeg8_decode(frame)
    else:
        is_ycc = layout.photometric != "RGB" if codestream.is_ycc is None else codestream.is_ycc
        colorspace = "YCBCR" if is_ycc else "RGB"
        decoded = imagecodecs.jpeg8_decode(frame, colorspace=colorspace, outcolorspace="RGB")
    return decoded


def _in_container(decoded: NDArray[Any], layout: Layout) -> RawBits:
    """(H,W) or (H,W,C) as bits (C,H,W) of the size that is allocated."""
    bits = np.moveaxis(np.atleast_3d(decoded), -1, 0)
    if bits.shape != layout.shape:
        raise UndecodableError(f"decoded pixels {bits.shape}; expected {layout.shape}")
    width = layout.bits_allocated // 8
    kind = "i" if np.issubdtype(bits.dtype, np.signedinteger) else "u"
    return bits.astype(f"{kind}{width}", order="C", copy=False).view(f"u{width}")


def _stored(bits: RawBits, layout: Layout, sign_bits: int) -> tuple[Pixels, tuple[str, ...]]:
    """Stored values (C,H,W), and what else there was in the bits allocated."""
    lost: list[str] = []
    unused_below = layout.high_bit + 1 - layout.bits_stored
    if unused_below:
        if np.any(bits & ((1 << unused_below) - 1)):
            lost.append("bits below those stored")
        bits = np.right_shift(bits, unused_below)
    kind = "i" if layout.signed else "u"
    stored: NDArray[Any] = bits.view(f"{kind}{bits.dtype.itemsize}")
    smallest, largest = value_range(sign_bits, signed=layout.signed)
    if stored.min() < smallest or stored.max() > largest:
        shift = 8 * bits.dtype.itemsize - sign_bits
        stored = stored << shift >> shift
        # Bits above that are zeros or repeat the sign say nothing more.
        if np.any((bits >> sign_bits != 0) & (stored.view(bits.dtype) != bits)):
            lost.append("bits above those stored")
    return stored.astype(layout.dtype, copy=False), tuple(lost)


def _lossy_step(
    frame: bytes, codestream: Codestream, file: DicomFile, layout: Layout
) -> LossyStep | None:
    method = LOSSY_METHODS.get(file.transfer_syntax or "")
    # A transfer syntax that allows for loss may hold what lost nothing.
    maybe = file.transfer_syntax in JPEG_2000 and not codestream.irreversible
    if method is None or maybe:
        return None
    return LossyStep(round(layout.num_bytes / len(frame), 2), method)
