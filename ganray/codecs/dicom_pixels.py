"""Stored values of a DICOM image: out of whatever transfer syntax, and into two of them.

A stored value is what `BitsStored` bits hold, with its sign; rescaling, windows and palettes are
not applied. JPEG and JPEG-LS go through imagecodecs: pydicom's decoder for them prints on damage,
fills in what is missing, and has no 12-bit JPEG.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ganray.codecs.dicom_codestream import Codestream, read_codestream
from ganray.codecs.dicom_file import PIXEL_DATA, DicomFile, encapsulated_value, native_value
from ganray.codecs.dicom_layout import Layout
from ganray.codecs.dicom_library import Dataset, require_pydicom
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
RLE = "1.2.840.10008.1.2.5"
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

RawBits = NDArray[np.uint8] | NDArray[np.uint16]
"""The bits that are allocated, whatever they mean, (H,W) or (H,W,3)."""


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
        value, end = native_value(file, layout.num_bytes)
        pixels, lost = _stored(_native_bits(value, file, layout), layout, layout.bits_stored)
        return Decoded(pixels, lost, None, end)
    if layout.high_bit != layout.bits_stored - 1:
        raise UnsupportedImageError(
            f"compressed pixels whose high bit is {layout.high_bit} with {layout.bits_stored} "
            "stored; expected the lowest bits to be used"
        )
    frame, end = encapsulated_value(file)
    if file.transfer_syntax == RLE:
        bits = _through_pydicom(frame, file, layout)
        return Decoded(*_stored(bits, layout, layout.bits_stored), None, end)
    codestream = read_codestream(frame)
    _require_agreement(codestream, layout)
    bits, sign_bits = _decoded_bits(frame, codestream, file, layout)
    pixels, lost = _stored(bits, layout, sign_bits)
    return Decoded(pixels, lost, _lossy_step(frame, codestream, file, layout), end)


def _native_bits(value: bytes, file: DicomFile, layout: Layout) -> RawBits:
    order = "<" if file.little_endian else ">"
    if layout.bits_allocated == 8 and not file.little_endian and file.pixel_vr == "OW":
        padded = value + b"\0" * (len(value) % 2)
        value = np.frombuffer(padded, "<u2").byteswap().tobytes()[: layout.num_bytes]
    bits = np.frombuffer(value, f"{order}u{layout.bits_allocated // 8}")
    bits = bits.astype(bits.dtype.newbyteorder("="))
    samples, rows, columns = layout.shape
    if samples == 1:
        return bits.reshape(rows, columns)
    if layout.is_planar:
        return np.moveaxis(bits.reshape(layout.shape), 0, -1)
    return bits.reshape(rows, columns, samples)


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


def _decoded_bits(
    frame: bytes, codestream: Codestream, file: DicomFile, layout: Layout
) -> tuple[RawBits, int]:
    """The bits, and how many of them a signed value has."""
    if file.transfer_syntax in JPEG_2000:
        # Signed in its own right, or corrected by pydicom: as many bits as allocated.
        return _through_pydicom(frame, file, layout), layout.bits_stored
    decoder = _decode_jpeg_ls if file.transfer_syntax in JPEG_LS else _jpeg_decoder(codestream)
    bits = decoder(frame, codestream, layout)
    if bits.shape != (*layout.shape[1:], *layout.shape[:1])[: bits.ndim]:
        raise UndecodableError(f"decoded pixels {bits.shape}; expected {layout.shape}")
    container: RawBits = bits.astype(f"u{layout.bits_allocated // 8}", copy=False)
    return container, min(codestream.precision, layout.bits_stored)


JpegDecoder = Callable[[bytes, Codestream, Layout], RawBits]


def _jpeg_decoder(codestream: Codestream) -> JpegDecoder:
    # Of the lossless decoders, only this one notices that data are missing; gray alone.
    is_gray_lossless = codestream.is_lossless_jpeg and codestream.samples == 1
    return _decode_lossless_jpeg if is_gray_lossless else _decode_jpeg


def _decode_lossless_jpeg(frame: bytes, codestream: Codestream, layout: Layout) -> RawBits:
    return _raw(imagecodecs.ljpeg_decode(frame))


def _decode_jpeg(frame: bytes, codestream: Codestream, layout: Layout) -> RawBits:
    if codestream.samples == 1:
        return _raw(imagecodecs.jpeg8_decode(frame))
    is_ycc = layout.photometric != "RGB" if codestream.is_ycc is None else codestream.is_ycc
    colorspace = "YCBCR" if is_ycc else "RGB"
    return _raw(imagecodecs.jpeg8_decode(frame, colorspace=colorspace, outcolorspace="RGB"))


def _raw(decoded: Any) -> RawBits:
    bits: RawBits = decoded
    return bits


def _decode_jpeg_ls(frame: bytes, codestream: Codestream, layout: Layout) -> RawBits:
    return _raw(imagecodecs.jpegls_decode(frame))


def _through_pydicom(frame: bytes, file: DicomFile, layout: Layout) -> RawBits:
    pydicom = require_pydicom()
    samples, rows, columns = layout.shape
    pixels, _ = pydicom.pixels.get_decoder(file.transfer_syntax).as_array(
        pydicom.encaps.encapsulate([frame]),
        index=0,
        raw=True,
        decoding_plugin="pylibjpeg",
        rows=rows,
        columns=columns,
        samples_per_pixel=samples,
        bits_allocated=layout.bits_allocated,
        bits_stored=layout.bits_stored,
        pixel_representation=int(layout.signed),
        photometric_interpretation=layout.photometric,
        planar_configuration=0,
        number_of_frames=1,
        pixel_keyword="PixelData",
    )
    kind = "i" if layout.signed else "u"
    width = layout.bits_allocated // 8
    bits: RawBits = pixels.astype(f"{kind}{width}", copy=False).view(f"u{width}")
    return bits


def _stored(bits: RawBits, layout: Layout, sign_bits: int) -> tuple[Pixels, tuple[str, ...]]:
    """Stored values (C,H,W), and what else there was in the bits allocated."""
    lost: list[str] = []
    unused_below = layout.high_bit + 1 - layout.bits_stored
    if unused_below:
        if np.any(bits & ((1 << unused_below) - 1)):
            lost.append("bits below those stored")
        bits = _raw(bits >> unused_below)
    stored, is_whole = _extended(bits, sign_bits, signed=layout.signed)
    lost += [] if is_whole else ["bits above those stored"]
    values = stored.astype(layout.dtype, copy=False)
    pixels = values[np.newaxis] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    return np.ascontiguousarray(pixels), tuple(lost)


def _extended(bits: RawBits, num_bits: int, *, signed: bool) -> tuple[NDArray[np.integer], bool]:
    """Values of the lowest bits, and whether those above say nothing more: zeros or the sign."""
    kind = "i" if signed else "u"
    values: NDArray[np.integer] = bits.view(f"{kind}{bits.dtype.itemsize}")
    shift = 8 * bits.dtype.itemsize - num_bits
    if not shift:
        return values, True
    values = values << shift >> shift
    says_more = (bits >> num_bits != 0) & (values.view(bits.dtype) != bits)
    return values, not says_more.any()


def _lossy_step(
    frame: bytes, codestream: Codestream, file: DicomFile, layout: Layout
) -> LossyStep | None:
    method = LOSSY_METHODS.get(file.transfer_syntax or "")
    # A transfer syntax that allows for loss may hold what lost nothing.
    maybe = file.transfer_syntax in JPEG_2000 and not codestream.irreversible
    if method is None or maybe:
        return None
    return LossyStep(round(layout.num_bytes / len(frame), 2), method)


def write_pixels(dataset: Dataset, pixels: Pixels, layout: Layout, transfer_syntax: str) -> None:
    """Put stored values (C,H,W) into the data set, for `EXPLICIT` or `RLE`."""
    pydicom = require_pydicom()
    samples, dataset.Rows, dataset.Columns = pixels.shape
    dataset.HighBit = layout.bits_stored - 1
    if samples == 3:
        dataset.PhotometricInterpretation = "RGB"
        dataset.PlanarConfiguration = 0
    kind = "i" if layout.signed else "u"
    last = pixels[0] if samples == 1 else np.moveaxis(pixels, 0, -1)
    value = last.astype(f"<{kind}{layout.bits_allocated // 8}", copy=False).tobytes()
    if transfer_syntax == RLE:
        value = pydicom.encaps.encapsulate([_rle_frame(value, dataset)])
    dataset.add_new(
        PIXEL_DATA,
        "OB" if layout.bits_allocated == 8 or transfer_syntax == RLE else "OW",
        value + b"\0" * (len(value) % 2),
    )


def _rle_frame(value: bytes, dataset: Dataset) -> bytes:
    frame: bytes = (
        require_pydicom()
        .pixels.get_encoder(RLE)
        .encode(
            value,
            encoding_plugin="pylibjpeg",
            rows=dataset.Rows,
            columns=dataset.Columns,
            samples_per_pixel=dataset.SamplesPerPixel,
            bits_allocated=dataset.BitsAllocated,
            bits_stored=dataset.BitsStored,
            pixel_representation=dataset.PixelRepresentation,
            photometric_interpretation=dataset.PhotometricInterpretation,
            planar_configuration=0,
            number_of_frames=1,
        )
    )
    return frame
