"""TIFF directories as they stand in a file, read without trusting what they claim.

Classic TIFF and BigTIFF in both byte orders; an EXIF block is one too. What is read is no
more than is asked for, and every offset is checked by reading what it points to.
"""

import struct
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganray.codecs.tiff_tags import WORD_BYTES, Code, Kind, Tag, directory_tag, numbers, value_bytes
from ganray.errors import UndecodableError

_POINTERS = (Code.EXIF, Code.GPS, Code.INTEROPERABILITY)

ANY_TAG = range(2**16)
MAX_TAGS = 4096
MAX_VALUES_BYTES = 64 << 20

ReadBytes = Callable[[int, int], bytes]
"""Returns the bytes [start, end) of a file, or fewer where it ends."""


@dataclass(frozen=True)
class Entry:
    """Where the values of a tag stand in a file, before they are read."""

    code: int
    kind: int
    num_values: int
    start: int

    @property
    def num_bytes(self) -> int:
        return self.num_values * value_bytes(Kind(self.kind))


@dataclass(frozen=True)
class TiffBytes:
    """A file that is read as TIFF: its byte order, "<" or ">", and whether it is BigTIFF."""

    read: ReadBytes
    order: str
    big: bool
    first_directory: int

    def directory(self, offset: int) -> tuple[dict[int, Entry], int]:
        """The entries of one directory, and the offset of the next or 0.

        Of entries with one code the first counts. Raises UndecodableError.
        """
        num_tags = self._integer(offset, 8 if self.big else 2)
        if num_tags > MAX_TAGS:
            raise UndecodableError(f"a directory of {num_tags} tags; expected at most {MAX_TAGS}")
        start = offset + (8 if self.big else 2)
        entry_bytes = 20 if self.big else 12
        table = self._exactly(start, num_tags * entry_bytes)
        entries: dict[int, Entry] = {}
        for begin in range(0, len(table), entry_bytes):
            entry = self._entry(table[begin : begin + entry_bytes], start + begin)
            entries.setdefault(entry.code, entry)
        return entries, self._integer(start + len(table), 8 if self.big else 4)

    def tag(self, entry: Entry) -> Tag:
        """The tag with its values, without following it to another directory.

        Raises UndecodableError.
        """
        if entry.kind not in WORD_BYTES:
            raise UndecodableError(f"tag {entry.code} is of unknown type {entry.kind}: damaged")
        if entry.num_bytes > MAX_VALUES_BYTES:
            raise UndecodableError(
                f"tag {entry.code} claims {entry.num_bytes} bytes; expected at most "
                f"{MAX_VALUES_BYTES}"
            )
        data = self._exactly(entry.start, entry.num_bytes)
        if self.order == ">":
            data = np.frombuffer(data, f">u{WORD_BYTES[entry.kind]}").byteswap().tobytes()
        return Tag(entry.code, Kind(entry.kind), data)

    def tree(self, offset: int, only: Container[int], depth: int = 2) -> Iterator[Tag]:
        """The tags of a directory, and all of those that they point to, `depth` levels down."""
        for entry in self.directory(offset)[0].values():
            if entry.code not in only or entry.kind not in WORD_BYTES:
                continue
            tag = self.tag(entry)
            if depth and tag.code in _POINTERS and tag.count == 1:
                children = self.tree(int(numbers(tag)[0]), ANY_TAG, depth - 1)
                yield directory_tag(tag.code, tuple(children))
            else:
                yield tag

    def _entry(self, packed: bytes, position: int) -> Entry:
        code, kind = struct.unpack(f"{self.order}HH", packed[:4])
        inline = 8 if self.big else 4
        num_values = self._unpack(packed[4 : 4 + inline])
        start = position + 4 + inline
        if kind in WORD_BYTES and num_values * value_bytes(Kind(kind)) > inline:
            start = self._unpack(packed[4 + inline :])
        return Entry(code, kind, num_values, start)

    def _integer(self, offset: int, num_bytes: int) -> int:
        return self._unpack(self._exactly(offset, num_bytes))

    def _unpack(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self.order == "<" else "big")

    def _exactly(self, start: int, num_bytes: int) -> bytes:
        data = self.read(start, start + num_bytes)
        if len(data) != num_bytes:
            raise UndecodableError(
                f"a TIFF directory points to bytes {start} to {start + num_bytes}, behind the "
                "file's end: damaged or truncated"
            )
        return data


def open_tiff(read: ReadBytes) -> TiffBytes:
    """Read a TIFF's header. Raises UndecodableError if there is none."""
    header = read(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2], "")
    if not order or len(header) < 8:
        raise UndecodableError(f"no TIFF: it begins with {header[:12]!r}")
    version: int = struct.unpack(f"{order}H", header[2:4])[0]
    if version == 42:
        return TiffBytes(read, order, False, struct.unpack(f"{order}I", header[4:8])[0])
    if version == 43 and struct.unpack(f"{order}HH", header[4:8]) == (8, 0) and len(header) == 16:
        return TiffBytes(read, order, True, struct.unpack(f"{order}Q", header[8:])[0])
    raise UndecodableError(f"no TIFF: version {version}; expected 42 or, for BigTIFF, 43")


class TagValues:
    """The values of one directory's tags, read when they are asked for."""

    def __init__(self, tiff: TiffBytes, offset: int) -> None:
        self.order = tiff.order
        self._tiff = tiff
        self._entries, self.following = tiff.directory(offset)

    def __contains__(self, code: int) -> bool:
        return code in self._entries

    @property
    def codes(self) -> frozenset[int]:
        return frozenset(self._entries)

    def data(self, code: int) -> bytes | None:
        """The bytes of a tag's values."""
        return self._tiff.tag(self._entries[code]).data if code in self else None

    def all(self, code: int) -> NDArray[np.int64]:
        """All integers of a tag, none if it is absent."""
        if code not in self:
            return np.empty(0, np.int64)
        return numbers(self._tiff.tag(self._entries[code]))

    def number(self, code: int, default: int | None = None) -> int:
        """The first integer of a tag."""
        values = self.all(code)
        if values.size:
            return int(values[0])
        if default is None:
            raise UndecodableError(f"a TIFF without tag {code}: damaged, or no image")
        return default

    def positive(self, code: int, default: int | None = None) -> int:
        """The first integer of a tag, which has to be at least 1."""
        number = self.number(code, default)
        if number < 1:
            raise UndecodableError(f"TIFF tag {code} is {number}; expected at least 1")
        return number

    def for_bands(self, code: int, num_bands: int) -> tuple[int, ...]:
        """The integers of a tag that has one for each band; 1 if it is absent."""
        return tuple(self.all(code)[:num_bands].tolist()) or (1,)
