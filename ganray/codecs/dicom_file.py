"""The structure of a DICOM file: meta information, data set, pixel data element, what follows it.

Nothing is repaired: a file that ends before it says so is damaged, whatever pydicom would make
of it. pydicom reads the data set up to the pixels; the rest is bytes.
"""

import io
import struct
from dataclasses import dataclass, field

from ganray.codecs.dicom_library import Dataset, elements, require_pydicom
from ganray.errors import UndecodableError, UnsupportedImageError

PREAMBLE_BYTES = 128
PREFIX = b"DICM"
FIRST_BYTES = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""Of a file without a preamble: group 2 or 8, the latter in either byte order."""
TRANSFER_SYNTAX = 0x00020010
PIXEL_DATA = 0x7FE00010
OTHER_PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
FIRST_GROUP = 8
"""Of a data set; lower ones are of messages, files and directories."""
UNDEFINED = 0xFFFFFFFF
LONG_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
"""Those whose explicit length has four bytes and stands after two that are reserved."""
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
SWAPPED_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
"""Bytes of a value of the VRs that pydicom does not swap by itself."""


@dataclass(frozen=True)
class DicomFile:
    """A file that was read as far as its pixels; offsets are in `data`."""

    data: bytes = field(repr=False)
    dataset: Dataset = field(repr=False)
    transfer_syntax: str | None
    implicit: bool
    little_endian: bool
    dataset_at: int
    pixels_at: int | None = None
    """Offset of the pixel data element, if the file goes that far."""
    pixel_tag: int = 0
    pixel_vr: str = ""
    pixel_bytes: int = 0

    @property
    def value_at(self) -> int:
        """Offset of the value of the pixel data."""
        long = not self.implicit and self.pixel_vr in LONG_VRS
        return (self.pixels_at or 0) + (12 if long else 8)


def open_file(data: bytes) -> DicomFile:
    """Read all that stands before the pixels; `data` may be a file's beginning.

    Raises UndecodableError for what is no DICOM, whatever else pydicom raises on damage.
    """
    pydicom = require_pydicom()
    start = _require_dicom(data)
    transfer_syntax, dataset_at = _read_meta(data, start)
    stream = io.BytesIO(data)
    stream.seek(dataset_at)
    found: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: int, vr: str | None, num_bytes: int) -> bool:
        if tag == PIXEL_DATA or tag in OTHER_PIXELS:
            found.append((int(tag), vr, num_bytes))
        return bool(found)

    implicit, little_endian = _encoding(data, transfer_syntax, dataset_at)
    dataset = pydicom.filereader.read_dataset(stream, implicit, little_endian, stop_when=at_pixels)
    if min(elements(dataset), default=0) >> 16 < FIRST_GROUP:
        raise UndecodableError("damaged DICOM: its data set is empty or begins with no data")
    tag, vr, num_bytes = found[-1] if found else (0, "", 0)
    return DicomFile(
        data=data,
        dataset=dataset,
        transfer_syntax=transfer_syntax,
        # A data set that is not encoded as its file says is read as it is.
        implicit=dataset.original_encoding[0],
        little_endian=dataset.original_encoding[1],
        dataset_at=dataset_at,
        pixels_at=stream.tell() if found else None,
        pixel_tag=tag,
        pixel_vr=vr or "OW",
        pixel_bytes=num_bytes,
    )


def _require_dicom(data: bytes) -> int:
    """Offset of the first element."""
    if data[PREAMBLE_BYTES : PREAMBLE_BYTES + len(PREFIX)] == PREFIX:
        return PREAMBLE_BYTES + len(PREFIX)
    if data[:2] in FIRST_BYTES:
        return 0
    if not data:
        raise UndecodableError("the file is empty; expected DICOM")
    raise UndecodableError(f"no DICOM: it begins with {data[:12]!r}; expected a DICOM file")


def _read_meta(data: bytes, offset: int) -> tuple[str | None, int]:
    """Transfer syntax of the data set, and where it begins."""
    transfer_syntax = None
    while data[offset : offset + 2] == b"\x02\x00":
        group, element, vr, short = struct.unpack_from("<HH2sH", data, offset)
        long = vr.decode("latin-1") in LONG_VRS
        num_bytes = struct.unpack_from("<L", data, offset + 8)[0] if long else short
        value_at = offset + (12 if long else 8)
        offset = value_at + num_bytes
        if group << 16 | element == TRANSFER_SYNTAX:
            transfer_syntax = data[value_at:offset].decode("ascii").rstrip("\0 ")
    return transfer_syntax, offset


def _encoding(data: bytes, transfer_syntax: str | None, offset: int) -> tuple[bool, bool]:
    """Whether the data set is implicit and little-endian; pydicom corrects the former."""
    uid = require_pydicom().uid
    if transfer_syntax is None:
        return False, data[offset : offset + 2] != b"\x00\x08"
    if transfer_syntax == uid.DeflatedExplicitVRLittleEndian:
        # Nothing bounds what a few bytes inflate to.
        raise UnsupportedImageError(
            "a deflated data set; expected one that is not compressed as a whole"
        )
    return transfer_syntax == uid.ImplicitVRLittleEndian, transfer_syntax != uid.ExplicitVRBigEndian


def native_end(file: DicomFile, expected_bytes: int) -> int:
    """Where pixel data that are not compressed end; UndecodableError unless they are whole."""
    found = file.pixel_bytes
    if found not in (expected_bytes, expected_bytes + expected_bytes % 2):
        claimed = "an undefined number of" if found == UNDEFINED else str(found)
        raise UndecodableError(
            f"the pixel data have {claimed} bytes; its rows, columns and bits need {expected_bytes}"
        )
    end = file.value_at + found
    if end > len(file.data):
        raise UndecodableError(
            f"truncated DICOM: the pixel data have {max(len(file.data) - file.value_at, 0)} bytes "
            f"of {found}"
        )
    return end


def encapsulated_value(file: DicomFile) -> tuple[bytes, int]:
    """The one frame of compressed pixel data, its fragments joined, and where the element ends."""
    if file.pixel_bytes != UNDEFINED:
        raise UndecodableError(
            f"compressed pixel data of {file.pixel_bytes} bytes; expected fragments in an element "
            "of undefined length"
        )
    fragments = []
    offset = file.value_at
    while True:
        tag, num_bytes = file.data[offset : offset + 4], file.data[offset + 4 : offset + 8]
        if len(num_bytes) < 4 or tag not in (ITEM, DELIMITER):
            raise UndecodableError("truncated DICOM: no end of the compressed pixel data")
        begin = offset + 8
        offset = begin + int.from_bytes(num_bytes, "little")
        if tag == DELIMITER:
            break
        if offset > len(file.data):
            raise UndecodableError("truncated DICOM: it ends within the compressed pixel data")
        fragments.append(file.data[begin:offset])
    # The first item is the table of offsets.
    if len(fragments) < 2:
        raise UndecodableError("compressed pixel data without a fragment; expected one frame")
    return b"".join(fragments[1:]), offset


def read_tail(file: DicomFile, end: int) -> tuple[bytes, Dataset]:
    """What follows the pixels, which end at `end`: its bytes, and as a data set.

    Raises UndecodableError if it is truncated. Zeros are no part of the file.
    """
    pydicom = require_pydicom()
    tail = file.data[end:]
    if not tail.strip(b"\0"):
        return b"", pydicom.dataset.Dataset()
    stream = io.BytesIO(tail)
    found, complete_to = {}, 0
    encoding = file.implicit, file.little_endian
    for element in pydicom.filereader.data_element_generator(stream, *encoding):
        if element.is_raw and element.length not in (UNDEFINED, len(element.value or b"")):
            break
        found[element.tag] = element
        complete_to = stream.tell()
    if complete_to != len(tail):
        raise UndecodableError("truncated DICOM: it ends within what follows the pixel data")
    return tail, pydicom.dataset.Dataset(found)


def header_bytes(file: DicomFile, tail: tuple[bytes, Dataset]) -> bytes:
    """The data set without its pixels, in explicit little-endian."""
    if file.little_endian and not file.implicit:
        return file.data[file.dataset_at : file.pixels_at] + tail[0]
    pydicom = require_pydicom()
    dataset = pydicom.dataset.Dataset()
    dataset.update(file.dataset)
    dataset.update(tail[1])
    if not file.little_endian:
        swap_bytes(dataset)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def swap_bytes(dataset: Dataset) -> None:
    """Turn big-endian words into little-endian ones, which pydicom leaves as they are.

    Values of unknown type cannot be turned, and are removed; `loss_names` names them.
    """
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                swap_bytes(item)
        elif element.VR == "UN":
            del dataset[element.tag]
        elif element.VR in SWAPPED_BYTES and element.value:
            width = SWAPPED_BYTES[element.VR]
            whole = len(element.value) // width * width
            value = bytearray(element.value)
            for byte in range(width):
                value[byte:whole:width] = element.value[width - 1 - byte : whole : width]
            element.value = bytes(value)


def read_header(header: bytes) -> Dataset:
    """What `header_bytes` gave, as a data set."""
    filereader = require_pydicom().filereader
    return filereader.read_dataset(io.BytesIO(header), False, True)
