"""Where a film is cut, so that several workers decode it and give what one would.

A segment begins at a key frame that is an entry, and holds the frames shown from there to the
next segment's entry. In an open group of pictures some frames follow the entry in the file and
are shown before it: they belong to the segment before, whose decoder goes on beyond the entry
until it has them. Packets are demuxed and counted; frames are not decoded.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import dropwhile
from typing import Any

from ganray.codecs.video_config import VideoConfig
from ganray.codecs.video_entry import is_clean_entry
from ganray.codecs.video_source import Film, VideoSource, open_film, translated
from ganray.errors import UndecodableError, UnsupportedImageError

VP8_SHOWN = 0x10


@dataclass(frozen=True)
class Segment:
    """Frames shown at [start_pts, end_pts), in the film's time base; None is its end.

    Decoding begins at the packet (`entry_pts`, `entry_position` in the file), which is looked
    for from `seek_time` on. `pts_digest` is of the times of all its frames.
    """

    index: int
    seek_time: int
    entry_pts: int
    entry_position: int | None
    start_pts: int
    end_pts: int | None
    num_frames: int
    pts_digest: str


@dataclass(frozen=True)
class SegmentPlan:
    """All segments of a film, and what is lost at its beginning."""

    segments: tuple[Segment, ...]
    lost: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        return sum(segment.num_frames for segment in self.segments)


def scan_segments(source: VideoSource, config: VideoConfig, *, max_pixels: int) -> SegmentPlan:
    """Cut a film into segments of at least `segment_frames`, by reading its packets once.

    Equal files and configurations give equal plans. Memory is a few numbers per packet. Raises
    UndecodableError for a film of which a part is missing.
    """
    with open_film(source, max_pixels) as film:
        _refuse_reordered_avi(film)
        scan = _Scan(film, config.segment_frames)
        for packet in film.demux(film.video):
            scan.add(packet)
    scan.require_whole()
    leading = sorted(scan.leading)
    shown = _shown_leading(source, scan.entries[0], leading, max_pixels) if leading else []
    lost = {
        "before the first key frame": scan.num_before,
        "that refer to what is before the first key frame": len(leading) - len(shown),
    }
    return SegmentPlan(
        segments=_segments(scan, shown),
        lost=tuple(f"frames {which}: {number}" for which, number in lost.items() if number),
    )


def count_frames(source: VideoSource, *, max_pixels: int) -> int:
    """Frames that a film holds, by its packets; none is decoded."""
    with open_film(source, max_pixels) as film:
        return sum(_is_shown(film, packet) for packet in film.demux(film.video))


def digest_times(times: Iterable[int]) -> str:
    """16 hex digits of the presentation times of a segment's frames, in order."""
    digest = hashlib.sha256()
    for pts in times:
        digest.update(struct.pack("<q", pts))
    return digest.hexdigest()[:16]


def _refuse_reordered_avi(film: Film) -> None:
    is_reordered = film.video.codec_context.has_b_frames and film.codec_name in ("h264", "hevc")
    if film.container.format.name == "avi" and is_reordered:
        raise UnsupportedImageError(
            f"an AVI of {film.codec_name} with B-frames: AVI keeps no times of presentation; remux "
            "the film to Matroska or mp4"
        )


@dataclass(frozen=True)
class _Entry:
    seek_time: int
    pts: int
    position: int | None


