"""What a user may get wrong: each a clear sentence and an exit code, never a traceback."""

import pickle
from pathlib import Path

import pytest

from ganray.object_store import ObjectStore
from ganray.storage import open_store
from tests.integration.command import Outcome, ganray_here
from tests.integration.fault_proxy import FaultProxy, Status
from tests.integration.pictures import encoded, write_pictures

FAILED, USAGE = 1, 2


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "archive", 1)
    return tmp_path / "archive"


def restore(*words: str, **environment: str) -> Outcome:
    return ganray_here("restore", "workers.max=0", *words, **environment)


def test_a_missing_bucket_is_named(bucket: str, tmp_path: Path) -> None:
    outcome = restore("source=s3://no-such-bucket-here/x", f"target={tmp_path}/restored")
    assert outcome.code == FAILED
    assert "no-such-bucket-here" in outcome.errors


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    outcome = restore(f"source={tmp_path}/nowhere", f"target={tmp_path}/restored")
    assert outcome.code == FAILED
    assert "nowhere" in outcome.errors


def test_wrong_credentials_are_refused_and_never_shown(bucket: str, tmp_path: Path) -> None:
    secret = "wrong-secret-4711"
    outcome = restore(
        f"source={bucket}/x", f"target={tmp_path}/restored", AWS_SECRET_ACCESS_KEY=secret
    )
    assert outcome.code == FAILED
    assert bucket.removeprefix("s3://") in outcome.errors
    assert "AWS_" in outcome.errors or "credential" in outcome.errors
    assert secret not in outcome.text


def test_an_unreachable_endpoint_is_named(bucket: str, tmp_path: Path) -> None:
    endpoint = "http://127.0.0.1:9"
    outcome = restore(f"source={bucket}/x", f"target={tmp_path}/r", AWS_ENDPOINT_URL=endpoint)
    assert outcome.code == FAILED
    assert "AWS_ENDPOINT_URL" in outcome.errors


def test_no_credential_is_kept_in_any_file_of_a_run(bucket: str, object_store: ObjectStore) -> None:
    store = open_store(bucket)
    store.write("archive/a.png", encoded(64, 64, seed=1))
    outcome = restore(f"source={bucket}/archive", f"target={bucket}/restored")
    assert outcome.code == 0, outcome.text
    for text in [outcome.text, *(store.read(i.key).decode("latin-1") for i in store.list())]:
        assert object_store.secret_key not in text
        assert object_store.access_key not in text


def test_an_unknown_generator_lists_the_known_ones(archive: Path, tmp_path: Path) -> None:
    outcome = restore(f"source={archive}", f"target={tmp_path}/r", "generator=compact-x3")
    assert outcome.code == USAGE
    assert "compact-x2" in outcome.errors


def test_a_pickle_is_never_opened(archive: Path, tmp_path: Path) -> None:
    marker = tmp_path / "opened"
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(_Touch(str(marker))))
    words = f"source={archive}", f"target={tmp_path}/r", f"generator={tmp_path}/weights.pth"
    outcome = restore(*words)
    assert outcome.code == FAILED
    assert "pickle" in outcome.errors
    assert not marker.exists()


class _Touch:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_an_empty_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    outcome = restore(f"source={tmp_path}/archive", f"target={tmp_path}/restored")
    assert outcome.code == FAILED
    assert "no image" in outcome.errors


@pytest.mark.parametrize("target", ["", "/inside"])
def test_a_target_in_its_source_is_refused(archive: Path, target: str) -> None:
    outcome = restore(f"source={archive}", f"target={archive}{target}")
    assert outcome.code == USAGE
    assert "apart" in outcome.errors
    assert [path.name for path in archive.iterdir()] == ["image-000.png"]


def test_a_target_that_leads_back_to_its_source_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(archive)
    before = (archive / "image-000.png").read_bytes()
    for target in (tmp_path / "link", tmp_path / "other" / ".." / archive.name):
        outcome = restore(f"source={archive}", f"target={target}")
        assert outcome.code == USAGE
        assert "apart" in outcome.errors
    assert (archive / "image-000.png").read_bytes() == before


