import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags
from PIL import Image as PillowImage

from ganray.codecs import photo
from ganray.codecs.tiff_metadata import pack_exif, parse_exif, profile_tags
from ganray.codecs.tiff_tags import Code, Kind, Tag, numbers_tag, text_tag
from ganray.codecs.tiff_windows import TiffWindows
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.raster.image import Profile
from tests.unit.codecs.tiff_files import BANDS, Memory, make_tiff, noise

PLAIN = Profile("tiff", "uint8", 8, BANDS[3])
SHAPE = (3, 20, 30)


def make_exif(endian: str = "<") -> bytes:
    exif = PillowImage.Exif()
    exif.endian = endian
    exif[ExifTags.Base.ImageDescription] = "A harbour"
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.DateTime] = "1965:06:03 12:00:00"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details |= {Code.EXIF_WIDTH: 10, Code.EXIF_HEIGHT: 7, ExifTags.Base.FNumber: 2.8}
    details |= {ExifTags.Base.MakerNote: b"secret\0note", ExifTags.Base.ISOSpeedRatings: 400}
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (50.0, 30.0, 15.25)})
    return exif.tobytes()


RICH = replace(
    PLAIN,
    resolution=(300.0, 299.5),
    icc=b"icc" * 200,
    exif=make_exif(),
    xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
)


def write(profile: Profile, *, classic_bytes: int = 2**32, history: str = "restored") -> bytes:
    metadata = profile_tags(profile, history=history, shape=SHAPE)
    assert metadata.lost == ()
    layout = TiffLayout(20, 30, BANDS[3], "uint8", 16, tags=metadata.tags, tile_sides=(16,))
    return make_tiff(layout, noise(layout), classic_bytes=classic_bytes)[0]


def reread(data: bytes) -> Profile:
    return TiffWindows(Memory(photo=data), "photo").profile


@pytest.mark.parametrize("classic_bytes", [0, 2**32])
@pytest.mark.parametrize("endian", "<>")
def test_a_profile_survives(classic_bytes: int, endian: str) -> None:
    found = reread(write(replace(RICH, exif=make_exif(endian)), classic_bytes=classic_bytes))
    assert (found.icc, found.xmp, found.resolution) == (RICH.icc, RICH.xmp, RICH.resolution)
    exif = PillowImage.Exif()
    exif.load(found.exif or b"")
    assert exif[ExifTags.Base.ImageDescription] == "A harbour"
    assert exif[Code.IMAGE_HISTORY] == "restored"
    details = exif.get_ifd(ExifTags.IFD.Exif)
    assert (details[Code.EXIF_WIDTH], details[Code.EXIF_HEIGHT]) == (30, 20)
    assert details[ExifTags.Base.MakerNote] == b"secret\0note"
    assert float(details[ExifTags.Base.FNumber]) == pytest.approx(2.8)
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[2] == (50.0, 30.0, 15.25)


def test_small_and_large_images_have_the_same_profile() -> None:
    data = write(RICH)
    small, large = photo.probe(data)[0], reread(data)
    assert replace(small, exif=None, lost=()) == replace(large, exif=None)
    assert small.lost == ("overviews",)
    read = [PillowImage.Exif(), PillowImage.Exif()]
    for exif, profile in zip(read, (small, large), strict=True):
        exif.load(profile.exif or b"")
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        assert read[0].get_ifd(directory) == read[1].get_ifd(directory)
    plain = [{code: exif[code] for code in exif if code not in (34665, 34853)} for exif in read]
    assert plain[0] == plain[1]


def test_the_history_grows_by_a_line() -> None:
    once = reread(write(PLAIN, history="first"))
    twice = reread(write(once, history="second"))
    history = {tag.code: tag.data for tag in parse_exif(twice.exif or b"")}
    assert history == {Code.IMAGE_HISTORY: b"first\nsecond\0"}


def test_text_keeps_its_bytes() -> None:
    exif = pack_exif([text_tag(Code.COPYRIGHT, "© Zoë")])
    found = {
        tag.code: tag.data for tag in parse_exif(reread(write(replace(PLAIN, exif=exif))).exif)
    }
    assert found[Code.COPYRIGHT].decode() == "© Zoë\0"


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"nonsense", make_exif()[:60]])
def test_an_exif_block_that_is_none_is_named_and_the_history_is_kept(exif: bytes) -> None:
    metadata = profile_tags(replace(PLAIN, exif=exif), history="restored", shape=SHAPE)
    assert metadata.lost == ("EXIF",)
    assert {tag.code: tag.data for tag in metadata.tags} == {Code.IMAGE_HISTORY: b"restored\0"}


