"""By which metric a candidate is judged: never by what it was trained by."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ganray.errors import ConfigError
from ganray.evaluation.weights import MetricWeights
from ganray.models.checkpoint import Checkpoint
from ganray.models.feature_networks import ARCHITECTURES, CAFFE_SQUEEZENET
from ganray.pipelines.gate_metrics import choose_fidelity, choose_perceptual
from ganray.training.objective import ObjectiveConfig
from tests.unit.registry.generators import tiny

NONE = MetricWeights()


def trained_by(**objective: Any) -> Checkpoint:
    told = ObjectiveConfig(**objective).model_dump(mode="json")
    return replace(tiny(1)[0], training={"config": {"objective": told}})


def test_without_weights_a_photograph_is_judged_by_ssim() -> None:
    assert choose_perceptual("auto", NONE, tiny(1)[0]) == "ssim_y"


def test_bands_that_ssim_does_not_know_are_judged_otherwise() -> None:
    many = replace(tiny(1)[0], bands=12)
    assert choose_perceptual("auto", NONE, many) == "improvement"
    assert (choose_fidelity(3), choose_fidelity(12)) == ("psnr_y", "psnr_all")


def test_a_metric_that_was_a_loss_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"gate\.perceptual=ms_ssim was.*ms_ssim, pixel"):
        choose_perceptual("ms_ssim", NONE, trained_by(texture=0.5, feature_matching=0.0))


def test_the_same_metric_judges_whoever_was_not_trained_by_it() -> None:
    assert choose_perceptual("ms_ssim", NONE, trained_by(texture=0.0)) == "ms_ssim"


def test_a_generator_that_does_not_say_how_it_was_trained_is_judged_as_asked() -> None:
    untold = replace(tiny(1)[0], training={})
    assert choose_perceptual("ms_ssim", NONE, untold) == "ms_ssim"


def test_what_another_version_says_of_the_losses_may_be_any_of_them() -> None:
    training = {"config": {"objective": {"niqe": 1}}}
    other = replace(tiny(1)[0], training=training)
    for metric in ("ms_ssim", "niqe"):
        with pytest.raises(ConfigError, match="judge itself"):
            choose_perceptual(metric, NONE, other)
    assert choose_perceptual("auto", NONE, other) == "ssim_y"


@pytest.mark.parametrize("metric", ["lpips", "dists"])
def test_a_metric_without_its_network_is_refused_with_what_to_give(metric: str) -> None:
    for candidate in (tiny(1)[0], trained_by(texture=0.5, perceptual_weights="vgg19.pth")):
        with pytest.raises(ConfigError, match=r"weights\.features is empty; name"):
            choose_perceptual(metric, NONE, candidate)


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> MetricWeights:
    """A file of Caffe's SqueezeNet, by which both LPIPS and a loss may see."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.npz"
    shapes = ARCHITECTURES[CAFFE_SQUEEZENET].shapes
    np.savez(path, **{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    return MetricWeights(features=str(path))


def test_lpips_judges_where_its_network_is_named(squeezenet: MetricWeights) -> None:
    for candidate in (tiny(1)[0], trained_by(texture=0.5)):
        assert choose_perceptual("auto", squeezenet, candidate) == "lpips"


def test_lpips_does_not_judge_by_a_network_that_may_have_been_the_loss(
    squeezenet: MetricWeights,
) -> None:
    candidate = trained_by(texture=0.5, perceptual_weights="another-name.npz")
    assert choose_perceptual("auto", squeezenet, candidate) == "ssim_y"
    with pytest.raises(ConfigError, match="judge itself"):
        choose_perceptual("lpips", squeezenet, candidate)
