import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import OpenImageIO
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.codecs.film import SUFFIXES, WRITTEN_AS, FilmConfig, decode, encode, probe
from ganray.codecs.film import require_encodable as require
from ganray.codecs.film_exr_header import parse_exr
from ganray.codecs.film_packing import DEPTHS, METHODS, Packing
from ganray.config import build_config
from ganray.errors import (
    CodecError,
    ConfigError,
    TooLargeError,
    UndecodableError,
    UnsupportedImageError,
)
from ganray.raster.image import Image, Profile
from tests.unit.codecs.film_frames import (
    BANDS,
    attributes_of,
    codes,
    make_cineon,
    make_dpx,
    make_exr,
    samples_of,
    write_with_oiio,
)

STORED = FilmConfig()
PACKINGS = [Packing(*values) for values in product(DEPTHS, METHODS, "<>", (1, 3, 4))]
RGB_10 = Packing(10, 1, ">", 3)


def read(data: bytes, config: FilmConfig = STORED) -> Image:
    return decode(data, config, max_pixels=10**6)


def rewrite(image: Image, history: str = "", config: FilmConfig = STORED, scale: int = 1) -> bytes:
    form = WRITTEN_AS.get(image.profile.codec, image.profile.codec)
    return encode(image, form, config, history, scale=scale)


def magnify(image: Image, scale: int) -> Image:
    return replace(image, pixels=image.pixels.repeat(scale, 1).repeat(scale, 2))


def bits(pixels: np.ndarray) -> np.ndarray:
    """What tells one NaN from another."""
    return pixels.view(f"u{pixels.dtype.itemsize}")


# DPX


@settings(max_examples=150, deadline=None)
@given(
    packing=st.sampled_from(PACKINGS),
    height=st.integers(1, 9),
    width=st.integers(1, 25),
    offset=st.sampled_from([1664, 2048, 2304, 8192]),
    seed=st.integers(0, 2**32),
)
def test_a_dpx_comes_back_byte_for_byte(
    packing: Packing, height: int, width: int, offset: int, seed: int
) -> None:
    pixels = codes(packing.num_bands, height, width, depth=packing.bit_depth, seed=seed)
    data = make_dpx(pixels, packing, offset=offset)
    image = read(data)
    assert image.pixels.dtype == pixels.dtype and np.array_equal(image.pixels, pixels)
    profile = image.profile
    assert (profile.codec, profile.bit_depth) == ("dpx", packing.bit_depth)
    assert profile.dtype == str(pixels.dtype) and profile.colorinterp == BANDS[packing.num_bands]
    assert profile.value_range == (0, 2**packing.bit_depth - 1)
    assert profile.lossless and profile.lost == ()
    assert probe(data, STORED) == (profile, height, width)
    assert rewrite(image) == data


