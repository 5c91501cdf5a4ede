"""Uploads in parts to an S3 store, and those that nobody completed."""

import dataclasses
import hashlib
import logging
import mimetypes
import threading
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any

from botocore.exceptions import ClientError

from ganray.errors import StorageError
from ganray.storage.retry import PREFLIGHT
from ganray.storage.s3_client import Client, S3Client
from ganray.storage.s3_errors import ShortBodyError, code_of, status_of
from ganray.storage.store import check_copy, check_part_number

_log = logging.getLogger(__name__)

_Answer = dict[str, Any]

_NOT_FOUND = 404


class S3Multipart:
    """One multipart upload; an exception aborts it, so that no part stays behind."""

    def __init__(self, client: S3Client, root: str, place: dict[str, str]) -> None:
        self._client = client
        self._root = root
        self._place = place
        self._key = place["Key"]
        self._etags: dict[int, str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "S3Multipart":
        create = {**self._place, "ContentType": content_type(self._key)}
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

    def copy(self, part_number: int, key: str, start: int, end: int) -> None:
        """Let the store make one part of another object's bytes, from any thread."""
        check_part_number(self._key, part_number)
        check_copy(key, start, end)
        source = {"Bucket": self._client.bucket, "Key": self._root + key}
        self._require_bytes(source, end)
        part = {
            **self._upload,
            "PartNumber": part_number,
            "CopySource": source,
            "CopySourceRange": f"bytes={start}-{end - 1}",
        }
        etag = self._client.call("copy", source["Key"], lambda s3: _copy(s3, part))
        with self._lock:
            self._etags[part_number] = etag

    def _require_bytes(self, source: dict[str, str], end: int) -> None:
        """Refuse a range beyond an object's end, of which some stores copy what there is."""
        answer: _Answer = self._client.call(
            "copy", source["Key"], lambda s3: s3.head_object(**source)
        )
        if int(answer["ContentLength"]) < end:
            where = f"s3://{source['Bucket']}/{source['Key']}"
            raise StorageError(f"{where}: ends before byte {end}; write it again")

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
        return plain_etag(answer) == _multipart_etag(self._etags)

    def _abort(self) -> None:
        """Drop the parts; a failure is logged, since another error is already on its way."""
        retry = self._client.retry
        quick = dataclasses.replace(retry, seconds=min(retry.seconds, PREFLIGHT.seconds))
        upload = self._upload
        try:
            self._client.call("abort", self._key, lambda s3: abort(s3, upload), quick)
        except StorageError as error:
            _log.warning("event=abort_failed cause=%r", str(error))


def unfinished_uploads(
    client: S3Client, prefix: str, older_than_seconds: float
) -> Iterator[dict[str, str]]:
    """Yield what an abort needs of each upload below a prefix that was begun so long ago."""
    query = {"Bucket": client.bucket, "Prefix": prefix}
    while True:
        page: _Answer = client.call(
            "list uploads", prefix, lambda s3: s3.list_multipart_uploads(**query)
        )
        # By the store's clock, which also stamped the uploads; its date has whole seconds.
        now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
        newest = now - timedelta(seconds=older_than_seconds - 1)
        for upload in page.get("Uploads", ()):
            if upload["Initiated"] <= newest:
                place = {"Bucket": client.bucket, "Key": upload["Key"]}
                yield {**place, "UploadId": upload["UploadId"]}
        if not page.get("IsTruncated"):
            return
        query["KeyMarker"] = page["NextKeyMarker"]
        query["UploadIdMarker"] = page["NextUploadIdMarker"]


def abort(s3: Client, upload: dict[str, str]) -> None:
    """Drop an upload's parts; one that is gone already is fine."""
    try:
        s3.abort_multipart_upload(**upload)
    except ClientError as error:
        if code_of(error) != "NoSuchUpload":
            raise


def _copy(s3: Client, part: _Answer) -> str:
    result = s3.upload_part_copy(**part).get("CopyPartResult", {})
    # Stores answer before they copy; an answer without a result is a copy that failed.
    if "ETag" not in result:
        raise ShortBodyError
    return str(result["ETag"])


def plain_etag(answer: _Answer) -> str:
    return str(answer["ETag"]).strip('"')


def _multipart_etag(etags: dict[int, str]) -> str:
    """Return the ETag that S3 gives to an object of these parts: an MD5 of their MD5s."""
    try:
        digests = b"".join(bytes.fromhex(etags[number].strip('"')) for number in sorted(etags))
    except ValueError:
        return ""
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(etags)}"


def content_type(key: str) -> str:
    kind, encoding = mimetypes.guess_type(key.rpartition("/")[2], strict=False)
    # For "x.json.gz" the guess is the type after decompression, which nobody has asked for.
    return kind if kind is not None and encoding is None else "application/octet-stream"
