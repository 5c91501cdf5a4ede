"""What one segment contributes to a film: its encoded packets, in a file that describes itself.

A segment's file is [packets][footer][trailer]; the footer is JSON: times, sizes and checksums of
the packets, the encoder's header, and what the writer wants to be known. No container of FFmpeg's
is used, since the one that joins has to find times and bytes exactly as they were.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ganray.codecs.tiff_runs import ReadRange, RunSource
from ganray.codecs.video_segments import Segment, digest_times
from ganray.errors import UndecodableError
from ganray.storage.folder_files import explained

MAGIC = b"GANVID01"
FOOTER_READ_BYTES = 64 << 10
"""What is read of a file's end at first; most footers are smaller."""

# Magic, bytes of JSON, its CRC-32.
_TRAILER = struct.Struct("<8s2I")


@dataclass(frozen=True)
class StagedPacket:
    """One encoded frame; its time of decoding is that of its presentation."""

    pts: int
    duration: int
    is_key: bool
    data: bytes


@dataclass(frozen=True)
class StagedSegment:
    """A segment's file that is complete."""

    path: Path
    num_bytes: int
    num_frames: int
    lost: tuple[str, ...]


@dataclass(frozen=True)
class SegmentFooter:
    """What the end of a segment's file says. `packets` are (pts, duration, is_key, bytes, CRC)."""

    extradata: bytes
    packets: tuple[tuple[int, int, int, int, int], ...]
    lost: tuple[str, ...]
    extra: Mapping[str, Any]


class SegmentWriter:
    """Writes one segment's file; for one thread."""

    def __init__(self, path: Path, output_digest: str, segment: Segment) -> None:
        self._path = path
        self._output_digest = output_digest
        self._segment = segment
        self._packets: list[tuple[int, int, int, int, int]] = []
        with explained("write", path):
            self._file = path.open("wb")

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with explained("write", self._path):
            self._file.close()

    def add(self, packet: StagedPacket) -> None:
        with explained("write", self._path):
            self._file.write(packet.data)
        size, crc = len(packet.data), zlib.crc32(packet.data)
        self._packets.append((packet.pts, packet.duration, int(packet.is_key), size, crc))

    def finish(
        self, extradata: bytes, lost: tuple[str, ...], extra: Mapping[str, Any]
    ) -> StagedSegment:
        """Write the footer. Raises UndecodableError unless all frames of the segment are there."""
        _require_frames(self._segment, self._packets, str(self._path))
        described = {
            "output": self._output_digest,
            "segment": self._segment.index,
            "extradata": extradata.hex(),
            "packets": self._packets,
            "lost": lost,
            "extra": dict(extra),
        }
        packed = json.dumps(described, sort_keys=True, separators=(",", ":")).encode()
        with explained("write", self._path):
            self._file.write(packed + _TRAILER.pack(MAGIC, len(packed), zlib.crc32(packed)))
            self._file.flush()
        return StagedSegment(self._path, self._file.tell(), len(self._packets), lost)


def read_segment_footer(
    output_digest: str, segment: Segment, *, source: RunSource, read: ReadRange
) -> SegmentFooter:
    """Read and check the footer of a segment's file, with one request or two.

    Raises UndecodableError if it is damaged, or of another segment, film or configuration.
    """
    packed = _read_footer_bytes(source, read)
    described = json.loads(packed)
    found = (described["output"], described["segment"])
    if found != (output_digest, segment.index):
        raise UndecodableError(
            f"{source.key}: segment {found[1]} of the output {found[0]}; expected segment "
            f"{segment.index} of {output_digest}; restore the segment again"
        )
    packets = tuple(tuple(packet) for packet in described["packets"])
    _require_frames(segment, packets, source.key)
    expected_bytes = sum(packet[3] for packet in packets) + len(packed) + _TRAILER.size
    if expected_bytes != source.num_bytes:
        raise _damaged(source, f"it has {source.num_bytes} bytes; expected {expected_bytes}")
    return SegmentFooter(
        extradata=bytes.fromhex(described["extradata"]),
        packets=packets,
        lost=tuple(described["lost"]),
        extra=described["extra"],
    )


def read_packets(
    footer: SegmentFooter, *, source: RunSource, read: ReadRange
) -> Iterator[StagedPacket]:
    """The packets of a segment's file, one read and checked at a time."""
    start = 0
    for pts, duration, is_key, size, crc in footer.packets:
        data = read(source.key, start, start + size)
        if len(data) != size or zlib.crc32(data) != crc:
            raise _damaged(source, f"the frame at {pts} differs from its checksum")
        yield StagedPacket(pts, duration, bool(is_key), data)
        start += size


def read_local(key: str, start: int, end: int) -> bytes:
    """The bytes [start, end) of a file, for segments that are local files."""
    with Path(key).open("rb") as file:
        file.seek(start)
        return file.read(end - start)


def _require_frames(segment: Segment, packets: Any, name: str) -> None:
    times = [packet[0] for packet in packets]
    if digest_times(times) != segment.pts_digest:
        raise UndecodableError(
            f"{name}: {len(times)} encoded frames, whose times are not those of the "
            f"{segment.num_frames} frames of segment {segment.index}"
        )


def _read_footer_bytes(source: RunSource, read: ReadRange) -> bytes:
    start = max(0, source.num_bytes - FOOTER_READ_BYTES)
    tail = read(source.key, start, source.num_bytes)
    if len(tail) != source.num_bytes - start or len(tail) < _TRAILER.size:
        raise _damaged(source, f"it ends {source.num_bytes - start - len(tail)} bytes early")
    magic, num_packed, crc = _TRAILER.unpack(tail[-_TRAILER.size :])
    footer_bytes = num_packed + _TRAILER.size
    if magic != MAGIC or footer_bytes > source.num_bytes:
        raise _damaged(source, "it has no footer")
    if footer_bytes > len(tail):
        tail = read(source.key, source.num_bytes - footer_bytes, start) + tail
    packed = tail[-footer_bytes : -_TRAILER.size]
    if zlib.crc32(packed) != crc:
        raise _damaged(source, "its footer differs from its checksum")
    return packed


def _damaged(source: RunSource, what: str) -> UndecodableError:
    return UndecodableError(
        f"{source.key}: a damaged or truncated segment: {what}; restore the segment again"
    )