class _Scan:
    """What the packets of a film say, in decoding order."""

    def __init__(self, film: Film, segment_frames: int) -> None:
        self.entries: list[_Entry] = []
        self.times: list[int] = []
        self.leading: set[int] = set()
        self.num_before = 0
        self._film = film
        # An AVI counts ticks, and has empty packets for those without a frame.
        self._declared = 0 if film.container.format.name == "avi" else film.video.frames
        self._codec = film.codec_name
        self._extradata = film.video.codec_context.extradata or b""
        self._is_intra = film.video.codec_context.codec.intra_only
        self._segment_frames = segment_frames
        self._num_packets = 0
        self._num_since_entry = 0
        self._last_pts = -(2**63)

    def add(self, packet: Any) -> None:
        self._num_packets += 1
        if packet.has_sidedata("encryption_info"):
            raise UnsupportedImageError("an encrypted film; decrypt it first")
        if packet.is_corrupt:
            raise UndecodableError(
                f"truncated film: packet {self._num_packets} is not whole or damaged"
            )
        if packet.pts is None:
            raise UnsupportedImageError(
                f"packet {self._num_packets} has no presentation time; expected one in each; "
                "remux the film"
            )
        if not self.entries and not packet.is_keyframe:
            self.num_before += 1
            return
        if packet.is_keyframe and self._is_cut(packet):
            time = packet.pts if packet.dts is None else packet.dts
            self.entries.append(_Entry(time, packet.pts, packet.pos))
            self._num_since_entry = 0
        self._count(packet)

    def _is_cut(self, packet: Any) -> bool:
        if not self.entries:
            return True
        return (
            self._num_since_entry >= self._segment_frames
            # All that was decoded before is shown before.
            and packet.pts > self._last_pts
            and not packet.is_discard
            and (self._is_intra or is_clean_entry(self._codec, self._extradata, bytes(packet)))
        )

    def _count(self, packet: Any) -> None:
        if not _is_shown(self._film, packet):
            return
        if packet.pts < self.entries[0].pts:
            self.leading.add(packet.pts)
        self.times.append(packet.pts)
        self._num_since_entry += 1
        self._last_pts = max(self._last_pts, packet.pts)

    def require_whole(self) -> None:
        if not self.entries or not self.times:
            raise UndecodableError(
                f"{self._num_packets} packets and no key frame among them: damaged or empty film"
            )
        if self._num_packets < self._declared:
            raise UndecodableError(
                f"truncated film: {self._num_packets} packets of the {self._declared} that its "
                "header declares"
            )
        if len(set(self.times)) != len(self.times):
            raise UnsupportedImageError(
                "several frames at one presentation time; expected one; remux the film"
            )


def _is_shown(film: Film, packet: Any) -> bool:
    """Whether a packet becomes a frame: an edit list hides some, VP8 has some that are never."""
    if packet.is_discard:
        return False
    return film.codec_name != "vp8" or bool(packet.size and bytes(packet)[0] & VP8_SHOWN)


def _shown_leading(
    source: VideoSource, entry: _Entry, leading: list[int], max_pixels: int
) -> list[int]:
    """Which of the frames shown before a film's first key frame can be decoded."""
    shown: set[int] = set()
    with open_film(source, max_pixels) as film:
        place = (entry.pts, entry.position)
        packets = dropwhile(lambda p: (p.pts, p.pos) != place, film.demux(film.video))
        for packet in packets:
            try:
                with translated(film.file):
                    frames = packet.decode()
            except UndecodableError:
                # What it refers to is not in the film.
                continue
            shown.update(frame.pts for frame in frames if not frame.is_corrupt)
            if any(frame.pts >= entry.pts for frame in frames):
                break
    return sorted(shown.intersection(leading))


def _segments(scan: _Scan, shown_leading: list[int]) -> tuple[Segment, ...]:
    first, *others = scan.entries
    edges: list[int | None] = [entry.pts for entry in others]
    times = sorted([*shown_leading, *(set(scan.times) - scan.leading)])
    segments: list[Segment] = []
    begin = 0
    for index, (entry, end_pts) in enumerate(zip(scan.entries, [*edges, None], strict=True)):
        end = begin
        while end < len(times) and (end_pts is None or times[end] < end_pts):
            end += 1
        segments.append(
            Segment(
                index=index,
                seek_time=entry.seek_time,
                entry_pts=entry.pts,
                entry_position=entry.position,
                start_pts=times[begin],
                end_pts=end_pts,
                num_frames=end - begin,
                pts_digest=digest_times(times[begin:end]),
            )
        )
        begin = end
    return (replace(segments[0], start_pts=min(first.pts, times[0])), *segments[1:])
