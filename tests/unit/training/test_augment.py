from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganray.training.augment import (
    Augmentation,
    AugmentConfig,
    Transforms,
    adapt,
    augment,
    draw_transforms,
)
from ganray.training.regularisers import zero_centred_penalty

CPU = torch.device("cpu")
few_examples = settings(max_examples=20, deadline=None)


def images(num: int = 4, side: int = 16, bands: int = 3) -> Tensor:
    drawn = np.random.default_rng(0).random((num, bands, side, side), np.float32)
    return torch.tensor(drawn)


def still(num: int = 4, **changes: Tensor) -> Transforms:
    return replace(draw_transforms(0, [(i,) for i in range(num)], CPU), **changes)


def drawn(num: int = 4, probability: float = 1) -> Transforms:
    return draw_transforms(probability, [(7, i) for i in range(num)], CPU)


def test_with_a_probability_of_0_nothing_changes_by_a_bit() -> None:
    x = images()
    assert torch.equal(augment(x, still()), x)


@pytest.mark.parametrize("bands", [1, 3, 6])
def test_a_sample_is_augmented_alike_in_any_batch(bands: int) -> None:
    x = images(6, bands=bands)
    together = augment(x, drawn(6, 0.5))
    for number in range(6):
        alone = draw_transforms(0.5, [(7, number)], CPU)
        assert torch.equal(augment(x[number : number + 1], alone)[0], together[number])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("flip", [0, 1])
def test_flips_and_quarter_turns_are_exact(turns: int, flip: int) -> None:
    x = images()
    ones = torch.ones(4)
    found = augment(x, still(flip=flip * ones, quarter_turns=turns * ones))
    assert torch.equal(found, torch.rot90(x.flip(3) if flip else x, turns, (2, 3)))


@few_examples
@given(st.integers(-2, 2), st.integers(-2, 2))
def test_a_shift_moves_whole_pixels_and_mirrors_at_the_border(down: int, right: int) -> None:
    x = images()
    shift = torch.tensor([[down / 16, right / 16]] * 4)
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (2, 2), (2, 2)], mode="reflect")
    expected = padded[:, :, 2 - down : 18 - down, 2 - right : 18 - right]
    assert np.array_equal(augment(x, still(shift=shift)).numpy(), expected)


def test_a_scale_of_2_shows_the_middle_and_leaves_others_alone() -> None:
    x = torch.linspace(0, 1, 16).expand(2, 3, 16, 16)
    found = augment(x, still(2, scale=torch.tensor([2.0, 1.0])))
    slope = found[0, 0, 0].diff()
    torch.testing.assert_close(slope, torch.full_like(slope, 0.5 / 15))
    assert float(found[0].mean()) == pytest.approx(0.5, abs=1e-5)
    assert torch.equal(found[1], x[1])


def test_brightness_contrast_and_saturation_are_their_formulas() -> None:
    x = images()
    brightness, contrast, saturation = torch.rand(3, 4)
    transforms = still(brightness=brightness, contrast=contrast, saturation=saturation)
    b, c, s = (part.numpy()[:, None, None, None] for part in (brightness, contrast, saturation))
    expected = (x.numpy() + b - 0.5) * c + 0.5
    mean = expected.mean(1, keepdims=True)
    expected = mean + (expected - mean) * s
    np.testing.assert_allclose(augment(x, transforms).numpy(), expected, atol=1e-5)


def test_a_cutout_is_a_gray_square_of_a_quarter_of_the_side() -> None:
    x = images()
    found = augment(x, still(cutout=torch.tensor([[0.5, 0.25]] * 4)))
    assert (found[:, :, 6:10, 2:6] == 0.5).all()
    changed = found != x
    changed[:, :, 6:10, 2:6] = False
    assert not changed.any()


