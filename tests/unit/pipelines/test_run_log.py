"""Every line of the log names the run once."""

import io
import logging
from collections.abc import Iterator

import pytest

from ganray.pipelines.run_log import LINE, log_run, log_worker


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What the command line's handler writes."""
    found = io.StringIO()
    handler = logging.StreamHandler(found)
    handler.setFormatter(logging.Formatter(LINE))
    logging.getLogger().addHandler(handler)
    yield found
    logging.getLogger().removeHandler(handler)


def test_lines_of_a_run_end_with_its_id_and_others_do_not(stream: io.StringIO) -> None:
    log = logging.getLogger("ganray.anything")
    with log_run("run-1"):
        log.warning("event=retry tries=%d", 2)
        log.warning("event=dead_claim run_id=%r", "run-0")
    log.warning("event=after")
    assert stream.getvalue().splitlines() == [
        "WARNING event=retry tries=2 run_id=run-1",
        "WARNING event=dead_claim run_id='run-0'",
        "WARNING event=after",
    ]


def test_a_traceback_follows_the_line_that_names_the_run(stream: io.StringIO) -> None:
    with log_run("run-1"):
        try:
            raise ValueError("wrong")
        except ValueError:
            logging.getLogger("ganray.anything").exception("event=bug")
    first, *rest = stream.getvalue().splitlines()
    assert first == "ERROR event=bug run_id=run-1"
    assert rest[-1] == "ValueError: wrong"


def test_a_worker_names_the_run_on_its_stderr_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("ganray")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    log_worker("run-1")
    log_worker("run-2")
    logging.getLogger("ganray.anything").warning("event=overdue")
    assert capsys.readouterr().err == "WARNING event=overdue run_id=run-2\n"
