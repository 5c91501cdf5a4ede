"""Functions that crash, hang and bloat, called through `IsolatedProcess`.

Those defined here stand for decoders: the child imports this module to call them.
"""

import _thread
import importlib
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ganray.codecs import photo
from ganray.codecs.isolation import IsolatedProcess, pack, unpack
from ganray.errors import RunFailedError, TooLargeError, UndecodableError, UnsupportedImageError

SECONDS = 30.0
"""For calls that end by themselves, on however busy a machine."""
MEMORY_BYTES = 300_000_000
BUSY_FOR_MINUTES = (7, 10**9)
"""Arguments of `pow`, which keeps Python's lock all the while."""

_armed = threading.Event()
_hoard: list[bytes] = []


@pytest.fixture(scope="module")
def shared() -> Iterator[IsolatedProcess]:
    """One object for tests that need no state of their own; each leaves it usable."""
    with IsolatedProcess(seconds=SECONDS, memory_bytes=MEMORY_BYTES) as process:
        yield process


@pytest.fixture
def process() -> Iterator[IsolatedProcess]:
    with IsolatedProcess(seconds=SECONDS, memory_bytes=MEMORY_BYTES) as process:
        yield process


# Functions that the child calls


def same(value: object) -> object:
    return value


def strange(pixels: NDArray[np.uint8]) -> None:
    raise UnsupportedImageError(f"a picture of shape {pixels.shape}")


def die_complaining() -> None:
    os.write(2, b"a warning\nfree(): invalid pointer\n")
    os.abort()


def bloat_slowly() -> None:
    grown = []
    while True:
        grown.append(np.ones(10**7, np.uint8))


def bloat_at_once() -> NDArray[np.uint8]:
    return np.zeros(10**10, np.uint8)


def hide_want_of_memory() -> None:
    try:
        bloat_at_once()
    except MemoryError:
        raise UndecodableError("damaged or truncated image") from None


def hoard(num_bytes: int) -> int:
    _hoard.append(bytes(num_bytes))
    return len(_hoard)


def arm() -> None:
    _armed.set()


def crash_if_armed() -> str:
    if _armed.is_set():
        os.abort()
    return "fine"


def chatter(num_bytes: int) -> int:
    print("p" * num_bytes)
    print("q" * num_bytes, file=sys.stderr)
    for descriptor in (1, 2):
        for _ in range(num_bytes // 4096):
            # A C library would not mind either that nobody takes it.
            with suppress(BlockingIOError):
                os.write(descriptor, b"c" * 4096)
    return num_bytes


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, format="JPEG")
    return buffer.getvalue()


# What the tests ask


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def exists(pid: int) -> bool:
    """Running or zombie."""
    return Path(f"/proc/{pid}").exists()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Results


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
        np.moveaxis(np.arange(24, dtype=np.uint8).reshape(2, 4, 3), -1, 0),
        np.arange(24, dtype=np.float32)[::5],
        np.zeros((3, 0, 4), np.uint8),
        np.random.default_rng(0).integers(0, 256, 5_000_000, np.uint8),
    ],
    ids=["contiguous", "transposed", "strided", "empty", "larger than a socket's buffer"],
)
def test_arrays_come_back_equal(shared: IsolatedProcess, array: NDArray[np.generic]) -> None:
    result = shared.call(same, {"array": array, "note": b"x" * 100})
    assert result["note"] == b"x" * 100
    assert result["array"].dtype == array.dtype
    np.testing.assert_array_equal(result["array"], array)
    result["array"][...] = 0


def test_a_photograph_decodes_as_in_its_owners_process(shared: IsolatedProcess) -> None:
    data = jpeg(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))
    here = photo.decode(data, max_pixels=10**6)
    there = shared.call(photo.decode, data, max_pixels=10**6)
    assert there.profile == here.profile
    np.testing.assert_array_equal(there.pixels, here.pixels)


def test_one_child_serves_every_call(shared: IsolatedProcess) -> None:
    assert len({shared.call(os.getpid) for _ in range(5)} - {os.getpid()}) == 1


def test_a_message_survives_its_packing_without_a_copy_of_its_arrays() -> None:
    array = np.arange(10)
    parts = pack([array, "text"])
    assert np.shares_memory(unpack(parts)[0], array)


# Errors


