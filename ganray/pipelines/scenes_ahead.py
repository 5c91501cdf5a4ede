"""Scenes that the driver finds before any worker starts, where inputs are fewer than workers."""

from collections.abc import Iterable, Iterator

from ganray.codecs.catalog import is_tiff, is_video
from ganray.codecs.isolation import IsolatedProcess
from ganray.codecs.video import VideoSource
from ganray.errors import GanrayError
from ganray.pipelines.film_scenes import find_film_scene
from ganray.pipelines.restore_orders import Pending, RestoreJob, Scene
from ganray.pipelines.scenes import find_ranged_scene, reader_of
from ganray.storage import Store, open_store


def scenes_ahead(job: RestoreJob, items: Iterable[Pending], target: Store) -> Iterator[Scene]:
    """The scenes among some inputs; what cannot be read is left for a worker to fail by name."""
    limits = job.config.limits
    with IsolatedProcess(seconds=limits.seconds, memory_bytes=limits.memory_bytes) as decoder:
        for item in items:
            try:
                scene = _find_scene(job, item, target, decoder)
            except GanrayError:
                continue
            if scene is not None:
                yield scene


def _find_scene(
    job: RestoreJob, item: Pending, target: Store, decoder: IsolatedProcess
) -> Scene | None:
    source = open_store(job.config.source)
    if is_tiff(item.key):
        return find_ranged_scene(job, item, reader_of(source, item.key), decoder.call)
    if is_video(item.key):
        film = VideoSource(source, item.key)
        return find_film_scene(job, item, film, target=target, call=decoder.call)
    return None
