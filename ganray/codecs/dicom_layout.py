"""How a DICOM image's pixels are laid out, and which images ganray does not keep.

Group 0028 of the data set: integers that are checked before anything is allocated by them.
"""

from dataclasses import dataclass

from ganray.codecs.dicom_file import OTHER_PIXELS, DicomFile
from ganray.codecs.dicom_library import Dataset, require_pydicom, value
from ganray.errors import UndecodableError, UnsupportedImageError

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT = f"{STORAGE}2"
IMAGES = {
    CT: "CT",
    f"{STORAGE}1": "CR",
    f"{STORAGE}1.1": "DX",
    f"{STORAGE}1.1.1": "DX for processing",
    f"{STORAGE}1.2": "MG",
    f"{STORAGE}1.2.1": "MG for processing",
    f"{STORAGE}1.3": "IO",
    f"{STORAGE}1.3.1": "IO for processing",
    f"{STORAGE}4": "MR",
    f"{STORAGE}6.1": "US",
    f"{STORAGE}7": "secondary capture",
    f"{STORAGE}12.1": "XA",
    f"{STORAGE}12.2": "RF",
}
"""SOP classes of one frame whose geometry ganray rescales."""
GRAY = ("MONOCHROME1", "MONOCHROME2")
LONGEST_SIDE = 65535


@dataclass(frozen=True)
class Layout:
    """Bits and samples of an image; `shape` is (C,H,W)."""

    shape: tuple[int, int, int]
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    is_planar: bool

    @property
    def dtype(self) -> str:
        """Of stored values; signed bytes, which few expect, are widened."""
        if self.signed:
            return "int16"
        return f"uint{self.bits_allocated}"

    @property
    def value_range(self) -> tuple[int, int]:
        """Smallest and largest value that the stored bits hold."""
        return value_range(self.bits_stored, signed=self.signed)

    @property
    def num_bytes(self) -> int:
        samples, rows, columns = self.shape
        return samples * rows * columns * self.bits_allocated // 8


def value_range(num_bits: int, *, signed: bool) -> tuple[int, int]:
    """Smallest and largest value that so many bits hold."""
    if signed:
        return -(1 << num_bits - 1), (1 << num_bits - 1) - 1
    return 0, (1 << num_bits) - 1


def claimed_pixels(dataset: Dataset) -> int:
    """Samples of all frames, as the header has it."""
    counts = [integer(dataset, name) for name in ("Rows", "Columns", "SamplesPerPixel")]
    frames = integer(dataset, "NumberOfFrames", default=1)
    if min(counts) < 1 or frames < 0:
        raise UndecodableError(
            f"rows, columns and samples are {counts}, frames {frames}; expected numbers above 0"
        )
    return counts[0] * counts[1] * counts[2] * max(frames, 1)


def read_layout(file: DicomFile) -> Layout:
    """The layout of an image that ganray keeps.

    Raises UnsupportedImageError by name for another, UndecodableError for a header that
    contradicts itself.
    """
    dataset = file.dataset
    _require_image(file)
    samples = integer(dataset, "SamplesPerPixel")
    layout = Layout(
        shape=(samples, integer(dataset, "Rows"), integer(dataset, "Columns")),
        photometric=text(dataset, "PhotometricInterpretation"),
        bits_allocated=integer(dataset, "BitsAllocated"),
        bits_stored=integer(dataset, "BitsStored"),
        high_bit=integer(dataset, "HighBit", default=integer(dataset, "BitsStored") - 1),
        signed=integer(dataset, "PixelRepresentation") == 1,
        is_planar=samples > 1 and integer(dataset, "PlanarConfiguration", default=0) == 1,
    )
    _require_kept(layout)
    return layout


def _require_image(file: DicomFile) -> None:
    dataset = file.dataset
    require_class(dataset)
    if file.pixels_at is None:
        raise UndecodableError("truncated DICOM: it ends before its pixel data")
    if file.pixel_tag in OTHER_PIXELS:
        raise UnsupportedImageError(
            f"{OTHER_PIXELS[file.pixel_tag]}: pixels in floating point; expected integers"
        )
    frames = integer(dataset, "NumberOfFrames", default=1)
    if frames > 1:
        raise UnsupportedImageError(f"{frames} frames in one object; expected one")
    kinds = value(dataset, "ImageType") or []
    if "MOSAIC" in ([kinds] if isinstance(kinds, str) else list(kinds)):
        raise UnsupportedImageError("a mosaic of slices in one image; expected one slice")


def require_class(dataset: Dataset) -> None:
    """Raise UnsupportedImageError by name for an object that is none of `IMAGES`."""
    sop_class = text(dataset, "SOPClassUID")
    if sop_class not in IMAGES:
        name = require_pydicom().uid.UID(sop_class).name
        raise UnsupportedImageError(
            f"{name}; expected a single-frame object of {', '.join(IMAGES.values())}"
        )


def _require_kept(layout: Layout) -> None:
    samples, allocated, stored = layout.shape[0], layout.bits_allocated, layout.bits_stored
    colour = layout.photometric == "RGB" or layout.photometric.startswith("YBR_")
    if (layout.photometric in GRAY, samples) != (True, 1) and (colour, samples) != (True, 3):
        raise UnsupportedImageError(
            f"{layout.photometric} with {samples} samples per pixel; expected MONOCHROME1 or "
            "MONOCHROME2 with 1, or RGB with 3"
        )
    if allocated not in (8, 16):
        raise UnsupportedImageError(f"{allocated} bits per sample are allocated; expected 8 or 16")
    if not 1 <= stored <= layout.high_bit + 1 <= allocated:
        raise UndecodableError(
            f"{stored} bits up to bit {layout.high_bit} in samples of {allocated}; expected fewer "
            "stored than allocated"
        )
    if samples == 3 and ((allocated, stored) != (8, 8) or layout.signed):
        raise UnsupportedImageError(
            f"{layout.photometric} of {stored} bits, signed: {layout.signed}; expected 8 bits, "
            "unsigned"
        )


def integer(dataset: Dataset, keyword: str, *, default: int | None = None) -> int:
    """The one integer of an element; UndecodableError if there is none or are more."""
    found = value(dataset, keyword)
    if found is None:
        if default is not None:
            return default
        raise UndecodableError(f"no {keyword}; expected a number")
    if isinstance(found, int):
        return int(found)
    raise UndecodableError(f"{keyword} is {found!r}; expected one number")


def text(dataset: Dataset, keyword: str) -> str:
    """The one string of an element; UndecodableError if it is missing or empty."""
    found = value(dataset, keyword)
    if not isinstance(found, str):
        raise UndecodableError(f"{keyword} is {found!r}; expected one value")
    return str(found)
