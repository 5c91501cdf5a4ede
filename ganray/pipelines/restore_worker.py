"""One worker of a restoration: it reads, restores, writes and records itself.

An image that cannot be restored is a row; whatever else goes wrong is an exception.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ganray import __version__
from ganray.codecs import catalog, photo
from ganray.errors import (
    CodecError,
    GanrayError,
    RestorationError,
    StorageError,
    TooLargeError,
    UnreachableError,
)
from ganray.ledger import Ledger, LedgerRow
from ganray.manifest import Input
from ganray.models.checkpoint import decode_checkpoint
from ganray.pipelines.restore_config import RestoreConfig, WorkOrder
from ganray.raster.image import Image
from ganray.restoration import Restorer
from ganray.storage import ObjectInfo, open_store


@dataclass(frozen=True)
class RestoreJob:
    """What every worker of a run is given once. `started_at` is in ISO 8601."""

    config: RestoreConfig
    generator_digest: str
    run_id: str
    started_at: str

    @property
    def generator_key(self) -> str:
        """Where the target keeps the generator: every worker can read it, and so can an audit."""
        return f"_ganray/generators/{self.generator_digest}.safetensors"

    def failed_row(
        self, item: Input | ObjectInfo, error: GanrayError, *, attempts: int, retry: bool = False
    ) -> LedgerRow:
        """The row of an attempt that ended in `error`."""
        return LedgerRow(
            key=item.key,
            etag=item.etag,
            generator_digest=self.generator_digest,
            config_digest=self.config.pixel_digest,
            state="failed",
            recorded_at=time.time(),
            run_id=self.run_id,
            attempts=attempts,
            reason=str(error),
            retry=retry,
            limit_pixels=self.config.limits.pixels if isinstance(error, TooLargeError) else 0,
            ganray_version=__version__,
        )

    @property
    def history(self) -> str:
        """The provenance that is written into every restored file."""
        return json.dumps(
            {
                "software": f"ganray {__version__}",
                "generator": self.generator_digest,
                "config": self.config.pixel_digest,
                "time": self.started_at,
            }
        )


class RestoreWorker:
    """Restores work orders; holds the generator and the stores."""

    def __init__(self, job: RestoreJob, *, restarted: bool = False) -> None:
        torch.set_num_threads(job.config.workers.num_threads)
        self.job = job
        self.restarted = restarted
        self.source = open_store(job.config.source)
        self.target = open_store(job.config.target)
        checkpoint = decode_checkpoint(self.target.read(job.generator_key), job.generator_key)
        self.restorer = Restorer(checkpoint, job.config.restorer)
        self.ledger = Ledger(self.target)

    def run(self, order: WorkOrder) -> Iterator[LedgerRow]:
        """Restore the inputs of one order; each is recorded before the next begins."""
        for item, attempts in zip(order.inputs, order.attempts, strict=True):
            done = self.ledger.find(self.job.run_id, item.key) if self.restarted else None
            yield done or self._attempt(item, attempts + 1)

    def _attempt(self, item: Input, attempts: int) -> LedgerRow:
        begin = time.perf_counter()
        try:
            row = self._restore(item, attempts)
        except (CodecError, RestorationError) as error:
            row = self.job.failed_row(item, error, attempts=attempts)
        except UnreachableError:
            raise
        except StorageError as error:
            # If it is the target that refuses, so does the record below, and the run stops.
            row = self.job.failed_row(item, error, attempts=attempts, retry=True)
        except (MemoryError, torch.cuda.OutOfMemoryError) as error:
            reason = TooLargeError(f"out of memory: {error}; lower limits.pixels")
            row = self.job.failed_row(item, reason, attempts=attempts, retry=True)
        row = replace(row, seconds=time.perf_counter() - begin)
        self.ledger.record(row)
        return row

    def _restore(self, item: Input, attempts: int) -> LedgerRow:
        config = self.job.config
        image = photo.decode(self.source.read(item.key), max_pixels=config.limits.pixels)
        result = self.restorer.restore_with_trust(image.pixels, alpha=image.profile.alpha)
        codec = image.profile.codec if config.output.format == "same" else config.output.format
        restored = Image(result.pixels, image.profile)
        content = photo.encode(restored, codec, config.output, self.job.history)
        output = catalog.output_key(item.key, image.profile.codec, config.output.format)
        self.target.write(output, content)
        return LedgerRow(
            key=item.key,
            etag=item.etag,
            generator_digest=self.job.generator_digest,
            config_digest=config.pixel_digest,
            state="restored",
            recorded_at=time.time(),
            run_id=self.job.run_id,
            attempts=attempts,
            output=output,
            output_bytes=len(content),
            output_sha256=hashlib.sha256(content).hexdigest(),
            num_windows=result.num_windows,
            input_pixels=item.num_pixels,
            output_pixels=item.num_pixels * self.restorer.scale**2,
            consistency=result.trust.consistency,
            colour_drift=result.trust.colour_drift,
            clipped=result.trust.clipped,
            lost=", ".join(image.profile.lost),
            ganray_version=__version__,
        )
