import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.models.padding import pad_to


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = torch.rand(1, 3, 4, 6)
    assert pad_to(image, 4, 6) is image


def test_lines_are_mirrored_without_the_border_itself() -> None:
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    expected = [[0, 1, 2, 1], [3, 4, 5, 4], [0, 1, 2, 1]]
    assert pad_to(image, 3, 4)[0, 0].tolist() == expected


def test_where_lines_are_too_few_the_last_is_repeated() -> None:
    image = torch.arange(2.0).reshape(1, 1, 1, 2)
    assert pad_to(image, 3, 4)[0, 0].tolist() == [[0, 1, 1, 1]] * 3


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_the_image_itself_stays_in_its_corner(
    height: int, width: int, below: int, beside: int
) -> None:
    image = torch.rand(2, 1, height, width)
    padded = pad_to(image, height + below, width + beside)
    assert padded.shape == (2, 1, height + below, width + beside)
    assert torch.equal(padded[:, :, :height, :width], image)
