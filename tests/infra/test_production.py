"""The configurations of jobs/configs are valid, and each plans a tiny archive of its kind."""

import re
from pathlib import Path

import pytest

from ganray.codecs.film_packing import Packing
from ganray.config import load_config
from tests.infra.production import CONFIGS, EXAMPLES, job_of
from tests.integration.command import Outcome, ganray_here
from tests.integration.pictures import write_pictures
from tests.unit.codecs import dicom_objects, film_frames
from tests.unit.codecs.geo_files import geotiff, values

examples = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
CONFIG_FOLDER = EXAMPLES[0].parent


@examples
def test_a_configuration_is_valid(example: Path) -> None:
    load_config(CONFIGS[job_of(example)], [str(example)])


@examples
def test_a_configuration_says_how_it_is_run_and_why_it_is_so(example: Path) -> None:
    text = example.read_text()
    assert f"#   python jobs/{job_of(example)}.py jobs/configs/{example.name} " in text
    settings = [line for line in text.splitlines() if re.match(r"\s*\w+: ", line)]
    assert len([line for line in settings if "#" in line]) >= len(settings) / 3


def plan(name: str, *words: str) -> Outcome:
    outcome = ganray_here(name.partition("-")[0], str(CONFIG_FOLDER / f"{name}.yaml"), *words)
    assert outcome.code == 0, outcome.text
    return outcome


def num_planned(said: str) -> int:
    """The inputs that a plan counts."""
    (number,) = re.findall(r"^inputs +(\d+)", said, re.MULTILINE)
    return int(number)


def test_the_nightly_photographs_are_planned(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 2)
    write_pictures(tmp_path / "in" / "2026" / "thumbnails", 1)
    said = plan("restore", f"source={tmp_path}/in", f"target={tmp_path}/out", "--plan").output
    assert num_planned(said) == 2


def test_scenes_are_planned_without_their_masks(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    scene = geotiff(values((4, 64, 64), "uint16") % 8000, nodata=0)
    for name in ("T33TVJ.tif", "T33TVJ_SCL.tif"):
        (tmp_path / "in" / name).write_bytes(scene)
    words = [f"source={tmp_path}/in", f"target={tmp_path}/out", "generator=compact-x2"]
    assert num_planned(plan("restore-scenes", *words, "--plan").output) == 1


def test_film_is_planned_without_its_proxies(tmp_path: Path) -> None:
    frame = film_frames.make_dpx(film_frames.codes(3, 48, 64, depth=10), Packing(10, 1, ">", 3))
    for folder in ("reel-1", "reel-1/proxies"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "scan.0001.dpx").write_bytes(frame)
    words = [f"source={tmp_path}/in", f"target={tmp_path}/out", "--plan"]
    assert num_planned(plan("restore-film", *words).output) == 1


def test_slices_are_planned(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        stored = dicom_objects.noise(12, shape=(64, 64), seed=number)
        data = dicom_objects.make(stored, 12, SOPInstanceUID=f"1.2.3.9.{number}")
        (tmp_path / "in" / f"{number}.dcm").write_bytes(data)
    words = [f"source={tmp_path}/in", f"target={tmp_path}/out", "generator=photo-x1", "--plan"]
    assert num_planned(plan("restore-ct", *words).output) == 2


def test_a_training_is_planned(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 2, side=160)
    words = [f"archive={tmp_path}/in", f"validation={tmp_path}/in", f"output={tmp_path}/out"]
    said = plan("train", *words, "--plan").output
    assert "121000 steps" in said.replace(",", "")


def test_shards_are_planned(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 2, side=160)
    words = [f"archive={tmp_path}/in", f"output={tmp_path}/out", "num_validation_images=1"]
    assert "image" in plan("shard", *words, "--plan").output


def test_an_evaluation_runs(tmp_path: Path) -> None:
    """There is no plan of one; on two small pictures it takes no time. Weights are the user's."""
    write_pictures(tmp_path / "in", 2, side=176)
    words = [f"archive={tmp_path}/in", f"output={tmp_path}/out", "generators=compact-x2"]
    words += ["weights={}", "metrics=[psnr_y, ssim_y, ms_ssim, niqe, consistency, hallucination]"]
    plan("evaluate", *words, "workers={max: 0}")
    assert (tmp_path / "out" / "metrics.json").is_file()
