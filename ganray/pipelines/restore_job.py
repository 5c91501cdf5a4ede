"""What all workers of a restoration are told: its generator, patches, and what becomes a scene."""

from ganray.pipelines.restore_orders import RestoreJob
from ganray.pipelines.restore_plan import RestorePlan
from ganray.restoration.tiling import choose_tiling

NEVER = 2**63
COMPILED_BYTES = 2**28
"""Input of one worker: as JPEG a billion pixels, a minute or more of a fast GPU."""
SAMPLE_KEYS = 3


def new_job(plan: RestorePlan, run_id: str, *, num_workers: int, started_at: str) -> RestoreJob:
    """The job of a run; `started_at` is in ISO 8601."""
    config, checkpoint = plan.config, plan.preparation.checkpoint
    # With fewer inputs than workers, the workers share an input rather than wait.
    window = config.window_pixels**2
    share = len(plan.pending) < num_workers
    return RestoreJob(
        config=config,
        generator_digest=checkpoint.digest,
        scale=checkpoint.scale,
        bands=checkpoint.bands,
        tiling=choose_tiling(checkpoint.radius, checkpoint.alignment),
        run_id=run_id,
        started_at=started_at,
        split_pixels=min(window, config.split_pixels) if share else config.split_pixels,
        split_picture_pixels=window if share else NEVER,
        samples=tuple(item.key for item in plan.sample[:SAMPLE_KEYS]),
        compiles=_pays_to_compile(plan, num_workers),
    )


def _pays_to_compile(plan: RestorePlan, num_workers: int) -> bool:
    """Whether every worker has enough to restore; what is in a file is not known yet."""
    if plan.config.compile == "auto":
        return plan.pending_bytes / max(1, num_workers) >= COMPILED_BYTES
    return plan.config.compile == "always"
