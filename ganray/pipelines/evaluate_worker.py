"""A worker of an evaluation: pairs are read, restored by every generator, measured and stored."""

from collections.abc import Iterator

import torch

from ganray.codecs.isolation import IsolatedProcess
from ganray.errors import CodecError, ConfigError, NotFoundError, RestorationError
from ganray.manifest import speakable
from ganray.pipelines.evaluate_metrics import Meter
from ganray.pipelines.evaluate_orders import EvaluateJob, EvaluateOrder, PairRow, encode_part
from ganray.pipelines.pairs import Pair, magnify_pair, read_pair, restore_pair, synthesise_pair
from ganray.pipelines.pool import WorkerContext
from ganray.pipelines.scenes import Call
from ganray.raster.image import Pixels
from ganray.restoration import Restorer
from ganray.storage import open_store

BAD_PAIR = (CodecError, ConfigError, NotFoundError, RestorationError)
"""What fails one pair by name. That the store fails fails the run, which then goes on."""


class EvaluateWorker:
    """Measures the pairs of one order after another; holds the generators and the metrics."""

    def __init__(self, job: EvaluateJob, context: WorkerContext) -> None:
        torch.set_num_threads(job.config.workers.num_threads)
        self.job = job
        self.output = open_store(job.config.output)
        self.restorers = load_restorers(job)
        self.meter = Meter(job)
        self.decoder = own_decoder(job)

    def run(self, order: EvaluateOrder) -> Iterator[list[PairRow]]:
        """Measure the pairs of an order, and store the values before they are told."""
        rows = [self._row(number, key) for number, key in enumerate(order.keys, order.first)]
        self.output.write(order.part, encode_part(rows))
        yield rows

    def close(self) -> None:
        self.decoder.close()

    def _row(self, number: int, key: str) -> PairRow:
        try:
            pair = make_pair(self.job, key, self.decoder.call)
            restored = restore_all(pair, self.restorers, self.job.scale)
            values, features = self.meter.measure(pair, restored)
            return PairRow(number, speakable(key), values, features)
        except BAD_PAIR as error:
            return PairRow(number, speakable(key), reason=speakable(str(error)))


def load_restorers(job: EvaluateJob) -> dict[str, Restorer]:
    """The generators of a job by their names."""
    return {name: Restorer.load(uri) for name, uri in job.generators.items()}


def restore_all(pair: Pair, restorers: dict[str, Restorer], scale: int) -> Iterator[Pixels]:
    """What bicubic and every generator make of a pair, one at a time in memory."""
    yield magnify_pair(pair, scale)
    for restorer in restorers.values():
        yield restore_pair(restorer, pair)


def own_decoder(job: EvaluateJob) -> IsolatedProcess:
    """The process in which a worker's files are decoded: one that crashes or hangs its decoder
    fails by name. On a cluster too, where nobody watches over this worker."""
    limits = job.config.limits
    return IsolatedProcess(seconds=limits.seconds, memory_bytes=limits.memory_bytes)


def make_pair(job: EvaluateJob, key: str, call: Call) -> Pair:
    """Synthesise or read the pair of one key; `call` calls decoders. Raises an error of
    BAD_PAIR."""
    config = job.config
    if config.degraded:
        reference = open_store(config.reference) if config.reference else None
        return read_pair(
            open_store(config.degraded),
            reference,
            key,
            bands=job.bands,
            scale=job.scale,
            codecs=config.codecs,
            call=call,
        )
    return synthesise_pair(
        open_store(config.archive),
        key,
        config.degradation,
        bands=job.bands,
        scale=job.scale,
        seed=config.seed,
        codecs=config.codecs,
        call=call,
    )