@pytest.mark.parametrize("order", "<>")
def test_openimageio_finds_every_attribute_of_a_dpx_unchanged(tmp_path: Path, order: str) -> None:
    pixels = codes(3, 6, 10, depth=10)
    data = write_with_oiio(
        tmp_path / "in.dpx",
        np.moveaxis((pixels << 6) | (pixels >> 4), 0, -1),
        OpenImageIO.ImageSpec(10, 6, 3, "uint16"),
        oiio__BitsPerSample=10,
        oiio__Endian="little" if order == "<" else "big",
        dpx__Packing="Filled, method A",
        dpx__Transfer="Printing density",
        dpx__Colorimetric="Printing density",
        dpx__FrameRate=23.976,
        dpx__FramePosition=86400,
        dpx__SequenceLength=240,
        dpx__SlateInfo="roll 7, take 3",
        dpx__FrameId="A007_C003",
        dpx__InputDevice="scanner",
        dpx__InputDeviceSerialNumber="42",
        dpx__Format="35 mm full aperture",
        dpx__TimeOffset=0.5,
        Software="a scanner's software",
        Copyright="the studio",
        Orientation=3,
        PixelAspectRatio=2.0,
        smpte__TimeCode=("timecode", (0x01020304, 0x00ABCDEF)),
        smpte__KeyCode=("keycode", (27, 59, 123456, 7890, 12, 4, 64)),
    )
    before = attributes_of(tmp_path / "a.dpx", data)
    assert "smpte:KeyCode" in before and "smpte:TimeCode" in before
    again = rewrite(read(data))
    assert attributes_of(tmp_path / "b.dpx", again) == before
    again = rewrite(read(data), "history")
    found = attributes_of(tmp_path / "b.dpx", again)
    assert b"history" in again and found.pop("dpx:UserData")
    assert found == before
    again = rewrite(magnify(read(data), 4), scale=4)
    changed = {k for k, v in attributes_of(tmp_path / "c.dpx", again).items() if before[k] != v}
    assert changed == {"data", "display"}


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("order", "<>")
def test_places_in_pixels_are_magnified_with_the_pixels(order: str, scale: int) -> None:
    places = struct.pack(order + "IIffII", 10, 20, 30.5, 40.25, 1000, 2000)
    borders = struct.pack(order + "4H", 1, 2, 30000, 0xFFFF)
    data = make_dpx(
        codes(3, 4, 5, depth=10),
        Packing(10, 1, order, 3),
        fields={1408: places, 1620: borders},
    )
    larger = magnify(read(data), scale)
    again = rewrite(larger, scale=scale)
    found = read(again)
    assert np.array_equal(found.pixels, larger.pixels)
    assert probe(again, STORED)[1:] == (4 * scale, 5 * scale)
    expected = (10 * scale, 20 * scale, 30.5 * scale, 40.25 * scale, 1000 * scale, 2000 * scale)
    assert struct.unpack_from(order + "IIffII", again, 1408) == expected
    # One that grows too large becomes undefined, as the undefined one is.
    borders_found = struct.unpack_from(order + "4H", again, 1620)
    assert borders_found == (scale, 2 * scale, min(30000 * scale, 0xFFFF), 0xFFFF)
    assert struct.unpack_from(order + "I", again, 16) == (len(again),)


def test_what_is_undefined_stays_undefined() -> None:
    data = make_dpx(codes(3, 4, 5, depth=10), RGB_10)
    again = rewrite(magnify(read(data), 2), scale=2)
    assert again[1408:1432] == b"\xff" * 24 and again[1620:1664] == data[1620:1664]


def test_the_history_stands_in_user_data_a_line_for_each_restoration() -> None:
    data = make_dpx(codes(3, 4, 5, depth=10), RGB_10)
    first = rewrite(read(data), '{"run": 1}')
    second = rewrite(read(first), '{"run": 2}')
    (num_user,) = struct.unpack_from(">I", second, 32)
    user = second[2048 : 2048 + num_user]
    assert user[:32].rstrip(b"\0") == b"ganray"
    assert user[32:].split(b"\n") == [b'{"run": 1}', b'{"run": 2}']
    assert np.array_equal(read(second).pixels, read(data).pixels)


def test_user_data_of_somebody_else_is_left_alone() -> None:
    fields = {32: struct.pack(">I", 40), 2048: b"vendor".ljust(32, b"\0") + b"8 bytes."}
    data = make_dpx(codes(3, 4, 5, depth=10), RGB_10, fields=fields, offset=2088)
    assert rewrite(read(data), "history") == data


@pytest.mark.parametrize(("depth", "num_bands"), [(8, 1), (8, 3), (16, 1), (16, 3)])
def test_lines_that_are_not_padded_to_words_are_found_to_be_so(depth: int, num_bands: int) -> None:
    packing = Packing(depth, 0, ">", num_bands)
    pixels = codes(num_bands, 5, 7, depth=depth)
    bare = packing.line_bytes(7)
    assert bare % 4
    data = make_dpx(pixels, packing, stride=bare)
    assert np.array_equal(read(data).pixels, pixels) and rewrite(read(data)) == data
    for length in range(2048, len(data)):
        with pytest.raises(UndecodableError):
            read(data[:length])


