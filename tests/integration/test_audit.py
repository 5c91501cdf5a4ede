"""What an audit finds, what a prune may remove, and what may be interrupted."""

import io
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganray.cli.terminal import say
from ganray.codecs import photo
from ganray.ledger import Ledger, LedgerRow
from ganray.manifest import speakable
from ganray.pipelines import prune, verify
from ganray.storage import open_store
from ganray.storage.folder import FolderStore
from tests.integration.command import Outcome, ganray, ganray_here
from tests.integration.pictures import encoded, textured, write_pictures

DONE, FAILED, USAGE, SOME_FAILED = 0, 1, 2, 3
LATIN = os.fsdecode(b"latin-\xe9.png")


def restore(folder: Path, *words: str) -> Outcome:
    return ganray_here(
        "restore",
        f"source={folder}/archive",
        f"target={folder}/restored",
        "workers.max=0",
        *words,
    )


def problems(folder: Path) -> dict[str, str]:
    audit = ganray_here("verify", f"{folder}/restored", "--json").json
    return {problem["key"]: problem["what"] for problem in audit["problems"]}


def rows(folder: Path) -> dict[str, LedgerRow]:
    return Ledger(open_store(f"{folder}/restored")).read()


def record(folder: Path, row: LedgerRow) -> None:
    """A newer row of the same version, as a fault would leave it."""
    Ledger(open_store(f"{folder}/restored")).record(
        [replace(row, recorded_at=time.time())], f"planted-{time.time_ns():x}"
    )


def test_prune_keeps_an_output_that_another_input_has_taken_over(tmp_path: Path) -> None:
    archive, target = tmp_path / "archive", tmp_path / "restored"
    write_pictures(archive, 1)
    for suffix, kind in (("png", "PNG"), ("webp", "WEBP")):
        data = encoded(48, 48, seed=3, format_name=kind)
        (archive / f"a.{suffix}").write_bytes(data)
        assert restore(tmp_path, "output.format=tiff").code == DONE
        if suffix == "png":
            (archive / "a.png").unlink()
    live = (target / "a.tif").read_bytes()
    listed = ganray_here("prune", str(target)).output
    assert "1 output of inputs no longer in the archive; add --delete to remove" in listed
    outcome = ganray_here("prune", str(target), "--delete")
    assert outcome.code == DONE
    assert "a.png" in outcome.output and "1 output removed" in outcome.output
    assert (target / "a.tif").read_bytes() == live
    assert rows(tmp_path)["a.png"].state == "pruned"
    assert ganray_here("verify", str(target)).code == DONE


def test_an_interrupted_prune_loses_no_output_whose_input_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "archive", 5, side=48)
    assert restore(tmp_path).code == DONE
    gone = [tmp_path / "archive" / f"image-{number:03d}.png" for number in (1, 2, 3)]
    for path in gone:
        path.rename(tmp_path / path.name)
    monkeypatch.setattr(prune, "ROWS_PER_RECORD", 2)
    honest = FolderStore.delete
    deleted = []

    def delete(store: FolderStore, key: str) -> None:
        if key.endswith(".png") and len(deleted) == 1:
            raise KeyboardInterrupt
        deleted.extend([key] if key.endswith(".png") else [])
        honest(store, key)

    monkeypatch.setattr(FolderStore, "delete", delete)
    ganray_here("prune", f"{tmp_path}/restored", "--delete")
    monkeypatch.setattr(FolderStore, "delete", honest)
    assert deleted == ["image-001.png"]
    for path in gone:
        (tmp_path / path.name).rename(path)
    assert restore(tmp_path).code == DONE
    assert ganray_here("verify", f"{tmp_path}/restored").code == DONE


def test_prune_works_in_batches_and_removes_every_vanished_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "archive", 8, side=32)
    assert restore(tmp_path).code == DONE
    for number in range(1, 8):
        (tmp_path / "archive" / f"image-{number:03d}.png").unlink()
    monkeypatch.setattr(prune, "ROWS_PER_RECORD", 2)
    monkeypatch.setattr(prune, "OUTPUTS_PER_LISTING", 3)
    outcome = ganray_here("prune", f"{tmp_path}/restored", "--delete")
    assert outcome.output.splitlines()[:-1] == [f"image-{n:03d}.png" for n in range(1, 8)]
    assert [path.name for path in (tmp_path / "restored").glob("*.png")] == ["image-000.png"]
    assert problems(tmp_path) == {}


