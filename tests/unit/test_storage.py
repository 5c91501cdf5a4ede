import logging
import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path

import boto3
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import S3Backend, s3_backends
from moto.server import ThreadedMotoServer

from ganray.errors import (
    AccessDeniedError,
    ConfigError,
    GanrayError,
    NotFoundError,
    StorageError,
    UnreachableError,
)
from ganray.storage import (
    PREFLIGHT,
    Concatenation,
    Multipart,
    RetryPolicy,
    Store,
    Timing,
    concatenation,
    join_uri,
    open_store,
    read_uri,
    s3_client,
    split_uri,
    write_uri,
)
from ganray.storage.retry import AttemptError, retrying
from tests.integration.fault_proxy import FaultProxy, LoseReply, Reset, Status, Truncate
from tests.unit.memory_store import MemoryStore

ACCESS_KEY = "AKIAQWERTYUIOPASDFGH"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz"
SESSION_TOKEN = "FwoGZXIvYXdzEXAMPLEtoken"
PART = b"p" * (5 << 20)
_numbers = count()

many_examples = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass
class FakeTime:
    """A clock that only sleeping moves, and jitter that is always at its upper bound."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)
    jitter: float = 1.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def policy(self, seconds: float = 120.0) -> RetryPolicy:
        return RetryPolicy(
            seconds=seconds,
            timing=Timing(now=lambda: self.seconds, sleep=self.sleep, fraction=lambda: self.jitter),
        )


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def environment(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION_TOKEN)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    return monkeypatch


@pytest.fixture
def bucket(environment: pytest.MonkeyPatch) -> str:
    name = f"bucket-{next(_numbers)}"
    backend().create_bucket(name, "us-east-1")
    return name


@pytest.fixture
def proxy(bucket: str, moto_url: str, environment: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(moto_url) as proxy:
        environment.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture(params=["folder", "s3"])
def root_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        (tmp_path / "root").mkdir()
        return str(tmp_path / "root")
    return f"s3://{request.getfixturevalue('bucket')}/some root"


@pytest.fixture
def store(root_uri: str) -> Store:
    return open_store(root_uri)


@pytest.fixture
def new_store(root_uri: str) -> Callable[[], Store]:
    """Make an empty store for one example of a property."""

    def make() -> Store:
        uri = f"{root_uri}/{next(_numbers)}"
        if not uri.startswith("s3://"):
            os.makedirs(uri)
        return open_store(uri)

    return make


def backend() -> S3Backend:
    """Return what is behind the server, which is far faster than requests to it."""
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


# --- The contract of all stores ---------------------------------------------------------


@many_examples
@given(data=st.binary(max_size=64), start=st.integers(0, 80), length=st.integers(-3, 80))
def test_a_range_reads_what_slicing_the_contents_gives(
    store: Store, data: bytes, start: int, length: int
) -> None:
    end = max(0, start + length)
    info = store.write("folder/object.bin", data)
    assert info.num_bytes == len(data)
    assert store.read("folder/object.bin") == data
    assert store.read("folder/object.bin", start) == data[start:]
    assert store.read("folder/object.bin", start, end) == data[start:end]


_names = st.text(st.sampled_from("ab-.+ %?#~üж字"), min_size=1, max_size=4)
_keys = st.lists(_names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3)


@many_examples
@given(
    keys=st.sets(_keys.map("/".join), max_size=6),
    prefix=st.text(st.sampled_from("ab-/"), max_size=3),
)
@example(keys={"a/b", "a-b", "a.b", "a b/c", "a/b-c/d", "a/b.c"}, prefix="a")
def test_list_yields_the_keys_with_the_prefix_in_order(
    new_store: Callable[[], Store], keys: set[str], prefix: str
) -> None:
    store = new_store()
    # A name cannot be a file and a folder at once in a folder.
    keys = {key for key in keys if not any(other.startswith(f"{key}/") for other in keys)}
    written = {key: store.write(key, key.encode()) for key in keys}
    listed = list(store.list(prefix))
    assert [info.key for info in listed] == sorted(key for key in keys if key.startswith(prefix))
    assert listed == [written[info.key] for info in listed]
    assert listed == [store.stat(info.key) for info in listed]


def test_a_store_does_not_list_its_neighbours_with_the_same_beginning(root_uri: str) -> None:
    open_store(f"{root_uri}/foo").write("x", b"1")
    open_store(f"{root_uri}/foobar").write("y", b"2")
    assert [info.key for info in open_store(f"{root_uri}/foo").list()] == ["x"]


def test_an_overwritten_object_has_its_new_contents_and_another_etag(store: Store) -> None:
    before = store.write("object", b"before")
    after = store.write("object", b"and after")
    assert store.read("object") == b"and after"
    assert before.etag != after.etag
    assert '"' not in before.etag


def test_deleting_twice_is_fine_and_leaves_the_rest(store: Store) -> None:
    store.write("folder/one", b"1")
    store.write("folder/two", b"2")
    store.delete("folder/one")
    store.delete("folder/one")
    store.delete("folder")
    assert [info.key for info in store.list()] == ["folder/two"]


@pytest.mark.parametrize("key", ["absent", "folder", "folder/object/below", "absent/object"])
def test_an_absent_object_is_named_with_its_store(store: Store, key: str) -> None:
    store.write("folder/object", b"1")
    for request in (store.stat, store.read, lambda key: store.read(key, 3, 3)):
        with pytest.raises(NotFoundError, match="check") as caught:
            request(key)
        assert f"{store.uri}/{key}" in str(caught.value)


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "..", "../outside", "a/../../outside", "a/..", "a\0b"]
)
def test_a_key_that_leaves_the_root_is_refused_by_name(store: Store, key: str) -> None:
    requests: list[Callable[[str], object]] = [
        store.stat,
        store.read,
        store.delete,
        store.multipart,
        lambda key: store.write(key, b""),
        lambda key: join_uri(store.uri, key),
    ]
    for request in requests:
        with pytest.raises(StorageError) as caught:
            request(key)
        assert repr(key) in str(caught.value)


def test_an_empty_root_lists_nothing_and_a_missing_one_is_an_error(
    store: Store, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert list(store.list()) == []
    missing = "s3://no-such-bucket/x" if store.uri.startswith("s3://") else f"{tmp_path}/missing"
    with pytest.raises(NotFoundError) as caught:
        list(open_store(missing).list())
    assert missing.split("/")[-2] in str(caught.value)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_are_joined_by_number_whatever_order_they_came_in(
    store: Store, order: tuple[int, ...]
) -> None:
    parts = {1: PART, 2: b"\xff" + PART, 3: b"end"}
    with store.multipart("folder/whole.tif") as upload, ThreadPoolExecutor() as pool:
        for number in order:
            pool.submit(upload.upload, number * 100, parts[number]).result()
        assert list(store.list()) == []
    assert store.read("folder/whole.tif") == b"".join(parts.values())
    assert [info.key for info in store.list()] == ["folder/whole.tif"]


def test_a_part_uploaded_again_replaces_the_first(store: Store) -> None:
    with store.multipart("whole") as upload:
        upload.upload(7, b"first")
        upload.upload(7, b"second")
    assert store.read("whole") == b"second"


def test_an_aborted_multipart_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    store.write("whole", b"as it was")
    with pytest.raises(KeyboardInterrupt), store.multipart("whole") as upload:
        upload.upload(1, PART)
        raise KeyboardInterrupt
    assert store.read("whole") == b"as it was"
    assert pending_uploads(store, tmp_path) == []


def test_a_multipart_without_parts_is_an_error_and_leaves_nothing(
    store: Store, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="whole: no part"), store.multipart("whole"):
        pass
    assert list(store.list()) == []
    assert pending_uploads(store, tmp_path) == []


@pytest.mark.parametrize("number", [0, 10_001])
def test_a_part_number_that_s3_does_not_know_is_refused(store: Store, number: int) -> None:
    with (
        pytest.raises(StorageError, match=f"part number {number}"),
        store.multipart("whole") as upload,
    ):
        upload.upload(number, b"data")


def pending_uploads(store: Store, folder: Path) -> list[str]:
    """Return what an upload that is not complete has left in the store."""
    if not store.uri.startswith("s3://"):
        return [str(path) for path in folder.rglob(".*")]
    uploads = backend().get_bucket(store.uri.split("/")[2]).multiparts
    return [upload.key_name for upload in uploads.values()]


def test_a_pickled_store_works_and_carries_no_credential(store: Store) -> None:
    store.write("object", b"data")
    pickled = pickle.dumps(store)
    assert pickle.loads(pickled).read("object") == b"data"
    assert pickle.loads(pickled).uri == store.uri
    for secret in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN):
        assert secret.encode() not in pickled


# --- URIs --------------------------------------------------------------------------------


@given(
    root=st.sampled_from(["/", "/a", "relative/b c", "s3://bucket", "s3://bucket/a b/ü"]),
    parts=st.lists(st.sampled_from(["x", "b c", "ü.tif", "100%"]), min_size=1, max_size=3),
)
def test_splitting_a_joined_uri_gives_its_folder_and_its_name(root: str, parts: list[str]) -> None:
    uri = join_uri(root, *parts)
    assert uri.startswith(root)
    store_uri, key = split_uri(uri)
    assert key == parts[-1]
    assert store_uri == join_uri(root, *parts[:-1])
    assert join_uri(store_uri, key) == uri


def test_a_uri_is_read_where_it_was_written(root_uri: str) -> None:
    uri = join_uri(root_uri, "folder", "file.json")
    assert write_uri(uri, b"{}") == open_store(f"{root_uri}/folder/").stat("file.json")
    assert read_uri(uri) == b"{}"
    assert open_store(root_uri).read("folder/file.json") == b"{}"


def test_a_file_uri_is_its_path(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    uri = (tmp_path / "a b").as_uri()
    assert "%20" in uri
    assert open_store(uri).uri == str(tmp_path / "a b")
    assert split_uri(f"{uri}/x%20y") == (str(tmp_path / "a b"), "x y")
    assert split_uri("x y") == (".", "x y")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "gs://bucket/x",
        "s3://",
        "s3:///x",
        "file://host/x",
        f"s3://{ACCESS_KEY}:{SECRET_KEY}@bucket/x",
        f"https://{ACCESS_KEY}:{SECRET_KEY}@host/x",
    ],
)
def test_a_uri_of_no_store_is_refused_without_repeating_credentials(uri: str) -> None:
    with pytest.raises(ConfigError, match="expected") as caught:
        open_store(uri)
    assert_no_secret(str(caught.value))


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://bucket/folder/", "/"])
def test_a_uri_without_a_file_name_cannot_be_split(uri: str) -> None:
    with pytest.raises(ConfigError, match="expected the URI of a file"):
        split_uri(uri)


# --- Folders -----------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_in_the_middle_leaves_only_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = open_store(str(tmp_path))
    store.write("object", b"as it was")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(StorageError, match=r"object: cannot write: No space.*free space"):
        store.write("object", b"the new contents")
    assert os.listdir(tmp_path) == ["object"]
    assert store.read("object") == b"as it was"


@pytest.mark.parametrize("action", ["write('folder/object', b'new')", "multipart('folder/object')"])
def test_a_process_killed_while_writing_shows_no_partial_object(
    tmp_path: Path, action: str
) -> None:
    store = open_store(str(tmp_path))
    store.write("folder/object", b"as it was")
    program = (
        "import os; from ganray.storage import open_store\n"
        "os.fsync = lambda _: os._exit(9)\n"
        f"with open_store({str(tmp_path)!r}).{action} as upload: upload.upload(1, b'part')\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert len(os.listdir(tmp_path / "folder")) == 2
    assert [info.key for info in store.list()] == ["folder/object"]
    assert store.read("folder/object") == b"as it was"


def test_a_crash_that_is_no_error_of_the_system_also_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_store(str(tmp_path)).write("object", b"data")
    assert os.listdir(tmp_path) == []


def test_links_are_followed_once_and_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    store.write("folder/object", b"1")
    open_store(str(tmp_path / "elsewhere")).write("linked", b"2")
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/folder/loop").symlink_to(tmp_path / "root")
    (tmp_path / "root/broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "root/itself").symlink_to(tmp_path / "root/itself")
    os.mkfifo(tmp_path / "root/pipe")
    assert [info.key for info in store.list()] == ["folder/object", "link/linked"]
    with pytest.raises(NotFoundError, match="pipe: not a file"):
        store.read("pipe")
    with pytest.raises(NotFoundError, match="itself"):
        store.read("itself")


@pytest.mark.parametrize("key", ["a//b", "a/", "./a", ".ganray-partial-1/x"])
def test_a_key_that_a_folder_cannot_hold_is_refused_by_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(StorageError, match="cannot hold the key"):
        open_store(str(tmp_path)).write(key, b"")


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("object", b"1")
    with pytest.raises(StorageError, match="object"):
        store.write("object/below", b"2")
    assert store.read("object") == b"1"


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (13, AccessDeniedError, "permission"),
        (30, AccessDeniedError, "permission"),
        (2, NotFoundError, "exist"),
        (20, NotFoundError, "a file stands where a folder is expected"),
        (122, StorageError, "quota"),
        (5, StorageError, "disk"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[StorageError],
    advice: str,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(StorageError, match=advice) as caught:
        list(open_store(str(tmp_path)).list())
    assert type(caught.value) is kind
    assert str(tmp_path) in str(caught.value)


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    old_mask = os.umask(0o022)
    try:
        open_store(str(tmp_path)).write("object", b"1")
    finally:
        os.umask(old_mask)
    assert (tmp_path / "object").stat().st_mode & 0o777 == 0o644


def test_a_prefix_is_listed_without_reading_the_folders_beside_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    for key in ("a/b/c/1", "a/b/c2/2", "a/b2/3", "4"):
        store.write(key, b"")
    read: list[str] = []
    scandir = os.scandir

    def recording(path: Path) -> object:
        read.append(str(Path(path).relative_to(tmp_path)))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", recording)
    assert [info.key for info in store.list("a/b/c")] == ["a/b/c/1", "a/b/c2/2"]
    assert read == ["a/b", "a/b/c", "a/b/c2"]


@pytest.mark.parametrize(
    "prefix",
    ["/", "../", "./", "a//", "a/../", "object/", "absent/", "a/b/loop/", ".ganray-partial-1/"],
)
def test_a_prefix_of_no_key_lists_nothing(tmp_path: Path, prefix: str) -> None:
    store = open_store(str(tmp_path / "root"))
    store.write("a/b/1", b"")
    store.write("object", b"")
    (tmp_path / "root/a/b/loop").symlink_to(tmp_path / "root/a")
    (tmp_path / "root/.ganray-partial-1").mkdir()
    (tmp_path / "root/.ganray-partial-1/00001").touch()
    assert list(store.list(prefix)) == []


def test_a_name_that_is_not_utf_8_is_listed_as_python_reads_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    store = open_store(str(tmp_path))
    store.write(name, b"data")
    (tmp_path / f"{name}.link").symlink_to("nowhere")
    (info,) = store.list()
    assert os.fsencode(info.key) == b"caf\xe9.png"
    assert store.read(info.key) == b"data"
    assert "caf\\udce9.png.link" in caplog.text
    caplog.text.encode()


def test_a_key_that_is_not_utf_8_is_refused_by_s3(bucket: str) -> None:
    store = open_store(f"s3://{bucket}")
    with pytest.raises(StorageError, match=r"caf\\udce9\.png.*UTF-8; rename"):
        store.write(os.fsdecode(b"caf\xe9.png"), b"data")


# --- Retries -----------------------------------------------------------------------------


@settings(deadline=None)
@given(
    seconds=st.floats(0, 60),
    jitter=st.floats(0.2, 1),
    duration=st.floats(0, 50),
    wait=st.floats(0, 30),
)
def test_tries_end_in_time_and_waits_stay_between_the_stores_wish_and_the_cap(
    seconds: float, jitter: float, duration: float, wait: float
) -> None:
    time = FakeTime(jitter=jitter)
    policy = time.policy(seconds)
    starts: list[float] = []

    def attempt() -> None:
        starts.append(time.seconds)
        time.seconds += duration
        raise AttemptError(UnreachableError, "found", "advice", True, wait)

    with pytest.raises(UnreachableError, match="label: found"):
        retrying(attempt, policy, "label")
    assert all(start <= seconds for start in starts[2:])
    assert all(slept <= seconds for slept in time.slept)
    assert all(wait <= slept <= max(wait, policy.cap_seconds) for slept in time.slept)
    assert len(starts) > 1 or wait >= seconds or policy.base_seconds * jitter >= seconds


def test_waits_double_up_to_the_cap(fake_time: FakeTime) -> None:
    policy = replace(fake_time.policy(), base_seconds=1.0, cap_seconds=8.0)
    with pytest.raises(StorageError):
        retrying(failing(1000), policy, "label")
    assert fake_time.slept[:6] == [1, 2, 4, 8, 8, 8]


def test_a_final_fault_is_not_tried_again(fake_time: FakeTime) -> None:
    with pytest.raises(AccessDeniedError, match="label: found; advice"):
        retrying(failing(1, AccessDeniedError, retryable=False), fake_time.policy(), "label")
    assert fake_time.slept == []


@given(num_faults=st.integers(0, 8))
def test_the_first_success_is_the_result(num_faults: int) -> None:
    time = FakeTime()
    assert retrying(failing(num_faults), time.policy(), "label") == "done"
    assert len(time.slept) == num_faults


def test_the_default_policy_goes_on_for_two_minutes_and_preflight_for_seconds() -> None:
    assert 100 <= RetryPolicy().seconds <= 140
    assert PREFLIGHT.seconds <= 6
    pairs = [(policy, pickle.loads(pickle.dumps(policy))) for policy in (RetryPolicy(), PREFLIGHT)]
    assert all(policy == copy for policy, copy in pairs)


def failing(
    num_faults: int, kind: type[StorageError] = StorageError, retryable: bool = True
) -> Callable[[], str]:
    """Return an attempt that fails so many times, then succeeds."""
    numbers = count(1)

    def attempt() -> str:
        if next(numbers) <= num_faults:
            raise AttemptError(kind, "found", "advice", retryable)
        return "done"

    return attempt


# --- S3 ----------------------------------------------------------------------------------


def test_more_than_a_page_of_keys_is_listed_whole_and_lazily(
    bucket: str, proxy: FaultProxy
) -> None:
    keys = [f"root/{number:05d}" for number in range(2500)]
    for key in [*keys, "root/", "root/marker/"]:
        backend().put_object(bucket, key, b"")
    listing = open_store(f"s3://{bucket}/root").list()
    assert proxy.requests == []
    listed = list(islice(listing, 900))
    assert len(proxy.requests) == 1
    listed += list(listing)
    assert len(proxy.requests) == 3
    assert [f"root/{info.key}" for info in listed] == keys


def test_the_content_type_follows_from_the_name(bucket: str) -> None:
    store = open_store(f"s3://{bucket}")
    expected = {
        "a.png": "image/png",
        "a.webp": "image/webp",
        "a.json": "application/json",
        "a.json.gz": "application/octet-stream",
        "a.unknown": "application/octet-stream",
    }
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    for key in expected:
        store.write(key, b"data")
        with store.multipart(f"parts/{key}") as upload:
            upload.upload(1, b"data")
    for key, content_type in expected.items():
        for whole in (key, f"parts/{key}"):
            assert client.head_object(Bucket=bucket, Key=whole)["ContentType"] == content_type


def test_threads_share_one_client(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[RetryPolicy] = []
    connect = s3_client._connect

    def counting(retry: RetryPolicy) -> s3_client.Client:
        made.append(retry)
        return connect(retry)

    monkeypatch.setattr(s3_client, "_connect", counting)
    store = open_store(f"s3://{bucket}")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.write(f"{number}", b""), range(16)))
    assert len(made) == 1
    assert len(list(store.list())) == 16


@pytest.mark.parametrize("fault", [Reset(1000), Truncate(1000), Reset(0), Truncate(0), LoseReply()])
def test_a_body_that_breaks_off_is_read_again_whole(
    bucket: str, proxy: FaultProxy, fake_time: FakeTime, fault: Reset | Truncate | LoseReply
) -> None:
    data = os.urandom(300_000)
    store = open_store(f"s3://{bucket}", retry=fake_time.policy())
    store.write("object", data)
    proxy.inject(fault, method="GET", times=3)
    assert store.read("object") == data
    assert len(fake_time.slept) == 3
    proxy.inject(fault, method="GET", times=2)
    assert store.read("object", 5000, 200_000) == data[5000:200_000]
    assert len(fake_time.slept) == 5


def test_every_request_outlives_a_busy_store(
    bucket: str, proxy: FaultProxy, fake_time: FakeTime
) -> None:
    store = open_store(f"s3://{bucket}", retry=fake_time.policy())
    requests: list[Callable[[], object]] = [
        lambda: store.write("object", b"data"),
        lambda: store.stat("object"),
        lambda: store.read("object"),
        lambda: list(store.list()),
        lambda: store.delete("object"),
    ]
    for request in requests:
        for fault in (Status(503), Status(429), Status(500, "InternalError"), LoseReply()):
            proxy.inject(fault, times=1)
        request()
    assert len(fake_time.slept) == 4 * len(requests)


def test_a_multipart_outlives_faults_in_each_of_its_requests(
    bucket: str, proxy: FaultProxy, fake_time: FakeTime
) -> None:
    store = open_store(f"s3://{bucket}", retry=fake_time.policy())
    for method in ("POST", "PUT"):
        proxy.inject(Status(503), method=method)
    with store.multipart("whole") as upload:
        upload.upload(1, PART)
        upload.upload(2, b"end")
        proxy.inject(Status(500, "InternalError"), method="POST", path="uploadId")
        proxy.inject(LoseReply(), method="POST", path="uploadId")
        proxy.inject(Status(404, "NoSuchUpload"), method="POST", path="uploadId")
    assert store.read("whole") == PART + b"end"
    assert len(fake_time.slept) == 4


def test_an_upload_that_vanished_is_no_success(
    bucket: str, proxy: FaultProxy, fake_time: FakeTime
) -> None:
    store = open_store(f"s3://{bucket}", retry=fake_time.policy())
    store.write("whole", b"another object")
    with pytest.raises(NotFoundError, match="NoSuchUpload"), store.multipart("whole") as upload:
        upload.upload(1, PART)
        proxy.inject(Status(404, "NoSuchUpload"), method="POST")
    assert store.read("whole") == b"another object"


def test_a_failed_abort_does_not_hide_the_error_that_caused_it(
    bucket: str, proxy: FaultProxy, fake_time: FakeTime
) -> None:
    store = open_store(f"s3://{bucket}", retry=fake_time.policy())
    with pytest.raises(ZeroDivisionError), store.multipart("whole") as upload:
        upload.upload(1, PART)
        proxy.inject(Status(503), method="DELETE", times=1000)
        raise ZeroDivisionError
    assert 0 < sum(fake_time.slept) <= PREFLIGHT.seconds


def test_the_store_decides_how_long_to_wait_at_least(
    bucket: str, proxy: FaultProxy, fake_time: FakeTime
) -> None:
    store = open_store(f"s3://{bucket}", retry=fake_time.policy())
    proxy.inject(Status(503, retry_after_seconds=42), method="PUT")
    store.write("object", b"data")
    assert fake_time.slept == [42]


@pytest.mark.parametrize(
    ("status", "code", "kind", "is_retried"),
    [
        (400, "InvalidArgument", StorageError, False),
        (400, "ExpiredToken", AccessDeniedError, False),
        (400, "RequestTimeout", StorageError, True),
        (401, "Unauthorized", AccessDeniedError, False),
        (403, "AccessDenied", AccessDeniedError, False),
        (403, "RequestTimeTooSkewed", AccessDeniedError, False),
        (404, "NoSuchKey", NotFoundError, False),
        (404, "NoSuchBucket", NotFoundError, False),
        (405, "MethodNotAllowed", StorageError, False),
        (429, "TooManyRequests", StorageError, True),
        (500, "InternalError", StorageError, True),
        (501, "NotImplemented", StorageError, False),
        (503, "SlowDown", StorageError, True),
    ],
)
def test_an_answer_is_classified_by_its_status_and_code(
    proxy: FaultProxy,
    bucket: str,
    fake_time: FakeTime,
    status: int,
    code: str,
    kind: type[StorageError],
    is_retried: bool,
) -> None:
    proxy.inject(Status(status, code), times=1000)
    store = open_store(f"s3://{bucket}/root", retry=fake_time.policy())
    with pytest.raises(StorageError) as caught:
        store.write("folder/object", b"data")
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"s3://{bucket}/root/folder/object: cannot write: ")
    assert f"HTTP {status} {code}" in str(caught.value)
    assert bool(fake_time.slept) == is_retried
    assert sum(fake_time.slept) <= 120
    assert not is_retried or sum(fake_time.slept) > 90


def test_a_store_that_ignores_ranges_gives_the_right_bytes(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"s3://{bucket}")
    store.write("object", b"0123456789")
    client = store._client._connected()  # type: ignore[attr-defined]
    client.meta.events.register(
        "before-send.s3", lambda request, **_: request.headers.pop("Range", None) and None
    )
    assert store.read("object", 2, 5) == b"234"


# --- Copies, and objects made of them ------------------------------------------------------


MIB = 1 << 20


def test_a_part_is_copied_from_another_object(store: Store) -> None:
    store.write("source/a b ü.bin", PART + b"0123456789")
    with store.multipart("folder/whole") as upload, ThreadPoolExecutor() as pool:
        copies = [
            (3, "source/a b ü.bin", 5 * MIB + 2, 5 * MIB + 5),
            (2, "source/a b ü.bin", 0, 5 * MIB),
        ]
        for future in [pool.submit(upload.copy, *copy) for copy in copies]:
            future.result()
        upload.upload(1, PART[::-1])
    assert store.read("folder/whole") == PART[::-1] + PART + b"234"


def test_a_part_copied_again_replaces_the_first(store: Store) -> None:
    store.write("source", b"0123456789")
    with store.multipart("whole") as upload:
        upload.copy(1, "source", 0, 10)
        upload.copy(1, "source", 2, 4)
    assert store.read("whole") == b"23"


def test_a_copy_of_what_is_not_there_is_an_error_and_leaves_nothing(
    store: Store, tmp_path: Path
) -> None:
    store.write("source", b"0123456789")
    with pytest.raises(NotFoundError, match="absent: cannot"), store.multipart("whole") as upload:
        upload.copy(1, "absent", 0, 5)
    assert [info.key for info in store.list()] == ["source"]
    assert pending_uploads(store, tmp_path) == []


def test_a_copy_beyond_an_object_s_end_is_an_error(store: Store, tmp_path: Path) -> None:
    store.write("source", b"0123456789")
    with (
        pytest.raises(StorageError, match="source: ends before byte 11"),
        store.multipart("whole") as upload,
    ):
        upload.copy(1, "source", 0, 11)
    assert [info.key for info in store.list()] == ["source"]
    assert pending_uploads(store, tmp_path) == []


def test_a_file_is_copied_where_the_kernel_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(3 * MIB + 17)
    store = open_store(str(tmp_path))
    store.write("source", data)
    whole = os.copy_file_range

    def part_way(source: int, target: int, count: int, start: int, position: int) -> int:
        if start > 2 * MIB:
            raise OSError(18, "Invalid cross-device link")
        return whole(source, target, min(count, MIB), start, position)

    for replacement in (part_way, lambda *_: 0, None):
        if replacement is None:
            monkeypatch.delattr(os, "copy_file_range")
        else:
            monkeypatch.setattr(os, "copy_file_range", replacement)
        with store.multipart("copied") as upload:
            upload.copy(1, "source", 5, len(data))
            upload.copy(2, "source", 0, 5)
        assert store.read("copied") == data[5:] + data[:5]


def test_copies_outlive_a_busy_store_and_answers_without_a_result(
    bucket: str, proxy: FaultProxy, fake_time: FakeTime
) -> None:
    store = open_store(f"s3://{bucket}/root", retry=fake_time.policy())
    store.write("source", PART)
    with store.multipart("whole") as upload:
        # A store may begin its answer before the copy has failed.
        for fault in (Status(503), Status(200, "InternalError"), LoseReply()):
            proxy.inject(fault, method="PUT")
        upload.copy(1, "source", 0, len(PART))
        upload.upload(2, b"end")
    assert store.read("whole") == PART + b"end"
    assert len(fake_time.slept) == 3


@dataclass(frozen=True)
class Piece:
    """Bytes that are written (`start` is None) or copied from the source."""

    num_bytes: int
    start: int | None = None


KIB = 1 << 10
SOURCE = os.urandom(64 * KIB)
pieces = st.lists(
    st.builds(Piece, st.integers(0, 40 * KIB), st.none() | st.integers(0, 24 * KIB)), max_size=12
)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of a thousandth."""
    monkeypatch.setattr(concatenation, "LEAST_PART_BYTES", 5 * KIB)
    monkeypatch.setattr(concatenation, "PART_BYTES", 8 * KIB)
    monkeypatch.setattr(concatenation, "COPY_BYTES", 15 * KIB)


