"""The profile of a DICOM image: which stored values a generator sees as 0 and 1, which are none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ganray.codecs.dicom_derivation import shortened_texts
from ganray.codecs.dicom_file import DicomFile
from ganray.codecs.dicom_geometry import decimals, require_geometry
from ganray.codecs.dicom_layout import CT, Layout, integer, read_layout, text
from ganray.codecs.dicom_library import Dataset, value
from ganray.codecs.dicom_pixels import LOSSY_METHODS, LossyStep, require_transfer_syntax
from ganray.codecs.dicom_removal import loss_names
from ganray.config import Section
from ganray.errors import UnsupportedImageError
from ganray.raster.image import Pixels, Profile

HOUNSFIELD = "HU"
DESCRIBED = {
    **{"modality": "Modality", "series": "SeriesDescription", "body_part": "BodyPartExamined"},
    **{"pixel_spacing_mm": "PixelSpacing", "slice_thickness_mm": "SliceThickness"},
    **{"position_mm": "ImagePositionPatient", "orientation": "ImageOrientationPatient"},
    **{"rescale_slope": "RescaleSlope", "rescale_intercept": "RescaleIntercept"},
    **{"window_center": "WindowCenter", "window_width": "WindowWidth"},
    **{"burned_in_annotation": "BurnedInAnnotation", "lossy": "LossyImageCompression"},
}
"""Names in `ganray inspect`, and the attributes behind them."""

LOSSY = "01"
"""Of LossyImageCompression: once lossy, always so."""


class DicomConfig(Section):
    """How DICOM objects are shown to a generator, and written."""

    transfer_syntax: Literal["explicit", "rle"] = "explicit"
    """Encoding of the outputs: Explicit VR Little Endian without compression, or RLE Lossless."""
    hu_low: Annotated[float, Field(allow_inf_nan=False)] = -1024
    """Of CT: Hounsfield units that a generator sees as 0; the default is the usual scale's end."""
    hu_high: Annotated[float, Field(allow_inf_nan=False)] = 3071
    """Of CT: Hounsfield units that a generator sees as 1; metal may lie above."""
    value_low: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Of gray images without Hounsfield units: stored value seen as 0, the same for all images;
    none is the smallest that BitsStored holds."""
    value_high: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Of gray images without Hounsfield units: stored value seen as 1; none is the largest that
    BitsStored holds. An MR of 16 bits that uses the lowest thousand needs this."""
    keep_private: bool = False
    """Whether private attributes are kept as they are, though they may describe the original."""

    @model_validator(mode="after")
    def _require_order(self) -> "DicomConfig":
        if self.hu_low >= self.hu_high:
            raise ValueError(f"hu_low {self.hu_low} is not below hu_high {self.hu_high}")
        low, high = self.value_low, self.value_high
        if low is not None and high is not None and low >= high:
            raise ValueError(f"value_low {low} is not below value_high {high}")
        return self


@dataclass(frozen=True)
class Padding:
    """Stored values, both included, of pixels that are none."""

    value: int
    low: int
    high: int

    def mask(self, pixels: Pixels) -> NDArray[np.bool_]:
        """(H,W) of (1,H,W), True where there is a value."""
        if self.low == self.high:
            return np.asarray(pixels[0] != self.value)
        return np.asarray((pixels[0] < self.low) | (pixels[0] > self.high))


@dataclass(frozen=True)
class DicomDetails:
    """What encode needs: the data set without pixels, explicit little-endian, and their layout."""

    layout: Layout
    padding: Padding | None = None
    is_padded: bool = False
    """Whether the source has pixels without a value."""
    lossy: LossyStep | None = None
    header: bytes = field(default=b"", repr=False)
    described: Mapping[str, object] = field(default_factory=dict, repr=False)
    """What a person wants to know, for `ganray inspect`."""


