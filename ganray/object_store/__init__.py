"""The embedded object store: one durable S3 endpoint on loopback, for demo and tests.

It is OpenStack Swift with its S3 API, installed by the extra `demo`, with one replica on one
disk: no container engine, no root. It is not a store for production, and never listens on
anything but 127.0.0.1.
"""

from ganray.object_store.store import ObjectStore, running, start, stop

__all__ = ["ObjectStore", "running", "start", "stop"]
