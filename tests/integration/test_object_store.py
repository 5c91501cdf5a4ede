"""The embedded object store: what it keeps, whom it refuses, and what it leaves behind."""

import errno
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from ganray.errors import ConfigError, MissingExtraError, StorageError
from ganray.object_store import ObjectStore, cache, running, start, stop
from ganray.object_store.configuration import SERVERS
from ganray.object_store.locks import holder

PART_BYTES = 5 * 1024 * 1024
WAIT_SECONDS = 30.0

# Runs a store, forks, prints the pid of the fork and then waits to be killed.
OWNER = """
import os, sys, time
from pathlib import Path
from ganray.object_store import running

with running(Path(sys.argv[1])):
    fork = os.fork()
    if fork:
        print(fork, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a store of the test's own, which is stopped at the end."""
    path = tmp_path / "a folder, é"
    yield path
    stop(path)


def client_of(store: ObjectStore, **changes: str) -> Any:
    keys = {
        "endpoint_url": store.endpoint_url,
        "region_name": "us-east-1",
        "aws_access_key_id": store.access_key,
        "aws_secret_access_key": store.secret_key,
    }
    return boto3.client("s3", **keys | changes)


def put(store: ObjectStore, body: bytes) -> None:
    store.create_bucket("kept")
    client_of(store).put_object(Bucket="kept", Key="a/b", Body=body)


def get(store: ObjectStore) -> bytes:
    body: bytes = client_of(store).get_object(Bucket="kept", Key="a/b")["Body"].read()
    return body


def pids_of(folder: Path) -> list[int]:
    pids = [holder(folder / "run" / f"{name}.pid") for name in ("supervisor", *SERVERS)]
    return [pid for pid in pids if pid is not None]


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # A zombie has ended: only its new parent has not looked yet.
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_object_is_read_back_whole_and_by_range(bucket: str) -> None:
    client, name = boto3.client("s3"), urlsplit(bucket).netloc
    body = random.Random(0).randbytes(100_000)
    client.put_object(Bucket=name, Key="a/b c", Body=body, Metadata={"scene": "7"})
    whole = client.get_object(Bucket=name, Key="a/b c")
    part = client.get_object(Bucket=name, Key="a/b c", Range="bytes=777-50000")
    assert whole["Body"].read() == body
    assert whole["Metadata"] == {"scene": "7"}
    assert part["Body"].read() == body[777:50_001]


def test_parts_uploaded_in_any_order_become_one_object(bucket: str) -> None:
    client, name = boto3.client("s3"), urlsplit(bucket).netloc
    numbers, key = [1, 1000, 1007], "scene"
    bodies = {number: random.Random(number).randbytes(PART_BYTES) for number in numbers}
    upload = client.create_multipart_upload(Bucket=name, Key=key)["UploadId"]
    tags = {}
    for number in reversed(numbers):
        reply = client.upload_part(
            Bucket=name, Key=key, UploadId=upload, PartNumber=number, Body=bodies[number]
        )
        tags[number] = reply["ETag"]
    parts = [{"PartNumber": number, "ETag": tags[number]} for number in numbers]
    client.complete_multipart_upload(
        Bucket=name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    across = client.get_object(Bucket=name, Key=key, Range=f"bytes={PART_BYTES - 9}-{PART_BYTES}")
    assert across["Body"].read() == bodies[1][-9:] + bodies[1000][:1]
    assert client.get_object(Bucket=name, Key=key)["Body"].read() == b"".join(bodies.values())
    client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key}]})
    assert "Contents" not in client.list_objects_v2(Bucket=name)


def test_a_bucket_is_created_once_and_a_wrong_name_is_refused(object_store: ObjectStore) -> None:
    object_store.create_bucket("twice")
    object_store.create_bucket("twice")
    with pytest.raises(StorageError, match="cannot create bucket"):
        object_store.create_bucket("Not A Bucket")


