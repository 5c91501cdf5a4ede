import io
import struct
import zlib
from contextlib import suppress
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, ImageCms
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from ganray.codecs.photo import OutputConfig, decode, encode, probe
from ganray.codecs.photo_metadata import EXIF_IMAGE_HISTORY
from ganray.errors import CodecError, TooLargeError, UndecodableError, UnsupportedImageError
from ganray.raster.image import Image, Profile

few_examples = settings(max_examples=20, deadline=None)
LIMIT = 10**6
OPTIONS = OutputConfig()
BANDS = {
    "L": ("gray",),
    "LA": ("gray", "alpha"),
    "RGB": ("red", "green", "blue"),
    "RGBA": ("red", "green", "blue", "alpha"),
}
LOSSLESS = [
    *(("png", mode) for mode in BANDS),
    *(("tiff", mode) for mode in BANDS),
    *(("webp", mode) for mode in ("RGB", "RGBA")),
]
CODECS = ("png", "jpeg", "webp", "tiff")
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>ganray</note></x:xmpmeta>'


def noise(mode: str, height: int = 9, width: int = 14, seed: int = 0) -> np.ndarray:
    """Pixels (C,H,W) of a Pillow mode."""
    shape = (len(BANDS.get(mode, "L")), height, width)
    dtype = np.uint16 if mode == "I;16" else np.uint8
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def as_picture(pixels: np.ndarray) -> PillowImage.Image:
    last = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    return PillowImage.fromarray(last[..., 0] if last.shape[-1] == 1 else last)


def store(pixels: np.ndarray, codec: str, **options: object) -> bytes:
    """What another program would have written."""
    buffer = io.BytesIO()
    if isinstance(options.get("exif"), PillowImage.Exif):
        # As an object, Pillow's TIFF writer would pass its directories over.
        options["exif"] = options["exif"].tobytes()
    if codec == "webp":
        options = {"lossless": True, "exact": True} | options
    as_picture(pixels).save(buffer, format=codec.upper(), **options)
    return buffer.getvalue()


def save(picture: PillowImage.Image, codec: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=codec.upper(), **options)
    return buffer.getvalue()


def read(data: bytes) -> Image:
    return decode(data, max_pixels=LIMIT)


def reread(image: Image, codec: str, history: str = "history") -> Image:
    return read(encode(image, codec, OPTIONS, history))


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def make_png(width: int, height: int, depth: int, color_type: int, *extra: bytes) -> bytes:
    """A PNG of zeros, chunk by chunk; `extra` chunks follow the header."""
    num_bands = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color_type]
    row = b"\0" * (1 + -(-width * num_bands * depth // 8))
    rows = row * min(height, 100)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)),
            *extra,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def make_tiff(bits: tuple[int, ...], photometric: int, sample_format: int = 1) -> bytes:
    """A 4x3 TIFF of zeros, tag by tag, little-endian, its pixels at the end."""
    width, height, samples = 4, 3, len(bits)
    bits_offset = 8 + 2 + 11 * 12 + 4
    pixels_offset = bits_offset + 2 * samples
    num_bytes = -(-width * sum(bits) // 8) * height
    single = samples * 2 <= 4
    packed = struct.pack(f"<{samples}H", *bits)
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, samples, int.from_bytes(packed, "little") if single else bits_offset),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, pixels_offset),
        (277, 3, 1, samples),
        (278, 3, 1, height),
        (279, 4, 1, num_bytes),
        (284, 3, 1, 1),
        (339, 3, 1, sample_format),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0"
    return header + packed + b"\0" * num_bytes


def make_exif(**sizes: int) -> PillowImage.Exif:
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Artist] = "A. Photographer"
    exif[ExifTags.Base.ImageDescription] = "a harbour"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    for name, value in sizes.items():
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base[name]] = value
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 30.0, 15.5)
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif


def exif_of(data: bytes) -> PillowImage.Exif:
    with PillowImage.open(io.BytesIO(data)) as picture:
        return picture.getexif()


# Pixels


