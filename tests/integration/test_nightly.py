"""Nights as a schedule runs them: twice, cut by a deadline, without an archive, with a webhook."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ganray.claim import claimed
from ganray.storage import open_store
from tests.integration.command import Outcome, ganray_here
from tests.integration.pictures import encoded, write_pictures

MANY = 80
"""Pictures that no machine restores in a second, with a generator to be loaded."""


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server, and what it was posted."""
    posts: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret", posts
    server.shutdown()
    server.server_close()


def night(folder: Path, *words: str) -> Outcome:
    places = (f"source={folder / 'photos'}", f"target={folder / 'restored'}")
    return ganray_here("nightly", *places, "workers.max=0", "retries=0", *words)


def history(folder: Path) -> list[dict[str, Any]]:
    outcome = ganray_here("runs", str(folder / "restored"), "--json")
    assert outcome.code == 0, outcome.text
    found: list[dict[str, Any]] = outcome.json
    return found


def test_a_second_night_does_nothing_and_a_new_picture_is_found_by_the_third(
    tmp_path: Path, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, posts = webhook
    write_pictures(tmp_path / "photos", 2)
    for _ in range(2):
        assert night(tmp_path, f"webhook={url}", "cost_per_worker_hour=2").code == 0
    (tmp_path / "photos" / "new.png").write_bytes(encoded(96, 96, seed=9))
    assert night(tmp_path, f"webhook={url}").code == 0
    assert [(post["outcome"], post["inputs"]["restored"]) for post in posts] == [
        *(("done", 2), ("done", 0), ("done", 1)),
    ]
    runs = history(tmp_path)
    assert [run["run_id"] for run in runs] == [p["run_id"] for p in reversed(posts)]
    assert runs[-1]["cost"] > 0
    text = ganray_here("runs", str(tmp_path / "restored")).output
    assert len(text.splitlines()) == 4
    everything = [p.read_bytes() for p in (tmp_path / "restored").rglob("*") if p.is_file()]
    assert not any(b"secret" in content for content in everything)


def test_a_night_that_the_deadline_cuts_is_done_and_the_next_one_finishes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", MANY)
    cut = night(tmp_path, "deadline=1s")
    assert cut.code == 0, cut.text
    assert cut.output.startswith("until ") and "stopped before the deadline" in cut.output
    assert night(tmp_path).code == 0
    last, first = history(tmp_path)
    assert first["state"] == "deadline"
    assert first["inputs"]["pending"] > 0
    assert last["state"] == "done"
    assert first["inputs"]["restored"] + last["inputs"]["restored"] == MANY
    assert last["inputs"]["unchanged"] == first["inputs"]["restored"]
    assert ganray_here("verify", str(tmp_path / "restored")).code == 0


@pytest.mark.parametrize("is_there", [True, False], ids=["empty", "missing"])
def test_a_night_without_an_archive_fails_clearly_and_is_told(
    is_there: bool, tmp_path: Path, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, posts = webhook
    if is_there:
        (tmp_path / "photos").mkdir()
    outcome = night(tmp_path, f"webhook={url}")
    assert outcome.code == 1
    assert str(tmp_path / "photos") in outcome.errors
    assert posts[0]["outcome"] == "failed"
    assert posts[0]["message"] in outcome.errors
    assert not (tmp_path / "restored").exists()


def test_a_webhook_that_is_not_there_changes_no_exit_code(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 1)
    outcome = night(tmp_path, "webhook=http://127.0.0.1:1/secret")
    assert outcome.code == 0
    assert "secret" not in outcome.text


def test_a_night_that_meets_another_run_stops_and_one_that_waits_ends_at_its_deadline(
    tmp_path: Path, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    url, posts = webhook
    write_pictures(tmp_path / "photos", 1)
    (tmp_path / "restored").mkdir()
    with claimed(open_store(str(tmp_path / "restored")), "20000101T000000000000-first"):
        for words in (["overlap=stop"], ["overlap=wait", "deadline=1s"]):
            outcome = night(tmp_path, f"webhook={url}", *words)
            assert outcome.code == 1
            assert "20000101T000000000000-first" in outcome.errors
    assert [post["outcome"] for post in posts] == ["overlapped"] * 2
