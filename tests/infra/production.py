"""The jobs and their production configurations."""

from pathlib import Path

from ganray.pipelines.evaluate_config import EvaluateConfig
from ganray.pipelines.nightly_config import NightlyConfig
from ganray.pipelines.promote_config import PromoteConfig
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.shard_config import ShardConfig
from ganray.pipelines.train_config import TrainConfig

EXAMPLES = sorted((Path(__file__).parents[2] / "jobs" / "configs").glob("*.yaml"))
CONFIGS = {
    "restore": RestoreConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "shard": ShardConfig,
    "promote": PromoteConfig,
    "nightly": NightlyConfig,
}


def job_of(example: Path) -> str:
    """`restore-film.yaml` is a configuration of the job `restore`."""
    return example.stem.partition("-")[0]
