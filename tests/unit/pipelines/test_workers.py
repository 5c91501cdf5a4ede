"""What a cluster's Ray Data is told; Ray itself is not started."""

from types import SimpleNamespace

import pytest

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
