"""What makes a data set that of a derived image: identity, derivation, equipment, a warning.

After PS3.3: C.7.6.1.1 (Image Type, Derivation, Source Image Sequence), C.7.5.1 and C.12.1.1.5
(equipment that made a derived image stands in the Equipment Module, that which acquired it among
the contributing equipment), C.8.13.2.1.1 (RESEARCH is what was not made by approved software).
"""

import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from ganray import __version__
from ganray.codecs.dicom_library import Dataset, require_pydicom, value
from ganray.errors import UnsupportedImageError

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/ganray/ganray")
SHORT_TEXT_CHARACTERS = 1024
RESAMPLING = ("113085", "Spatial resampling")
IMAGE_PROCESSING = ("121322", "Source image for image processing operation")
ACQUISITION_EQUIPMENT = ("109101", "Acquisition Equipment")
PROCESSING_EQUIPMENT = ("109102", "Processing Equipment")
EQUIPMENT = (
    "Manufacturer",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "InstitutionalDepartmentName",
    "OperatorsName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "GantryID",
    "UDISequence",
    "DeviceUID",
    "SpatialResolution",
    "DateOfLastCalibration",
    "TimeOfLastCalibration",
)
"""Of the equipment that made the source; an item of ContributingEquipmentSequence has them."""
PLACE = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "OperatorsName")
"""Of these attributes, those which the derived image keeps as its own."""
RESERVED_CHARACTERS = {
    "SeriesDescription": (64, 16),
    "DerivationDescription": (1024, 300),
    "ImageComments": (10240, 300),
}
"""How long a text may be, and what of it ganray's own words may need."""
WARNING = (
    "NOT FOR DIAGNOSIS: pixel values are estimates of a generative neural network "
    f"(ganray {__version__})"
)


@dataclass(frozen=True)
class Provenance:
    """What the history says: `identity` is all of it but the time."""

    history: str
    identity: str
    generator: str | None
    time: datetime | None


def read_history(history: str) -> Provenance:
    """The JSON line of provenance; any other text is its own identity and has no time."""
    try:
        record = json.loads(history)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return Provenance(history, history, None, None)
    said: dict[str, Any] = dict(record)
    time = _read_time(said.pop("time", None))
    generator = said.get("generator")
    return Provenance(
        history, json.dumps(said, sort_keys=True), str(generator) if generator else None, time
    )


def _read_time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def derive(dataset: Dataset, history: str, *, scale: int) -> None:
    """Make the data set that of an image derived from the one it describes.

    The same source, history (but for its time) and scale give the same UIDs, and all images of
    one series the same new series, so that a repeated run replaces its output.
    """
    provenance = read_history(history)
    _move_equipment(dataset)
    _add_equipment(dataset, provenance)
    _refer_to_source(dataset, scale)
    _identify(dataset, provenance, scale)
    _describe(dataset, provenance, scale)
    _date(dataset, provenance.time)


def derived_uid(*names: str) -> str:
    """A UID that follows from names: 2.25 and a name-based UUID, as PS3.5 B.2 has it."""
    return f"2.25.{uuid.uuid5(NAMESPACE, chr(0).join(names)).int}"


def _refer_to_source(dataset: Dataset, scale: int) -> None:
    item = require_pydicom().dataset.Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    item.SpatialLocationsPreserved = "YES" if scale == 1 else "NO"
    item.PurposeOfReferenceCodeSequence = [_code(*IMAGE_PROCESSING)]
    dataset.SourceImageSequence = [item, *(value(dataset, "SourceImageSequence") or [])]


def _identify(dataset: Dataset, provenance: Provenance, scale: int) -> None:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        source = str(dataset[keyword].value)
        setattr(dataset, keyword, derived_uid(keyword, source, provenance.identity, str(scale)))
    dataset.InstanceCreatorUID = derived_uid("software")
    kinds = value(dataset, "ImageType") or []
    further = [] if isinstance(kinds, str) else list(kinds)[2:]
    dataset.ImageType = ["DERIVED", "SECONDARY", *further]


