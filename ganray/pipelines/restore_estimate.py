"""What `--plan` prints: inputs by state and codec, bytes, and the time that workers will need.

Times are those of a sample of the archive on this machine; nothing is written.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch

from ganray.codecs.catalog import FAMILIES, suffix_of
from ganray.codecs.film_sequence import sequence_of
from ganray.manifest import speakable
from ganray.pipelines.placement import RAY_START_SECONDS, choose_workers
from ganray.pipelines.restore_plan import RestorePlan
from ganray.pipelines.restore_sample import Sample, measure_sample

STATES = ("pending", "unchanged", "failed")
LARGEST_SEQUENCES = 100_000
"""Frames that are looked at for sequences: names take memory."""
SHOWN_SEQUENCES, SHOWN_GAPS = 20, 5
SHOWN_FAILURES = 3
CODECS_PER_PROCESS = 4
"""On a machine of 16 CPUs with an H100 one process kept 4 to 6 threads of codecs at work: the
interpreter's lock."""
GOOD_SHARE = 0.9
"""How much of its time a device should be at work; the rest waits for codecs."""


@dataclass(frozen=True)
class Estimate:
    """The whole run, extrapolated from a sample by bytes of input."""

    input_pixels: float
    output_bytes: float
    codec_seconds: float
    generator_seconds: float
    num_workers: int
    num_windows: float = field(default=0)

    @property
    def worker_seconds(self) -> float:
        """The device's time: reading and codecs overlap with it, unless they take longer."""
        return max(self.generator_seconds, self.codec_seconds)

    @property
    def cpus_per_worker(self) -> float:
        """CPUs that decode and encode as fast as one device restores."""
        if self.generator_seconds == 0:
            return 1.0
        return self.codec_seconds / self.generator_seconds / GOOD_SHARE


def estimate(plan: RestorePlan) -> str:
    """The plan in words."""
    config, checkpoint = plan.config, plan.preparation.checkpoint
    lines = [
        f"source      {config.source}",
        f"target      {config.target}",
        *([f"masks       {config.masks}"] if config.masks else []),
        f"inputs      {plan.num_listed} listed: {len(plan.pending)} to restore, "
        f"{plan.num_unchanged} unchanged, {len(plan.failed_before) + len(plan.unusable)} failed",
        *_by_suffix(plan),
        *_sequences(plan),
        *([f"vanished    {plan.num_vanished} restored earlier"] if plan.num_vanished else []),
        f"generator   {config.generator} x{checkpoint.scale}, digest {checkpoint.digest}",
    ]
    if plan.sample:
        sample = measure_sample(plan)
        lines += _describe(plan, sample, extrapolate(plan, sample))
    return "\n".join([*lines, "nothing was written"])


def extrapolate(plan: RestorePlan, sample: Sample) -> Estimate:
    """The run's figures: those of the sample, times its share of all pending bytes but
    those of films."""
    factor = (plan.pending_bytes - plan.film_bytes) / max(1, sample.input_bytes)
    return Estimate(
        input_pixels=sample.input_pixels * factor,
        output_bytes=sample.output_bytes * factor,
        codec_seconds=sample.codec_seconds * factor,
        generator_seconds=sample.generator_seconds * factor,
        num_workers=plan.config.workers.max,
        num_windows=max(
            len(plan.pending) - plan.num_films,
            sample.input_pixels * factor / plan.config.window_pixels**2,
        ),
    )


def _describe(plan: RestorePlan, sample: Sample, whole: Estimate) -> Iterator[str]:
    config = plan.config
    scale = plan.preparation.checkpoint.scale
    if plan.num_films:
        yield (
            f"films       {plan.num_films} of {plan.film_bytes / 1e6:.1f} MB are not measured, and "
            "not in the figures below"
        )
    yield from _failures(sample)
    if not sample.num_inputs and not sample.failed:
        return
    if not sample.num_inputs:
        yield "sample      nothing in it could be measured, so that no time is known"
        return
    yield (
        f"pixels      about {whole.input_pixels / 1e6:.1f} Mpixel in, "
        f"{whole.input_pixels * scale**2 / 1e6:.1f} out; windows: {whole.num_windows:.0f}"
    )
    yield (
        f"bytes       {(plan.pending_bytes - plan.film_bytes) / 1e6:.1f} MB in, about "
        f"{whole.output_bytes / 1e6:.1f} MB out"
    )
    yield (
        f"sample      measured: {sample.num_inputs}; each Mpixel takes "
        f"{1e6 * sample.generator_seconds / sample.input_pixels:.2f} s in the generator, "
        f"{1e6 * sample.codec_seconds / sample.input_pixels:.2f} s of a CPU in codecs, "
        f"{1e6 * sample.read_seconds / sample.input_pixels:.2f} s of reading"
    )
    yield f"worker time about {whole.worker_seconds:.0f} s on workers like this machine"
    yield from _advise(plan, whole)
    if config.cost_per_worker_hour:
        hours = whole.worker_seconds / 3600
        yield f"cost        about {hours * config.cost_per_worker_hour:.2f} in all"


