"""Lost pixels through the restore job: masks beside an archive, as a user gives them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganray.models.checkpoint import Provenance, build_generator, encode_checkpoint
from ganray.restoration import Restorer
from tests.integration.command import ganray, ganray_here
from tests.integration.pictures import textured

DONE, USAGE, SOME_FAILED = 0, 2, 3
HEIGHT, WIDTH = 80, 112


@pytest.fixture
def generator(tmp_path: Path) -> str:
    """A generator of random weights, whose output shows what it was told is lost."""
    torch.manual_seed(0)
    options = {"num_features": 4, "num_convs": 1, "scale": 1, "mask": True}
    network, built = build_generator("compact", options)
    path = tmp_path / "masked.safetensors"
    path.write_bytes(encode_checkpoint(network, "compact", built, Provenance("noise", {})))
    return str(path)


def write(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def lost(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < 0.2


def expected(generator: str, path: Path, mask: np.ndarray) -> np.ndarray:
    pixels = np.moveaxis(np.asarray(Image.open(path).convert("RGB")), -1, 0)
    return np.moveaxis(Restorer.load(generator).restore(pixels, mask=mask), 0, -1)


def rows(target: Path) -> dict[str, dict[str, object]]:
    return {row["key"]: row for row in ganray_here("ledger", str(target), "--json").json}


def counts(target: Path) -> tuple[int, int, int]:
    found = ganray_here("status", str(target), "--json").json["inputs"]
    return found["restored"], found["unchanged"], found["failed"]


def test_each_image_is_restored_with_its_mask_or_fails_by_name(
    tmp_path: Path, generator: str
) -> None:
    archive, masks, target = (tmp_path / name for name in ("archive", "masks", "restored"))
    for number, key in enumerate(("a.png", "sub/b.jpg", "none.png", "narrow.png", "hue.png")):
        write(archive / key, textured(HEIGHT, WIDTH, seed=number))
    write(masks / "a.png", lost(1))
    write(masks / "sub" / "b.png", np.dstack([lost(2) * np.uint8(255)] * 3))
    write(masks / "narrow.png", lost(3)[:, 1:])
    write(masks / "hue.png", textured(HEIGHT, WIDTH, seed=9))
    words = [f"source={archive}", f"target={target}", f"generator={generator}", "workers.max=0"]
    words += ["output.format=png"]

    refused = ganray_here("restore", *words)
    assert refused.code == USAGE
    assert "give masks=" in refused.errors
    words += [f"masks={masks}"]
    planned = ganray_here("restore", *words, "--plan")
    assert planned.code == DONE
    assert f"masks       {masks}" in planned.output
    assert "measured: 5" in planned.output

    assert ganray_here("restore", *words).code == SOME_FAILED
    assert counts(target) == (2, 0, 3)
    found = rows(target)
    assert "its mask none.png: missing in" in str(found["none.png"]["reason"])
    assert "its mask narrow.png: 111x80; expected 112x80" in str(found["narrow.png"]["reason"])
    assert "its mask hue.png: of colours" in str(found["hue.png"]["reason"])
    assert not (target / "none.png").exists()
    for key, output, seed in (("a.png", "a.png", 1), ("sub/b.jpg", "sub/b.png", 2)):
        made = np.asarray(Image.open(target / output))
        assert np.array_equal(made, expected(generator, archive / key, lost(seed))), key
        blank = expected(generator, archive / key, np.zeros((HEIGHT, WIDTH), bool))
        assert not np.array_equal(made, blank), key
    assert ganray_here("verify", str(target)).code == DONE

    assert "nothing to do" in ganray_here("restore", *words).output
    write(masks / "a.png", lost(4))
    write(masks / "none.png", lost(5))
    assert "out of date" in ganray_here("verify", str(target)).text
    assert ganray_here("restore", *words).code == SOME_FAILED
    assert counts(target) == (2, 1, 2)
    for key, seed in (("a.png", 4), ("none.png", 5)):
        made = np.asarray(Image.open(target / key))
        assert np.array_equal(made, expected(generator, archive / key, lost(seed))), key
    assert ganray_here("verify", str(target)).code == DONE


def test_windows_of_scenes_have_those_of_their_masks(tmp_path: Path, generator: str) -> None:
    archive, masks, target = (tmp_path / name for name in ("archive", "masks", "restored"))
    for seed, key in enumerate(("scene.tif", "picture.png", "bare.tif")):
        write(archive / key, textured(300, 600, seed=seed))
    write(masks / "scene.tif", lost(1, 300, 600) * np.uint8(255), compression="tiff_adobe_deflate")
    write(masks / "picture.png", lost(2, 300, 600))
    words = f"source={archive}", f"target={target}", f"generator={generator}", f"masks={masks}"
    small = "window_pixels=256", "split_pixels=1000", "workers.max=4", "workers.in_process=never"
    outcome = ganray("restore", *words, *small)
    assert outcome.code == SOME_FAILED, outcome.text
    assert ganray_here("status", str(target), "--json").json["windows"] == 2 * 6
    assert "its mask bare.tif: missing in" in str(rows(target)["bare.tif"]["reason"])
    for key, seed in (("scene.tif", 1), ("picture.png", 2)):
        made = np.asarray(Image.open(target / key))
        assert np.array_equal(made, expected(generator, archive / key, lost(seed, 300, 600))), key
    assert ganray_here("verify", str(target)).code == DONE
