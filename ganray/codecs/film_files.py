"""Files in memory, for OpenImageIO, which opens nothing but files.

On Linux they have no name and are gone with the process that made them, however it ends;
they count as its memory, not as part of a /dev/shm that may be small.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory_file(data: bytes = b"") -> Iterator[Path]:
    """The path of a file that holds `data`, for the time of the context."""
    if sys.platform == "linux" and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("ganray")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            yield Path(f"/proc/self/fd/{descriptor}")
    else:
        with tempfile.NamedTemporaryFile() as named:
            named.write(data)
            named.flush()
            yield Path(named.name)
