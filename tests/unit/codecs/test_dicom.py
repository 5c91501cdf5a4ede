import pickle
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from ganray.codecs import dicom
from ganray.codecs.dicom import DicomConfig, decode, encode, probe, require_encodable
from ganray.codecs.dicom_library import require_pydicom
from ganray.codecs.dicom_profile import DicomDetails
from ganray.config import build_config
from ganray.errors import (
    CodecError,
    ConfigError,
    MissingExtraError,
    TooLargeError,
    UndecodableError,
    UnsupportedImageError,
)
from ganray.raster.image import Image, Profile
from tests.unit.codecs.dicom_objects import (
    CONFIG,
    HISTORY,
    LOSSLESS,
    NATIVE,
    describe,
    make,
    noise,
    parse,
    read,
    restored,
    store,
    write,
)

# The filter that silences pydicom is undone by pytest; a test below looks at a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
few_examples = settings(max_examples=40, deadline=None)

REPLACED = {
    "ImageType",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "StationName",
    "SeriesDescription",
}
ADDED = {
    "InstanceCreationDate",
    "InstanceCreationTime",
    "InstanceCreatorUID",
    "DerivationDescription",
    "SourceImageSequence",
    "ContentQualification",
    "ContributingEquipmentSequence",
    "ImageComments",
}


