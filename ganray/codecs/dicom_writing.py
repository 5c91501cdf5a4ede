"""A data set and its pixels as the bytes of a DICOM file, in explicit little-endian or RLE.

What was not touched is copied as it stood, damaged or not: pydicom encodes only what is new,
which makes up most of the time that a slice takes.
"""

import io
from typing import Any

import numpy as np

from ganray import __version__
from ganray.codecs.dicom_derivation import derived_uid
from ganray.codecs.dicom_file import LONG_VRS, PIXEL_DATA, PREAMBLE_BYTES, PREFIX, UNDEFINED
from ganray.codecs.dicom_layout import Layout
from ganray.codecs.dicom_library import Dataset, elements, require_pydicom
from ganray.codecs.dicom_rle import RLE, encode_rle
from ganray.raster.image import Pixels


def put_pixels(dataset: Dataset, pixels: Pixels, layout: Layout, transfer_syntax: str) -> None:
    """Put stored values (C,H,W) and their size into the data set."""
    num_samples, dataset.Rows, dataset.Columns = pixels.shape
    if layout.high_bit != layout.bits_stored - 1:
        dataset.HighBit = layout.bits_stored - 1
    if num_samples == 3:
        dataset.PhotometricInterpretation = "RGB"
        dataset.PlanarConfiguration = 0
    kind = "i" if layout.signed else "u"
    samples = pixels.astype(f"<{kind}{layout.bits_allocated // 8}", copy=False)
    if transfer_syntax == RLE:
        frame = encode_rle(samples.view(f"<u{samples.itemsize}"))
        vr, value = "OB", require_pydicom().encaps.encapsulate([frame])
    else:
        vr, value = ("OB" if samples.itemsize == 1 else "OW"), _interleaved(samples)
    dataset.add_new(PIXEL_DATA, vr, value)
    dataset[PIXEL_DATA].is_undefined_length = transfer_syntax == RLE


def _interleaved(samples: Pixels) -> bytes:
    """Bytes of (C,H,W), colour by pixel, in an even number."""
    last = samples[0] if len(samples) == 1 else np.moveaxis(samples, 0, -1)
    value = last.tobytes()
    return value if len(value) % 2 == 0 else value + b"\0"


def write_file(dataset: Dataset, header: bytes, transfer_syntax: str) -> bytes:
    """The whole file; `header` are the bytes that the data set was read from."""
    pydicom = require_pydicom()
    buffer = io.BytesIO()
    buffer.write(b"\0" * PREAMBLE_BYTES + PREFIX)
    _write_meta(buffer, dataset, transfer_syntax)
    stream = pydicom.filebase.DicomIO(buffer)
    stream.is_implicit_VR, stream.is_little_endian = False, True
    charset = dataset.get("SpecificCharacterSet", "iso8859")
    for tag, element in sorted(elements(dataset).items()):
        is_group_length = tag & 0xFFFF == 0
        if is_group_length:
            continue
        if tag == PIXEL_DATA and not element.is_undefined_length:
            buffer.write(_long_header(tag, element.VR, len(element.value)))
            buffer.write(element.value)
        elif element.is_raw and element.VR and element.length != UNDEFINED:
            begin = element.value_tell - (12 if element.VR in LONG_VRS else 8)
            buffer.write(header[begin : element.value_tell + element.length])
        else:
            pydicom.filewriter.write_data_element(stream, dataset[tag], charset)
    return buffer.getvalue()


def _write_meta(buffer: io.BytesIO, dataset: Dataset, transfer_syntax: str) -> None:
    pydicom = require_pydicom()
    meta: Any = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = pydicom.uid.UID(transfer_syntax)
    meta.ImplementationClassUID = derived_uid("software")
    meta.ImplementationVersionName = f"GANRAY {__version__}"[:16]
    pydicom.filewriter.write_file_meta_info(buffer, meta, enforce_standard=True)


def _long_header(tag: int, vr: str, num_bytes: int) -> bytes:
    group, number = tag >> 16, tag & 0xFFFF
    return (
        group.to_bytes(2, "little")
        + number.to_bytes(2, "little")
        + vr.encode("ascii")
        + b"\0\0"
        + num_bytes.to_bytes(4, "little")
    )
