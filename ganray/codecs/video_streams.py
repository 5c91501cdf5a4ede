"""The streams beside the restored one, copied into the output packet by packet.

Nothing is decoded. What the output's container does not hold is named.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ganray.codecs.video_source import ATTACHED_PICTURE, Film, require_av, translated

ABOUT_THE_FILE = {
    *("major_brand", "minor_version", "compatible_brands", "encoder", "duration"),
    *("number_of_frames", "number_of_bytes", "bps", "vendor_id"),
}
"""Tags that were true of the input's file or of its encoded video."""

MIME_TYPES = {"mjpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "bmp": "image/bmp"}
MOV_TEXT = "mov_text"


@dataclass(frozen=True)
class Copy:
    """A stream of the input and its copy; `is_text` where packets are converted to plain text."""

    source: Any
    target: Any
    is_text: bool = False


@dataclass(frozen=True)
class Copies:
    """All streams that are copied, and names of those that are not, or not wholly."""

    streams: tuple[Copy, ...]
    lost: tuple[str, ...]


def kept_tags(tags: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Tags that stay true of the output."""
    return {
        name: value
        for name, value in tags
        if name.lower() not in ABOUT_THE_FILE and not name.upper().startswith("_STATISTICS")
    }


def add_copies(film: Film, output: Any, container: str, restored: Any) -> Copies:
    """Add a stream to the output for each of the film's that its container holds.

    `restored()` adds the restored stream, at the place where the film has it.
    """
    copies: list[Copy] = []
    lost: list[str] = []
    has_timecode = "timecode" in {**film.container.metadata, **film.video.metadata}
    for stream in film.container.streams:
        if stream.index == film.video.index:
            restored()
            continue
        copy = _add_copy(film, stream, output, container)
        if copy is not None:
            copies.append(copy)
            lost.extend(["styles of the subtitles"] if copy.is_text else [])
        elif not _is_kept_otherwise(film, stream, has_timecode, container):
            lost.append(_describe(stream))
    return Copies(tuple(copies), tuple(dict.fromkeys(lost)))


def demux_copies(film: Film, copies: Copies) -> Iterator[tuple[Copy, Any]]:
    """Packets of all copied streams, in the order of the file."""
    by_index = {copy.source.index: copy for copy in copies.streams}
    if not by_index:
        return
    for packet in film.demux(*(copy.source for copy in copies.streams)):
        copy = by_index[packet.stream_index]
        # Pictures have no time.
        known = (time for time in (packet.pts, packet.dts, 0) if time is not None)
        time = next(known)
        packet.pts = time if packet.pts is None else packet.pts
        packet.dts = time if packet.dts is None else packet.dts
        plain = _plain_text(packet) if copy.is_text else packet
        if plain is not None:
            plain.stream = copy.target
            yield copy, plain


def _add_copy(film: Film, stream: Any, output: Any, container: str) -> Copy | None:
    """The copy of a stream; None where the container does not hold it, or not as a stream."""
    disposition = int(stream.disposition)
    if stream.type == "attachment" and container == "matroska":
        attached = output.add_attachment(
            stream.metadata.get("filename", "attachment"),
            stream.metadata.get("mimetype", "application/octet-stream"),
            stream.data,
        )
        attached.metadata.update(kept_tags(stream.metadata.items()))
        return None
    if disposition & ATTACHED_PICTURE:
        # FFmpeg's mp4 holds either covers or tags of any name, our history among them.
        if container == "matroska":
            _attach_picture(film, stream, output)
        return None
    if stream.type not in ("audio", "subtitle"):
        return None
    is_text = (
        stream.type == "subtitle"
        and container == "matroska"
        and stream.codec_context is not None
        and stream.codec_context.name == MOV_TEXT
    )
    try:
        target = (
            output.add_mux_stream("subrip")
            if is_text
            else output.add_stream_from_template(stream, opaque=True)
        )
    except (ValueError, require_av().error.FFmpegError):
        return None
    target.metadata.update(kept_tags(stream.metadata.items()))
    target.disposition = disposition
    return Copy(stream, target, is_text)


def _attach_picture(film: Film, stream: Any, output: Any) -> None:
    """A cover: Matroska keeps pictures as attached files."""
    packet = next(iter(film.demux(stream)))
    codec = stream.codec_context.codec.canonical_name
    mime_type = stream.metadata.get("mimetype") or MIME_TYPES.get(codec, f"image/{codec}")
    name = stream.metadata.get("filename") or f"cover.{mime_type.rpartition('/')[2]}"
    output.add_attachment(name, mime_type, bytes(packet))
    with translated(film.file):
        film.container.seek(0)


def _is_kept_otherwise(film: Film, stream: Any, has_timecode: bool, container: str) -> bool:
    """Whether the output says by other means what a stream that is not copied says."""
    is_file = stream.type == "attachment" or int(stream.disposition) & ATTACHED_PICTURE
    if is_file:
        return container == "matroska"
    is_timecode = "timecode" in stream.metadata and has_timecode
    # The titles of QuickTime's chapters are a track of text.
    is_titles = stream.type == "data" and stream.name == "bin_data" and film.container.chapters()
    return bool(is_timecode or is_titles)


def _describe(stream: Any) -> str:
    context = stream.codec_context
    codec = context.name if context else (getattr(stream, "name", None) or "unknown codec")
    handler = stream.metadata.get("handler_name") or stream.metadata.get("title")
    return f"{stream.type} stream {stream.index} ({codec}{f', {handler}' if handler else ''})"


def _plain_text(packet: Any) -> Any:
    """A packet of mov_text as SubRip's plain text; None for those that only end another."""
    data = bytes(packet)
    text = data[2 : 2 + int.from_bytes(data[:2], "big")]
    if not text:
        return None
    plain = require_av().Packet(text)
    plain.pts, plain.dts, plain.duration = packet.pts, packet.pts, packet.duration
    plain.time_base, plain.is_keyframe = packet.time_base, True
    return plain
