"""The evaluation's parts: orders, the table, what is made of it, and the checks before."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from ganray.config import build_config
from ganray.errors import ConfigError, UnsupportedImageError
from ganray.evaluation.distribution import FeatureSums
from ganray.evaluation.naturalness import shipped_niqe
from ganray.evaluation.weights import MetricWeights
from ganray.models.feature_networks import ARCHITECTURES, CAFFE_SQUEEZENET, VGG16
from ganray.pipelines import evaluate_pictures, evaluate_table, evaluate_writing
from ganray.pipelines.evaluate import run_evaluation
from ganray.pipelines.evaluate_config import BICUBIC, DecodingConfig, EvaluateConfig
from ganray.pipelines.evaluate_metrics import columns_of, notice_of, require_metrics
from ganray.pipelines.evaluate_orders import (
    EvaluateJob,
    PairKey,
    PairRow,
    decode_part,
    encode_part,
    plan_orders,
)
from ganray.pipelines.evaluate_pictures import Choice, PictureWorker, choose_images
from ganray.pipelines.evaluate_plan import EvaluatePlan, plan_evaluation
from ganray.pipelines.evaluate_summary import summarise
from ganray.pipelines.evaluate_table import ValueTable
from ganray.pipelines.evaluate_writing import write_lines, write_metrics
from ganray.pipelines.pairs import Pair, read_pair, synthesise_pair
from ganray.pipelines.pool import WorkerContext
from ganray.pipelines.spool import Spool
from ganray.pipelines.workers import WorkersConfig
from ganray.report.pictures import PREVIEW_SIDE, Spot
from ganray.storage import open_store
from tests.integration.pictures import encoded, write_pictures
from tests.unit.codecs.geo_files import geotiff


def make_job(**values: object) -> EvaluateJob:
    config = build_config(EvaluateConfig, {"metrics": ["psnr_y", "lpips"], **values})
    generators = {name: name for name in config.generators}
    return EvaluateJob(config, generators, scale=2, bands=3, digest=config.value_digest)


def make_keys(number: int) -> Spool[PairKey]:
    keys: Spool[PairKey] = Spool()
    for index in range(number):
        keys.append(PairKey(f"{index:05d}.png", f"etag-{index}"))
    return keys


@pytest.mark.parametrize("number", [1, 5, 64, 129, 3001])
def test_orders_hold_every_pair_once_in_the_order_of_the_keys(number: int) -> None:
    orders = list(plan_orders(make_keys(number), make_job()))
    numbers = [order.first + place for order in orders for place in range(len(order.keys))]
    assert numbers == list(range(number))
    assert [key for order in orders for key in order.keys] == [
        f"{index:05d}.png" for index in range(number)
    ]
    assert len({order.digest for order in orders}) == len(orders)


@pytest.mark.parametrize(
    ("values", "is_another"),
    [
        ({"seed": 1}, True),
        ({"metrics": ["psnr_y"]}, True),
        ({"crop": 0}, True),
        ({"workers": {"max": 7}}, False),
        ({"confidence": 0.9, "shown": 1, "max_failed": 0.5, "output": "elsewhere"}, False),
    ],
)
def test_what_is_stored_counts_for_the_same_values_alone(
    values: dict[str, object], is_another: bool
) -> None:
    (first,) = plan_orders(make_keys(1), make_job())
    (second,) = plan_orders(make_keys(1), make_job(**values))
    assert (first.part != second.part) == is_another


def test_a_part_holds_what_was_measured() -> None:
    rows = [
        PairRow(3, "a.png", (1.5, None), (0.25, 0.5)),
        PairRow(4, "b.png", reason="no image"),
    ]
    assert decode_part(encode_part(rows)) == rows


def filled_table(job: EvaluateJob, values: np.ndarray) -> ValueTable:
    """A table of (pairs, columns) values; a row of NaN is a pair that failed."""
    table = ValueTable(len(values), columns_of(job))
    for number, row in enumerate(values):
        reason = "no image" if np.isnan(row).all() else ""
        known = tuple(None if np.isnan(value) else float(value) for value in row)
        table.add([PairRow(number, f"{number}", () if reason else known, reason=reason)])
    return table


def test_rows_that_come_twice_count_once() -> None:
    table = ValueTable(3, columns_of(make_job()))
    rows = [PairRow(1, "b", reason="no image"), PairRow(2, "c", (1.0, 2.0, 3.0, 4.0))]
    table.add(rows)
    table.add(rows)
    assert (table.num_pending, len(table.failed)) == (1, 1)
    assert table.column(BICUBIC, "lpips")[2] == 2.0
    assert np.isnan(table.column(BICUBIC, "lpips")[1])


def test_features_are_summed_as_if_they_had_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_table, "ROWS_AT_ONCE", 4)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(10, 2, 3)).astype(np.float32)
    table = ValueTable(11, [])
    for number in reversed(range(10)):
        table.add([PairRow(number, f"{number}", (), tuple(features[number].ravel().tolist()))])
    table.add([PairRow(10, "10", reason="no image")])
    keys = make_keys(11)
    names = [pair.key for pair in keys][:10]
    for side in range(2):
        found = table.feature_sums(side, 2, keys, seed=0)
        expected = FeatureSums.empty(3).add(names, features[:, side])
        assert found.count == 10
        np.testing.assert_allclose(found.mean, expected.mean)
        np.testing.assert_allclose(found.covariance, expected.covariance)


def make_plan(job: EvaluateJob, number: int) -> EvaluatePlan:
    metrics = require_metrics(job.config, bands=3)
    return EvaluatePlan(job, make_keys(number), metrics, {})


def test_failed_and_undefined_values_are_in_no_mean_and_no_comparison() -> None:
    job = make_job(metrics=["psnr_y", "ms_ssim"])
    none = np.nan
    # Columns: bicubic's two metrics, then the generator's.
    values = np.array([[1, 9, 2, none], [3, none, 1, none], [none] * 4, [5, 9, 9, none]], float)
    found = summarise(filled_table(job, values), make_plan(job, 4))
    ours = found["compact-x2"]["psnr_y"]
    assert (ours.mean, ours.num_images) == (4.0, 3)
    assert (ours.against[BICUBIC].won, ours.against[BICUBIC].lost) == (2, 1)
    assert ours.against[BICUBIC].difference == pytest.approx(1.0)
    assert found[BICUBIC]["ms_ssim"].num_images == 2
    nothing = found["compact-x2"]["ms_ssim"]
    assert (nothing.mean, nothing.low, nothing.num_images, nothing.against) == (None, None, 0, {})


def test_metrics_are_written_as_json_however_small_the_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(metrics=["psnr_y"], generators=["compact-x2", 'an "odd"\nname'])
    values = np.random.default_rng(0).normal(size=(5, 3))
    values[1] = np.nan
    values[2, 0] = np.nan
    table, plan = filled_table(job, values), make_plan(job, 5)
    summaries = summarise(table, plan)
    monkeypatch.setattr(evaluate_writing, "PART_BYTES", 100)
    store = open_store(str(tmp_path))
    write_metrics(store, "metrics.json", summaries, table, plan.keys)
    content = json.loads(store.read("metrics.json"))
    assert list(content) == [BICUBIC, "compact-x2", 'an "odd"\nname']
    column = content[BICUBIC]["psnr_y"]
    assert column["mean"] == summaries[BICUBIC]["psnr_y"].mean
    assert column["against"]["compact-x2"]["won"] in range(4)
    assert column["per_image"] == {
        "00000.png": values[0, 0],
        "00002.png": None,
        "00003.png": values[3, 0],
        "00004.png": values[4, 0],
    }


def test_text_without_lines_is_an_empty_object(tmp_path: Path) -> None:
    write_lines(open_store(str(tmp_path)), "nothing", [])
    assert (tmp_path / "nothing").read_bytes() == b""


@pytest.mark.parametrize("sign", [1, -1])
def test_the_images_shown_are_the_largest_wins_and_losses(sign: int) -> None:
    job = make_job(metrics=["psnr_y"])
    gains = np.array([0.1, 5, -4, 0.2, np.nan, -0.1, 3])
    values = np.stack([np.zeros(7), sign * gains], axis=1)
    chosen = choose_images(filled_table(job, values), make_keys(7), "psnr_y", sign, 3)
    assert sorted(choice.gain for choice in chosen) == [-4, 3, 5]
    assert {choice.key for choice in chosen} == {"00001.png", "00002.png", "00006.png"}


def test_the_first_generator_is_held_against_bicubic_and_the_second_alike() -> None:
    job = make_job(metrics=["psnr_y"], generators=["compact-x2", "photo-x2"])
    rng = np.random.default_rng(0)
    table = filled_table(job, rng.normal(size=(50, 3)))
    chosen = choose_images(table, make_keys(50), "psnr_y", 1, 4)
    assert len({choice.number for choice in chosen}) == 4
    assert {choice.rival for choice in chosen} == {BICUBIC, "photo-x2"}


def test_the_spot_of_large_pictures_is_looked_for_in_reduced_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = np.zeros((3, 1200, 600), np.uint8)
    seen: list[int] = []

    def most_changed(*pictures: np.ndarray) -> Spot:
        seen.extend(max(picture.shape) for picture in pictures[:2])
        return Spot(0, 0, 0.5, 0.5)

    monkeypatch.setattr(evaluate_pictures, "most_changed", most_changed)
    monkeypatch.setattr(evaluate_pictures, "load_restorers", lambda job: {})
    pair = Pair("a.png", large[:, ::2, ::2], large)
    monkeypatch.setattr(evaluate_pictures, "make_pair", lambda job, key, call: pair)
    monkeypatch.setattr(evaluate_pictures, "restore_all", lambda *given: [large, large])
    worker = PictureWorker(make_job(metrics=["psnr_y"]), WorkerContext(True, False, lambda: False))
    (found,) = worker.run(Choice(0, "a.png", BICUBIC, 1.0))
    assert (found.reason, found.size, len(found.spots)) == ("", (600, 1200), 1)
    assert seen == [PREVIEW_SIDE] * 2


@pytest.mark.parametrize(
    ("values", "bands", "words"),
    [
        ({"metrics": ["psnr"]}, 3, "unknown metric psnr; choose from .*psnr_y"),
        ({"metrics": ["lpips"]}, 3, "weights.features"),
        ({"metrics": ["kernel_distance"]}, 3, "weights.features"),
        ({"metrics": ["psnr_y"]}, 4, "not for images of 4 bands.*psnr_all.*sam"),
        ({"metrics": ["masked_psnr"]}, 3, "mask of lost pixels"),
        ({"metrics": ["psnr_y"], "degraded": "d"}, 3, r"needs references.*niqe"),
    ],
)
def test_a_metric_that_lacks_something_is_refused_with_what_to_give(
    values: dict[str, object], bands: int, words: str
) -> None:
    config = build_config(EvaluateConfig, values)
    with pytest.raises(ConfigError, match=words):
        require_metrics(config, bands=bands)


def test_default_metrics_need_no_weights_and_no_mask() -> None:
    assert list(require_metrics(EvaluateConfig(), bands=3).of_images) == list(
        EvaluateConfig().metrics
    )


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("twice", {"generators": ["compact-x2", "compact-x2"]}),
        ("bicubic is always measured", {"generators": ["bicubic"]}),
        ("metrics is empty", {"metrics": []}),
        ("reference is given without degraded", {"reference": "r"}),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(
    words: str, values: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match=words):
        build_config(EvaluateConfig, values)


def test_an_output_among_what_is_measured_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    with pytest.raises(ConfigError, match="inside the other"):
        plan_evaluation(EvaluateConfig(archive=str(tmp_path), output=str(tmp_path / "out")))


def test_generators_of_several_scales_are_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    config = EvaluateConfig(
        archive=str(tmp_path / "archive"),
        generators=("compact-x2", "photo-x4"),
        output=str(tmp_path / "out"),
    )
    with pytest.raises(ConfigError, match="x2, 3 bands, photo-x4: x4"):
        plan_evaluation(config)


@pytest.mark.parametrize(("name", "words"), [(CAFFE_SQUEEZENET, "its loss"), (VGG16, "favours it")])
def test_a_metric_that_may_have_been_the_loss_says_so(
    name: str, words: str, tmp_path: Path
) -> None:
    shapes = ARCHITECTURES[name].shapes
    zeros = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    np.savez_compressed(tmp_path / "network.npz", **zeros)
    seeing = MetricWeights(features=str(tmp_path / "network.npz"))
    objective: dict[str, object] = {"perceptual_weights": "elsewhere/any-name.pth"}
    training = {"config": {"objective": objective}}
    assert words in notice_of("lpips", "mine", training, seeing)
    assert notice_of("psnr_y", "mine", training, seeing) == ""
    assert notice_of("lpips", "mine", {}, seeing) == ""
    for without in {"perceptual": 0.0}, {"texture": 0.0}:
        training = {"config": {"objective": objective | without}}
        assert notice_of("lpips", "mine", training, seeing) == ""


def test_a_pair_that_failed_before_is_measured_anew_and_the_others_are_not(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 2, side=48)
    words = {"archive": str(tmp_path / "archive"), "output": str(tmp_path / "out")}
    config = build_config(
        EvaluateConfig, {**words, "metrics": ["psnr_y"], "shown": 0, "workers": {"max": 0}}
    )
    plan = plan_evaluation(config)
    first, second = plan_orders(plan.keys, plan.job)
    store = open_store(str(tmp_path / "out"))
    failed, measured = PairRow(0, first.keys[0], reason="it hung"), PairRow(1, "b", (7.0, 8.0))
    store.write(first.part, encode_part([failed]))
    store.write(second.part, encode_part([measured]))
    result = run_evaluation(config, lambda progress: None)
    assert result.num_failed == 0
    values = json.loads(store.read("metrics.json"))["bicubic"]["psnr_y"]["per_image"]
    assert values[second.keys[0]] == 7.0
    assert values[first.keys[0]] != 7.0


def test_other_weights_under_the_same_name_make_other_values(tmp_path: Path) -> None:
    write_pictures(tmp_path / "archive", 1)
    path = tmp_path / "niqe.npz"
    config = EvaluateConfig(
        archive=str(tmp_path / "archive"),
        output=str(tmp_path / "out"),
        metrics=("niqe",),
        weights=MetricWeights(niqe=str(path)),
    )
    arrays = dict(np.load(io.BytesIO(shipped_niqe())))
    digests = set()
    for factor in (1, 1, 2):
        np.savez(path, **{name: factor * array for name, array in arrays.items()})
        digests.add(plan_evaluation(config).job.digest)
    assert len(digests) == 2


def test_a_file_that_its_decoder_may_not_finish_fails_by_name_and_has_no_picture(
    tmp_path: Path,
) -> None:
    write_pictures(tmp_path / "archive", 1, side=48)
    (tmp_path / "archive" / "large.png").write_bytes(encoded(4000, 4000, seed=0))
    config = EvaluateConfig(
        archive=str(tmp_path / "archive"),
        output=str(tmp_path / "out"),
        metrics=("psnr_y",),
        limits=DecodingConfig(memory_bytes=2**26),
        shown=0,
        workers=WorkersConfig(max=0),
    )
    result = run_evaluation(config, lambda progress: None)
    ((key, reason),) = result.failed
    assert key == "large.png"
    assert "raise limits.memory_bytes" in reason
    context = WorkerContext(in_process=True, restarted=False, stop=lambda: False)
    worker = PictureWorker(plan_evaluation(config).job, context)
    (found,) = worker.run(Choice(1, "large.png", BICUBIC, 0.0))
    worker.close()
    assert "raise limits.memory_bytes" in found.reason


def test_what_has_no_value_is_not_measured(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (3, 96, 96)).astype(np.uint8)
    pixels[:, :, 60:] = 0
    (tmp_path / "scene.tif").write_bytes(geotiff(pixels, nodata=0))
    store, reading = open_store(str(tmp_path)), {"bands": 3, "scale": 2}
    alone = read_pair(store, None, "scene.tif", **reading)
    pair = synthesise_pair(store, "scene.tif", EvaluateConfig().degradation, seed=0, **reading)
    assert pair.reference is not None
    assert np.array_equal(pair.reference, pixels[:, :, :60])
    assert (pair.degraded.shape, alone.degraded.shape) == ((3, 48, 30), (3, 96, 60))
    (tmp_path / "small").mkdir()
    small = pixels[:, ::2, ::2].copy()
    small[:, 40:] = 0
    (tmp_path / "small" / "scene.tif").write_bytes(geotiff(small, nodata=0))
    both = read_pair(open_store(str(tmp_path / "small")), store, "scene.tif", **reading)
    assert both.reference is not None
    assert np.array_equal(both.reference, pixels[:, :80, :60])
    assert both.degraded.shape == (3, 40, 30)
    pixels[:, 10:, :] = 0
    pixels[:, :, 60:] = 0
    (tmp_path / "scene.tif").write_bytes(geotiff(pixels, nodata=0))
    with pytest.raises(UnsupportedImageError, match=r"largest rectangle .* 60x10 of 96x96"):
        read_pair(store, None, "scene.tif", **reading)