def test_each_augmentation_happens_with_its_probability() -> None:
    transforms = draw_transforms(0.3, [(1, i) for i in range(2000)], CPU)
    nothing = still(1)
    # Of all flips and turns that are drawn, so many are not none.
    visible = {"flip": 1 / 2, "quarter_turns": 3 / 4}
    for field in fields(Transforms):
        values = getattr(transforms, field.name)
        happened = (values != getattr(nothing, field.name)).reshape(2000, -1).any(1)
        expected = 0.3 * visible.get(field.name, 1)
        assert float(happened.float().mean()) == pytest.approx(expected, abs=0.04), field.name


def test_an_augmentation_that_always_happens_leaves_all_orientations_as_likely() -> None:
    transforms = drawn(2000)
    counts = torch.bincount((4 * transforms.flip + transforms.quarter_turns).long(), minlength=8)
    assert counts.tolist() == pytest.approx([250] * 8, abs=60)


def test_brightness_is_half_as_wide_as_that_of_images_in_minus_1_to_1() -> None:
    assert float(drawn(2000).brightness.std()) == pytest.approx(0.1, abs=0.01)


def test_a_higher_probability_keeps_what_already_happened() -> None:
    low, high, nothing = drawn(50, 0.3), drawn(50, 0.7), still(50)
    for field in fields(Transforms):
        before, after = getattr(low, field.name), getattr(high, field.name)
        happened = before != getattr(nothing, field.name)
        assert torch.equal(after[happened], before[happened])


def test_oblong_images_are_augmented_unless_they_are_turned() -> None:
    x = torch.rand(4, 3, 12, 20)
    assert augment(x, replace(drawn(), quarter_turns=torch.zeros(4))).shape == x.shape
    with pytest.raises(AssertionError):
        augment(x, still(quarter_turns=torch.ones(4)))


def test_gradients_are_those_of_finite_differences_also_second_ones() -> None:
    transforms = drawn(2)
    x = images(2, side=8)
    weights = torch.rand(2, 3, 8, 8)
    probe = torch.rand(2, 3, 8, 8)

    def value(at: Tensor) -> Tensor:
        return (augment(at, transforms) ** 3 * weights).sum()

    at = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(at), at, create_graph=True)
    step = 1e-2
    first = float((value(x + step * probe) - value(x - step * probe)) / (2 * step))
    assert float((gradient * probe).sum().detach()) == pytest.approx(first, rel=1e-2)

    (curvature,) = torch.autograd.grad((gradient * probe).sum(), at)
    second = float((value(x + step * probe) - 2 * value(x) + value(x - step * probe)) / step**2)
    assert float((curvature * probe).sum()) == pytest.approx(second, rel=0.05)


def test_a_penalty_of_an_augmenting_discriminator_can_be_trained_by() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 1, 3))
    transforms = drawn()

    class Augmenting(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return inner(augment(images, transforms))

    zero_centred_penalty(Augmenting(), images())[1].backward()
    gradient = inner[0].weight.grad
    assert gradient is not None and gradient.isfinite().all() and gradient.any()


def test_the_probability_rises_by_images_over_the_ramp_only_while_overfitting() -> None:
    config = AugmentConfig(ramp_images=1000, every=2)
    state = Augmentation(0.3)
    state = adapt(state, 0.9, 10, config)
    assert state.probability == 0.3
    state = adapt(state, 0.5, 10, config)
    assert state == Augmentation(pytest.approx(0.32))
    for sign in (0.7, 0.4):
        state = adapt(state, sign, 10, config)
    assert state == Augmentation(pytest.approx(0.30))


@few_examples
@given(st.lists(st.floats(-1, 1), max_size=60))
def test_the_probability_stays_between_0_and_its_maximum(signs: list[float]) -> None:
    config = AugmentConfig(ramp_images=100, every=1)
    state = Augmentation()
    for sign in signs:
        state = adapt(state, sign, 8, config)
        assert 0 <= state.probability <= 0.8


def test_the_state_of_the_controller_is_plain_numbers() -> None:
    state = adapt(Augmentation(0.1), 0.9, 8, AugmentConfig(every=1))
    assert {type(value) for value in asdict(state).values()} <= {float, int}
    assert Augmentation(**asdict(state)) == state
