import io
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from itertools import product

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, ImageCms
from PIL import Image as PillowImage

from ganray.codecs import photo
from ganray.codecs.deep_photo import lost_in
from ganray.codecs.photo import OutputConfig, decode, encode, probe
from ganray.codecs.png_chunks import pack_chunk
from ganray.errors import CodecError, TooLargeError, UndecodableError, UnsupportedImageError
from ganray.raster.image import Image, Profile

BANDS = {
    2: ("gray", "alpha"),
    3: ("red", "green", "blue"),
    4: ("red", "green", "blue", "alpha"),
}
CODECS = ("png", "tiff")
OPTIONS = OutputConfig()
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>ganray</note></x:xmpmeta>'
ADAM7 = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)),
    (1, 0, 2, 1),
)
few_examples = settings(max_examples=25, deadline=None)


def noise(num_bands: int, height: int = 9, width: int = 14, seed: int = 0) -> np.ndarray:
    """Pixels (C,H,W) of which no two bytes agree."""
    shape = (num_bands, height, width)
    return np.random.default_rng(seed).integers(0, 2**16, shape, np.uint16)


def store_png(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    samples = np.stack(list(pixels), axis=-1)
    data = bytes(imagecodecs.png_encode(samples[..., 0] if len(pixels) == 1 else samples, level=1))
    return data[:33] + b"".join(pack_chunk(*chunk) for chunk in chunks) + data[33:]


def store_tiff(pixels: np.ndarray, **options: object) -> bytes:
    """As tifffile, which is another writer, has it."""
    alpha = {2: ["unassalpha"], 4: ["unassalpha"]}.get(len(pixels), [])
    settings = {
        "photometric": "rgb" if len(pixels) > 2 else "minisblack",
        "planarconfig": "contig",
        "extrasamples": alpha,
        "metadata": None,
    } | options
    samples = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    if settings["planarconfig"] == "separate":
        samples = pixels
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **settings)
    return buffer.getvalue()


STORE = {"png": store_png, "tiff": store_tiff}


def make_exif() -> PillowImage.Exif:
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Artist] = "A. Photographer"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 14
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif


def read(data: bytes) -> Image:
    return decode(data, max_pixels=10**6)


def exif_of(data: bytes) -> PillowImage.Exif:
    with PillowImage.open(io.BytesIO(data)) as picture:
        return picture.getexif()


def chunks_of(data: bytes) -> dict[bytes, bytes]:
    found, offset = {}, 8
    while offset < len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        found.setdefault(kind, data[offset + 8 : offset + 8 + length])
        offset += 12 + length
    return found


def described(**changes: object) -> Image:
    """An image with all that a profile holds."""
    profile = Profile(
        codec="png",
        dtype="uint16",
        bit_depth=16,
        colorinterp=BANDS[3],
        resolution=(300.0, 600.0),
        icc=ICC,
        exif=make_exif().tobytes(),
        xmp=XMP,
    )
    return Image(noise(3), replace(profile, **changes))


# Pixels


