"""What the codestream of a compressed frame says of itself, before a decoder believes it.

A decoder allocates what the codestream claims, not what the data set does, and JPEG decoders
fill in what is missing.
"""

import struct
from dataclasses import dataclass

from ganray.errors import UndecodableError, UnsupportedImageError

JPEG_BEGIN, JPEG_2000_BEGIN, END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
JPEG_LS_FRAME = 0xF7
LOSSLESS_FRAME = 0xC3
NO_FRAMES = {0xC4, 0xC8, 0xCC}
"""Markers among C0-CF that begin no frame."""
CODING_STYLE, START_OF_TILE = b"\xff\x52", b"\xff\x90"


@dataclass(frozen=True)
class Codestream:
    height: int
    width: int
    samples: int
    precision: int
    irreversible: bool
    """Whether its transform alone loses something already."""
    is_lossless_jpeg: bool = False
    is_ycc: bool | None = None
    """Whether a JPEG's own markers say that its colours are luminance and chrominance."""


def read_codestream(frame: bytes) -> Codestream:
    """Raises UndecodableError for another codestream than JPEG, JPEG-LS and JPEG 2000, and for
    one that does not come to its end."""
    if not frame.rstrip(b"\0").endswith(END):
        raise UndecodableError("truncated image: its codestream has no end marker")
    try:
        if frame.startswith(JPEG_2000_BEGIN):
            return _read_jpeg_2000(frame)
        if frame.startswith(JPEG_BEGIN):
            return _read_jpeg(frame)
    except (struct.error, IndexError):
        raise UndecodableError("damaged image: no header in its codestream") from None
    raise UndecodableError(
        f"the compressed frame begins with {frame[:4]!r}; expected JPEG, JPEG-LS or JPEG 2000"
    )


def _read_jpeg(frame: bytes) -> Codestream:
    offset, is_ycc = 2, None
    while True:
        if frame[offset] != 0xFF:
            raise UndecodableError("damaged image: no marker where one is due in its codestream")
        marker = frame[offset + 1]
        if marker == 0xFF:
            offset += 1
            continue
        if marker == JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in NO_FRAMES):
            break
        (num_bytes,) = struct.unpack_from(">H", frame, offset + 2)
        content = frame[offset + 4 : offset + 2 + num_bytes]
        if marker == 0xE0 and content.startswith(b"JFIF\0"):
            is_ycc = True
        if marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
            is_ycc = content[11] == 1
        offset += 2 + num_bytes
    precision, height, width, samples = struct.unpack_from(">BHHB", frame, offset + 4)
    ids = bytes(frame[offset + 10 + 3 * sample] for sample in range(samples))
    return Codestream(
        height=height,
        width=width,
        samples=samples,
        precision=precision,
        irreversible=marker not in (LOSSLESS_FRAME, JPEG_LS_FRAME),
        is_lossless_jpeg=marker == LOSSLESS_FRAME,
        is_ycc=False if ids == b"RGB" else is_ycc,
    )


def _read_jpeg_2000(frame: bytes) -> Codestream:
    width, height, left, top = struct.unpack_from(">4L", frame, 8)
    (samples,) = struct.unpack_from(">H", frame, 40)
    components = [struct.unpack_from(">3B", frame, 42 + 3 * sample) for sample in range(samples)]
    if any((across, down) != (1, 1) for _, across, down in components):
        raise UnsupportedImageError("JPEG 2000 with subsampled components; expected full ones")
    return Codestream(
        height=height - top,
        width=width - left,
        samples=samples,
        precision=max(((size & 0x7F) + 1 for size, _, _ in components), default=0),
        irreversible=_has_real_wavelet(frame),
    )


def _has_real_wavelet(frame: bytes) -> bool:
    offset = 2
    while frame[offset : offset + 2] not in (CODING_STYLE, START_OF_TILE):
        (num_bytes,) = struct.unpack_from(">H", frame, offset + 2)
        offset += 2 + num_bytes
    return frame[offset : offset + 2] == CODING_STYLE and frame[offset + 13] == 0