@given(
    bits=st.integers(1, 16),
    signed=st.booleans(),
    syntax=st.sampled_from(list(LOSSLESS)),
    output=st.sampled_from(["explicit", "rle"]),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@few_examples
def test_an_identity_keeps_every_stored_value(
    bits: int, signed: bool, syntax: str, output: str, height: int, width: int, seed: int
) -> None:
    if syntax not in NATIVE and syntax != "rle":
        # What the encoders of the other codestreams take.
        bits, height, width = max(bits, 8), height + 4, width + 4
        signed = signed and syntax != "jpeg2000"
    values = noise(bits, signed=signed, shape=(height, width), seed=seed)
    image = read(make(values, bits, "MR", syntax=LOSSLESS[syntax]))
    config = DicomConfig(transfer_syntax=output)
    again = read(write(image, config))
    assert np.array_equal(image.pixels[0], values)
    assert np.array_equal(again.pixels, image.pixels)
    assert again.pixels.dtype == image.pixels.dtype == np.dtype(image.profile.dtype)
    assert image.profile.lost == ()
    assert image.profile.bit_depth == bits


@pytest.mark.parametrize("output", ["explicit", "rle"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big-endian", "rle"])
def test_colours_keep_every_value(syntax: str, planar: int, output: str) -> None:
    values = noise(8, shape=(5, 7, 3))
    frame = None
    if planar and syntax in NATIVE:
        frame = np.moveaxis(values, -1, 0).tobytes() + b"\0"
    data = make(values, 8, "OT", syntax=LOSSLESS[syntax], frame=frame, PlanarConfiguration=planar)
    image = read(data)
    assert np.array_equal(np.moveaxis(image.pixels, 0, -1), values)
    assert image.profile.colorinterp == ("red", "green", "blue")
    again = write(image, DicomConfig(transfer_syntax=output))
    assert np.array_equal(read(again).pixels, image.pixels)
    assert np.array_equal(parse(again).pixel_array, values)


@pytest.mark.parametrize("syntax", list(LOSSLESS))
def test_an_identity_keeps_all_attributes_but_those_of_the_derivation(syntax: str) -> None:
    source = parse(make(noise(12), 12, syntax=LOSSLESS[syntax]))
    result = restored(make(noise(12), 12, syntax=LOSSLESS[syntax]))
    names = {element.keyword for element in (*source, *result)} - {"PixelData"}
    assert {name for name in names if source.get(name) != result.get(name)} == REPLACED | ADDED
    assert result.PixelSpacing[0].original_string == "0.661468"
    assert result.ImageOrientationPatient[0].original_string == "1.000000"


@pytest.mark.parametrize("output", ["explicit", "rle"])
def test_the_same_input_and_history_give_the_same_bytes(output: str) -> None:
    config = DicomConfig(transfer_syntax=output)
    image = read(make())
    assert write(image, config, scale=2) == write(read(make()), config, scale=2)


def test_the_file_is_written_as_the_standard_has_it() -> None:
    result = restored(make(syntax=RLELossless), transfer_syntax="explicit")
    assert result.preamble == b"\0" * 128
    assert result.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert result.file_meta.MediaStorageSOPClassUID == result.SOPClassUID
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    assert result.file_meta.ImplementationVersionName.startswith("GANRAY")
    assert result["PixelData"].VR == "OW"
    assert restored(make(noise(8), 8))["PixelData"].VR == "OB"
    compressed = restored(make(), transfer_syntax="rle")
    assert compressed.file_meta.TransferSyntaxUID == RLELossless


@pytest.mark.parametrize("syntax", list(LOSSLESS))
def test_a_header_alone_tells_profile_and_size(syntax: str) -> None:
    data = make(noise(12), 12, syntax=LOSSLESS[syntax])
    header = data[
        : data.rindex(b"\xe0\x7f\x10\x00" if syntax != "big-endian" else b"\x7f\xe0\0\x10")
    ]
    profile, height, width = probe(header + data[len(header) : len(header) + 12], CONFIG)
    whole = read(data).profile
    assert (height, width) == (9, 14)
    assert replace(profile, details=None) == replace(whole, details=None)
    with pytest.raises(UndecodableError, match="ends before its pixel data"):
        probe(header, CONFIG)


def test_images_are_picklable_and_encode_after_it() -> None:
    image = read(make())
    assert write(pickle.loads(pickle.dumps(image))) == write(image)


def test_several_threads_decode_and_encode_at_once() -> None:
    files = [
        make(noise(12, seed=seed), 12, syntax=syntax)
        for seed, syntax in enumerate(LOSSLESS.values())
    ] * 6
    alone = [write(read(data), scale=2) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: write(read(data), scale=2), files))
    assert together == alone


# What a generator sees


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [("1", "-1024", (0, 4095)), ("2", "-1000", (-12, 2035.5)), ("1", "0", (-1024, 3071))],
)
def test_hounsfield_units_become_stored_values(
    slope: str, intercept: str, expected: tuple[float, float]
) -> None:
    data = make(RescaleSlope=slope, RescaleIntercept=intercept)
    assert read(data).profile.value_range == expected


def test_the_hounsfield_window_is_configurable() -> None:
    assert read(make(), DicomConfig(hu_low=-160, hu_high=240)).profile.value_range == (864, 1264)


@pytest.mark.parametrize(
    "changes", [{"RescaleSlope": None}, {"RescaleIntercept": None}, {"RescaleSlope": "0"},
                {"RescaleSlope": "-1"}]
)  # fmt: skip
def test_a_ct_without_hounsfield_units_is_refused(changes: dict) -> None:
    with pytest.raises(UnsupportedImageError, match="Hounsfield"):
        read(make(**changes))


def test_a_ct_of_another_unit_is_seen_by_its_bits() -> None:
    assert read(make(noise(12), 12, RescaleType="Z_EFF")).profile.value_range == (0, 4095)
    assert read(make(noise(12), 12, RescaleType="HU")).profile.value_range == (0, 4095)


@pytest.mark.parametrize(
    ("bits", "signed", "expected"),
    [(8, False, (0, 255)), (12, False, (0, 4095)), (12, True, (-2048, 2047))],
)
def test_images_without_a_unit_are_seen_by_their_bits_all_alike(
    bits: int, signed: bool, expected: tuple[int, int]
) -> None:
    for values in (noise(bits, signed=signed), np.zeros_like(noise(bits, signed=signed))):
        assert read(make(values, bits, "DX")).profile.value_range == expected


def test_the_range_of_images_without_a_unit_is_configurable() -> None:
    config = DicomConfig(value_low=0, value_high=1500)
    assert read(make(modality="MR"), config).profile.value_range == (0, 1500)
    with pytest.raises(UnsupportedImageError, match="value_low"):
        read(make(noise(8), 8, "MR"), DicomConfig(value_low=300))


@pytest.mark.parametrize(
    "values", [{"hu_low": 10, "hu_high": 10}, {"value_low": 2, "value_high": 1}]
)
def test_a_range_that_is_none_is_a_wrong_configuration(values: dict) -> None:
    with pytest.raises(ConfigError, match="below"):
        build_config(DicomConfig, values)


def test_monochrome1_stays_what_it_is() -> None:
    data = make(noise(12), 12, "DX", PhotometricInterpretation="MONOCHROME1")
    assert restored(data).PhotometricInterpretation == "MONOCHROME1"
    assert read(data).profile.value_range == (0, 4095)


# Bits


def test_bits_above_those_stored_are_dropped_and_named() -> None:
    values = noise(12)
    dirty = values | 0x5000
    image = read(make(dirty, 12))
    assert np.array_equal(image.pixels[0], values)
    assert "bits above those stored" in image.profile.lost


def test_a_sign_that_fills_the_bits_above_or_does_not_is_no_loss() -> None:
    values = noise(12, signed=True)
    assert read(make(values, 12)).profile.lost == ()
    image = read(make(values & 0x0FFF, 12))
    assert np.array_equal(image.pixels[0], values)
    assert image.profile.lost == ()


def test_stored_bits_that_are_not_the_lowest_are_shifted() -> None:
    values = noise(12)
    image = read(make((values << 4).astype(np.uint16), 12, HighBit=15))
    assert np.array_equal(image.pixels[0], values)
    assert image.profile.lost == ()
    result = parse(write(image))
    assert result.HighBit == 11
    assert np.array_equal(result.pixel_array, values)
    low = read(make((values << 4 | 1).astype(np.uint16), 12, HighBit=15))
    assert low.profile.lost == ("bits below those stored",)


def test_values_that_the_stored_bits_do_not_hold_become_the_nearest() -> None:
    image = read(make(noise(12), 12))
    pixels = image.pixels.copy()
    pixels[0, 0, :2] = 5000, 65535
    result = read(write(Image(pixels, image.profile)))
    assert result.pixels[0, 0, :2].tolist() == [4095, 4095]


def test_signed_bytes_are_widened_and_written_as_bytes() -> None:
    values = noise(8, signed=True)
    image = read(make(values, 8, "MR"))
    assert image.pixels.dtype == np.int16
    assert np.array_equal(parse(write(image)).pixel_array, values)


def test_bytes_in_big_endian_words_are_turned() -> None:
    values = noise(8, shape=(3, 5))
    swapped = np.frombuffer(values.tobytes() + b"\0", "u2").byteswap().tobytes()
    data = store(describe(values, 8, "DX"), swapped, ExplicitVRBigEndian, vr="OW")
    assert np.array_equal(read(data).pixels[0], values)


# Padding


@pytest.mark.parametrize("syntax", list(LOSSLESS))
@pytest.mark.parametrize(
    ("limit", "invalid"),
    [(None, [-1500]), (-1490, range(-1500, -1489)), (-1503, range(-1503, -1499))],
)
def test_padding_is_no_value(limit: int | None, invalid: list, syntax: str) -> None:
    values = np.arange(-1512, -1452, dtype=np.int16).reshape(6, 10)
    attributes = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    data = make(values, PixelPaddingValue=-1500, syntax=LOSSLESS[syntax], **attributes)
    image = read(data)
    assert image.profile.nodata == -1500
    assert image.mask is not None
    assert values[~image.mask].tolist() == list(invalid)
    again = write(image)
    assert parse(again)["PixelPaddingValue"].VR == "SS"
    assert np.array_equal(read(again).pixels, image.pixels)
    assert np.array_equal(read(again).mask, image.mask)


def test_padding_of_the_wrong_sign_is_understood() -> None:
    values = np.full((4, 4), -2000, np.int16)
    values[0] = 5
    dataset = describe(values, 16)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    image = read(store(dataset, values.tobytes(), ExplicitVRLittleEndian))
    assert image.profile.nodata == -2000
    assert np.array_equal(image.mask, values == 5)


def test_padding_beyond_the_stored_bits_is_none() -> None:
    image = read(make(noise(12), 12, PixelPaddingValue=63536))
    assert (image.profile.nodata, image.mask) == (None, None)


def test_an_image_without_padded_pixels_has_no_mask() -> None:
    image = read(make(noise(12) | 1, 12, PixelPaddingValue=0))
    assert image.mask is None
    assert image.profile.nodata == 0


@pytest.mark.parametrize(("padding", "beside"), [(0, 1), (4095, 4094)])
def test_a_restored_value_never_becomes_padding_nor_padding_a_value(
    padding: int, beside: int
) -> None:
    values = np.full((4, 4), 77, np.uint16)
    values[0] = padding
    image = read(make(values, 12, PixelPaddingValue=padding))
    pixels = image.pixels.copy()
    pixels[0, 0] = 9
    pixels[0, 1] = padding
    result = read(write(Image(pixels, image.profile, image.mask)))
    assert np.array_equal(result.mask, image.mask)
    assert set(result.pixels[0, 0]) == {padding}
    assert set(result.pixels[0, 1]) == {beside}
    assert set(result.pixels[0, 2]) == {77}


def test_without_a_mask_padding_is_what_has_its_value() -> None:
    values = np.array([[0, 1], [2, 3]], np.uint16)
    image = read(make(values, 12, PixelPaddingValue=0))
    assert np.array_equal(read(write(replace(image, mask=None))).pixels[0], values)


def test_smallest_and_largest_value_are_brought_up_to_date() -> None:
    values = np.array([[0, 10], [20, 30]], np.uint16)
    data = make(values, PixelPaddingValue=0, SmallestImagePixelValue=7, LargestImagePixelValue=9)
    result = restored(data)
    assert (result.SmallestImagePixelValue, result.LargestImagePixelValue) == (10, 30)
    assert "SmallestImagePixelValue" not in restored(make(values))


# Damage and limits


@pytest.mark.parametrize("syntax", list(LOSSLESS))
def test_a_truncated_file_is_refused(syntax: str) -> None:
    data = make(noise(12), 12, syntax=LOSSLESS[syntax])
    lengths = {*range(0, len(data), 23), *range(len(data) - 60, len(data))}
    for length in lengths:
        with pytest.raises(CodecError):
            read(data[:length])


@pytest.mark.parametrize("syntax", list(NATIVE))
def test_truncated_pixels_are_counted(syntax: str) -> None:
    with pytest.raises(UndecodableError, match="have 251 bytes of 252"):
        read(make(noise(12), 12, syntax=LOSSLESS[syntax])[:-1])


def test_lengths_of_groups_are_not_carried_along() -> None:
    element = b"\x08\0\0\0UL\x04\0\xd2\x04\0\0"
    data = make()
    start = 144 + int.from_bytes(data[140:144], "little")
    result = parse(write(read(data[:start] + element + data[start:])))
    assert 0x00080000 not in result


@pytest.mark.parametrize(
    "changes", [{"Rows": 10}, {"Rows": 8}, {"Columns": 13}, {"BitsAllocated": 8, "BitsStored": 8,
                "HighBit": 7}]
)  # fmt: skip
@pytest.mark.parametrize("syntax", list(LOSSLESS))
def test_a_header_that_contradicts_the_pixels_is_refused(syntax: str, changes: dict) -> None:
    with pytest.raises(UndecodableError):
        read(make(noise(12), 12, syntax=LOSSLESS[syntax], **changes))


@pytest.mark.parametrize("name", ["Rows", "Columns"])
@pytest.mark.parametrize("syntax", list(LOSSLESS))
def test_a_header_that_claims_too_much_is_refused_before_pixels_are_read(
    syntax: str, name: str
) -> None:
    data = make(noise(12), 12, syntax=LOSSLESS[syntax], **{name: 65535})
    with pytest.raises(TooLargeError, match=r"limits\.pixels"):
        decode(data, CONFIG, max_pixels=9 * 65535 - 1)


def test_frames_and_samples_count_towards_the_limit() -> None:
    with pytest.raises(TooLargeError):
        decode(make(NumberOfFrames=1000), CONFIG, max_pixels=9 * 14 * 1000 - 1)
    colour = make(noise(8, shape=(4, 5, 3)), 8, "OT")
    with pytest.raises(TooLargeError):
        decode(colour, CONFIG, max_pixels=59)
    assert decode(colour, CONFIG, max_pixels=60).pixels.size == 60


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "empty"),
        (b"this is no image at all", "it begins with b'this is no i'"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 400, "it begins with"),
        (b"\0" * 128 + b"DICM", "data set is empty"),
    ],
)
def test_a_file_that_is_no_dicom_is_described(data: bytes, found: str) -> None:
    with pytest.raises(UndecodableError, match=found):
        read(data)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("skipped", ["preamble", "meta information"])
