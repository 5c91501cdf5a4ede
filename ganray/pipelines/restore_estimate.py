"""What `--plan` prints: counts, bytes and estimated worker time; nothing is written."""

import time

import numpy as np

from ganray.pipelines.restore_config import RestorePlan
from ganray.restoration import Restorer

SAMPLE_SIDE = 256


def estimate(plan: RestorePlan) -> str:
    """The plan in words; worker time is measured on one patch of this machine."""
    pending = list(plan.pending())
    scale = plan.checkpoint.scale
    input_pixels = sum(item.num_pixels for item in pending)
    input_bytes = sum(item.num_bytes for item in pending)
    output_bytes = sum(item.num_bytes for item in pending) * scale**2
    seconds = input_pixels * _seconds_per_pixel(plan)
    lines = [
        f"inputs      {plan.num_listed} listed: {plan.num_pending} to restore, "
        f"{len(plan.unchanged)} unchanged, "
        f"{len(plan.unreadable) + len(plan.failed_before)} failed",
        f"orders      {len(plan.orders)}",
        f"pixels      {input_pixels / 1e6:.1f} Mpixel in, {input_pixels * scale**2 / 1e6:.1f} out",
        f"bytes       {input_bytes / 1e6:.1f} MB in, about {output_bytes / 1e6:.1f} MB out",
        f"generator   {plan.config.generator} x{scale}, digest {plan.checkpoint.digest}",
        f"worker time about {seconds:.0f} s on workers like this machine, codecs not counted",
        "nothing was written",
    ]
    return "\n".join(lines)


def _seconds_per_pixel(plan: RestorePlan) -> float:
    restorer = Restorer(plan.checkpoint, plan.config.restorer)
    sample = np.zeros((restorer.checkpoint.bands, SAMPLE_SIDE, SAMPLE_SIDE), np.float32)
    restorer.restore(sample)
    begin = time.perf_counter()
    restorer.restore(sample)
    return (time.perf_counter() - begin) / SAMPLE_SIDE**2
