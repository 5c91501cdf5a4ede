"""What of a DICOM object its derived object must not carry, each with a name for the ledger.

Private attributes may describe the original's pixels and nobody but their maker knows which do;
signatures are void; an icon, curves and some statistics show what no longer is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ganray.codecs.dicom_file import DicomFile
from ganray.codecs.dicom_library import Dataset, require_pydicom, tags

REMOVED = {
    0xFFFAFFFA: "digital signatures",
    0x4FFE0001: "digital signatures",
    0x00880200: "icon image",
    0x00280108: "smallest and largest value of the series",
    0x00280109: "smallest and largest value of the series",
    0x00280110: "smallest and largest value of the plane",
    0x00280111: "smallest and largest value of the plane",
    0x01000410: "authorization of the original",
    0x01000420: "authorization of the original",
    0x01000424: "authorization of the original",
    0x01000426: "authorization of the original",
}
SIGNATURES = {tag for tag, name in REMOVED.items() if name == "digital signatures"}
PRIVATE_DESCRIPTION = 0x00080300
"""PrivateDataElementCharacteristicsSequence."""
COMPRESSED_LAYOUT = {0x7FE00001, 0x7FE00002, 0x7FE00003, 0xFFFCFFFC}
"""Offsets and lengths of compressed frames, and padding of the file: they say nothing."""
CURVES = range(0x5000, 0x5020)
OVERLAYS = range(0x6000, 0x6020, 2)
OVERLAY_DATA, OVERLAY_ROWS, OVERLAY_COLUMNS, OVERLAY_FRAMES = 0x3000, 0x0010, 0x0011, 0x0015
OVERLAY_BITS_ALLOCATED = 0x0100
OVERLAY_STATISTICS = {0x1301, 0x1302, 0x1303}


@dataclass(frozen=True)
class Loss:
    """An attribute that goes; `name` is empty for one that says nothing."""

    dataset: Dataset
    tag: int
    name: str


def find_losses(dataset: Dataset, *, keep_private: bool) -> list[Loss]:
    """Every attribute, at any depth, that the derived object will not have."""
    overlays = _unreadable_overlays(dataset)
    top = [
        Loss(dataset, tag, name)
        for tag in tags(dataset)
        if (name := _name_on_top(tag, overlays)) is not None
    ]
    return top + list(_losses_at_any_depth(dataset, keep_private))


def loss_names(losses: list[Loss], file: DicomFile) -> tuple[str, ...]:
    """What is lost of a file, each name once."""
    found = [loss.name for loss in losses if loss.name]
    if not file.little_endian and _has_unknown(file.dataset):
        found.append("big-endian attributes of unknown type")
    return tuple(dict.fromkeys(found))


def _name_on_top(tag: int, unreadable_overlays: set[int]) -> str | None:
    group, element = tag >> 16, tag & 0xFFFF
    if tag in COMPRESSED_LAYOUT:
        return ""
    if tag in REMOVED and tag not in SIGNATURES:
        return REMOVED[tag]
    if group in CURVES and group % 2 == 0:
        return "curves"
    if group in unreadable_overlays:
        return f"overlay {group:04X}"
    if group in OVERLAYS and element in OVERLAY_STATISTICS:
        return "statistics of overlays"
    return None


def _losses_at_any_depth(dataset: Dataset, keep_private: bool) -> Iterator[Loss]:
    for tag in tags(dataset):
        if tag in SIGNATURES:
            yield Loss(dataset, tag, REMOVED[tag])
        elif not keep_private and (tag >> 16) % 2 == 1:
            yield Loss(dataset, tag, f"private attributes of {_creator(dataset, tag)}")
        elif not keep_private and tag == PRIVATE_DESCRIPTION:
            yield Loss(dataset, tag, "")
        elif is_sequence(dataset, tag):
            for item in dataset[tag].value or []:
                yield from _losses_at_any_depth(item, keep_private)


def _creator(dataset: Dataset, tag: int) -> str:
    element = tag & 0xFFFF
    block = element if element <= 0xFF else element >> 8
    creator = dataset.get(tag & 0xFFFF0000 | block)
    return str(creator.value or "unknown").strip() if creator is not None else "unknown"


def is_sequence(dataset: Dataset, tag: int) -> bool:
    """Whether an element is one, without decoding any other."""
    vr = dataset.get_item(tag).VR
    if vr not in (None, "UN"):
        return bool(vr == "SQ")
    datadict = require_pydicom().datadict
    return bool(datadict.dictionary_has_tag(tag) and datadict.dictionary_VR(tag) == "SQ")


def _has_unknown(dataset: Dataset) -> bool:
    return any(
        element.VR == "UN" or (element.VR == "SQ" and any(map(_has_unknown, element.value)))
        for element in dataset
    )


def overlay_groups(dataset: Dataset) -> list[int]:
    """Groups 6000, 6002… that the data set has."""
    return sorted({tag >> 16 for tag in tags(dataset)} & set(OVERLAYS))


def _unreadable_overlays(dataset: Dataset) -> set[int]:
    """Those whose bits are among the pixels', as the standard once allowed, or are too few."""
    return {group for group in overlay_groups(dataset) if not _is_readable(dataset, group << 16)}


def _is_readable(dataset: Dataset, group: int) -> bool:
    def value(element: int, default: object = None) -> Any:
        return dataset[group | element].value if group | element in dataset else default

    counts = [value(OVERLAY_ROWS), value(OVERLAY_COLUMNS), value(OVERLAY_FRAMES, 1)]
    data = value(OVERLAY_DATA)
    return (
        value(OVERLAY_BITS_ALLOCATED, 1) == 1
        and isinstance(data, bytes)
        and all(isinstance(count, int) for count in counts)
        and 8 * len(data) >= counts[0] * counts[1] * counts[2]
    )
