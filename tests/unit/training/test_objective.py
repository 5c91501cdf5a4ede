import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ganray.config import build_config
from ganray.errors import CheckpointError, ConfigError, NotFoundError
from ganray.models.feature_networks import ARCHITECTURES
from ganray.training import objective as module
from ganray.training.artifacts import ldl
from ganray.training.frequency_losses import focal_frequency, wavelet
from ganray.training.objective import (
    Judged,
    Objective,
    ObjectiveConfig,
    Verdict,
    adversarial_weight,
)
from ganray.training.perceptual import RandomFeatures, feature_matching, random_features
from ganray.training.perceptual_weights import decode_perceptual
from ganray.training.pixel_losses import charbonnier, l1, ms_ssim_loss

CPU = torch.device("cpu")
ALL = ObjectiveConfig(
    texture=0.8, focal_frequency=3.0, wavelet=0.5, random_features=0.25, pixel_kind="l1"
)


def judged(bands: int = 3) -> Judged:
    rng = torch.Generator().manual_seed(0)
    restored, reference, average = torch.rand(3, 2, bands, 24, 24, generator=rng)
    features = [[torch.rand(2, 4, 8, 8, generator=rng) for _ in range(3)] for _ in range(2)]
    return Judged(restored.requires_grad_(), reference, *features, restored_ema=average)


def measure(config: ObjectiveConfig, what: Judged, seed: int = 5) -> Verdict:
    bands = what.reference.shape[1]
    return Objective(config, bands=bands, device=CPU, seed=seed).judge(what)


def test_the_sum_is_that_of_the_losses_times_their_weights() -> None:
    what = judged()
    y, x = what.restored, what.reference
    expected = {
        "pixel": l1(y, x),
        "ms_ssim": ms_ssim_loss(y, x),
        "feature_matching": feature_matching(what.real_features, what.fake_features),
        "focal_frequency": focal_frequency(y, x),
        "wavelet": wavelet(y, x),
        "random_features": random_features(RandomFeatures(3, 5))(y, x),
        "ldl": ldl(y, x, what.restored_ema),
    }
    verdict = measure(ALL, what)
    assert verdict.terms.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(verdict.terms[name], value.detach())
    total = sum(ALL.weights[name] * value for name, value in expected.items())
    torch.testing.assert_close(verdict.total, total)
    assert not any(term.requires_grad for term in verdict.terms.values())


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_no_texture_is_the_pixel_loss_alone(bands: int) -> None:
    what = judged(bands)
    plain = Judged(what.restored, what.reference)
    verdict = measure(ObjectiveConfig(texture=0), plain)
    assert verdict.terms.keys() == {"pixel"}
    torch.testing.assert_close(verdict.total, charbonnier(what.restored, what.reference))
    assert adversarial_weight(0) == 0


def test_more_texture_weighs_nothing_less() -> None:
    steps = [
        ObjectiveConfig(texture=t).weights | {"adversarial": adversarial_weight(t)}
        for t in np.linspace(0, 1, 11)
    ]
    for less, more in pairwise(steps):
        assert all(less[name] <= more[name] for name in less)
        assert less["adversarial"] < more["adversarial"]
    assert adversarial_weight(0.5) == pytest.approx(0.02)


def test_a_given_weight_wins_and_the_others_stay() -> None:
    plain = ObjectiveConfig().weights
    given = ObjectiveConfig(ms_ssim=0.0, wavelet=2.0).weights
    assert given == plain | {"ms_ssim": 0.0, "wavelet": 2.0}


def test_a_term_of_weight_0_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Tensor) -> Tensor:
        raise AssertionError("computed")

    monkeypatch.setattr(module, "ms_ssim_loss", fail)
    monkeypatch.setattr(module, "ldl", fail)
    assert measure(ObjectiveConfig(texture=1, ms_ssim=0, ldl=0), judged()).total.isfinite()
    with pytest.raises(AssertionError, match="computed"):
        measure(ObjectiveConfig(texture=1), judged())