class RecordingStore(MemoryStore):
    """Remembers the sizes of an object's parts and how much was read."""

    def __init__(self) -> None:
        super().__init__({"source": SOURCE})
        self.sizes: list[int] = []
        self.num_read = 0

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        data = super().read(key, start, end)
        self.num_read += len(data)
        return data

    @contextmanager
    def multipart(self, key: str) -> Iterator[Multipart]:
        with super().multipart(key) as upload:
            yield upload
            self.sizes = [len(part) for _, part in sorted(upload.parts.items())]


def concatenate(store: Store, some: list[Piece], expected_bytes: int = 0) -> bytes:
    """Write an object of these pieces, and return what its contents should be."""
    plain = b""
    with Concatenation(store, "folder/whole", expected_bytes) as whole:
        for number, piece in enumerate(some):
            if piece.start is None:
                data = bytes([number]) * piece.num_bytes
                whole.write(data)
            else:
                data = SOURCE[piece.start : piece.start + piece.num_bytes]
                whole.copy("source", piece.start, piece.start + piece.num_bytes)
            plain += data
            assert whole.num_bytes == len(plain)
    return plain


@settings(many_examples, max_examples=100)
@given(some=pieces)
def test_a_concatenation_is_its_pieces_in_parts_that_s3_takes(
    small_parts: None, some: list[Piece]
) -> None:
    store = RecordingStore()
    plain = concatenate(store, some)
    assert store.objects["folder/whole"] == plain
    assert all(size >= 5 * KIB for size in store.sizes[:-1])
    assert all(size <= 15 * KIB for size in store.sizes)
    if len(plain) > 8 * KIB:
        assert sum(store.sizes) == len(plain)
    # Of a copied range, what fills a part before it is read, or all of a small one.
    assert store.num_read <= sum(
        min(piece.num_bytes, 10 * KIB) for piece in some if piece.start is not None
    )


