"""RLE Lossless of DICOM (PS3.5 annex G): a segment of PackBits per byte of every sample.

Read through imagecodecs: the decoder that pydicom uses panics on damage, past every `except
Exception`. Written through pydicom.
"""

import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ganray.codecs.dicom_library import Dataset, require_pydicom
from ganray.errors import UndecodableError

RLE = "1.2.840.10008.1.2.5"
HEADER_BYTES = 64


def decode_rle(
    frame: bytes, shape: tuple[int, int, int], num_bytes: int
) -> NDArray[np.unsignedinteger]:
    """Samples (C,H,W) of `num_bytes` each; `shape` is what the data set claims.

    Raises UndecodableError for a segment that is missing, or holds more or less.
    """
    if len(frame) < HEADER_BYTES:
        raise UndecodableError("truncated image: no header in its RLE frame")
    num_segments, *offsets = struct.unpack_from("<16L", frame)
    if num_segments != shape[0] * num_bytes:
        raise UndecodableError(
            f"{num_segments} RLE segments; the header needs {shape[0] * num_bytes}"
        )
    ends = [*offsets[1:num_segments], len(frame)]
    planes = np.empty((shape[0], num_bytes, shape[1] * shape[2]), np.uint8)
    for number, end in enumerate(ends):
        sample, place = divmod(number, num_bytes)
        # The most significant byte comes first.
        plane = planes[sample, num_bytes - 1 - place].data
        _decode_segment(frame, offsets[number], end, plane)
    bits = np.ascontiguousarray(planes.swapaxes(1, 2)).view(f"<u{num_bytes}")
    return bits.reshape(shape)


def _decode_segment(frame: bytes, begin: int, end: int, plane: memoryview) -> None:
    if not HEADER_BYTES <= begin <= end <= len(frame):
        raise UndecodableError(f"damaged image: an RLE segment from byte {begin} to {end}")
    try:
        num_decoded = len(imagecodecs.packbits_decode(frame[begin:end], out=plane))
    except imagecodecs.PackbitsError as error:
        raise UndecodableError(
            f"damaged image: an RLE segment that is too long ({error})"
        ) from None
    if num_decoded != len(plane):
        raise UndecodableError(
            f"truncated image: {num_decoded} bytes in an RLE segment; expected {len(plane)}"
        )


def encode_rle(samples: bytes, dataset: Dataset) -> bytes:
    """The frame of an image whose group 0028 stands in the data set, and its encapsulation."""
    pydicom = require_pydicom()
    frame = pydicom.pixels.get_encoder(RLE).encode(
        samples,
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
    encapsulated: bytes = pydicom.encaps.encapsulate([frame])
    return encapsulated
