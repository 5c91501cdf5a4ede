"""Whether a film's file is as long as its container says: FFmpeg plays what there is.

Three families of containers are known: ISO media (mp4, mov), Matroska (mkv, webm) and AVI. A
fragmented mp4 that ends between fragments, and a Matroska of unknown size that ends between
blocks, do not say. FFV1 has checksums, which FFmpeg passes over as well.
"""

import zlib
from collections.abc import Callable

from ganray.codecs.video_ebml import read_vint
from ganray.errors import UndecodableError

ReadAt = Callable[[int, int], bytes]
"""Returns the bytes that exist of (position, number of bytes)."""

ISO_FIRST = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"}
EBML_ID = 0x1A45DFA3
SEGMENT_ID = 0x18538067
CLUSTER_ID = 0x1F43B675
MAX_ID_BYTES = 4

FFV1_FOOTER_BYTES, FFV1_SHORT_FOOTER_BYTES = 8, 3
"""Of a slice: its size without the footer (3), and a status (1) and CRC-32 (4) or neither."""
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def require_whole(read: ReadAt, num_bytes: int) -> str:
    """FFmpeg's name of the demuxer; UndecodableError if a part of the file is missing."""
    start = read(0, 16)
    if not start:
        raise UndecodableError("the file is empty; expected a film: mp4, mov, Matroska or AVI")
    if start[4:8] in ISO_FIRST:
        _require_boxes(read, num_bytes)
        return "mov"
    if start[:4] == EBML_ID.to_bytes(4, "big"):
        _require_segment(read, num_bytes)
        return "matroska"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        _require_riff(read, num_bytes)
        return "avi"
    raise UndecodableError(
        f"no film: it begins with {start[:12]!r}; expected mp4, mov, Matroska or AVI"
    )


def _require_boxes(read: ReadAt, num_bytes: int) -> None:
    """Every box at the top of an ISO media file ends inside it."""
    position, kinds = 0, set()
    while position < num_bytes:
        header = read(position, 16)
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if size == 0:
            size = num_bytes - position
        if size < 8 or not kind.isascii():
            # Cameras append what is no box.
            break
        _require_end(f"its {kind.decode()} box", position + size, num_bytes)
        kinds.add(kind)
        position += size
    if b"moov" not in kinds:
        raise UndecodableError(
            "truncated film: the table of its frames (moov) is missing; it was cut off, or never "
            "finished"
        )


def _require_segment(read: ReadAt, num_bytes: int) -> None:
    """Matroska's Segment ends inside the file."""
    position = 0
    while position < num_bytes:
        header = read(position, 12)
        element, id_bytes = read_vint(header, 0, keep_marker=True)
        size, size_bytes = read_vint(header, id_bytes)
        data = position + id_bytes + size_bytes
        if not id_bytes or not size_bytes:
            break
        if element == SEGMENT_ID:
            if size == (1 << 7 * size_bytes) - 1:
                _require_elements(read, data, num_bytes)
            else:
                _require_end("its segment", data + size, num_bytes)
            return
        position = data + size
    raise UndecodableError("truncated or damaged film: no Matroska segment in it")


def _require_elements(read: ReadAt, position: int, num_bytes: int) -> None:
    """Every element of a Matroska of unknown size, as a recording has, ends inside the file."""
    while position < num_bytes:
        header = read(position, 12)
        element, id_bytes = read_vint(header, 0, keep_marker=True)
        size, size_bytes = read_vint(header, id_bytes)
        if not size_bytes or id_bytes > MAX_ID_BYTES:
            raise UndecodableError(f"truncated or damaged film: no element at byte {position}")
        position += id_bytes + size_bytes
        is_unknown = size == (1 << 7 * size_bytes) - 1
        # A cluster's elements are walked as if they were its neighbours.
        position += 0 if is_unknown or element == CLUSTER_ID else size
        _require_end(f"its element {element:X}", position, num_bytes)


def is_damaged_ffv1(packet: bytes) -> bool:
    """Whether a packet of FFV1 version 3 is not made of slices, or one differs from its checksum.

    Slices may have none; then all that can be told is that their sizes add up.
    """
    checked = _slices(packet, FFV1_FOOTER_BYTES)
    if not checked:
        return not _slices(packet, FFV1_SHORT_FOOTER_BYTES)
    # zlib's CRC takes bits in the other order, and begins with ones.
    return any(
        zlib.crc32(part.translate(_REVERSED_BITS), 0xFFFFFFFF) != 0xFFFFFFFF for part in checked
    )


def _slices(packet: bytes, footer_bytes: int) -> list[bytes]:
    """The slices of a packet, which begin with their sizes at its end; none if they do not fit."""
    slices, end = [], len(packet)
    while end >= footer_bytes:
        place = end - footer_bytes
        start = place - int.from_bytes(packet[place : place + 3], "big")
        if start < 0:
            return []
        slices.append(packet[start:end])
        end = start
    return slices if end == 0 else []


def _require_riff(read: ReadAt, num_bytes: int) -> None:
    """Every RIFF list at the top of an AVI ends inside the file."""
    position = 0
    while position + 8 <= num_bytes:
        header = read(position, 8)
        if header[:4] != b"RIFF":
            break
        size = int.from_bytes(header[4:8], "little")
        if not size:
            raise UndecodableError("truncated film: an AVI that was never finished")
        _require_end("its RIFF list", position + 8 + size, num_bytes)
        position += 8 + size + size % 2


def _require_end(what: str, end: int, num_bytes: int) -> None:
    if end > num_bytes:
        raise UndecodableError(
            f"truncated film: {what} ends at byte {end} and the file at {num_bytes}"
        )
