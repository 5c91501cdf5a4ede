"""Where the pixels of a magnified image are: every attribute that is measured in pixels.

Lengths in mm and everything across slices stay. What is a decimal string is computed in
decimals, and is exact wherever 16 characters hold the result.
"""

from collections.abc import Callable
from decimal import Context, Decimal, InvalidOperation, localcontext
from fractions import Fraction
from math import floor

import numpy as np

from ganray.codecs.dicom_library import Dataset, elements, value
from ganray.codecs.dicom_removal import (
    OVERLAY_COLUMNS,
    OVERLAY_DATA,
    OVERLAY_FRAMES,
    OVERLAY_ROWS,
    overlay_groups,
)
from ganray.errors import UndecodableError, UnsupportedImageError

DECIMAL_CHARACTERS = 16
EXACT = Context(prec=60)
SPACINGS = (
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "ReconstructionPixelSpacing",
)
"""Rows first: the distance between two rows, then between two columns."""
POSITION, ORIENTATION = "ImagePositionPatient", "ImageOrientationPatient"
OVERLAY_ORIGIN = 0x0050

Rule = Callable[[int, int], int]
"""From a position counted from 1 and the scale to the new position."""


def first_of(position: int, scale: int) -> int:
    """The first of the new pixels within a pixel."""
    return (position - 1) * scale + 1


def last_of(position: int, scale: int) -> int:
    return position * scale


def middle_of(position: int, scale: int) -> int:
    """The new pixel nearest to a pixel's middle, which for an even scale is between two."""
    return floor((position - Fraction(1, 2)) * scale + 1)


def length_of(length: int, scale: int) -> int:
    return length * scale


COUNTED_FROM_1: dict[str, Rule] = {
    "ShutterLeftVerticalEdge": first_of,
    "ShutterRightVerticalEdge": last_of,
    "ShutterUpperHorizontalEdge": first_of,
    "ShutterLowerHorizontalEdge": last_of,
    "CenterOfCircularShutter": middle_of,
    "RadiusOfCircularShutter": length_of,
    "VerticesOfThePolygonalShutter": middle_of,
    "CollimatorLeftVerticalEdge": first_of,
    "CollimatorRightVerticalEdge": last_of,
    "CollimatorUpperHorizontalEdge": first_of,
    "CollimatorLowerHorizontalEdge": last_of,
    "CenterOfCircularCollimator": middle_of,
    "RadiusOfCircularCollimator": length_of,
    "VerticesOfThePolygonalCollimator": middle_of,
}
REGIONS = "SequenceOfUltrasoundRegions"
COUNTED_FROM_0: dict[str, Rule] = {
    "RegionLocationMinX0": first_of,
    "RegionLocationMinY0": first_of,
    "RegionLocationMaxX1": last_of,
    "RegionLocationMaxY1": last_of,
    "ReferencePixelX0": first_of,
    "ReferencePixelY0": first_of,
    "DopplerSampleVolumeXPosition": middle_of,
    "DopplerSampleVolumeYPosition": middle_of,
    "TMLinePositionX0": middle_of,
    "TMLinePositionY0": middle_of,
    "TMLinePositionX1": middle_of,
    "TMLinePositionY1": middle_of,
}
"""Of ultrasound regions."""


def require_geometry(dataset: Dataset) -> None:
    """Raise unless all that `rescale_geometry` will change can be understood.

    UndecodableError for what is no number; UnsupportedImageError for a position that cannot be
    moved, since nothing says where the rows and columns go.
    """
    for keyword, count in ((POSITION, 3), (ORIENTATION, 6), *((name, 2) for name in SPACINGS)):
        found = decimals(dataset, keyword)
        if found and len(found) != count:
            raise UndecodableError(f"{keyword} has {len(found)} values; expected {count}")
    if decimals(dataset, POSITION):
        for keyword in ("PixelSpacing", ORIENTATION):
            if not decimals(dataset, keyword):
                raise UnsupportedImageError(
                    f"{POSITION} without {keyword}; expected both or neither"
                )


def rescale_geometry(dataset: Dataset, scale: int) -> None:
    """Make the data set describe pixels that are `scale` times as many along each axis."""
    if scale == 1:
        return
    _move_position(dataset, scale)
    for keyword in SPACINGS:
        if spacing := decimals(dataset, keyword):
            with localcontext(EXACT):
                setattr(dataset, keyword, [decimal_text(gap / scale) for gap in spacing])
    for keyword, rule in COUNTED_FROM_1.items():
        _move(dataset, keyword, rule, scale=scale, first=1)
    for region in value(dataset, REGIONS) or []:
        _rescale_region(region, scale)
    for group in overlay_groups(elements(dataset)):
        _rescale_overlay(dataset, group << 16, scale)