def test_stated_padding_of_lines_is_kept() -> None:
    packing = Packing(8, 0, ">", 3)
    pixels = codes(3, 5, 7, depth=8)
    data = make_dpx(pixels, packing, padding=11, stride=32)
    assert np.array_equal(read(data).pixels, pixels) and rewrite(read(data)) == data


def test_alpha_blue_green_red_is_decoded_in_the_usual_order() -> None:
    pixels = codes(4, 5, 7, depth=10)
    data = make_dpx(pixels[::-1], Packing(10, 0, ">", 4), fields={800: bytes([52])})
    image = read(data)
    assert image.profile.colorinterp == BANDS[4] and np.array_equal(image.pixels, pixels)
    assert rewrite(image) == data


def test_data_behind_the_pixels_is_named() -> None:
    data = make_dpx(codes(3, 4, 5, depth=10), RGB_10)
    assert read(data + bytes(512)).profile.lost == ()
    assert read(data + b"audio").profile.lost == ("data behind the pixels",)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({770: b"\0\3"}, "3 image elements"),
        ({800: bytes([100])}, "CbYCrY 4:2:2"),
        ({800: bytes([150])}, "descriptor 150"),
        ({803: bytes([32])}, "32-bit samples"),
        ({803: bytes([1])}, "1-bit samples"),
        ({780: b"\0\0\0\1"}, "signed 1"),
        ({804: b"\0\5"}, "packing 5"),
        ({806: b"\0\1"}, "run-length encoding"),
    ],
)
def test_a_dpx_that_would_not_be_kept_is_refused_by_name(
    fields: dict[int, bytes], named: str
) -> None:
    data = make_dpx(codes(3, 4, 5, depth=10), RGB_10, fields=fields)
    for read_part in (read, lambda data: probe(data, STORED)):
        with pytest.raises(UnsupportedImageError, match=named):
            read_part(data)


@pytest.mark.parametrize("fields", [{808: b"\0\0\0\1"}, {772: bytes(4)}, {776: b"\xff" * 4}])
def test_a_dpx_header_that_makes_no_sense_is_damaged(fields: dict[int, bytes]) -> None:
    with pytest.raises(UndecodableError, match="damaged"):
        read(make_dpx(codes(3, 4, 5, depth=10), RGB_10, fields=fields))


def test_a_dpx_that_its_header_could_not_count_is_refused() -> None:
    data = make_dpx(codes(3, 4, 5, depth=16), Packing(16, 0, ">", 3))
    profile, height, width = probe(data, STORED)
    require(profile, "dpx", height, width)
    with pytest.raises(UnsupportedImageError, match="its header counts to"):
        require(profile, "dpx", 30_000, 30_000)


# What the generator sees


