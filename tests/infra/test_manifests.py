"""What infra/ says is what ganray understands: every command line is parsed by its own parser."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from ganray import __version__
from ganray.config import load_config
from ganray.pipelines.evaluate import EvaluateConfig
from ganray.pipelines.nightly_config import NightlyConfig
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.shard_config import ShardConfig
from ganray.pipelines.train_config import TrainConfig

ROOT = Path(__file__).parents[2]
CONFIGS = {
    "restore": RestoreConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "shard": ShardConfig,
    "nightly": NightlyConfig,
}
MANIFESTS = sorted((ROOT / "infra" / "kuberay").glob("*.yaml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_command_of_a_manifest_is_one_that_ganray_parses(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    manifest = yaml.safe_load(path.read_text())
    python, job, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    assert python == "python"
    assert (ROOT / job).is_file()
    load_config(CONFIGS[Path(job).stem], arguments)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_image_of_a_manifest_is_the_one_that_the_dockerfile_builds(path: Path) -> None:
    built = re.search(r"-t (ganray:\S+)", (ROOT / "infra/docker/Dockerfile").read_text())
    assert built
    assert built[1] == f"ganray:{__version__}"
    images = re.findall(r"image: (\S+)", path.read_text())
    assert images
    assert set(images) == {built[1]}


def test_what_the_dockerfile_copies_exists() -> None:
    lines = (ROOT / "infra/docker/Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source


@pytest.mark.parametrize(
    "path", sorted((ROOT / "jobs" / "configs").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_production_configuration_is_valid(path: Path) -> None:
    load_config(CONFIGS[path.stem], [str(path)])
