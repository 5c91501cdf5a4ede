"""Which scene a film is: its windows are the segments that it is cut into at key frames.

The plan of the segments stands in staging beside what becomes of them: orders that travel need
not hold it, and a film is read from end to end once.
"""

import hashlib
import json
from dataclasses import astuple

from ganray.codecs.video import (
    Segment,
    SegmentPlan,
    VideoOutput,
    VideoProfile,
    VideoSource,
    probe_video,
    require_encodable,
    scan_segments,
)
from ganray.codecs.video_source import require_av
from ganray.errors import NotFoundError, UndecodableError, UnsupportedImageError
from ganray.pipelines.restore_orders import SCENES_PREFIX, Film, Pending, RestoreJob, Scene
from ganray.pipelines.scenes import Call, apply, present
from ganray.storage import Store


def find_film_scene(
    job: RestoreJob, item: Pending, source: VideoSource, *, target: Store, call: Call = apply
) -> Scene:
    """The scene that a film is; its plan is written to the target's staging, or found there.

    Raises CodecError for a film that is damaged or that its output's codec does not hold,
    RestorationError if its bands do not fit the generator; UnsupportedImageError if that takes a
    mask.
    """
    if job.config.masks:
        raise UnsupportedImageError(
            "a film, and a mask of lost pixels is of one image; extract its frames as PNG, each "
            "with its mask, or restore it by a generator without a mask"
        )
    config, limit = job.config.video, job.config.limits.pixels
    profile: VideoProfile = call(probe_video, source, config, max_pixels=limit)
    output = VideoOutput(profile, config, job.scale)
    require_encodable(output)
    shown = present(job, profile.image)
    staging = f"{SCENES_PREFIX}{_name(job, item, output)}/"
    try:
        plan = read_plan(target, f"{staging}plan.json")
    except (NotFoundError, UndecodableError):
        plan = call(scan_segments, source, config, max_pixels=limit)
        target.write(f"{staging}plan.json", _encode_plan(plan))
    return Scene(
        item=item,
        height=profile.height,
        width=profile.width,
        bands=profile.kind.bands,
        dtype=profile.kind.dtype,
        codec=profile.image.codec,
        num_windows=len(plan.segments),
        staging=staging,
        reader="film",
        parts=shown.parts,
        ranges=shown.ranges,
        film=Film(profile, plan.num_frames),
    )


def film_output(job: RestoreJob, scene: Scene) -> VideoOutput:
    """How a scene that is a film is written."""
    assert scene.film is not None
    return VideoOutput(scene.film.profile, job.config.video, job.scale)


def read_plan(target: Store, key: str) -> SegmentPlan:
    """The segments of a film. Raises UndecodableError for an object that does not name them."""
    try:
        words = json.loads(target.read(key))
        segments = tuple(Segment(*values) for values in words["segments"])
        return SegmentPlan(segments, tuple(words["lost"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UndecodableError(f"{key} is no plan of segments ({error}); remove it") from error


def _encode_plan(plan: SegmentPlan) -> bytes:
    segments = [astuple(segment) for segment in plan.segments]
    return json.dumps({"segments": segments, "lost": plan.lost}, separators=(",", ":")).encode()


def _name(job: RestoreJob, item: Pending, output: VideoOutput) -> str:
    """Follows from all that shapes a segment's bytes, FFmpeg's version included."""
    identity = [item.key, item.etag, job.generator_digest, job.config.pixel_digest, output.digest]
    identity += [str(output.config.segment_frames), str(require_av().__version__)]
    return hashlib.sha256("\n".join(identity).encode()).hexdigest()[:24]
