"""What every step has in common."""

import pytest
import torch

from ganray.degradation.recipe import Recipe, degrade
from tests.unit.degradation.streams import smooth

EVERY_STEP = {
    "blur": {"sigma": [0.5, 2.0], "shapes": ["gaussian", "anisotropic", "generalised", "plateau"]},
    "motion": {"extent": [2, 6]},
    "defocus": {"radius": [1, 3]},
    "sinc": {"cutoff": [0.3, 0.6]},
    "noise": {"sigma": [0.02, 0.1], "gray_probability": 0.5},
    "shot": {"sigma": [0.02, 0.1]},
    "speckle": {"sigma": [0.02, 0.1]},
    "grain": {"sigma": [0.02, 0.1]},
    "low_dose": {"sigma": [0.02, 0.1]},
    "jpeg": {"quality": [20, 60]},
    "haze": {"depth": [0.2, 0.5]},
    "low_contrast": {"contrast": [0.4, 0.8]},
    "flicker": {"gain": [0.7, 0.9]},
    "interlace": {"shift": [2, 4]},
    "scratches": {"number": [150, 150]},
    "spots": {"number": [150, 150]},
    "hair": {"number": [150, 150]},
    "tears": {"number": [150, 150]},
    "missing": {"number": [150, 150]},
}
SEEDS = [(0, index) for index in range(12)]


def run(kind: str, scale: int = 1, **options: object) -> torch.Tensor:
    step = {"kind": kind} | EVERY_STEP[kind] | options
    steps = [step] if scale == 1 else [step, {"kind": "resample"}]
    recipe = Recipe.model_validate({"name": "test", "steps": steps})
    return degrade(smooth(12, 3, 32, 40), recipe, scale=scale, seeds=SEEDS).pixels


@pytest.mark.parametrize("kind", EVERY_STEP)
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_a_step_happens_as_often_as_its_probability_says(kind: str, probability: float) -> None:
    before, after = smooth(12, 3, 32, 40), run(kind, probability=probability)
    changed = (before != after).flatten(1).any(1).float().mean().item()
    expected = {0.0: (0, 0), 0.5: (1 / 12, 11 / 12), 1.0: (1, 1)}[probability]
    assert expected[0] <= changed <= expected[1]
    assert after.min() >= 0 and after.max() <= 1 and after.isfinite().all()


@pytest.mark.parametrize("kind", EVERY_STEP)
def test_samples_have_strengths_of_their_own(kind: str) -> None:
    difference = (run(kind) - smooth(12, 3, 32, 40)).abs().mean((1, 2, 3))
    assert len(difference.unique()) > 6


@pytest.mark.parametrize("kind", ["blur", "motion", "defocus", "grain", "low_dose"])
def test_widths_are_in_pixels_of_the_degraded_image(kind: str) -> None:
    """At twice the scale a step reaches twice as far in the reference."""
    options = {
        key: [max(value)] * 2 if key in ("sigma", "extent", "radius") else value
        for key, value in EVERY_STEP[kind].items()
    }
    step = {"kind": kind} | options | ({"shapes": ["gaussian"]} if kind == "blur" else {})
    steps = [step, {"kind": "resample", "kernels": ["area"]}]
    recipe = Recipe.model_validate({"name": "test", "steps": steps})
    dot = torch.full((1, 1, 128, 128), 0.5)
    dot[..., 64, 64] = 0.5 if kind in ("grain", "low_dose") else 1.0
    found = []
    for scale in (1, 2):
        reference = torch.nn.functional.interpolate(dot, scale_factor=float(scale))
        pixels = degrade(reference, recipe, scale=scale, seeds=[(0, 0)]).pixels
        found.append(mean_frequency(pixels[0, 0]))
    assert found[1] == pytest.approx(found[0], rel=0.2)


def mean_frequency(pixels_HW: torch.Tensor) -> float:
    height, width = pixels_HW.shape
    power = torch.fft.rfft2(pixels_HW - pixels_HW.mean()).abs().square()
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    return ((power * frequency).sum() / power.sum()).item()