@pytest.mark.parametrize(("codec", "mode"), LOSSLESS)
@few_examples
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_lossless_formats_keep_every_pixel(
    codec: str, mode: str, height: int, width: int, seed: int
) -> None:
    pixels = noise(mode, height, width, seed)
    image = read(store(pixels, codec))
    assert np.array_equal(image.pixels, pixels) and image.pixels.dtype == np.uint8
    assert np.array_equal(reread(image, codec).pixels, pixels)


@pytest.mark.parametrize(("codec", "mode"), LOSSLESS)
def test_a_profile_says_what_the_file_is_and_survives(codec: str, mode: str) -> None:
    image = read(store(noise(mode), codec))
    profile = image.profile
    assert (profile.codec, profile.colorinterp) == (codec, BANDS[mode])
    assert (profile.dtype, profile.bit_depth) == ("uint8", 8)
    assert profile.lossless and profile.lost == ()
    again = reread(image, codec).profile
    assert replace(again, exif=None) == replace(profile, exif=None)


@pytest.mark.parametrize("codec", ["png", "tiff"])
@few_examples
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_sixteen_bit_gray_keeps_every_pixel(codec: str, height: int, width: int, seed: int) -> None:
    pixels = noise("I;16", height, width, seed)
    image = read(store(pixels, codec))
    assert image.pixels.dtype == np.uint16 and np.array_equal(image.pixels, pixels)
    assert (image.profile.dtype, image.profile.bit_depth) == ("uint16", 16)
    assert np.array_equal(reread(image, codec).pixels, pixels)


def test_big_endian_sixteen_bit_tiff_keeps_every_pixel() -> None:
    pixels = noise("I;16")
    little = make_tiff((16,), 1)
    shape = (1, 3, 4)
    values = pixels.flat[:12].reshape(shape)
    content = little[:-24] + values.astype("<u2").tobytes()
    assert np.array_equal(read(content).pixels, values)
    picture = PillowImage.frombytes("I;16B", (4, 3), values.astype(">u2").tobytes())
    image = read(save(picture, "tiff"))
    assert np.array_equal(image.pixels, values)
    assert image.pixels.dtype == np.dtype("uint16")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_keeps_pixels_nearly_and_is_no_lossless_format(mode: str) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    pixels = np.broadcast_to(ramp, (len(BANDS[mode]), 48, 64))
    image = read(store(pixels, "jpeg", quality=95))
    assert image.profile.colorinterp == BANDS[mode] and not image.profile.lossless
    again = reread(image, "jpeg")
    assert np.abs(again.pixels.astype(int) - pixels).max() <= 6


def test_jpeg_is_written_without_chroma_subsampling_at_the_quality_asked_for() -> None:
    image = read(store(noise("RGB", 32, 32), "png"))
    sizes = []
    for quality in (30, 95):
        data = encode(image, "jpeg", OutputConfig(jpeg_quality=quality), "")
        with PillowImage.open(io.BytesIO(data)) as picture:
            assert [component[1:3] for component in picture.layer] == [(1, 1)] * 3
        sizes.append(len(data))
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("metadata", [{}, {"icc_profile": ICC}, {"exif": make_exif()}])
def test_webp_stays_lossless_or_lossy_as_it_was(metadata: dict) -> None:
    pixels = noise("RGB", 32, 32)
    kept = read(store(pixels, "webp", **metadata))
    assert kept.profile.lossless
    assert np.array_equal(reread(kept, "webp").pixels, pixels)
    lossy = read(store(pixels, "webp", lossless=False, quality=80, **metadata))
    assert not lossy.profile.lossless
    assert not reread(lossy, "webp").profile.lossless


@pytest.mark.parametrize(("source", "target"), list(product(CODECS, CODECS)))
def test_any_format_can_be_written_as_any_other(source: str, target: str) -> None:
    image = read(store(noise("RGB"), source))
    again = reread(image, target)
    assert again.profile.codec == target and again.pixels.shape == image.pixels.shape
    if target in ("png", "tiff"):
        assert np.array_equal(again.pixels, image.pixels)


