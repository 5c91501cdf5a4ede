"""What a sample refuses, and when a metric is undefined."""

import numpy as np
import pytest

from ganray.errors import ConfigError, RestorationError, UnsupportedImageError
from ganray.evaluation.metric import Metric, Sample

IMAGE = np.full((3, 12, 16), 0.5, np.float32)
SMALL = np.full((3, 6, 8), 0.5, np.float32)
LOST = np.zeros((6, 8), bool)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"degraded": SMALL[:, :5]}, r"\(3, 5, 8\).*\(3, 12, 16\).*2 times"),
        ({"degraded": SMALL[:1]}, r"\(1, 6, 8\)"),
        ({"lost": LOST[:5]}, r"mask.*\(5, 8\)"),
        ({"lost": LOST, "scale": 5}, r"mask.*5 times"),
        ({"degraded": SMALL, "scale": 3}, "3 times"),
        ({"reference": IMAGE[:, :-1]}, r"\(3, 11, 16\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_their_shapes(
    given: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Sample(IMAGE, **{"scale": 2, **given})


@pytest.mark.parametrize("shape", [(200, 200), (3, 0, 200), (0, 3, 3)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="at least one of each"):
        Sample(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01])
def test_a_value_out_of_range_is_the_fault_of_the_image_that_has_it(value: float) -> None:
    bad = SMALL.copy()
    bad[2, 5, 7] = value
    with pytest.raises(RestorationError, match="restored"):
        Sample(bad)
    with pytest.raises(UnsupportedImageError, match="reference"):
        Sample(SMALL, reference=bad)
    with pytest.raises(UnsupportedImageError, match="degraded"):
        Sample(IMAGE, degraded=bad, scale=2)


def test_the_magnified_image_is_within_the_range_where_bicubic_overshoots() -> None:
    edge = np.zeros((1, 8, 8), np.float32)
    edge[:, :, 4:] = 1
    magnified = Sample(np.zeros((1, 16, 16), np.float32), degraded=edge, scale=2).magnified
    assert magnified.shape == (1, 16, 16)
    assert magnified.min() == 0 and magnified.max() == 1


def test_a_metric_is_none_without_what_it_needs_and_for_other_bands() -> None:
    metric = Metric("it", "It.", "higher", ("reference", "lost"), lambda _, crop: crop, bands=(3,))
    assert metric.measure(Sample(IMAGE, IMAGE, lost=LOST, scale=2), 7) == 7
    assert metric.measure(Sample(IMAGE, IMAGE), 7) is None
    assert metric.measure(Sample(IMAGE, lost=LOST, scale=2), 7) is None
    assert metric.measure(Sample(IMAGE[:1], IMAGE[:1], lost=LOST, scale=2), 7) is None
