from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from ganray.config import Section, build_config, to_yaml
from ganray.degradation.recipe import RECIPES, Recipe, RecipeField, degrade, read_recipe
from ganray.errors import ConfigError
from ganray.raster.resample import resize
from tests.unit.degradation.streams import noise, smooth

RESAMPLE = {"kind": "resample"}
QUANTISE = {"kind": "quantise"}
RESCALE = {"kind": "rescale", "factor": [0.5, 2.0]}
TEARS = {"kind": "tears", "number": [4, 4]}
MASKED = {"film", "inpaint"}


class Job(Section):
    """A configuration with a recipe in it."""

    degradation: RecipeField


def shipped(name: str) -> Recipe:
    return Recipe.model_validate(read_recipe(name))


def recipe_of(*steps: dict, clean_share: float = 0.0) -> Recipe:
    return Recipe.model_validate({"name": "test", "steps": steps, "clean_share": clean_share})


def differing(one: Tensor, other: Tensor) -> float:
    """The share of values that differ by more than rounding in float32."""
    return ((one - other).abs() > 2e-6).float().mean().item()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_a_shipped_recipe_reduces_by_the_scale_and_stays_within_0_to_1(
    name: str, scale: int, bands: int
) -> None:
    recipe, references = shipped(name), noise(9, bands, 32, 48)
    kept = references.clone()
    seeds = [(1, index) for index in range(9)]
    if bands == 5 and any(step.kind == "jpeg" for step in recipe.steps):
        with pytest.raises(ConfigError, match=f"{name} has a jpeg step.* found 5"):
            degrade(references, recipe, scale=scale, seeds=seeds)
        return
    once, again = (degrade(references, recipe, scale=scale, seeds=seeds) for _ in range(2))
    assert once.pixels.shape == (9, bands, 32 // scale, 48 // scale)
    assert once.pixels.dtype == torch.float32
    assert torch.equal(once.pixels, again.pixels) and torch.equal(references, kept)
    assert once.pixels.min() >= 0 and once.pixels.max() <= 1
    assert recipe.has_mask == (name in MASKED) == (once.mask is not None)
    if once.mask is not None:
        assert once.mask.shape == (9, 1, 32 // scale, 48 // scale)
        assert set(once.mask.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=6, deadline=None)
@given(
    indices=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    scale=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**40),
)
def test_a_sample_does_not_depend_on_its_batch(
    name: str, indices: list[int], scale: int, seed: int
) -> None:
    recipe = shipped(name)
    references = torch.cat([smooth(1, 3, 32, 32, seed=index) for index in indices])
    seeds = [(seed, index) for index in indices]
    whole = degrade(references, recipe, scale=scale, seeds=seeds)
    for position in {0, len(indices) // 2, len(indices) - 1}:
        one = slice(position, position + 1)
        alone = degrade(references[one], recipe, scale=scale, seeds=seeds[one])
        # A last bit may turn a rounding of JPEG's, and with it a block.
        assert differing(alone.pixels, whole.pixels[one]) < 0.05
        if whole.mask is not None and alone.mask is not None:
            assert torch.equal(alone.mask, whole.mask[one])


def test_other_seeds_and_other_indices_give_other_degradations() -> None:
    references = smooth(1, 3, 32, 32).expand(20, -1, -1, -1)
    seeds = [[(seed, index) for index in range(20)] for seed in range(2)]
    found = [degrade(references, shipped("photo"), scale=2, seeds=each) for each in seeds]
    every = torch.cat([each.pixels for each in found]).flatten(1)
    # Two that are clean may be equal.
    assert len(every.unique(dim=0)) > 30


def test_a_share_of_the_samples_is_only_reduced() -> None:
    steps = RESCALE, {"kind": "noise", "sigma": [0.1, 0.1]}, RESAMPLE, QUANTISE
    references = smooth(1, 1, 16, 16).expand(400, -1, -1, -1)
    seeds = [(0, index) for index in range(400)]
    degraded = degrade(references, recipe_of(*steps, clean_share=0.25), scale=2, seeds=seeds).pixels
    clean = degrade(references[:1], recipe_of(RESAMPLE, QUANTISE), scale=2, seeds=[(0, 0)]).pixels
    share = (degraded == clean).flatten(1).all(1).float().mean().item()
    assert share == pytest.approx(0.25, abs=0.06)


def test_the_bicubic_recipe_is_bicubic_and_eight_bits_and_nothing_else() -> None:
    references = noise(2, 3, 24, 36)
    degraded = degrade(references, shipped("bicubic"), scale=2, seeds=[(0, 0), (5, 9)])
    for reference, found in zip(references.numpy(), degraded.pixels.numpy(), strict=True):
        expected = np.round(np.clip(resize(reference, 12, 18), 0, 1) * 255) / 255
        assert found == pytest.approx(expected, abs=1.01 / 255)
        assert np.mean(np.abs(found - expected) > 1e-6) < 0.01


def test_steps_run_in_their_order() -> None:
    references = noise(1, 1, 24, 24)
    steps = {"kind": "flicker", "gain": [1, 1], "gamma": [2, 2]}, RESAMPLE
    one, other = (
        degrade(references, recipe_of(*ordered), scale=2, seeds=[(0, 0)]).pixels
        for ordered in (steps, steps[::-1])
    )
    reduced = degrade(references, recipe_of(RESAMPLE), scale=2, seeds=[(0, 0)]).pixels
    assert torch.allclose(other, reduced.square(), atol=1e-6)
    assert not torch.allclose(one, other, atol=1e-3)


def test_the_mask_is_reduced_with_the_image_and_holds_whatever_was_lost_in_part() -> None:
    references, seeds = torch.full((8, 1, 64, 64), 0.5), [(0, index) for index in range(8)]
    small = TEARS | {"width": [0.5, 1.5], "extent": [5, 10], "number": [64, 64]}
    before = degrade(references, recipe_of(TEARS), scale=1, seeds=seeds)
    after = degrade(references, recipe_of(small, RESAMPLE), scale=4, seeds=seeds)
    assert before.mask is not None and after.mask is not None
    for found in (before, after):
        assert found.mask is not None
        assert 0.005 < found.mask.mean() < 0.9
    # Nothing but what is marked differs from the reference by more than damage of 30 %.
    kept = after.mask == 0
    assert (after.pixels[kept] - 0.5).abs().max() < 0.16


def test_the_mask_moves_with_the_rows_of_fields() -> None:
    tears = TEARS | {"opacity": [1, 1], "bright": [1, 1], "bright_probability": 1}
    fields = {"kind": "interlace", "shift": [3, 3]}
    references, seeds = torch.zeros(8, 1, 64, 64), [(0, index) for index in range(8)]
    found = degrade(references, recipe_of(tears, fields), scale=1, seeds=seeds)
    assert found.mask is not None and found.mask.any()
    assert torch.equal(found.mask, (found.pixels > 0.3).float())


def test_a_size_on_the_way_may_be_larger_than_the_one_before() -> None:
    """A fine pattern that the first step took away leaves steps of the size that it had."""
    smaller, larger = (
        {"kind": "rescale", "factor": [factor, factor], "kernels": ["area"]} for factor in (1, 4)
    )
    seen = []

    def look(pixels: torch.Tensor, *_: object) -> torch.Tensor:
        seen.append(tuple(pixels.shape[-2:]))
        return pixels

    noisy = {"kind": "noise", "sigma": [0.1, 0.1]}
    recipe = recipe_of(smaller, noisy, larger, noisy, RESAMPLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganray.degradation.recipe.change", look)
        degrade(noise(1, 1, 32, 32), recipe, scale=2, seeds=[(0, 0)])
    assert seen == [(16, 16), (32, 32)]


def test_neighbours_share_the_size_of_a_random_rescaling() -> None:
    """Whose size differs shows in what is left of a fine pattern."""
    checks = (torch.arange(32) % 2).float().expand(1, 1, 32, 32)
    step = RESCALE | {"kernels": ["area"], "factor": [0.3, 1.0]}
    recipe = recipe_of(step, {"kind": "resample", "kernels": ["area"]})
    seeds = [(3, index) for index in range(64)]
    found = degrade(checks.expand(64, -1, -1, -1), recipe, scale=1, seeds=seeds).pixels
    groups = found.view(8, 8, -1)
    assert (groups == groups[:, :1]).all()
    assert len(groups[:, 0].unique(dim=0)) > 4


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "at least 1 item"),
        ([RESAMPLE, RESAMPLE], "at most one resample step; found 2"),
        ([RESCALE], "a rescale step needs a resample step after it"),
        ([RESAMPLE, RESCALE], "a rescale step needs a resample step after it"),
    ],
)
def test_a_recipe_whose_sizes_do_not_come_out_is_refused(steps: list[dict], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe_of(*steps)


@pytest.mark.parametrize(
    ("step", "radius"),
    [
        ({"kind": "blur", "sigma": [1, 20]}, 240),
        ({"kind": "blur", "sigma": [1, 4], "shapes": ["generalised"]}, 144),
        ({"kind": "motion", "extent": [1, 80]}, 161),
        ({"kind": "defocus", "radius": [1, 40]}, 161),
    ],
)
def test_a_kernel_that_is_too_large_at_a_scale_is_refused(step: dict, radius: int) -> None:
    recipe_of(step, RESAMPLE).require_fit(scale=1, bands=3)
    recipe_of(RESAMPLE, step).require_fit(scale=4, bands=3)
    with pytest.raises(ConfigError, match=f"as step 1 whose kernel reaches {radius} pixels"):
        recipe_of(step, RESAMPLE).require_fit(scale=4, bands=3)


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_fits_every_scale(name: str) -> None:
    for scale in (1, 2, 3, 4, 8):
        shipped(name).require_fit(scale=scale, bands=1)


def test_a_recipe_without_a_reduction_is_for_scale_one() -> None:
    degrade(noise(1, 1, 8, 8), recipe_of(QUANTISE), scale=1, seeds=[(0, 0)])
    with pytest.raises(ConfigError, match=r"no resample step, which scale 2 needs; add"):
        degrade(noise(1, 1, 8, 8), recipe_of(QUANTISE), scale=2, seeds=[(0, 0)])


@pytest.mark.parametrize(("height", "width"), [(25, 24), (24, 25)])
def test_sides_that_the_scale_does_not_divide_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{height}x{width} are no multiples of scale 2"):
        degrade(torch.zeros(1, 1, height, width), shipped("bicubic"), scale=2, seeds=[(0, 0)])


def test_every_reference_needs_a_seed() -> None:
    with pytest.raises(ValueError, match="1 seeds for 2 references"):
        degrade(torch.zeros(2, 1, 8, 8), shipped("bicubic"), scale=2, seeds=[(0, 0)])


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_carries_its_name(name: str) -> None:
    assert build_config(Job, {"degradation": name}).degradation.name == name


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read_from_a_file_as_from_a_mapping(tmp_path: Path, name: str) -> None:
    recipe = shipped(name)
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(recipe), encoding="utf-8")
    from_file = build_config(Job, {"degradation": str(path)})
    from_mapping = build_config(Job, {"degradation": recipe.model_dump(mode="json")})
    assert from_file == from_mapping == Job(degradation=recipe)


