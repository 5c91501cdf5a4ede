"""Recipes: references to degraded images, by steps in order, in batches and on any device.

What happens to a sample follows from its seed alone, whatever batch it is in: numbers that
differ between samples are drawn for each, and what has another size is computed apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Annotated, Any

import torch
import yaml
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from ganray.config import Section, choose
from ganray.degradation.blur import MOST_RADIUS, Blur, Defocus, Motion, reach
from ganray.degradation.compression import Jpeg
from ganray.degradation.damage import Damage, damage
from ganray.degradation.draws import Draws, Probability, Stream
from ganray.degradation.film import Interlace
from ganray.degradation.resample import KernelName, Resample, Rescale, Size, resample, rescaled_size
from ganray.degradation.steps import PixelStep, Step, change, probability_of
from ganray.errors import ConfigError, GanrayError
from ganray.storage import read_uri

RECIPES = ("bicubic", "photo-mild", "photo", "satellite", "film", "inpaint", "surveillance", "ct")
JPEG_BANDS = (1, 3)
# Of the weights that a pixel is mixed by, what must be lost for the pixel to be lost.
LEAST_LOSS = 1e-3


class Recipe(Section):
    """A degradation: its steps run in order, the reduction to 1/scale among them."""

    name: str
    """What reports call it."""
    clean_share: Probability = 0.0
    """Share of samples that are only reduced and rounded."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    """What happens to a reference, in order; at most one step is a `resample`."""

    @model_validator(mode="after")
    def _has_one_reduction(self) -> "Recipe":
        found = [i for i, step in enumerate(self.steps) if isinstance(step, Resample)]
        if len(found) > 1:
            raise ValueError(f"a recipe has at most one resample step; found {len(found)}")
        rescales = [i for i, step in enumerate(self.steps) if isinstance(step, Rescale)]
        if rescales and (not found or rescales[-1] > found[0]):
            raise ValueError("a rescale step needs a resample step after it; found none")
        return self

    @property
    def has_mask(self) -> bool:
        """Whether its degraded images come with a mask: of what damage covers by more than 30 %."""
        return any(isinstance(step, Damage) for step in self.steps)

    def require_fit(self, *, scale: int, bands: int) -> None:
        """Raise ConfigError where it cannot be applied to references of so many bands."""
        kinds = [type(step) for step in self.steps]
        self._require_radii(scale)
        if scale > 1 and Resample not in kinds:
            raise ConfigError(
                f"degradation {self.name} has no resample step, which scale {scale} needs; add "
                "{kind: resample} to its steps, or train at scale 1"
            )
        if Jpeg in kinds and bands not in JPEG_BANDS:
            raise ConfigError(
                f"degradation {self.name} has a jpeg step, which is for 1 or 3 bands; found "
                f"{bands}: take a recipe without it, such as satellite"
            )

    def _require_radii(self, scale: int) -> None:
        """Widths are in pixels of the degraded image: at a larger scale kernels are larger."""
        zoom = scale
        for number, step in enumerate(self.steps, start=1):
            if isinstance(step, Resample):
                zoom = 1
            if isinstance(step, Blur | Motion | Defocus) and reach(step, zoom) > MOST_RADIUS:
                raise ConfigError(
                    f"degradation {self.name} has a {step.kind} as step {number} whose kernel "
                    f"reaches {reach(step, zoom)} pixels at scale {scale}; expected at most "
                    f"{MOST_RADIUS}: lower its widths, or raise its smallest powers"
                )


@dataclass(frozen=True)
class Degraded:
    """Degraded images (B,C,h,w) in 0-1, and a mask (B,1,h,w) that is 1 where content is lost.

    Lost is what damage covers by more than 30 %, and what is mixed of such pixels when the size
    changes. There is a mask if the recipe has one (`Recipe.has_mask`).
    """

    pixels: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class _Part:
    """Samples of a batch that have one size at the moment, by their positions in it."""

    positions: list[int]
    pixels: Tensor
    mask: Tensor | None
    draws: Draws
    target: Size
    most: Size
    """The reference's size, which none on the way exceeds."""

    @property
    def size(self) -> Size:
        height, width = self.pixels.shape[-2:]
        return height, width

    @property
    def zoom(self) -> float:
        """Pixels here per pixel of the degraded image."""
        return self.size[0] / self.target[0]

    def of(self, chosen: list[int]) -> "_Part":
        """Some of its samples."""
        if len(chosen) == len(self.positions):
            return self
        return _Part(
            [self.positions[i] for i in chosen],
            self.pixels[chosen],
            None if self.mask is None else self.mask[chosen],
            self.draws.of(chosen),
            self.target,
            self.most,
        )

    def having(self, pixels: Tensor, mask: Tensor | None) -> "_Part":
        return replace(self, pixels=pixels, mask=mask)


