from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from ganray.ledger import LedgerRow
from ganray.pipelines.restore_orders import (
    AssemblyOrder,
    Pending,
    Scene,
    SceneFailed,
    SceneFound,
    WindowDone,
    WindowOrder,
)
from ganray.pipelines.scene_book import SceneBook


def scene(name: str, num_windows: int) -> Scene:
    return Scene(
        Pending(name, "e", 1), 9, 9, ("gray",), "uint8", "tiff", num_windows, f"s/{name}/", True
    )


def row(name: str, state: str = "restored") -> LedgerRow:
    return LedgerRow(name, "e", "g", "c", state, 1.0, "r", 1)  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 8), st.randoms())
def test_every_window_is_ordered_once_and_every_scene_is_put_together_once(
    sizes: list[int], workers: int, random
) -> None:
    book = SceneBook(workers)
    scenes = [scene(f"scene-{i}", size) for i, size in enumerate(sizes)]
    for one in scenes:
        assert book.take(SceneFound(one)) is None
    orders = list(book.orders())
    windows = [(order.scene, index) for order in orders for index in order.windows]
    assert sorted(windows, key=str) == sorted(
        ((one, index) for one in scenes for index in range(one.num_windows)), key=str
    )
    assert len({order.name for order in orders}) == len(orders)
    assert list(book.orders()) == []
    random.shuffle(windows)
    for one, index in windows:
        book.take(WindowDone(one, index, 100 + index))
    assemblies = list(book.orders())
    assert all(isinstance(order, AssemblyOrder) for order in assemblies)
    assert {order.scene for order in assemblies} == set(scenes)
    for order in assemblies:
        assert order.run_bytes == tuple(100 + i for i in range(order.scene.num_windows))
        book.take(row(order.scene.item.key))
    assert list(book.orders()) == []


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 7))
def test_orders_that_one_wave_does_not_take_wait_for_the_next(sizes: list[int], wave: int) -> None:
    book = SceneBook(2)
    for index, size in enumerate(sizes):
        book.take(SceneFound(scene(f"scene-{index}", size)))
    windows = []
    while orders := list(islice(book.orders(), wave)):
        windows += [(order.scene, index) for order in orders for index in order.windows]
    assert len(windows) == len(set(windows)) == sum(sizes)


def test_a_scene_that_fails_fails_once_and_is_never_put_together() -> None:
    book = SceneBook(2)
    one = scene("a", 3)
    book.take(SceneFound(one))
    assert all(isinstance(order, WindowOrder) for order in book.orders())
    failed = row("a", "failed")
    assert book.take(SceneFailed(one, 0, failed)) == failed
    assert book.take(SceneFailed(one, 0, failed)) is None
    for index in range(3):
        book.take(WindowDone(one, index, 1))
    assert list(book.orders()) == []
