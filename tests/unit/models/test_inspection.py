"""What `ganray inspect` says of generators."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from ganray.cli.inspect import inspect
from ganray.models.catalog import DISCRIMINATORS, GENERATORS
from ganray.models.checkpoint import ReadingConfig, load_checkpoint
from ganray.pipelines.inspection import inspect_file
from tests.unit.models.published import as_torch, rrdb_names, rrdb_tensors, srgan_tensors

SATLAS = rrdb_tensors(rrdb_names("BasicSR", blocks=1, ups=2), channels=12)


def write(folder: Path, content: object, name: str = "published.pth") -> str:
    path = folder / name
    path.write_bytes(as_torch(content))
    return str(path)


def test_a_third_party_generator_is_described_with_its_origin(tmp_path: Path) -> None:
    uri = write(tmp_path, {"params": srgan_tensors()})
    found = inspect_file(uri)
    assert (found["kind"], found["architecture"]) == ("checkpoint", "srresnet")
    assert (found["scale"], found["bands"], found["receptive_field_radius"]) == (4, 3, 12)
    assert found["network"]["num_blocks"] == 2
    assert found["digest"] == load_checkpoint(uri).digest
    origin = found["source"]
    assert (origin["file"], origin["naming"]) == ("published.pth", "leftthomas/SRGAN")
    assert origin["wrapper"] == "params" and len(origin["sha256"]) == 64


def test_a_generator_of_ganrays_has_no_foreign_origin() -> None:
    assert "source" not in inspect_file("compact-x2")


def test_a_choice_between_readings_is_told_and_can_be_turned(tmp_path: Path) -> None:
    uri = write(tmp_path, SATLAS)
    found = inspect_file(uri)
    assert found["scale"] == 2 and "give the options scale: 4" in found["source"]["note"]
    told = inspect_file(uri, ReadingConfig(options={"scale": 4}))
    assert told["scale"] == 4 and "takes 4 images" in told["source"]["note"]


def test_both_files_of_a_blend_are_named(tmp_path: Path) -> None:
    first = write(tmp_path, srgan_tensors(), "first.pth")
    second = write(tmp_path, srgan_tensors(), "second.pth")
    source = inspect_file(first, ReadingConfig(blend=second, blend_weight=0.5))["source"]
    assert (source["file"], source["blend"]["file"]) == ("first.pth", "second.pth")
    assert source["blend_weight"] == 0.5


def test_the_text_has_no_brackets_of_a_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect([write(tmp_path, SATLAS)]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert not set("{}[]'") & set(text)
    assert "network                 bands 3" in lines
    assert "                        num_features 4" in lines
    assert "value_range             0.0, 1.0" in lines
    assert "source                  file published.pth" in lines
    assert "                        wrapper none" in lines


def test_large_numbers_are_grouped_in_text_and_plain_in_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    inspect(["compact-x2"])
    assert "parameters              78,636" in capsys.readouterr().out
    inspect(["compact-x2", "--json"])
    assert json.loads(capsys.readouterr().out)["parameters"] == 78636


def test_the_operations_of_a_generator_are_two_for_each_weight_and_pixel() -> None:
    parameters = load_checkpoint("compact-x2").generator.parameters()
    weights = sum(p.numel() for p in parameters if p.ndim == 4)
    found = inspect_file("compact-x2")
    assert found["gflop_per_input_mpixel"] == round(2 * weights / 1000, 1)


def test_the_catalog_names_every_network_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect([]) == 0
    text = capsys.readouterr().out
    assert inspect(["architectures", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    known = [("generator", n) for n in GENERATORS if n != "spandrel"]
    known += [("discriminator", n) for n in DISCRIMINATORS]
    assert [(row["role"], row["architecture"]) for row in rows] == known
    for row in rows:
        assert row["parameters"] > 0 and row["gflop_per_input_mpixel"] > 0
        assert (row["radius"] is None) == (row["role"] == "discriminator")
        names = [row["role"], row["architecture"]]
        line = next(line for line in text.splitlines() if line.split()[:2] == names)
        assert f"{row['parameters']:,}" in line.split()


def test_an_image_is_an_image_whatever_reads_checkpoints(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "photo.png")
    assert inspect_file(str(tmp_path / "photo.png"))["kind"] == "image"


def test_nothing_of_the_machine_stands_in_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write(tmp_path, {"params": SATLAS, "x": torch.zeros(1)}))
    assert str(tmp_path) not in json.dumps([checkpoint.trained_on, checkpoint.training])
