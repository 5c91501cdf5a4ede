"""One film of its restored segments: their packets one after the other, nothing encoded again.

Each frame keeps its time, exactly in mp4 and mov and as `video_matroska` says in Matroska. Audio
and subtitles are copied packet by packet; tags, chapters, colour, rotation and aspect ratio are
kept, and what the container does not hold is named.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from heapq import merge
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ganray.codecs.tiff_runs import ReadRange, RunSource
from ganray.codecs.video_encoding import ENCODERS, VideoOutput, configure_encoder
from ganray.codecs.video_matroska import (
    MILLISECOND,
    HeaderEdit,
    choose_tick,
    edit_header,
    muxer_options,
    read_delays,
    to_ticks,
)
from ganray.codecs.video_segments import SegmentPlan
from ganray.codecs.video_source import Film, VideoSource, open_film, require_av
from ganray.codecs.video_staging import StagedPacket, read_packets, read_segment_footer
from ganray.codecs.video_streams import Copies, Copy, add_copies, demux_copies, kept_tags
from ganray.errors import StorageError, UndecodableError, UnsupportedImageError

HISTORY_TAG = "ganray_history"
"""The tag that says by what a film was restored."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FLUSH_PACKETS, BITEXACT = 0x200, 0x400
FIRST_PACKETS = 256
"""Packets among which the first of each copied stream is looked for, to see if it precedes 0."""


@dataclass(frozen=True)
class JoinedFilm:
    """A restored film that is complete; `extras` are those of its segments, in order."""

    num_frames: int
    num_bytes: int
    lost: tuple[str, ...]
    extras: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class StagedFilm:
    """The files of all segments of a plan, in its order, and how to read them."""

    plan: SegmentPlan
    sources: Sequence[RunSource]
    read: ReadRange


def join(
    output: VideoOutput, source: VideoSource, *, staged: StagedFilm, path: Path, history: str
) -> JoinedFilm:
    """Write the restored film to a local file, in memory of a few packets.

    Equal inputs give equal files. Raises UndecodableError for segments that are not whole or
    not of this film; the file is removed then.
    """
    try:
        joiner = _Joiner(output, staged, path)
        max_pixels = output.profile.width * output.profile.height
        with open_film(source, max_pixels) as film, _refusals(output, path):
            joiner.write(film, history)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return JoinedFilm(
        num_frames=joiner.num_frames,
        num_bytes=path.stat().st_size,
        lost=joiner.lost,
        extras=tuple(joiner.extras),
    )


@contextmanager
def _refusals(output: VideoOutput, path: Path) -> Iterator[None]:
    try:
        yield
    except require_av().error.FFmpegError as error:
        if error.errno in NO_ROOM:
            raise StorageError(f"{path}: cannot be written ({error}); free some room") from error
        raise UnsupportedImageError(
            f"FFmpeg's muxer refuses the film as {output.config.output_container} ({error}); set "
            "another container"
        ) from error


