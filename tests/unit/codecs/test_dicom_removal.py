import io

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ganray.codecs.dicom import DicomConfig
from tests.unit.codecs.dicom_objects import make, parse, read, restored

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def changed(data: bytes, **elements: object) -> bytes:
    """The file with further elements, `t00091001="LO"` and so on."""
    dataset = parse(data)
    for name, (vr, value) in elements.items():
        dataset.add_new(int(name[1:], 16), vr, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def with_private(syntax: str) -> bytes:
    item = Dataset()
    item.add_new(0x00190010, "LO", "NESTED INC")
    item.add_new(0x00191001, "DS", "1.5")
    item.ReferencedSOPInstanceUID = "1.2.5"
    return changed(
        make(syntax=syntax),
        t00090010=("LO", "SCANNERS INC"),
        t00090011=("LO", "OTHER INC"),
        t00091001=("LO", "geometry"),
        t00091102=("US", 7),
        t00291001=("LO", "nobody's"),
        t00080300=("SQ", []),
        t00081140=("SQ", [item]),
    )


def private_tags(dataset: Dataset) -> list[pydicom.tag.BaseTag]:
    return [element.tag for element in dataset.iterall() if element.tag.is_private]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_private_attributes_are_removed_at_every_depth_and_their_makers_named(syntax: str) -> None:
    data = with_private(syntax)
    assert set(read(data).profile.lost) == {
        "private attributes of SCANNERS INC",
        "private attributes of OTHER INC",
        "private attributes of unknown",
        "private attributes of NESTED INC",
    }
    result = restored(data)
    assert private_tags(parse(data))
    assert private_tags(result) == []
    assert "PrivateDataElementCharacteristicsSequence" not in result
    assert result.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.5"


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_private_attributes_are_kept_if_asked_for(syntax: str) -> None:
    data = with_private(syntax)
    assert read(data, DicomConfig(keep_private=True)).profile.lost == ()
    result = restored(data, keep_private=True)
    assert private_tags(result) == private_tags(parse(data))
    assert result[0x00091001].value == parse(data)[0x00091001].value
    assert "PrivateDataElementCharacteristicsSequence" in result


def test_a_sequence_of_unknown_type_is_searched_too() -> None:
    item = Dataset()
    item.add_new(0x00190010, "LO", "NESTED INC")
    explicit = changed(make(), t00081140=("SQ", [item]))
    unknown = explicit.replace(b"\x08\0\x40\x11SQ", b"\x08\0\x40\x11UN")
    assert unknown != explicit
    assert read(unknown).profile.lost == ("private attributes of NESTED INC",)
    assert private_tags(restored(unknown)) == []


@pytest.mark.parametrize(
    ("tag", "vr", "value", "name"),
    [
        ("t4FFE0001", "SQ", [], "digital signatures"),
        ("tFFFAFFFA", "SQ", [], "digital signatures"),
        ("t00880200", "SQ", [], "icon image"),
        ("t00280109", "US", 9, "smallest and largest value of the series"),
        ("t50003000", "OW", b"\0\0", "curves"),
        ("t01000410", "CS", "AO", "authorization of the original"),
    ],
)
def test_what_is_void_is_removed_and_named(tag: str, vr: str, value: object, name: str) -> None:
    data = changed(make(), **{tag: (vr, value)})
    assert read(data).profile.lost == (name,)
    assert int(tag[1:], 16) not in restored(data)


@pytest.mark.parametrize("tag", [0x7FE00001, 0x7FE00002, 0xFFFCFFFC])
def test_what_says_nothing_is_removed_without_a_word(tag: int) -> None:
    data = changed(make(), **{f"t{tag:08X}": ("OB", b"\0" * 8)})
    assert read(data).profile.lost == ()
    assert tag not in restored(data)


def test_signatures_within_sequences_are_void_too() -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.5"
    item.DigitalSignaturesSequence = [Dataset()]
    data = changed(make(), t00081140=("SQ", [item]))
    assert read(data).profile.lost == ("digital signatures",)
    assert "DigitalSignaturesSequence" not in restored(data).ReferencedImageSequence[0]


def test_words_of_a_big_endian_file_are_turned_and_unknown_values_named() -> None:
    item = Dataset()
    item.add_new(0x00283006, "OW", b"\x01\x02\x03\x04")
    dataset = parse(make(syntax=ExplicitVRBigEndian))
    dataset.VOILUTSequence = [item]
    dataset.add_new(0x00660016, "OF", b"\x01\x02\x03\x04")
    dataset.add_new(0x00090010, "LO", "SCANNERS INC")
    dataset.add_new(0x00091001, "UN", b"\x01\x02")
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset)
    config = DicomConfig(keep_private=True)
    image = read(buffer.getvalue(), config)
    assert image.profile.lost == ("big-endian attributes of unknown type",)
    result = restored(buffer.getvalue(), keep_private=True)
    assert result.VOILUTSequence[0][0x00283006].value == b"\x02\x01\x04\x03"
    assert result[0x00660016].value == b"\x04\x03\x02\x01"
    assert private_tags(result) == [0x00090010]