@pytest.mark.parametrize("codec", CODECS)
def test_encoding_the_same_twice_gives_the_same_bytes(codec: str) -> None:
    image = read(store(noise("RGB"), codec, exif=make_exif()))
    assert encode(image, codec, OPTIONS, "h") == encode(image, codec, OPTIONS, "h")


@pytest.mark.parametrize("codec", CODECS)
def test_a_header_alone_tells_profile_and_size(codec: str) -> None:
    data = store(noise("RGB", 5, 8), codec, icc_profile=ICC)
    image = read(data)
    assert probe(data) == (image.profile, 5, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_tiff_is_decoded_upright_once(orientation: int) -> None:
    pixels = noise("RGB", 5, 8)
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = store(pixels, "tiff", exif=exif)
    image = read(data)
    _, height, width = probe(data)
    assert image.pixels.shape == (3, height, width)
    assert image.pixels.shape == ((3, 5, 8) if orientation < 5 else (3, 8, 5))
    assert np.array_equal(reread(image, "tiff").pixels, image.pixels)


@pytest.mark.parametrize("codec", ["jpeg", "png", "webp"])
def test_a_turned_photograph_keeps_its_pixels_and_its_orientation(codec: str) -> None:
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = read(store(noise("RGB", 5, 8), codec, exif=exif))
    assert image.pixels.shape == (3, 5, 8)
    data = encode(image, codec, OPTIONS, "history")
    assert exif_of(data)[ExifTags.Base.Orientation] == 6


# Metadata


@pytest.mark.parametrize(("source", "target"), list(product(CODECS, CODECS)))
def test_icc_exif_gps_and_xmp_go_from_any_format_to_any_other(source: str, target: str) -> None:
    metadata: dict = {"icc_profile": ICC, "exif": make_exif()}
    if source == "png":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        metadata["pnginfo"] = text
    elif source == "tiff":
        metadata["exif"][ExifTags.Base.XMLPacket] = XMP
    else:
        metadata["xmp"] = XMP
    image = read(store(noise("RGB"), source, **metadata))
    data = encode(image, target, OPTIONS, "restored by ganray")
    profile = read(data).profile
    assert profile.icc == ICC
    assert profile.xmp is not None and profile.xmp.rstrip(b"\0") == XMP
    exif = exif_of(data)
    assert exif[ExifTags.Base.Artist] == "A. Photographer"
    assert exif[ExifTags.Base.ImageDescription] == "a harbour"
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert [float(part) for part in gps[ExifTags.GPS.GPSLatitude]] == [52.0, 30.0, 15.5]
    assert gps[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert exif[EXIF_IMAGE_HISTORY] == "restored by ganray"


@pytest.mark.parametrize("codec", CODECS)
def test_metadata_survives_several_restorations(codec: str) -> None:
    image = read(store(noise("RGB"), codec, icc_profile=ICC, exif=make_exif()))
    for attempt in range(3):
        image = reread(image, codec, f"run {attempt}")
    exif = exif_of(encode(image, codec, OPTIONS, "run 3"))
    assert image.profile.icc == ICC
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert exif[EXIF_IMAGE_HISTORY].split("\n")[-1] == "run 3"


@pytest.mark.parametrize("codec", CODECS)
def test_the_history_is_appended_to_an_earlier_one(codec: str) -> None:
    image = read(store(noise("RGB"), codec))
    image = reread(image, codec, "first")
    assert exif_of(encode(image, codec, OPTIONS, "second"))[0x9213] == "first\nsecond"


@pytest.mark.parametrize("codec", CODECS)
def test_the_pixel_size_in_the_exif_block_is_brought_up_to_date(codec: str) -> None:
    exif = make_exif(ExifImageWidth=14, ExifImageHeight=9)
    image = read(store(noise("RGB", 9, 14), codec, exif=exif))
    larger = replace(image, pixels=np.repeat(np.repeat(image.pixels, 2, 1), 3, 2))
    details = exif_of(encode(larger, codec, OPTIONS, "")).get_ifd(ExifTags.IFD.Exif)
    assert details[ExifTags.Base.ExifImageWidth] == 42
    assert details[ExifTags.Base.ExifImageHeight] == 18


def test_a_pixel_size_is_not_invented() -> None:
    image = read(store(noise("RGB"), "jpeg", exif=make_exif()))
    details = exif_of(encode(image, "jpeg", OPTIONS, "")).get_ifd(ExifTags.IFD.Exif)
    assert ExifTags.Base.ExifImageWidth not in details


@pytest.mark.parametrize("codec", ["png", "jpeg", "tiff"])
def test_the_resolution_is_kept(codec: str) -> None:
    image = read(store(noise("L"), codec, dpi=(300, 600)))
    assert image.profile.resolution == pytest.approx((300, 600), abs=0.02)
    assert reread(image, codec).profile.resolution == pytest.approx((300, 600), abs=0.02)


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_without_metadata_gets_only_the_history(codec: str) -> None:
    image = read(store(noise("RGB"), codec))
    assert (image.profile.icc, image.profile.xmp) == (None, None)
    again = reread(image, codec)
    assert (again.profile.icc, again.profile.xmp) == (None, None)


@pytest.mark.parametrize("xmp", [None, XMP])
@pytest.mark.parametrize("codec", CODECS)
def test_an_exif_block_that_cannot_be_read_stays_what_it_was(codec: str, xmp: bytes | None) -> None:
    image = read(store(noise("RGB"), "png"))
    broken = replace(image.profile, exif=b"Exif\0\0no TIFF header", xmp=xmp)
    data = encode(replace(image, profile=broken), codec, OPTIONS, "h")
    # A TIFF's tags are its EXIF block, so that it cannot hold one that is none.
    assert (b"no TIFF header" in data) == (codec != "tiff")
    assert read(data).profile.xmp == xmp


def test_metadata_behind_the_pixels_of_a_png_is_kept() -> None:
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    exif = chunk(b"eXIf", make_exif().tobytes()[6:])
    plain = store(noise("RGB"), "png")
    end = plain.index(b"IEND") - 4
    image = read(plain[:end] + text + exif + plain[end:])
    assert image.profile.xmp == XMP
    assert exif_of(encode(image, "png", OPTIONS, ""))[ExifTags.Base.Artist] == "A. Photographer"


# What a mode change takes away is named


def test_a_palette_is_decoded_to_its_colours_and_named() -> None:
    picture = as_picture(noise("RGB", 16, 16)).quantize(8)
    image = read(save(picture, "png"))
    assert image.profile.lost == ("palette",)
    expected = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
    assert np.array_equal(image.pixels, expected)


def test_a_palette_with_transparency_is_decoded_to_rgba() -> None:
    picture = as_picture(noise("RGB", 16, 16)).quantize(8)
    image = read(save(picture, "png", transparency=3))
    assert image.profile.colorinterp == BANDS["RGBA"] and image.profile.lost == ("palette",)
    assert np.array_equal(image.pixels[3] == 0, np.asarray(picture) == 3)


@pytest.mark.parametrize("codec", ["png", "tiff"])
def test_one_bit_is_decoded_to_gray_and_named(codec: str) -> None:
    picture = as_picture(noise("L", 16, 17)).convert("1")
    image = read(save(picture, codec))
    assert image.profile.lost == ("1-bit depth",)
    assert np.array_equal(image.pixels[0] == 255, np.asarray(picture))
    assert set(np.unique(image.pixels)) == {0, 255}


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (1, 2, 3))])
def test_a_transparent_colour_becomes_alpha_and_is_named(mode: str, key: object) -> None:
    pixels = noise(mode)
    pixels[:, 0, 0] = key
    image = read(store(pixels, "png", transparency=key))
    assert image.profile.colorinterp == BANDS[mode + "A"]
    assert image.profile.lost == ("transparent colour key",)
    assert np.array_equal(image.pixels[:-1], pixels)
    assert np.array_equal(image.pixels[-1] == 0, (key == pixels.T).all(-1).T)