def test_an_error_of_ganray_keeps_its_type_and_text(shared: IsolatedProcess) -> None:
    child = shared.call(os.getpid)
    with pytest.raises(UnsupportedImageError, match=r"^a picture of shape \(3, 4\)$"):
        shared.call(strange, np.zeros((3, 4), np.uint8))
    with pytest.raises(TooLargeError, match=r"30x40 is 1200 pixels; limits\.pixels allows 1199"):
        shared.call(photo.decode, jpeg(np.zeros((40, 30, 3), np.uint8)), max_pixels=1199)
    assert shared.call(os.getpid) == child


def test_another_exception_is_a_reason_with_its_traceback(shared: IsolatedProcess) -> None:
    with pytest.raises(UndecodableError, match=r"^ValueError: invalid literal .* 'x'") as caught:
        shared.call(int, "x")
    assert "Traceback" in caught.value.__notes__[0]


def test_a_result_that_cannot_travel_is_a_reason(shared: IsolatedProcess) -> None:
    with pytest.raises(UndecodableError, match="cannot pickle"):
        shared.call(_thread.allocate_lock)
    assert shared.call(same, 1) == 1


# Crashes


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (signal.raise_signal, (signal.SIGSEGV,), r"its decoder crashed \(SIGSEGV\)$"),
        (os.abort, (), r"its decoder crashed \(SIGABRT\)$"),
        (die_complaining, (), r"its decoder crashed \(SIGABRT\): free\(\): invalid pointer$"),
        (signal.raise_signal, (40,), r"its decoder crashed \(signal 40\)$"),
        (os._exit, (3,), r"its decoder ended its process \(status 3\)$"),
        (sys.exit, (0,), r"its decoder ended its process \(status 0\)$"),
    ],
    ids=["segfault", "abort", "last words", "nameless signal", "_exit", "exit"],
)
def test_a_crash_is_a_reason_and_the_next_call_works(
    shared: IsolatedProcess, function: Callable[..., None], arguments: tuple[int], reason: str
) -> None:
    with pytest.raises(UndecodableError, match=reason):
        shared.call(function, *arguments)
    assert shared.call(len, "four") == 4


def test_a_crash_that_an_earlier_call_prepared_is_not_blamed_on_the_next(
    shared: IsolatedProcess,
) -> None:
    shared.call(arm)
    assert shared.call(crash_if_armed) == "fine"


def test_a_child_that_died_between_calls_is_replaced(shared: IsolatedProcess) -> None:
    child = shared.call(os.getpid)
    os.kill(child, signal.SIGKILL)
    assert shared.call(os.getpid) != child


def test_a_crash_is_a_reason_where_the_owner_ignores_its_children() -> None:
    script = """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
from ganray.codecs.isolation import IsolatedProcess
from ganray.errors import UndecodableError
with IsolatedProcess(seconds=20, memory_bytes=10**9) as process:
    try:
        process.call(os.abort)
    except UndecodableError as error:
        print(error)
    print(process.call(len, "four"))
"""
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert outcome.stderr == ""
    assert outcome.stdout.splitlines() == ["its decoder ended its process (status 0)", "4"]


# Hangs


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(time.sleep, (60,)), (pow, BUSY_FOR_MINUTES)],
    ids=["asleep", "busy in C"],
)
def test_a_hang_is_a_reason_and_the_next_call_works(
    function: Callable[..., object], arguments: tuple[int, ...]
) -> None:
    with IsolatedProcess(seconds=0.3, memory_bytes=MEMORY_BYTES) as process:
        child = process.call(os.getpid)
        begin = time.monotonic()
        with pytest.raises(TooLargeError, match=r"within 0\.3 s; raise limits\.seconds or exclude"):
            process.call(function, *arguments)
        assert 0.3 <= time.monotonic() - begin < 2
        assert not exists(child)
        assert process.call(len, "four") == 4


def test_importing_what_is_called_does_not_count_for_the_first_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        "import time\ntime.sleep(0.6)\ndef three():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    three = importlib.import_module("slow_to_import").three
    with IsolatedProcess(seconds=0.4, memory_bytes=MEMORY_BYTES) as process:
        assert process.call(three) == 3


# Bloat


