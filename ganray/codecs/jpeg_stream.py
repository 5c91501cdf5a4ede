"""JPEG by imagecodecs, with the metadata that Pillow writes.

Pillow holds the interpreter's lock while it compresses a JPEG, so that one thread at a time
does; imagecodecs, which is the same library underneath, does not. The stream is the same, byte
for byte.
"""

from collections.abc import Iterator

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_START = b"\xff\xd8"
_FIRST_APPLICATION, _LAST_APPLICATION, _COMMENT, _SCAN = 0xE0, 0xEF, 0xFE, 0xDA


def encode_jpeg(samples: NDArray[np.generic], quality: int, metadata: bytes) -> bytes:
    """Compress (H,W) or (H,W,3) samples without subsampling.

    `metadata` is a JPEG of any picture of the same bands, whose metadata the result gets.
    """
    compressed = bytes(imagecodecs.jpeg8_encode(samples, level=quality, subsampling="444"))
    told = [part for code, part in _segments(metadata) if _is_metadata(code)]
    made = [part for code, part in _segments(compressed) if not _is_metadata(code)]
    return b"".join((_START, *told, *made))


def _is_metadata(code: int) -> bool:
    return _FIRST_APPLICATION <= code <= _LAST_APPLICATION or code == _COMMENT


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment; the scan and all behind it are the last."""
    offset = len(_START)
    while data[offset + 1] != _SCAN:
        end = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4])
        yield data[offset + 1], data[offset:end]
        offset = end
    yield _SCAN, data[offset:]
