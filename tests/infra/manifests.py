"""What the overlays of infra/kuberay come to, by kustomize itself."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERAY = ROOT / "infra" / "kuberay"
OVERLAYS = sorted(path.name for path in (KUBERAY / "overlays").iterdir())

Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    """The manifests of a kustomization, in the order in which they are applied."""
    beside_python = str(Path(sys.executable).parent)
    kubectl = shutil.which("kubectl", path=beside_python) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; on Linux, ganray[dev] brings it")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def render_overlay(name: str) -> list[Manifest]:
    return render(KUBERAY / "overlays" / name)


rendered = cache(render_overlay)
"""The same for tests that only read it."""


def render_composed(folder: Path, components: list[str], resources: list[str]) -> list[Manifest]:
    """The manifests of a kustomization made for a test, of folders of infra/kuberay."""

    def relative(names: list[str]) -> list[str]:
        return [os.path.relpath(KUBERAY / name, folder.resolve()) for name in names]

    content = {"resources": relative(resources), "components": relative(components)}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return render(folder)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def clusters(manifests: list[Manifest]) -> list[Manifest]:
    """The specs of all Ray clusters, standing or a job's."""
    standing = [cluster["spec"] for cluster in of_kind(manifests, "RayCluster")]
    return standing + [job["spec"]["rayClusterSpec"] for job in of_kind(manifests, "RayJob")]


def groups(cluster: Manifest) -> list[Manifest]:
    """The head's group and the workers'."""
    return [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]


def pod_templates(manifests: list[Manifest]) -> list[Manifest]:
    """All descriptions of pods."""
    templates = [group["template"] for spec in clusters(manifests) for group in groups(spec)]
    for cron_job in of_kind(manifests, "CronJob"):
        templates.append(cron_job["spec"]["jobTemplate"]["spec"]["template"])
    return templates


def containers(manifests: list[Manifest]) -> list[Manifest]:
    return [
        container
        for template in pod_templates(manifests)
        for container in template["spec"]["containers"]
    ]
