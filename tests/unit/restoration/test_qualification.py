from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganray.models.checkpoint import load_checkpoint
from ganray.restoration import RestorerConfig, qualification, tiling
from ganray.restoration.qualification import Qualification, qualify

CPU = RestorerConfig(device="cpu")


def noise(side: int = 200) -> np.ndarray:
    return np.random.default_rng(0).random((3, side, side), np.float32)


class InHalf(nn.Module):
    """Adds `error` where it runs in a half type, and nothing else."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        return x + self.error if torch.is_autocast_enabled("cpu") else x


def qualify_with_error(
    error: float, monkeypatch: pytest.MonkeyPatch, speed: float
) -> Qualification:
    """Qualify an identity that errs in half precision and is `speed` times as fast there."""
    checkpoint = replace(load_checkpoint("compact-x2"), generator=InHalf(error), scale=1)
    seconds = {None: speed, torch.bfloat16: 1.0}
    monkeypatch.setattr(qualification, "_seconds", lambda generator, pixels, dtype: seconds[dtype])
    return qualify(checkpoint, CPU, [noise()])


@pytest.mark.parametrize(
    ("error", "speed", "precision"),
    [
        (0.9 / 255, 2.0, "bfloat16"),
        (2.1 / 255, 2.0, "float32"),
        (float("nan"), 2.0, "float32"),
        (0.0, 1.0, "float32"),
    ],
)
def test_a_half_type_is_chosen_where_it_is_exact_enough_and_faster(
    error: float, speed: float, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = qualify_with_error(error, monkeypatch, speed)
    assert found.precision == precision
    assert (found.half is None) == (precision == "float32")
    assert Qualification(**found.as_dict()) == found


def test_an_exact_tiling_has_no_seam_and_a_halo_that_is_too_small_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = load_checkpoint("compact-x2")
    exact = qualify(checkpoint, CPU, [noise()]).seam_error
    assert exact is not None and exact <= 1e-5
    blind = replace(checkpoint, radius=0)
    cut = qualify(blind, CPU, [noise()]).seam_error
    assert cut is not None and cut > 1e-3
    monkeypatch.setattr(tiling, "EXACT_HALO", 0)
    monkeypatch.setattr(tiling, "BLENDED_HALO", 4)
    found = qualify(checkpoint, CPU, [noise()])
    assert (found.halo, found.overlap) == (4, tiling.BLENDED_OVERLAP)
    assert found.seam_error is not None and 1e-7 < found.seam_error < 1e-2


@pytest.mark.parametrize("height", [9, 200])
def test_a_sample_that_one_patch_holds_has_no_seam_to_measure(height: int) -> None:
    checkpoint = load_checkpoint("compact-x2")
    side = qualification.SEAM_CORE + 2 * tiling.choose_tiling(checkpoint.radius).halo
    for width, is_measured in (9, False), (side, False), (side + 1, True):
        found = qualify(checkpoint, CPU, [noise()[:, :height, :width]])
        assert (found.seam_error is not None) == is_measured
        assert Qualification(**found.as_dict()) == found


def test_the_seam_is_measured_on_the_largest_sample() -> None:
    samples = [noise()[:, :20, :20], noise(), noise()[:, :, :30]]
    blind = replace(load_checkpoint("compact-x2"), radius=0)
    alone = qualify(blind, CPU, [noise()]).seam_error
    assert alone is not None and qualify(blind, CPU, samples).seam_error == alone
