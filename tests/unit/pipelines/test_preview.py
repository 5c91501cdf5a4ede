import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganray.config import build_config
from ganray.errors import ConfigError, EmptyArchiveError
from ganray.pipelines.preview import LABEL_HEIGHT, MARGIN, PreviewConfig, run_preview

SIDE = 32


def write_pictures(folder: Path, number: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(number):
        pixels = rng.integers(100, 120, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def make_config(folder: Path, **changes: object) -> PreviewConfig:
    values = {"archive": str(folder), "output": f"{folder} sheet/sheet.png", "side": SIDE}
    return build_config(PreviewConfig, values | {"images": 2, "draws": 3} | changes)


def cells(config: PreviewConfig) -> np.ndarray:
    """The pictures of a sheet, (rows, columns, SIDE, SIDE, 3)."""
    sheet = np.asarray(Image.open(io.BytesIO(Path(config.output).read_bytes())))
    columns, rows = 1 + config.draws, (len(sheet) - MARGIN) // (SIDE + LABEL_HEIGHT)
    found = []
    for row in range(rows):
        top = LABEL_HEIGHT + row * (SIDE + LABEL_HEIGHT) + LABEL_HEIGHT
        lefts = [MARGIN + column * (SIDE + MARGIN) for column in range(columns)]
        found.append([sheet[top : top + SIDE, left : left + SIDE] for left in lefts])
    return np.array(found)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_sheet_shows_the_reference_and_other_degradations_beside_it(
    tmp_path: Path, scale: int
) -> None:
    write_pictures(tmp_path, 5)
    config = make_config(tmp_path, degradation="bicubic", scale=scale)
    assert run_preview(config).keys == ("0.png", "4.png")
    shown = cells(config)
    assert shown.shape[:2] == (2, 4)
    original = np.asarray(Image.open(tmp_path / "4.png"))[4:36, 9:41]
    assert np.array_equal(shown[1, 0], original)
    # Magnified by repetition: blocks of scale x scale are even.
    assert np.array_equal(shown[:, 1:, ::scale, ::scale].repeat(scale, 2).repeat(scale, 3),
                          shown[:, 1:])  # fmt: skip


def test_draws_differ_and_another_seed_gives_others(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    sheets = []
    for seed in (0, 1):
        config = make_config(tmp_path, degradation="surveillance", seed=seed)
        run_preview(config)
        sheets.append(cells(config)[0, 1:])
    everything = np.concatenate(sheets).reshape(6, -1)
    assert len(np.unique(everything, axis=0)) == 6


def test_what_is_lost_is_outlined_on_request(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    steps = [{"kind": "missing", "number": [40, 40], "dark": [0, 0], "bright_probability": 0}]
    recipe = {"name": "holes", "steps": steps}
    found = []
    for outline in (True, False):
        config = make_config(tmp_path, degradation=recipe, scale=1, outline=outline)
        run_preview(config)
        found.append((cells(config)[:, 1:, ..., 0] > 200).sum())
    assert found[0] > 10 and found[1] == 0


def test_a_recipe_that_does_not_fit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jpeg step, which is for 1 or 3 bands"):
        run_preview(make_config(tmp_path / "absent", bands=4))
    write_pictures(tmp_path, 1)
    with pytest.raises(EmptyArchiveError, match="holds no readable image"):
        run_preview(make_config(tmp_path, include=["none*"]))


def test_a_sheet_is_never_written_among_the_images(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    for place in (tmp_path, tmp_path / "sheets"):
        with pytest.raises(ConfigError, match="choose another output"):
            run_preview(make_config(tmp_path, output=f"{place}/sheet.png"))
    assert {path.name for path in tmp_path.iterdir()} == {"0.png", "1.png"}


def test_a_sheet_is_a_png_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sheet\.jpg is no name of a PNG"):
        make_config(tmp_path, output=f"{tmp_path} sheet/sheet.jpg")
