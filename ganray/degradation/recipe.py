"""Recipes: reference to degraded, by steps in order, seeded for each sample."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from numpy.random import Generator
from pydantic import BeforeValidator, model_validator

from ganray.config import Section, choose
from ganray.degradation.steps import Resample, Step, apply_step
from ganray.errors import ConfigError
from ganray.raster.image import FloatPixels

RECIPES = ("bicubic", "photo")


class Recipe(Section):
    """A degradation: its steps run in order, the reduction to 1/scale among them."""

    name: str
    """What reports call it."""
    steps: tuple[Step, ...]
    """What happens to a reference, in order; exactly one step is a `resample`."""

    @model_validator(mode="after")
    def _has_one_reduction(self) -> "Recipe":
        found = sum(isinstance(step, Resample) for step in self.steps)
        if found != 1:
            raise ValueError(f"a recipe has exactly one resample step; found {found}")
        return self


def degrade(reference: FloatPixels, recipe: Recipe, *, scale: int, rng: Generator) -> FloatPixels:
    """Degrade (C,H,W) pixels in 0-1 to (C,H/scale,W/scale); pure in its arguments."""
    _, height, width = reference.shape
    if height % scale or width % scale:
        raise ValueError(f"sides {height}x{width} are no multiples of scale {scale}")
    degraded = reference
    for step in recipe.steps:
        degraded = apply_step(degraded, step, scale, rng)
    return degraded


def read_recipe(value: Any) -> Any:
    """A recipe's mapping, from a catalog name, a YAML file's path, or itself."""
    if not isinstance(value, str):
        return value
    if value.endswith((".yaml", ".yml")):
        try:
            return yaml.safe_load(Path(value).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ValueError(f"cannot read it as a YAML recipe: {error}") from error
    try:
        name = choose("degradation", value, RECIPES)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    content = files("ganray.degradation").joinpath("recipes", f"{name}.yaml")
    return yaml.safe_load(content.read_text(encoding="utf-8"))


RecipeField = Annotated[Recipe, BeforeValidator(read_recipe)]
"""A recipe in a configuration: a catalog name, a YAML file, or the steps themselves."""
