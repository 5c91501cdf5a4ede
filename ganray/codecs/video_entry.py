"""Whether decoding can begin at a key frame and give exactly what decoding from the start does.

Containers mark more frames as keys than that. H.264 may mark a picture from which a decoder
only recovers little by little. Where nothing is known of a codec, the film is not cut.
"""

from collections.abc import Iterator

CLEAN_CODECS = {
    *("av1", "ffv1", "flv1", "h263", "huffyuv", "mpeg1video", "mpeg2video", "mpeg4", "theora"),
    *("vp8", "vp9"),
}
"""Codecs whose every key frame is an entry: what is shown after it depends on nothing before it."""

H264_IDR, H264_SEI = 5, 6
SEI_RECOVERY_POINT = 6
HEVC_FIRST_IRAP, HEVC_LAST_IRAP, HEVC_FIRST_NON_VCL = 16, 21, 32


def is_clean_entry(codec: str, extradata: bytes, data: bytes) -> bool:
    """Whether frames shown at or after a key packet decode exactly without what precedes it."""
    if codec == "h264":
        return _is_clean_h264(extradata, data)
    if codec == "hevc":
        return _is_clean_hevc(extradata, data)
    return codec in CLEAN_CODECS


def _is_clean_h264(extradata: bytes, data: bytes) -> bool:
    length_bytes = extradata[4] % 4 + 1 if extradata[:1] == b"\x01" and len(extradata) > 4 else 0
    for unit in _units(data, length_bytes):
        kind = unit[0] & 0x1F
        if kind == H264_IDR or (kind == H264_SEI and _recovers_at_once(unit[1:])):
            return True
    return False


def _is_clean_hevc(extradata: bytes, data: bytes) -> bool:
    """The first slice tells: pictures of random access are entries, by the standard."""
    is_hvcc = extradata[:1] == b"\x01" and len(extradata) > 21
    for unit in _units(data, extradata[21] % 4 + 1 if is_hvcc else 0):
        kind = unit[0] >> 1 & 0x3F
        if kind < HEVC_FIRST_NON_VCL:
            return HEVC_FIRST_IRAP <= kind <= HEVC_LAST_IRAP
    return False


def _recovers_at_once(sei: bytes) -> bool:
    """Whether a message says: recovered after 0 frames, and exactly."""
    payload = sei.replace(b"\0\0\x03", b"\0\0")
    position = 0
    while position + 2 < len(payload):
        kind, position = _sum_of_bytes(payload, position)
        size, position = _sum_of_bytes(payload, position)
        if kind == SEI_RECOVERY_POINT and position < len(payload):
            # A set first bit is the Exp-Golomb code of 0, the second bit is exact_match_flag.
            return payload[position] & 0xC0 == 0xC0
        position += size
    return False


def _sum_of_bytes(payload: bytes, position: int) -> tuple[int, int]:
    """A number written as bytes of 255 and a smaller one, and where it ends."""
    value = 0
    while position < len(payload):
        byte = payload[position]
        value, position = value + byte, position + 1
        if byte != 0xFF:
            break
    return value, position


def _units(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The beginnings of a packet's units: behind their lengths, or behind start codes if 0."""
    if not length_bytes:
        yield from (unit[:4096] for unit in data.split(b"\0\0\x01")[1:] if unit)
        return
    position = 0
    while position + length_bytes < len(data):
        size = int.from_bytes(data[position : position + length_bytes], "big")
        position += length_bytes
        if data[position : position + size]:
            yield data[position : position + min(size, 4096)]
        position += size
