"""One process's connection to a bucket, through boto3 and with our own retries.

botocore's retries are off: they end before a body is read, and after a second or so.
"""

import dataclasses
import functools
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import create_loader

from ganray.errors import ConfigError
from ganray.storage.retry import RetryPolicy, retrying
from ganray.storage.s3_errors import CLIENT_ERRORS, Target, attempt_error

T = TypeVar("T")

Client = Any  # boto3 makes its client's class at run time, and has no stubs

_MAX_CONNECTIONS = 32


class S3Client:
    """Requests about one bucket, from any thread and after any pickling or fork.

    The endpoint and the credentials come from the environment, as boto3 finds them, in
    the process that makes the request: a pickled client carries neither.
    """

    def __init__(self, bucket: str, retry: RetryPolicy) -> None:
        self.bucket = bucket
        self.retry = retry
        self._lock = threading.Lock()
        self._client: Client = None
        self._pid = 0

    def __reduce__(self) -> tuple[type["S3Client"], tuple[str, RetryPolicy]]:
        return S3Client, (self.bucket, self.retry)

    def call(
        self,
        action: str,
        key: str,
        request: Callable[[Client], T],
        retry: RetryPolicy | None = None,
    ) -> T:
        """Make one request with retries; `request` also reads the body.

        `action` is a key of `PERMISSIONS`; `key` is whole, counted from the bucket.
        """
        target = Target(action, self.bucket, key, "")

        def attempt() -> T:
            client = None
            try:
                client = self._connected()
                return request(client)
            except CLIENT_ERRORS as error:
                endpoint = _host(client) if client is not None else "the store"
                raise attempt_error(error, dataclasses.replace(target, endpoint=endpoint)) from None

        return retrying(attempt, retry or self.retry, target.label)

    def _connected(self) -> Client:
        """Return this process's client; a connection does not survive a fork."""
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                self._client, self._pid = _connect(self.retry), os.getpid()
            return self._client


def _connect(retry: RetryPolicy) -> Client:
    """Make a client from the environment.

    Checksums are sent only where S3 requires them: several stores refuse the newer ones.
    Addresses are path-style on an endpoint of one's own, which is botocore's default.
    """
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=max(1.0, min(10.0, retry.seconds / 2)),
        read_timeout=max(1.0, min(60.0, retry.seconds)),
        max_pool_connections=_MAX_CONNECTIONS,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        # A session of its own, because boto3's shared one is not safe between threads.
        core = botocore.session.Session()
        core.register_component("data_loader", _service_definitions())
        session = boto3.session.Session(botocore_session=core)
        return session.client("s3", config=config)
    except ValueError:
        # botocore's own message repeats the URL, which may hold a password.
        raise ConfigError(
            "AWS_ENDPOINT_URL: expected http://host:port or https://host, "
            "and AWS_REGION a region's name; correct them"
        ) from None


@functools.cache
def _service_definitions() -> Any:
    """Return botocore's reader of its JSON files, which take a new session 0.1 s to parse."""
    return create_loader()


def _host(client: Client) -> str:
    """Return "host:port" of the endpoint, without the password that a URL may hold."""
    return str(urlsplit(client.meta.endpoint_url).netloc).rpartition("@")[2]