@torch.no_grad()
def degrade(
    references_BCHW: Tensor, recipe: Recipe, *, scale: int, seeds: Sequence[tuple[int, int]]
) -> Degraded:
    """Degrade references in 0-1, (B,C,H,W) of float32, to 1/scale of their sides.

    `seeds` holds (seed, index) for each; both at least 0. A sample's result depends on nothing
    else, to rounding in float32. Raises ConfigError where the recipe does not fit (`require_fit`).
    """
    batch, bands, height, width = references_BCHW.shape
    if height % scale or width % scale:
        raise ValueError(f"sides {height}x{width} are no multiples of scale {scale}")
    if len(seeds) != batch:
        raise ValueError(f"{len(seeds)} seeds for {batch} references; expected one for each")
    recipe.require_fit(scale=scale, bands=bands)
    device = references_BCHW.device
    draws = Draws(tuple(Stream.begin(*seed, device) for seed in seeds), device)
    clean = {position for position, is_clean in enumerate(_clean(recipe, draws)) if is_clean}
    mask = torch.zeros_like(references_BCHW[:, :1]) if recipe.has_mask else None
    target = height // scale, width // scale
    most = height, width
    parts = [_Part(list(range(batch)), references_BCHW, mask, draws, target, most)]
    with torch.autocast(device.type, enabled=False):
        for number, step in enumerate(recipe.steps):
            parts = _run(parts, step, number, clean)
    whole = parts[0]
    return Degraded(whole.pixels.contiguous(), whole.mask)


def _clean(recipe: Recipe, draws: Draws) -> list[bool]:
    return draws.chance(recipe.clean_share) if recipe.clean_share else [False] * len(draws)


def _run(parts: list[_Part], step: Step, number: int, clean: set[int]) -> list[_Part]:
    """One step on all samples; the parts differ in size."""
    match step:
        case Resample():
            return _merge(_resized(part, step.kernels, part.target) for part in parts)
        case Rescale():
            return _merge(new for part in parts for new in _rescaled(part, step, number, clean))
        case _:
            return [_changed(part, step, clean) for part in parts]


def _changed(part: _Part, step: PixelStep | Damage, clean: set[int]) -> _Part:
    """One step on those samples of a part that it happens to."""
    drawn = part.draws.chance(probability_of(step))
    always = step.kind == "quantise"
    chosen = [
        i
        for i, happens in enumerate(drawn)
        if happens and (always or part.positions[i] not in clean)
    ]
    if not chosen:
        return part
    some = part.of(chosen)
    pixels, mask = some.pixels, some.mask
    if isinstance(step, Damage):
        assert mask is not None, "a recipe with damage has a mask"
        pixels, lost = damage(pixels, step, some.draws, part.zoom)
        mask = torch.maximum(mask, lost)
    elif isinstance(step, Interlace) and mask is not None:
        # What is lost moves with its row.
        moved = change(torch.cat([pixels, mask], dim=1), step, some.draws, part.zoom)
        pixels, mask = moved[:, :-1], moved[:, -1:]
    else:
        pixels = change(pixels, step, some.draws, part.zoom)
    if some is part:
        return part.having(pixels, mask)
    return part.having(
        _put(part.pixels, chosen, pixels),
        part.mask if part.mask is None or mask is None else _put(part.mask, chosen, mask),
    )


def _rescaled(part: _Part, step: Rescale, number: int, clean: set[int]) -> Iterator[_Part]:
    """The samples of a part at the sizes that they have drawn."""
    by_size: dict[Size, list[int]] = {}
    for i, (position, stream) in enumerate(zip(part.positions, part.draws.streams, strict=True)):
        drawn = rescaled_size(step, stream, number, part.target, part.most)
        size = part.size if drawn is None or position in clean else drawn
        by_size.setdefault(size, []).append(i)
    for size, chosen in by_size.items():
        yield _resized(part.of(chosen), step.kernels, size)


def _resized(part: _Part, kernels: tuple[KernelName, ...], size: Size) -> _Part:
    if part.size == size:
        return part
    drawn = part.draws.choose(kernels)
    pixels = resample(part.pixels, drawn, size)
    if part.mask is None:
        return part.having(pixels, None)
    # A pixel is lost if a part of what it is made of was.
    lost = resample(part.mask, drawn, size, is_mask=True) > LEAST_LOSS
    return part.having(pixels, lost.float())


def _merge(parts: Iterable[_Part]) -> list[_Part]:
    """Parts of one size as one, its samples in their order in the batch."""
    by_size: dict[Size, list[_Part]] = {}
    for part in parts:
        by_size.setdefault(part.size, []).append(part)
    return [_joined(same) if len(same) > 1 else same[0] for same in by_size.values()]


def _joined(parts: list[_Part]) -> _Part:
    positions = [position for part in parts for position in part.positions]
    order = sorted(range(len(positions)), key=positions.__getitem__)
    streams = [stream for part in parts for stream in part.draws.streams]
    masks = [part.mask for part in parts if part.mask is not None]
    return _Part(
        [positions[i] for i in order],
        torch.cat([part.pixels for part in parts])[order],
        torch.cat(masks)[order] if masks else None,
        Draws(tuple(streams[i] for i in order), parts[0].draws.device),
        parts[0].target,
        parts[0].most,
    )


def _put(whole: Tensor, chosen: list[int], some: Tensor) -> Tensor:
    """A copy of `whole` with other images at `chosen`."""
    changed = whole.clone()
    changed[chosen] = some
    return changed


def read_recipe(value: Any) -> Any:
    """A recipe's mapping, from a catalog name, a YAML file's path or URI, or itself."""
    if not isinstance(value, str):
        return value
    if value.endswith((".yaml", ".yml")):
        try:
            return yaml.safe_load(read_uri(value).decode("utf-8"))
        except (GanrayError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"cannot read it as a YAML recipe: {error}") from error
    try:
        name = choose("degradation", value, RECIPES)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    content = files("ganray.degradation").joinpath("recipes", f"{name}.yaml")
    return yaml.safe_load(content.read_text(encoding="utf-8"))


RecipeField = Annotated[Recipe, BeforeValidator(read_recipe)]
"""A recipe in a configuration: a catalog name, a YAML file, or the steps themselves."""
