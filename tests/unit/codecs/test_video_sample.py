"""One frame of a film: the middle one, and the same moment of what became of it."""

from pathlib import Path

import numpy as np
import pytest

from ganray.codecs.video import VideoConfig, local_source
from ganray.codecs.video_sample import frame_at, middle_frame, sample_frame
from ganray.errors import UndecodableError
from tests.unit.codecs.film_files import LIMIT, VFR, Film, decode_all, restore, write_film

CONFIG = VideoConfig()
FILMS = {
    "from 0": Film(),
    "from 10 seconds on": Film(times=tuple(range(128_000, 128_000 + 40 * 512, 512))),
    "at uneven times": Film(times=VFR),
}


@pytest.mark.parametrize("name", FILMS)
def test_the_same_moment_of_a_restored_film_is_the_same_frame(name: str, tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", FILMS[name])
    source = local_source(path)
    before, seconds = middle_frame(source, CONFIG, max_pixels=LIMIT)
    assert seconds > 0
    (tmp_path / "restored").mkdir()
    restored = local_source(restore(path, tmp_path / "restored").path)
    after = frame_at(restored, CONFIG, seconds, max_pixels=LIMIT)
    np.testing.assert_array_equal(before.pixels, after.pixels)
    np.testing.assert_array_equal(
        before.pixels, sample_frame(source, CONFIG, max_pixels=LIMIT).pixels
    )


def test_any_frame_is_found_by_its_time(tmp_path: Path) -> None:
    film = Film()
    path = write_film(tmp_path / "film.mp4", film)
    frames = decode_all(path)
    for number in range(len(frames)):
        seconds = float(film.times[number] * film.time_base)
        found = frame_at(local_source(path), CONFIG, seconds, max_pixels=LIMIT)
        np.testing.assert_array_equal(found.pixels, frames[number].pixels)


def test_a_time_behind_the_end_is_an_error(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", Film())
    with pytest.raises(UndecodableError, match="no frame"):
        frame_at(local_source(path), CONFIG, 99.0, max_pixels=LIMIT)
