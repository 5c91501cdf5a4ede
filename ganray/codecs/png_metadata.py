"""What a 16-bit PNG keeps beside its pixels, between its chunks and `Profile`.

Pillow's part, for 8 bits, is `photo_metadata.py`. What has a field in `Profile` goes there and
into any format; the rest, PNG's own statements of colour and its texts, is carried from PNG
to PNG as it stands.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ganray.codecs.photo_metadata import exif_with_history
from ganray.codecs.png_chunks import Chunk
from ganray.raster.image import Image

XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_EXIF_KEYWORD = b"Raw profile type exif"
EXIF_PREFIX = b"Exif\0\0"
METRES_PER_INCH = 0.0254
MAX_TEXT_BYTES = 64 << 20
"""The most that one compressed chunk may grow to."""

_STRUCTURE = (b"IHDR", b"tRNS", b"IDAT", b"IEND")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")

# Chunks that PNG calls unsafe to copy, since they depend on the pixels, and that stay true of
# restored ones: they speak of colours and of depth.
_STILL_TRUE = (
    *(b"bKGD", b"cHRM", b"cICP", b"cLLI", b"gAMA", b"mDCV", b"sBIT", b"sRGB", b"tIME"),
    *_TEXTS,
)


@dataclass(frozen=True)
class PngDetails:
    """Chunks that only a PNG holds, in the order of the input."""

    chunks: tuple[Chunk, ...] = field(repr=False)


@dataclass(frozen=True)
class FoundChunks:
    """What the chunks of a PNG hold, in the terms of `Profile`."""

    resolution: tuple[float, float] | None
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    details: PngDetails | None
    lost: tuple[str, ...]


def find_chunks(chunks: Iterable[Chunk]) -> FoundChunks:
    """Sort the chunks of a PNG; what cannot be kept, or cannot be read, is named as lost."""
    found: dict[str, bytes] = {}
    kept: list[Chunk] = []
    lost: list[str] = []
    for kind, content in chunks:
        if kind in _STRUCTURE:
            continue
        name, value = _own_field(kind, content)
        if name and name not in found:
            found[name] = value
        elif kind in _STILL_TRUE or _is_safe_to_copy(kind, content):
            kept.append((kind, content))
        else:
            lost.append(f"{kind.decode('latin-1')} chunk")
    resolution = found.get("resolution")
    return FoundChunks(
        resolution=_resolution(resolution) if resolution else None,
        icc=found.get("icc"),
        exif=found.get("exif"),
        xmp=found.get("xmp"),
        details=PngDetails(tuple(kept)) if kept else None,
        lost=tuple(dict.fromkeys(lost)),
    )


def profile_chunks(image: Image, history: str) -> Iterator[Chunk]:
    """The chunks that keep the profile of an image; all of them may stand before its pixels."""
    profile = image.profile
    if isinstance(profile.details, PngDetails):
        yield from profile.details.chunks
    if profile.icc:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(profile.icc)
    if profile.resolution:
        per_metre = (round(value / METRES_PER_INCH) for value in profile.resolution)
        yield b"pHYs", struct.pack(">IIB", *(min(value, 2**32 - 1) for value in per_metre), 1)
    if profile.xmp:
        yield b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + profile.xmp
    exif = exif_with_history(profile.exif, image.pixels.shape, history)
    while exif.startswith(EXIF_PREFIX):
        exif = exif.removeprefix(EXIF_PREFIX)
    if exif:
        yield b"eXIf", exif


def _own_field(kind: bytes, content: bytes) -> tuple[str, bytes]:
    """The field of `FoundChunks` that a chunk fills, or nothing."""
    if kind == b"eXIf":
        return "exif", EXIF_PREFIX + content
    if kind == b"iCCP":
        return _unless_damaged("icc", _inflate(content.partition(b"\0")[2][1:]))
    if kind == b"pHYs" and len(content) == 9 and content[8] == 1 and all(_lengths(content)):
        return "resolution", content
    if kind in _TEXTS:
        keyword = content.partition(b"\0")[0]
        if keyword == XMP_KEYWORD and kind == b"iTXt":
            return _unless_damaged("xmp", _international_text(content))
        if keyword == RAW_EXIF_KEYWORD:
            return _unless_damaged("exif", _raw_exif(kind, content))
    return "", b""


def _is_safe_to_copy(kind: bytes, content: bytes) -> bool:
    """Whether a chunk says of itself that it does not depend on the pixels."""
    if kind == b"pHYs":
        return len(content) == 9
    # An offset in pixels does depend on how many there are.
    return kind not in (b"eXIf", b"oFFs") and kind[3:].islower()


def _unless_damaged(name: str, value: bytes | None) -> tuple[str, bytes]:
    return (name, value) if value else ("", b"")


def _inflate(compressed: bytes) -> bytes | None:
    decoder = zlib.decompressobj()
    try:
        value = decoder.decompress(compressed, MAX_TEXT_BYTES)
    except zlib.error:
        return None
    return value if decoder.eof else None


def _international_text(content: bytes) -> bytes | None:
    """The text of an iTXt chunk: keyword, flag, method, language, translated keyword, text."""
    behind = content.partition(b"\0")[2]
    parts = behind[2:].split(b"\0", 2)
    if len(parts) != 3:
        return None
    return _inflate(parts[2]) if behind[0] else parts[2]


def _raw_exif(kind: bytes, content: bytes) -> bytes | None:
    """EXIF as ImageMagick writes it: a text of a name, a length, and hexadecimal digits."""
    text: bytes | None = content.partition(b"\0")[2]
    if kind == b"zTXt":
        text = _inflate(content.partition(b"\0")[2][1:])
    lines = (text or b"").strip().split(b"\n", 2)
    try:
        exif = bytes.fromhex(lines[-1].decode("ascii"))
    except ValueError:
        return None
    return exif if len(lines) == 3 and exif.startswith(EXIF_PREFIX) else None


def _lengths(content: bytes) -> tuple[int, int]:
    across, down = struct.unpack(">II", content[:8])
    return across, down


def _resolution(content: bytes) -> tuple[float, float]:
    across, down = _lengths(content)
    return across * METRES_PER_INCH, down * METRES_PER_INCH
