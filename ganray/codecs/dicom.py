"""DICOM: CT, MR, projection radiography and secondary captures of one frame, through pydicom.

Pixels are stored values. What is written is a derived object in a derived series: new UIDs, the
source referenced, geometry in patient coordinates kept, "not for diagnosis" said. Several frames,
palettes, segmentations and whatever else would not be kept are refused by name.
"""

from dataclasses import replace

import numpy as np

from ganray.codecs.dicom_derivation import derive
from ganray.codecs.dicom_file import DicomFile, header_bytes, open_file, read_header, read_tail
from ganray.codecs.dicom_geometry import rescale_geometry
from ganray.codecs.dicom_layout import LONGEST_SIDE, claimed_pixels, require_class
from ganray.codecs.dicom_library import Dataset, reading, value
from ganray.codecs.dicom_pixels import EXPLICIT, LossyStep, decode_pixels
from ganray.codecs.dicom_profile import LOSSY, DicomConfig, DicomDetails, read_profile
from ganray.codecs.dicom_removal import find_losses, loss_names
from ganray.codecs.dicom_rle import RLE
from ganray.codecs.dicom_writing import put_pixels, write_file
from ganray.errors import TooLargeError, UnsupportedImageError
from ganray.raster.image import Image, Pixels, Profile

__all__ = ["SUFFIXES", "DicomConfig", "decode", "encode", "probe", "require_encodable"]

SUFFIXES = {"dicom": (".dcm", ".dicom")}
TRANSFER_SYNTAXES = {"explicit": EXPLICIT, "rle": RLE}
LARGEST_VALUE_BYTES = 2**32 - 2


def probe(data: bytes, config: DicomConfig) -> tuple[Profile, int, int]:
    """Profile, height and width from the header alone; `data` may be a file's beginning."""
    with reading():
        file = open_file(data)
        profile = read_profile(file, config)
        return profile, int(file.dataset.Rows), int(file.dataset.Columns)


def decode(data: bytes, config: DicomConfig, *, max_pixels: int) -> Image:
    """Stored values (C,H,W); the header is checked against `max_pixels` before any is read.

    Raises UndecodableError, UnsupportedImageError or TooLargeError.
    """
    with reading():
        file = open_file(data)
        require_class(file.dataset)
        num_pixels = claimed_pixels(file.dataset)
        if num_pixels > max_pixels:
            raise TooLargeError(
                f"{num_pixels} samples in all frames; limits.pixels allows {max_pixels}"
            )
        return _image(file, read_profile(file, config), config)


def _image(file: DicomFile, profile: Profile, config: DicomConfig) -> Image:
    details = profile.details
    assert isinstance(details, DicomDetails)
    decoded = decode_pixels(file, details.layout)
    tail = read_tail(file, decoded.end)
    lost_behind = loss_names(
        tail[1], keep_private=config.keep_private, little_endian=file.little_endian
    )
    mask = details.padding.mask(decoded.pixels) if details.padding else None
    is_padded = mask is not None and not mask.all()
    profile = replace(
        profile,
        lossless=profile.lossless and decoded.lossy is None,
        lost=tuple(dict.fromkeys(profile.lost + lost_behind + decoded.lost)),
        details=replace(
            details, is_padded=is_padded, lossy=decoded.lossy, header=header_bytes(file, tail)
        ),
    )
    return Image(decoded.pixels, profile, mask if is_padded else None)


def encode(image: Image, format: str, config: DicomConfig, history: str, *, scale: int) -> bytes:  # noqa: A002
    """A derived object of pixels that are `scale` times as many along each axis as the source's.

    `history` stands with ganray among the contributing equipment. Values that the stored bits do
    not hold become the nearest that they do; where the mask says that there is no value there is
    padding, and nowhere else.
    """
    require_encodable(image.profile, format, *image.pixels.shape[1:])
    details = image.profile.details
    assert isinstance(details, DicomDetails)
    samples, rows, columns = details.layout.shape
    assert image.pixels.shape == (samples, rows * scale, columns * scale)
    with reading():
        dataset = read_header(details.header)
        for loss in find_losses(dataset, keep_private=config.keep_private):
            del loss.dataset[loss.tag]
        pixels = _storable(image, details)
        rescale_geometry(dataset, scale)
        _update_extremes(dataset, pixels, details)
        _mark_lossy(dataset, details.lossy)
        derive(dataset, history, scale=scale)
        transfer_syntax = TRANSFER_SYNTAXES[config.transfer_syntax]
        put_pixels(dataset, pixels, details.layout, transfer_syntax)
        return write_file(dataset, details.header, transfer_syntax)


def require_encodable(profile: Profile, format: str, height: int, width: int) -> None:  # noqa: A002
    """Raise UnsupportedImageError unless a DICOM object holds such an image."""
    if format not in SUFFIXES:
        raise UnsupportedImageError(f"the DICOM codec does not write {format}; expected dicom")
    if not isinstance(profile.details, DicomDetails):
        raise UnsupportedImageError(
            f"{profile.codec} has no patient, study and geometry; expected a DICOM input; set "
            "another output.format"
        )
    if max(height, width) > LONGEST_SIDE:
        raise UnsupportedImageError(
            f"the output's longer side is {max(height, width)} pixels and DICOM holds "
            f"{LONGEST_SIDE}; expected a smaller image or scale"
        )
    num_bytes = height * width * profile.num_bands * profile.details.layout.bits_allocated // 8
    if num_bytes > LARGEST_VALUE_BYTES:
        raise UnsupportedImageError(
            f"the output's pixels are {num_bytes} bytes and an element of DICOM holds "
            f"{LARGEST_VALUE_BYTES}; expected a smaller image or scale"
        )


def _storable(image: Image, details: DicomDetails) -> Pixels:
    """Pixels that the stored bits hold, with padding where the mask has it and nowhere else.

    Without a mask of a source that has one, padding is what has its value.
    """
    smallest, largest = details.layout.value_range
    pixels: Pixels = np.clip(image.pixels, smallest, largest)
    padding = details.padding
    if padding is None or (image.mask is None and details.is_padded):
        return pixels
    has_value = padding.mask(pixels)
    is_valid = np.ones_like(has_value) if image.mask is None else image.mask
    beside = padding.high + 1 if padding.high < largest else padding.low - 1
    pixels[0][is_valid & ~has_value] = max(beside, smallest)
    pixels[0][~is_valid & has_value] = padding.value
    return pixels


def _update_extremes(dataset: Dataset, pixels: Pixels, details: DicomDetails) -> None:
    """Smallest and largest value, padding apart, where the source says them."""
    values = pixels[0][details.padding.mask(pixels)] if details.padding else pixels
    vr = "SS" if details.layout.signed else "US"
    for keyword, extreme in (
        ("SmallestImagePixelValue", np.min),
        ("LargestImagePixelValue", np.max),
    ):
        if value(dataset, keyword) is not None:
            del dataset[keyword]
            if values.size:
                dataset.add_new(keyword, vr, int(extreme(values)))


def _mark_lossy(dataset: Dataset, step: LossyStep | None) -> None:
    if step is None:
        return
    dataset.LossyImageCompression = LOSSY
    if value(dataset, "LossyImageCompressionMethod") is None:
        dataset.LossyImageCompressionMethod = step.method
        dataset.LossyImageCompressionRatio = f"{step.ratio:.2f}"