def test_a_file_without_preamble_is_read(syntax: str, skipped: str) -> None:
    data = make(noise(12), 12, syntax=syntax)
    start = 132
    if skipped == "meta information":
        start += 12 + int.from_bytes(data[140:144], "little")
    assert np.array_equal(read(data[start:]).pixels[0], noise(12))


def test_what_follows_the_pixels_is_kept_or_truncated() -> None:
    data = make()
    private = b"\xe1\x7f\x10\0LO\x04\0ABC " + b"\xe1\x7f\x01\x10LO\x04\0text"
    image = read(data + private, DicomConfig(keep_private=True))
    assert parse(write(image, DicomConfig(keep_private=True)))[0x7FE11001].value == "text"
    assert read(data + private).profile.lost == ("private attributes of ABC",)
    for length in set(range(1, len(private))) - {12}:
        with pytest.raises(UndecodableError, match="truncated"):
            read(data + private[:length])
    assert np.array_equal(read(data + b"\0" * 20).pixels, read(data).pixels)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_give_an_image_or_an_error_of_ganray(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(list(LOSSLESS.values())))
    damaged = bytearray(make(noise(12), 12, syntax=syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(132, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    try:
        image = read(bytes(damaged))
        write(image)
    except CodecError:
        return
    assert image.pixels.shape == (1, *(read(bytes(damaged)).pixels.shape[1:]))


def test_a_deflated_data_set_is_refused() -> None:
    dataset = describe(noise(), 16)
    data = store(dataset, noise().tobytes(), DeflatedExplicitVRLittleEndian)
    with pytest.raises(UnsupportedImageError, match="deflated"):
        read(data)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR"),
        ({"PhotometricInterpretation": "YBR_FULL"}, "YBR_FULL"),
        ({"BitsAllocated": 32}, "32 bits"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 bits"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MOSAIC"]}, "mosaic"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "Segmentation Storage"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1"}, "Enhanced MR"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.1"}, "RT Image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.6"}, "Whole Slide"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient"),
        ({"PixelSpacing": None}, "PixelSpacing"),
    ],
)
def test_what_would_not_be_kept_is_refused_by_name(changes: dict, found: str) -> None:
    data = make(**changes)
    for reader in (read, lambda content: probe(content, CONFIG)):
        with pytest.raises(UnsupportedImageError, match=found):
            reader(data)


