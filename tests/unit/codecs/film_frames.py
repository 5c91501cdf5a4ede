"""Frames of film as other programs write them: DPX and Cineon byte by byte, EXR by OpenImageIO."""

import struct
from pathlib import Path

import numpy as np
import OpenImageIO

from ganray.codecs.film_packing import Packing, pack

DESCRIPTORS = {1: 6, 3: 50, 4: 51}
BANDS = {
    1: ("gray",),
    3: ("red", "green", "blue"),
    4: ("red", "green", "blue", "alpha"),
}


def codes(num_bands: int, height: int, width: int, *, depth: int, seed: int = 0) -> np.ndarray:
    """Code values (C,H,W), the smallest and the largest among them."""
    dtype = np.uint8 if depth == 8 else np.uint16
    values = np.random.default_rng(seed).integers(0, 2**depth, (num_bands, height, width), dtype)
    values.flat[0], values.flat[-1] = 2**depth - 1, 0
    return values


def make_dpx(
    pixels: np.ndarray,
    packing: Packing,
    *,
    padding: int = 0,
    stride: int | None = None,
    fields: dict[int, bytes] | None = None,
    offset: int = 2048,
) -> bytes:
    """A DPX whose header says nothing that it need not; `fields` are written over it."""
    order, (_, height, width) = packing.order, pixels.shape
    stride = stride or -(-packing.line_bytes(width) // 4) * 4
    header = bytearray(b"\xff" * 2048).ljust(offset, b"\0")
    for start, length in ((36, 624), (820, 32), (1432, 124), (1556, 64), (1664, 48), (1732, 188)):
        header[start : start + length] = bytes(length)
    header[:36] = (b"SDPX" if order == ">" else b"XPDS") + struct.pack(
        order + "I8s6I",
        *(offset, b"V2.0", offset + height * stride, 1, 1664, 384, 0, 0xFFFFFFFF),
    )[:32]
    header[20:36] = struct.pack(order + "4I", 1, 1664, 384, 0)
    header[768:780] = struct.pack(order + "HHII", 0, 1, width, height)
    descriptor = DESCRIPTORS[len(pixels)]
    header[780:784] = struct.pack(order + "I", 0)
    header[800:804] = bytes((descriptor, 3, 1, packing.bit_depth))
    header[804:820] = struct.pack(order + "HHIII", packing.method, 0, offset, padding, 0)
    for start, content in (fields or {}).items():
        header[start : start + len(content)] = content
    return bytes(header[:offset]) + pack(pixels, packing, stride)


def make_cineon(
    pixels: np.ndarray, order: str = ">", method: int = 5, fields: dict[int, bytes] | None = None
) -> bytes:
    _, height, width = pixels.shape
    packing = Packing(10, {5: 1, 6: 2}[method], order, 3)
    header = bytearray(2048)
    header[:24] = struct.pack(
        order + "6I", 0x802A5FD7, 2048, 1024, 1024, 0, 2048 + height * width * 4
    )
    header[24:28] = b"V4.5"
    header[192:194] = bytes((0, 3))
    for channel in range(3):
        start = 196 + 28 * channel
        header[start : start + 12] = bytes((0, channel + 1, 10, 0)) + struct.pack(
            order + "II", width, height
        )
    header[681] = method
    for start, content in (fields or {}).items():
        header[start : start + len(content)] = content
    return bytes(header) + pack(pixels, packing, width * 4)


def write_with_oiio(
    path: Path, samples: np.ndarray, spec: "OpenImageIO.ImageSpec", **attributes: object
) -> bytes:
    """(H,W,C) samples as OpenImageIO writes them; `__` in a name stands for `:`."""
    for name, value in attributes.items():
        kind, plain = value if isinstance(value, tuple) else (None, value)
        name = name.replace("__", ":")
        if kind:
            spec.attribute(name, OpenImageIO.TypeDesc(kind), plain)
        else:
            spec.attribute(name, plain)
    output = OpenImageIO.ImageOutput.create(str(path))
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(np.ascontiguousarray(samples)), output.geterror()
    output.close()
    return path.read_bytes()


def make_exr(
    path: Path,
    pixels: np.ndarray,
    names: tuple[str, ...],
    *,
    kinds: tuple[str, ...] = (),
    data: tuple[int, int] = (0, 0),
    display: tuple[int, int, int, int] | None = None,
    tile: int = 0,
    **attributes: object,
) -> bytes:
    """An EXR of (C,H,W) pixels; `data` is (x, y), `display` (x, y, width, height)."""
    num_bands, height, width = pixels.shape
    kind = "half" if pixels.dtype == np.float16 else "float"
    spec = OpenImageIO.ImageSpec(width, height, num_bands, kind)
    spec.channelnames = names
    if kinds:
        spec.channelformats = tuple(OpenImageIO.TypeDesc(k) for k in kinds)
    spec.x, spec.y = data
    spec.full_x, spec.full_y, spec.full_width, spec.full_height = display or (0, 0, width, height)
    spec.tile_width = spec.tile_height = tile
    return write_with_oiio(path, np.moveaxis(pixels, 0, -1), spec, **attributes)


def attributes_of(path: Path, data: bytes) -> dict[str, str]:
    """All that OpenImageIO says of a file beside its pixels."""
    path.write_bytes(data)
    picture = OpenImageIO.ImageInput.open(str(path))
    spec = picture.spec()
    found = {a.name: f"{a.type} {a.value!r}" for a in spec.extra_attribs}
    found["channels"] = f"{spec.channelnames} {spec.format} {spec.channelformats}"
    found["data"] = str((spec.x, spec.y, spec.width, spec.height))
    found["display"] = str((spec.full_x, spec.full_y, spec.full_width, spec.full_height))
    found["tile"] = str((spec.tile_width, spec.tile_height))
    picture.close()
    return found


def samples_of(path: Path, data: bytes, kind: str) -> np.ndarray:
    """The pixels (C,H,W) as OpenImageIO reads them."""
    path.write_bytes(data)
    picture = OpenImageIO.ImageInput.open(str(path))
    samples = picture.read_image(0, 0, 0, picture.spec().nchannels, kind)
    picture.close()
    return np.moveaxis(samples.reshape(*samples.shape[:2], -1), -1, 0)