def _move_position(dataset: Dataset, scale: int) -> None:
    """To the middle of the first new pixel, which is half an old pixel less half a new one away."""
    position = decimals(dataset, POSITION)
    if not position:
        return
    down, across = decimals(dataset, "PixelSpacing")
    cosines = decimals(dataset, ORIENTATION)
    with localcontext(EXACT):
        shift = (1 / Decimal(scale) - 1) / 2
        dataset.ImagePositionPatient = [
            decimal_text(
                position[axis] + shift * (cosines[axis] * across + cosines[3 + axis] * down)
            )
            for axis in range(3)
        ]


def decimals(dataset: Dataset, keyword: str) -> list[Decimal]:
    """The numbers of a decimal string; none if it is missing or empty."""
    found = value(dataset, keyword)
    if found is None:
        return []
    try:
        numbers = [Decimal(str(part).strip()) for part in ([found] if _is_one(found) else found)]
    except InvalidOperation:
        numbers = [Decimal("NaN")]
    if not all(number.is_finite() for number in numbers):
        raise UndecodableError(f"{keyword} is {found!r}; expected numbers")
    return numbers


def _is_one(found: object) -> bool:
    return isinstance(found, str | float | int | Decimal)


def decimal_text(number: Decimal) -> str:
    """The nearest decimal string: DICOM has 16 characters for a number."""
    plain = f"{number.normalize():f}"
    if len(plain) <= DECIMAL_CHARACTERS:
        return plain
    candidates = [
        text
        for digits in range(1, DECIMAL_CHARACTERS + 1)
        for text in (f"{number:.{digits}e}", f"{number:.{digits}f}")
        if len(text) <= DECIMAL_CHARACTERS
    ]
    return min(candidates, key=lambda text: abs(Decimal(text) - number))


def _move(dataset: Dataset, keyword: str, rule: Rule, *, scale: int, first: int) -> None:
    """Apply a rule to positions that are counted from `first`."""
    found = value(dataset, keyword)
    if found is None:
        return
    positions = [int(part) - first + 1 for part in ([found] if _is_one(found) else found)]
    moved = [rule(position, scale) + first - 1 for position in positions]
    setattr(dataset, keyword, moved[0] if _is_one(found) else moved)


def _rescale_region(region: Dataset, scale: int) -> None:
    shift = (1 / scale - 1) / 2
    for axis in "XY":
        delta = value(region, f"PhysicalDelta{axis}")
        if delta is None:
            continue
        keyword = f"ReferencePixelPhysicalValue{axis}"
        reference = value(region, keyword)
        if reference is not None:
            setattr(region, keyword, reference + shift * delta)
        setattr(region, f"PhysicalDelta{axis}", delta / scale)
    for keyword, rule in COUNTED_FROM_0.items():
        _move(region, keyword, rule, scale=scale, first=0)


def _rescale_overlay(dataset: Dataset, group: int, scale: int) -> None:
    """Repeat the bits of an overlay as nearest-neighbour does: nothing of it is lost."""
    rows, columns = dataset[group | OVERLAY_ROWS].value, dataset[group | OVERLAY_COLUMNS].value
    frames = dataset[group | OVERLAY_FRAMES].value if group | OVERLAY_FRAMES in dataset else 1
    packed = np.frombuffer(dataset[group | OVERLAY_DATA].value, np.uint8)
    bits = np.unpackbits(packed, bitorder="little", count=frames * rows * columns)
    larger = bits.reshape(frames, rows, columns).repeat(scale, 1).repeat(scale, 2)
    repacked = np.packbits(larger.ravel(), bitorder="little").tobytes()
    dataset[group | OVERLAY_DATA].value = repacked + b"\0" * (len(repacked) % 2)
    dataset[group | OVERLAY_ROWS].value = rows * scale
    dataset[group | OVERLAY_COLUMNS].value = columns * scale
    if group | OVERLAY_ORIGIN in dataset:
        origin = dataset[group | OVERLAY_ORIGIN].value
        dataset[group | OVERLAY_ORIGIN].value = [first_of(position, scale) for position in origin]