def _advise(plan: RestorePlan, whole: Estimate) -> Iterator[str]:
    """How many workers, and of how many CPUs."""
    if choose_workers(plan).max == 0:
        why = "workers.max=0" if whole.num_workers == 0 else "Ray's start would take longer"
        yield (
            f"workers     none, the work is done in this process ({why}): about "
            f"{_duration(whole.worker_seconds)}"
        )
        return
    yield from _advise_pool(whole)
    if plan.config.workers.gpus or torch.cuda.is_available():
        cpus = max(1, int(np.ceil(whole.cpus_per_worker)))
        yield f"CPUs        {cpus} per GPU, so that codecs keep up with the generator"
        if cpus > CODECS_PER_PROCESS:
            shares = math.ceil(cpus / CODECS_PER_PROCESS)
            yield (
                f"            in {shares} workers, each with workers.gpus={1 / shares:.2f} and "
                f"workers.cpus={CODECS_PER_PROCESS}: one process keeps no more codecs busy"
            )
    else:
        share = whole.codec_seconds / max(1e-9, whole.codec_seconds + whole.generator_seconds)
        yield (
            f"CPUs        1 per worker: codecs take {share:.0%} of it; this machine has "
            f"{os.cpu_count()}"
        )


def _advise_pool(whole: Estimate) -> Iterator[str]:
    each = whole.worker_seconds / whole.num_workers
    whole_time = _duration(RAY_START_SECONDS + each)
    yield (
        f"workers     workers.max={whole.num_workers}: about {whole_time}, "
        f"{RAY_START_SECONDS:.0f} s of it to start them"
    )
    useful = min(int(whole.worker_seconds // RAY_START_SECONDS), int(whole.num_windows))
    if useful > whole.num_workers:
        yield (
            f"            more would help, up to workers.max={useful}: then each has work for "
            f"{RAY_START_SECONDS:.0f} s"
        )
    elif useful < whole.num_workers:
        yield f"            fewer would do: each has work for about {_duration(each)}"


def _failures(sample: Sample) -> Iterator[str]:
    """The first of those that gave no measurement, each with its reason."""
    if not sample.failed:
        return
    number = len(sample.failed)
    yield f"left out    {number} of the {sample.num_inputs + number} sampled:"
    yield from (f"  {speakable(key)}: {why}" for key, why in sample.failed[:SHOWN_FAILURES])
    if number > SHOWN_FAILURES:
        yield f"  … and {number - SHOWN_FAILURES} more"


def _by_suffix(plan: RestorePlan) -> Iterator[str]:
    """One line per kind of file, with its inputs by state."""
    for suffix in sorted({suffix for _, suffix in plan.by_suffix}):
        counts = [(plan.by_suffix[state, suffix], state) for state in STATES]
        words = ", ".join(f"{number} {state}" for number, state in counts if number)
        yield f"  {suffix:<10}{words}"


def _sequences(plan: RestorePlan) -> Iterator[str]:
    """One line for each sequence of film frames, with the frames that are missing."""
    frames = (item.key for item in plan.pending if FAMILIES.get(suffix_of(item.key)) == "film")
    for sequence in sequence_of(islice(frames, LARGEST_SEQUENCES))[:SHOWN_SEQUENCES]:
        gaps = ", ".join(f"{gap[0]}-{gap[-1]}" for gap in sequence.gaps[:SHOWN_GAPS])
        missing = f", {sequence.num_missing} missing ({gaps})" if gaps else ""
        yield (
            f"sequence    {sequence.pattern}: frames {sequence.first}-{sequence.last}, "
            f"{sequence.num_frames} of them there{missing}"
        )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