def _describe(dataset: Dataset, provenance: Provenance, scale: int) -> None:
    size = f"magnified {scale} times" if scale > 1 else "at its own size"
    words = f"Restored {size} by ganray {__version__}"
    words += f", generator {provenance.generator[:80]}" if provenance.generator else ""
    words += "; NOT FOR DIAGNOSIS"
    if value(dataset, "BurnedInAnnotation") == "YES":
        words += "; burned-in annotation was restored as if it were image"
    _append(dataset, "DerivationDescription", words, between="; ")
    _append(dataset, "ImageComments", WARNING, between="\n")
    _append(dataset, "SeriesDescription", f"[ganray x{scale}]", between=" ")
    dataset.ContentQualification = "RESEARCH"
    if scale > 1:
        earlier = value(dataset, "DerivationCodeSequence") or []
        dataset.DerivationCodeSequence = [*earlier, _code(*RESAMPLING)]


def _append(dataset: Dataset, keyword: str, words: str, *, between: str) -> None:
    longest, reserved = RESERVED_CHARACTERS[keyword]
    earlier = _text(dataset, keyword)[: longest - reserved]
    setattr(dataset, keyword, f"{earlier}{between}{words}" if earlier else words)


def shortened_texts(dataset: Dataset) -> tuple[str, ...]:
    """Names of texts whose end makes place for ganray's words."""
    return tuple(
        f"end of {keyword}"
        for keyword, (longest, reserved) in RESERVED_CHARACTERS.items()
        if len(_text(dataset, keyword)) > longest - reserved
    )


def _text(dataset: Dataset, keyword: str) -> str:
    found = value(dataset, keyword) or ""
    # A backslash, which some write into a text, parts values.
    return (found if isinstance(found, str) else "\\".join(map(str, found))).rstrip()


def _move_equipment(dataset: Dataset) -> None:
    """From the Equipment Module to the contributing equipment; an output of ganray is there."""
    item = require_pydicom().dataset.Dataset()
    for keyword in EQUIPMENT:
        if keyword in dataset:
            item[keyword] = dataset[keyword]
            if keyword not in PLACE:
                del dataset[keyword]
    if not item or value(item, "Manufacturer") == "ganray":
        return
    is_processed = "SECONDARY" in (value(dataset, "ImageType") or [])
    purpose = PROCESSING_EQUIPMENT if is_processed else ACQUISITION_EQUIPMENT
    _contribute(dataset, item, purpose)


def _add_equipment(dataset: Dataset, provenance: Provenance) -> None:
    item = require_pydicom().dataset.Dataset()
    for owner in (dataset, item):
        owner.Manufacturer = "ganray"
        owner.ManufacturerModelName = "ganray"
        owner.SoftwareVersions = __version__
    if provenance.time:
        item.ContributionDateTime = provenance.time.astimezone(UTC).strftime("%Y%m%d%H%M%S+0000")
    item.ContributionDescription = _short_text(provenance.history)
    _contribute(dataset, item, PROCESSING_EQUIPMENT)


def _contribute(dataset: Dataset, item: Dataset, purpose: tuple[str, str]) -> None:
    item.PurposeOfReferenceCodeSequence = [_code(*purpose)]
    earlier = value(dataset, "ContributingEquipmentSequence") or []
    dataset.ContributingEquipmentSequence = [*earlier, item]


def _short_text(history: str) -> str:
    ascii_only = history.encode("ascii", "backslashreplace").decode("ascii")
    if len(ascii_only) > SHORT_TEXT_CHARACTERS:
        raise UnsupportedImageError(
            f"a history of {len(ascii_only)} characters; DICOM's ContributionDescription holds "
            f"{SHORT_TEXT_CHARACTERS}"
        )
    return ascii_only


def _date(dataset: Dataset, time: datetime | None) -> None:
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "InstanceCoercionDateTime"):
        if keyword in dataset:
            del dataset[keyword]
    if time:
        local = time.astimezone(_zone(dataset))
        dataset.InstanceCreationDate = local.strftime("%Y%m%d")
        dataset.InstanceCreationTime = local.strftime("%H%M%S")


def _zone(dataset: Dataset) -> timezone:
    """That of all times of the object; UTC where it does not say."""
    offset = re.fullmatch(r"([+-])(\d\d)(\d\d)", str(value(dataset, "TimezoneOffsetFromUTC") or ""))
    if not offset:
        return UTC
    away = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
    return timezone(-away if offset[1] == "-" else away)


def _code(code: str, meaning: str) -> Dataset:
    item = require_pydicom().dataset.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
    return item
