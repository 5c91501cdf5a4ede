"""What of a DICOM object its derived object must not carry, each with a name for the ledger.

Private attributes may describe the original's pixels and nobody but their maker knows which do;
signatures are void; an icon, curves and some statistics show what no longer is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ganray.codecs.dicom_library import Dataset, elements, require_pydicom

SIGNATURES = {0xFFFAFFFA: "digital signatures", 0x4FFE0001: "digital signatures"}
PRIVATE_DESCRIPTION = 0x00080300
"""PrivateDataElementCharacteristicsSequence."""
TOP_REMOVED = {
    0x00880200: "icon image",
    0x00280108: "smallest and largest value of the series",
    0x00280109: "smallest and largest value of the series",
    0x00280110: "smallest and largest value of the plane",
    0x00280111: "smallest and largest value of the plane",
    0x01000410: "authorization of the original",
    0x01000420: "authorization of the original",
    0x01000424: "authorization of the original",
    0x01000426: "authorization of the original",
    # Offsets and lengths of compressed frames, and padding of the file: they say nothing.
    0x7FE00001: "",
    0x7FE00002: "",
    0x7FE00003: "",
    0xFFFCFFFC: "",
}
"""Attributes of the image itself, by the name of what is lost with them."""
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
    found = elements(dataset)
    overlays = _unreadable_overlays(dataset, found)
    top = [
        Loss(dataset, tag, name)
        for tag in found
        if (name := _name_on_top(tag, overlays)) is not None
    ]
    return top + list(_losses_at_any_depth(dataset, found, keep_private))


def loss_names(dataset: Dataset, *, keep_private: bool, little_endian: bool) -> tuple[str, ...]:
    """What is lost of a data set as it was read, each name once."""
    losses = find_losses(dataset, keep_private=keep_private)
    found = [loss.name for loss in losses if loss.name]
    if not little_endian and _has_unknown(dataset):
        found.append("big-endian attributes of unknown type")
    return tuple(dict.fromkeys(found))


def _name_on_top(tag: int, unreadable_overlays: set[int]) -> str | None:
    if tag in TOP_REMOVED:
        return TOP_REMOVED[tag]
    group, element = tag >> 16, tag & 0xFFFF
    if group in CURVES and group % 2 == 0:
        return "curves"
    if group in unreadable_overlays:
        return f"overlay {group:04X}"
    if group in OVERLAYS and element in OVERLAY_STATISTICS:
        return "statistics of overlays"
    return None


def _losses_at_any_depth(
    dataset: Dataset, found: dict[int, Any], keep_private: bool
) -> Iterator[Loss]:
    creators: dict[int, str] = {}
    for tag, element in found.items():
        if tag in SIGNATURES:
            yield Loss(dataset, tag, SIGNATURES[tag])
        elif not keep_private and tag & 0x10000:
            block = _creator_tag(tag)
            if block not in creators:
                creators[block] = _creator(dataset, block) if block in found else "unknown"
            yield Loss(dataset, tag, f"private attributes of {creators[block]}")
        elif not keep_private and tag == PRIVATE_DESCRIPTION:
            yield Loss(dataset, tag, "")
        elif element.VR == "SQ" or (element.VR in (None, "UN") and _is_sequence(tag)):
            for item in dataset[tag].value or []:
                yield from _losses_at_any_depth(item, elements(item), keep_private)


def _creator_tag(tag: int) -> int:
    """Where the maker of a private attribute says his name: (gggg,xxyy) belongs to (gggg,00xx)."""
    low = tag & 0xFFFF
    return tag & 0xFFFF0000 | (low if low <= 0xFF else low >> 8)


def _creator(dataset: Dataset, tag: int) -> str:
    return str(dataset[tag].value or "unknown").strip()


def _is_sequence(tag: int) -> bool:
    """Whether the standard says so of an element whose file does not."""
    datadict = require_pydicom().datadict
    return bool(datadict.dictionary_has_tag(tag) and datadict.dictionary_VR(tag) == "SQ")


def _has_unknown(dataset: Dataset) -> bool:
    return any(
        element.VR == "UN" or (element.VR == "SQ" and any(map(_has_unknown, element.value)))
        for element in dataset
    )


def overlay_groups(found: Iterable[int]) -> list[int]:
    """Groups 6000, 6002… among tags."""
    return sorted({tag >> 16 for tag in found if tag >= OVERLAYS[0] << 16} & set(OVERLAYS))


def _unreadable_overlays(dataset: Dataset, found: dict[int, Any]) -> set[int]:
    """Those whose bits are among the pixels', as the standard once allowed, or are too few."""
    return {
        group for group in overlay_groups(found) if not _is_readable(dataset, found, group << 16)
    }


def _is_readable(dataset: Dataset, found: dict[int, Any], group: int) -> bool:
    def value(element: int, default: object = None) -> Any:
        return dataset[tag].value if (tag := group | element) in found else default

    counts = [value(OVERLAY_ROWS), value(OVERLAY_COLUMNS), value(OVERLAY_FRAMES, 1)]
    data = value(OVERLAY_DATA)
    return (
        value(OVERLAY_BITS_ALLOCATED, 1) == 1
        and isinstance(data, bytes)
        and all(isinstance(count, int) for count in counts)
        and 8 * len(data) >= counts[0] * counts[1] * counts[2]
    )
