"""Which mask of lost pixels belongs to an input, and in which version; none is read here.

An input's version is then that of its mask too: a mask that is new, changed or gone is to a run
what a changed input is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from ganray.codecs.catalog import is_tiff
from ganray.errors import ConfigError, EmptyArchiveError, StorageError, UnreachableError
from ganray.manifest import Selection, list_images
from ganray.pipelines.ahead import in_order
from ganray.pipelines.archives import open_archive, require_apart
from ganray.pipelines.restore_config import RestoreConfig
from ganray.storage import ObjectInfo, open_store

NO_MASK = "none"


def mask_key(key: str) -> str:
    """The key of an input's mask: its own with the extension .png, and of a TIFF its own."""
    return key if is_tiff(key) else str(PurePosixPath(key).with_suffix(".png"))


def require_masks(config: RestoreConfig, *, takes_mask: bool) -> None:
    """Raise unless there are masks if and only if the generator takes one: ConfigError, and
    EmptyArchiveError or StorageError where there should be some. URIs are absolute."""
    if takes_mask and not config.masks:
        raise ConfigError(
            f"{config.generator} takes a mask of lost pixels, and there are none; give masks=, an "
            "archive or folder of them, or a generator without a mask"
        )
    if config.masks and not takes_mask:
        raise ConfigError(
            f"masks={config.masks}, and {config.generator} takes no mask of lost pixels; leave "
            "masks out, or give a generator that takes one"
        )
    if not config.masks:
        return
    require_apart(config.masks, config.target, names=("masks", "target"))
    require_apart(config.source, config.masks, names=("source", "masks"))
    if next(list_images(open_archive(config.masks), Selection()), None) is None:
        raise EmptyArchiveError(f"{config.masks} holds no mask; check the URI")


def with_masks(infos: Iterable[ObjectInfo], masks: str) -> Iterator[ObjectInfo]:
    """Inputs as they are listed, each with the version of its mask in its own."""
    if not masks:
        yield from infos
        return
    store = open_store(masks)

    def add_mask(info: ObjectInfo) -> ObjectInfo:
        try:
            version = store.stat(mask_key(info.key)).etag
        except UnreachableError:
            raise
        except StorageError:
            # Whoever is to restore it says why.
            version = NO_MASK
        return replace(info, etag=f"{info.etag}+{version}")

    yield from in_order(add_mask, infos)
