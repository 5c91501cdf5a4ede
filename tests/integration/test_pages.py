"""The page that compares a few files."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.integration.command import ganray_here
from tests.integration.pictures import textured

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


def test_a_file_is_never_overwritten_by_the_page(pictures: Path) -> None:
    large = str(pictures / "large.png")
    outcome = ganray_here("compare", large, str(pictures / "gray.tif"), "--output", large)
    assert outcome.code == USAGE
    assert Image.open(large).size == (SIDE, SIDE)