def test_what_the_block_says_of_another_files_layout_is_not_copied() -> None:
    exif = pack_exif(
        [
            numbers_tag(Code.COMPRESSION, Kind.SHORT, 6),
            numbers_tag(Code.X_RESOLUTION, Kind.RATIONAL, 72, 1),
            numbers_tag(Code.ORIENTATION, Kind.SHORT, 6),
            numbers_tag(33550, Kind.DOUBLE, 1.0, 1.0, 0.0),
        ]
    )
    profile = replace(PLAIN, exif=exif, resolution=(96.0, 96.0))
    metadata = profile_tags(profile, history="", shape=SHAPE)
    tags = {tag.code: tag for tag in metadata.tags}
    assert metadata.lost == ("georeference",)
    assert tags.keys() == {282, 283, 296, Code.ORIENTATION, Code.IMAGE_HISTORY}
    assert tags[Code.X_RESOLUTION].data == numbers_tag(282, Kind.RATIONAL, 96, 1).data


@given(st.floats(1e-6, 1e6))
def test_a_resolution_is_kept_to_the_precision_of_tiff(dpi: float) -> None:
    metadata = profile_tags(replace(PLAIN, resolution=(dpi, dpi)), history="", shape=SHAPE)
    words = np.frombuffer(metadata.tags[0].data, "<u4").tolist()
    assert float(Fraction(*words)) == pytest.approx(dpi, rel=1e-6)


@pytest.mark.parametrize("dpi", [1e-12, 1e12, float("inf")])
def test_a_resolution_that_tiff_cannot_hold_is_named(dpi: float) -> None:
    metadata = profile_tags(replace(PLAIN, resolution=(dpi, 300.0)), history="", shape=SHAPE)
    assert metadata.lost == ("resolution",)


@pytest.mark.parametrize(("unit", "expected"), [(2, (10.0, 20.0)), (3, (25.4, 50.8)), (1, None)])
def test_resolution_is_read_in_pixels_per_inch(unit: int, expected: object) -> None:
    tags = (
        numbers_tag(Code.X_RESOLUTION, Kind.RATIONAL, 10, 1),
        numbers_tag(Code.Y_RESOLUTION, Kind.RATIONAL, 20, 1),
        numbers_tag(Code.RESOLUTION_UNIT, Kind.SHORT, unit),
    )
    layout = TiffLayout(20, 30, BANDS[3], "uint8", 16, tags=tags, tile_sides=(16,))
    assert reread(make_tiff(layout, noise(layout))[0]).resolution == expected


def test_what_is_not_kept_is_named() -> None:
    tags = (Tag(Code.IPTC, Kind.UNDEFINED, b"x" * 9), Tag(Code.PHOTOSHOP_LAYERS, Kind.BYTE, b"y"))
    layout = TiffLayout(20, 30, BANDS[3], "uint8", 16, tags=tags, tile_sides=(16,))
    assert reread(make_tiff(layout, noise(layout))[0]).lost == ("IPTC", "Photoshop layers")


def test_a_damaged_exif_directory_is_named() -> None:
    broken = (numbers_tag(Code.EXIF, Kind.LONG, 2**31),)
    layout = TiffLayout(20, 30, BANDS[3], "uint8", 16, tags=broken, tile_sides=(16,))
    found = reread(make_tiff(layout, noise(layout))[0])
    assert (found.lost, found.exif) == (("EXIF",), None)


def test_a_small_image_with_overviews_or_a_mask_is_one_picture() -> None:
    pages = [PillowImage.new("L", (9, 9), shade) for shade in (10, 20, 30)]
    for page, kind in zip(pages, (0, 1, 4), strict=True):
        page.encoderinfo = {"tiffinfo": {Code.SUBFILE_TYPE: kind}}
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    image = photo.decode(buffer.getvalue(), max_pixels=10**6)
    assert image.profile.lost == ("overviews", "transparency mask")
    assert image.pixels.min() == image.pixels.max() == 10
