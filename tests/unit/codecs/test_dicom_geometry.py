import io
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import gdcm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from ganray.codecs.dicom_geometry import decimal_text, first_of, last_of, middle_of
from ganray.errors import UndecodableError
from tests.unit.codecs.dicom_objects import make, noise, parse, read, restored, write

TOLERANCE = Fraction(1, 10**9)
"""Of a pixel of the output."""
HEIGHT, WIDTH = 300, 500

millimetres = st.decimals(-999, 999, places=6)
spacings = st.decimals("0.05", "3", places=6)
angles = st.floats(-math.pi, math.pi)


def cosines(yaw: float, pitch: float, roll: float) -> list[str]:
    """The first two columns of a rotation, in 16 characters each."""
    a, b, c = (np.array([math.cos(angle), math.sin(angle)]) for angle in (yaw, pitch, roll))
    about_z = np.array([[a[0], -a[1], 0], [a[1], a[0], 0], [0, 0, 1]])
    about_y = np.array([[b[0], 0, b[1]], [0, 1, 0], [-b[1], 0, b[0]]])
    about_x = np.array([[1, 0, 0], [0, c[0], -c[1]], [0, c[1], c[0]]])
    rotation = about_z @ about_y @ about_x
    return [f"{value:.12f}" for value in (*rotation[:, 0], *rotation[:, 1])]


