import os
import tempfile
import time
from pathlib import Path

import pytest

from ganray.pipelines.scratch import NEW_SECONDS, PREFIX, ScratchFile


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_every_file_is_new_and_is_removed(root: Path) -> None:
    files = [ScratchFile(".film") for _ in range(5)]
    assert len(list(root.iterdir())) == 5
    files[0].path.unlink()
    for file in files:
        file.remove()
    assert not list(root.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(root: Path) -> None:
    orphan, young, other = root / f"{PREFIX}orphan", root / f"{PREFIX}young", root / "other"
    used = ScratchFile(".film")
    for path in (orphan, young, other, used.path):
        path.write_bytes(b"x")
    for path in (orphan, other, used.path):
        os.utime(path, (time.time() - 2 * NEW_SECONDS,) * 2)
    ScratchFile(".film").remove()
    assert set(root.iterdir()) == {young, other, used.path}
    used.remove()
