"""Text objects of any length, written to a store part by part; `metrics.json` is one."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain

from ganray.manifest import speakable
from ganray.pipelines.evaluate_orders import PairKey
from ganray.pipelines.evaluate_summary import ColumnSummary, Summaries
from ganray.pipelines.evaluate_table import ValueTable
from ganray.pipelines.spool import Spool
from ganray.storage import Store

PART_BYTES = 16 * 2**20


def write_lines(store: Store, key: str, lines: Iterable[str]) -> None:
    """Write text whose lines are never all in memory."""
    parts = _parts(lines)
    first, second = next(parts, b""), next(parts, None)
    if second is None:
        store.write(key, first)
        return
    with store.multipart(key) as upload:
        for number, part in enumerate(chain((first, second), parts), start=1):
            upload.upload(number, part)


def _parts(lines: Iterable[str]) -> Iterator[bytes]:
    part = bytearray()
    for line in lines:
        part += line.encode()
        if len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
    if part:
        yield bytes(part)


def write_metrics(
    store: Store, key: str, summaries: Summaries, table: ValueTable, keys: Spool[PairKey]
) -> None:
    """Write generator → metric → what was found of it, with the value of every image."""
    write_lines(store, key, _lines(summaries, table, keys))


def _lines(summaries: Summaries, table: ValueTable, keys: Spool[PairKey]) -> Iterator[str]:
    before = "{\n"
    for generator, columns in summaries.items():
        yield f"{before}  {json.dumps(generator)}: {{\n"
        before = ""
        for metric, summary in columns.items():
            yield f"{before}    {json.dumps(metric)}: {_opened(summary)}"
            yield from _per_image(table, (generator, metric), keys)
            yield "    }"
            before = ",\n"
        yield "\n  }"
        before = ",\n"
    yield "\n}\n"


def _opened(summary: ColumnSummary) -> str:
    """A summary as JSON that is not closed yet: the values of every image follow."""
    text = json.dumps(asdict(summary), indent=2, allow_nan=False)
    return text.replace("\n", "\n    ").removesuffix("\n    }")


def _per_image(table: ValueTable, column: tuple[str, str], keys: Spool[PairKey]) -> Iterator[str]:
    """The entry `per_image`: null where the metric is undefined; failed pairs are left out."""
    if column not in table.columns:
        yield "\n"
        return
    before = ',\n      "per_image": {\n'
    for pair, value, is_failed in zip(keys, table.column(*column), table.is_failed, strict=True):
        if is_failed:
            continue
        # JSON has no word for what is not finite.
        number = json.dumps(float(value)) if math.isfinite(value) else "null"
        yield f"{before}        {json.dumps(speakable(pair.key))}: {number}"
        before = ",\n"
    yield "\n      }\n"
