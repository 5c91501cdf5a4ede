"""Tile by tile a discriminator says what it says of the whole image."""

import numpy as np
import pytest
import torch

from ganray.models.catalog import build_discriminator
from ganray.pipelines import discriminator_view
from ganray.pipelines.discriminator_view import LoadedDiscriminator, judge


@pytest.mark.parametrize("sides", [(61, 83), (64, 64), (5, 130)])
def test_tiles_are_judged_as_the_whole(
    sides: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discriminator_view, "CORE_PIXELS", 32)
    monkeypatch.setattr(discriminator_view, "HALO_PIXELS", 64)
    torch.manual_seed(0)
    network = build_discriminator("unet", {"num_features": 4}).eval()
    pixels = np.random.default_rng(0).random((3, *sides), np.float32)
    tiled = judge(LoadedDiscriminator(network, "", 8), pixels)
    monkeypatch.setattr(discriminator_view, "CORE_PIXELS", 1024)
    whole = judge(LoadedDiscriminator(network, "", 8), pixels)
    assert whole.std() > 0
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