def patient_coordinates(
    dataset: Dataset, row: Fraction | int, column: Fraction | int
) -> list[Fraction]:
    """Of a point that is given in pixels, whose middles are at integers (PS3.3 C.7.6.2.1.1)."""
    position, orientation, spacing = (
        [Fraction(str(value)) for value in dataset[name].value]
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    return [
        position[axis]
        + orientation[axis] * spacing[1] * column
        + orientation[3 + axis] * spacing[0] * row
        for axis in range(3)
    ]


def within(point: Fraction | int, scale: int) -> Fraction:
    """The same point in pixels of the output: areas agree, not middles."""
    return (point + Fraction(1, 2)) * scale - Fraction(1, 2)


@given(
    scale=st.sampled_from([2, 3, 4, 8]),
    position=st.tuples(millimetres, millimetres, millimetres),
    spacing=st.tuples(spacings, spacings),
    turned=st.tuples(angles, angles, angles),
    seed=st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_patient_coordinates_of_corners_and_of_a_hundred_pixels_agree(
    scale: int, position: tuple, spacing: tuple, turned: tuple, seed: int
) -> None:
    data = make(
        noise(8, shape=(HEIGHT, WIDTH)),
        8,
        ImagePositionPatient=[str(value) for value in position],
        PixelSpacing=[str(value) for value in spacing],
        ImageOrientationPatient=cosines(*turned),
    )
    source, result = parse(data), restored(data, scale=scale)
    assert (result.Rows, result.Columns) == (HEIGHT * scale, WIDTH * scale)
    half = Fraction(1, 2)
    corners = [(row, column) for row in (-half, HEIGHT - half) for column in (-half, WIDTH - half)]
    chosen = np.random.default_rng(seed).integers(0, (HEIGHT, WIDTH), (100, 2)).tolist()
    pixel = min(Fraction(str(value)) for value in result.PixelSpacing)
    for row, column in [*corners, *chosen]:
        expected = patient_coordinates(source, row, column)
        found = patient_coordinates(result, within(row, scale), within(column, scale))
        assert max(abs(a - b) for a, b in zip(expected, found, strict=True)) <= TOLERANCE * pixel


@pytest.mark.parametrize("syntax", ["explicit", "rle"])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_another_reader_finds_pixels_and_geometry(tmp_path: Path, scale: int, syntax: str) -> None:
    values = noise(12, signed=True)
    result = restored(make(values, 12, ImageOrientationPatient=[*"100010"]), scale=scale,
                      transfer_syntax=syntax)  # fmt: skip
    result.save_as(tmp_path / "result.dcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(tmp_path / "result.dcm"))
    assert reader.Read()
    image = reader.GetImage()
    shift = [(1 / scale - 1) / 2 * spacing for spacing in (0.5, 0.661468)]
    assert image.GetDimensions() == [14 * scale, 9 * scale]
    assert image.GetSpacing()[:2] == pytest.approx([0.5 / scale, 0.661468 / scale], abs=1e-12)
    assert image.GetOrigin() == pytest.approx(
        [-158.135803 + shift[0], -179.035797 + shift[1], -75.699997], abs=1e-10
    )
    pixels = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), "<i2")
    expected = values.repeat(scale, 0).repeat(scale, 1)
    assert np.array_equal(pixels.reshape(expected.shape), expected)
    assert (image.GetIntercept(), image.GetSlope()) == (-1024, 1)


def test_slices_keep_their_distance_and_everything_across_them() -> None:
    slices = [
        make(ImagePositionPatient=["-10", "20", str(depth)], SliceLocation=str(depth))
        for depth in (5, 7.5)
    ]
    before = [parse(data) for data in slices]
    after = [restored(data, scale=4) for data in slices]
    apart = [
        [float(b - a) for a, b in zip(*(item.ImagePositionPatient for item in pair), strict=True)]
        for pair in (before, after)
    ]
    assert apart[0] == apart[1] == [0, 0, 2.5]
    for name in ("SliceThickness", "SpacingBetweenSlices", "SliceLocation", "FrameOfReferenceUID",
                 "ImageOrientationPatient"):  # fmt: skip
        assert [item[name] for item in before] == [item[name] for item in after]


def test_every_spacing_of_projections_and_captures_is_divided() -> None:
    names = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    result = restored(make(modality="DX", **{name: ["0.3", "0.2"] for name in names}), scale=2)
    for name in names:
        assert [str(value) for value in result[name].value] == ["0.15", "0.1"]
    assert "ImagePositionPatient" not in result


@given(number=st.decimals(-9999, 9999, places=25))
@settings(max_examples=200)
def test_a_decimal_string_is_the_nearest_that_sixteen_characters_hold(number) -> None:
    text = decimal_text(number)
    assert len(text) <= 16
    assert abs(Fraction(text) - Fraction(number)) <= Fraction(1, 2 * 10**10)


@pytest.mark.parametrize(
    ("number", "text"), [("0.5", "0.5"), ("-0.0", "-0"), ("0.00000000001234567", "1.234567e-11")]
)
def test_decimal_strings_of_short_and_of_small_numbers(number: str, text: str) -> None:
    assert decimal_text(Decimal(number)) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PixelSpacing", ["1", "1", "1"]),
        ("PixelSpacing", "1"),
        ("ImagePositionPatient", ["1", "2"]),
    ],
)
def test_a_geometry_of_the_wrong_length_is_damaged(name: str, value: object) -> None:
    with pytest.raises(UndecodableError, match=name):
        read(make(**{name: value}))


def test_a_geometry_that_is_no_number_is_damaged() -> None:
    data = make()
    with pytest.raises(UndecodableError):
        read(data.replace(b"0.661468\\0.5", b"nonsense\\0.5"))


# Overlays, shutters, regions


def with_overlay(bits: np.ndarray, **attributes: object) -> bytes:
    dataset = parse(make())
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    for element, vr, value in (
        (0x0010, "US", bits.shape[0]),
        (0x0011, "US", bits.shape[1]),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [3, -1]),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x1301, "IS", "17"),
        (0x3000, "OW", packed + b"\0" * (len(packed) % 2)),
    ):
        dataset.add_new(0x60020000 | element, vr, value)
    for name, value in attributes.items():
        dataset[0x60020000 | int(name[1:], 16)].value = value
    return store_again(dataset)


