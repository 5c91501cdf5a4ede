"""Matroska written by FFmpeg, with times as fine as the input's.

FFmpeg's muxer rounds every time to a millisecond, which no variable frame rate survives. Here
its millisecond is a tick of another length: packets are given in ticks, and once the file is
complete its header says how long a tick is. On the way the header gets what PyAV cannot hand to
the muxer: the delay of a codec whose first packet lies before time 0, and static HDR metadata.
Matroska counts whole nanoseconds; where a time base is none, a tick is at most half of it, so
that the nearest multiple of the time base is the time that was.
"""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ganray.codecs.video_ebml import (
    VOID,
    Element,
    children,
    encode_element,
    encode_number,
    join_elements,
    read_vint,
    replaced,
    void,
)
from ganray.codecs.video_integrity import CLUSTER_ID, SEGMENT_ID
from ganray.errors import UndecodableError

MILLISECOND = 1_000_000
"""Nanoseconds of FFmpeg's tick."""
USUAL_TICK = 1_000
MOST_PARTS = 100_000
LONGEST_CLUSTER = 30_000
"""Ticks: a block's time is a 16-bit number after its cluster's."""
HEADER_PADDING_BYTES = 2048

SEEK_HEAD, SEEK, SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AC
INFO, TIMESTAMP_SCALE = 0x1549A966, 0x2AD7B1
TRACKS, TRACK, TRACK_NUMBER, CODEC_DELAY = 0x1654AE6B, 0xAE, 0xD7, 0x56AA
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT, ASPECT_RATIO = 0x54B0, 0x54BA, 0x54B2, 3
VIDEO, COLOUR, MAX_CLL, MAX_FALL, MASTERING = 0xE0, 0x55B0, 0x55BC, 0x55BD, 0x55D0
TAGS, TAG, SIMPLE_TAG, TAG_NAME, TAG_STRING = 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487
FIRST_MASTERING_VALUE = 0x55D1
"""Of ten elements in FFmpeg's order: red x, y, green, blue, white x, y, max and min luminance."""


@dataclass(frozen=True)
class HeaderEdit:
    """What the header is to say: nanoseconds of a tick, nanoseconds of delay of each track by
    its number, width to height of a displayed frame, and FFmpeg's structures of static HDR
    metadata."""

    tick: int
    delays: Mapping[int, int]
    display: Fraction | None = None
    mastering: bytes | None = None
    light_level: bytes | None = None


