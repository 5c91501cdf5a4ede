"""JPEG by imagecodecs, with the metadata that Pillow writes.

Pillow holds the interpreter's lock while it compresses a JPEG, so that one thread at a time
does; imagecodecs, which is the same library underneath, does not. The stream is the same, byte
for byte. It is copied once, since copies hold the lock too.
"""

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ganray.errors import UnsupportedImageError

_START = b"\xff\xd8"
_FIRST_APPLICATION, _LAST_APPLICATION, _COMMENT, _SCAN = 0xE0, 0xEF, 0xFE, 0xDA
_JFIF_BYTES = 20
"""What imagecodecs begins with: the start and a segment that says JFIF."""

_END = b"\xff\xd9"
_LARGEST_FACTOR = 4
"""Noise of two values at the best quality is 1.9 times as large as its samples."""

_TABLES_BYTES = 4096


def encode_jpeg(samples: NDArray[np.generic], quality: int, metadata: bytes) -> bytes:
    """Compress (H,W) or (H,W,3) samples without subsampling.

    `metadata` is a JPEG of any picture of the same bands, whose metadata the result gets.
    """
    head = _START + _metadata(metadata)
    room = np.empty(len(head) + _LARGEST_FACTOR * samples.nbytes + _TABLES_BYTES, np.uint8)
    # The end of the head takes the place of JFIF's segment.
    behind: Any = room[len(head) - _JFIF_BYTES :]
    stream = imagecodecs.jpeg8_encode(samples, level=quality, subsampling="444", out=behind)
    if bytes(stream[-len(_END) :]) != _END:
        raise UnsupportedImageError("its JPEG needs more room than JPEGs do; lower jpeg_quality")
    room[: len(head)] = np.frombuffer(head, np.uint8)
    return room[: len(head) - _JFIF_BYTES + len(stream)].tobytes()


def _metadata(jpeg: bytes) -> bytes:
    """The segments of applications, JFIF's first, and of comments."""
    kept, offset = [], len(_START)
    while jpeg[offset + 1] != _SCAN:
        end = offset + 2 + int.from_bytes(jpeg[offset + 2 : offset + 4])
        code = jpeg[offset + 1]
        if _FIRST_APPLICATION <= code <= _LAST_APPLICATION or code == _COMMENT:
            kept.append(jpeg[offset:end])
        offset = end
    return b"".join(kept)
