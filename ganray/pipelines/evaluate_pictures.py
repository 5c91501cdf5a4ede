"""Which images of an evaluation are worth looking at, and their pictures, made anew."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
import torch

from ganray.manifest import speakable
from ganray.pipelines.evaluate_config import BICUBIC
from ganray.pipelines.evaluate_orders import EvaluateJob, PairKey
from ganray.pipelines.evaluate_table import Values, ValueTable
from ganray.pipelines.evaluate_worker import (
    BAD_PAIR,
    load_restorers,
    make_pair,
    own_decoder,
    restore_all,
)
from ganray.pipelines.picture_files import picture_of, short_names
from ganray.pipelines.pool import WorkerContext
from ganray.pipelines.spool import Spool
from ganray.raster.resample import repeat
from ganray.report.pictures import (
    Spot,
    View,
    most_changed,
    reduced,
    snapped,
    spot_share,
    whole_views,
)


@dataclass(frozen=True)
class Choice:
    """An image to show: by `gain` in the metric over `rival` it is one of the extremes."""

    number: int
    key: str
    rival: str
    gain: float


@dataclass(frozen=True)
class Pictures:
    """What every generator makes of one image; `size` is width and height of the largest."""

    choice: Choice
    views: tuple[View, ...] = ()
    size: tuple[int, int] = (0, 0)
    spots: tuple[Spot, ...] = ()
    reason: str = ""


def choose_images(
    table: ValueTable, keys: Spool[PairKey], metric: str, sign: int, most: int
) -> list[Choice]:
    """The largest wins and losses of the first generator over bicubic and over the second.

    `sign` is 1 where a higher value is better, else -1.
    """
    generators = [name for name, found in table.columns if found == metric and name != BICUBIC]
    ours = table.column(generators[0], metric)
    extremes: list[list[tuple[int, str, float]]] = []
    for rival in (BICUBIC, *generators[1:2]):
        gain = sign * (ours - table.column(rival, metric))
        extremes += [[(i, rival, float(gain[i])) for i in found] for found in _ends(gain, most)]
    chosen: dict[int, tuple[str, float]] = {}
    for found in chain.from_iterable(zip_longest(*extremes)):
        if found is not None and len(chosen) < most:
            chosen.setdefault(found[0], found[1:])
    return [
        Choice(number, pair.key, *chosen[number])
        for number, pair in enumerate(keys)
        if number in chosen
    ]


def _ends(gain: Values, most: int) -> tuple[Sequence[int], Sequence[int]]:
    """The numbers of the largest and of the smallest gains, the extreme first."""
    known = np.flatnonzero(np.isfinite(gain))
    order = known[np.argsort(gain[known], kind="stable")]
    return order[::-1][:most].tolist(), order[:most].tolist()


class PictureWorker:
    """Restores one image after another by all generators, to be looked at."""

    def __init__(self, job: EvaluateJob, context: WorkerContext) -> None:
        torch.set_num_threads(job.config.workers.num_threads)
        self.job = job
        self.restorers = load_restorers(job)
        self.decoder = own_decoder(job)

    def run(self, order: Choice) -> Iterator[Pictures]:
        try:
            yield self._pictures(order)
        except BAD_PAIR as error:
            yield Pictures(order, reason=speakable(str(error)))

    def close(self) -> None:
        self.decoder.close()

    def _pictures(self, order: Choice) -> Pictures:
        pair = make_pair(self.job, order.key, self.decoder.call)
        restored = list(restore_all(pair, self.restorers, self.job.scale))
        named = [("degraded", picture_of(repeat(pair.degraded, self.job.scale)))]
        named += [
            (name, picture_of(pixels))
            for name, pixels in zip(short_names(self.job.names), restored, strict=True)
        ]
        if pair.reference is not None:
            named.append(("reference", picture_of(pair.reference)))
        height, width = named[0][1].shape[:2]
        # Bicubic is the second of them, the first generator the third.
        plain, ours = (reduced(picture) for _, picture in named[1:3])
        spot = most_changed(plain, ours, spot_share(width, height))
        spot = snapped(spot, *pair.degraded.shape[1:])
        return Pictures(order, tuple(whole_views(named, [spot])), (width, height), (spot,))
