"""Where the work is done: on a pool of Ray workers, or here, if that is sooner over."""

import os
import time
from collections.abc import Sequence

import numpy as np
import torch

from ganray.manifest import Input, probe_all
from ganray.pipelines.restore_config import RestoreWorkersConfig
from ganray.pipelines.restore_orders import AssemblyOrder, WorkOrder
from ganray.pipelines.restore_plan import RestorePlan
from ganray.pipelines.scenes import is_tiled
from ganray.restoration import Restorer
from ganray.storage import ObjectInfo, open_store

HANDFUL = 64
FEW_ASSEMBLIES = 4
RAY_START_SECONDS = 10.0
"""From `ray.init` to the first order in a worker, measured by `make bench`."""
TIMED_SIDE = 64
LARGEST_BYTES = 2**26
"""A larger file is worth a pool, and is not read here to see how large its image is."""


def choose_workers(plan: RestorePlan) -> RestoreWorkersConfig:
    """The workers that the plan is worth: none for a handful of images that are restored here
    before Ray would have started."""
    workers = plan.config.workers
    num_inputs = len(plan.pending)
    is_heavy = any(item.num_bytes > LARGEST_BYTES for item in plan.sample)
    is_fixed = is_heavy or workers.max == 0 or workers.in_process == "never" or workers.gpus
    if is_fixed or num_inputs > HANDFUL or os.environ.get("RAY_ADDRESS"):
        return workers
    if _pending_pixels(plan) * seconds_per_pixel(plan) <= RAY_START_SECONDS:
        return workers.model_copy(update={"max": 0})
    return workers


def workers_for(
    orders: Sequence[WorkOrder], workers: RestoreWorkersConfig, output_format: str
) -> RestoreWorkersConfig:
    """The pool, unless a few files are all that is left to be put together: that is mostly
    done by the store, and done before a pool would have started."""
    few = len(orders) <= FEW_ASSEMBLIES and output_format in ("same", "tiff")
    if few and all(isinstance(o, AssemblyOrder) and is_tiled(o.scene.codec) for o in orders):
        return workers.model_copy(update={"max": 0})
    return workers


def seconds_per_pixel(plan: RestorePlan, side: int = TIMED_SIDE) -> float:
    """Seconds of the generator per input pixel on this machine, by one patch."""
    torch.set_num_threads(plan.config.workers.num_threads)
    restorer = Restorer(plan.preparation.checkpoint, plan.config.restorer)
    patch = np.zeros((restorer.checkpoint.bands, side, side), np.float32)
    mask = restorer.blank_mask(side, side)
    restorer.restore(patch, mask=mask)
    begin = time.perf_counter()
    restorer.restore(patch, mask=mask)
    return (time.perf_counter() - begin) / side**2


def _pending_pixels(plan: RestorePlan) -> int:
    infos = (ObjectInfo(item.key, item.num_bytes, item.etag) for item in plan.pending)
    probed = probe_all(open_store(plan.config.source), infos, plan.config.codecs)
    return sum(item.num_pixels for item in probed if isinstance(item, Input))
