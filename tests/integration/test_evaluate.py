"""The evaluate job on synthesised and on paired archives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganray.errors import ReportError
from ganray.models.catalog import shipped_path
from ganray.models.checkpoint import Provenance, build_generator, encode_checkpoint
from ganray.pipelines import evaluate
from tests.integration.command import Outcome, ganray_here
from tests.integration.pictures import textured, write_pictures
from tests.unit.codecs.geo_files import geotiff

DONE, FAILED, USAGE, SOME_INPUTS_FAILED = 0, 1, 2, 3


def read_metrics(output: Path) -> dict[str, Any]:
    return json.loads((output / "metrics.json").read_text())


def test_the_shipped_generator_beats_bicubic_on_images_it_never_saw(tmp_path: Path) -> None:
    for recipe in ("bicubic", "photo-mild"):
        output = tmp_path / recipe
        words = f"output={output}", f"degradation={recipe}", "workers.max=0"
        outcome = ganray_here("evaluate", *words)
        assert outcome.code == DONE, outcome.text
        content = read_metrics(output)
        assert set(content) == {"bicubic", "compact-x2"}
        for metric in ("psnr_y", "ssim_y"):
            ours, baseline = content["compact-x2"][metric], content["bicubic"][metric]
            assert ours["mean"] > baseline["mean"], (recipe, metric)
            assert ours["low"] < ours["mean"] < ours["high"]
            assert ours["crop"] == 2
            assert "crop" in ours["definition"]
            assert len(ours["per_image"]) == 6
            against = ours["against"]["bicubic"]
            assert against["won"] + against["lost"] + against["tied"] == 6
            assert against["difference"] == pytest.approx(ours["mean"] - baseline["mean"])


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("photo-x2", "photo"), ("photo-x4", "photo"), ("photo-x1", "photo"), ("film-x1", "film")],
)
def test_each_shipped_generator_mends_what_it_was_trained_for(
    name: str, recipe: str, tmp_path: Path
) -> None:
    words = f"output={tmp_path}/o", f"generators=[{name}]", f"degradation={recipe}"
    outcome = ganray_here("evaluate", *words, "metrics=[ssim_y]", "shown=0", "workers.max=0")
    assert outcome.code == DONE, outcome.text
    content = read_metrics(tmp_path / "o")
    assert content[name]["ssim_y"]["mean"] > content["bicubic"]["ssim_y"]["mean"] + 0.005


def test_any_number_of_workers_writes_the_same_metrics(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 3, side=64)
    written = []
    for workers in (0, 2):
        output = tmp_path / str(workers)
        words = f"archive={tmp_path}/archive", f"output={output}", f"workers.max={workers}"
        assert ganray_here("evaluate", *words).code == DONE
        written.append((output / "metrics.json").read_bytes())
    assert written[0] == written[1]


def test_the_table_is_narrow_and_names_every_generator_and_metric(tmp_path: Path) -> None:
    mine = tmp_path / "a-folder-of-a-long-name" / "generator.safetensors"
    mine.parent.mkdir()
    mine.write_bytes(shipped_path("photo-x2").read_bytes())
    write_pictures(tmp_path / "archive", 3, side=64)
    words = f"archive={tmp_path}/archive", f"output={tmp_path}/o", "workers.max=0", "shown=0"
    metrics = "metrics=[psnr_y,consistency]"
    outcome = ganray_here("evaluate", *words, f"generators=[compact-x2,{mine}]", metrics)
    lines = outcome.output.splitlines()
    assert all(len(line) <= 100 for line in lines if str(tmp_path) not in line)
    for name in ("psnr_y", "consistency", "bicubic", "compact-x2", "generator.safetensors"):
        assert name in outcome.output


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "reference", 2, side=64)
    (tmp_path / "degraded").mkdir()
    for path in (tmp_path / "reference").iterdir():
        picture = Image.open(path)
        picture.resize((32, 32), Image.Resampling.BICUBIC).save(tmp_path / "degraded" / path.name)
    return tmp_path


def evaluate_pairs(folder: Path, *words: str) -> Outcome:
    archives = f"degraded={folder}/degraded", f"reference={folder}/reference"
    return ganray_here("evaluate", *archives, f"output={folder}/out", "workers.max=0", *words)


def test_paired_archives_are_measured_by_key(pairs: Path) -> None:
    assert evaluate_pairs(pairs).code == DONE
    content = read_metrics(pairs / "out")
    assert set(content["bicubic"]["psnr_y"]["per_image"]) == {"image-000.png", "image-001.png"}


def test_a_missing_partner_is_named(pairs: Path) -> None:
    (pairs / "degraded" / "image-001.png").unlink()
    outcome = evaluate_pairs(pairs)
    assert outcome.code == USAGE
    assert "image-001.png (only in reference)" in outcome.errors


@pytest.mark.parametrize("side", [16, 31])
def test_a_pair_of_another_scale_or_size_fails_by_name_and_the_others_count(
    pairs: Path, side: int
) -> None:
    path = pairs / "degraded" / "image-001.png"
    Image.open(path).resize((side, side)).save(path)
    outcome = evaluate_pairs(pairs)
    assert outcome.code == SOME_INPUTS_FAILED
    assert (
        f"failed image-001.png: the reference has 64x64 pixels and the degraded image "
        f"{side}x{side}; expected 2 times" in outcome.output
    )
    assert set(read_metrics(pairs / "out")["bicubic"]["psnr_y"]["per_image"]) == {"image-000.png"}
    (line,) = (pairs / "out" / "failed.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == "image-001.png"


def test_a_report_that_cannot_be_made_loses_nothing_of_what_was_measured(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert evaluate_pairs(pairs).code == DONE

    def fail(found: object) -> str:
        raise ReportError("the report would be too large")

    monkeypatch.setattr(evaluate, "render_report", fail)
    outcome = evaluate_pairs(pairs, "metrics=[psnr_y]")
    assert outcome.code == DONE, outcome.text
    assert list(read_metrics(pairs / "out")["bicubic"]) == ["psnr_y"]
    assert "warning: report.html was not written" in outcome.output
    assert "the report would be too large" in caplog.text
    assert not (pairs / "out" / "report.html").exists()


def test_beyond_max_failed_the_run_fails(pairs: Path) -> None:
    (pairs / "degraded" / "image-001.png").write_bytes(b"no image")
    outcome = evaluate_pairs(pairs, "max_failed=0.4")
    assert outcome.code == FAILED
    assert "1 of 2 pairs failed, more than max_failed=0.4 allows; image-001.png" in outcome.errors
    assert not (pairs / "out" / "metrics.json").exists()


def test_where_no_pair_can_be_measured_the_first_reason_is_told(pairs: Path) -> None:
    for path in (pairs / "degraded").iterdir():
        path.write_bytes(b"no image")
    outcome = evaluate_pairs(pairs)
    assert outcome.code == FAILED
    assert "no pair could be measured; image-000.png: " in outcome.errors


def test_an_archive_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = ganray_here("evaluate", f"archive={tmp_path}/empty", f"output={tmp_path}/out")
    assert outcome.code == FAILED
    assert "holds no image" in outcome.errors


def test_constant_images_have_values_or_none_and_never_fail(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    for name, value in ("black", 0), ("white", 255):
        flat = np.full((48, 48, 3), value, np.uint8)
        Image.fromarray(flat).save(tmp_path / "archive" / f"{name}.png")
    words = f"archive={tmp_path}/archive", f"output={tmp_path}/out", "degradation=bicubic"
    outcome = ganray_here("evaluate", *words, "workers.max=0")
    assert outcome.code == DONE, outcome.text
    columns = read_metrics(tmp_path / "out")["bicubic"]
    assert columns["psnr_rgb"]["mean"] == 100
    assert columns["ms_ssim"]["mean"] is None
    assert columns["ms_ssim"]["per_image"] == {"black.png": None, "white.png": None}


def test_degraded_images_alone_are_measured_by_metrics_that_need_no_reference(
    pairs: Path,
) -> None:
    words = f"degraded={pairs}/degraded", f"output={pairs}/out", "workers.max=0"
    refused = ganray_here("evaluate", *words)
    assert refused.code == USAGE
    assert "psnr_y needs references; give reference=" in refused.errors
    outcome = ganray_here("evaluate", *words, "metrics=[consistency,colour_drift]")
    assert outcome.code == DONE, outcome.text
    assert read_metrics(pairs / "out")["compact-x2"]["consistency"]["num_images"] == 2
    assert "reference</option>" not in (pairs / "out" / "report.html").read_text()


def test_images_of_many_bands_are_measured_by_metrics_for_them(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    pixels = np.moveaxis(textured(64, 64, seed=0, bands=5), -1, 0)
    scene = geotiff(pixels.astype(np.uint16) * 257)
    (tmp_path / "archive" / "scene.tif").write_bytes(scene)
    generator, network = build_generator("compact", {"bands": 5, "num_features": 4, "num_convs": 1})
    data = encode_checkpoint(generator, "compact", network, Provenance("", {}))
    (tmp_path / "five.safetensors").write_bytes(data)
    words = f"archive={tmp_path}/archive", f"generators={tmp_path}/five.safetensors"
    others = f"output={tmp_path}/out", "degradation=bicubic", "workers.max=0"
    refused = ganray_here("evaluate", *words, *others)
    assert refused.code == USAGE
    assert "psnr_y is not for images of 5 bands" in refused.errors
    outcome = ganray_here("evaluate", *words, *others, "metrics=[psnr_all,sam,ergas]")
    assert outcome.code == DONE, outcome.text
    columns = read_metrics(tmp_path / "out")["bicubic"]
    assert 0 < columns["sam"]["mean"] < 90
    assert columns["psnr_all"]["num_images"] == columns["ergas"]["num_images"] == 1


def test_an_evaluation_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 40, side=192)
    words = [f"archive={tmp_path}/archive", f"output={tmp_path}/out", "workers.max=0"]
    command = [sys.executable, "-m", "ganray", "evaluate", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    parts = tmp_path / "out" / "_ganray" / "parts"
    deadline = time.monotonic() + 120
    while not (parts.is_dir() and any(parts.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == FAILED
    assert "stopped by SIGTERM" in errors
    stored = {path.name: path.stat().st_mtime_ns for path in parts.iterdir()}
    outcome = ganray_here("evaluate", *words, "shown=0")
    assert outcome.code == DONE, outcome.text
    assert 0 < len(stored) < 40
    assert not list(parts.glob("*"))
    apart = ganray_here("evaluate", words[0], f"output={tmp_path}/apart", *words[2:], "shown=0")
    assert apart.code == DONE
    assert read_metrics(tmp_path / "out") == read_metrics(tmp_path / "apart")
