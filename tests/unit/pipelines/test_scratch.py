import os
import tempfile
import time
from pathlib import Path

import pytest

from ganray.pipelines.scratch import NEW_SECONDS, PREFIX, Scratch


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_every_path_is_new_and_all_are_removed(root: Path) -> None:
    with Scratch() as scratch:
        assert not list(root.iterdir())
        paths = {scratch.new_path(".film") for _ in range(5)}
        assert len(paths) == 5
        for path in paths:
            path.write_bytes(b"x")
    assert not list(root.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(root: Path) -> None:
    orphan, young = root / f"{PREFIX}orphan", root / f"{PREFIX}young"
    for folder in (orphan, young):
        folder.mkdir()
        (folder / "000001.film").write_bytes(b"x")
    with Scratch() as first:
        used = first.new_path()
        used.write_bytes(b"x")
        for folder in (orphan, used.parent):
            os.utime(folder, (time.time() - 2 * NEW_SECONDS,) * 2)
        with Scratch() as second:
            second.new_path()
            assert used.exists()
            assert young.exists()
            assert not orphan.exists()
