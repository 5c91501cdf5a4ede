"""The pairs that a training is measured on: synthesised, or read from two archives."""

from collections.abc import Iterator

from ganray.pipelines.pairs import Pair, synthesise_pair
from ganray.pipelines.train_config import TrainPlan
from ganray.raster.image import from_float
from ganray.storage import open_store
from ganray.training.references import read_reference


def validation_pairs(plan: TrainPlan) -> Iterator[Pair]:
    """The plan's validation pairs, in the order of their keys."""
    validation, config = plan.data.validation, plan.config
    if not validation.keys:
        return
    store = open_store(validation.archive)
    if not validation.degraded:
        for key in validation.keys:
            yield synthesise_pair(
                store,
                key,
                config.degradation,
                bands=plan.samples.bands,
                scale=plan.samples.scale,
                seed=config.seed,
            )
        return
    others = open_store(validation.degraded)
    for key, twin in zip(validation.keys, validation.degraded_keys, strict=True):
        reference, degraded = (
            from_float(read_reference(one, name, plan.samples.bands, config.codecs), "uint8")
            for one, name in ((store, key), (others, twin))
        )
        yield Pair(key, degraded, reference)
