import json

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from ganray import __version__
from ganray.codecs.dicom import DicomConfig
from ganray.errors import UnsupportedImageError
from tests.unit.codecs.dicom_objects import (
    HISTORY,
    make,
    noise,
    parse,
    read,
    restored,
    write,
)


def derived(data: bytes, *, scale: int = 1, history: str = HISTORY):
    return parse(write(read(data), scale=scale, history=history))


def test_slices_of_one_series_make_one_new_series_in_the_same_study_and_space() -> None:
    slices = [make(SOPInstanceUID=f"1.2.9.{number}") for number in range(5)]
    results = [derived(data, scale=2) for data in slices]
    assert len({result.SeriesInstanceUID for result in results}) == 1
    assert results[0].SeriesInstanceUID != parse(slices[0]).SeriesInstanceUID
    assert len({result.SOPInstanceUID for result in results}) == 5
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "SOPClassUID", "InstanceNumber"):
        assert {result[name].value for result in results} == {parse(slices[0])[name].value}
    other = derived(make(SeriesInstanceUID="1.2.99"), scale=2)
    assert other.SeriesInstanceUID != results[0].SeriesInstanceUID


@pytest.mark.parametrize("field", ["generator", "config", "software"])
def test_another_generator_or_configuration_makes_another_series(field: str) -> None:
    changed = json.dumps(json.loads(HISTORY) | {field: "another"})
    first, second = derived(make()), derived(make(), history=changed)
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_the_time_of_a_run_makes_no_other_object() -> None:
    later = json.dumps(json.loads(HISTORY) | {"time": "2027-01-01T00:00:00+00:00"})
    first, second = derived(make()), derived(make(), history=later)
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert first.InstanceCreationDate != second.InstanceCreationDate


def test_uids_are_valid() -> None:
    result = derived(make())
    for uid in (result.SOPInstanceUID, result.SeriesInstanceUID, result.InstanceCreatorUID,
                result.file_meta.ImplementationClassUID):  # fmt: skip
        assert UID(uid).is_valid
        assert uid.startswith("2.25.")