def test_a_name_that_is_not_utf8_is_listed_once_and_kills_no_command(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    (tmp_path / "archive" / LATIN).write_bytes(encoded(32, 32, seed=1))
    (tmp_path / "archive" / "zz.png").write_bytes(encoded(32, 32, seed=2))
    assert restore(tmp_path).code == SOME_FAILED
    target = f"{tmp_path}/restored"
    entries = ganray_here("ledger", target, "--json").json
    assert {entry["key"]: entry["state"] for entry in entries} == {
        "image-000.png": "restored",
        speakable(LATIN): "failed",
        "zz.png": "restored",
    }
    assert problems(tmp_path) == {}
    assert ganray_here("prune", target).output.startswith("0 outputs")
    (tmp_path / "archive" / os.fsdecode(b"new-\xfc.png")).write_bytes(encoded(32, 32, seed=3))
    assert problems(tmp_path).keys() == {r"new-\udcfc.png"}
    (tmp_path / "archive" / LATIN).unlink()
    assert ganray_here("prune", target).output.startswith(speakable(LATIN))
    for command in ("status", "ledger", "verify", "prune"):
        ganray(command, target, PYTHONIOENCODING="ascii")


def test_what_failed_is_listed_alone_and_the_status_tells_of_it(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    (tmp_path / "archive" / "bad.png").write_bytes(b"no picture")
    assert restore(tmp_path).code == SOME_FAILED
    target = f"{tmp_path}/restored"
    listed = ganray_here("ledger", target, "--state", "failed").output.splitlines()
    assert [line.split()[:2] for line in listed] == [["failed", "bad.png"]]
    (entry,) = ganray_here("ledger", target, "--json", "--state", "failed").json
    assert entry["key"] == "bad.png" and entry["generator_digest"]
    with pytest.raises(SystemExit):
        ganray_here("ledger", target, "--state", "lost")
    assert "some failed" in ganray_here("status", target).output.splitlines()[0]


def test_say_escapes_what_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{LATIN}: ü")
    assert capsys.readouterr().out == "latin-\\udce9.png: ü\n"


def test_the_status_of_a_killed_run_without_its_archive_skips_pruned_rows(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 2)
    assert restore(tmp_path).code == DONE
    (tmp_path / "archive" / "image-001.png").unlink()
    target = tmp_path / "restored"
    assert ganray_here("prune", str(target), "--delete").code == DONE
    for summary in (target / "_ganray" / "runs").glob("*/summary.json"):
        summary.unlink()
    shutil.rmtree(tmp_path / "archive")
    counts = ganray_here("status", str(target), "--json").json["inputs"]
    assert (counts["listed"], counts["restored"]) == (1, 1)


def test_large_outputs_are_decoded_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "archive", 6, side=48)
    (tmp_path / "archive" / "small.png").write_bytes(encoded(16, 16, seed=1))
    assert restore(tmp_path).code == DONE
    honest = photo.decode
    lock, at_work, most = threading.Lock(), 0, 0

    def decode(data: bytes, *, max_pixels: int) -> photo.Image:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        image = honest(data, max_pixels=max_pixels)
        with lock:
            at_work -= 1
        return image

    monkeypatch.setattr(photo, "decode", decode)
    assert problems(tmp_path) == {}
    assert most > 1
    most = 0
    monkeypatch.setattr(verify, "LARGE_PIXELS", 100)
    assert problems(tmp_path) == {}
    assert most == 1


def test_want_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "archive", 1)
    assert restore(tmp_path).code == DONE

    def load(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    audit = ganray_here("verify", f"{tmp_path}/restored")
    assert audit.code == FAILED
    assert "memory" in audit.errors
    assert "decode" not in audit.text


def test_verify_compares_each_side_with_the_inputs(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_pictures(archive, 1)
    (archive / "wide.png").write_bytes(encoded(32, 64, seed=1))
    noise = np.random.default_rng(0).integers(0, 256, (500, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(archive / "large.tif")
    Image.fromarray(textured(40, 60, seed=4)).save(archive / "small.tif")
    assert (archive / "large.tif").stat().st_size > verify.LARGE_TIFF_BYTES
    assert restore(tmp_path).code == DONE
    assert problems(tmp_path) == {}
    found = rows(tmp_path)
    store = open_store(f"{tmp_path}/restored")
    for key in ("wide.png", "large.tif", "small.tif"):
        row = found[key]
        with Image.open(tmp_path / "restored" / key) as picture:
            turned = picture.transpose(Image.Transpose.ROTATE_90)
        turned.save(tmp_path / "restored" / key)
        data = store.read(key)
        digest = verify.hashlib.sha256(data).hexdigest()
        record(
            tmp_path,
            replace(row, output_bytes=len(data), output_sha256=digest, output_parts=""),
        )
    assert problems(tmp_path).keys() == {"wide.png", "large.tif", "small.tif"}


def test_verify_names_a_generator_that_is_missing(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    assert restore(tmp_path).code == DONE
    (generator,) = (tmp_path / "restored" / "_ganray" / "generators").glob("*.safetensors")
    generator.unlink()
    assert problems(tmp_path).keys() == {f"_ganray/generators/{generator.name}"}


def test_verify_names_an_output_of_an_earlier_version(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 2)
    assert restore(tmp_path).code == DONE
    (tmp_path / "archive" / "image-001.png").write_bytes(b"damaged")
    assert restore(tmp_path).code == SOME_FAILED
    found = problems(tmp_path)
    assert found.keys() == {"image-001.png"}
    assert "earlier version" in found["image-001.png"]
    (tmp_path / "restored" / "image-001.png").unlink()
    assert problems(tmp_path) == {}


def test_what_is_missing_or_damaged_is_made_again_after_a_repair(tmp_path: Path) -> None:
    target = tmp_path / "restored"
    write_pictures(tmp_path / "archive", 4)
    (tmp_path / "archive" / "broken.png").write_bytes(b"no picture")
    assert restore(tmp_path).code == SOME_FAILED
    sound = {path.name: path.read_bytes() for path in target.glob("*.png")}
    (target / "image-000.png").unlink()
    (target / "image-001.png").write_bytes(sound["image-001.png"] + b"x")
    (target / "image-002.png").write_bytes(sound["image-003.png"])
    audit = ganray_here("verify", str(target))
    assert audit.code == FAILED
    assert "5 inputs audited, 1 of them failed and without an output, 3 problems" in audit.output
    assert "--repair lets the next ganray restore make 3 of them anew" in audit.output
    assert "nothing to do" in restore(tmp_path).output
    repair = ganray_here("verify", str(target), "--repair")
    assert repair.code == FAILED
    assert "3 count as failed now" in repair.output
    assert restore(tmp_path).code == SOME_FAILED
    after = {path.name: path.read_bytes() for path in target.glob("*.png")}
    assert sorted(after) == sorted(sound)
    assert ganray_here("verify", str(target)).code == DONE
    for name, before in sound.items():
        pair = (np.asarray(Image.open(io.BytesIO(data))) for data in (before, after[name]))
        assert np.array_equal(*pair)
