import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganray.errors import RestorationError
from ganray.raster.windows import Box
from ganray.restoration.generator import Encoding, Generator, restore_stored

RANGES = [(-1000.0, 3000.0), (0.0, 10000.0), (-0.5, 0.25), (12.5, 40000.0)]


def identity(scale: int = 1) -> Generator:
    network = nn.Upsample(scale_factor=scale, mode="nearest")
    return Generator(network, torch.device("cpu"), 3, scale, None, None)


def round_trip(stored: np.ndarray, encoding: Encoding, scale: int = 1) -> np.ndarray:
    """(H,W,C) values through a generator that does nothing."""
    sent = stored.view(np.int16) if stored.dtype == np.uint16 else stored
    with torch.inference_mode():
        restored, _ = restore_stored(
            identity(scale), torch.from_numpy(sent)[None], None, encoding, None
        )
    return restored[0].numpy().view(stored.dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_value_of_an_unsigned_type_comes_back(dtype: str) -> None:
    values = np.arange(np.iinfo(dtype).max + 1).astype(dtype).reshape(-1, 16, 1)
    assert np.array_equal(round_trip(values, Encoding(dtype)), values)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("bounds", RANGES)
def test_every_value_comes_back_inside_its_range_and_outside(
    dtype: str, bounds: tuple[float, float]
) -> None:
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1).astype(dtype).reshape(-1, 16, 1)
    assert np.array_equal(round_trip(values, Encoding(dtype, (bounds,))), values)


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e4, 1e4, width=32), st.floats(0.5, 1e4, width=32), st.lists(st.floats(-3, 3)))
def test_floats_come_back_bit_for_bit(low: float, span: float, units: list[float]) -> None:
    values = (low + span * np.array([0.0, 1.0, *units])).astype(np.float32).reshape(1, -1, 1)
    found = round_trip(values, Encoding("float32", ((low, low + span),)))
    assert np.array_equal(found, values)


def test_a_generator_sees_what_is_in_the_range_and_cut_what_is_not() -> None:
    seen: list[Tensor] = []

    class Looking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x

    generator = Generator(Looking(), torch.device("cpu"), 3, 1, None, None)
    stored = torch.tensor([[[[-50, 100, 300]]]], dtype=torch.int16)
    encoding = Encoding("int16", ((0.0, 200.0), (0.0, 200.0), (0.0, 200.0)))
    restored, _ = restore_stored(generator, stored, None, encoding, None)
    assert seen[0].flatten().tolist() == [0.0, 0.5, 1.0]
    assert restored.flatten().tolist() == [-50, 100, 300]


def test_values_beyond_the_range_are_magnified_by_repetition() -> None:
    stored = np.array([[[5000], [100]]], np.uint16)
    found = round_trip(stored, Encoding("uint16", ((0.0, 1000.0),)), scale=2)
    assert np.array_equal(found, stored.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("dtype", ["int16", "int32", "float64", "float16", ">u2"])
def test_types_without_a_known_range_are_refused_by_name(dtype: str) -> None:
    with pytest.raises(RestorationError, match=f"pixels of {dtype}"):
        Encoding(dtype)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(RestorationError, match="low below high"):
        Encoding("uint8", ((3.0, 3.0),))


def test_one_box_and_a_box_for_each_are_measured_alike() -> None:
    stored = torch.randint(0, 256, (1, 8, 9, 3), dtype=torch.uint8)
    box, encoding = Box(1, 2, 7, 8), Encoding("uint8")
    corners = torch.tensor([[box.top, box.left, box.bottom, box.right]])
    pair = [restore_stored(identity(2), stored, kept, encoding, None)[1] for kept in (box, corners)]
    torch.testing.assert_close(*pair)
