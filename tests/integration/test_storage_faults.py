"""A real store behind a proxy that spoils answers; `tests/unit/test_storage.py` has the rest."""

import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

from ganray.claim import claimed
from ganray.errors import AccessDeniedError, ClaimedError, NotFoundError, StorageError
from ganray.ledger import Ledger, LedgerRow, scan
from ganray.object_store import ObjectStore
from ganray.storage import PREFLIGHT, Concatenation, RetryPolicy, Store, open_store
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


def test_parts_are_copied_by_the_store_through_faults(store: Store, proxy: FaultProxy) -> None:
    data = os.urandom(6 << 20)
    store.write("folder/a b ü.bin", data)
    with store.multipart("whole") as upload:
        for fault in (Status(503), LoseReply(), Status(200, "InternalError")):
            proxy.inject(fault, method="PUT")
        upload.copy(2, "folder/a b ü.bin", 1 << 20, 6 << 20)
        upload.upload(1, PART)
        upload.copy(3, "folder/a b ü.bin", 7, 1007)
        proxy.inject(LoseReply(), method="POST", path="uploadId")
    assert store.read("whole") == PART + data[1 << 20 :] + data[7:1007]


@pytest.mark.parametrize(("key", "end"), [("absent", 5), ("source", 11)])
def test_a_copy_of_what_is_not_there_is_an_error_and_leaves_nothing(
    store: Store, key: str, end: int
) -> None:
    store.write("source", b"0123456789")
    with (
        pytest.raises(StorageError, match=f"{key}: (cannot copy|ends)"),
        store.multipart("w") as upload,
    ):
        upload.copy(1, key, 0, end)
    assert [info.key for info in store.list()] == ["source"]
    assert store.abort_unfinished() == 0


MIB = 1 << 20
SOURCE = os.urandom(16 * MIB)

# A small head and tail; copies that need a filled part before them; more than one part.
CONCATENATIONS: list[list[int | tuple[int, int]]] = [
    [],
    [3, (5, 5), 7],
    [9 * MIB],
    [(0, 16 * MIB)],
    [1000, (3, 12 * MIB), (1, 100), (0, 5 * MIB), 77],
    [6 * MIB, (0, 16 * MIB), 4 * MIB, (MIB, 16 * MIB), (0, 9 * MIB), 1],
]


@pytest.mark.parametrize("some", CONCATENATIONS)
def test_a_concatenation_is_its_pieces(
    store: Store, proxy: FaultProxy, some: list[int | tuple[int, int]]
) -> None:
    store.write("source", SOURCE)
    plain = b""
    with Concatenation(store, "folder/whole") as whole:
        for piece in some:
            if isinstance(piece, tuple):
                whole.copy("source", *piece)
                plain += SOURCE[piece[0] : piece[1]]
            else:
                whole.write(SOURCE[:piece])
                plain += SOURCE[:piece]
    assert store.read("folder/whole") == plain
    uploads = [request for request in proxy.requests if "partNumber" in request]
    assert bool(uploads) == (len(plain) > 8 * MIB)


def test_uploads_that_nobody_completed_are_removed(store: Store, bucket: str) -> None:
    neighbour = open_store(f"{bucket}/some root 2", retry=QUICK)
    for each, key in ((store, "whole"), (store, "folder/ü"), (neighbour, "whole")):
        upload = each.multipart(key)
        upload.__enter__()
        upload.upload(1, b"data")
    store.write("object", b"data")
    assert store.abort_unfinished(older_than_seconds=3600) == 0
    assert store.abort_unfinished() == 2
    assert store.abort_unfinished() == 0
    assert [info.key for info in store.list()] == ["object"]
    assert neighbour.abort_unfinished() == 1


def test_a_ledger_is_recorded_absorbed_and_read_through_faults(
    store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_MOST_BYTES", "_LEAST_BYTES"):
        monkeypatch.setattr(scan, name, 10_000)
    ledger = Ledger(store)
    rows = [
        LedgerRow(f"{n:04}", str(n), "g", "c", "restored", 1.0 + n, "run-1", 1) for n in range(5000)
    ]
    for number in range(5):
        ledger.absorb(rows[number::10], [], f"run-1-{number}")
    for number in range(5, 10):
        ledger.record(rows[number::10], f"run-1-{number}")
    for fault in (Reset(100), Truncate(100), LoseReply(), Status(503)):
        proxy.inject(fault, method="GET", path="ledger", times=5)
    assert list(ledger.scan()) == rows
    ledger.compact("run-1")
    assert list(ledger.scan()) == rows
    assert len(list(store.list("_ganray/"))) == 1


def test_a_claim_is_held_by_one_run(store: Store) -> None:
    with claimed(store, "run-1") as held:
        with pytest.raises(ClaimedError, match="run-1"):
            claimed(store, "run-2").__enter__()
        held.beat()
        assert not held.lost
    assert list(store.list()) == []


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