class _Joiner:
    """One film while it is written; for one thread."""

    def __init__(self, output: VideoOutput, staged: StagedFilm, path: Path) -> None:
        assert len(staged.sources) == len(staged.plan.segments), "a file for each segment"
        self.num_frames = 0
        self.extras: list[Mapping[str, Any]] = []
        self._output = output
        self._staged = staged
        self._path = path
        self._lost = [*output.profile.lost, *output.lost, *staged.plan.lost]
        self._video: Any = None

    @property
    def lost(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._lost))

    def write(self, film: Film, history: str) -> None:
        container = self._output.config.output_container
        is_matroska = container == "matroska"
        profile = self._output.profile
        others = [
            stream.time_base
            for stream in film.container.streams
            if stream.type in ("audio", "subtitle") and stream.time_base
        ]
        tick = choose_tick(profile.time_base, others) if is_matroska else 0
        options = muxer_options(tick) if is_matroska else {"movflags": "use_metadata_tags"}
        av = require_av()
        with av.open(
            str(self._path),
            "w",
            format=container,
            # Written in the order in which packets come, whatever streams are missing.
            container_options=options | {"max_interleave_delta": "1"},
            metadata_errors="surrogateescape",
        ) as target:
            # The header is read back as soon as it is written.
            target.flags |= BITEXACT | FLUSH_PACKETS
            self._add_tags(target, history)
            copies = add_copies(film, target, container, lambda: self._add_video(target))
            self._lost.extend(copies.lost)
            target.start_encoding()
            times = _TickTimes(self._path, tick, target) if is_matroska else _SameTimes()
            self._mux(film, target, copies, times)
        if isinstance(times, _TickTimes):
            edit_header(self._path, self._header_edit(tick, times.delays))
        else:
            hdr = {"mastering display": profile.mastering, "light level": profile.light_level}
            self._lost.extend(f"{name} of HDR" for name, value in hdr.items() if value)

    def _header_edit(self, tick: int, delays: Mapping[int, int]) -> HeaderEdit:
        profile = self._output.profile
        aspect = profile.sample_aspect_ratio
        return HeaderEdit(
            tick,
            delays,
            display=aspect * Fraction(profile.width, profile.height) if aspect else None,
            mastering=profile.mastering,
            light_level=profile.light_level,
        )

    def _add_tags(self, target: Any, history: str) -> None:
        profile = self._output.profile
        target.metadata.update(kept_tags(profile.metadata))
        target.metadata[HISTORY_TAG] = history
        target.set_chapters(
            [
                {
                    "id": chapter.identifier,
                    "start": chapter.start,
                    "end": chapter.end,
                    "time_base": chapter.time_base,
                    "metadata": dict(chapter.metadata),
                }
                for chapter in profile.chapters
            ]
        )

    def _add_video(self, target: Any) -> None:
        output = self._output
        profile = output.profile
        rate = profile.average_rate or Fraction(25)
        video = target.add_stream(ENCODERS[output.config.codec], rate=rate)
        configure_encoder(video.codec_context, output)
        video.time_base = profile.time_base
        video.metadata.update(kept_tags(profile.video_metadata))
        video.disposition = profile.video_disposition
        if profile.display_matrix is not None:
            video.set_display_matrix(_scaled(profile.display_matrix, output.scale))
        self._video = video

    def _mux(self, film: Film, target: Any, copies: Copies, times: "_Times") -> None:
        packets = demux_copies(film, copies)
        first = list(islice(packets, FIRST_PACKETS))
        times.begin(self._staged.plan, self._video, self._output.profile.time_base, first)
        copied = ((_time(packet), packet) for _, packet in chain(first, packets))
        video = ((_time(packet), packet) for packet in self._video_packets())
        for _, packet in merge(video, copied, key=lambda timed: timed[0]):
            times.set(packet)
            target.mux(packet)

    def _video_packets(self) -> Iterator[Any]:
        output, staged = self._output, self._staged
        for segment, source in zip(staged.plan.segments, staged.sources, strict=True):
            footer = read_segment_footer(output.digest, segment, source=source, read=staged.read)
            if footer.extradata != (self._video.codec_context.extradata or b""):
                raise UndecodableError(
                    f"{source.key}: encoded with another header than this encoder's, perhaps by "
                    "another version of FFmpeg; restore the segment again"
                )
            self._lost.extend(footer.lost)
            self.extras.append(footer.extra)
            for packet in read_packets(footer, source=source, read=staged.read):
                self.num_frames += 1
                yield self._video_packet(packet)

    def _video_packet(self, staged: StagedPacket) -> Any:
        packet = require_av().Packet(staged.data)
        packet.pts = packet.dts = staged.pts
        packet.duration = staged.duration
        packet.time_base = self._output.profile.time_base
        packet.is_keyframe = staged.is_key
        packet.stream = self._video
        return packet


class _SameTimes:
    """Times of mp4 and mov: every track has its own time base, in which nothing is rounded."""

    def begin(
        self, plan: SegmentPlan, video: Any, base: Fraction, first: list[tuple[Copy, Any]]
    ) -> None:
        """Nothing has to be known of the first packets."""

    def set(self, packet: Any) -> None:
        """The muxer converts them."""


class _TickTimes:
    """Times of Matroska: ticks, and none before 0, where a track's delay is added first."""

    def __init__(self, path: Path, tick: int, target: Any) -> None:
        self.delays: dict[int, int] = {}
        self._tick = tick
        self._written = read_delays(path)
        self._offsets: dict[int, int] = {}
        # Attachments are streams of PyAV's and no tracks of Matroska's.
        tracks = [stream.index for stream in target.streams if stream.type != "attachment"]
        self._numbers = {index: number for number, index in enumerate(tracks, 1)}

    def begin(
        self, plan: SegmentPlan, video: Any, base: Fraction, first: list[tuple[Copy, Any]]
    ) -> None:
        """Find the delay of each track, by its first packets."""
        earliest = {video.index: to_ticks(plan.segments[0].start_pts, base, self._tick)}
        for _, packet in first:
            ticks = to_ticks(packet.pts, packet.time_base, self._tick)
            index = packet.stream_index
            earliest[index] = min(ticks, earliest.get(index, 0))
        for index, ticks in earliest.items():
            number = self._numbers[index]
            written = self._written.get(number, 0)
            delay = written if _rounded(written, self._tick) >= -ticks else -ticks * self._tick
            self.delays[number] = delay
            # The muxer adds what it has written, in its milliseconds.
            self._offsets[index] = _rounded(delay, self._tick) - _rounded(written, MILLISECOND)

    def set(self, packet: Any) -> None:
        offset = self._offsets.get(packet.stream_index, 0)
        base = packet.time_base
        packet.duration = to_ticks(packet.duration or 0, base, self._tick)
        packet.pts = to_ticks(packet.pts, base, self._tick) + offset
        packet.dts = to_ticks(packet.dts, base, self._tick) + offset
        packet.time_base = Fraction(1, 1000)


_Times = _SameTimes | _TickTimes


def _rounded(nanoseconds: int, unit: int) -> int:
    return (nanoseconds + unit // 2) // unit


def _time(packet: Any) -> Fraction:
    time: Fraction = packet.dts * packet.time_base
    return time


def _scaled(matrix: tuple[int, ...], scale: int) -> tuple[int, ...]:
    """A display matrix, whose translation is in pixels."""
    a, b, u, c, d, v, x, y, w = matrix
    return a, b, u, c, d, v, x * scale, y * scale, w