@pytest.mark.parametrize(("source", "target"), list(product(CODECS, CODECS)))
@few_examples
@given(
    num_bands=st.sampled_from(list(BANDS)),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_sixteen_bit_colour_keeps_every_pixel(
    source: str, target: str, num_bands: int, height: int, width: int, seed: int
) -> None:
    pixels = noise(num_bands, height, width, seed)
    image = read(STORE[source](pixels))
    assert image.pixels.dtype == np.uint16 and np.array_equal(image.pixels, pixels)
    profile = image.profile
    assert (profile.codec, profile.dtype, profile.bit_depth) == (source, "uint16", 16)
    assert profile.colorinterp == BANDS[num_bands] and profile.lossless and profile.lost == ()
    again = read(encode(image, target, OPTIONS, "history"))
    assert np.array_equal(again.pixels, pixels)
    assert replace(again.profile, exif=None, codec=source) == replace(profile, exif=None)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("scale", [2, 4])
def test_a_magnified_image_is_as_much_larger(codec: str, scale: int) -> None:
    image = read(STORE[codec](noise(3)))
    larger = image.pixels.repeat(scale, 1).repeat(scale, 2)
    data = encode(replace(image, pixels=larger), codec, OPTIONS, "")
    assert probe(data)[1:] == (9 * scale, 14 * scale)
    assert np.array_equal(read(data).pixels, larger)


@pytest.mark.parametrize("level", range(10))
def test_every_level_of_png_is_exact(level: int) -> None:
    image = described()
    data = encode(image, "png", OutputConfig(png_level=level), "")
    assert np.array_equal(read(data).pixels, image.pixels)


@pytest.mark.parametrize("num_bands", BANDS)
@pytest.mark.parametrize("compression", ["deflate", "zstd", "none"])
def test_tifffile_reads_the_same_pixels_of_our_tiff(num_bands: int, compression: str) -> None:
    pixels = noise(num_bands, 530, 40)
    options = OutputConfig(tiff_compression=compression)
    image = Image(pixels, replace(described().profile, colorinterp=BANDS[num_bands]))
    with tifffile.TiffFile(io.BytesIO(encode(image, "tiff", options, ""))) as tiff:
        assert len(tiff.pages) == 1
        assert np.array_equal(np.moveaxis(tiff.asarray(), -1, 0), pixels)


def test_an_interlaced_png_is_exact() -> None:
    pixels = noise(3, 19, 21)
    rows = b""
    for top, left, down, across in ADAM7:
        for row in pixels[:, top::down, left::across].transpose(1, 2, 0).astype(">u2"):
            rows += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", 21, 19, 16, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(pack_chunk(*chunk) for chunk in chunks)
    assert np.array_equal(read(data).pixels, pixels)


@pytest.mark.parametrize(
    "options",
    [
        {"byteorder": ">"},
        {"planarconfig": "separate"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw"},
        {"tile": (16, 16)},
        {"rowsperstrip": 2},
        {"bigtiff": True},
    ],
)
def test_every_layout_of_a_tiff_is_exact(options: dict) -> None:
    pixels = noise(3, 21, 34)
    assert np.array_equal(read(store_tiff(pixels, **options)).pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_decoded_as_pillow_turns_one_of_eight_bits(orientation: int) -> None:
    pixels = noise(3, 5, 8)
    data = store_tiff(pixels, extratags=[(274, 3, 1, orientation)])
    shallow = store_tiff((pixels >> 8).astype(np.uint8), extratags=[(274, 3, 1, orientation)])
    image = read(data)
    assert np.array_equal(image.pixels >> 8, read(shallow).pixels)
    assert probe(data)[1:] == probe(shallow)[1:] == image.pixels.shape[1:]
    assert np.array_equal(read(encode(image, "tiff", OPTIONS, "")).pixels, image.pixels)


@pytest.mark.parametrize("num_bands", [1, 3])
def test_a_transparent_colour_becomes_alpha_and_is_named(num_bands: int) -> None:
    pixels = noise(num_bands)
    key = pixels[:, 0, 0].astype(">u2").tobytes()
    image = read(store_png(pixels, (b"tRNS", key)))
    assert image.profile.colorinterp == BANDS[num_bands + 1]
    assert image.profile.lost == ("transparent colour key",)
    assert np.array_equal(image.pixels[:-1], pixels)
    assert image.pixels[-1, 0, 0] == 0 and np.all(image.pixels[-1].flat[1:] == 2**16 - 1)


@pytest.mark.parametrize("codec", CODECS)
def test_encoding_the_same_twice_gives_the_same_bytes(codec: str) -> None:
    assert encode(described(), codec, OPTIONS, "h") == encode(described(), codec, OPTIONS, "h")


# Metadata


@pytest.mark.parametrize(("first", "second"), list(product(CODECS, CODECS)))
def test_icc_exif_gps_xmp_and_resolution_go_through_every_format(first: str, second: str) -> None:
    image = read(encode(described(), first, OPTIONS, "first"))
    data = encode(image, second, OPTIONS, "second")
    profile = read(data).profile
    assert profile.icc == ICC and profile.xmp == XMP
    assert profile.resolution == pytest.approx((300, 600), abs=0.02)
    exif = exif_of(data)
    assert exif[ExifTags.Base.Artist] == "A. Photographer"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert exif[0x9213] == "first\nsecond"


@pytest.mark.parametrize("codec", CODECS)
def test_the_pixel_size_in_the_exif_block_is_brought_up_to_date(codec: str) -> None:
    image = described()
    data = encode(replace(image, pixels=image.pixels.repeat(2, 2)), codec, OPTIONS, "")
    details = exif_of(data).get_ifd(ExifTags.IFD.Exif)
    assert details[ExifTags.Base.ExifImageWidth] == 28


@pytest.mark.parametrize("codec", CODECS)
def test_pillow_reads_our_metadata(codec: str) -> None:
    with PillowImage.open(io.BytesIO(encode(described(), codec, OPTIONS, "h"))) as picture:
        assert picture.info["icc_profile"] == ICC
        assert picture.info["dpi"] == pytest.approx((300, 600), abs=0.02)
        assert picture.getexif()[ExifTags.Base.Artist] == "A. Photographer"


def test_what_only_a_png_says_of_its_colours_stays_and_is_lost_in_a_tiff_by_name() -> None:
    chunks = {
        b"gAMA": struct.pack(">I", 45455),
        b"cHRM": struct.pack(">8I", *range(1, 9)),
        b"sRGB": b"\1",
        b"cICP": b"\x09\x10\0\1",
        b"sBIT": b"\x0c\x0c\x0c",
        b"bKGD": struct.pack(">3H", 1, 2, 3),
        b"tIME": struct.pack(">H5B", 2001, 2, 3, 4, 5, 6),
        b"tEXt": b"Title\0a harbour",
        b"zTXt": b"Comment\0\0" + zlib.compress(b"long"),
        b"vpAg": b"private",
    }
    image = read(store_png(noise(3), *chunks.items()))
    assert image.profile.lost == ()
    found = chunks_of(encode(image, "png", OPTIONS, ""))
    assert {kind: found[kind] for kind in chunks} == chunks
    assert lost_in(image.profile, "png") == ()
    assert lost_in(image.profile, "tiff") == tuple(f"{kind.decode()} chunk" for kind in chunks)


def test_a_chunk_that_would_be_wrong_of_the_output_is_named() -> None:
    chunks = [(b"oFFs", b"\0" * 9), (b"sCAL", b"\x011\x001"), (b"PLTE", b"\0\0\0"), (b"prIV", b"x")]
    profile = read(store_png(noise(3), *chunks)).profile
    assert profile.lost == ("oFFs chunk", "sCAL chunk", "PLTE chunk", "prIV chunk")


def test_an_aspect_without_a_unit_stays_an_aspect() -> None:
    ratio = struct.pack(">IIB", 2, 1, 0)
    image = read(store_png(noise(3), (b"pHYs", ratio)))
    assert image.profile.resolution is None
    assert chunks_of(encode(image, "png", OPTIONS, ""))[b"pHYs"] == ratio


def test_compressed_texts_of_xmp_and_of_exif_are_found() -> None:
    exif = make_exif().tobytes()
    digits = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
    image = read(
        store_png(
            noise(3),
            (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
            (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(digits)),
        )
    )
    assert image.profile.xmp == XMP and image.profile.exif == exif


@pytest.mark.parametrize(
    "chunk",
    [(b"iCCP", b"name\0\0no zlib"), (b"iCCP", b"name\0\0" + zlib.compress(ICC)[:-8])],
)
def test_a_damaged_colour_profile_is_named(chunk: tuple[bytes, bytes]) -> None:
    profile = read(store_png(noise(3), chunk)).profile
    assert profile.icc is None and profile.lost == ("iCCP chunk",)


def test_metadata_behind_the_pixels_is_kept() -> None:
    plain = store_png(noise(3))
    text = pack_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    assert read(plain[:-12] + text + plain[-12:]).profile.xmp == XMP


@pytest.mark.parametrize("codec", CODECS)
def test_a_header_alone_tells_profile_and_size(codec: str) -> None:
    data = encode(Image(noise(3, 100, 90), described().profile), codec, OPTIONS, "history")
    image = read(data)
    assert probe(data) == (image.profile, 100, 90)
    assert len(data) > 2 * 8192
    assert probe(data[:8192]) == (image.profile, 100, 90)


# What does not fit is refused


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_a_format_of_eight_bits_is_refused(codec: str) -> None:
    with pytest.raises(UnsupportedImageError, match=r"at 16 bits; set output\.format=png or tiff"):
        encode(described(), codec, OPTIONS, "")


def test_what_a_png_has_no_bands_for_is_refused() -> None:
    profile = replace(described().profile, colorinterp=("gray", "undefined"))
    photo.require_encodable(profile, "tiff", 9, 14)
    with pytest.raises(UnsupportedImageError, match=r"png cannot hold gray\+undefined"):
        photo.require_encodable(profile, "png", 9, 14)


def test_code_values_of_ten_bits_are_no_photograph() -> None:
    profile = replace(described().profile, bit_depth=10)
    with pytest.raises(UnsupportedImageError, match="at 10 bits"):
        photo.require_encodable(profile, "png", 9, 14)


def test_a_georeference_is_refused_rather_than_lost() -> None:
    data = store_tiff(noise(3), extratags=[(33550, 12, 3, (1.0, 1.0, 0.0))])
    with pytest.raises(UnsupportedImageError, match="GeoTIFF"):
        read(data)


def test_several_frames_are_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="3 frames or pages"):
        read(store_png(noise(3), (b"acTL", struct.pack(">II", 3, 0))))
    pages = np.stack([np.moveaxis(noise(3), 0, -1)] * 2)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pages, photometric="rgb", metadata=None)
    with pytest.raises(UnsupportedImageError, match="several frames or pages"):
        read(buffer.getvalue())


# Damage and limits


@pytest.mark.parametrize("codec", CODECS)
def test_a_truncated_file_is_refused_at_any_length(codec: str) -> None:
    data = STORE[codec](noise(3, 12, 11))
    for length in range(len(data)):
        with pytest.raises(UndecodableError):
            read(data[:length])


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_bytes_give_an_image_or_an_error_of_ganray(codec: str, data: st.DataObject) -> None:
    content = bytearray(encode(described(), codec, OPTIONS, "history"))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = read(bytes(content))
    except CodecError as error:
        assert str(error)
        return
    assert image.pixels.shape[0] == image.profile.num_bands
    with suppress(CodecError):
        assert encode(image, data.draw(st.sampled_from(CODECS)), OPTIONS, "history")


@pytest.mark.parametrize("codec", CODECS)
def test_the_limit_is_checked_before_any_pixel_is_read(codec: str) -> None:
    data = bytearray(STORE[codec](noise(3, 9, 14)))
    assert decode(bytes(data), max_pixels=9 * 14).pixels.shape == (3, 9, 14)
    with pytest.raises(TooLargeError, match=r"14x9 is 126 pixels; limits\.pixels allows 125"):
        decode(bytes(data), max_pixels=9 * 14 - 1)


def test_a_png_that_claims_too_much_is_refused_unread() -> None:
    header = pack_chunk(b"IHDR", struct.pack(">IIBBBBB", 10**6, 10**6, 16, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + pack_chunk(b"IDAT", b"") + pack_chunk(b"IEND", b"")
    with pytest.raises(TooLargeError, match="1000000x1000000 is 1000000000000 pixels"):
        read(bomb)


def test_pixels_whose_checksum_is_wrong_are_damaged() -> None:
    data = bytearray(store_png(noise(3)))
    data[data.index(b"IDAT") + 10] ^= 1
    with pytest.raises(UndecodableError, match="checksum of its IDAT chunk"):
        read(bytes(data))
