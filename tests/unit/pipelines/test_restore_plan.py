from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganray.errors import ConfigError, EmptyArchiveError, NotFoundError
from ganray.ledger import ResumeRow
from ganray.models.checkpoint import Provenance, build_generator, encode_checkpoint
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import Pending
from ganray.pipelines.restore_plan import (
    LARGEST_ORDER_BYTES,
    Preparation,
    _groups,
    join,
    prepare,
)
from ganray.storage import ObjectInfo

keys = st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3))


def row(key: str) -> ResumeRow:
    return ResumeRow(key, "e", "g", "c", "restored", False, "", "", 1, key, "")


@given(keys, keys)
def test_a_listing_meets_its_rows_and_neither_loses_any(listed: set[str], known: set[str]) -> None:
    infos = [ObjectInfo(key, 1, "e") for key in sorted(listed)]
    pairs = list(join(infos, [row(key) for key in sorted(known)]))
    found = Counter((info and info.key, kept and kept.key) for info, kept in pairs)
    expected = Counter(
        (k if k in listed else None, k if k in known else None) for k in listed | known
    )
    assert found == expected
    assert [info.key for info, _ in pairs if info] == sorted(listed)


@given(st.lists(st.integers(0, LARGEST_ORDER_BYTES * 2), max_size=30), st.integers(1, 7))
def test_groups_keep_every_input_in_order_and_within_bounds(sizes: list[int], size: int) -> None:
    items = [Pending(str(i), "", number) for i, number in enumerate(sizes)]
    groups = list(_groups(items, size))
    assert [item for group in groups for item in group] == items
    for group in groups:
        assert 1 <= len(group) <= size
        assert len(group) == 1 or sum(i.num_bytes for i in group) <= LARGEST_ORDER_BYTES


def masked_generator(folder: Path) -> str:
    generator, network = build_generator("compact", {"num_features": 2, "mask": True})
    path = folder / "masked.safetensors"
    path.write_bytes(encode_checkpoint(generator, "compact", network, Provenance("noise", {})))
    return str(path)


def prepared(folder: Path, **fields: str) -> Preparation:
    return prepare(RestoreConfig(source="sample:held-out", target=str(folder / "out"), **fields))


def test_a_generator_that_takes_a_mask_is_refused_without_masks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes a mask of lost pixels, .*; give masks="):
        prepared(tmp_path, generator=masked_generator(tmp_path))


def test_masks_are_refused_beside_a_generator_that_takes_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no mask of lost pixels; leave masks out"):
        prepared(tmp_path, masks=str(tmp_path))


def test_masks_are_looked_for_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, masks = masked_generator(tmp_path), tmp_path / "masks"
    with pytest.raises(NotFoundError, match="masks"):
        prepared(tmp_path, generator=generator, masks=str(masks))
    masks.mkdir()
    with pytest.raises(EmptyArchiveError, match="holds no mask; check the URI"):
        prepared(tmp_path, generator=generator, masks=str(masks))
    (masks / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    found = prepared(tmp_path, generator=generator, masks="masks")
    assert found.config.masks == str(masks.resolve())


@pytest.mark.parametrize("masks", ["out", "out/masks", "."])
def test_masks_stand_apart_from_the_target(tmp_path: Path, masks: str) -> None:
    with pytest.raises(ConfigError, match="apart from the masks"):
        prepared(tmp_path, generator=masked_generator(tmp_path), masks=str(tmp_path / masks))
