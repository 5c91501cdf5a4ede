"""Which failures of workers are tried again, and how often; Ray itself is not started."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions
import ray.train

from ganray.errors import LostPeerError, RunFailedError, StorageError
from ganray.pipelines import train_on_ray as module
from ganray.pipelines.stop import GracefulStop
from ganray.pipelines.train_signals import Wish

LOST = ray.exceptions.RayActorError()
PEER = LostPeerError("connection closed")
BUG = ZeroDivisionError("division by zero")


def failed(*failures: BaseException) -> ray.train.TrainingFailedError:
    error = ray.train.TrainingFailedError("training failed")
    error.worker_failures = dict(enumerate(failures))
    return error


class FakeCourse:
    stored_step = 0
    run_id = "train-1"

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def hear(self, line: Any) -> None:
        self.heard.append(line)

    def flush(self) -> None:
        self.heard.append("flush")


def run(
    monkeypatch: pytest.MonkeyPatch, fit: Callable[[FakeCourse, dict], None]
) -> tuple[FakeCourse, list[dict]]:
    """`train_on_ray` over a fake of Ray Train; the jobs that it was given."""
    course, jobs = FakeCourse(), []

    def fake_fit(plan: object, job: dict) -> None:
        jobs.append(job)
        fit(course, job)

    monkeypatch.setattr(module, "_fit", fake_fit)
    monkeypatch.setattr(module, "RESTART_PAUSE_SECONDS", 0)

    @contextmanager
    def heard(name: str) -> Iterator[None]:
        yield
        course.hear(f"end of {name}")

    for name in ("ray_cluster", "shown_wishes", "_reporting"):
        monkeypatch.setattr(module, name, lambda *_, name=name: heard(name))
    workers = SimpleNamespace(max=2, cpus=1.0, resources={"CPU": 1.0})
    plan = SimpleNamespace(config=SimpleNamespace(workers=workers, readers=1))
    wishes = SimpleNamespace(wish=Wish)
    module.train_on_ray(plan, course, wishes, GracefulStop(), ({"event": "extended"},))  # type: ignore[arg-type]
    return course, jobs


@pytest.mark.parametrize("failures", [(LOST,), (PEER,), (LOST, PEER, PEER)])
def test_lost_workers_are_started_anew_and_the_event_says_why(
    failures: tuple[BaseException, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = iter([failed(*failures), None])

    def fit(course: FakeCourse, job: dict) -> None:
        if error := next(outcomes):
            raise error

    _, jobs = run(monkeypatch, fit)
    assert [[note["event"] for note in job["notes"]] for job in jobs] == [
        ["extended"],
        ["worker_lost"],
    ]


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (failed(LOST, StorageError("no bucket")), StorageError, "no bucket"),
        (failed(PEER, BUG), RunFailedError, "training failed"),
        (failed(ray.exceptions.RayTaskError("f", "traceback", BUG)), RunFailedError, "stopped"),
        (failed(), RunFailedError, "stopped"),
    ],
)
def test_what_is_no_loss_ends_the_run_at_once(
    error: Exception, raised: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[dict] = []

    def fit(course: FakeCourse, job: dict) -> None:
        tries.append(job)
        raise error

    with pytest.raises(raised, match=words):
        run(monkeypatch, fit)
    assert len(tries) == 1


def test_machines_may_go_as_often_as_they_like_while_checkpoints_advance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fit(course: FakeCourse, job: dict) -> None:
        course.stored_step += 5
        if course.stored_step < 200:
            raise failed(LOST)

    course, jobs = run(monkeypatch, fit)
    assert (course.stored_step, len(jobs)) == (200, 40)


def test_workers_that_are_lost_without_a_checkpoint_in_between_end_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[dict] = []

    def fit(course: FakeCourse, job: dict) -> None:
        tries.append(job)
        raise failed(LOST)

    with pytest.raises(RunFailedError, match="lower checkpoint_every"):
        run(monkeypatch, fit)
    assert len(tries) == module.NUM_RESTARTS + 1


def test_the_last_events_are_exported_while_there_is_a_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course, _ = run(monkeypatch, lambda course, job: None)
    assert course.heard[-3:] == ["end of shown_wishes", "flush", "end of ray_cluster"]
    assert course.heard[0] == "end of _reporting"