def test_the_image_is_derived_and_refers_to_its_source() -> None:
    result = derived(make(), scale=2)
    assert list(result.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    (source,) = result.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == "1.2.3.0"
    assert source.ReferencedSOPClassUID == result.SOPClassUID
    assert source.SpatialLocationsPreserved == "NO"
    (purpose,) = source.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("121322", "DCM")
    (code,) = result.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113085", "DCM")


def test_at_its_own_size_nothing_was_resampled() -> None:
    result = derived(make())
    assert result.SourceImageSequence[0].SpatialLocationsPreserved == "YES"
    assert "DerivationCodeSequence" not in result


@pytest.mark.parametrize("kinds", [None, "ORIGINAL", ["ORIGINAL", "PRIMARY"]])
def test_an_incomplete_image_type_is_completed(kinds: object) -> None:
    assert list(derived(make(ImageType=kinds)).ImageType) == ["DERIVED", "SECONDARY"]


def test_an_earlier_derivation_is_kept_beside_the_new_one() -> None:
    earlier, code = Dataset(), Dataset()
    earlier.ReferencedSOPClassUID, earlier.ReferencedSOPInstanceUID = "1.2", "1.2.77"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113087", "DCM", "Smoothing"
    data = make(
        SourceImageSequence=[earlier],
        DerivationCodeSequence=[code],
        DerivationDescription="smoothed",
    )
    result = derived(data, scale=2)
    references = [item.ReferencedSOPInstanceUID for item in result.SourceImageSequence]
    assert references == ["1.2.3.0", "1.2.77"]
    assert [item.CodeValue for item in result.DerivationCodeSequence] == ["113087", "113085"]
    assert result.DerivationDescription.startswith("smoothed; Restored")


def test_the_object_says_that_it_is_not_for_diagnosis() -> None:
    result = derived(make(ImageComments="portable"), scale=4)
    assert "NOT FOR DIAGNOSIS" in result.DerivationDescription
    assert "magnified 4 times" in result.DerivationDescription
    assert "generator 0123456789abcdef" in result.DerivationDescription
    assert result.ImageComments.startswith("portable\nNOT FOR DIAGNOSIS")
    assert result.SeriesDescription == "Head [ganray x4]"
    assert result.ContentQualification == "RESEARCH"


@pytest.mark.parametrize(("burned_in", "said"), [("YES", True), ("NO", False), (None, False)])
def test_burned_in_annotation_is_kept_and_said(burned_in: str | None, said: bool) -> None:
    result = derived(make(**({"BurnedInAnnotation": burned_in} if burned_in else {})))
    assert result.get("BurnedInAnnotation") == burned_in
    assert ("burned-in annotation" in result.DerivationDescription) is said


def test_texts_that_are_too_long_are_shortened_and_named() -> None:
    data = make(SeriesDescription="x" * 60, DerivationDescription="y" * 1024)
    lost = ("end of SeriesDescription", "end of DerivationDescription")
    assert read(data).profile.lost == lost
    result = derived(data, scale=16)
    assert result.SeriesDescription == "x" * 48 + " [ganray x16]"
    assert len(result.DerivationDescription) <= 1024
    assert result.DerivationDescription.endswith("NOT FOR DIAGNOSIS")
    assert read(make(SeriesDescription="x" * 48)).profile.lost == ()


def test_letters_of_other_alphabets_survive() -> None:
    data = make(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="山田^太郎",
        SeriesDescription="Schädel",
        StationName="Gerät",
    )
    result = derived(data)
    assert result.PatientName == "山田^太郎"
    assert result.SeriesDescription == "Schädel [ganray x1]"
    assert result.ContributingEquipmentSequence[0].StationName == "Gerät"


def test_ganray_is_the_equipment_and_the_scanner_contributed() -> None:
    result = derived(make(InstitutionName="Clinic", DeviceSerialNumber="9"))
    assert (result.Manufacturer, result.SoftwareVersions) == ("ganray", __version__)
    assert result.InstitutionName == "Clinic"
    assert "DeviceSerialNumber" not in result
    scanner, software = result.ContributingEquipmentSequence
    assert scanner.Manufacturer == "Scanners Inc"
    assert scanner.DeviceSerialNumber == "9"
    assert list(scanner.SoftwareVersions) == ["7.1", "b"]
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert software.Manufacturer == "ganray"
    assert software.SoftwareVersions == __version__
    assert software.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert software.ContributionDescription == HISTORY
    assert software.ContributionDateTime == "20260301233000+0000"


def test_a_workstation_is_no_acquisition_equipment() -> None:
    result = derived(make(ImageType=["DERIVED", "SECONDARY", "AXIAL"]))
    purposes = [
        item.PurposeOfReferenceCodeSequence[0].CodeValue
        for item in result.ContributingEquipmentSequence
    ]
    assert purposes == ["109102", "109102"]


def test_a_restored_image_that_is_restored_again_keeps_its_whole_past() -> None:
    again = parse(write(read(write(read(make()), scale=2)), scale=2))
    makers = [item.Manufacturer for item in again.ContributingEquipmentSequence]
    assert makers == ["Scanners Inc", "ganray", "ganray"]
    assert len(again.SourceImageSequence) == 2
    assert [float(value) for value in again.PixelSpacing] == [0.661468 / 4, 0.125]


@pytest.mark.parametrize(
    ("offset", "date", "time"),
    [
        (None, "20260301", "233000"),
        ("+0200", "20260302", "013000"),
        ("-0430", "20260301", "190000"),
    ],
)
def test_the_time_of_creation_is_that_of_the_history_in_the_objects_zone(
    offset: str | None, date: str, time: str
) -> None:
    result = derived(make(**({"TimezoneOffsetFromUTC": offset} if offset else {})))
    assert (result.InstanceCreationDate, result.InstanceCreationTime) == (date, time)


@pytest.mark.parametrize("history", ["by hand", "[1]", "{}", '{"time": "yesterday"}', "nötig\\"])
def test_a_history_without_time_or_form_is_kept_and_gives_no_time(history: str) -> None:
    result = derived(make(InstanceCreationDate="20200101"), history=history)
    said = result.ContributingEquipmentSequence[-1].ContributionDescription
    assert said == history.encode("ascii", "backslashreplace").decode()
    assert "InstanceCreationDate" not in result


def test_a_history_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="1024"):
        write(read(make()), history="x" * 1025)


def test_times_of_the_acquisition_stay() -> None:
    times = {
        f"{what}{kind}": "20200102" if kind == "Date" else "030405"
        for what in ("Study", "Series", "Acquisition", "Content")
        for kind in ("Date", "Time")
    }
    result = derived(make(**times))
    assert {name: result[name].value for name in times} == times


def test_display_and_acquisition_stay() -> None:
    result = derived(make(noise(12), 12, KVP="120", ConvolutionKernel="B30f"), scale=2)
    assert [str(value) for value in result.WindowCenter] == ["40", "500"]
    assert (str(result.RescaleIntercept), str(result.KVP)) == ("-1024", "120")
    assert result.ConvolutionKernel == "B30f"


def test_the_output_options_change_no_identity() -> None:
    image = read(make())
    explicit, rle = (
        parse(write(image, DicomConfig(transfer_syntax=name))) for name in ("explicit", "rle")
    )
    assert explicit.SOPInstanceUID == rle.SOPInstanceUID
    assert restored(make()).SOPInstanceUID == explicit.SOPInstanceUID
