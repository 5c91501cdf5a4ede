import pytest
import torch

from ganray.degradation.atmosphere import Haze, LowContrast, haze, low_contrast
from ganray.degradation.film import Flicker, Interlace, flicker, interlace
from tests.unit.degradation.streams import make_draws, noise, smooth


def test_flicker_is_a_gain_and_a_gamma() -> None:
    pixels = smooth(2, 1, 16, 16)
    found = flicker(
        pixels, Flicker(kind="flicker", gain=(0.8, 0.8), gamma=(1.2, 1.2)), make_draws(2)
    )
    assert torch.allclose(found, 0.8 * pixels**1.2, atol=1e-6)


def test_interlacing_moves_odd_rows_alone() -> None:
    pixels = noise(10, 2, 17, 30)
    found = interlace(pixels, Interlace(kind="interlace", shift=(2, 2)), make_draws(10))
    assert torch.equal(found[:, :, ::2], pixels[:, :, ::2])
    directions = set()
    for image, moved in zip(pixels[:, :, 1::2], found[:, :, 1::2], strict=True):
        right = torch.equal(moved[..., 2:], image[..., :-2])
        assert right or torch.equal(moved[..., :-2], image[..., 2:])
        directions.add(right)
    assert directions == {True, False}


def test_haze_takes_light_away_evenly_in_all_bands_and_adds_the_airlight() -> None:
    dark, light = (torch.full((4, 2, 48, 48), value) for value in (0.1, 0.6))
    step = Haze(kind="haze", depth=(0.5, 0.5), variation=(0.4, 0.4), airlight=(0.8, 0.8))
    found = [haze(pixels, step, make_draws(4), 1.0) for pixels in (dark, light)]
    transmission = (found[1] - found[0]) / 0.5
    assert transmission.mean() == pytest.approx(2.71828**-0.5, abs=0.12)
    assert torch.allclose(transmission[:, 0], transmission[:, 1], atol=1e-5)
    airlight = (found[0] - 0.1 * transmission) / (1 - transmission)
    assert airlight.std((2, 3)).max() < 1e-3
    assert airlight.mean() == pytest.approx(0.8, abs=0.1)


def test_haze_is_smooth() -> None:
    step = Haze(kind="haze", depth=(0.5, 0.5), variation=(0.6, 0.6), cell=24.0)
    found = haze(torch.zeros(4, 1, 96, 96), step, make_draws(4), 1.0)
    assert found.std((2, 3)).min() > 0.02
    assert (found[..., 1:] - found[..., :-1]).abs().max() < 0.06


def test_low_contrast_squeezes_the_range() -> None:
    pixels = smooth(20, 1, 16, 16)
    step = LowContrast(kind="low_contrast", contrast=(0.5, 0.5))
    found = low_contrast(pixels, step, make_draws(20))
    assert torch.allclose(found.std((1, 2, 3)), 0.5 * pixels.std((1, 2, 3)), rtol=1e-4)
    assert found.min() >= 0 and found.max() <= 1
