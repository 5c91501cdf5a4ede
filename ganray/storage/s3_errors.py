"""What an S3 client's exceptions mean: which error of ours, and whether to try again.

A store's own message is never repeated, because some of them quote the access key or the
signed request: only the HTTP status and the error code are.
"""

import contextlib
from dataclasses import dataclass

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ganray.errors import AccessDeniedError, NotFoundError, StorageError, UnreachableError
from ganray.storage.retry import AttemptError

PERMISSIONS = {
    "list": "s3:ListBucket",
    "stat": "s3:GetObject",
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "copy": "s3:GetObject",
    "delete": "s3:DeleteObject",
    "abort": "s3:AbortMultipartUpload",
    "list uploads": "s3:ListBucketMultipartUploads",
}

_DENIED_CODES = {
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
# Requests that were damaged or overtaken on the way, though the status blames the client.
_TRANSIENT_CODES = {"BadDigest", "IncompleteBody", "OperationAborted", "RequestTimeout"}
_TRANSIENT_STATUSES = {408, 429}
_NOT_IMPLEMENTED = 501

_CREDENTIAL_ERRORS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.ProfileNotFound,
)
_UNREACHABLE_ERRORS = (
    boto.ConnectionError,
    boto.EndpointConnectionError,
    boto.ConnectTimeoutError,
    boto.ReadTimeoutError,
    boto.ProxyConnectionError,
    boto.SSLError,
)


class ShortBodyError(Exception):
    """A body ended before the length that its headers announced."""


_BROKEN_ERRORS = (
    boto.HTTPClientError,
    boto.IncompleteReadError,
    ResponseParserError,
    # A TLS record broken in a body's middle comes through botocore unchanged.
    HTTPError,
    ShortBodyError,
)

CLIENT_ERRORS = (boto.ClientError, boto.BotoCoreError, *_BROKEN_ERRORS)
"""All that a call of the client and the reading of its body may raise."""


@dataclass(frozen=True)
class Target:
    """What a request is about, for messages; the endpoint is "host:port"."""

    action: str
    bucket: str
    key: str
    endpoint: str

    @property
    def label(self) -> str:
        """Begin a message: the object and what was tried on it."""
        return f"s3://{self.bucket}/{self.key}: cannot {self.action}"

    @property
    def permission(self) -> str:
        """Name the permission that the request needs, as policies write it."""
        scope = self.bucket if self.action.startswith("list") else f"{self.bucket}/{self.key}"
        return f"{PERMISSIONS[self.action]} on {scope}"


def attempt_error(error: Exception, target: Target) -> AttemptError:
    """Classify one of `CLIENT_ERRORS`."""
    name = type(error).__name__
    if isinstance(error, boto.ClientError):
        return _answered(error, target)
    if isinstance(error, _CREDENTIAL_ERRORS):
        advice = (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
            f"they need {target.permission}"
        )
        return AttemptError(AccessDeniedError, f"no usable credentials ({name})", advice)
    if isinstance(error, _UNREACHABLE_ERRORS):
        advice = "check AWS_ENDPOINT_URL, the network and that the store is running"
        found = f"no answer from {target.endpoint} ({name})"
        return AttemptError(UnreachableError, found, advice, retryable=True)
    if isinstance(error, _BROKEN_ERRORS):
        found = f"the answer of {target.endpoint} broke off ({name})"
        advice = "check the network and the store's log"
        return AttemptError(StorageError, found, advice, retryable=True)
    return AttemptError(
        StorageError, f"the client refuses ({name})", "check the bucket and the key"
    )


def status_of(error: boto.ClientError) -> int:
    """Return the HTTP status of an answer, 0 if there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: boto.ClientError) -> str:
    """Return the error code of an answer; to a HEAD request it is the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _answered(error: boto.ClientError, target: Target) -> AttemptError:
    """Classify an answer by its code, then its status."""
    code, status = code_of(error), status_of(error)
    found = f"the store answered HTTP {status} {code}"
    if code == "RequestTimeTooSkewed":
        return AttemptError(AccessDeniedError, found, "set this machine's clock")
    if status in (401, 403) or code in _DENIED_CODES:
        advice = f"check the credentials; they need {target.permission}"
        return AttemptError(AccessDeniedError, found, advice)
    if status == 404:
        return AttemptError(NotFoundError, found, _absence_advice(code, target))
    if _is_transient(status, code):
        advice = "wait until the store has recovered, then run again"
        wait = _retry_after_seconds(error)
        return AttemptError(StorageError, found, advice, retryable=True, retry_after_seconds=wait)
    advice = "check AWS_ENDPOINT_URL, AWS_REGION, the bucket and the key"
    return AttemptError(StorageError, found, advice)


def _is_transient(status: int, code: str) -> bool:
    if status >= 500:
        return status != _NOT_IMPLEMENTED
    return status in _TRANSIENT_STATUSES or code in _TRANSIENT_CODES


def _absence_advice(code: str, target: Target) -> str:
    if code == "NoSuchBucket" or target.action.startswith("list"):
        return f"create the bucket {target.bucket} or correct its name"
    return f"check the key, and that the bucket {target.bucket} exists"


def _retry_after_seconds(error: boto.ClientError) -> float:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    with contextlib.suppress(ValueError):
        return max(0.0, float(headers.get("retry-after", 0)))
    # The header's other form is a date, which no store is known to send.
    return 0.0
