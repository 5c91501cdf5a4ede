from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ganray.config import Section, build_config, to_yaml
from ganray.degradation.recipe import RECIPES, Recipe, RecipeField, degrade, read_recipe
from ganray.errors import ConfigError
from ganray.raster.image import FloatPixels
from ganray.raster.resample import resize

RESAMPLE = {"kind": "resample"}
QUANTISE = {"kind": "quantise"}


class Job(Section):
    """A configuration with a recipe in it."""

    degradation: RecipeField


def shipped(name: str) -> Recipe:
    return Recipe.model_validate(read_recipe(name))


def noise(bands: int = 3, side: int = 24, seed: int = 0) -> FloatPixels:
    return np.random.default_rng(seed).random((bands, side, side + 12), np.float32)


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=15, deadline=None)
@given(
    scale=st.sampled_from([1, 2, 3, 4]), bands=st.sampled_from([1, 3]), seed=st.integers(0, 2**32)
)
def test_a_recipe_reduces_by_the_scale_and_repeats_itself(
    name: str, scale: int, bands: int, seed: int
) -> None:
    recipe, reference = shipped(name), noise(bands)
    reference.setflags(write=False)
    once, again = (
        degrade(reference, recipe, scale=scale, rng=np.random.default_rng(seed)) for _ in range(2)
    )
    assert once.shape == (bands, 24 // scale, 36 // scale) and once.dtype == np.float32
    assert np.array_equal(once, again)
    assert once.min() >= 0 and once.max() <= 1


def test_other_seeds_give_other_degradations() -> None:
    recipe, reference = shipped("photo"), noise()
    results = {
        degrade(reference, recipe, scale=2, rng=np.random.default_rng(seed)).tobytes()
        for seed in range(20)
    }
    assert len(results) > 10


def test_the_bicubic_recipe_is_bicubic_and_eight_bits_and_nothing_else() -> None:
    reference = noise()
    degraded = degrade(reference, shipped("bicubic"), scale=2, rng=np.random.default_rng(0))
    expected = np.round(np.clip(resize(reference, 12, 18), 0, 1) * 255) / 255
    assert degraded == pytest.approx(expected, abs=1e-6)


def test_steps_run_in_their_order() -> None:
    reference = noise()
    steps = [{"kind": "blur", "sigma": [1, 1]}, RESAMPLE]

    def run(ordered: list[dict]) -> FloatPixels:
        recipe = Recipe.model_validate({"name": "test", "steps": ordered})
        return degrade(reference, recipe, scale=2, rng=np.random.default_rng(0))

    assert not np.allclose(run(steps), run(steps[::-1]), atol=1e-3)


@pytest.mark.parametrize("steps", [[], [QUANTISE], [RESAMPLE, RESAMPLE]])
def test_a_recipe_without_exactly_one_reduction_is_refused(steps: list[dict]) -> None:
    found = steps.count(RESAMPLE)
    with pytest.raises(ValidationError, match=f"exactly one resample step; found {found}"):
        Recipe.model_validate({"name": "test", "steps": steps})


@pytest.mark.parametrize(("height", "width"), [(25, 24), (24, 25)])
def test_sides_that_the_scale_does_not_divide_are_refused(height: int, width: int) -> None:
    reference = np.zeros((1, height, width), np.float32)
    with pytest.raises(ValueError, match=f"{height}x{width} are no multiples of scale 2"):
        degrade(reference, shipped("bicubic"), scale=2, rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_carries_its_name(name: str) -> None:
    assert build_config(Job, {"degradation": name}).degradation.name == name


def test_a_recipe_is_read_from_a_file_as_from_a_mapping(tmp_path: Path) -> None:
    recipe = shipped("photo")
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(recipe), encoding="utf-8")
    from_file = build_config(Job, {"degradation": str(path)})
    from_mapping = build_config(Job, {"degradation": recipe.model_dump(mode="json")})
    assert from_file == from_mapping == Job(degradation=recipe)


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
        ({"kind": "blur"}, "sigma"),
        ({"kind": "noise", "sigma": [0, 0.1], "probability": 1.5}, "probability"),
    ],
)
def test_a_wrong_step_is_named(step: dict, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config(Job, {"degradation": {"name": "test", "steps": [RESAMPLE, step]}})
    assert key in str(caught.value)