def test_a_recipe_is_read_from_a_uri(tmp_path: Path) -> None:
    (tmp_path / "my recipe.yaml").write_text(to_yaml(shipped("film")), encoding="utf-8")
    uri = (tmp_path / "my recipe.yaml").as_uri()
    assert build_config(Job, {"degradation": uri}).degradation == shipped("film")


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"degradation: .*'bicubik'; did you mean 'bicubic'\?"):
        build_config(Job, {"degradation": "bicubik"})


def test_a_file_that_is_absent_or_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read it as a YAML recipe"):
        build_config(Job, {"degradation": str(tmp_path / "absent.yaml")})
    broken = tmp_path / "broken.yml"
    broken.write_text("steps: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot read it as a YAML recipe"):
        build_config(Job, {"degradation": str(broken)})


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ({"kind": "melt"}, "degradation.steps.1"),
        ({"kind": "jpeg", "quality": [10, 20], "qualty": 3}, "qualty"),
        ({"kind": "jpeg", "quality": [20, 10]}, "from the lower to the higher"),
        ({"kind": "blur"}, "sigma"),
        ({"kind": "noise", "sigma": [0, 0.1], "probability": 1.5}, "probability"),
        ({"kind": "quantise", "probability": 0.5}, "probability"),
    ],
)
def test_a_wrong_step_is_named(step: dict, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(Job, {"degradation": {"name": "test", "steps": [RESAMPLE, step]}})
    assert key in str(caught.value)