def test_colours_that_are_no_rgb_of_eight_bits_are_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="16 bits"):
        read(make(noise(16, shape=(4, 4, 3)), 16, "OT"))
    with pytest.raises(UnsupportedImageError, match="YBR_FULL"):
        read(make(noise(8, shape=(4, 4, 3)), 8, "OT", PhotometricInterpretation="YBR_FULL"))


@pytest.mark.parametrize(
    ("tag", "vr", "name"), [(0x7FE00008, "OF", "FloatPixelData"), (0x7FE00009, "OD", "Double")]
)
def test_pixels_in_floating_point_are_refused(tag: int, vr: str, name: str) -> None:
    dataset = describe(noise(), 16)
    dataset.add_new(tag, vr, b"\0" * 8)
    with pytest.raises(UnsupportedImageError, match=name):
        read(store(dataset, b"", ExplicitVRLittleEndian))


def test_a_video_is_refused_by_the_name_of_its_encoding() -> None:
    data = make(syntax="1.2.840.10008.1.2.4.102", frame=b"\0" * 8)
    with pytest.raises(UnsupportedImageError, match="MPEG-4"):
        read(data)


@pytest.mark.parametrize("name", ["SOPInstanceUID", "SeriesInstanceUID", "Rows", "BitsStored"])
def test_an_object_without_what_identifies_it_or_its_pixels_is_damaged(name: str) -> None:
    whole = make()
    keyword = pydicom.datadict.tag_for_keyword(name)
    tag = struct.pack("<HH", keyword >> 16, keyword & 0xFFFF)
    # An attribute of another name in its place.
    data = whole[:300] + whole[300:].replace(tag, b"\x28\0\x98\x98", 1)
    assert data != whole
    with pytest.raises(UndecodableError, match=name):
        read(data)


