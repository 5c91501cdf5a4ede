"""Objects in S3-compatible stores and in folders, behind one small contract.

Says nothing about images, manifests or ledgers: keys and bytes only. Start reading at
`store.py`.
"""

from ganray.storage.concatenation import Concatenation
from ganray.storage.retry import PREFLIGHT, RetryPolicy, Timing
from ganray.storage.store import Multipart, ObjectInfo, Store
from ganray.storage.uri import join_uri, open_store, read_uri, split_uri, write_uri

__all__ = [
    "PREFLIGHT",
    "Concatenation",
    "Multipart",
    "ObjectInfo",
    "RetryPolicy",
    "Store",
    "Timing",
    "join_uri",
    "open_store",
    "read_uri",
    "split_uri",
    "write_uri",
]
