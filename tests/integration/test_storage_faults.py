"""A real store behind a proxy that spoils answers; `tests/unit/test_storage.py` has the rest."""

import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from ganray.errors import AccessDeniedError, NotFoundError, StorageError
from ganray.object_store import ObjectStore
from ganray.storage import PREFLIGHT, RetryPolicy, Store, open_store
from tests.integration.fault_proxy import FaultProxy, LoseReply, Reset, Status, Truncate

PART = b"p" * (5 << 20)
QUICK = RetryPolicy(seconds=30.0, base_seconds=0.01, cap_seconds=0.1)


@pytest.fixture
def proxy(
    bucket: str, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    with FaultProxy(object_store.endpoint_url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def store(bucket: str, proxy: FaultProxy) -> Store:
    return open_store(f"{bucket}/some root", retry=QUICK)


def test_the_contract_holds_on_a_real_store(store: Store) -> None:
    data = os.urandom(5000)
    keys = ["a b/ü 字.tif", "a-b", "a/100%+.bin", "empty"]
    written = [store.write(key, data if key != "empty" else b"") for key in keys]
    assert list(store.list()) == sorted(written, key=lambda info: info.key)
    assert [store.stat(info.key) for info in written] == written
    assert [info.key for info in store.list("a-")] == ["a-b"]
    ranges = [(0, None), (7, None), (7, 100), (4990, 9000), (9000, None), (3, 3)]
    for start, end in ranges:
        assert store.read("a-b", start, end) == data[start:end]
        assert store.read("empty", start, end) == b""
    store.delete("a-b")
    store.delete("a-b")
    with pytest.raises(NotFoundError, match="a-b"):
        store.stat("a-b")
    with pytest.raises(NotFoundError, match="a-b"):
        store.read("a-b")


def test_more_than_a_page_of_keys_is_listed_whole(store: Store) -> None:
    keys = [f"folder/{number:05d}" for number in range(1005)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.write(key, b""), keys))
    assert [info.key for info in store.list("folder/")] == keys


@pytest.mark.parametrize("fault", [Reset(1000), Truncate(1000), LoseReply()])
def test_a_body_that_breaks_off_is_read_again_whole(
    store: Store, proxy: FaultProxy, fault: Reset | Truncate | LoseReply
) -> None:
    data = os.urandom(1_000_000)
    store.write("object", data)
    proxy.inject(fault, method="GET", times=3)
    assert store.read("object") == data
    proxy.inject(fault, method="GET", times=2)
    assert store.read("object", 5000, 900_000) == data[5000:900_000]
    assert len([request for request in proxy.requests if request.startswith("GET")]) == 7


def test_every_request_outlives_a_busy_store(store: Store, proxy: FaultProxy) -> None:
    requests: list[Callable[[], object]] = [
        lambda: store.write("object", b"data"),
        lambda: store.stat("object"),
        lambda: store.read("object"),
        lambda: list(store.list()),
        lambda: store.delete("object"),
    ]
    for request in requests:
        for fault in (Status(503), Status(429), Status(500, "InternalError"), LoseReply()):
            proxy.inject(fault)
        request()
    assert len(proxy.requests) == 5 * len(requests)


def test_a_multipart_outlives_lost_replies_in_each_of_its_requests(
    store: Store, proxy: FaultProxy
) -> None:
    for method in ("POST", "PUT"):
        proxy.inject(LoseReply(), method=method)
    with store.multipart("folder/whole") as upload, ThreadPoolExecutor() as pool:
        parts = {1: PART, 70: PART[::-1], 1000: b"end"}
        for future in [pool.submit(upload.upload, *part) for part in reversed(parts.items())]:
            future.result()
        assert list(store.list()) == []
        proxy.inject(LoseReply(), method="POST", path="uploadId")
    assert store.read("folder/whole") == b"".join(parts.values())


def test_an_aborted_multipart_leaves_nothing_behind(store: Store, bucket: str) -> None:
    with pytest.raises(KeyboardInterrupt), store.multipart("whole") as upload:
        upload.upload(1, PART)
        raise KeyboardInterrupt
    assert list(store.list()) == []
    client = boto3.session.Session().client("s3", region_name="us-east-1")
    assert (
        client.list_multipart_uploads(Bucket=bucket.removeprefix("s3://")).get("Uploads", []) == []
    )


def test_a_store_that_stays_broken_is_an_error_that_names_the_object(
    bucket: str, proxy: FaultProxy
) -> None:
    proxy.inject(Status(503), times=1000)
    store = open_store(bucket, retry=PREFLIGHT)
    with pytest.raises(StorageError, match=rf"{bucket}/object: cannot read: .*503.*tries in"):
        store.read("object")


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_reported_at_once_and_never_repeated(
    store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "WRONGWRONGWRONGWRONG")
    requests: list[Callable[[], object]] = [
        lambda: store.write("object", b"data"),
        lambda: store.stat("object"),
        lambda: store.read("object"),
        lambda: list(store.list()),
    ]
    for request in requests:
        with pytest.raises(
            AccessDeniedError, match="check the credentials; they need s3:"
        ) as caught:
            request()
        message = "".join(traceback.format_exception(caught.value))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            assert os.environ[name] not in message
    assert len(proxy.requests) == len(requests)


def test_a_missing_bucket_is_to_be_created(proxy: FaultProxy) -> None:
    store = open_store("s3://no-such-bucket-here")
    requests: list[Callable[[], object]] = [
        lambda: store.write("object", b"data"),
        lambda: store.read("object"),
        lambda: list(store.list()),
    ]
    for request in requests:
        with pytest.raises(NotFoundError, match="create the bucket no-such-bucket-here"):
            request()