def muxer_options(tick: int) -> dict[str, str]:
    """Options of FFmpeg's muxer for ticks of so many nanoseconds."""
    return {
        "cluster_time_limit": str(min(LONGEST_CLUSTER, max(1, 5_000 * MILLISECOND // tick))),
        "metadata_header_padding": str(HEADER_PADDING_BYTES),
    }


def choose_tick(video: Fraction, others: Sequence[Fraction]) -> int:
    """Nanoseconds of a tick: exact for the video's time base if that has whole nanoseconds."""
    bases = [base * 10**9 for base in (video, *others)]
    if all(base.denominator == 1 for base in bases):
        common = math.gcd(*(int(base) for base in bases))
        return MILLISECOND if common % MILLISECOND == 0 else common
    limit = max(1, int(min(bases) / 2))
    if bases[0].denominator > 1:
        return min(USUAL_TICK, limit)
    exact = int(bases[0])
    divisors = (exact // parts for parts in range(1, MOST_PARTS) if exact % parts == 0)
    return next((tick for tick in divisors if tick <= limit), min(USUAL_TICK, limit))


def to_ticks(pts: int, time_base: Fraction, tick: int) -> int:
    """The nearest tick."""
    time = pts * time_base * 10**9 / tick
    return math.floor(time + Fraction(1, 2))


def read_delays(path: Path) -> dict[int, int]:
    """Nanoseconds of codec delay by track number, as FFmpeg has written them."""
    delays = {}
    for element, contents in _read_header(path).elements:
        for name, track in children(contents) if element == TRACKS else ():
            values = dict(children(track)) if name == TRACK else {}
            if CODEC_DELAY in values:
                number = int.from_bytes(values[TRACK_NUMBER], "big")
                delays[number] = int.from_bytes(values[CODEC_DELAY], "big")
    return delays


def edit_header(path: Path, edit: HeaderEdit) -> None:
    """Rewrite the header of a complete file in place; what it grows by is taken from padding."""
    header = _read_header(path)
    elements = [
        (element, _edited(element, contents, edit))
        for element, contents in header.elements
        if element not in (VOID, SEEK_HEAD)
    ]
    seeks = dict(header.elements)[SEEK_HEAD]
    # Positions are numbers of fixed size, so that the seek head's size is known before they are.
    offset = len(_seek_head(seeks, {}))
    moved: dict[int, int] = {}
    for element, contents in elements:
        moved[header.positions[element]] = offset
        offset += len(encode_element(element, contents))
    body = b"".join(encode_element(*element) for element in elements)
    data = _seek_head(seeks, moved) + body
    room = header.num_bytes - len(data)
    if room < 2:
        raise UndecodableError(f"{path}: no room for {-room} bytes in its header")
    with path.open("r+b") as file:
        file.seek(header.start)
        file.write(data + void(room))


@dataclass(frozen=True)
class _Header:
    """What stands between the beginning of the segment and its first cluster."""

    start: int
    num_bytes: int
    elements: tuple[Element, ...]
    positions: Mapping[int, int]


def _read_header(path: Path) -> _Header:
    elements, positions = [], {}
    with path.open("rb") as file:
        start = _segment_start(file.read(64))
        position, num_file_bytes = start, path.stat().st_size
        while position < num_file_bytes:
            file.seek(position)
            head = file.read(12)
            element, id_bytes = read_vint(head, 0, keep_marker=True)
            size, size_bytes = read_vint(head, id_bytes)
            if element == CLUSTER_ID or not size_bytes:
                break
            file.seek(position + id_bytes + size_bytes)
            elements.append((element, file.read(size)))
            positions[element] = position - start
            position += id_bytes + size_bytes + size
    return _Header(start, position - start, tuple(elements), positions)


def _segment_start(data: bytes) -> int:
    """Where the contents of the segment begin."""
    position = 0
    while True:
        element, id_bytes = read_vint(data, position, keep_marker=True)
        size, size_bytes = read_vint(data, position + id_bytes)
        if not id_bytes or not size_bytes:
            raise UndecodableError("no Matroska segment where FFmpeg has written one")
        position += id_bytes + size_bytes
        if element == SEGMENT_ID:
            return position
        position += size


def _edited(element: int, contents: bytes, edit: HeaderEdit) -> bytes:
    if element not in (INFO, TRACKS, TAGS):
        return contents
    values = list(children(contents))
    if element == INFO:
        values = replaced(values, TIMESTAMP_SCALE, encode_number(edit.tick))
    elif element == TRACKS:
        values = [(name, _edit_track(name, data, edit)) for name, data in values]
    else:
        values = [
            (name, _edit_tag(data, edit.tick) if name == TAG else data) for name, data in values
        ]
    return join_elements(values)


def _edit_track(element: int, contents: bytes, edit: HeaderEdit) -> bytes:
    values = list(children(contents)) if element == TRACK else []
    if not values:
        return contents
    delay = edit.delays.get(int.from_bytes(dict(values)[TRACK_NUMBER], "big"), 0)
    if delay:
        values = replaced(values, CODEC_DELAY, encode_number(delay))
    if VIDEO in dict(values):
        video = _edit_video(list(children(dict(values)[VIDEO])), edit)
        values = replaced(values, VIDEO, join_elements(video))
    return join_elements(values)


def _edit_video(values: list[Element], edit: HeaderEdit) -> list[Element]:
    if edit.display:
        values = replaced(values, DISPLAY_WIDTH, encode_number(edit.display.numerator))
        values = replaced(values, DISPLAY_HEIGHT, encode_number(edit.display.denominator))
        values = replaced(values, DISPLAY_UNIT, encode_number(ASPECT_RATIO))
    hdr = b"".join(encode_element(*value) for value in _hdr(edit))
    return replaced(values, COLOUR, dict(values).get(COLOUR, b"") + hdr) if hdr else values


def _hdr(edit: HeaderEdit) -> Iterator[Element]:
    if edit.light_level:
        for element, value in zip(
            (MAX_CLL, MAX_FALL), struct.unpack_from("2I", edit.light_level), strict=True
        ):
            yield element, encode_number(value)
    if edit.mastering:
        *rationals, has_primaries, has_luminance = struct.unpack_from("22i", edit.mastering)
        pairs = zip(rationals[::2], rationals[1::2], strict=True)
        values = [top / (bottom or 1) for top, bottom in pairs]
        # FFmpeg has the lower luminance first.
        ordered = [
            *(values[:8] if has_primaries else [None] * 8),
            *(values[9:7:-1] if has_luminance else [None] * 2),
        ]
        yield (
            MASTERING,
            b"".join(
                encode_element(FIRST_MASTERING_VALUE + place, struct.pack(">d", value))
                for place, value in enumerate(ordered)
                if value is not None
            ),
        )


def _edit_tag(contents: bytes, tick: int) -> bytes:
    """A track's duration, a text, is in FFmpeg's milliseconds."""
    elements = []
    for element, data in children(contents):
        values = dict(children(data)) if element == SIMPLE_TAG else {}
        if values.get(TAG_NAME) == b"DURATION":
            text = values[TAG_STRING]
            written = _duration(text.rstrip(b"\0").decode("ascii"), tick).encode("ascii")
            values[TAG_STRING] = written.ljust(len(text), b"\0")
            data = join_elements(list(values.items()))
        elements.append((element, data))
    return join_elements(elements)


def _duration(text: str, tick: int) -> str:
    hours, minutes, seconds = text.split(":")
    ticks = round((int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)) * 1000)
    total = ticks * tick
    minutes_all, nanoseconds = divmod(total, 60 * 10**9)
    return f"{minutes_all // 60:02}:{minutes_all % 60:02}:{nanoseconds / 10**9:012.9f}"


def _seek_head(contents: bytes, moved: Mapping[int, int]) -> bytes:
    seeks = []
    for element, data in children(contents):
        if element == SEEK:
            values = dict(children(data))
            position = int.from_bytes(values[SEEK_POSITION], "big")
            values[SEEK_POSITION] = moved.get(position, position).to_bytes(8, "big")
            data = join_elements(list(values.items()))
        seeks.append((element, data))
    return encode_element(SEEK_HEAD, join_elements(seeks))
