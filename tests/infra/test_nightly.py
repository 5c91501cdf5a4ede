"""The program that begins a night and follows it, against Kubernetes' API in miniature."""

import importlib.util
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.infra.manifests import KUBERAY

TEMPLATE = "ganray-night"
LABEL = "ganray.io/schedule"
FIRST = datetime.fromisoformat("2026-03-01T01:00:00+00:00")
GOOD = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
BAD = {
    "jobDeploymentStatus": "Failed",
    "jobStatus": "FAILED",
    "message": "Job entrypoint command failed with exit code 1, last available logs: …",
}
SOME_FAILED = BAD | {"message": "Job entrypoint command failed with exit code 3, last available …"}
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}


def _program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nightly", KUBERAY / "nightly" / "nightly.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["nightly"] = module
    spec.loader.exec_module(module)
    return module


nightly = _program()


class Kubernetes:
    """The RayJobs of a namespace; each goes through its states, one at a GET."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.states: dict[str, list[dict[str, str]]] = {}
        self.requests: list[str] = []
        self.refusals: list[int] = []
        self.now = FIRST

    def add(self, name: str, *states: dict[str, str], begun: datetime = FIRST) -> None:
        metadata = {"name": name, "labels": {LABEL: TEMPLATE}}
        self.jobs[name] = {"metadata": metadata | {"creationTimestamp": begun.isoformat()}}
        self.states[name] = list(states)
        self._step(name)

    def _step(self, name: str) -> None:
        states = self.states.get(name, [])
        if states:
            self.jobs[name]["status"] = states.pop(0) if len(states) > 1 else states[0]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self.requests.append(f"{method} {path}")
        if self.refusals:
            return self.refusals.pop(0), {"message": "not now"}
        parts = urlsplit(path)
        name = parts.path.partition("/rayjobs")[2].strip("/")
        if method == "POST":
            return self._create(json.loads(body))
        if not name:
            ((label, value),) = [
                selector.split("=") for selector in parse_qs(parts.query)["labelSelector"]
            ]
            jobs = self.jobs.values()
            chosen = [job for job in jobs if job["metadata"].get("labels", {}).get(label) == value]
            return 200, {"items": chosen}
        if name not in self.jobs:
            return 404, {"message": "not found"}
        if method == "DELETE":
            return 200, self.jobs.pop(name)
        self._step(name)
        return 200, self.jobs[name]

    def _create(self, job: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = job["metadata"]["name"]
        if name in self.jobs:
            return 409, {"message": "exists"}
        job["metadata"]["creationTimestamp"] = self.now.isoformat()
        self.jobs[name] = job
        self._step(name)
        return 201, job


@contextmanager
def _serving(kubernetes: Kubernetes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            assert self.headers["Authorization"] == "Bearer secret"
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = kubernetes.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def kubernetes() -> Kubernetes:
    kubernetes = Kubernetes()
    kubernetes.jobs[TEMPLATE] = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": TEMPLATE, "uid": "1", "resourceVersion": "7"},
        "spec": {"entrypoint": "python jobs/restore.py", "suspend": True},
        "status": {"jobDeploymentStatus": "Suspended"},
    }
    return kubernetes


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("NAMESPACE", "ganray")

    def run(kubernetes: Kubernetes, night: str, *words: str) -> int:
        monkeypatch.setenv("NIGHT", night)
        with _serving(kubernetes) as server:
            here = [f"--server={server}", f"--account={tmp_path}", "--poll-seconds=0.01"]
            given = [f"--template={TEMPLATE}", "--hours=24", "--keep=2"]
            return int(nightly.main([*given, *here, *words]))

    return run


def test_a_night_is_a_copy_of_the_template_that_starts(kubernetes: Kubernetes, run: Any) -> None:
    kubernetes.states["night-1"] = [RUNNING, RUNNING, GOOD]
    assert run(kubernetes, "night-1") == 0
    copy = kubernetes.jobs["night-1"]
    assert copy["spec"] == {"entrypoint": "python jobs/restore.py", "suspend": False}
    assert copy["metadata"]["labels"] == {LABEL: TEMPLATE}
    assert kubernetes.jobs[TEMPLATE]["spec"]["suspend"]


def test_a_night_whose_run_failed_fails(kubernetes: Kubernetes, run: Any) -> None:
    kubernetes.states["night-1"] = [RUNNING, BAD]
    assert run(kubernetes, "night-1") == 1


@pytest.mark.parametrize(
    "message",
    [
        "Job entrypoint command failed with exit code 31, last available logs: …",
        "Job entrypoint command failed with exit code 1, last available logs: "
        "Job entrypoint command failed with exit code 3, …",
    ],
    ids=["another code", "in the log"],
)
def test_only_the_exit_code_itself_says_that_some_inputs_failed(
    kubernetes: Kubernetes, run: Any, message: str
) -> None:
    kubernetes.states["night-1"] = [RUNNING, BAD | {"message": message}]
    assert run(kubernetes, "night-1") == 1


def test_a_night_with_bad_inputs_in_its_archive_is_done(kubernetes: Kubernetes, run: Any) -> None:
    kubernetes.states["night-1"] = [RUNNING, SOME_FAILED]
    assert run(kubernetes, "night-1") == 0


def test_a_pod_that_replaces_a_lost_one_follows_what_that_had_begun(
    kubernetes: Kubernetes, run: Any
) -> None:
    kubernetes.add("night-1", RUNNING, RUNNING, GOOD)
    assert run(kubernetes, "night-1") == 0
    assert not [request for request in kubernetes.requests if request.startswith("POST")]


def test_a_night_waits_for_an_earlier_one_that_nobody_follows(
    kubernetes: Kubernetes, run: Any
) -> None:
    kubernetes.add("night-1", RUNNING, RUNNING, RUNNING, BAD)
    kubernetes.states["night-2"] = [RUNNING, GOOD]
    assert run(kubernetes, "night-2") == 0
    begun = next(i for i, request in enumerate(kubernetes.requests) if request.startswith("POST"))
    followed = [request for request in kubernetes.requests[:begun] if "night-1" in request]
    assert len(followed) == 3


def test_missed_nights_are_told(
    kubernetes: Kubernetes, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kubernetes.add("night-1", GOOD, begun=FIRST)
    kubernetes.add("night-2", BAD, begun=FIRST + timedelta(hours=24))
    kubernetes.now = FIRST + timedelta(hours=73)
    kubernetes.states["night-4"] = [GOOD]
    with caplog.at_level(logging.WARNING, logger="nightly"):
        run(kubernetes, "night-4", "--keep=9")
    assert [record.getMessage() for record in caplog.records] == [
        f"event=nights_missed missed=2 last_good={FIRST.isoformat()}"
    ]


def test_nights_of_which_none_was_good_are_told(
    kubernetes: Kubernetes, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for day in range(3):
        kubernetes.add(f"night-{day}", BAD, begun=FIRST + timedelta(days=day))
    kubernetes.now = FIRST + timedelta(days=3)
    kubernetes.states["night-3"] = [GOOD]
    with caplog.at_level(logging.WARNING, logger="nightly"):
        run(kubernetes, "night-3")
    assert [record.getMessage() for record in caplog.records] == [
        "event=nights_missed missed=3 last_good=none"
    ]


def test_the_first_night_of_all_has_missed_none(
    kubernetes: Kubernetes, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kubernetes.states["night-1"] = [GOOD]
    with caplog.at_level(logging.WARNING, logger="nightly"):
        run(kubernetes, "night-1")
    assert not caplog.records


def test_a_night_that_begins_late_is_none_that_was_missed(
    kubernetes: Kubernetes, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kubernetes.add("night-1", GOOD, begun=FIRST)
    kubernetes.now = FIRST + timedelta(hours=28)
    kubernetes.states["night-2"] = [GOOD]
    with caplog.at_level(logging.WARNING, logger="nightly"):
        assert run(kubernetes, "night-2") == 0
    assert not caplog.records


def test_only_the_latest_nights_are_kept(kubernetes: Kubernetes, run: Any) -> None:
    for day in range(4):
        kubernetes.add(f"night-{day}", GOOD, begun=FIRST + timedelta(days=day))
    kubernetes.now = FIRST + timedelta(days=4)
    kubernetes.states["night-4"] = [GOOD]
    run(kubernetes, "night-4")
    assert set(kubernetes.jobs) == {TEMPLATE, "night-3", "night-4"}


def test_under_kueue_a_night_waits_suspended_in_its_queue(kubernetes: Kubernetes, run: Any) -> None:
    kubernetes.states["night-1"] = [{"jobDeploymentStatus": "Suspended"}, RUNNING, GOOD]
    assert run(kubernetes, "night-1", "--queue=ganray") == 0
    copy = kubernetes.jobs["night-1"]
    assert copy["spec"]["suspend"]
    assert copy["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "ganray"


def test_an_api_that_is_away_for_a_while_loses_no_night(kubernetes: Kubernetes, run: Any) -> None:
    kubernetes.refusals = [503, 500, 429]
    kubernetes.states["night-1"] = [RUNNING, GOOD]
    assert run(kubernetes, "night-1") == 0


def test_a_night_that_is_not_allowed_says_what_was_asked(
    kubernetes: Kubernetes, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kubernetes.refusals = [403]
    assert run(kubernetes, "night-1") == 2
    assert f"GET rayjobs/{TEMPLATE}: 403" in caplog.text


def test_a_night_without_a_template_says_what_to_apply(
    kubernetes: Kubernetes, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    del kubernetes.jobs[TEMPLATE]
    assert run(kubernetes, "night-1") == 2
    assert "kubectl apply -k" in caplog.text


def test_a_night_that_someone_deletes_ends(kubernetes: Kubernetes, run: Any) -> None:
    kubernetes.add("night-1", RUNNING)
    answer = kubernetes.answer

    def deleting(method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if len(kubernetes.requests) == 8:
            del kubernetes.jobs["night-1"]
        return answer(method, path, body)

    kubernetes.answer = deleting  # type: ignore[method-assign]
    assert run(kubernetes, "night-1") == 2
