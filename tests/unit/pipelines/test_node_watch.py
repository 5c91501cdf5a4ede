"""Nodes are told when their number changes; Ray itself is not started."""

import threading
from types import SimpleNamespace

import pytest
import ray.exceptions

from ganray.pipelines import node_watch
from ganray.pipelines.node_watch import NodeCount, NodeWatch


def node(*, alive: bool = True, **resources: float) -> dict[str, object]:
    return {"Alive": alive, "Resources": resources}


def watched(monkeypatch: pytest.MonkeyPatch, looks: list[object]) -> list[NodeCount]:
    """What is told while Ray answers one look after the other."""
    remaining = iter(looks)
    is_over = threading.Event()

    def nodes() -> object:
        found = next(remaining, None)
        if found is None:
            is_over.set()
            return looks[-1]
        if isinstance(found, Exception):
            raise found
        return found

    fake_ray = SimpleNamespace(nodes=nodes, exceptions=ray.exceptions)
    monkeypatch.setattr(node_watch, "ray", fake_ray)
    monkeypatch.setattr(node_watch, "LOOK_SECONDS", 0.001)
    told: list[NodeCount] = []
    with NodeWatch({"CPU": 2.0, "GPU": 1.0}, told.append):
        assert is_over.wait(10)
    return told


def test_nodes_with_room_for_a_worker_are_told_whenever_their_number_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, gpu = node(CPU=8.0), node(CPU=2.0, GPU=1.0)
    lost = node(alive=False, CPU=2.0, GPU=1.0)
    looks: list[object] = [[head], [head], [head, gpu, gpu], [head, gpu, gpu], [head, gpu, lost]]
    assert [count.number for count in watched(monkeypatch, looks)] == [0, 2, 1]


def test_a_head_that_does_not_answer_for_a_moment_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = node(CPU=2.0, GPU=1.0)
    looks: list[object] = [[gpu], ray.exceptions.RpcError("away"), [gpu, gpu]]
    assert [count.number for count in watched(monkeypatch, looks)] == [1, 2]
    assert "event=nodes_unknown" in caplog.text


def test_a_head_that_never_answers_keeps_no_run_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_asked, answers = threading.Event(), threading.Event()

    def nodes() -> list[object]:
        if threading.current_thread() is not threading.main_thread():
            is_asked.set()
            answers.wait()
        return []

    fake_ray = SimpleNamespace(nodes=nodes, exceptions=ray.exceptions)
    monkeypatch.setattr(node_watch, "ray", fake_ray)
    monkeypatch.setattr(node_watch, "LOOK_SECONDS", 0.01)
    try:
        with NodeWatch({"CPU": 1.0}, lambda _: None):
            assert is_asked.wait(10)
        assert not answers.is_set()
    finally:
        answers.set()