@pytest.mark.parametrize(("depth", "largest"), [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
def test_black_and_white_are_in_proportion_to_the_depth(depth: int, largest: int) -> None:
    data = make_dpx(codes(3, 4, 5, depth=depth), Packing(depth, 0, ">", 3))
    profile = read(data, FilmConfig(black=95, white=685)).profile
    assert profile.value_range == pytest.approx((95 * largest / 1023, 685 * largest / 1023))


@pytest.mark.parametrize("space", ["linear", "display"])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("black", "white"), [(None, None), (0, 1023), (400, 401)])
def test_every_code_value_survives_its_development(
    depth: int, space: str, black: float | None, white: float | None
) -> None:
    everything = np.arange(2**depth).astype(np.uint8 if depth == 8 else np.uint16)
    data = make_dpx(everything.reshape(1, 2 ** (depth // 2), -1), Packing(depth, 0, ">", 1))
    config = FilmConfig(space=space, black=black, white=white)
    image = read(data, config)
    assert image.profile.dtype == str(image.pixels.dtype) == "float32"
    assert image.profile.bit_depth == depth and image.profile.value_range == (0, 1)
    assert np.all(np.diff(image.pixels.ravel()) > 0)
    assert rewrite(image, config=config) == data


def test_light_is_what_cineon_says() -> None:
    values = np.array([95, 685, 385], np.uint16).reshape(1, 1, 3)
    light = read(make_dpx(values, Packing(10, 1, ">", 1)), FilmConfig(space="linear")).pixels
    # 300 codes of 0.002 density at gamma 0.6 are a tenth, before flare is taken away.
    flare = 10 ** (-590 * 0.002 / 0.6)
    assert light.ravel() == pytest.approx([0, 1, (0.1 - flare) / (1 - flare)], abs=1e-6)
    shown = read(make_dpx(values, Packing(10, 1, ">", 1)), FilmConfig(space="display")).pixels
    assert shown.ravel() == pytest.approx([0, 1, 0.3322], abs=1e-3)


def test_light_between_two_codes_becomes_the_nearer_one() -> None:
    config = FilmConfig(space="linear")
    image = read(make_dpx(codes(1, 4, 6, depth=10), Packing(10, 1, ">", 1)), config)
    restored = replace(image, pixels=np.nextafter(image.pixels, np.float32(99)))
    assert np.array_equal(read(rewrite(restored)).pixels, read(rewrite(image)).pixels)
    beyond = replace(image, pixels=np.full_like(image.pixels, 1e9))
    assert np.all(read(rewrite(beyond)).pixels == 1023)


@pytest.mark.parametrize("transfer", [2, 6])
def test_what_is_no_log_footage_is_shown_as_stored(transfer: int) -> None:
    data = make_dpx(codes(3, 4, 5, depth=10), RGB_10, fields={801: bytes([transfer])})
    assert read(data, FilmConfig(space="display")).profile.dtype == "uint16"


def test_alpha_is_a_fraction_in_every_space() -> None:
    pixels = codes(4, 5, 7, depth=10)
    data = make_dpx(pixels, Packing(10, 1, ">", 4))
    image = read(data, FilmConfig(space="display"))
    assert image.pixels[3] == pytest.approx(pixels[3] / 1023)
    assert rewrite(image) == data


def test_black_above_white_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match=r"black 700\.0 is not below white 685\.0"):
        build_config(FilmConfig, {"space": "linear", "black": 700})


# Cineon


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("method", [5, 6])
def test_a_cineon_becomes_a_dpx_of_the_same_code_values(
    tmp_path: Path, order: str, method: int
) -> None:
    pixels = codes(3, 6, 10, depth=10)
    fields = {
        32: b"frame.cin",
        132: b"2001:02:03\0\x0012:34:56",
        712: struct.pack(order + "2i", 3, 4),
        844: b"scanner",
        940: b"42",
        980: struct.pack(order + "f", 0.6),
        1024: bytes([27, 59, 12]),
        1028: struct.pack(order + "2I", 123456, 7890),
        1036: b"35 mm",
        1068: struct.pack(order + "If", 86400, 24.0),
        1076: b"A007",
        1108: b"roll 7, take 3",
    }
    data = make_cineon(pixels, order, method, fields)
    image = read(data)
    profile = image.profile
    assert (profile.codec, profile.bit_depth, profile.lost) == ("cineon", 10, ())
    assert np.array_equal(image.pixels, pixels)
    again = rewrite(image, "history")
    found = read(again)
    assert found.profile.codec == "dpx" and np.array_equal(found.pixels, pixels)
    told = attributes_of(tmp_path / "frame.dpx", again)
    texts = {name: value.split(" ", 1)[-1].strip("'") for name, value in told.items()}
    assert texts["dpx:SlateInfo"] == "roll 7, take 3" and texts["dpx:InputDevice"] == "scanner"
    assert texts["dpx:FrameRate"] == "24.0" and texts["dpx:FramePosition"] == "86400"
    assert texts["DateTime"].startswith("2001:02:03 12:34:56")
    assert texts["smpte:KeyCode"].startswith("(27, 59, 123456, 7890, 12")
    assert texts["dpx:Transfer"] == texts["dpx:Colorimetric"] == "Printing density"
    assert struct.unpack_from(order + "II", again, 1408) == (3, 4)


def test_what_a_dpx_cannot_say_of_a_cineon_is_named() -> None:
    fields = {
        420: struct.pack(">2f", 0.3127, 0.329),
        452: b"a label",
        683: b"\1",
        712: struct.pack(">i", -5),
        236: struct.pack(">f", 1.0),
        844: b"x" * 40,
        908: b"model",
        972: struct.pack(">f", 100.0),
        1108: b"s" * 150,
    }
    profile = read(make_cineon(codes(3, 6, 10, depth=10), fields=fields)).profile
    assert profile.lost == (
        *("label", "white point and primaries", "input device's model", "input device's pitch"),
        *("negative image sense", "negative offset", "reference values of green and blue"),
        *("input device beyond 32 characters", "slate beyond 100 characters"),
    )


def test_a_cineon_is_not_written() -> None:
    image = read(make_cineon(codes(3, 6, 10, depth=10)))
    with pytest.raises(UnsupportedImageError, match=r"written as dpx: set output\.format=same"):
        encode(image, "cineon", STORED, "", scale=1)


@pytest.mark.parametrize(
    "fields", [{193: b"\1"}, {198: b"\x08"}, {681: b"\0"}, {682: b"\1"}, {684: b"\0\0\0\4"}]
)
def test_a_cineon_of_another_kind_is_refused(fields: dict[int, bytes]) -> None:
    with pytest.raises(UnsupportedImageError, match=r"a Cineon of .*; expected"):
        read(make_cineon(codes(3, 6, 10, depth=10), fields=fields))


# EXR


LAYOUTS = [
    (("R", "G", "B"), ("red", "green", "blue")),
    (("R", "G", "B", "A"), ("red", "green", "blue", "alpha")),
    (("Y",), ("gray",)),
    (("Y", "A"), ("gray", "alpha")),
    (("R", "G", "B", "Z"), ("red", "green", "blue", "undefined")),
    (("Z", "A", "Y"), ("gray", "alpha", "undefined")),
    (("left.B", "left.G", "left.R"), ("undefined",) * 3),
    (("a_channel_of_a_name_longer_than_31_letters", "r"), ("undefined",) * 2),
]


def half(
    num_bands: int, height: int = 11, width: int = 14, *, dtype: type = np.float16
) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(num_bands, height, width)) * 3
    return values.astype(dtype)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("names", "bands"), LAYOUTS)
def test_an_exr_keeps_every_sample(
    tmp_path: Path, names: tuple[str, ...], bands: tuple[str, ...], dtype: type, tile: int
) -> None:
    pixels = half(len(names), dtype=dtype)
    data = make_exr(tmp_path / "in.exr", pixels, names, tile=tile, compression="zip")
    image = read(data)
    assert image.mask is None and image.pixels.dtype == dtype
    profile = image.profile
    assert (profile.codec, profile.dtype) == ("exr", np.dtype(dtype).name)
    assert profile.colorinterp == bands
    assert profile.value_range == (0, 1) and profile.lossless and profile.lost == ()
    assert probe(data, STORED) == (profile, 11, 14)
    order = [names.index(name) for name in profile.details.channels]
    assert np.array_equal(bits(image.pixels), bits(pixels[order]))
    again = rewrite(image)
    assert np.array_equal(bits(read(again).pixels), bits(image.pixels))
    before = attributes_of(tmp_path / "a.exr", data)
    assert attributes_of(tmp_path / "b.exr", again) == before


def test_channels_of_different_kinds_keep_theirs(tmp_path: Path) -> None:
    pixels = half(4, dtype=np.float32)
    pixels[:3] = pixels[:3].astype(np.float16)
    kinds = ("half", "half", "half", "float")
    data = make_exr(tmp_path / "in.exr", pixels, ("R", "G", "B", "Z"), kinds=kinds)
    image = read(data)
    assert image.profile.dtype == "float32" and np.array_equal(image.pixels, pixels)
    again = rewrite(image)
    assert np.array_equal(read(again).pixels, pixels)
    assert attributes_of(tmp_path / "b.exr", again) == attributes_of(tmp_path / "a.exr", data)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("tile", [0, 16])
def test_windows_are_magnified_with_the_pixels(tmp_path: Path, scale: int, tile: int) -> None:
    data = make_exr(
        tmp_path / "in.exr",
        half(3),
        ("R", "G", "B"),
        data=(-7, 5),
        display=(-10, -3, 80, 70),
        tile=tile,
    )
    larger = magnify(read(data), scale)
    again = rewrite(larger, scale=scale)
    assert np.array_equal(read(again).pixels, larger.pixels)
    found = attributes_of(tmp_path / "out.exr", again)
    assert found["data"] == str((-7 * scale, 5 * scale, 14 * scale, 11 * scale))
    assert found["display"] == str((-10 * scale, -3 * scale, 80 * scale, 70 * scale))


def with_raw(data: bytes, *attributes: tuple[bytes, bytes, bytes], flags: int = 0) -> bytes:
    """An EXR with more attributes, also of types that OpenImageIO does not know."""
    header = parse_exr(data)
    added = b"".join(
        name + b"\0" + kind + b"\0" + struct.pack("<I", len(value)) + value
        for name, kind, value in attributes
    )
    first = struct.unpack_from("<Q", data, header.num_bytes)[0]
    table = struct.unpack_from(f"<{(first - header.num_bytes) // 8}Q", data, header.num_bytes)
    moved = struct.pack(f"<{len(table)}Q", *(offset + len(added) for offset in table))
    start = data[:4] + struct.pack("<I", header.flags | flags) + added
    return start + data[8 : header.num_bytes] + moved + data[first:]


def test_attributes_of_any_type_are_kept_as_they_are(tmp_path: Path) -> None:
    plain = make_exr(
        tmp_path / "in.exr",
        half(3),
        ("R", "G", "B"),
        compression="piz",
        framesPerSecond=("rational", (24000, 1001)),
        owner="the studio",
        chromaticities=("float[8]", tuple(float(n) for n in range(8))),
        smpte__TimeCode=("timecode", (0x01020304, 5)),
        smpte__KeyCode=("keycode", (27, 59, 123456, 7890, 12, 4, 64)),
        worldToCamera=("matrix", tuple(float(n) for n in range(16))),
    )
    raw = [
        (b"preview", b"preview", struct.pack("<II", 1, 1) + b"rgba"),
        (b"lens", b"vendor's own type", b"\1\2\3"),
        (b"views", b"stringvector", struct.pack("<I", 4) + b"left"),
        (b"a name that is longer than thirty-one letters", b"string", b"long"),
    ]
    data = with_raw(plain, *raw, flags=0x400)
    before = {a.name: a for a in parse_exr(data).attributes}
    once = rewrite(read(data), "first")
    found = parse_exr(rewrite(read(once), "second"))
    after = {a.name: a for a in found.attributes}
    assert found.flags == parse_exr(data).flags
    assert after.pop(b"Exif:ImageHistory").value == b"first\nsecond"
    assert after == before
    assert np.array_equal(samples_of(tmp_path / "b.exr", once, "half"), half(3))


def claiming(data: bytes, window: tuple[int, int, int, int]) -> bytes:
    """An EXR that says of its pixels that they fill another window."""
    start = data.index(b"dataWindow\0box2i\0") + 21
    return data[:start] + struct.pack("<4i", *window) + data[start + 16 :]


@pytest.mark.parametrize("scale", [1, 2])
def test_what_is_not_finite_is_masked_and_stays_whatever_is_made_of_it(
    tmp_path: Path, scale: int
) -> None:
    pixels = half(3)
    strange = np.array([0x7E01, 0xFE00, 0x7C00, 0xFC00], np.uint16).view(np.float16)
    pixels[0, 2, 3], pixels[1, 2, 3], pixels[2, 5, 0], pixels[0, 10, 13] = strange
    data = make_exr(tmp_path / "in.exr", pixels, ("R", "G", "B"))
    image = read(data)
    assert np.array_equal(bits(image.pixels), bits(pixels))
    assert np.argwhere(~image.mask).tolist() == [[2, 3], [5, 0], [10, 13]]
    larger = magnify(image, scale)
    restored = replace(larger, pixels=np.nan_to_num(larger.pixels, posinf=1, neginf=0))
    again = read(rewrite(restored, scale=scale))
    assert np.array_equal(bits(again.pixels), bits(larger.pixels))
    assert np.array_equal(again.mask, image.mask.repeat(scale, 0).repeat(scale, 1))


@pytest.mark.parametrize("lossy", ["pxr24", "b44", "b44a", "dwaa", "dwab"])
def test_a_lossy_exr_is_written_without_another_loss(tmp_path: Path, lossy: str) -> None:
    data = make_exr(
        tmp_path / "in.exr", half(3, dtype=np.float32), ("R", "G", "B"), compression=lossy
    )
    image = read(data)
    assert not image.profile.lossless
    again = rewrite(image)
    assert parse_exr(again).compression == "zip"
    assert np.array_equal(read(again).pixels, image.pixels)


@pytest.mark.parametrize("compression", ["none", "rle", "zips", "zip", "piz"])
def test_a_lossless_compression_stays_or_is_the_one_that_is_asked_for(
    tmp_path: Path, compression: str
) -> None:
    data = make_exr(tmp_path / "in.exr", half(3), ("R", "G", "B"), compression=compression)
    image = read(data)
    assert parse_exr(rewrite(image)).compression == compression
    again = rewrite(image, config=FilmConfig(exr_compression="piz"))
    assert parse_exr(again).compression == "piz"
    assert np.array_equal(read(again).pixels, image.pixels)


def test_reduced_levels_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mip.exr"
    source = OpenImageIO.ImageBuf(np.moveaxis(half(3, 64, 64), 0, -1).copy())
    OpenImageIO.ImageBufAlgo.make_texture(OpenImageIO.MakeTxTexture, source, str(path))
    image = read(path.read_bytes())
    assert image.profile.lost == ("reduced levels",)
    again = read(rewrite(image))
    assert again.profile.lost == () and np.array_equal(again.pixels, image.pixels)


def test_parts_deep_pixels_subsampling_and_integers_are_refused_by_name(tmp_path: Path) -> None:
    data = bytearray(make_exr(tmp_path / "in.exr", half(3), ("R", "G", "B")))
    deep = bytes(data[:5]) + bytes([data[5] | 8]) + bytes(data[6:])
    parts = bytes(data[:5]) + bytes([data[5] | 16]) + bytes(data[6:])
    channel = data.index(b"B\0\1\0\0\0")
    chroma, integers = bytearray(data), bytearray(data)
    chroma[channel + 10 : channel + 18] = struct.pack("<2i", 2, 2)
    integers[channel + 2] = 0
    for content, named in (
        (deep, "deep pixels"),
        (parts, "several parts"),
        (bytes(chroma), "channel B has one sample for 2x2 pixels"),
        (bytes(integers), "channel B is of integers"),
    ):
        with pytest.raises(UnsupportedImageError, match=named):
            read(content)


def test_windows_that_would_leave_the_range_of_integers_are_refused(tmp_path: Path) -> None:
    data = claiming(make_exr(tmp_path / "in.exr", half(1), ("Y",)), (2**30, 0, 2**30 + 13, 10))
    profile = probe(data, STORED)[0]
    require(profile, "exr", 11, 14)
    with pytest.raises(UnsupportedImageError, match="windows end beyond"):
        require(profile, "exr", 22, 28)


@pytest.mark.parametrize("compression", ["none", "zip", "piz"])
@pytest.mark.parametrize("tile", [0, 16])
def test_a_truncated_exr_is_refused_at_any_length(
    tmp_path: Path, compression: str, tile: int
) -> None:
    data = make_exr(
        tmp_path / "in.exr", half(3, 40, 20), ("R", "G", "B"), compression=compression, tile=tile
    )
    for length in [*range(0, len(data), 37), *range(len(data) - 9, len(data))]:
        with pytest.raises(UndecodableError):
            read(data[:length])


# All formats


def examples(folder: Path) -> dict[str, bytes]:
    return {
        "dpx": make_dpx(codes(3, 12, 20, depth=10), RGB_10),
        "cineon": make_cineon(codes(3, 12, 20, depth=10)),
        "exr": make_exr(folder / "in.exr", half(3, 12, 20), ("R", "G", "B")),
    }


def test_every_format_has_a_suffix(tmp_path: Path) -> None:
    assert set(SUFFIXES) == set(examples(tmp_path))
    for name, data in examples(tmp_path).items():
        assert probe(data, STORED)[0].codec == name


@pytest.mark.parametrize("name", ["dpx", "cineon"])
def test_a_truncated_frame_is_refused_at_any_length(tmp_path: Path, name: str) -> None:
    data = examples(tmp_path)[name]
    for length in [*range(0, 2048, 97), *range(2048, len(data))]:
        with pytest.raises(UndecodableError):
            read(data[:length])


@pytest.mark.parametrize("name", SUFFIXES)
def test_the_limit_is_checked_before_any_pixel_is_read(tmp_path: Path, name: str) -> None:
    data = examples(tmp_path)[name]
    assert decode(data, STORED, max_pixels=240).pixels.shape == (3, 12, 20)
    # The header alone is there: nothing else can have been looked at.
    with pytest.raises(TooLargeError, match=r"20x12 is 240 pixels; limits\.pixels allows 239"):
        decode(data[:2048], STORED, max_pixels=239)


def test_an_exr_that_claims_more_pixels_than_it_has_bytes_is_refused(tmp_path: Path) -> None:
    data = examples(tmp_path)["exr"]
    with pytest.raises(UndecodableError, match="truncated"):
        decode(claiming(data, (0, 0, 1, 2**30)), STORED, max_pixels=2**40)


@pytest.mark.parametrize("name", SUFFIXES)
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_bytes_give_an_image_or_an_error_of_ganray(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(examples(tmp_path_factory.getbasetemp())[name])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = read(bytes(content))
        again = rewrite(image, "history")
    except CodecError as error:
        assert str(error)
        return
    assert np.array_equal(bits(read(again).pixels), bits(image.pixels))


@pytest.mark.parametrize("name", SUFFIXES)
def test_the_same_frame_is_the_same_bytes_in_every_thread(tmp_path: Path, name: str) -> None:
    data = examples(tmp_path)[name]
    image = read(data)
    assert pickle.loads(pickle.dumps(image.profile)) == image.profile
    with ThreadPoolExecutor(8) as pool:
        encoded = list(pool.map(lambda _: rewrite(read(data), "h"), range(32)))
    assert set(encoded) == {rewrite(image, "h")}


def test_a_frame_goes_into_no_other_format(tmp_path: Path) -> None:
    frames = examples(tmp_path)
    for name, target in (("dpx", "exr"), ("exr", "dpx"), ("dpx", "png"), ("cineon", "tiff")):
        with pytest.raises(UnsupportedImageError, match=r"set output\.format=same"):
            encode(read(frames[name]), target, STORED, "", scale=1)
    photograph = Profile(codec="png", dtype="uint16", bit_depth=16, colorinterp=("gray",))
    with pytest.raises(UnsupportedImageError, match="png of 16 bits is not written as dpx"):
        require(photograph, "dpx", 1, 1)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "the file is empty"),
        (b"Dear reader, this is no frame.", "begins with b'Dear reader,"),
        (b"SDPX", "no DPX header: 4 bytes"),
        (b"\x80\x2a\x5f\xd7", "no Cineon header: 4 bytes"),
        (b"v/1\x01\x02\0\0\0channels", "ends in its header"),
    ],
)
def test_a_file_that_is_no_frame_is_described(data: bytes, found: str) -> None:
    with pytest.raises(UndecodableError) as caught:
        read(data)
    assert found in str(caught.value)


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = examples(tmp_path)["exr"]
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "empty"))
    monkeypatch.setattr("sys.platform", "darwin")
    assert np.array_equal(read(rewrite(read(data))).pixels, half(3, 12, 20))
    with pytest.raises(UndecodableError):
        read(data[:-20])
    assert list((tmp_path / "empty").iterdir()) == []
