"""Seconds and peak memory of `ganray restore --plan` over an archive of a million keys.

    python tests/benchmarks/bench_plan.py [NUM_KEYS]

The listing is made up, since a real one would measure the store; every second key is in the
ledger, which is real. The sample that the plan measures is read from one real picture.
"""

import io
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from ganray.ledger import Ledger, LedgerRow
from ganray.models.checkpoint import load_checkpoint
from ganray.pipelines import placement, restore_estimate, restore_plan, restore_sample
from ganray.pipelines.restore_config import RestoreConfig
from ganray.storage import ObjectInfo, open_store

SIDE = 256
ROWS_AT_ONCE = 50_000


class MadeUpArchive:
    """A store of many keys that are all the same picture."""

    uri = "s3://made-up/archive"

    def __init__(self, num_keys: int) -> None:
        self.num_keys = num_keys
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        self.data = buffer.getvalue()

    def key(self, number: int) -> str:
        return f"photographs/{number // 1000:05d}/IMG_{number:08d}.jpg"

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for number in range(self.num_keys):
            yield ObjectInfo(self.key(number), len(self.data), f"{number:032x}")

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        return self.data[start:end]


def fill_ledger(target: Path, archive: MadeUpArchive, config: RestoreConfig) -> None:
    ledger = Ledger(open_store(str(target)))
    digest = load_checkpoint(config.generator).digest
    for begin in range(0, archive.num_keys, 2 * ROWS_AT_ONCE):
        rows = [
            LedgerRow(
                key=archive.key(number),
                etag=f"{number:032x}",
                generator_digest=digest,
                config_digest=config.pixel_digest,
                state="restored",
                recorded_at=1.0,
                run_id="run",
                attempts=1,
                output=archive.key(number),
            )
            for number in range(begin, min(begin + 2 * ROWS_AT_ONCE, archive.num_keys), 2)
        ]
        ledger.absorb(rows, [], f"run-{begin:09d}")


def main() -> None:
    num_keys = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    archive = MadeUpArchive(num_keys)
    with tempfile.TemporaryDirectory() as name:
        config = RestoreConfig(source=archive.uri, target=name)
        fill_ledger(Path(name), archive, config)
        print(f"peak memory before        {peak_megabytes():6.0f} MB (the ledger was written)")
        with (
            mock.patch.object(restore_plan, "open_archive", lambda uri: archive),
            mock.patch.object(restore_sample, "open_store", lambda uri: archive),
            mock.patch.object(placement, "open_store", lambda uri: archive),
        ):
            begin = time.perf_counter()
            plan = restore_plan.plan_restoration(restore_plan.prepare(config))
            planned = time.perf_counter()
            text = restore_estimate.estimate(plan)
            done = time.perf_counter()
        print(text)
        print(f"listed and compared in    {planned - begin:6.1f} s")
        print(f"sample measured in        {done - planned:6.1f} s")
        print(f"peak memory               {peak_megabytes():6.0f} MB")


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