# What would be lost in silence is refused by name


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (make_tiff((32, 32, 32), 2, 3), "a TIFF of 3 float32 bands"),
        (make_tiff((16, 16, 16), 2, 2), "16+16+16-bit samples of format 2;"),
        (make_tiff((16, 16, 16, 16), 5), "photometric interpretation 5"),
        (make_tiff((32,), 1, 3), "32-bit TIFF of mode F"),
        (make_tiff((16,), 1, 2), "16-bit TIFF of mode I"),
        (save(PillowImage.new("CMYK", (4, 3)), "jpeg"), "JPEG of mode CMYK"),
        (save(PillowImage.new("CMYK", (4, 3)), "tiff"), "TIFF of mode CMYK"),
        (save(PillowImage.new("LAB", (4, 3)), "tiff"), "TIFF of mode LAB"),
        (save(PillowImage.new("I", (4, 3)), "tiff"), "32-bit TIFF of mode I"),
    ],
)
def test_depths_and_colours_that_would_be_reduced_are_refused_by_name(
    data: bytes, named: str
) -> None:
    for read_part in (probe, read):
        with pytest.raises(UnsupportedImageError) as caught:
            read_part(data)
        assert named in str(caught.value)


@pytest.mark.parametrize("codec", ["png", "webp", "tiff", "mpo"])
def test_several_frames_are_refused(codec: str) -> None:
    pictures = [as_picture(noise("RGB", seed=seed)) for seed in range(3)]
    data = save(pictures[0], codec, save_all=True, append_images=pictures[1:])
    with pytest.raises(UnsupportedImageError, match="3 frames or pages in one file"):
        read(data)


