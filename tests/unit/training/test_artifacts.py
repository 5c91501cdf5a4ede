import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.training.artifacts import artifact_map, ldl


def images(seed: int, num: int = 3) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random((num, 2, 3, 12, 10), np.float32))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_the_artifact_map_is_its_formula(seed: int) -> None:
    y, x, calm = images(seed)
    residual, of_calm = (np.abs(x - part).sum(1).astype(float) for part in (y, calm))
    expected = np.zeros(residual.shape)
    for sample, plane in enumerate(residual):
        padded = np.pad(plane, 3, mode="reflect")
        overall = plane.var(ddof=1) ** 0.2
        for row, column in np.ndindex(plane.shape):
            if plane[row, column] >= of_calm[sample, row, column]:
                around = padded[row : row + 7, column : column + 7]
                expected[sample, row, column] = overall * around.var(ddof=1)
    tensors = [torch.tensor(part) for part in (y, x, calm)]
    found = artifact_map(*tensors)[:, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    loss = np.mean(expected[:, None] * np.abs(x - y))
    assert float(ldl(*tensors)) == pytest.approx(loss, rel=1e-3)


def test_equals_have_a_loss_of_0_and_a_gradient_of_0() -> None:
    x, calm = (torch.tensor(part) for part in images(0, 2))
    y = x.clone().requires_grad_()
    loss = ldl(y, x, calm)
    loss.backward()
    assert float(loss.detach()) == 0
    assert y.grad is not None and not y.grad.any()


def test_an_even_error_is_no_artifact() -> None:
    x, _ = (torch.tensor(part) for part in images(0, 2))
    assert float(ldl(x + 0.1, x, x)) == pytest.approx(0, abs=1e-6)


def test_where_the_average_is_worse_nothing_is_an_artifact() -> None:
    y, x = (torch.tensor(part) for part in images(0, 2))
    assert float(ldl(y, x, x + 2 * (y - x))) == 0
    assert float(ldl(y, x, x + (y - x) / 2)) > 0


def test_the_generator_is_moved_towards_the_reference() -> None:
    y, x = (torch.tensor(part) for part in images(0, 2))
    y.requires_grad_()
    ldl(y, x, x).backward()
    assert y.grad is not None and y.grad.any()
    assert (y.grad * (y.detach() - x) >= 0).all()
