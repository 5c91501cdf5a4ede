"""The pages that are made of a few files: compare and explain."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.command import ganray_here
from tests.integration.pictures import textured, write_pictures

DONE, FAILED, USAGE = 0, 1, 2
SIDE = 96


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The same picture large, half as large, gray, in 16 bits, and one of another shape."""
    picture = Image.fromarray(textured(SIDE, SIDE, seed=0))
    picture.save(tmp_path / "large.png")
    picture.resize((SIDE // 2, SIDE // 2)).save(tmp_path / "small.jpg")
    picture.convert("L").save(tmp_path / "gray.tif")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    picture.resize((50, 41)).save(tmp_path / "odd.png")
    return tmp_path


def states(page: str) -> list[str]:
    """The names of the states that a page shows, in their order."""
    return re.findall(r"<option[^>]*>([^<]+)</option>", page.partition("</select>")[0])


def test_files_of_several_families_and_sizes_are_compared_on_one_page(pictures: Path) -> None:
    names = ["small.jpg", "large.png", "gray.tif", "deep.png"]
    page = pictures / "page.html"
    words = [str(pictures / name) for name in names]
    outcome = ganray_here("compare", *words, "--output", str(page))
    assert outcome.code == DONE, outcome.text
    text = page.read_text()
    assert states(text) == names
    assert "magnified by bicubic" in text
    # Every state has one size, which is that of the largest.
    assert set(re.findall(r'src="data:[^"]+" width="(\d+)"', text)) == {str(SIDE)}


def test_files_whose_names_end_alike_are_told_apart(pictures: Path) -> None:
    ending = "a-name-so-long-that-its-beginning-is-not-shown.png"
    words = [str(pictures / f"{first}{ending}") for first in "ab"]
    for word in words:
        Path(word).write_bytes((pictures / "large.png").read_bytes())
    page = pictures / "page.html"
    outcome = ganray_here("compare", *words, words[0], "--output", str(page))
    assert outcome.code == DONE, outcome.text
    names = states(page.read_text())
    assert len(set(names)) == 3 and all(name.startswith("…") for name in names)


def test_a_file_whose_name_is_not_utf_8_is_compared_and_explained(pictures: Path) -> None:
    odd = str(pictures / "caf\udce9.png")
    Path(odd).write_bytes((pictures / "large.png").read_bytes())
    page = pictures / "page.html"
    outcome = ganray_here("compare", odd, str(pictures / "large.png"), "--output", str(page))
    assert outcome.code == DONE, outcome.text
    assert r"caf\udce9.png" in page.read_text()
    outcome = ganray_here("explain", odd, f"output={page}")
    assert outcome.code == DONE, outcome.text
    assert r"caf\udce9.png" in page.read_text()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["large.png", "odd.png"], "odd.png has 50x41 pixels .* whole number"),
        (["large.png"], "1 files; expected 2 to 8"),
        (["large.png", "absent.png"], "absent.png"),
        (["large.png", "notes.txt"], "notes.txt is no image by its name"),
    ],
)
def test_files_that_cannot_be_compared_are_named(
    pictures: Path, names: list[str], words: str
) -> None:
    (pictures / "notes.txt").write_text("")
    page = str(pictures / "page.html")
    outcome = ganray_here("compare", *(str(pictures / n) for n in names), "--output", page)
    assert outcome.code in (FAILED, USAGE)
    assert re.search(words, outcome.errors), outcome.errors
    assert not (pictures / "page.html").exists()


@pytest.mark.parametrize("written", ["{}/large.png", "{}/../{name}/large.png"])
def test_a_file_is_never_overwritten_by_the_page(pictures: Path, written: str) -> None:
    large, small = str(pictures / "large.png"), str(pictures / "small.jpg")
    page = written.format(pictures, name=pictures.name)
    compared = ganray_here("compare", large, small, "--output", page)
    restored = ganray_here("explain", large, f"output={page}")
    held = ganray_here("explain", small, f"reference={large}", f"output={page}")
    for outcome in (compared, restored, held):
        assert outcome.code == USAGE
        assert f"would replace {large}" in outcome.errors
    assert Image.open(large).size == (SIDE, SIDE)


def figures(output: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(\w+) +([\d.e+-]+)$", output, re.M)}


def test_an_image_is_explained_without_a_reference_and_with_one(pictures: Path) -> None:
    page = pictures / "page.html"
    words = [str(pictures / "small.jpg"), "generator=photo-x2", f"output={page}"]
    alone = ganray_here("explain", *words)
    assert alone.code == DONE, alone.text
    assert states(page.read_text()) == ["restored", "bicubic", "denied", "invented"]
    found = figures(alone.output)
    assert found["invented_mean"] > 0
    assert 0 <= found["invented_strong_share"] <= 1
    held = ganray_here("explain", *words, f"reference={pictures}/large.png")
    assert held.code == DONE, held.text
    assert figures(held.output)["artifacts_mean"] > 0
    assert states(page.read_text()) == [
        *("restored", "bicubic", "reference"),
        *("artifacts", "denied", "invented"),
    ]


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_pictures(folder / "archive", 2)
    steps = [f"stages.{stage}.steps=1" for stage in ("fidelity", "warmup", "adversarial")]
    outcome = ganray_here(
        "train",
        *(f"archive={folder}/archive", f"output={folder}/out", "validation=", "workers.max=0"),
        *steps,
    )
    assert outcome.code == DONE, outcome.text
    return folder / "out"


@pytest.mark.parametrize("part", ["", "checkpoints"])
def test_the_discriminator_of_a_training_judges(pictures: Path, training: Path, part: str) -> None:
    where = training if not part else next((training / part).glob("*.pt"))
    words = [str(pictures / "small.jpg"), f"generator={training}/generator.safetensors"]
    page = pictures / "page.html"
    held = f"reference={pictures}/large.png"
    outcome = ganray_here("explain", *words, f"discriminator={where}", held, f"output={page}")
    assert outcome.code == DONE, outcome.text
    assert {"discriminator_mean", "discriminator_of_reference"} <= figures(outcome.output).keys()
    assert "discriminator" in states(page.read_text())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no image is given"),
        (["{}/small.jpg", "discriminator={}"], "has no config.yaml"),
        (["{}/small.jpg", "reference={}/odd.png"], "expected 96x96"),
        (["{}/notes.txt"], "no image by its name"),
    ],
)
def test_what_cannot_be_explained_is_an_error_that_says_why(
    pictures: Path, words: list[str], message: str
) -> None:
    (pictures / "notes.txt").write_text("")
    told = [word.format(pictures) for word in words]
    outcome = ganray_here("explain", *told, f"output={pictures}/page.html")
    assert outcome.code in (FAILED, USAGE)
    assert message in outcome.errors
    assert not (pictures / "page.html").exists()
