"""EBML, the binary tree that Matroska is written in: elements read from bytes, and written."""

import struct
import zlib
from collections.abc import Iterator, Sequence

from ganray.errors import UndecodableError

CRC, VOID = 0xBF, 0xEC

Element = tuple[int, bytes]
"""Identifier and contents."""


def read_vint(data: bytes, position: int, *, keep_marker: bool = False) -> tuple[int, int]:
    """An EBML integer of variable size and its number of bytes, which is 0 if it is not whole."""
    if position >= len(data) or not data[position]:
        return 0, 0
    num_bytes = 9 - data[position].bit_length()
    if position + num_bytes > len(data):
        return 0, 0
    value = int.from_bytes(data[position : position + num_bytes], "big")
    return (value if keep_marker else value & (1 << 7 * num_bytes) - 1), num_bytes


def children(data: bytes) -> Iterator[Element]:
    position = 0
    while position < len(data):
        element, id_bytes = read_vint(data, position, keep_marker=True)
        size, size_bytes = read_vint(data, position + id_bytes)
        if not id_bytes or not size_bytes:
            raise UndecodableError(f"a damaged element at byte {position} of a Matroska header")
        begin = position + id_bytes + size_bytes
        yield element, data[begin : begin + size]
        position = begin + size


def encode_element(element: int, contents: bytes) -> bytes:
    num_bytes = -(-(len(contents) + 2).bit_length() // 7)
    size = (1 << 7 * num_bytes | len(contents)).to_bytes(num_bytes, "big")
    return element.to_bytes(-(-element.bit_length() // 8), "big") + size + contents


def encode_number(value: int) -> bytes:
    return value.to_bytes(max(1, -(-value.bit_length() // 8)), "big")


def join_elements(elements: Sequence[Element]) -> bytes:
    """The contents of a master element; its checksum, where it has one, is made anew."""
    has_crc = bool(elements) and elements[0][0] == CRC
    body = b"".join(encode_element(*element) for element in elements[int(has_crc) :])
    return encode_element(CRC, struct.pack("<I", zlib.crc32(body))) + body if has_crc else body


def replaced(elements: list[Element], element: int, contents: bytes) -> list[Element]:
    """The elements with one that is replaced, or added."""
    kept = [(name, contents if name == element else data) for name, data in elements]
    return kept if element in dict(elements) else [*kept, (element, contents)]


def void(num_bytes: int) -> bytes:
    """An element of that many bytes that says nothing."""
    num_size = 1 if num_bytes < 128 else 8
    size = (1 << 7 * num_size | num_bytes - 1 - num_size).to_bytes(num_size, "big")
    return bytes([VOID]) + size + bytes(num_bytes - 1 - num_size)