@pytest.mark.parametrize("function", [bloat_slowly, bloat_at_once, hide_want_of_memory])
def test_bloat_is_a_reason_and_the_next_call_works(
    shared: IsolatedProcess, function: Callable[[], None]
) -> None:
    with pytest.raises(TooLargeError, match=r"more than 0\.3 GB; raise limits\.memory_bytes or"):
        shared.call(function)
    assert shared.call(len, "four") == 4


def test_memory_within_the_limit_is_granted(shared: IsolatedProcess) -> None:
    assert len(shared.call(bytes, MEMORY_BYTES // 3)) == MEMORY_BYTES // 3


def test_memory_that_earlier_calls_kept_is_not_blamed_on_the_next(
    process: IsolatedProcess,
) -> None:
    counts = [process.call(hoard, MEMORY_BYTES * 2 // 5) for _ in range(5)]
    assert counts == [1, 2, 1, 2, 1]


def test_a_kill_by_the_kernel_is_named_as_such(shared: IsolatedProcess) -> None:
    with pytest.raises(TooLargeError, match=r"killed \(SIGKILL\), as the kernel does when memory"):
        shared.call(signal.raise_signal, signal.SIGKILL)


# The child and its surroundings


def test_what_a_decoder_prints_disturbs_nobody(
    shared: IsolatedProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    assert shared.call(chatter, 200_000) == 200_000
    assert shared.call(same, 1) == 1
    assert capfd.readouterr() == ("", "")


def test_a_child_imports_neither_torch_nor_ray_to_decode(process: IsolatedProcess) -> None:
    with pytest.raises(UndecodableError):
        process.call(photo.decode, b"", max_pixels=1)
    assert not {"torch", "ray", "boto3"} & set(process.call(eval, "set(__import__('sys').modules)"))


def test_a_child_that_cannot_start_stops_the_run_and_blames_no_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vanished = ModuleType("vanished")
    exec("def decode(): ...", vars(vanished))
    monkeypatch.setitem(sys.modules, "vanished", vanished)
    process = IsolatedProcess(seconds=SECONDS, memory_bytes=MEMORY_BYTES)
    with pytest.raises(RunFailedError, match=r"could be started: .*No module named 'vanished'"):
        process.call(vanished.decode)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(RunFailedError, match=r"could be started: .*No such file"):
        process.call(len, "four")


def test_nothing_is_left_after_close() -> None:
    before = open_descriptors()
    process = IsolatedProcess(seconds=SECONDS, memory_bytes=MEMORY_BYTES)
    child = process.call(os.getpid)
    assert exists(child)
    process.close()
    process.close()
    assert not exists(child)
    assert open_descriptors() == before


def test_an_interrupted_call_leaves_no_child_and_no_stale_reply(process: IsolatedProcess) -> None:
    child = process.call(os.getpid)
    # What runs in the background of a shell is started with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            process.call(time.sleep, 60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not exists(child)
    assert process.call(same, "next") == "next"


def test_a_child_is_out_of_reach_of_the_terminals_interrupt(shared: IsolatedProcess) -> None:
    child = shared.call(os.getpid)
    assert os.getsid(child) != os.getsid(0)
    assert os.getpgid(child) != os.getpgid(0)


@pytest.mark.parametrize(
    "call", ["time.sleep, 600", f"pow, *{BUSY_FOR_MINUTES}", "len, ''"], ids=lambda call: call[:4]
)
def test_no_child_survives_its_owner(call: str) -> None:
    script = f"""
import os, threading, time
from ganray.codecs.isolation import IsolatedProcess
process = IsolatedProcess(seconds=600, memory_bytes=10**10)
print(process.call(os.getpid), flush=True)
threading.Thread(target=process.call, args=({call})).start()
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        time.sleep(0.2)
        assert is_running(child)
        owner.kill()
    assert within(5, lambda: not is_running(child))


def test_two_threads_with_an_object_each_do_not_mix_their_results() -> None:
    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        with IsolatedProcess(seconds=SECONDS, memory_bytes=MEMORY_BYTES) as process:
            for _ in range(200):
                sent = rng.integers(0, 256, rng.integers(1, 100_000), np.uint8)
                np.testing.assert_array_equal(process.call(same, sent), sent)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (1, 2)))


def test_threads_that_share_an_object_take_turns(shared: IsolatedProcess) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: shared.call(same, number), range(100))) == [*range(100)]


def test_an_object_belongs_to_one_process() -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(IsolatedProcess(seconds=SECONDS, memory_bytes=MEMORY_BYTES))