def test_wrong_keys_are_refused(object_store: ObjectStore) -> None:
    for wrong in ({"aws_secret_access_key": "0" * 40}, {"aws_access_key_id": "ganray:other"}):
        with pytest.raises(ClientError) as refusal:
            client_of(object_store, **wrong).list_buckets()
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_the_secret_is_in_no_log_no_command_line_and_no_readable_file(
    object_store: ObjectStore,
) -> None:
    secret = object_store.secret_key.encode()
    texts = [log.read_bytes() for log in (object_store.folder / "log").iterdir()]
    for pid in pids_of(object_store.folder):
        texts.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    assert len(texts) == 10
    assert not any(secret in text for text in texts)
    assert object_store.secret_key not in repr(object_store)
    for name in ("credentials.json", "etc/proxy-server.conf"):
        path = object_store.folder / name
        assert secret in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_starting_twice_gives_the_same_store_and_data_survive_a_restart(folder: Path) -> None:
    first = start(folder)
    pids = pids_of(folder)
    assert start(folder) == first
    assert pids_of(folder) == pids
    put(first, b"kept")
    assert stop(folder)
    assert not any(is_alive(pid) for pid in pids)
    second = start(folder)
    assert second == first
    assert get(second) == b"kept"


def test_data_survive_a_kill_of_the_supervisor_s_group_and_a_change_of_ports(folder: Path) -> None:
    store = start(folder)
    put(store, b"kept")
    pids = pids_of(folder)
    os.killpg(pids[0], signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in pids))
    with socket.create_server(("127.0.0.1", urlsplit(store.endpoint_url).port or 0)):
        moved = start(folder)
        assert moved.endpoint_url != store.endpoint_url
        assert get(moved) == b"kept"


def test_no_process_is_left_when_the_process_that_runs_a_store_is_killed(folder: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        fork = int(owner.stdout.readline())
        pids = pids_of(folder)
        owner.kill()
    try:
        assert len(pids) == 5
        wait_until(lambda: not any(is_alive(pid) for pid in pids))
        # Processes that the killed one forked do not keep the store alive.
        assert is_alive(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_when_one_server_ends_the_store_ends(folder: Path) -> None:
    start(folder)
    pids = pids_of(folder)
    os.kill(pids[-1], signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in pids))
    assert "reason=server_ended" in (folder / "log" / "supervisor.log").read_text()


def test_when_its_folder_is_removed_the_store_ends(folder: Path) -> None:
    start(folder)
    pids = pids_of(folder)
    shutil.rmtree(folder)
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def test_a_store_that_ends_while_starting_is_noticed_at_once(folder: Path) -> None:
    # A folder where Swift wants to write a file.
    (folder / "etc" / "object.ring.gz").mkdir(parents=True)
    begin = time.monotonic()
    with pytest.raises(StorageError, match=r"ended while starting(?s:.*)supervisor\.log: .*Error"):
        start(folder)
    assert time.monotonic() - begin < WAIT_SECONDS
    assert not pids_of(folder)


def test_a_block_refuses_a_folder_whose_store_already_runs(object_store: ObjectStore) -> None:
    with pytest.raises(StorageError, match="already runs"), running(object_store.folder):
        pass
    assert len(pids_of(object_store.folder)) == 5


def test_stopping_without_a_start_returns_false(folder: Path) -> None:
    assert not stop(folder)
    assert not folder.exists()


def test_a_path_that_swift_misreads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose another folder"):
        start(tmp_path / "50%")


def test_a_file_system_without_attributes_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(StorageError, match="no extended attributes"):
        start(folder)


def test_without_swift_the_error_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ganray\[demo\]'"):
        start(folder)


def test_the_cache_forgets_what_expired_and_the_oldest_of_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("ganray.object_store.cache.monotonic", lambda: now)
    monkeypatch.setattr(cache, "MAX_ENTRIES", 2)
    entries = cache.Cache()
    entries.set("short", {"status": 200}, time=60)
    entries.set("long", [1])
    assert entries.get("short") == {"status": 200}
    now = 61.0
    assert entries.get("short") is None
    for key in ("a", "b"):
        entries.set(key, key)
    assert [entries.get(key) for key in ("long", "a", "b")] == [None, "a", "b"]
