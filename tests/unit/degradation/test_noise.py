import pytest
import torch

from ganray.degradation.dose import LowDose, low_dose
from ganray.degradation.film import Grain, grain
from ganray.degradation.noise import Noise, Shot, Speckle, add_noise
from tests.unit.degradation.streams import make_draws

LEVELS = (0.2, 0.5, 0.7)


def deviations(noisy: torch.Tensor, level: float) -> float:
    return (noisy - level).std().item()


@pytest.mark.parametrize(
    ("step", "power"),
    [
        (Noise(kind="noise", sigma=(0.03, 0.03)), 0.0),
        (Shot(kind="shot", sigma=(0.03, 0.03)), 0.5),
        (Speckle(kind="speckle", sigma=(0.03, 0.03)), 1.0),
    ],
)
def test_noise_grows_with_brightness_as_its_kind_does(step: Noise, power: float) -> None:
    for level in LEVELS:
        noisy = add_noise(torch.full((1, 3, 96, 96), level), step, make_draws(1))
        assert deviations(noisy, level) == pytest.approx(0.03 * level**power, rel=0.04)
        assert noisy.mean() == pytest.approx(level, abs=0.001)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_gray_noise_is_the_same_in_all_bands(probability: float) -> None:
    step = Noise(kind="noise", sigma=(0.05, 0.05), gray_probability=probability)
    noisy = add_noise(torch.full((2, 3, 16, 16), 0.5), step, make_draws(2))
    assert torch.equal(noisy[:, 0], noisy[:, 1]) == bool(probability)
    assert not torch.equal(noisy[0], noisy[1])


def test_grain_is_strongest_in_middle_tones_and_clumps() -> None:
    step = Grain(kind="grain", sigma=(0.04, 0.04), size=(1.0, 1.0))
    found = {}
    for level in (0.1, 0.5, 0.9):
        noisy = grain(torch.full((1, 1, 128, 128), level), step, make_draws(1), 1.0)
        found[level] = deviations(noisy, level)
    assert found[0.5] == pytest.approx(0.04, rel=0.1)
    assert found[0.1] == pytest.approx(0.6 * 0.04, rel=0.1) == found[0.9]
    centred = grain(torch.full((1, 1, 128, 128), 0.5), step, make_draws(1), 1.0)[0, 0] - 0.5
    beside = (centred[:, 1:] * centred[:, :-1]).mean() / centred.square().mean()
    assert 0.6 < beside < 0.9


def test_low_dose_noise_is_as_strong_as_it_says_and_stronger_behind_matter() -> None:
    step = LowDose(
        kind="low_dose", sigma=(0.02, 0.02), attenuation=(2.0, 2.0), streaks=(1.0, 1.0)
    )  # fmt: skip
    thin, dense = (
        low_dose(torch.full((1, 1, 128, 128), level), step, make_draws(1), 1.0) - level
        for level in (0.2, 0.7)
    )
    assert thin.std().item() == pytest.approx(0.02 * 2.71828**0.2, rel=0.08)
    assert dense.std().item() == pytest.approx(0.02 * 2.71828**0.7, rel=0.08)


def test_low_dose_noise_has_little_power_at_low_frequencies() -> None:
    step = LowDose(kind="low_dose", sigma=(0.05, 0.05), streaks=(1.0, 1.0), cutoff=(0.6, 0.6))
    noise = low_dose(torch.full((1, 1, 128, 128), 0.5), step, make_draws(1), 1.0)[0, 0] - 0.5
    power = torch.fft.rfft2(noise).abs().square()
    frequency = torch.hypot(torch.fft.fftfreq(128)[:, None], torch.fft.rfftfreq(128))
    low, middle = (
        power[(frequency > a) & (frequency < b)].mean() for a, b in ((0, 0.03), (0.15, 0.25))
    )
    assert low < 0.3 * middle