def read_profile(file: DicomFile, config: DicomConfig) -> Profile:
    """The profile from the header alone.

    Raises UnsupportedImageError by name for what would not be kept, UndecodableError for damage.
    """
    dataset = file.dataset
    layout = read_layout(file)
    require_transfer_syntax(file, layout)
    require_geometry(dataset)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        text(dataset, keyword)
    padding = _padding(dataset, layout)
    lost = loss_names(dataset, keep_private=config.keep_private, little_endian=file.little_endian)
    return Profile(
        codec="dicom",
        dtype=layout.dtype,
        bit_depth=layout.bits_stored,
        colorinterp=("gray",) if layout.shape[0] == 1 else ("red", "green", "blue"),
        icc=value(dataset, "ICCProfile"),
        lossless=_is_lossless(file),
        lost=lost + shortened_texts(dataset),
        value_range=_value_range(dataset, layout, config),
        nodata=padding.value if padding else None,
        details=DicomDetails(layout, padding, described=_describe(file, layout)),
    )


def _describe(file: DicomFile, layout: Layout) -> dict[str, object]:
    texts = {name: value(file.dataset, keyword) for name, keyword in DESCRIBED.items()}
    said = {name: str(text) for name, text in texts.items() if text is not None}
    return {
        **said,
        "transfer_syntax": str(file.transfer_syntax),
        "photometric": layout.photometric,
        "bits_stored": f"{layout.bits_stored}, {'signed' if layout.signed else 'unsigned'}",
    }


def _value_range(dataset: Dataset, layout: Layout, config: DicomConfig) -> tuple[float, float]:
    """The stored values that are 0 and 1 to a generator: alike for all images of a series.

    Percentiles or the window of a slice would make neighbouring slices differ. Of MONOCHROME1,
    whose smallest value is shown white, the generator sees a negative.
    """
    smallest, largest = layout.value_range
    if layout.shape[0] == 3:
        return float(smallest), float(largest)
    if dataset.SOPClassUID == CT and (value(dataset, "RescaleType") or HOUNSFIELD) == HOUNSFIELD:
        return _hounsfield_range(dataset, config)
    low = smallest if config.value_low is None else config.value_low
    high = largest if config.value_high is None else config.value_high
    if low >= high:
        raise UnsupportedImageError(
            f"value_low {low} and value_high {high} leave nothing of its {layout.bits_stored} "
            "bits; expected a range of stored values"
        )
    return float(low), float(high)


def _hounsfield_range(dataset: Dataset, config: DicomConfig) -> tuple[float, float]:
    slope, intercept = decimals(dataset, "RescaleSlope"), decimals(dataset, "RescaleIntercept")
    if len(slope) != 1 or len(intercept) != 1 or slope[0] <= 0:
        raise UnsupportedImageError(
            f"a CT with RescaleSlope {dataset.get('RescaleSlope')} and RescaleIntercept "
            f"{dataset.get('RescaleIntercept')}: its Hounsfield units are unknown; expected a "
            "slope above 0"
        )
    factor, offset = float(slope[0]), float(intercept[0])
    return (config.hu_low - offset) / factor, (config.hu_high - offset) / factor


def _padding(dataset: Dataset, layout: Layout) -> Padding | None:
    """PixelPaddingValue and PixelPaddingRangeLimit, as far as stored values reach them."""
    if layout.shape[0] != 1 or value(dataset, "PixelPaddingValue") is None:
        return None
    first = _as_stored(integer(dataset, "PixelPaddingValue"), layout)
    limit = _as_stored(integer(dataset, "PixelPaddingRangeLimit", default=first), layout)
    smallest, largest = layout.value_range
    low, high = max(min(first, limit), smallest), min(max(first, limit), largest)
    if low > high:
        return None
    return Padding(min(max(first, low), high), low, high)


def _as_stored(number: int, layout: Layout) -> int:
    # Often written with the other sign than the pixels have: the same 16 bits.
    return (number + 0x8000) % 0x10000 - 0x8000 if layout.signed else number % 0x10000


def _is_lossless(file: DicomFile) -> bool:
    # JPEG 2000 may be either; the header is believed.
    certain = {name for name, method in LOSSY_METHODS.items() if not method.startswith("ISO_15444")}
    return (
        file.transfer_syntax not in certain
        and value(file.dataset, "LossyImageCompression") != LOSSY
    )
