"""Fixtures that every integration test may use: one real object store, a bucket of its own."""

import uuid
from collections.abc import Iterator

import pytest

from ganray.object_store import ObjectStore, running


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """An object store that lives as long as the test session; without Swift it fails."""
    with running(tmp_path_factory.mktemp("object_store")) as store:
        yield store


@pytest.fixture
def bucket(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """The s3:// address of a new bucket; clients find it by the environment."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    name = f"test-{uuid.uuid4().hex}"
    object_store.create_bucket(name)
    return f"s3://{name}"
