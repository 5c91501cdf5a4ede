"""How the code values of DPX and Cineon become bytes: 8, 10, 12 and 16 bits, in every packing.

Nothing is converted: a code value of 10 bits is a number from 0 to 1023 before and after.
Source: SMPTE ST 268, "File Format for Digital Moving-Picture Exchange (DPX)".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganray.raster.image import Pixels

DEPTHS = (8, 10, 12, 16)

PACKED, FILLED_A, FILLED_B = 0, 1, 2
"""DPX's numbers. Packed: no bit is unused inside a line. Filled: none of a sample's bits stands in
two words; method A has the unused ones at the low end, B at the high end."""

METHODS = (PACKED, FILLED_A, FILLED_B)

# What is in work at a time stays in the cache of a core.
_CHUNK_BYTES = 1 << 18

_Lines = NDArray[np.uint8]
_Samples = NDArray[Any]


@dataclass(frozen=True)
class Packing:
    """`order` is that of the bytes in a word, "<" or ">"; `method` is DPX's number."""

    bit_depth: int
    method: int
    order: str
    num_bands: int

    @property
    def dtype(self) -> str:
        return "uint8" if self.bit_depth == 8 else "uint16"

    def line_bytes(self, width: int) -> int:
        """One line, without what may pad it."""
        num_samples = width * self.num_bands
        if self.bit_depth in (8, 16):
            return num_samples * self.bit_depth // 8
        if self.method == PACKED:
            return -(-num_samples * self.bit_depth // 32) * 4
        return -(-num_samples // 3) * 4 if self.bit_depth == 10 else num_samples * 2


def unpack(
    data: bytes | memoryview, packing: Packing, shape: tuple[int, int, int], stride: int
) -> Pixels:
    """The pixels (C,H,W) of lines that begin `stride` bytes apart; the last may end early."""
    num_bands, height, width = shape
    line_bytes, num_samples = packing.line_bytes(width), width * num_bands
    assert len(data) >= (height - 1) * stride + line_bytes, "fewer bytes than lines"
    padded = data if len(data) >= height * stride else bytes(data).ljust(height * stride, b"\0")
    lines = np.frombuffer(padded, np.uint8, height * stride).reshape(height, stride)
    pixels: Pixels = np.empty(shape, packing.dtype)
    for rows in _chunks(height, stride):
        samples = _samples(lines[rows, :line_bytes], packing, num_samples)
        interleaved = samples[:, :num_samples].reshape(-1, width, num_bands)
        for band in range(num_bands):
            pixels[band, rows] = interleaved[..., band]
    return pixels


def pack(pixels: Pixels, packing: Packing, stride: int) -> bytes:
    """Inverse of `unpack`; what pads a line is zero, and what is too large is the largest code."""
    num_bands, height, width = pixels.shape
    line_bytes, num_samples = packing.line_bytes(width), width * num_bands
    lines, largest = np.zeros((height, stride), np.uint8), 2**packing.bit_depth - 1
    for rows in _chunks(height, stride):
        interleaved = np.empty((len(range(*rows.indices(height))), width, num_bands), pixels.dtype)
        for band in range(num_bands):
            # A bit too many would be one of the neighbour's.
            np.minimum(pixels[band, rows], largest, out=interleaved[..., band])
        samples = interleaved.reshape(-1, num_samples)
        lines[rows, :line_bytes] = _lines(samples, packing, line_bytes)
    return lines.tobytes()


def _chunks(height: int, stride: int) -> list[slice]:
    step = max(1, _CHUNK_BYTES // stride)
    return [slice(top, top + step) for top in range(0, height, step)]


def _samples(lines: _Lines, packing: Packing, num_samples: int) -> _Samples:
    """(rows, samples) of whole lines, and perhaps a few samples more."""
    depth, order = packing.bit_depth, packing.order
    if depth == 8:
        return lines
    if depth == 16:
        return lines.view(f"{order}u2")
    if packing.method == PACKED:
        return _unpack_stream(lines.view(f"{order}u4"), depth, num_samples)
    if depth == 12:
        words = lines.view(f"{order}u2")
        return words >> 4 if packing.method == FILLED_A else words & 0xFFF
    words = lines.view(f"{order}u4").astype(np.uint32)
    samples = np.empty((*words.shape, 3), np.uint16)
    for position, shift in enumerate(_shifts(packing)):
        np.bitwise_and(
            words >> np.uint32(shift), 0x3FF, out=samples[..., position], casting="unsafe"
        )
    return samples.reshape(len(lines), -1)


def _lines(samples: _Samples, packing: Packing, line_bytes: int) -> _Lines:
    """Inverse of `_samples`."""
    depth, order = packing.bit_depth, packing.order
    if depth == 8:
        return samples.astype(np.uint8, copy=False)
    if depth == 16:
        return samples.astype(f"{order}u2").view(np.uint8)
    if packing.method == PACKED:
        return _pack_stream(samples, depth, line_bytes).astype(f"{order}u4").view(np.uint8)
    if depth == 12:
        words = samples << 4 if packing.method == FILLED_A else samples
        return words.astype(f"{order}u2").view(np.uint8)
    triples = _widen(samples, line_bytes // 4 * 3).reshape(len(samples), -1, 3)
    packed = np.zeros(triples.shape[:2], np.uint32)
    for position, shift in enumerate(_shifts(packing)):
        packed |= triples[..., position].astype(np.uint32) << np.uint32(shift)
    return packed.astype(f"{order}u4").view(np.uint8)


def _shifts(packing: Packing) -> tuple[int, int, int]:
    """Where the three samples of a word stand: of gray the first is the lowest, else the last."""
    unused = 2 if packing.method == FILLED_A else 0
    lowest_first = (unused, unused + 10, unused + 20)
    return lowest_first if packing.num_bands == 1 else lowest_first[::-1]


def _unpack_stream(words: NDArray[np.uint32], depth: int, num_samples: int) -> _Samples:
    """Samples that follow each other from the lowest bit of each word upwards."""
    in_group, group_bytes = _group(depth)
    num_groups = -(-num_samples // in_group)
    stream = _widen(words.astype("<u4").view(np.uint8), num_groups * group_bytes)
    groups = stream.reshape(len(words), num_groups, group_bytes).astype(np.uint16)
    samples = np.empty((len(words), num_groups, in_group), np.uint16)
    for position in range(in_group):
        byte, bit = divmod(position * depth, 8)
        pair = groups[..., byte] | groups[..., byte + 1] << 8
        samples[..., position] = pair >> bit & (1 << depth) - 1
    return samples.reshape(len(words), -1)


def _pack_stream(samples: _Samples, depth: int, line_bytes: int) -> NDArray[np.uint32]:
    """Inverse of `_unpack_stream`."""
    in_group, group_bytes = _group(depth)
    num_groups = -(-samples.shape[1] // in_group)
    grouped = _widen(samples, num_groups * in_group).reshape(len(samples), num_groups, in_group)
    stream = np.zeros((len(samples), num_groups, group_bytes), np.uint8)
    for position in range(in_group):
        byte, bit = divmod(position * depth, 8)
        pair = grouped[..., position] << bit
        stream[..., byte] |= (pair & 0xFF).astype(np.uint8)
        stream[..., byte + 1] |= (pair >> 8).astype(np.uint8)
    flat = _widen(stream.reshape(len(samples), -1), line_bytes)[:, :line_bytes]
    return np.ascontiguousarray(flat).view("<u4")


def _group(depth: int) -> tuple[int, int]:
    """The least samples that fill whole bytes, and how many bytes."""
    return (4, 5) if depth == 10 else (2, 3)


def _widen(lines: _Samples, width: int) -> _Samples:
    missing = width - lines.shape[1]
    return np.pad(lines, ((0, 0), (0, missing))) if missing > 0 else lines[:, :width]
