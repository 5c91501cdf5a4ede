"""A bucket's prefix as a store."""

import contextlib
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from ganray.errors import AccessDeniedError, StorageError
from ganray.storage.retry import RetryPolicy
from ganray.storage.s3_client import Client, S3Client
from ganray.storage.s3_errors import ShortBodyError, code_of, status_of
from ganray.storage.s3_multipart import (
    S3Multipart,
    abort,
    content_type,
    plain_etag,
    unfinished_uploads,
)
from ganray.storage.store import (
    MAX_KEY_BYTES,
    Multipart,
    ObjectInfo,
    check_key,
    check_range,
)

_log = logging.getLogger(__name__)

_Answer = dict[str, Any]

_RANGE_NOT_SATISFIABLE = 416


class S3Store:
    """Objects below one prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str, retry: RetryPolicy) -> None:
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = S3Client(bucket, retry)
        self._root = f"{prefix}/" if prefix else ""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key begins with `prefix`, one request per 1,000 keys.

        The empty objects that some tools make to show a folder are left out.
        """
        token: str | None = None
        while True:
            page = self._page(self._root + prefix, token)
            for entry in page.get("Contents", ()):
                if not (entry["Key"].endswith("/") and entry["Size"] == 0):
                    key = entry["Key"].removeprefix(self._root)
                    yield ObjectInfo(key, int(entry["Size"]), plain_etag(entry))
            if not page.get("IsTruncated"):
                return
            token = page["NextContinuationToken"]

    def stat(self, key: str) -> ObjectInfo:
        """Describe one object, or raise `NotFoundError`."""
        place = self._place(key)
        answer: _Answer = self._client.call(
            "stat", place["Key"], lambda s3: s3.head_object(**place)
        )
        return ObjectInfo(key, int(answer["ContentLength"]), plain_etag(answer))

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes [start, end) that exist."""
        check_range(start, end)
        if end is not None and end <= start:
            # A range header cannot ask for nothing.
            self.stat(key)
            return b""
        place = self._place(key)
        return self._client.call("read", place["Key"], lambda s3: _get(s3, place, start, end))

    def write(self, key: str, data: bytes) -> ObjectInfo:
        """Create or replace an object; its content type follows from the key."""
        place = self._place(key)
        put = {**place, "Body": data, "ContentType": content_type(key)}
        answer: _Answer = self._client.call("write", place["Key"], lambda s3: s3.put_object(**put))
        return ObjectInfo(key, len(data), plain_etag(answer))

    def multipart(self, key: str) -> Multipart:
        """Begin a multipart upload, as a context manager."""
        return S3Multipart(self._client, self._root, self._place(key))

    def delete(self, key: str) -> None:
        """Remove an object; one that is absent already is fine."""
        place = self._place(key)
        self._client.call("delete", place["Key"], lambda s3: _delete(s3, place))

    def abort_unfinished(self, older_than_seconds: float = 0.0) -> int:
        """Abort the uploads below the prefix; where that is not allowed, log it and go on."""
        num_aborted = 0
        try:
            for upload in unfinished_uploads(self._client, self._root, older_than_seconds):
                self._client.call("abort", upload["Key"], partial(abort, upload=upload))
                num_aborted += 1
        except AccessDeniedError as error:
            _log.warning("event=cleaning_refused aborted=%d cause=%r", num_aborted, str(error))
        return num_aborted

    def _page(self, prefix: str, token: str | None) -> _Answer:
        query = {"Bucket": self._client.bucket, "Prefix": prefix}
        if token is not None:
            query["ContinuationToken"] = token
        page: _Answer = self._client.call("list", prefix, lambda s3: s3.list_objects_v2(**query))
        return page

    def require_key(self, key: str) -> None:
        """Raise StorageError unless S3 could hold an object of this key."""
        check_key(key)
        num_bytes = len((self._root + key).encode())
        if num_bytes > MAX_KEY_BYTES:
            raise StorageError(
                f"key {key!r}: {num_bytes} bytes with its prefix, and S3 allows {MAX_KEY_BYTES}; "
                "shorten it, or the target's prefix"
            )

    def _place(self, key: str) -> dict[str, str]:
        check_key(key)
        try:
            key.encode()
        except UnicodeEncodeError:
            raise StorageError(f"{self.uri}: the key {key!r} is not UTF-8; rename it") from None
        return {"Bucket": self._client.bucket, "Key": self._root + key}


def _get(s3: Client, place: dict[str, str], start: int, end: int | None) -> bytes:
    """Request and read one body, so that a retry repeats both."""
    is_whole = start == 0 and end is None
    span = {} if is_whole else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
    try:
        answer = s3.get_object(**place, **span)
    except ClientError as error:
        if status_of(error) == _RANGE_NOT_SATISFIABLE:
            return b""
        raise
    with contextlib.closing(answer["Body"]) as body:
        data: bytes = body.read()
    if len(data) != int(answer["ContentLength"]):
        raise ShortBodyError
    if "ContentRange" not in answer:
        # The whole object: HTTP allows a store to ignore a range.
        return data[start:end]
    total = int(answer["ContentRange"].rpartition("/")[2])
    if len(data) != (total if end is None else min(end, total)) - start:
        raise ShortBodyError
    return data


def _delete(s3: Client, place: dict[str, str]) -> None:
    try:
        s3.delete_object(**place)
    except ClientError as error:
        if code_of(error) != "NoSuchKey":
            raise