def test_a_geotiff_is_refused() -> None:
    tags = {33550: (10.0, 10.0, 0.0), 33922: (0.0, 0.0, 0.0, 1.0, 2.0, 0.0)}
    with pytest.raises(UnsupportedImageError, match="GeoTIFF"):
        read(store(noise("L"), "tiff", tiffinfo=tags))


@pytest.mark.parametrize(
    ("codec", "mode"), [("jpeg", "LA"), ("jpeg", "RGBA"), ("jpeg", "I;16"), ("webp", "I;16")]
)
def test_a_format_that_cannot_hold_the_bands_is_refused(codec: str, mode: str) -> None:
    image = read(store(noise(mode), "tiff"))
    with pytest.raises(UnsupportedImageError, match=r"cannot hold .*output\.format=png or tiff"):
        encode(image, codec, OPTIONS, "")


@pytest.mark.parametrize(("codec", "longest"), [("webp", 16383), ("jpeg", 65535)])
def test_a_side_that_the_format_cannot_hold_is_refused(codec: str, longest: int) -> None:
    profile = Profile(codec=codec, dtype="uint8", bit_depth=8, colorinterp=("gray",))
    for shape in ((1, longest + 1, 1), (1, 1, longest + 1)):
        with pytest.raises(UnsupportedImageError, match=f"{longest + 1} pixels .* {longest}; set"):
            encode(Image(np.zeros(shape, np.uint8), profile), codec, OPTIONS, "")


@pytest.mark.parametrize(
    "changes", [{"xmp": XMP * 2000}, {"exif": make_exif(ImageDescription="x" * 70_000).tobytes()}]
)
def test_metadata_that_a_format_cannot_hold_is_refused(changes: dict) -> None:
    image = read(store(noise("RGB"), "png"))
    full = replace(image, profile=replace(image.profile, **changes))
    with pytest.raises(UnsupportedImageError, match=r"cannot be written as jpeg: .*too long"):
        encode(full, "jpeg", OPTIONS, "history")
    assert read(encode(full, "png", OPTIONS, "history")).profile.num_bands == 3