def test_it_says_whether_it_needs_the_averaged_generator() -> None:
    def needs(config: ObjectiveConfig) -> bool:
        return Objective(config, bands=3, device=CPU, seed=0).needs_ema

    assert not needs(ObjectiveConfig(texture=0.5))
    assert needs(ObjectiveConfig(texture=1))
    assert not needs(ObjectiveConfig(texture=1, ldl=0))


def test_half_precision_outside_changes_nothing_inside() -> None:
    what = judged()
    expected = measure(ALL, what)
    with torch.autocast("cpu", torch.bfloat16):
        found = measure(ALL, what)
    assert torch.equal(found.total, expected.total)
    halved = Judged(
        what.restored.bfloat16(),
        what.reference,
        *([f.bfloat16() for f in fs] for fs in (what.real_features, what.fake_features)),
        restored_ema=what.restored_ema.bfloat16(),
    )
    result = measure(ALL, halved)
    assert result.total.dtype == torch.float32
    torch.testing.assert_close(result.total, expected.total, rtol=0.02, atol=0)


def squeezenet(path: Path) -> str:
    rng = np.random.default_rng(0)
    shapes = ARCHITECTURES["squeezenet-caffe"].shapes
    arrays = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    return str(path)


def test_a_file_of_weights_adds_the_perceptual_term(tmp_path: Path) -> None:
    source = squeezenet(tmp_path / "squeezenet.npz")
    config = ObjectiveConfig(perceptual_weights=source)
    assert config.weights["perceptual"] > 0
    what = judged()
    expected = decode_perceptual(Path(source).read_bytes(), source, CPU)
    found = measure(config, what).terms["perceptual"]
    torch.testing.assert_close(found, expected(what.restored, what.reference).detach())


def test_trained_weights_and_many_bands_are_refused_by_name(tmp_path: Path) -> None:
    config = ObjectiveConfig(perceptual_weights=squeezenet(tmp_path / "squeezenet.npz"))
    with pytest.raises(ConfigError, match=r"5 bands; expected 1 or 3.*random_features"):
        Objective(config, bands=5, device=CPU, seed=0)


def test_a_file_that_is_missing_or_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        Objective(
            ObjectiveConfig(perceptual_weights=str(tmp_path / "no.pth")),
            bands=3,
            device=CPU,
            seed=0,
        )
    (tmp_path / "text.pth").write_bytes(b"hello, world")
    with pytest.raises(CheckpointError, match=r"text\.pth"):
        Objective(
            ObjectiveConfig(perceptual_weights=str(tmp_path / "text.pth")),
            bands=3,
            device=CPU,
            seed=0,
        )


def test_a_perceptual_weight_without_a_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="perceptual_weights"):
        build_config(ObjectiveConfig, {"perceptual": 1.0})
    assert ObjectiveConfig(perceptual=0.0).weights["perceptual"] == 0


@pytest.mark.parametrize("values", [{"texture": 1.1}, {"texture": -0.1}, {"wavelet": -1}])
def test_weights_outside_their_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        build_config(ObjectiveConfig, values)


def test_the_readme_shows_the_weights_of_each_texture() -> None:
    lines = (Path(__file__).parents[3] / "README.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| Term | Weight at"))
    rows = {}
    for line in lines[start + 2 : start + 9]:
        title, _, *weights = (cell.strip() for cell in line.strip("| ").split("|"))
        for name in [
            n for n in (*ObjectiveConfig().weights, "adversarial") if n in title.split("(")[0]
        ]:
            rows.setdefault(name, [float(weight) for weight in weights])
    expected = [
        ObjectiveConfig(texture=t, perceptual_weights="vgg19.pth").weights
        | {"adversarial": adversarial_weight(t)}
        for t in (0, 0.5, 1)
    ]
    assert rows == {name: pytest.approx([w[name] for w in expected]) for name in expected[0]}
