"""DICOM objects as other programs would have written them, in any transfer syntax."""

import io
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from ganray.codecs.dicom import DicomConfig, decode, encode
from ganray.raster.image import Image

CONFIG = DicomConfig()
LIMIT = 10**6
HISTORY = (
    '{"software": "ganray 0.1.0", "generator": "0123456789abcdef", '
    '"config": "fedcba9876543210", "time": "2026-03-01T23:30:00+00:00"}'
)
NATIVE = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
}
LOSSLESS = {
    **NATIVE,
    "rle": RLELossless,
    "jpeg": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg2000": JPEG2000Lossless,
}
CLASSES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "OT": SecondaryCaptureImageStorage,
}


def noise(
    bits: int = 16, *, signed: bool = False, shape: tuple[int, ...] = (9, 14), seed: int = 0
) -> np.ndarray:
    """Stored values (H,W) or (H,W,3) over the whole range of `bits`."""
    low = -(1 << bits - 1) if signed else 0
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    return np.random.default_rng(seed).integers(low, low + (1 << bits), shape, dtype)


def describe(values: np.ndarray, bits: int, modality: str = "CT", **attributes: Any) -> Dataset:
    """A data set without pixels; `attributes` win, and None removes one."""
    dataset = Dataset()
    dataset.SOPClassUID = CLASSES[modality]
    dataset.Modality = modality
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for number, name in enumerate(
        ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
    ):
        setattr(dataset, name, f"1.2.3.{number}")
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "17"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Scanners Inc", "S1"
    dataset.StationName, dataset.SoftwareVersions = "ROOM 3", ["7.1", "b"]
    dataset.SeriesDescription, dataset.SeriesNumber, dataset.InstanceNumber = "Head", 4, 12
    dataset.SliceThickness, dataset.SpacingBetweenSlices, dataset.SliceLocation = "5", "2.5", "7.5"
    dataset.WindowCenter, dataset.WindowWidth = ["40", "500"], ["80", "2000"]
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    if modality in ("CT", "MR"):
        dataset.PixelSpacing = ["0.661468", "0.5"]
        dataset.ImagePositionPatient = ["-158.135803", "-179.035797", "-75.699997"]
        dataset.ImageOrientationPatient = ["1.000000", "0", "0", "0", "0.9483237", "-0.3173047"]
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 1 if values.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    if values.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * values.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in attributes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def compress(values: np.ndarray, bits: int, syntax: str) -> bytes:
    """A frame of a compressed transfer syntax, by other encoders than the codec's."""
    unsigned = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    if bits < 8 * values.dtype.itemsize:
        unsigned = unsigned & np.array((1 << bits) - 1, unsigned.dtype)
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        return imagecodecs.jpeg8_encode(unsigned, level=95, bitspersample=bits)
    if syntax == JPEGLosslessSV1:
        return imagecodecs.ljpeg_encode(unsigned, bitspersample=bits)
    if syntax in (JPEGLSLossless, JPEGLSNearLossless):
        return imagecodecs.jpegls_encode(unsigned, level=int(syntax == JPEGLSNearLossless))
    if syntax == RLELossless:
        return rle_frame(unsigned)
    return imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", bitspersample=bits)


def rle_frame(unsigned: np.ndarray) -> bytes:
    planes = unsigned[..., np.newaxis] if unsigned.ndim == 2 else unsigned
    segments = []
    for sample in range(planes.shape[-1]):
        octets = np.ascontiguousarray(planes[..., sample]).view("u1")
        octets = octets.reshape(*planes.shape[:2], planes.dtype.itemsize)
        for byte in reversed(range(planes.dtype.itemsize)):
            rows = [imagecodecs.packbits_encode(row.tobytes()) for row in octets[..., byte]]
            segment = b"".join(rows)
            segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = np.zeros(16, "<u4")
    offsets[0] = len(segments)
    offsets[1 : len(segments) + 1] = 64 + np.cumsum([0, *map(len, segments[:-1])])
    return offsets.tobytes() + b"".join(segments)


def store(dataset: Dataset, value: bytes, syntax: str, *, vr: str = "OW") -> bytes:
    """The file of a data set, with `value` as its pixels, a frame if the syntax compresses."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    encapsulated = pydicom.uid.UID(syntax).is_encapsulated
    dataset.add_new(0x7FE00010, "OB" if encapsulated else vr, value)
    dataset["PixelData"].is_undefined_length = encapsulated
    if encapsulated:
        dataset["PixelData"].value = encapsulate([value])
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def make(
    values: np.ndarray | None = None,
    bits: int = 16,
    modality: str = "CT",
    *,
    syntax: str = ExplicitVRLittleEndian,
    frame: bytes | None = None,
    **attributes: Any,
) -> bytes:
    """A file with these stored values; `frame` are other pixel data than theirs."""
    if values is None:
        values = noise(bits)
    dataset = describe(values, bits, modality, **attributes)
    vr = "OB" if bits <= 8 else "OW"
    if frame is not None:
        return store(dataset, frame, syntax, vr=vr)
    if pydicom.uid.UID(syntax).is_encapsulated:
        return store(dataset, compress(values, bits, syntax), syntax)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    value = values.astype(values.dtype.newbyteorder(order)).tobytes()
    return store(dataset, value + b"\0" * (len(value) % 2), syntax, vr=vr)


def read(data: bytes, config: DicomConfig = CONFIG) -> Image:
    return decode(data, config, max_pixels=LIMIT)


def write(
    image: Image, config: DicomConfig = CONFIG, *, scale: int = 1, history: str = HISTORY
) -> bytes:
    """What a nearest-neighbour generator of that scale gives."""
    pixels = image.pixels.repeat(scale, 1).repeat(scale, 2)
    mask = None if image.mask is None else image.mask.repeat(scale, 0).repeat(scale, 1)
    return encode(Image(pixels, image.profile, mask), "dicom", config, history, scale=scale)


def parse(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def restored(data: bytes, *, scale: int = 1, **options: Any) -> pydicom.FileDataset:
    """The derived object of a file, as pydicom reads it."""
    config = DicomConfig(**options)
    return parse(write(read(data, config), config, scale=scale))
