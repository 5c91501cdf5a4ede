import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.training.monitor import Level, Monitor, StabilityConfig

CONFIG = StabilityConfig(patience=3)


def kinds(alarms: list) -> list[str]:
    return [alarm.kind for alarm in alarms]


def observed(monitor: Monitor, stage: str = "adversarial", **values: float) -> list[str]:
    return kinds(monitor.observe(stage, values))


def warmed(norm: float = 1.0, steps: int = 40) -> Monitor:
    monitor = Monitor(CONFIG)
    for step in range(steps):
        assert monitor.accepts("generator", norm * (1 + 0.1 * (step % 3)))
        assert observed(monitor, relative_error=0.5, texture=0.8, strength=0.9) == []
    return monitor


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.5, 2.0), min_size=60, max_size=120), st.floats(1e-6, 1e6))
def test_gradients_that_vary_fourfold_at_any_scale_are_followed(
    norms: list[float], scale: float
) -> None:
    monitor = Monitor(StabilityConfig())
    assert all(monitor.accepts("discriminator", scale * norm) for norm in norms)
    assert monitor.observe("warmup", {}) == []


@pytest.mark.parametrize("norm", [math.nan, math.inf, 1000.0])
def test_one_bad_gradient_is_skipped_and_the_next_good_one_followed(norm: float) -> None:
    monitor = warmed()
    assert not monitor.accepts("generator", norm)
    kind = "spike" if norm == 1000.0 else "non_finite"
    assert observed(monitor) == [kind]
    assert monitor.accepts("generator", 1.0)
    assert observed(monitor) == []


@pytest.mark.parametrize(("norm", "kind"), [(math.nan, "no_finite_step"), (1e4, "gradients_grew")])
def test_bad_gradients_without_end_give_one_alarm_of_their_own(norm: float, kind: str) -> None:
    monitor = warmed()
    found = []
    for _ in range(CONFIG.patience):
        assert not monitor.accepts("generator", norm)
        found += observed(monitor)
    assert found.count(kind) == 1


def test_an_error_that_grows_is_an_alarm_once_it_has_lasted() -> None:
    monitor = warmed()
    found = [observed(monitor, relative_error=1.5) for _ in range(20)]
    first = next(step for step, alarms in enumerate(found) if alarms)
    assert found[first] == ["error_grew"]
    assert first >= CONFIG.patience - 1


def test_nothing_is_calm_while_something_may_become_an_alarm() -> None:
    monitor = Monitor(CONFIG)
    assert not monitor.accepts("generator", math.nan) and not monitor.is_calm
    assert monitor.accepts("generator", 1.0) and monitor.is_calm
    monitor = warmed()
    assert monitor.is_calm
    observed(monitor, relative_error=4.0)
    assert not monitor.is_calm
    for _ in range(CONFIG.patience * 10):
        observed(monitor, relative_error=0.5)
    assert monitor.is_calm


def test_an_error_that_falls_from_any_height_is_none() -> None:
    monitor = Monitor(StabilityConfig())
    for step in range(300):
        error = 0.4 + 20 * math.exp(-step / 20)
        assert monitor.observe("fidelity", {"relative_error": error}) == []


@pytest.mark.parametrize(("texture", "kind"), [(0.1, "texture_lost"), (9.0, "texture_grew")])
def test_fine_detail_that_vanishes_or_explodes_is_an_alarm(texture: float, kind: str) -> None:
    monitor = warmed()
    found = [kind for _ in range(20) for kind in observed(monitor, texture=texture)]
    assert kind in found and set(found) == {kind}


def test_a_discriminator_that_wins_for_good_is_an_alarm_and_one_that_leads_is_none() -> None:
    monitor = warmed()
    assert not any(observed(monitor, strength=0.3) for _ in range(100))
    assert any(observed(monitor, strength=0.001) for _ in range(40))


@pytest.mark.parametrize("psnr", [math.nan, 20.0])
def test_a_validation_far_below_the_fidelity_stage_is_an_alarm(psnr: float) -> None:
    monitor = Monitor(StabilityConfig(max_psnr_drop=4.0))
    assert monitor.observe_validation("fidelity", 29.0) == []
    assert monitor.observe_validation("adversarial", 26.0) == []
    assert kinds(monitor.observe_validation("adversarial", psnr)) == ["validation_fell"]


def test_a_monitor_goes_on_from_what_it_remembered() -> None:
    one, other = warmed(), Monitor(CONFIG)
    other.restore(json.loads(json.dumps(one.state())))
    for norm in (1.0, 500.0, 1.2, math.nan):
        assert one.accepts("generator", norm) == other.accepts("generator", norm)
        assert observed(one, relative_error=1.4) == observed(other, relative_error=1.4)
    assert str(one.state()) == str(other.state())


def test_a_level_forgets_old_values() -> None:
    level = Level()
    for value in [1.0] * 50 + [100.0] * 200:
        level.add(value)
    assert math.exp(level.mean) == pytest.approx(100.0, rel=0.05)
    assert not level.is_spike(110.0, 10.0)


def test_data_that_never_give_a_finite_gradient_are_told_from_weights_that_broke() -> None:
    monitor = Monitor(CONFIG)
    found = []
    for _ in range(10 * CONFIG.patience):
        assert not monitor.accepts("generator", math.nan)
        found += observed(monitor)
    assert found.count("no_finite_data") == 1 and "no_finite_step" not in found
