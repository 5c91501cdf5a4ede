import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ganray.degradation.damage import LOST, Damage, damage
from ganray.degradation.marks import LOBES, Marks, discs, draw, join
from tests.unit.degradation.streams import CPU, make_draws

KINDS = ("scratches", "spots", "hair", "tears", "missing")


def make_step(kind: str, **options: object) -> Damage:
    values = {"kind": kind, "number": [3, 3], "opacity": [1, 1]} | options
    return TypeAdapter(Damage).validate_python(values)


def run(step: Damage, number: int = 6, side: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    gray = torch.full((number, 3, side, side), 0.5)
    return damage(gray, step, make_draws(number), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_says_where_pixels_are_covered(kind: str) -> None:
    pixels, mask = run(make_step(kind, bright_probability=1.0, bright=[1.0, 1.0]))
    covered = (pixels[:, :1] - 0.5) / 0.5
    assert torch.equal(mask, (covered > LOST).float())
    assert 0 < mask.mean() < 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_as_bright_as_it_says(kind: str) -> None:
    for probability, tone in ((0.0, 0.1), (1.0, 0.9)):
        step = make_step(kind, bright_probability=probability, dark=[0.1, 0.1], bright=[0.9, 0.9])
        pixels, mask = run(step)
        assert ((pixels >= 0.5) if probability else (pixels <= 0.5)).all()
        assert (pixels - tone).abs().min() < 0.05 and mask.any()


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_number_is_about_twice_the_damage(kind: str) -> None:
    few, many = (
        run(make_step(kind, number=[n, n]), number=40, side=96)[1].mean() for n in (0.4, 0.8)
    )
    assert 1.3 < many / few < 2.8


def test_no_damage_leaves_everything() -> None:
    pixels, mask = run(make_step("spots", number=[0, 0]))
    assert (pixels == 0.5).all() and not mask.any()


def test_scratches_are_nearly_vertical() -> None:
    step = make_step("scratches", number=[1, 1], whole_probability=1.0)
    _, mask = run(step, number=20)
    some = mask.flatten(1).any(1)
    rows = mask[some].amax(3).mean((1, 2))
    assert (rows > 0.9).float().mean() > 0.7
    assert mask[some].amax(2).mean() < 0.2


@settings(max_examples=25, deadline=None)
@given(st.floats(-5, 45), st.floats(-5, 45), st.floats(0.5, 12), st.floats(0.1, 1), st.booleans())
def test_a_disc_covers_its_area_wherever_it_lies(
    down: float, right: float, radius: float, opacity: float, bright: bool
) -> None:
    line, one = np.array([[down, right]]), np.ones(1)
    marks = discs(line, one * radius, one * opacity, bright=bright)
    covered = draw([marks], 40, 44, CPU)[bright][0, 0]
    assert not draw([marks], 40, 44, CPU)[not bright].any()
    rows, columns = torch.arange(40)[:, None] - down, torch.arange(44) - right
    expected = opacity * (radius - torch.hypot(rows, columns) + 0.5).clamp(0, 1)
    assert covered.numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_marks_of_a_batch_are_drawn_as_each_alone_and_in_any_order() -> None:
    rng = np.random.default_rng(0)
    images = []
    for number in (5, 0, 40):
        lobes = np.stack([rng.uniform(0, 0.2, (number, LOBES)), rng.uniform(0, 6, (number, LOBES))])
        places = rng.uniform(0, 48, (2, number))
        radius, opacity = rng.uniform(0.5, 9, number), rng.uniform(0, 1, number)
        bright = rng.random(number) < 0.5
        images.append(Marks(*places, radius, opacity, bright, np.moveaxis(lobes, 0, -1)))
    whole = draw(images, 48, 48, CPU)
    backwards = draw([_turned(marks) for marks in images], 48, 48, CPU)
    for plane, other in zip(whole, backwards, strict=True):
        assert torch.allclose(plane, other, atol=1e-5)
    for position in (0, 2):
        for plane, alone in zip(whole, draw([images[position]], 48, 48, CPU), strict=True):
            assert torch.allclose(plane[position], alone[0], atol=1e-5)


def test_blobs_are_irregular_but_near_their_radius() -> None:
    lobes = np.tile([[[0.3, 0.0]] + [[0.1, 1.0]] * (LOBES - 1)], (3, 1, 1))
    places = np.array([20.0, 60.0, 100.0])
    blobs = Marks(places, places, np.full(3, 12.0), np.ones(3), np.ones(3, bool), lobes)
    covered = draw([blobs], 128, 128, CPU)[1][0, 0] > 0.5
    assert covered.sum() == pytest.approx(3 * np.pi * 144, rel=0.2)
    assert not torch.equal(covered[8:33, 8:33], covered[8:33, 8:33].T)


def test_joined_marks_are_all_of_them() -> None:
    one = discs(np.zeros((2, 2)), np.ones(2), np.ones(2), bright=True)
    assert len(join([one, one])) == 4


def _turned(marks: Marks) -> Marks:
    names = ("down", "right", "radius", "opacity", "bright", "lobes")
    return Marks(*(getattr(marks, name)[::-1].copy() for name in names))
