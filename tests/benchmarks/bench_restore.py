"""Ratios of the restore job: speed, overhead, scaling, memory, start-up, saturation.

    make bench                                                   all of it, half an hour
    python tests/benchmarks/bench_restore.py --quick             fewer, smaller, once
    python tests/benchmarks/bench_restore.py startup memory      only these

Every ratio is of two sides that alternate in this run, and its median is printed, with the
range. Seconds and megabytes of a machine that is shared with others mean little beside
ratios. What each figure means stands in its module:

    end_to_end   end_to_end.py    S3 → S3 over the generator's own loop
    tiles        small_tiles.py   CPU beside the generator, against a pipeline of Ray Data
    workers      scaling.py       two workers over one
    memory       peak_memory.py   peaks of ten times the archive, ten times the scene
    startup      startup.py       seconds to the first row, part by part
    device       saturation.py    the fastest device that can be fed, and what holds it up
    stage        saturation.py    codecs in a worker's threads against stages of their own
    codecs       codec_*.py       pixels per CPU second of each family against its library
"""

from collections.abc import Callable
from pathlib import Path

import codec_dicom
import codec_film
import codec_geo
import codec_video
import end_to_end
import peak_memory
import saturation
import scaling
import small_tiles
import startup
from measuring import Figure, run_chosen


def codecs(folder: Path, *, quick: bool) -> list[Figure]:
    """Every family; goal 0.9 of the library used directly."""
    families = (codec_geo, codec_film, codec_dicom, codec_video)
    return [figure for family in families for figure in family.run(folder, quick=quick)]


BENCHMARKS: dict[str, Callable[..., list[Figure]]] = {
    "end_to_end": end_to_end.run,
    "tiles": small_tiles.run,
    "workers": scaling.run,
    "memory": peak_memory.run,
    "startup": startup.run,
    "device": saturation.run_device,
    "stage": saturation.run_stage,
    "codecs": codecs,
}


if __name__ == "__main__":
    run_chosen(__doc__, BENCHMARKS)