@many_examples
@given(some=pieces)
def test_a_concatenation_in_a_folder_is_its_pieces(
    small_parts: None, tmp_path_factory: pytest.TempPathFactory, some: list[Piece]
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("store")))
    store.write("source", SOURCE)
    plain = concatenate(store, some)
    assert store.read("folder/whole") == plain
    assert [info.key for info in store.list()] == ["folder/whole", "source"]


def test_a_concatenation_of_real_sizes_is_its_pieces(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("source", PART + PART[: 2 * MIB] + b"end")
    with Concatenation(store, "whole") as whole:
        whole.write(b"head")
        whole.copy("source", 0, 7 * MIB + 3)
        whole.copy("source", MIB, 7 * MIB)
        whole.write(b"tail")
    assert store.read("whole") == (
        b"head" + PART + PART[: 2 * MIB] + b"end" + PART[MIB:] + PART[: 2 * MIB] + b"tail"
    )


@pytest.mark.parametrize("num_bytes", [0, 1, 8 * KIB])
def test_what_fits_in_one_part_is_written_at_once(small_parts: None, num_bytes: int) -> None:
    store = RecordingStore()
    concatenate(store, [Piece(num_bytes)])
    assert store.sizes == []
    assert len(store.objects["folder/whole"]) == num_bytes


def test_the_number_of_parts_of_an_announced_size_is_bounded(
    small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concatenation, "MAX_PART_NUMBER", 1010)
    some = [piece for _ in range(10) for piece in (Piece(1), Piece(20 * KIB, 0), Piece(9 * KIB))]
    for expected_bytes, most in ((0, 100), (300 * KIB, 11)):
        store = RecordingStore()
        assert concatenate(store, some, expected_bytes) == store.objects["folder/whole"]
        assert 2 < len(store.sizes) <= most


def test_a_concatenation_that_fails_leaves_nothing(
    store: Store, tmp_path: Path, small_parts: None
) -> None:
    store.write("source", SOURCE)
    with pytest.raises(KeyboardInterrupt), Concatenation(store, "whole") as whole:
        whole.write(bytes(20 * KIB))
        raise KeyboardInterrupt
    with (
        pytest.raises(StorageError, match="source: ends before"),
        Concatenation(store, "whole") as whole,
    ):
        whole.copy("source", 62 * KIB, 66 * KIB)
    with pytest.raises(NotFoundError, match="absent"), Concatenation(store, "whole") as whole:
        whole.copy("absent", 0, 40 * KIB)
        whole.write(b"x")
    assert [info.key for info in store.list()] == ["source"]
    assert pending_uploads(store, tmp_path) == []


def test_a_part_that_fails_in_its_thread_fails_the_concatenation(
    small_parts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space"), Concatenation(store, "whole") as whole:
        monkeypatch.setattr(os, "fsync", fail)
        whole.write(bytes(20 * KIB))
    assert os.listdir(tmp_path) == []


# --- What killed writers leave behind --------------------------------------------------------


def leave_unfinished(store: Store) -> None:
    """Begin uploads as a writer does that is killed."""
    for key in ("whole", "folder/below/whole"):
        upload = store.multipart(key)
        upload.__enter__()
        upload.upload(1, b"data")


def test_unfinished_uploads_below_the_root_are_removed(
    root_uri: str, store: Store, tmp_path: Path
) -> None:
    store.write("folder/object", b"data")
    neighbour = open_store(f"{root_uri}-neighbour")
    leave_unfinished(neighbour)
    remaining = pending_uploads(neighbour, tmp_path)
    leave_unfinished(store)
    if not root_uri.startswith("s3://"):
        # To moto, every upload is of the year 2010.
        assert store.abort_unfinished(older_than_seconds=3600) == 0
    assert store.abort_unfinished() == 2
    assert pending_uploads(neighbour, tmp_path) == remaining != []
    assert store.abort_unfinished() == 0
    assert [info.key for info in store.list()] == ["folder/object"]


def test_unfinished_files_of_a_killed_write_are_removed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/.ganray-partial-1").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / ".ganray-partial-2").touch()
    (root / ".ganray-partial-3").symlink_to(tmp_path / "elsewhere")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    assert open_store(str(root)).abort_unfinished() == 2
    assert os.listdir(root) == ["link"]
    assert os.listdir(tmp_path / "elsewhere") == [".ganray-partial-1"]
    assert open_store(str(tmp_path / "absent")).abort_unfinished() == 0


def test_more_than_a_page_of_unfinished_uploads_is_aborted(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"s3://{bucket}/root")
    for number in range(7):
        backend().create_multipart_upload(bucket, f"root/{number % 3}", {}, "", [], None, "", "")
    client = store._client._connected()  # type: ignore[attr-defined]
    listed = client.list_multipart_uploads
    monkeypatch.setattr(
        client, "list_multipart_uploads", lambda **query: listed(**query, MaxUploads=2)
    )
    assert store.abort_unfinished() == 7


@pytest.mark.parametrize("action", ["GET", "DELETE"])
def test_cleaning_that_is_not_allowed_is_logged_and_left(
    bucket: str,
    proxy: FaultProxy,
    fake_time: FakeTime,
    caplog: pytest.LogCaptureFixture,
    action: str,
) -> None:
    store = open_store(f"s3://{bucket}/root", retry=fake_time.policy())
    leave_unfinished(store)
    proxy.inject(Status(403, "AccessDenied"), method=action, times=100)
    assert store.abort_unfinished() == 0
    permission = {"GET": "s3:ListBucketMultipartUploads", "DELETE": "s3:AbortMultipartUpload"}
    assert f"they need {permission[action]} on {bucket}" in caplog.text


# --- What messages say, and what they never say -------------------------------------------


def test_no_credential_appears_in_messages_logs_or_tracebacks(
    bucket: str, proxy: FaultProxy, fake_time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ganray")
    message = f"The key {ACCESS_KEY} is wrong: {SECRET_KEY} {SESSION_TOKEN}"
    store = open_store(f"s3://{bucket}", retry=fake_time.policy())
    for status, code in ((403, "SignatureDoesNotMatch"), (503, "SlowDown"), (400, "Malformed")):
        for request in (lambda: store.write("object", b"data"), lambda: list(store.list())):
            proxy.inject(Status(status, code, message), times=1)
            with suppress(GanrayError):
                request()
    proxy.inject(Status(403, "InvalidAccessKeyId", message), times=1)
    with pytest.raises(AccessDeniedError, match=f"check the credentials; .*{bucket}") as caught:
        store.read("object")
    assert "event=retry" in caplog.text
    assert "event=recovered" in caplog.text
    assert_no_secret(caplog.text, "".join(traceback.format_exception(caught.value)))


def assert_no_secret(*texts: str) -> None:
    for secret in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN):
        assert not any(secret in text for text in texts)


def test_missing_credentials_are_named_by_their_variables(
    bucket: str, environment: pytest.MonkeyPatch, fake_time: FakeTime
) -> None:
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store(f"s3://{bucket}", retry=fake_time.policy())
    with pytest.raises(AccessDeniedError, match=f"AWS_ACCESS_KEY_ID.*s3:PutObject on {bucket}/x"):
        store.write("x", b"")
    environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    with pytest.raises(AccessDeniedError, match="AWS_SECRET_ACCESS_KEY") as caught:
        store.read("x")
    assert_no_secret(str(caught.value))
    assert fake_time.slept == []


def test_a_missing_bucket_is_to_be_created(environment: pytest.MonkeyPatch) -> None:
    store = open_store("s3://no-such-bucket")
    requests: list[Callable[[], object]] = [
        lambda: store.write("object", b"data"),
        lambda: store.read("object"),
        lambda: list(store.list()),
        lambda: store.multipart("object").__enter__(),
    ]
    for request in requests:
        with pytest.raises(NotFoundError, match="create the bucket no-such-bucket"):
            request()
    with pytest.raises(NotFoundError, match="the bucket no-such-bucket exists"):
        store.stat("object")


def test_a_refused_connection_names_the_endpoint_without_its_password(
    environment: pytest.MonkeyPatch, fake_time: FakeTime
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{closed.getsockname()[1]}"
        environment.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET_KEY[-8:]}@{host}")
        store = open_store("s3://bucket", retry=fake_time.policy(6.0))
        with pytest.raises(UnreachableError, match="check AWS_ENDPOINT_URL") as caught:
            store.read("object")
    assert host in str(caught.value)
    assert "s3://bucket/object: cannot read" in str(caught.value)
    assert SECRET_KEY[-8:] not in "".join(traceback.format_exception(caught.value))
    assert 0 < sum(fake_time.slept) <= 6


def test_an_endpoint_that_is_no_url_is_a_configuration_error(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("AWS_ENDPOINT_URL", f"user:{SECRET_KEY}@host:9000")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL: expected http://") as caught:
        open_store("s3://bucket").read("object")
    assert_no_secret(str(caught.value))


def test_amazons_own_endpoint_keeps_virtual_host_addresses(
    environment: pytest.MonkeyPatch,
) -> None:
    def address() -> str:
        client = s3_client._connect(RetryPolicy())
        return str(client.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"}))

    environment.setenv("AWS_ENDPOINT_URL", "http://store.example:9000")
    assert address().startswith("http://store.example:9000/bucket/k")
    environment.delenv("AWS_ENDPOINT_URL")
    assert address().startswith("https://bucket.s3.")
