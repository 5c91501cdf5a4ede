"""A store in memory whose every step can be watched, stopped or overtaken by a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ganray.errors import NotFoundError
from ganray.storage import Multipart, ObjectInfo

Step = Callable[[str, str], None]
"""Called before each operation with its name and key, and before each object of a listing."""


class MemoryStore:
    """Objects that are shared by all stores made by `seen_by`."""

    def __init__(self, objects: dict[str, bytes] | None = None, step: Step | None = None) -> None:
        self.uri = "memory"
        self.objects: dict[str, bytes] = {} if objects is None else objects
        self.step: Step = step or (lambda action, key: None)

    def seen_by(self, step: Step) -> "MemoryStore":
        """The same objects, with steps of its own."""
        return MemoryStore(self.objects, step)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.step("list", prefix)
        # As a folder does: names at once, the rest later, without those gone meanwhile.
        for key in sorted(key for key in list(self.objects) if key.startswith(prefix)):
            self.step("listed", key)
            if key in self.objects:
                yield self._info(key)

    def stat(self, key: str) -> ObjectInfo:
        self.step("stat", key)
        return self._info(key)

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self.step("read", key)
        self._info(key)
        return self.objects[key][start:end]

    def write(self, key: str, data: bytes) -> ObjectInfo:
        self.step("write", key)
        self.objects[key] = data
        return self._info(key)

    @contextmanager
    def multipart(self, key: str) -> Iterator[Multipart]:
        upload = _Upload(self)
        yield upload
        self.write(key, b"".join(upload.parts[number] for number in sorted(upload.parts)))

    def delete(self, key: str) -> None:
        self.step("delete", key)
        self.objects.pop(key, None)

    def abort_unfinished(self, older_than_seconds: float = 0.0) -> int:
        return 0

    def _info(self, key: str) -> ObjectInfo:
        data = self.objects.get(key)
        if data is None:
            raise NotFoundError(f"{key}: absent")
        return ObjectInfo(key, len(data), str(hash(data)))


class _Upload:
    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.parts: dict[int, bytes] = {}
        self.lock = threading.Lock()

    def upload(self, part_number: int, data: bytes) -> None:
        with self.lock:
            self.parts[part_number] = bytes(data)

    def copy(self, part_number: int, key: str, start: int, end: int) -> None:
        data = self.store.objects[key][start:end]
        assert len(data) == end - start
        self.upload(part_number, data)
