"""How a cluster is found and what its Ray Data is told; Ray itself is not started."""

import socket
from types import SimpleNamespace

import pytest

from ganray.errors import RunFailedError
from ganray.pipelines import workers


def test_a_run_that_waits_for_machines_is_not_failed_by_ray_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = SimpleNamespace()
    held = SimpleNamespace(get_current=lambda: context)
    monkeypatch.setattr(workers, "ray", SimpleNamespace(data=SimpleNamespace(DataContext=held)))
    workers._configure_ray_data()
    assert context.execution_no_progress_timeout_s == -1
    assert context.enable_progress_bars is False


def test_the_id_of_a_submitted_job_is_that_of_rays_job_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(workers.JOB_VARIABLE, raising=False)
    assert workers.submission_id() == ""
    monkeypatch.setenv(workers.JOB_VARIABLE, '{"metadata": {"job_submission_id": "night-5"}}')
    assert workers.submission_id() == "night-5"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:8265", "job server"),
        ("127.0.0.1:1", "no Ray head answers at RAY_ADDRESS=127.0.0.1:1"),
        ("127.0.0.1:99999999999", "no Ray head answers"),
        ("no address", "no Ray cluster"),
    ],
)
def test_an_address_without_a_head_is_named_with_the_way_out(
    address: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(workers, "HEAD_SECONDS", 0.0)
    with (
        pytest.raises(RunFailedError, match=rf"{words}.*HOST:6379.*unset"),
        workers.ray_cluster(workers.WorkersConfig(), 1),
    ):
        pass


def test_a_head_that_is_being_started_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        attempts = [ConnectionRefusedError(), None]
        connect = socket.create_connection

        def late(*words: object) -> socket.socket:
            if error := attempts.pop(0):
                raise error
            return connect(*words)  # type: ignore[arg-type]

        monkeypatch.setattr(socket, "create_connection", late)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        workers._require_head(address)
    assert not attempts