# Encoding


def test_only_what_came_from_dicom_becomes_dicom() -> None:
    profile = Profile("png", "uint8", 8, ("gray",))
    with pytest.raises(UnsupportedImageError, match="patient"):
        require_encodable(profile, "dicom", 4, 4)
    with pytest.raises(UnsupportedImageError, match="does not write png"):
        encode(read(make()), "png", CONFIG, HISTORY, scale=1)


def test_a_side_that_the_format_cannot_hold_is_refused() -> None:
    profile = read(make()).profile
    require_encodable(profile, "dicom", 65535, 100)
    with pytest.raises(UnsupportedImageError, match="65535"):
        require_encodable(profile, "dicom", 65536, 100)
    with pytest.raises(UnsupportedImageError, match="an element of DICOM holds"):
        require_encodable(profile, "dicom", 65535, 65535)


def test_the_icc_profile_is_kept() -> None:
    data = make(noise(8, shape=(4, 4, 3)), 8, "OT", ICCProfile=b"profile!")
    assert read(data).profile.icc == b"profile!"
    assert restored(data).ICCProfile == b"profile!"


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    data, image = make(), read(make())
    require_pydicom.cache_clear()
    with monkeypatch.context() as context:
        context.setitem(sys.modules, "pydicom", None)
        for call in (lambda: read(data), lambda: probe(data, CONFIG), lambda: write(image)):
            with pytest.raises(MissingExtraError, match=r'pip install "ganray\[dicom\]"'):
                call()
    assert np.array_equal(read(data).pixels, image.pixels)


