"""The evaluate job on synthesised and on paired archives."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.integration.command import Outcome, ganray_here
from tests.integration.pictures import write_pictures

DONE, USAGE = 0, 2


def test_the_shipped_generator_beats_bicubic_on_images_it_never_saw(tmp_path: Path) -> None:
    for recipe in ("bicubic", "photo-mild"):
        output = tmp_path / recipe
        words = f"output={output}", f"degradation={recipe}", "workers.max=0"
        outcome = ganray_here("evaluate", *words)
        assert outcome.code == DONE, outcome.text
        content = json.loads((output / "metrics.json").read_text())
        assert set(content) == {"bicubic", "compact-x2"}
        for metric in ("psnr_y", "ssim_y"):
            ours, baseline = content["compact-x2"][metric], content["bicubic"][metric]
            assert ours["mean"] > baseline["mean"], (recipe, metric)
            assert ours["crop"] == 2
            assert "crop" in ours["definition"]
            assert len(ours["per_image"]) == 6


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("photo-x2", "photo"), ("photo-x4", "photo"), ("photo-x1", "photo"), ("film-x1", "film")],
)
def test_each_shipped_generator_mends_what_it_was_trained_for(
    name: str, recipe: str, tmp_path: Path
) -> None:
    words = f"output={tmp_path}/o", f"generators=[{name}]", f"degradation={recipe}"
    outcome = ganray_here("evaluate", *words, "metrics=[ssim_y]", "workers.max=0")
    assert outcome.code == DONE, outcome.text
    content = json.loads((tmp_path / "o" / "metrics.json").read_text())
    assert content[name]["ssim_y"]["mean"] > content["bicubic"]["ssim_y"]["mean"] + 0.005


def test_ray_and_the_process_itself_measure_the_same(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 3, side=64)
    results = []
    for workers in (0, 2):
        output = tmp_path / str(workers)
        words = f"archive={tmp_path}/archive", f"output={output}", f"workers.max={workers}"
        assert ganray_here("evaluate", *words).code == DONE
        results.append(json.loads((output / "metrics.json").read_text()))
    for generator, columns in results[0].items():
        for metric, column in columns.items():
            for key, value in column["per_image"].items():
                other = results[1][generator][metric]["per_image"][key]
                assert other == (None if value is None else pytest.approx(value, abs=1e-6))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "reference", 2, side=64)
    (tmp_path / "degraded").mkdir()
    for path in (tmp_path / "reference").iterdir():
        picture = Image.open(path)
        picture.resize((32, 32), Image.Resampling.BICUBIC).save(tmp_path / "degraded" / path.name)
    return tmp_path


def evaluate_pairs(folder: Path) -> Outcome:
    words = f"degraded={folder}/degraded", f"reference={folder}/reference"
    return ganray_here("evaluate", *words, f"output={folder}/out", "workers.max=0")


def test_paired_archives_are_measured_by_key(pairs: Path) -> None:
    assert evaluate_pairs(pairs).code == DONE
    content = json.loads((pairs / "out" / "metrics.json").read_text())
    assert set(content["bicubic"]["psnr_y"]["per_image"]) == {"image-000.png", "image-001.png"}


def test_a_missing_partner_is_named(pairs: Path) -> None:
    (pairs / "degraded" / "image-001.png").unlink()
    outcome = evaluate_pairs(pairs)
    assert outcome.code == USAGE
    assert "image-001.png" in outcome.errors
