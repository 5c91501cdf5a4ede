"""The catalog: what can be asked for by name, and what it needs."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import torchmetrics

from ganray.errors import CheckpointError, ConfigError, NotFoundError
from ganray.evaluation.distribution import FeatureSums, extract
from ganray.evaluation.metric import Sample
from ganray.evaluation.metrics import (
    METRICS,
    WEIGHTED,
    SetMetricName,
    build_metrics,
    load_features,
    measure_all,
    set_metrics,
)
from ganray.evaluation.weights import MetricWeights
from ganray.models.feature_networks import ARCHITECTURES, CAFFE_SQUEEZENET, VGG16

CPU = torch.device("cpu")
PUBLISHED = Path(torchmetrics.__file__).parent / "functional" / "image"


NAMES = [name for name in (*METRICS, *WEIGHTED) if name != "dists"]


def save(path: Path, name: str) -> str:
    rng = np.random.default_rng(0)
    shapes = ARCHITECTURES[name].shapes
    np.savez(path, **{k: rng.normal(0, 0.05, s).astype(np.float32) for k, s in shapes.items()})
    return str(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> MetricWeights:
    folder = tmp_path_factory.mktemp("weights")
    return MetricWeights(
        features=save(folder / "vgg16.npz", VGG16),
        lpips_heads=str(PUBLISHED / "lpips_models" / "vgg.pth"),
        dists=str(PUBLISHED / "dists_models" / "weights.pt"),
    )


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> MetricWeights:
    """SqueezeNet, which is quick on whole images."""
    features = tmp_path_factory.mktemp("light") / "squeezenet.npz"
    return MetricWeights(features=save(features, CAFFE_SQUEEZENET))


def sample(bands: int = 3, side: int = 208) -> Sample:
    restored, reference = np.random.default_rng(0).random((2, bands, side, side), np.float32)
    degraded = np.ascontiguousarray(reference[:, ::2, ::2])
    lost = np.arange(side // 2) % 2 == np.arange(side // 2)[:, None] % 2
    return Sample(restored, reference, degraded, lost, 2)


def test_every_name_is_in_the_catalog_and_is_the_metrics_own(weights: MetricWeights) -> None:
    names = [*METRICS, *WEIGHTED]
    built = build_metrics(names, weights, CPU)
    assert [metric.name for metric in built.values()] == list(built) == names
    network = load_features(weights, CPU)
    assert tuple(set_metrics(network)) == get_args(SetMetricName)
    for metric in (*built.values(), *set_metrics(network).values()):
        assert metric.definition.endswith(".") and metric.definition[0].isupper()
        assert metric.better in ("higher", "lower")


def test_all_of_a_whole_sample_is_defined_and_fits_into_json(
    weights: MetricWeights, light: MetricWeights
) -> None:
    built = build_metrics(NAMES, light, CPU)
    values = measure_all(built, sample(), crop=2)
    assert list(values) == list(built) and None not in values.values()
    json.dumps(values, allow_nan=False)
    small = sample(side=40)
    assert build_metrics(["dists"], weights, CPU)["dists"].measure(small, 2) > 0


def test_four_bands_a_tiny_image_and_a_lone_one_leave_values_out(light: MetricWeights) -> None:
    built = build_metrics(NAMES, light, CPU)

    def known(what: Sample) -> set[str]:
        return {
            name for name, value in measure_all(built, what, crop=2).items() if value is not None
        }

    any_bands = {n for n, metric in built.items() if metric.suits(4)}
    assert known(sample(bands=4)) == any_bands
    assert {"psnr_all", "sam", "ergas", "hallucination"} <= any_bands
    assert known(sample(side=8)) >= {"psnr_y", "psnr_rgb", "sam", "consistency"}
    assert not known(sample(side=8)) & {"ssim_y", "ms_ssim", "lpips", "niqe"}
    assert known(Sample(sample().restored)) == {"niqe"}


def test_measuring_leaves_the_images_untouched(light: MetricWeights) -> None:
    what = sample()
    for pixels in (what.restored, what.reference, what.degraded, what.lost):
        pixels.setflags(write=False)
    measure_all(build_metrics(NAMES, light, CPU), what, crop=2)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown metric psnr; choose from colour_drift, .*ssim_y"
    ):
        build_metrics(["psnr_y", "psnr"], MetricWeights(), CPU)


def test_weights_that_are_not_given_not_there_or_of_another_network_are_told() -> None:
    with pytest.raises(ConfigError, match=r"weights\.features is empty"):
        build_metrics(["lpips"], MetricWeights(), CPU)
    with pytest.raises(ConfigError, match=r"weights\.dists is empty"):
        build_metrics(["dists"], MetricWeights(), CPU)
    with pytest.raises(NotFoundError):
        build_metrics(["niqe"], MetricWeights(niqe="/nowhere/niqe.npz"), CPU)


def test_dists_wants_vgg16(weights: MetricWeights, tmp_path: Path) -> None:
    features = save(tmp_path / "squeezenet.npz", CAFFE_SQUEEZENET)
    with pytest.raises(CheckpointError, match="expected VGG16"):
        build_metrics(["dists"], weights.model_copy(update={"features": features}), CPU)


def test_lpips_says_by_what_it_sees_and_when_it_is_not_the_published_one(
    weights: MetricWeights, tmp_path: Path
) -> None:
    caffe = MetricWeights(
        features=save(tmp_path / "squeezenet.npz", CAFFE_SQUEEZENET),
        lpips_heads=str(PUBLISHED / "lpips_models" / "squeeze.pth"),
    )
    equal = weights.model_copy(update={"lpips_heads": ""})
    said = [build_metrics(["lpips"], w, CPU)["lpips"].definition for w in (weights, caffe, equal)]
    assert "VGG16" in said[0] and "SqueezeNet" in said[1]
    assert ["comparable only with itself" in text for text in said] == [False, True, True]
    assert load_features(caffe, CPU).digest in said[1]


def test_sets_are_told_apart_by_the_networks_features(light: MetricWeights) -> None:
    network = load_features(light, CPU)
    images = np.random.default_rng(0).random((12, 3, 32, 40), np.float32)
    features = np.stack([extract(network, image, CPU) for image in images])
    dimmed = np.stack([extract(network, image / 4, CPU) for image in images])
    assert features.shape == (12, 512)
    keys = [str(i) for i in range(12)]
    one, other = (FeatureSums.empty(512).add(keys, f) for f in (features, dimmed))
    by_name = set_metrics(network)
    assert by_name["kernel_distance"].function(one, other).value > 0
    assert "12 images" in by_name["frechet_distance"].function(one, other).reason
