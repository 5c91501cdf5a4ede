"""Megabytes of pixels per CPU-second of the DICOM codec, against pydicom used directly.

Both sides alternate on the same file in one process. pydicom alone reads a file and its pixels;
or reads a header, gives the object new identities and writes it with its pixels: it neither finds
padding, names what is lost, checks lengths nor says what the standard wants said of a derived
image. A CT slice shows what that costs, a radiograph what remains of it in large images.

    python tests/benchmarks/codec_dicom.py [--quick]
"""

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import pydicom
from measuring import Figure, spread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from ganray.codecs.dicom import DicomConfig, decode, encode
from ganray.codecs.dicom_library import require_pydicom

CT, RADIOGRAPH = "CT 512²", "radiograph 3000×2500"
SIZES = {CT: (512, 512), RADIOGRAPH: (3000, 2500)}
CLASSES = {CT: CTImageStorage, RADIOGRAPH: DigitalXRayImageStorageForPresentation}
HISTORY = '{"software": "ganray", "generator": "0123", "config": "4567"}'
LIMIT = 10**9
OUTPUTS = {ExplicitVRLittleEndian: "explicit", RLELossless: "rle"}


def run(folder: Path, *, quick: bool) -> list[Figure]:
    require_pydicom()
    figures = []
    for name in (CT,) if quick else (CT, RADIOGRAPH):
        repeats = (3 if quick else 9) * (20 if name == CT else 1)
        for syntax in (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless):
            path = folder / f"{name} {syntax.name}.dcm"
            path.write_bytes(make(name, syntax))
            figures.append(decoding(path, name, syntax, repeats))
            if syntax in OUTPUTS:
                figures.append(encoding(path, name, syntax, repeats))
    return figures


def make(name: str, syntax: pydicom.uid.UID) -> bytes:
    """A smooth picture with noise of a few bits, as scanners give, and a hundred attributes."""
    rows, columns = np.mgrid[: SIZES[name][0], : SIZES[name][1]]
    noise = np.random.default_rng(0).integers(0, 16, rows.shape)
    values = (np.sin(rows / 40) * np.cos(columns / 60) * 1800 + 2000 + noise).astype(np.uint16)
    dataset = Dataset()
    dataset.SOPClassUID = CLASSES[name]
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = "1.2.3.3", "1.2.3.4"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Manufacturer, dataset.PatientName = "Scanners Inc", "Doe^Jane"
    if name == CT:
        dataset.PixelSpacing = ["0.5", "0.5"]
        dataset.ImagePositionPatient = ["-128", "-128", "7.5"]
        dataset.ImageOrientationPatient = [*"100010"]
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    for number in range(70):
        dataset.add_new(0x00189000 + number, "LO", f"attribute {number}")
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.add_new("PixelData", "OW", values.tobytes())
    if syntax != ExplicitVRLittleEndian:
        dataset.set_original_encoding(False, True)
        dataset.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def decoding(path: Path, name: str, syntax: pydicom.uid.UID, repeats: int) -> Figure:
    data = path.read_bytes()

    def directly() -> np.ndarray:
        return pydicom.dcmread(io.BytesIO(data)).pixel_array

    def through_ganray() -> np.ndarray:
        return decode(data, DicomConfig(), max_pixels=LIMIT).pixels[0]

    assert np.array_equal(directly(), through_ganray())
    return compare(f"DICOM decode, {name}, {syntax.name}", through_ganray, directly, name, repeats)


def encoding(path: Path, name: str, syntax: pydicom.uid.UID, repeats: int) -> Figure:
    data = path.read_bytes()
    image = decode(data, DicomConfig(), max_pixels=LIMIT)
    config = DicomConfig(transfer_syntax=OUTPUTS[syntax])

    def directly() -> bytes:
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        dataset.SOPInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        dataset.DerivationDescription = "restored"
        if syntax == RLELossless:
            dataset.compress(RLELossless, image.pixels[0], generate_instance_uid=False)
        else:
            dataset.add_new("PixelData", "OW", image.pixels.tobytes())
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    def through_ganray() -> bytes:
        return encode(image, "dicom", config, HISTORY, scale=1)

    return compare(f"DICOM encode, {name}, {syntax.name}", through_ganray, directly, name, repeats)


def compare(
    what: str, ours: Callable[[], object], theirs: Callable[[], object], name: str, repeats: int
) -> Figure:
    """Median ratio of speeds; each pair runs one after the other."""
    megabytes = SIZES[name][0] * SIZES[name][1] * 2 / 1e6
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repeats + 1)][1:]
    # A clock of microseconds is too coarse for one slice: sums of twenty.
    group = 20 if name == CT else 1
    sums = [
        tuple(sum(side) for side in zip(*pairs[begin : begin + group], strict=True))
        for begin in range(0, len(pairs), group)
    ]
    ratios = [theirs / ours for ours, theirs in sums]
    rates = [megabytes * group / median(side) for side in zip(*sums, strict=True)]
    return Figure(
        what,
        f"{rates[0]:.0f} MB/CPU-s, {spread(ratios)} of pydicom's",
        f"goal 0.9; pydicom {rates[1]:.0f} MB/CPU-s",
    )


def seconds(call: Callable[[], object]) -> float:
    begin = process_time()
    call()
    return process_time() - begin


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for figure in run(Path(place), quick="--quick" in sys.argv):
            print(f"{figure.what}: {figure.value} ({figure.note})")
