"""Pictures of a report: bounded bytes, the same spot in all states, exact where they fit."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from ganray.errors import ReportError
from ganray.report.encoding import Encoded, Picture, encode, encode_alike
from ganray.report.pictures import (
    PREVIEW_SIDE,
    Spot,
    StripText,
    box_of,
    make_strip,
    most_changed,
    reduced,
    snapped,
    spot_share,
    whole_views,
)


def noise(height: int, width: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> Picture:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)


def decoded(encoded: Encoded) -> Picture:
    data = base64.b64decode(encoded.uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def num_bytes(strip_states: object) -> int:
    return sum(
        len(e.uri)
        for state in strip_states
        for e in (state.whole, *state.spots)  # type: ignore[attr-defined]
    )


def test_a_picture_that_fits_is_exact_to_the_last_bit() -> None:
    picture = smooth(100, 140)
    (found,) = encode_alike([picture], 1 << 20)
    assert found.exact
    np.testing.assert_array_equal(decoded(found), picture)


@pytest.mark.parametrize("max_bytes", [40_000, 8_000, 2_000])
def test_even_noise_is_encoded_within_the_bytes_allowed(max_bytes: int) -> None:
    found = encode(noise(240, 240), max_bytes)
    assert not found.exact
    assert len(found.uri) <= max_bytes * 4 / 3 + 40


def test_a_picture_that_fits_no_way_is_an_error() -> None:
    with pytest.raises(ReportError, match=r"does not fit .* shown="):
        encode(noise(100, 100), 10)


def test_a_strip_of_large_states_stays_within_its_bytes() -> None:
    before, after = noise(500, 650, 1), noise(1000, 1300, 2)
    spot = Spot(0.25, 0.5, *spot_share(1300, 1000))
    views = whole_views([("input", before), ("restored", after)], [spot])
    strip = make_strip(StripText("t"), views, (1300, 1000), [spot], max_bytes=600_000)
    assert num_bytes(strip.states) <= 600_000
    assert all(max(s.whole.width, s.whole.height) <= PREVIEW_SIDE for s in strip.states)
    assert strip.spots == (spot,)


def test_a_spot_that_would_not_fit_is_exact_in_its_middle() -> None:
    before = smooth(600, 800)
    after = np.clip(before.repeat(2, 0).repeat(2, 1) + noise(1200, 1600) // 64, 0, 255)
    spot = snapped(Spot(0.3, 0.4, *spot_share(1600, 1200)), 600, 800)
    views = whole_views([("input", before), ("restored", after.astype(np.uint8))], [spot])
    sizes = encode_alike([v.spots[0] for v in views], 1 << 30)
    total = sum(len(e.uri) for e in sizes)
    strip = make_strip(StripText("t"), views, (1600, 1200), [spot], max_bytes=int(0.9 * total))
    (kept,) = strip.spots
    assert strip.exact and kept.width < spot.width
    for state, picture in zip(strip.states, (before, after), strict=True):
        box = box_of(kept, *picture.shape[:2])
        cut = picture[box.top : box.bottom, box.left : box.right]
        np.testing.assert_array_equal(decoded(state.spots[0]), cut)


def test_a_spot_is_the_same_place_in_states_of_different_size() -> None:
    after = smooth(1200, 1600)
    before = np.asarray(Image.fromarray(after).resize((800, 600), Image.Resampling.BOX))
    spot = snapped(Spot(0.3, 0.4, *spot_share(1600, 1200)), 600, 800)
    small, large = whole_views([("input", before), ("restored", after)], [spot])
    assert large.spots[0].shape[0] == 2 * small.spots[0].shape[0]
    magnified = Image.fromarray(small.spots[0]).resize(large.spots[0].shape[1::-1])
    difference = np.abs(np.asarray(magnified).astype(int)[..., :2] - large.spots[0][..., :2])
    assert difference.mean() < 2


def test_small_states_are_shown_whole_and_take_no_spots() -> None:
    views = whole_views([("a", smooth(90, 120)), ("b", smooth(180, 240))], [Spot(0, 0, 1, 1)])
    assert not any(view.spots for view in views)
    strip = make_strip(StripText("t"), views, (240, 180), [Spot(0, 0, 1, 1)], max_bytes=1 << 20)
    assert strip.spots == () and strip.exact


def test_the_spot_that_changed_most_is_found_and_a_shift_of_colour_is_none() -> None:
    before = smooth(300, 400)
    after = np.clip(before.astype(int) + 20, 0, 255).astype(np.uint8)
    after[200:230, 320:350] = noise(30, 30)
    spot = most_changed(before, after, (0.25, 0.25))
    box = box_of(spot, 300, 400)
    assert box.top <= 200 and box.bottom >= 230 and box.left <= 320 and box.right >= 350


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (9, 9)])
def test_the_thinnest_pictures_become_strips(shape: tuple[int, int]) -> None:
    before = noise(*shape)
    spot = most_changed(reduced(before), reduced(before), spot_share(shape[1], shape[0]))
    views = whole_views([("a", before), ("b", before)], [spot])
    strip = make_strip(StripText("t"), views, shape[::-1], [spot], max_bytes=1 << 20)
    assert len(strip.states) == 2 and 0.5 < strip.ratio <= 3


def test_gray_pictures_are_shown() -> None:
    gray = smooth(50, 60)[..., 0]
    assert decoded(encode(gray, 1 << 20)).shape == (50, 60, 3)
    assert most_changed(gray, gray, (0.5, 0.5)).width == pytest.approx(0.5)