def test_nothing_is_imported_before_it_is_needed_and_nothing_is_printed(tmp_path) -> None:
    odd = parse(make(noise(12), 12))
    odd.add_new("StudyDate", "DA", "20260301")
    odd["StudyDate"]._value = "yesterday"
    odd["PatientID"].VR = "UI"
    buffer = tmp_path / "odd.dcm"
    odd.save_as(buffer)
    script = f"""
import sys
from ganray.codecs import dicom
assert "pydicom" not in sys.modules
config = dicom.DicomConfig()
data = open({str(buffer)!r}, "rb").read()
image = dicom.decode(data, config, max_pixels=10**6)
dicom.encode(image, "dicom", config, "history", scale=1)
for length in range(len(data) - 1):
    try:
        dicom.decode(data[:length], config, max_pixels=10**6)
    except dicom.CodecError:
        pass
"""
    script = script.replace("dicom.CodecError", "Exception")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_suffixes_are_those_of_the_format() -> None:
    assert dicom.SUFFIXES == {"dicom": (".dcm", ".dicom")}


def test_what_a_person_wants_to_know_is_told() -> None:
    details = read(make(noise(12), 12, PixelSpacing=[0.5, 0.5])).profile.details
    assert isinstance(details, DicomDetails)
    assert details.described["modality"] == "CT"
    assert details.described["pixel_spacing_mm"] == "[0.5, 0.5]"
    assert details.described["bits_stored"] == "12, unsigned"
