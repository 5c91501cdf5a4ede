"""Training samples by Ray Data: decoded and cut some steps ahead, in the order of the samples.

Free of torch, so that a data actor starts in a second and holds no networks. References travel in
their stored depth; the device that trains degrades them.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ganray.training.samples import FAILURE_SEPARATOR, Arrays, SamplePlan, Share, stack_samples
from ganray.training.sources import open_reader

STEPS_PER_BLOCK = 8
"""Steps whose samples are cut together, so that images which they share are decoded once."""
PREFETCH_BATCHES = 4
DATA_CPUS = 1.0
"""Of each actor that cuts patches, in its worker's reservation."""


def local_batches(samples: SamplePlan, share: Share, steps: range) -> Iterator[Arrays]:
    """Cut each step's share of samples in this process."""
    reader = open_reader(samples)
    for block in step_blocks(steps):
        indices = [index for step in block for index in share.indices(step)]
        arrays = stack_samples(reader, indices)
        for begin in range(0, len(indices), share.size):
            yield {name: array[begin : begin + share.size] for name, array in arrays.items()}


def streamed_batches(
    samples: SamplePlan, share: Share, steps: range, *, num_readers: int = 1
) -> Iterator[Arrays]:
    """Let actors of Ray Data cut each step's share of samples, some steps ahead."""
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    blocks = [{"start": block.start, "stop": block.stop} for block in step_blocks(steps)]
    # Rows made by the driver need no read task, which would wait for a CPU of its own.
    rows = ray.data.from_items(blocks, override_num_blocks=len(blocks))
    patches = rows.map_batches(
        _SampleMaker,
        # Its recipe would bring torch along.
        fn_constructor_args=(replace(samples, recipe=None), share),
        compute=ray.data.ActorPoolStrategy(size=num_readers),
        # Reserved together with the worker, so that as many workers as there is room for leave
        # room for what feeds them.
        num_cpus=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        ),
        batch_size=None,
    )
    yield from patches.iter_batches(
        batch_size=share.size, batch_format="numpy", prefetch_batches=PREFETCH_BATCHES
    )


def step_blocks(steps: range) -> Iterator[range]:
    """Steps in blocks that begin at multiples of STEPS_PER_BLOCK, wherever a training resumes."""
    begin = steps.start
    while begin < steps.stop:
        end = min(begin + STEPS_PER_BLOCK - begin % STEPS_PER_BLOCK, steps.stop)
        yield range(begin, end)
        begin = end


def watch_failures(
    batches: Iterator[Arrays], note: Callable[[str, str], object]
) -> Iterator[Arrays]:
    """Pass batches on; `note` gets each image that could not be used once, and its reason."""
    seen = {""}
    for arrays in batches:
        for failure in np.unique(arrays["failure"]).tolist():
            if failure not in seen:
                seen.add(failure)
                key, _, reason = failure.partition(FAILURE_SEPARATOR)
                note(key, reason)
        yield arrays


class _SampleMaker:
    """Ray Data's view of the sample reader: blocks of steps in, the samples of one rank out."""

    def __init__(self, samples: SamplePlan, share: Share) -> None:
        self.reader = open_reader(samples)
        self.share = share

    def __call__(self, blocks: Arrays) -> Arrays:
        steps = (
            step
            for start, stop in zip(blocks["start"], blocks["stop"], strict=True)
            for step in range(int(start), int(stop))
        )
        return stack_samples(self.reader, [i for step in steps for i in self.share.indices(step)])
