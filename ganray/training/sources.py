"""Where samples are cut from: the images of an archive, pairs of two, or the shards of one."""

from ganray.errors import CodecError, UnsupportedImageError
from ganray.storage import open_store
from ganray.training.references import Reference, fits, load_reference, to_depth
from ganray.training.samples import References, SamplePlan, SampleReader, Source
from ganray.training.shards import ShardIndex, ShardReader


def open_reader(plan: SamplePlan) -> SampleReader:
    """Whoever cuts the samples of a plan, in whatever process."""
    source: Source = ArchiveSource(plan) if plan.shards is None else ShardSource(plan, plan.shards)
    return SampleReader(plan, source)


class ArchiveSource:
    """The images of an archive, each read as a whole, and those of its degraded twin."""

    def __init__(self, plan: SamplePlan) -> None:
        self.plan = plan
        self.num_images = len(plan.keys)
        self._store = open_store(plan.archive)
        self._degraded = open_store(plan.degraded) if plan.degraded else None

    def name(self, position: int) -> str:
        return self.plan.keys[position]

    def load(self, position: int) -> References:
        plan = self.plan
        reference = load_reference(self._store, plan.keys[position], plan.reading)
        if self._degraded is None:
            return References(reference)
        degraded = load_reference(self._degraded, plan.degraded_keys[position], plan.reading)
        large, small = reference.pixels.shape[1:], degraded.pixels.shape[1:]
        if large != tuple(plan.scale * side for side in small):
            raise CodecError(f"{large} pixels, and its degraded twin has {small}")
        return References(reference, degraded)


class ShardSource:
    """The sub-images of a folder of shards."""

    def __init__(self, plan: SamplePlan, index: ShardIndex) -> None:
        self.plan = plan
        self.num_images = index.num_rows
        self._reader = ShardReader(open_store(plan.archive), index)

    def name(self, position: int) -> str:
        return self._reader.name(position)

    def load(self, position: int) -> References:
        reading = self.plan.reading
        pixels = self._reader.read(position)
        num_bands = pixels.shape[0]
        is_single = reading.codecs.geo.bands == "each"
        if not is_single and not fits(num_bands, reading.bands):
            raise UnsupportedImageError(
                f"{num_bands} bands, and the generator takes {reading.bands}"
            )
        if reading.bands == 1 and num_bands == 3 and not is_single:
            pixels = to_depth(pixels, "float32").mean(axis=0, keepdims=True)
        return References(Reference(to_depth(pixels, reading.dtype), is_single=is_single))