def test_gpus_that_are_not_there_are_missed_at_once(archive: Path, tmp_path: Path) -> None:
    words = f"source={archive}", f"target={tmp_path}/r", "workers.max=1", "workers.gpus=64"
    outcome = ganray_here("restore", *words)
    assert outcome.code == USAGE
    assert "workers.gpus=64" in outcome.errors


def test_a_target_without_write_permission_is_named(
    bucket: str, object_store: ObjectStore, archive: Path
) -> None:
    with FaultProxy(object_store.endpoint_url) as proxy:
        proxy.inject(Status(403, "AccessDenied"), method="PUT", times=1000)
        outcome = restore(
            f"source={archive}", f"target={bucket}/restored", AWS_ENDPOINT_URL=proxy.url
        )
    assert outcome.code == FAILED
    assert "PutObject" in outcome.errors


def test_a_target_that_is_a_file_is_named(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    outcome = restore(f"source={archive}", f"target={tmp_path}/file")
    assert outcome.code == USAGE
    assert f"target={tmp_path}/file is a file; expected a folder" in outcome.errors
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_source_that_is_a_file_is_answered_with_its_folder(archive: Path, tmp_path: Path) -> None:
    outcome = restore(f"source={archive}/image-000.png", f"target={tmp_path}/r")
    assert outcome.code == USAGE
    assert f"write source={archive} include=image-000.png" in outcome.errors
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("photos", "restored"), "write source=photos target=restored"),
        (("source=photos", "restored"), "write target=restored"),
        (("my photos", "target=b"), "write 'source=my photos'"),
    ],
)
def test_folders_without_a_key_are_answered_with_it(words: tuple[str, ...], meant: str) -> None:
    outcome = ganray_here("restore", *words)
    assert outcome.code == USAGE
    assert meant in outcome.errors


@pytest.mark.parametrize("words", [("restore", "--pln"), ("evaluate", "--plan")])
def test_an_option_that_a_job_does_not_have_is_named(words: tuple[str, str]) -> None:
    outcome = ganray_here(*words)
    assert outcome.code == USAGE
    assert f"unknown option {words[1]}" in outcome.errors


def test_inspect_says_what_it_reads(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    for path, hint in ((archive, "is a folder"), (tmp_path / "notes.txt", "no safetensors")):
        outcome = ganray_here("inspect", str(path))
        assert outcome.code in (FAILED, USAGE)
        assert hint in outcome.errors
        assert "one image" in outcome.errors and "one generator" in outcome.errors


def test_an_unknown_degradation_is_named_once() -> None:
    outcome = ganray_here("train", "degradation=blurry")
    assert outcome.code == USAGE
    assert outcome.errors.count("blurry") == 1 and "photo" in outcome.errors


def test_a_file_in_the_place_of_a_target_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no target")
    outcome = ganray_here("status", str(tmp_path / "notes.txt"))
    assert outcome.code == FAILED
    assert "a file stands where a folder is expected" in outcome.errors


def test_two_inputs_of_one_output_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "a.png").write_bytes(encoded(64, 64, seed=1))
    (archive / "a.jpg").write_bytes(encoded(64, 64, seed=1, format_name="JPEG"))
    outcome = restore(f"source={archive}", f"target={tmp_path}/r", "output.format=png")
    assert outcome.code == USAGE
    assert "a.jpg" in outcome.errors
    assert "a.png" in outcome.errors


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("worker.max=2", "workers"),
        ("window_pixel=64", "window_pixels"),
        ("workers.max=many", "workers.max"),
        ("max_failed=2", "max_failed"),
    ],
)
def test_a_wrong_key_or_value_names_what_was_meant(word: str, hint: str) -> None:
    outcome = ganray_here("restore", word)
    assert outcome.code == USAGE
    assert hint in outcome.errors


def test_a_folder_that_is_no_target_says_so(archive: Path) -> None:
    for command in ("status", "ledger", "verify"):
        outcome = ganray_here(command, str(archive))
        assert outcome.code == FAILED
        assert "_ganray/runs" in outcome.errors


def test_an_unknown_command_shows_the_known_ones() -> None:
    outcome = ganray_here("restor")
    assert outcome.code == USAGE
    assert "restore" in outcome.output + outcome.errors
