import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ganray.raster.windows import Box, Grid, blend_weights, crop, place

few_examples = settings(max_examples=60, deadline=None)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    halo = draw(st.integers(0, 6))
    return Grid(
        height=draw(st.integers(1, 70)),
        width=draw(st.integers(1, 70)),
        halo=halo,
        patch_side=2 * halo + draw(st.integers(1, 20)),
        window_side=draw(st.integers(1, 90)),
    )


def count_visits(boxes: list[Box], height: int, width: int) -> np.ndarray:
    visits = np.zeros((height, width), int)
    for box in boxes:
        visits[box.top : box.bottom, box.left : box.right] += 1
    return visits


def contains(outer: Box, inner: Box) -> bool:
    return (
        outer.top <= inner.top
        and outer.left <= inner.left
        and outer.bottom >= inner.bottom
        and outer.right >= inner.right
    )


@few_examples
@given(grids())
def test_windows_cover_every_pixel_once(grid: Grid) -> None:
    windows = list(grid.windows())
    visits = count_visits([window.core for window in windows], grid.height, grid.width)
    assert (visits == 1).all()


@few_examples
@given(grids())
def test_windows_are_numbered_and_counted(grid: Grid) -> None:
    windows = list(grid.windows())
    assert [window.index for window in windows] == list(range(grid.num_windows))
    corners = [(window.core.top, window.core.left) for window in windows]
    assert corners == sorted(corners)


@few_examples
@given(grids())
def test_patch_cores_cover_every_window_once(grid: Grid) -> None:
    for window in grid.windows():
        cores = [patch.core for patch in grid.patches(window.core)]
        assert all(contains(window.core, core) for core in cores)
        inside = [core.shift(window.core.top, window.core.left) for core in cores]
        assert (count_visits(inside, window.core.height, window.core.width) == 1).all()


@few_examples
@given(grids())
def test_patches_have_one_shape_inside_the_image_and_inside_their_window(grid: Grid) -> None:
    image = Box(0, 0, grid.height, grid.width)
    shape = (min(grid.patch_side, grid.height), min(grid.patch_side, grid.width))
    for window in grid.windows():
        assert contains(image, window.read)
        for patch in grid.patches(window.core):
            assert (patch.read.height, patch.read.width) == shape
            assert contains(image, patch.read) and contains(window.read, patch.read)


@few_examples
@given(grids())
def test_a_patch_reads_its_core_and_a_whole_halo_unless_the_image_ends(grid: Grid) -> None:
    for window in grid.windows():
        for patch in grid.patches(window.core):
            needed = Box(
                max(0, patch.core.top - grid.halo),
                max(0, patch.core.left - grid.halo),
                min(grid.height, patch.core.bottom + grid.halo),
                min(grid.width, patch.core.right + grid.halo),
            )
            assert contains(patch.read, needed)


@few_examples
@given(grids(), st.integers(1, 90))
def test_patches_do_not_depend_on_the_window_size(grid: Grid, other_side: int) -> None:
    other = Grid(grid.height, grid.width, grid.halo, grid.patch_side, other_side)

    def all_patches(of: Grid) -> set:
        return {patch for window in of.windows() for patch in of.patches(window.core)}

    assert all_patches(grid) == all_patches(other)


@few_examples
@given(grids())
def test_a_window_is_no_larger_than_asked_for_unless_it_is_one_patch(grid: Grid) -> None:
    assert grid.window_stride % grid.stride == 0
    assert grid.window_stride <= max(grid.window_side, grid.stride)
    assert grid.window_stride + grid.stride > grid.window_side


@pytest.mark.parametrize("patch_side", [1, 7, 8])
def test_a_patch_without_a_core_is_refused(patch_side: int) -> None:
    with pytest.raises(ValueError, match=f"patch_side {patch_side} leaves no core in halo 4"):
        Grid(height=10, width=10, halo=4, patch_side=patch_side, window_side=10)


@few_examples
@given(grids())
def test_placing_what_was_cropped_rebuilds_the_image(grid: Grid) -> None:
    pixels = np.random.default_rng(0).random((2, grid.height, grid.width), np.float32)
    rebuilt = np.full_like(pixels, np.nan)
    for window in grid.windows():
        read = crop(pixels, window.read)
        core = window.core.shift(window.read.top, window.read.left)
        place(rebuilt, crop(read, core), window.core)
    assert np.array_equal(rebuilt, pixels)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_a_shifted_box_keeps_its_size_and_a_scaled_one_multiplies_it(
    top: int, left: int, height: int, width: int
) -> None:
    assume(height and width)
    box = Box(top, left, top + height, left + width)
    shifted = box.shift(3, -2)
    assert (shifted.top, shifted.left) == (top - 3, left + 2)
    assert (shifted.height, shifted.width) == (height, width)
    scaled = box.scale(3)
    assert (scaled.top, scaled.left) == (3 * top, 3 * left)
    assert scaled.num_pixels == 9 * box.num_pixels == 9 * height * width


@st.composite
def blended_grids(draw: st.DrawFn) -> Grid:
    halo, overlap = draw(st.integers(0, 4)), draw(st.integers(1, 5))
    return Grid(
        height=draw(st.integers(1, 60)),
        width=draw(st.integers(1, 60)),
        halo=halo,
        patch_side=2 * (halo + overlap) + draw(st.integers(2 * overlap, 20)),
        window_side=draw(st.integers(1, 60)),
        overlap=overlap,
    )


@few_examples
@given(blended_grids(), st.integers(1, 4))
def test_the_weights_of_overlapping_patches_add_up_to_one_in_every_window(
    grid: Grid, scale: int
) -> None:
    for window in grid.windows():
        total = np.zeros((1, window.core.height * scale, window.core.width * scale))
        for patch in grid.patches(window.core):
            assert contains(patch.read, patch.reach) and contains(window.read, patch.read)
            shown = patch.reach.intersect(window.core)
            weights = blend_weights(patch, grid.overlap, scale)[None]
            cut = crop(weights, shown.shift(patch.reach.top, patch.reach.left).scale(scale))
            assert (cut >= 0).all()
            into = shown.shift(window.core.top, window.core.left).scale(scale)
            place(total, crop(total, into) + cut, into)
        np.testing.assert_allclose(total, 1, atol=1e-6)


@few_examples
@given(blended_grids())
def test_neighbouring_windows_blend_the_same_patches(grid: Grid) -> None:
    seen: dict[Box, Box] = {}
    for window in grid.windows():
        assert grid.window(window.index) == window
        for patch in grid.patches(window.core):
            assert seen.setdefault(patch.core, patch.read) == patch.read


@few_examples
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 2, 4]))
def test_what_patches_read_begins_where_the_alignment_allows(
    height: int, width: int, alignment: int
) -> None:
    grid = Grid(height, width, 4, 8 + 16, 32, alignment=alignment)
    for window in grid.windows():
        for patch in grid.patches(window.core):
            assert patch.read.top % alignment == patch.read.left % alignment == 0
            needed = patch.core.grow(grid.halo, Box(0, 0, height, width))
            assert contains(patch.read, needed)
