"""From a URI to its store: "s3://bucket/prefix", a folder's path or "file:///path"."""

import re
from urllib.parse import unquote

from ganray.errors import ConfigError
from ganray.storage.folder import FolderStore
from ganray.storage.retry import RetryPolicy
from ganray.storage.s3 import S3Store
from ganray.storage.store import ObjectInfo, Store, check_key

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def open_store(uri: str, *, retry: RetryPolicy | None = None) -> Store:
    """Return the store rooted at a URI; nothing is connected or checked yet."""
    plain = _plain(uri)
    if not plain.startswith("s3://"):
        return FolderStore(plain)
    bucket, _, prefix = plain.removeprefix("s3://").partition("/")
    if prefix:
        check_key(prefix)
    return S3Store(bucket, prefix, retry or RetryPolicy())


def split_uri(uri: str) -> tuple[str, str]:
    """Split a file's URI into the URI of the store that holds it, and its key there.

    The store is the folder that the file is in.
    """
    plain = _plain(uri)
    folder, slash, key = plain.rpartition("/")
    is_bucket = plain.startswith("s3://") and folder == "s3:/"
    if not key or is_bucket or uri.endswith("/"):
        raise ConfigError(f"{plain}: expected the URI of a file; add its name")
    return (folder or "/") if slash else ".", key


def join_uri(uri: str, *parts: str) -> str:
    """Return the URI of a key, given in parts, below a store's URI."""
    joined = _plain(uri)
    for part in parts:
        check_key(part)
        joined = f"{joined.rstrip('/')}/{part}"
    return joined


def read_uri(uri: str) -> bytes:
    """Read one object; for many in one place, open their store once."""
    store_uri, key = split_uri(uri)
    return open_store(store_uri).read(key)


def write_uri(uri: str, data: bytes) -> ObjectInfo:
    """Write one object; for many in one place, open their store once."""
    store_uri, key = split_uri(uri)
    return open_store(store_uri).write(key, data)


def _plain(uri: str) -> str:
    """Check a URI and return it without a final "/"; a folder's is its path."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        path = uri
    elif scheme == "file" and rest.startswith("/"):
        path = unquote(rest)
    elif scheme == "s3" and _BUCKET.fullmatch(rest.partition("/")[0]):
        return uri.rstrip("/")
    elif scheme == "s3":
        # Not repeated: people write credentials in front of the bucket.
        raise ConfigError("an s3:// URI has no valid bucket name; expected s3://bucket/prefix")
    else:
        # Only the scheme is repeated, for the same reason.
        raise ConfigError(
            f"{scheme}://: not a store; expected s3://bucket/prefix, a path or file:///path"
        )
    if not path:
        raise ConfigError("empty URI; expected s3://bucket/prefix, a path or file:///path")
    return path.rstrip("/") or "/"
