from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.pipelines import spool
from ganray.pipelines.spool import Spool


@settings(max_examples=30)
@given(st.lists(st.integers()), st.integers(1, 5))
def test_a_spool_gives_back_what_it_was_given_as_often_as_asked(items: list[int], block: int):
    before = spool.ITEMS_PER_BLOCK
    spool.ITEMS_PER_BLOCK = block
    try:
        one: Spool[int] = Spool()
        for item in items:
            one.append(item)
        assert len(one) == len(items)
        assert list(one) == list(one) == items
    finally:
        spool.ITEMS_PER_BLOCK = before