def store_again(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@given(scale=st.sampled_from([1, 2, 3]), height=st.integers(1, 9), width=st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_overlays_are_repeated_bit_by_bit(scale: int, height: int, width: int) -> None:
    bits = np.random.default_rng(height).integers(0, 2, (height, width), np.uint8)
    data = with_overlay(bits)
    result = restored(data, scale=scale)
    assert np.array_equal(result.overlay_array(0x6002), bits.repeat(scale, 0).repeat(scale, 1))
    assert list(result[0x60020050].value) == [2 * scale + 1, -2 * scale + 1]
    assert read(data).profile.lost == ("statistics of overlays",)
    assert 0x60021301 not in result


@pytest.mark.parametrize("change", [{"x0100": 16}, {"x3000": b"\0\0"}])
def test_an_overlay_that_cannot_be_read_is_removed_and_named(change: dict) -> None:
    data = with_overlay(np.ones((9, 14), np.uint8), **change)
    assert read(data).profile.lost == ("overlay 6002",)
    assert not [element for element in restored(data, scale=2) if element.tag.group == 0x6002]


def test_shutters_enclose_the_same_pixels() -> None:
    result = restored(
        make(
            ShutterShape="RECTANGULAR",
            ShutterLeftVerticalEdge=3,
            ShutterRightVerticalEdge=8,
            CollimatorUpperHorizontalEdge=1,
            CollimatorLowerHorizontalEdge=9,
            CenterOfCircularShutter=[5, 6],
            RadiusOfCircularShutter=4,
            VerticesOfThePolygonalShutter=[1, 1, 1, 9],
        ),
        scale=3,
    )
    assert (result.ShutterLeftVerticalEdge, result.ShutterRightVerticalEdge) == (7, 24)
    assert result.CollimatorUpperHorizontalEdge == 1
    assert result.CollimatorLowerHorizontalEdge == 27
    assert list(result.CenterOfCircularShutter) == [14, 17]
    assert result.RadiusOfCircularShutter == 12
    assert list(result.VerticesOfThePolygonalShutter) == [2, 2, 2, 26]


@given(position=st.integers(-50, 50), scale=st.integers(1, 8))
def test_first_middle_and_last_are_new_pixels_of_the_same_pixel(position: int, scale: int) -> None:
    first, middle, last = (rule(position, scale) for rule in (first_of, middle_of, last_of))
    assert last - first == scale - 1
    assert abs(Fraction(first + last, 2) - middle) <= Fraction(1, 2)
    assert first <= middle <= last
    assert first_of(position + 1, scale) == last + 1


def test_ultrasound_regions_measure_the_same_millimetres() -> None:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMaxX1 = 2, 11
    region.RegionLocationMinY0, region.RegionLocationMaxY1 = 0, 8
    region.ReferencePixelX0, region.ReferencePixelPhysicalValueX = 4, 1.5
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    data = make(noise(8), 8, "OT", SequenceOfUltrasoundRegions=[region])
    (found,) = restored(data, scale=4).SequenceOfUltrasoundRegions
    assert (found.RegionLocationMinX0, found.RegionLocationMaxX1) == (8, 47)
    assert (found.RegionLocationMinY0, found.RegionLocationMaxY1) == (0, 35)
    assert found.PhysicalDeltaX == 0.005
    assert found.PhysicalDeltaY == 0.0075
    # The middle of the region's first pixel, by the old region and by the new.
    before = 1.5 + (0 - 4) * 0.02
    after = found.ReferencePixelPhysicalValueX + (1.5 - found.ReferencePixelX0) * 0.005
    assert after == pytest.approx(before, abs=1e-12)


def test_at_its_own_size_nothing_of_the_geometry_is_touched() -> None:
    data = with_overlay(np.ones((9, 14), np.uint8))
    image = read(data)
    before, after = parse(data), parse(write(image, scale=1))
    for name in ("PixelSpacing", "ImagePositionPatient"):
        assert before[name].value == after[name].value
        assert [v.original_string for v in before[name].value] == [
            v.original_string for v in after[name].value
        ]
    assert before[0x60023000].value == after[0x60023000].value
