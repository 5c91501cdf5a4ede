import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganray.codecs.video_ebml import CRC, children, encode_element, read_vint, void
from ganray.codecs.video_integrity import SEGMENT_ID, require_whole
from ganray.codecs.video_matroska import INFO, TAGS, TIMESTAMP_SCALE, choose_tick, to_ticks
from ganray.errors import UndecodableError
from tests.unit.codecs.film_files import VFR, Film, packets, restore, write_film

BASES = st.sampled_from(
    [Fraction(1, n) for n in (1000, 12800, 15360, 24000, 30000, 44100, 48000, 90000, 96000, 10**6)]
    + [Fraction(1001, 24000), Fraction(1001, 30000), Fraction(1, 25), Fraction(1, 192000)]
)
MASTERS = (0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0x1254C367, 0x7373, 0x114D9B74)


@given(video=BASES, others=st.lists(BASES, max_size=3), pts=st.integers(-(10**9), 10**12))
def test_every_time_can_be_told_from_its_ticks(
    video: Fraction, others: list[Fraction], pts: int
) -> None:
    tick = choose_tick(video, others)
    for base in (video, *others):
        time = Fraction(to_ticks(pts, base, tick) * tick, 10**9)
        assert round(time / base) == pts


@pytest.mark.parametrize("base", [Fraction(1, 12800), Fraction(1, 16000), Fraction(1, 25)])
def test_times_of_whole_nanoseconds_are_exact(base: Fraction) -> None:
    for others in ([], [Fraction(1, 44100)], [Fraction(1, 48000), Fraction(1, 1000)]):
        assert base * 10**9 % choose_tick(base, others) == 0


def test_what_ffmpegs_milliseconds_hold_stays_in_milliseconds() -> None:
    assert choose_tick(Fraction(1, 1000), [Fraction(1, 1000)]) == 10**6


@given(st.integers(2, 5000))
def test_padding_is_of_any_size(num_bytes: int) -> None:
    assert len(void(num_bytes)) == num_bytes
    assert list(children(void(num_bytes))) == [
        (0xEC, bytes(len(next(children(void(num_bytes)))[1])))
    ]


@given(element=st.sampled_from(MASTERS), contents=st.binary(max_size=300))
def test_elements_are_read_as_they_were_written(element: int, contents: bytes) -> None:
    assert list(children(encode_element(element, contents))) == [(element, contents)]


def test_a_damaged_element_is_an_error() -> None:
    with pytest.raises(UndecodableError, match="damaged element"):
        list(children(b"\0\0"))
    assert read_vint(b"\x40", 0) == (0, 0)


def test_every_checksum_and_position_of_the_header_is_right(tmp_path: Path) -> None:
    film = Film(times=VFR, audio="aac", aspect=Fraction(4, 3), tags={"title": "t"}, chapters=True)
    path = restore(write_film(tmp_path / "film.mp4", film), tmp_path).path
    data = path.read_bytes()
    assert require_whole(lambda at, size: data[at : at + size], len(data)) == "matroska"
    segment, start = next((d, len(data) - len(d)) for e, d in children(data) if e == SEGMENT_ID)
    require_checksums(segment)
    elements, position = {}, 0
    for element, contents in children(segment):
        elements.setdefault(position, element)
        position += len(encode_element_head(data, start + position)) + len(contents)
    seeks = dict(children(dict(children(segment))[0x114D9B74]))
    assert seeks
    for element, contents in children(dict(children(segment))[0x114D9B74]):
        if element == 0x4DBB:
            values = dict(children(contents))
            place = int.from_bytes(values[0x53AC], "big")
            assert elements[place] == int.from_bytes(values[0x53AB], "big")


def encode_element_head(data: bytes, position: int) -> bytes:
    _, id_bytes = read_vint(data, position, keep_marker=True)
    _, size_bytes = read_vint(data, position + id_bytes)
    return data[position : position + id_bytes + size_bytes]


def require_checksums(contents: bytes) -> None:
    elements = list(children(contents))
    if elements and elements[0][0] == CRC:
        assert zlib.crc32(contents[6:]) == struct.unpack("<I", elements[0][1])[0]
    for element, inside in elements:
        if element in MASTERS:
            require_checksums(inside)


def test_the_header_says_how_long_a_tick_and_the_film_are(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film(times=VFR))
    restored = restore(path, tmp_path).path
    (segment,) = (d for e, d in children(restored.read_bytes()) if e == SEGMENT_ID)
    top = dict(children(segment))
    assert int.from_bytes(dict(children(top[INFO]))[TIMESTAMP_SCALE], "big") == 78125
    seconds = (VFR[-1] + 512) / 12800
    with av.open(str(restored)) as film:
        assert film.duration == pytest.approx(seconds * 10**6, abs=1)
    hours = f"00:00:{seconds:012.9f}".encode()
    assert hours in top[TAGS]


@pytest.mark.parametrize(("codec", "delay"), [("aac", 1024), ("libopus", 312)])
def test_sound_that_begins_before_the_picture_keeps_its_times(
    codec: str, delay: int, tmp_path: Path
) -> None:
    for suffix in (".mp4", ".mkv"):
        path = write_film(tmp_path / f"film{suffix}", Film(audio=codec))
        (before,), (after,) = packets(path, "audio"), packets(restored_path(path), "audio")
        assert before[0][0] < 0
        assert [data for _, data in after] == [data for _, data in before]
        for (found, _), (expected, _) in zip(after, before, strict=True):
            assert abs(found - expected) < Fraction(1, 96000)
    assert delay


def restored_path(path: Path) -> Path:
    return restore(path, path.parent).path
