"""Training pairs by Ray Data: decode, cut and degrade, in the order of the samples.

Free of torch, so that a data actor starts in a second and holds no networks.
"""

from collections.abc import Iterator
from typing import Any

import ray.data
from numpy.typing import NDArray

from ganray.training.samples import SamplePlan, SampleReader, Share, stack_pairs

STEPS_PER_BLOCK = 8
PREFETCH_BATCHES = 4
DATA_CPUS = 1.0

Arrays = dict[str, NDArray[Any]]


def local_batches(samples: SamplePlan, share: Share, steps: range) -> Iterator[Arrays]:
    """Make each step's share of samples in this process."""
    reader = SampleReader(samples)
    for step in steps:
        yield stack_pairs(reader, share.indices(step))


def streamed_batches(samples: SamplePlan, share: Share, steps: range) -> Iterator[Arrays]:
    """Let an actor of Ray Data make each step's share of samples, some steps ahead."""
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    # Rows made by the driver need no read task, which would wait for a CPU of its own.
    rows = ray.data.from_items(list(steps), override_num_blocks=-(-len(steps) // STEPS_PER_BLOCK))
    pairs = rows.map_batches(
        _PairMaker,
        fn_constructor_args=(samples, share),
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=DATA_CPUS,
        batch_size=STEPS_PER_BLOCK,
    )
    yield from pairs.iter_batches(
        batch_size=share.size, batch_format="numpy", prefetch_batches=PREFETCH_BATCHES
    )


class _PairMaker:
    """Ray Data's view of the sample reader: steps in, the pairs of one rank out."""

    def __init__(self, samples: SamplePlan, share: Share) -> None:
        self.reader = SampleReader(samples)
        self.share = share

    def __call__(self, rows: Arrays) -> Arrays:
        indices = [i for step in rows["item"] for i in self.share.indices(int(step))]
        return stack_pairs(self.reader, indices)
