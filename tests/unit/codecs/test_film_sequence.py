from hypothesis import given
from hypothesis import strategies as st

from ganray.codecs.film_sequence import FrameSequence, sequence_of


def test_frames_with_gaps_are_one_sequence() -> None:
    keys = [f"reel/shot.{n:04d}.dpx" for n in (7, 8, 11, 12, 20)]
    (found,) = sequence_of(keys)
    gaps = (range(9, 11), range(13, 20))
    assert found == FrameSequence("reel/shot.", ".dpx", 4, 7, 20, gaps)
    assert (found.num_frames, found.num_missing) == (5, 9)
    assert found.pattern == "reel/shot.####.dpx"


def test_a_number_that_outgrows_its_padding_goes_on() -> None:
    (found,) = sequence_of(["a.099.exr", "a.100.exr", "a.1000.exr"])
    assert (found.padding, found.first, found.last) == (3, 99, 1000)


def test_numbers_without_padding_are_one_sequence() -> None:
    (found,) = sequence_of(["a9.dpx", "a10.dpx", "a100.dpx"])
    assert (found.padding, found.first, found.last, found.num_missing) == (1, 9, 100, 89)


def test_different_paddings_names_folders_and_suffixes_are_different_sequences() -> None:
    names = ("a/s.01", "a/s.001", "a/t.01", "b/s.01")
    keys = [f"{name[:-1]}{n}{suffix}" for name in names for n in (1, 2) for suffix in (".a", ".b")]
    assert len(sequence_of(keys)) == 8


def test_one_frame_or_none_is_no_sequence() -> None:
    assert sequence_of(["a.0001.dpx", "title.dpx", "0001", "b/.0001", "a.٣.dpx", "a.٤.dpx"]) == ()


NAMES = st.sampled_from(["", "s", "s.", "a/b_", "v2_", "-"])
FRAMES = st.tuples(NAMES, st.integers(0, 1200), st.integers(1, 5), st.sampled_from([".dpx", ".e"]))


@given(st.lists(FRAMES, max_size=60))
def test_a_sequence_holds_exactly_its_keys(frames: list[tuple[str, int, int, str]]) -> None:
    keys = {f"{prefix}{number:0{width}d}{suffix}" for prefix, number, width, suffix in frames}
    covered: list[str] = []
    for found in sequence_of(sorted(keys)):
        missing = {number for gap in found.gaps for number in gap}
        assert len(missing) == found.num_missing
        present = [n for n in range(found.first, found.last + 1) if n not in missing]
        assert len(present) == found.num_frames >= 2
        assert not {found.key(n) for n in missing} & keys
        covered += [found.key(n) for n in present]
    assert len(covered) == len(set(covered)) and set(covered) <= keys
    alone = [key for key in keys if key not in covered]
    assert all(len(sequence_of([key])) == 0 for key in alone)


@given(st.lists(FRAMES, max_size=30), st.randoms())
def test_the_order_of_keys_does_not_matter(
    frames: list[tuple[str, int, int, str]], random: object
) -> None:
    keys = [f"{prefix}{number:0{width}d}{suffix}" for prefix, number, width, suffix in frames]
    shuffled = list(keys)
    random.shuffle(shuffled)
    assert sequence_of(keys) == sequence_of(shuffled) == sequence_of(keys + keys)


@given(st.sets(st.integers(0, 3000), min_size=2), st.integers(1, 5))
def test_numbers_of_one_padding_make_one_sequence(numbers: set[int], padding: int) -> None:
    found = sequence_of(f"s.{number:0{padding}d}.dpx" for number in numbers)
    keys = {f"s.{number:0{padding}d}.dpx" for number in numbers}
    short = {number for number in numbers if number < 10 ** (padding - 1)}
    if short or padding == 1:
        (sequence,) = found
        assert {sequence.key(number) for number in numbers} == keys
        assert (sequence.first, sequence.last) == (min(numbers), max(numbers))
