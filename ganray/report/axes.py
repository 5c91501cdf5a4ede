"""An axis of a chart: its ends, its ticks, and where on it a value stands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganray.report.amounts import number

NICE_STEPS = (1, 2, 2.5, 5, 10)
FEW_TICKS = 5
SMALLEST_SHARE = 1e-12


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: `place` is 0 at its beginning and 1 at its end."""

    place: float
    text: str


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, by powers of ten where `log`; `label` names the quantity, its unit."""

    label: str
    low: float
    high: float
    log: bool = False

    @property
    def ticks(self) -> tuple[Tick, ...]:
        values = _decades(self.low, self.high) if self.log else _nice(self.low, self.high)
        digits = 0 if self.log else _digits(_step(self.high - self.low))
        # Three digits are not always enough to tell ticks apart.
        texts = [f"{v:.{digits}f}" if digits > 1 else number(v) for v in values]
        return tuple(Tick(float(p), t) for p, t in zip(self.places(values), texts, strict=True))

    def places(self, values: ArrayLike) -> NDArray[np.float64]:
        """Where values stand, from 0 to 1 along the axis; what is not finite stays so."""
        found = np.asarray(values, np.float64)
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.log(found / self.low) / math.log(self.high / self.low)
            return np.where(np.isfinite(share), share, np.nan)
        return (found - self.low) / (self.high - self.low)


def axis_over(label: str, values: ArrayLike, *, log: bool = False, zero: bool = False) -> Axis:
    """An axis that holds all finite values, from 0 where `zero`; its ends are ticks or near one."""
    found = np.asarray(values, np.float64).ravel()
    found = found[np.isfinite(found) & (found > 0 if log else True)]
    if not found.size:
        return Axis(label, 1.0, 10.0, log) if log else Axis(label, 0.0, 1.0)
    low, high = float(found.min()), float(found.max())
    if log:
        return Axis(label, low / 1.1, high * 1.1, log)
    low = min(0.0, low) if zero else low
    if high - low <= SMALLEST_SHARE * max(abs(low), abs(high)):
        margin = abs(high) / 2 or 0.5
        return Axis(label, low if zero and low == 0 else low - margin, high + margin)
    step = _step(high - low)
    return Axis(label, math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def _step(span: float) -> float:
    """The distance of ticks: 1, 2, 2.5 or 5 times a power of ten, about FEW_TICKS in a span."""
    rough = span / FEW_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(nice * power for nice in NICE_STEPS if nice * power >= rough * (1 - 1e-9))


def _digits(step: float) -> int:
    """Decimals that tell multiples of a step apart; of very small ones, none are written."""
    return next((n for n in range(5) if math.isclose(round(step, n), step, rel_tol=1e-9)), 0)


def _nice(low: float, high: float) -> Sequence[float]:
    step = _step(high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded to the digits of the step: 3 * 0.1 is not 0.3.
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(first, last + 1)]


def _decades(low: float, high: float) -> Sequence[float]:
    """Powers of ten, thinned where they are many, with 2 and 5 between where they are few."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    whole = [10.0**exponent for exponent in range(first, last + 1)]
    if len(whole) > 2:
        return whole[:: math.ceil(len(whole) / (FEW_TICKS + 1))]
    between = [m * 10.0**e for e in range(first - 1, last + 1) for m in (1, 2, 5)]
    return [value for value in between if low <= value <= high] or [low, high]