def test_exif_of_the_wrong_types_is_kept_as_it_is_or_refused() -> None:
    image = read(store(noise("RGB"), "png"))
    # A rational where a text belongs: Pillow reads it and cannot write it.
    wrong = (
        b"Exif\0\0II*\0"
        + struct.pack("<IHHHII", 8, 1, 0x010E, 5, 1, 26)
        + struct.pack("<III", 0, 1, 3)
    )
    broken = replace(image, profile=replace(image.profile, exif=wrong))
    for codec in ("png", "jpeg", "webp"):
        assert wrong[6:] in encode(broken, codec, OPTIONS, "history")
    with pytest.raises(UnsupportedImageError, match="cannot be written as tiff"):
        encode(broken, "tiff", OPTIONS, "history")


# Damage and limits


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "the file is empty"),
        (b"Dear reader, this is no image.\n" * 20, "it begins with b'Dear reader,"),
        (b"GIF89a" + b"\0" * 60, "it begins with b'GIF89a"),
        (store(noise("L", 64, 64), "png")[:-100], "damaged or truncated image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "a damaged PNG"),
        (b"\x89PNG\n\x1a\n" + b"\0" * 60, "a damaged PNG"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 60, "a damaged JPEG"),
        (b"II*\0" + b"\xff" * 60, "a damaged TIFF"),
        (b"MM\0*" + b"\xff" * 60, "a damaged TIFF"),
        (b"II+\0" + b"\0" * 60, "a damaged BigTIFF"),
        (b"MM\0+" + b"\0" * 60, "a damaged BigTIFF"),
        (b"RIFF\x40\0\0\0WEBP" + b"\0" * 60, "a damaged WebP"),
        (b"RIFF\x40\0\0\0WAVE" + b"\0" * 60, "it begins with b'RIFF"),
    ],
)
def test_a_file_that_is_no_image_is_described(data: bytes, found: str) -> None:
    with pytest.raises(UndecodableError) as caught:
        read(data)
    assert found in str(caught.value)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(codec: str, fraction: float) -> None:
    data = store(noise("RGB", 64, 64), codec, **({"quality": 95} if codec == "jpeg" else {}))
    with pytest.raises(UndecodableError):
        read(data[: int(len(data) * fraction)])


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_give_an_image_or_an_error_of_ganray(codec: str, data: st.DataObject) -> None:
    content = bytearray(store(noise("RGB"), codec, exif=make_exif(), icc_profile=ICC[:200]))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content))) :]
    try:
        image = read(bytes(content))
    except CodecError as error:
        assert str(error)
        return
    assert image.pixels.shape[0] == image.profile.num_bands
    with suppress(CodecError):
        assert encode(image, data.draw(st.sampled_from(CODECS)), OPTIONS, "history")


@pytest.mark.parametrize("codec", CODECS)
def test_the_limit_is_the_largest_size_allowed(codec: str) -> None:
    data = store(noise("L", 9, 14), codec)
    assert decode(data, max_pixels=9 * 14).pixels.shape[1:] == (9, 14)
    with pytest.raises(TooLargeError, match=r"14x9 is 126 pixels; limits\.pixels allows 125"):
        decode(data, max_pixels=9 * 14 - 1)


def test_the_limit_is_checked_before_any_pixel_is_read() -> None:
    bomb = make_png(100_000, 100_000, 8, 6)
    assert len(bomb) < 10**6
    assert probe(bomb)[1:] == (100_000, 100_000)
    with pytest.raises(TooLargeError, match="100000x100000 is 10000000000 pixels"):
        decode(bomb, max_pixels=2**28)


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_the_beginning_of_a_file_is_enough_for_its_header(codec: str) -> None:
    data = store(noise("RGB", 200, 200), codec)
    assert len(data) > 4096
    assert probe(data[:2048])[1:] == (200, 200)


def test_a_png_whose_checksum_is_wrong_is_damaged() -> None:
    buffer = io.BytesIO()
    PillowImage.new("RGB", (16, 16), "red").save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    assert decode(bytes(data), max_pixels=1000).pixels.shape == (3, 16, 16)
    start = data.index(b"IDAT") - 4
    length = int.from_bytes(data[start : start + 4])
    data[start + 8 + length] ^= 1
    with pytest.raises(UndecodableError, match="checksum of its IDAT chunk"):
        decode(bytes(data), max_pixels=1000)
