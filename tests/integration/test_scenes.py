"""One large image over many workers: windows become one output, whatever its format."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ganray.ledger import Ledger
from ganray.storage import open_store
from tests.integration.command import ganray, ganray_here
from tests.integration.pictures import textured
from tests.integration.test_chaos import start
from tests.integration.test_restore import upload, wait_until

DONE, FAILED, USAGE, SOME_FAILED = 0, 1, 2, 3
ON_RAY = "workers.max=2", "workers.in_process=never"
SPLIT = "split_pixels=100000", "window_pixels=512"


def write(path: Path, height: int, width: int, bands: int = 3, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = textured(height, width, seed=1, bands=bands)
    Image.fromarray(pixels[..., 0] if bands == 1 else pixels).save(path, **options)


def restore(folder: Path, target: Path | str, *words: str) -> None:
    outcome = ganray("restore", f"source={folder}", f"target={target}", *words)
    assert outcome.code == DONE, outcome.text


def test_two_workers_make_one_tiff_that_equals_the_whole_image(tmp_path: Path, bucket: str) -> None:
    write(tmp_path / "archive" / "scene.tif", 700, 1300, description="roofs", dpi=(300, 300))
    upload(tmp_path / "archive", f"{bucket}/archive")
    words = f"source={bucket}/archive", f"target={bucket}/restored", *SPLIT, *ON_RAY
    outcome = ganray("restore", *words)
    assert outcome.code == DONE, outcome.text
    restore(tmp_path / "archive", tmp_path / "whole", "workers.max=0")
    (tmp_path / "scene.tif").write_bytes(open_store(f"{bucket}/restored").read("scene.tif"))
    with tifffile.TiffFile(tmp_path / "scene.tif") as made:
        page = made.pages[0]
        assert page.is_tiled
        assert page.description == "roofs"
        assert [level.shape for level in made.series[0].levels] == [
            *((1400, 2600, 3), (700, 1300, 3), (350, 650, 3), (175, 325, 3))
        ]
    windows, whole = (
        np.asarray(Image.open(tmp_path / name)) for name in ("scene.tif", "whole/scene.tif")
    )
    assert np.array_equal(windows, whole)
    (row,) = ganray_here("ledger", f"{bucket}/restored", "--json").json
    assert row["state"] == "restored"
    assert row["seam_error"] <= 1e-5
    assert ganray_here("status", f"{bucket}/restored", "--json").json["windows"] == 6
    assert ganray_here("verify", f"{bucket}/restored").code == DONE
    assert not list(open_store(f"{bucket}/restored").list("_ganray/staging/"))
    (other,) = ganray_here("ledger", str(tmp_path / "whole"), "--json").json
    for figure in ("consistency", "colour_drift", "clipped"):
        assert row[figure] == pytest.approx(other[figure], abs=1e-6)


def test_pictures_are_spread_too_where_inputs_are_fewer_than_workers(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write(archive / "rgb.png", 300, 600)
    write(archive / "alpha.png", 300, 600, 4)
    write(archive / "lossless.webp", 300, 600, lossless=True)
    deep = textured(300, 600, seed=1, bands=1)[..., 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(archive / "deep.png")
    small = "window_pixels=256", "split_pixels=1000"
    restore(archive, tmp_path / "windows", *small, "workers.max=5", "workers.in_process=never")
    restore(archive, tmp_path / "whole", "workers.max=0")
    for path in archive.iterdir():
        windows, whole = (
            np.asarray(Image.open(tmp_path / folder / path.name)) for folder in ("windows", "whole")
        )
        assert np.array_equal(windows, whole)
        assert windows.dtype == (np.uint16 if path.name == "deep.png" else np.uint8)
    assert ganray_here("verify", f"{tmp_path}/windows").code == DONE
    assert ganray_here("status", f"{tmp_path}/windows", "--json").json["windows"] == 4 * 6


def test_a_tiff_becomes_a_picture_window_by_window(tmp_path: Path) -> None:
    write(tmp_path / "archive" / "a.tif", 600, 600)
    restore(tmp_path / "archive", tmp_path / "png", *SPLIT, "output.format=png", "workers.max=0")
    assert Image.open(tmp_path / "png" / "a.png").size == (1200, 1200)


def test_a_picture_that_is_too_large_to_be_held_names_the_way_out(tmp_path: Path) -> None:
    write(tmp_path / "archive" / "a.tif", 600, 600)
    write(tmp_path / "archive" / "b.png", 600, 600)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/r", *SPLIT, "workers.max=0"
    outcome = ganray_here(
        "restore", *words, "limits.pixels=200000", "output.format=png", "include=*.tif"
    )
    assert outcome.code == SOME_FAILED
    assert "output.format=tiff" in outcome.output
    outcome = ganray_here("restore", *words, "limits.pixels=200000")
    assert outcome.code == SOME_FAILED
    rows = {row["key"]: row for row in ganray_here("ledger", f"{tmp_path}/r", "--json").json}
    assert rows["a.tif"]["state"] == "restored"
    assert "output.format=tiff" in rows["b.png"]["reason"]
    words = f"source={tmp_path}/archive", f"target={tmp_path}/s", *SPLIT, "workers.max=0"
    outcome = ganray_here("restore", *words, "limits.scene_pixels=200000")
    assert "limits.scene_pixels" in outcome.output


def test_a_file_of_the_wrong_suffix_is_restored_as_what_it_is(tmp_path: Path) -> None:
    write(tmp_path / "archive" / "really-a-png.tif", 64, 64, format="PNG")
    write(tmp_path / "archive" / "really-a-tiff.png", 64, 64, format="TIFF")
    restore(tmp_path / "archive", tmp_path / "restored", "workers.max=0")
    formats = {path.name: Image.open(path).format for path in (tmp_path / "restored").glob("*.*")}
    assert formats == {"really-a-png.tif": "PNG", "really-a-tiff.png": "TIFF"}


def test_a_scene_that_was_interrupted_goes_on_at_its_next_window(tmp_path: Path) -> None:
    write(tmp_path / "archive" / "scene.tif", 1000, 1500)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0", *SPLIT
    staging = tmp_path / "restored" / "_ganray" / "staging" / "scenes"
    driver = start("restore", *words)
    wait_until(lambda: len(list(staging.glob("*/*"))) >= 2)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in staging.glob("*/*")}
    assert 2 <= len(before) < 6
    again = start("restore", *words)
    wait_until(lambda: len(list(staging.glob("*/*"))) > len(before))
    after = {path.name: path.stat().st_mtime_ns for path in staging.glob("*/*")}
    assert all(after.get(name, time) == time for name, time in before.items())
    again.communicate(timeout=120)
    assert again.returncode == DONE
    assert ganray_here("verify", f"{tmp_path}/restored").code == DONE
    assert len(Ledger(open_store(f"{tmp_path}/restored")).read()) == 1


def test_a_damaged_scene_fails_once_and_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "archive" / "good.tif", 600, 600, compression="tiff_adobe_deflate")
    data = bytearray((tmp_path / "archive" / "good.tif").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    (tmp_path / "archive" / "bad.tif").write_bytes(data)
    words = f"source={tmp_path}/archive", f"target={tmp_path}/restored", "workers.max=0", *SPLIT
    outcome = ganray_here("restore", *words)
    assert outcome.code == SOME_FAILED
    rows = {
        row["key"]: row["state"]
        for row in ganray_here("ledger", f"{tmp_path}/restored", "--json").json
    }
    assert rows == {"good.tif": "restored", "bad.tif": "failed"}
    assert not list((tmp_path / "restored" / "_ganray" / "staging").rglob("*.*"))
    (run,) = (tmp_path / "restored" / "_ganray" / "runs").iterdir()
    assert json.loads((run / "summary.json").read_text())["inputs"]["failed"] == 1
