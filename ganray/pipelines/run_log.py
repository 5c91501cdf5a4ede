"""The run's id on every line of ganray's log, in the driver and in its workers.

Modules log key=value lines and know no run; the formatter adds `run_id`, once.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LINE = "%(levelname)s %(message)s"
RUN_ID = "run_id="
LOGGER = "ganray"


class RunFormatter(logging.Formatter):
    """Ends each line that names no run with the id of this one."""

    def __init__(self, run_id: str) -> None:
        super().__init__(LINE)
        self._field = f"{RUN_ID}{run_id}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 logging's own name
        line = super().formatMessage(record)
        return line if RUN_ID in record.getMessage() else f"{line} {self._field}"


@contextmanager
def log_run(run_id: str) -> Iterator[None]:
    """Name the run on every line that this process logs meanwhile."""
    handlers = [handler for handler in logging.getLogger().handlers if _is_ours(handler)]
    before = [handler.formatter for handler in handlers]
    for handler in handlers:
        handler.setFormatter(RunFormatter(run_id))
    try:
        yield
    finally:
        for handler, formatter in zip(handlers, before, strict=True):
            handler.setFormatter(formatter)


def log_worker(run_id: str) -> None:
    """Log to stderr, which Ray keeps and carries to the driver, from now on in this process."""
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RunFormatter(run_id))
    logger.addHandler(handler)
    logger.propagate = False


def _is_ours(handler: logging.Handler) -> bool:
    """Whether the handler writes as the command line set it up; a host's own is left alone."""
    return handler.formatter is not None and handler.formatter._fmt == LINE
