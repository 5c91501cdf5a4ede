"""Deadlines mean the moment they say; passes, waiting and outcomes of a night."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ganray.config import load_config
from ganray.errors import (
    ClaimedError,
    ConfigError,
    EmptyArchiveError,
    RunFailedError,
    UnreachableError,
)
from ganray.pipelines import nightly, nightly_notify
from ganray.pipelines.nightly import Listener, NightResult, run_night
from ganray.pipelines.nightly_config import NightlyConfig
from ganray.pipelines.nightly_deadline import moment_of, seconds_until_stop
from ganray.pipelines.restore import RestoreResult
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.stop import DEADLINE, SIGTERM, GracefulStop
from ganray.pipelines.summary import InputCounts, Summary

Attempt = Callable[[GracefulStop], RestoreResult]


def utc(day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "now", "expected"),
    [
        ("06:00", "UTC", utc(5, 22), utc(6, 6)),
        ("06:00", "UTC", utc(5, 5, 59), utc(5, 6)),
        ("06:00", "UTC", utc(5, 6), utc(6, 6)),
        ("6:00", "Europe/Berlin", utc(5, 22), utc(6, 5)),
        # The clocks change in the night of 29 March 2026, by one hour.
        ("06:00", "Europe/Berlin", utc(28, 22), utc(29, 4)),
        ("00:30", "America/New_York", utc(5, 4), utc(5, 5, 30)),
        ("7h", "", utc(5, 22), utc(6, 5)),
        ("1h30m", "Europe/Berlin", utc(28, 23, 30), utc(29, 1)),
    ],
)
def test_a_deadline_is_the_next_moment_that_it_names(
    text: str, zone: str, now: datetime, expected: datetime
) -> None:
    assert moment_of(text, now, zone) == expected


def test_without_a_zone_the_deadline_is_by_the_clock_of_the_machine() -> None:
    now = datetime.now(UTC)
    moment = moment_of("06:00", now)
    assert now < moment
    local = moment.astimezone()
    assert (local.hour, local.minute) == (6, 0)


def test_nothing_is_begun_in_the_margin_which_is_a_tenth_of_a_short_night() -> None:
    assert seconds_until_stop(utc(5, 23), utc(5, 22), 120) == 3480
    assert seconds_until_stop(utc(5, 22, 1), utc(5, 22), 120) == 54
    assert seconds_until_stop(utc(5, 22), utc(5, 22, 5), 120) == 0


@pytest.mark.parametrize("wrong", ["6", "25:00", "06:60", "h", "soon", "0m", "7 h", "-1h"])
def test_what_is_no_deadline_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"06:00.*7h"):
        load_config(NightlyConfig, [f"deadline={wrong}"])


def test_a_deadline_that_yaml_reads_as_a_number_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text("deadline: 22:00\n")
    with pytest.raises(ConfigError, match="quotes"):
        load_config(NightlyConfig, [str(tmp_path / "night.yaml")])


def test_a_time_zone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="Europe/Berlin"):
        load_config(NightlyConfig, ["timezone=Mars/Olympus"])


def test_a_webhook_that_is_refused_is_not_shown() -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(NightlyConfig, ["webhook=ftp://host/secret"])
    assert "https://" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_only_the_restoration_is_written_beside_the_outputs() -> None:
    config = NightlyConfig(deadline="06:00", webhook="https://host/secret", max_failed=0.5)
    assert type(config.restoration) is RestoreConfig
    assert config.restoration.max_failed == 0.5
    assert config.restoration.pixel_digest == RestoreConfig().pixel_digest


def result(number: int = 1, *, passing: int = 0, stopped: str = "", **counts: int) -> RestoreResult:
    inputs = InputCounts(**({"listed": sum(counts.values())} | counts))
    failures = {"StorageError": passing} if passing else {}
    summary = Summary(
        f"run-{number}",
        inputs,
        retryable=counts.get("failed", 0),
        passing=passing,
        failures=failures,
        stopped=stopped,
        seconds=1.0,
    )
    return RestoreResult(summary, ())


@pytest.fixture
def night(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[NightResult | Exception, list[dict[str, Any]]]]:
    """Runs a night whose passes are given; what came of it, and what was posted."""
    posted: list[dict[str, Any]] = []
    monkeypatch.setattr(nightly, "notify", lambda url, content: posted.append(dict(content)))
    monkeypatch.setattr(nightly, "RETRY_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(nightly, "CLAIM_POLL_SECONDS", 0.0)

    def run(
        passes: list[Attempt | RestoreResult | Exception], **fields: Any
    ) -> tuple[NightResult | Exception, list[dict[str, Any]]]:
        remaining = iter(passes)
        ended: list[str] = []
        told: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

        def restore(
            config: RestoreConfig,
            begin: Any,
            report: Any,
            stop: GracefulStop,
            passes_before: tuple[str, ...],
        ) -> RestoreResult:
            told.append((passes_before, tuple(ended)))
            found = next(remaining)
            if isinstance(found, Exception):
                raise found
            done = found if isinstance(found, RestoreResult) else found(stop)
            ended.append(done.summary.run_id)
            return done

        monkeypatch.setattr(nightly, "run_restoration", restore)
        fields = {"webhook": "https://host"} | fields
        config = NightlyConfig(target=str(tmp_path / "target"), **fields)
        try:
            done: NightResult | Exception = run_night(config, Listener(print, print))
        except Exception as error:
            done = error
        assert next(remaining, None) is None, "a pass too few"
        assert all(before == ended_by_then for before, ended_by_then in told)
        return done, posted

    return run


def test_a_night_is_stored_beside_its_run_and_posted(night: Any, tmp_path: Path) -> None:
    done, posted = night([result(restored=5, unchanged=2)])
    assert done.night.outcome == "done"
    stored = tmp_path / "target/_ganray/runs/run-1/nightly.json"
    assert posted == [json.loads(stored.read_text())]
    assert posted[0]["inputs"]["restored"] == 5


def test_what_failed_in_passing_is_tried_again_in_the_same_night(night: Any) -> None:
    done, _ = night([result(1, restored=5, failed=3, passing=2), result(2, restored=2, failed=1)])
    told = done.night
    assert (told.outcome, told.passes, told.run_id) == ("some_failed", 2, "run-2")
    assert told.inputs["restored"] == 7
    assert told.inputs["failed"] == 1
    assert told.failures == {"StorageError": 2}
    assert told.seconds == 2


def test_what_is_bad_is_not_tried_again(night: Any) -> None:
    done, _ = night([result(restored=5, failed=3)])
    assert done.night.passes == 1


def test_passes_end_with_the_retries_that_are_allowed(night: Any) -> None:
    failed = result(failed=3, passing=3)
    done, _ = night([failed, failed, failed], retries=2)
    assert done.night.passes == 3


def test_a_store_that_is_away_for_a_while_gets_another_pass(night: Any) -> None:
    done, posted = night([UnreachableError("away"), result(restored=4)])
    assert done.night.outcome == "done"
    assert len(posted) == 1


def test_an_archive_that_stays_unreachable_ends_the_night_and_is_told(night: Any) -> None:
    error, posted = night([UnreachableError("away"), UnreachableError("still away")])
    assert isinstance(error, UnreachableError)
    assert (posted[0]["outcome"], posted[0]["message"]) == ("failed", "still away")


def test_an_empty_archive_ends_the_night_at_once_and_is_told(night: Any) -> None:
    error, posted = night([EmptyArchiveError("holds no image")])
    assert isinstance(error, EmptyArchiveError)
    assert posted[0]["message"] == "holds no image"


def test_a_night_that_its_deadline_cuts_is_no_error_and_tells_what_is_pending(night: Any) -> None:
    def cut(stop: GracefulStop) -> RestoreResult:
        assert stop.wait(60)
        return result(restored=3, pending=7, stopped=stop.reason)

    done, posted = night([cut], deadline="1s")
    assert done.night.outcome == "deadline"
    assert done.result.summary.stopped == DEADLINE
    assert "7 of 10" in posted[0]["message"]


def test_a_cut_night_begins_no_further_pass(night: Any) -> None:
    def cut(stop: GracefulStop) -> RestoreResult:
        assert stop.wait(60)
        return result(failed=2, passing=2)

    done, _ = night([cut], deadline="1s", retries=5)
    assert done.night.passes == 1


def test_of_two_nights_the_second_stops_and_is_told_as_overlapped(night: Any) -> None:
    error, posted = night([ClaimedError("another run")])
    assert isinstance(error, ClaimedError)
    assert posted[0]["outcome"] == "overlapped"


def test_a_night_that_waits_begins_when_the_other_is_over(night: Any) -> None:
    claimed = ClaimedError("another run")
    done, _ = night([claimed, claimed, result(restored=1)], overlap="wait")
    assert done.night.outcome == "done"


def test_a_night_waits_for_another_until_its_deadline(night: Any) -> None:
    def claimed(stop: GracefulStop) -> RestoreResult:
        assert stop.wait(60)
        raise ClaimedError("another run")

    error, posted = night([claimed], overlap="wait", deadline="1s")
    assert isinstance(error, ClaimedError)
    assert posted[0]["outcome"] == "overlapped"


def stopped_meanwhile(found: RestoreResult | Exception) -> Attempt:
    """A pass that comes to its end, while SIGTERM arrives."""

    def attempt(stop: GracefulStop) -> RestoreResult:
        stop.ask(SIGTERM)
        if isinstance(found, Exception):
            raise found
        return found

    return attempt


def test_sigterm_is_heard_though_a_cluster_has_taken_it(
    night: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def taking(workers: object) -> Iterator[None]:
        signal.signal(signal.SIGTERM, lambda *_: None)
        yield

    def restore(stop: GracefulStop) -> RestoreResult:
        signal.raise_signal(signal.SIGTERM)
        return result(pending=1, stopped=stop.reason)

    monkeypatch.setattr(nightly, "shared_cluster", taking)
    before = signal.getsignal(signal.SIGTERM)
    done, _ = night([restore])
    assert done.result.summary.stopped == SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_night_that_sigterm_keeps_from_another_pass_is_stopped(night: Any) -> None:
    error, posted = night([stopped_meanwhile(result(restored=1, failed=2, passing=2))])
    assert isinstance(error, RunFailedError)
    assert posted[0]["outcome"] == "stopped"
    assert "2 inputs" in posted[0]["message"]
    assert posted[0]["inputs"]["restored"] == 1


def test_a_night_that_was_over_when_sigterm_came_is_told_as_it_ended(night: Any) -> None:
    done, _ = night([stopped_meanwhile(result(restored=3))])
    assert done.night.outcome == "done"


def test_a_night_that_is_stopped_while_it_waits_for_another_is_told_as_stopped(night: Any) -> None:
    error, posted = night([stopped_meanwhile(ClaimedError("another run"))], overlap="wait")
    assert isinstance(error, ClaimedError)
    assert posted[0]["outcome"] == "stopped"


def test_a_bug_is_told_by_its_class_alone_and_raised(night: Any) -> None:
    error, posted = night([KeyError("secret")])
    assert isinstance(error, KeyError)
    assert posted[0]["message"] == "KeyError"


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """An HTTP server that answers a path of digits with that status, and what it was posted."""
    posts: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            posts.append((self.headers["Content-Type"], json.loads(data)))
            self.send_response(int(self.path[1:4]))
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", posts
    server.shutdown()
    server.server_close()


def test_a_notification_is_one_post_of_json(webhook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, posts = webhook
    assert nightly_notify.notify(f"{url}/200", {"outcome": "done"})
    monkeypatch.setenv("NIGHT_HOOK", f"{url}/204")
    assert nightly_notify.notify("$NIGHT_HOOK", {"outcome": "done"})
    assert posts == [("application/json", {"outcome": "done"})] * 2


def test_a_notification_that_is_refused_is_logged_without_its_url(
    webhook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert not nightly_notify.notify(f"{webhook[0]}/500?token=secret", {})
    assert "500" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:1/a secret", "http://127.0.0.1:1/secret\x7f"])
def test_a_webhook_that_is_no_valid_url_is_logged_without_its_path(
    wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NIGHT_HOOK", wrong)
    assert not nightly_notify.notify("$NIGHT_HOOK", {})
    assert "InvalidURL" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:1/", "$NO_SUCH_VARIABLE", "http://[bad"])
def test_a_webhook_that_is_not_there_fails_nothing(
    wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not nightly_notify.notify(wrong, {})
    assert "event=notify_failed" in caplog.text


def test_a_webhook_whose_variable_is_not_set_is_told_before_the_night(
    night: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def restore(stop: GracefulStop) -> RestoreResult:
        told.append(caplog.text)
        return result(restored=1)

    night([restore], webhook="$NO_SUCH_VARIABLE")
    assert "$NO_SUCH_VARIABLE is not set" in told[0]


def test_a_webhook_that_never_answers_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    released = threading.Event()
    monkeypatch.setattr(nightly_notify, "POST_SECONDS", 0.01)
    monkeypatch.setattr(nightly_notify, "_post", lambda url, data: released.wait(60))
    assert not nightly_notify.notify("http://host/", {})
    released.set()
    assert "no answer" in caplog.text
