"""A bucket's prefix as a store."""

import contextlib
import dataclasses
import hashlib
import logging
import mimetypes
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from botocore.exceptions import ClientError

from ganray.errors import StorageError
from ganray.storage.retry import PREFLIGHT, RetryPolicy
from ganray.storage.s3_client import Client, S3Client
from ganray.storage.s3_errors import ShortBodyError, code_of, status_of
from ganray.storage.store import (
    Multipart,
    ObjectInfo,
    check_key,
    check_part_number,
    check_range,
)

_log = logging.getLogger(__name__)

_Answer = dict[str, Any]

_RANGE_NOT_SATISFIABLE = 416
_NOT_FOUND = 404


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
                    yield ObjectInfo(key, int(entry["Size"]), _plain_etag(entry))
            if not page.get("IsTruncated"):
                return
            token = page["NextContinuationToken"]

    def stat(self, key: str) -> ObjectInfo:
        """Describe one object, or raise `NotFoundError`."""
        place = self._place(key)
        answer: _Answer = self._client.call(
            "stat", place["Key"], lambda s3: s3.head_object(**place)
        )
        return ObjectInfo(key, int(answer["ContentLength"]), _plain_etag(answer))

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
        put = {**place, "Body": data, "ContentType": _content_type(key)}
        answer: _Answer = self._client.call("write", place["Key"], lambda s3: s3.put_object(**put))
        return ObjectInfo(key, len(data), _plain_etag(answer))

    def multipart(self, key: str) -> Multipart:
        """Begin a multipart upload, as a context manager."""
        return _S3Multipart(self._client, self._place(key))

    def delete(self, key: str) -> None:
        """Remove an object; one that is absent already is fine."""
        place = self._place(key)
        self._client.call("delete", place["Key"], lambda s3: _delete(s3, place))

    def _page(self, prefix: str, token: str | None) -> _Answer:
        query = {"Bucket": self._client.bucket, "Prefix": prefix}
        if token is not None:
            query["ContinuationToken"] = token
        page: _Answer = self._client.call("list", prefix, lambda s3: s3.list_objects_v2(**query))
        return page

    def _place(self, key: str) -> dict[str, str]:
        check_key(key)
        return {"Bucket": self._client.bucket, "Key": self._root + key}


class _S3Multipart:
    """One multipart upload; an exception aborts it, so that no part stays behind."""

    def __init__(self, client: S3Client, place: dict[str, str]) -> None:
        self._client = client
        self._place = place
        self._key = place["Key"]
        self._etags: dict[int, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "_S3Multipart":
        create = {**self._place, "ContentType": _content_type(self._key)}
        answer: _Answer = self._client.call(
            "write", self._key, lambda s3: s3.create_multipart_upload(**create)
        )
        self._upload = {**self._place, "UploadId": answer["UploadId"]}
        return self

    def upload(self, part_number: int, data: bytes) -> None:
        """Store one part, from any thread."""
        check_part_number(self._key, part_number)
        part = {**self._upload, "PartNumber": part_number, "Body": data}
        answer: _Answer = self._client.call("write", self._key, lambda s3: s3.upload_part(**part))
        with self._lock:
            self._etags[part_number] = answer["ETag"]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._abort()
            return
        try:
            self._complete()
        except BaseException:
            self._abort()
            raise

    def _complete(self) -> None:
        if not self._etags:
            raise StorageError(
                f"s3://{self._client.bucket}/{self._key}: no part was uploaded; upload at least one"
            )
        parts = [{"PartNumber": n, "ETag": etag} for n, etag in sorted(self._etags.items())]
        request = {**self._upload, "MultipartUpload": {"Parts": parts}}
        self._client.call("write", self._key, lambda s3: self._finish(s3, request))

    def _finish(self, s3: Client, request: _Answer) -> None:
        try:
            s3.complete_multipart_upload(**request)
        except ClientError as error:
            # The reply to an earlier try was lost if the object is there, made of our parts.
            if code_of(error) != "NoSuchUpload" or not self._is_complete(s3):
                raise

    def _is_complete(self, s3: Client) -> bool:
        try:
            answer = s3.head_object(**self._place)
        except ClientError as error:
            if status_of(error) == _NOT_FOUND:
                return False
            raise
        return _plain_etag(answer) == _multipart_etag(self._etags)

    def _abort(self) -> None:
        """Drop the parts; a failure is logged, since another error is already on its way."""
        retry = self._client.retry
        quick = dataclasses.replace(retry, seconds=min(retry.seconds, PREFLIGHT.seconds))
        upload = self._upload
        try:
            self._client.call(
                "abort", self._key, lambda s3: s3.abort_multipart_upload(**upload), quick
            )
        except StorageError as error:
            _log.warning("event=abort_failed cause=%r", str(error))


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


def _plain_etag(answer: _Answer) -> str:
    return str(answer["ETag"]).strip('"')


def _multipart_etag(etags: dict[int, str]) -> str:
    """Return the ETag that S3 gives to an object of these parts: an MD5 of their MD5s."""
    try:
        digests = b"".join(bytes.fromhex(etags[number].strip('"')) for number in sorted(etags))
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"


def _content_type(key: str) -> str:
    kind, encoding = mimetypes.guess_type(key.rpartition("/")[2], strict=False)
    # For "x.json.gz" the guess is the type after decompression, which nobody has asked for.
    return kind if kind is not None and encoding is None else "application/octet-stream"
