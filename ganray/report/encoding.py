"""Pictures as a page holds them: WebP in data: URIs, within a number of bytes."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ganray.errors import ReportError

Picture = NDArray[np.uint8]
"""8 bits, (H,W) or (H,W,3)."""

QUALITIES = (90, 75, 55, 30)
SHRINKING = 0.7
SMALLEST_SIDE = 64
BASE64_GROWTH = 4 / 3
FEWER_PICTURES = (
    "show fewer pictures: shown= of an evaluation, report.worst= and report.random= of a "
    "restoration, fewer files of a comparison"
)
"""What to do where a page becomes too large."""


@dataclass(frozen=True)
class Encoded:
    """A picture as a data: URI; `exact` says that its pixels are those that were given."""

    uri: str
    width: int
    height: int
    exact: bool


def encode_alike(pictures: Sequence[Picture], max_bytes: int) -> list[Encoded]:
    """All exact if they fit together, else each compressed into its share."""
    exact = encode_exactly(pictures, max_bytes)
    if exact is not None:
        return exact
    return [encode(picture, max_bytes // len(pictures)) for picture in pictures]


def encode_exactly(pictures: Sequence[Picture], max_bytes: int) -> list[Encoded] | None:
    """All pixel by pixel as they were given, or None if that takes more bytes."""
    found = []
    for picture in pictures:
        data = _webp(PillowImage.fromarray(picture), lossless=True)
        max_bytes -= len(data)
        if max_bytes < 0:
            return None
        found.append(_encoded(data, picture.shape[1], picture.shape[0], exact=True))
    return found


def encode(picture: Picture, max_bytes: int) -> Encoded:
    """A picture as WebP within so many bytes: compressed with loss, then made smaller.

    Raises ReportError if even a thumbnail does not fit.
    """
    image = PillowImage.fromarray(picture)
    for data in _attempts(image):
        if len(data) <= max_bytes:
            return _encoded(data, *image.size, exact=False)
    raise ReportError(f"a picture does not fit into {max_bytes} bytes; {FEWER_PICTURES}")


def _encoded(data: bytes, width: int, height: int, *, exact: bool) -> Encoded:
    text = base64.b64encode(data).decode()
    return Encoded(f"data:image/webp;base64,{text}", width, height, exact)


def _attempts(image: PillowImage.Image) -> Iterator[bytes]:
    while True:
        for quality in QUALITIES:
            yield _webp(image, quality=quality)
        size = tuple(max(1, int(length * SHRINKING)) for length in image.size)
        if max(size) < SMALLEST_SIDE:
            return
        image = image.resize((size[0], size[1]), PillowImage.Resampling.BOX)


def _webp(image: PillowImage.Image, *, lossless: bool = False, quality: int = 100) -> bytes:
    buffer = io.BytesIO()
    # Without loss `quality` is effort: none takes a tenth of the time and a few more bytes.
    effort: dict[str, Any] = {"lossless": True, "quality": 0, "method": 0}
    lossy: dict[str, Any] = {"quality": quality, "method": 3, "use_sharp_yuv": True}
    image.save(buffer, "WEBP", **(effort if lossless else lossy))
    return buffer.getvalue()
