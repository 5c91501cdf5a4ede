"""What infra/kuberay says is what Kubernetes, KubeRay, Ray and ganray understand."""

import math
import re
import shlex
import subprocess
from datetime import datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from jsonschema import ValidationError as SchemaError
from pydantic import ValidationError
from ray.scripts import scripts as ray_commands

from ganray import __version__
from ganray.config import load_config
from ganray.pipelines.nightly_config import NightlyConfig
from tests.infra import kuberay_api
from tests.infra.manifests import (
    KUBERAY,
    OVERLAYS,
    ROOT,
    Manifest,
    clusters,
    containers,
    groups,
    of_kind,
    pod_templates,
    render_composed,
    render_overlay,
    rendered,
)
from tests.infra.production import CONFIGS

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@overlays
def test_a_manifest_has_only_fields_that_kubernetes_and_kuberay_know(overlay: str) -> None:
    for manifest in rendered(overlay):
        kuberay_api.check(manifest)


def test_the_check_of_fields_finds_a_mistyped_one() -> None:
    (cluster,) = of_kind(render_overlay("cluster"), "RayCluster")
    worker = cluster["spec"]["workerGroupSpecs"][0]
    worker["maxReplica"] = worker.pop("maxReplicas")
    with pytest.raises(ValidationError, match="maxReplica"):
        kuberay_api.check(cluster)
    (cluster,) = of_kind(render_overlay("cluster"), "RayCluster")
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["toleration"] = []
    with pytest.raises(SchemaError, match="toleration"):
        kuberay_api.check(cluster)


@overlays
def test_a_command_is_one_that_ganray_parses(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for job in of_kind(rendered(overlay), "RayJob"):
        python, script, *arguments = shlex.split(job["spec"]["entrypoint"])
        assert python == "python"
        assert (ROOT / script).is_file()
        load_config(CONFIGS[Path(script).stem], arguments)


@overlays
def test_the_workers_that_a_job_asks_for_fit_into_a_group(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    for job in of_kind(rendered(overlay), "RayJob"):
        _, script, *arguments = shlex.split(job["spec"]["entrypoint"])
        config = load_config(CONFIGS[Path(script).stem], arguments)
        workers = config.workers
        # Beside each worker of a training there is what cuts its patches.
        num_cpus = workers.cpus + getattr(config, "readers", 0)
        room = sum(
            group["maxReplicas"] * _num_that_fit(group["rayStartParams"], num_cpus, workers.gpus)
            for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        )
        assert room >= workers.max


def _num_that_fit(room: dict[str, str], num_cpus: float, num_gpus: float) -> int:
    by_cpus = math.floor(float(room["num-cpus"]) / num_cpus)
    return min(by_cpus, math.floor(float(room["num-gpus"]) / num_gpus)) if num_gpus else by_cpus


@overlays
def test_every_image_is_the_one_that_is_built_for_this_version(overlay: str) -> None:
    images = {container["image"] for container in containers(rendered(overlay))}
    assert images == {f"registry.example.com/ganray:{__version__}"}


def test_the_version_stands_in_every_label() -> None:
    for manifest in rendered("cluster"):
        assert manifest["metadata"]["labels"]["app.kubernetes.io/version"] == __version__


@overlays
def test_ray_is_the_version_that_the_image_installs(overlay: str) -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    for spec in clusters(rendered(overlay)):
        assert spec["rayVersion"] == pinned[1]


@overlays
def test_ray_and_kubernetes_agree_on_what_a_worker_has(overlay: str) -> None:
    for spec in clusters(rendered(overlay)):
        for group in spec["workerGroupSpecs"]:
            (container,) = group["template"]["spec"]["containers"]
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
            assert group["rayStartParams"]["num-cpus"] == resources["limits"]["cpu"]
            gpus = resources["limits"].get("nvidia.com/gpu", "0")
            assert group["rayStartParams"]["num-gpus"] == gpus


@overlays
def test_workers_begin_at_none_and_the_head_holds_none(overlay: str) -> None:
    for spec in clusters(rendered(overlay)):
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert spec["autoscalerOptions"]["version"] == "v2"
        for group in spec["workerGroupSpecs"]:
            assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]


@overlays
def test_only_a_worker_with_a_gpu_stands_the_taint_of_gpu_nodes(overlay: str) -> None:
    for spec in clusters(rendered(overlay)):
        for group in spec["workerGroupSpecs"]:
            pod = group["template"]["spec"]
            limits = pod["containers"][0]["resources"]["limits"]
            keys = {toleration["key"] for toleration in pod["tolerations"]}
            assert "ganray.io/spot" in keys
            assert ("nvidia.com/gpu" in keys) == ("nvidia.com/gpu" in limits)


@overlays
def test_a_worker_is_drained_within_its_grace_period(overlay: str) -> None:
    for spec in clusters(rendered(overlay)):
        for group in spec["workerGroupSpecs"]:
            pod = group["template"]["spec"]
            limits = re.findall(r"timeout (\d+) ", drain_hook(pod))
            assert len(limits) == 2
            # What is left is for the container's own end.
            assert sum(map(int, limits)) < pod["terminationGracePeriodSeconds"]


def drain_hook(pod: Manifest) -> str:
    bash, option, script = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (bash, option) == ("bash", "-c")
    return str(script)


def test_a_worker_waits_until_its_node_is_drained_by_a_command_that_ray_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ray`, `wget` and `sleep` are ones that write down how they are called."""
    calls = tmp_path / "calls"
    for name, end in (("ray", ""), ("wget", f"test $(grep -c ^wget {calls}) -lt 3"), ("sleep", "")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {calls}\n{end}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (spec,) = clusters(rendered("cluster"))
    hook = drain_hook(spec["workerGroupSpecs"][0]["template"]["spec"])
    subprocess.run(["bash", "-c", hook], check=False)
    drain, *rest = calls.read_text().splitlines()
    _, command, *words = drain.split()
    assert command == "drain-node"
    with ray_commands.drain_node.make_context("drain-node", words) as context:
        assert context.params["deadline_remaining_seconds"] == 90
    assert [line.split()[0] for line in rest] == ["wget", "sleep", "wget", "sleep", "wget"]


def test_ray_refuses_a_drain_without_its_options() -> None:
    assert CliRunner().invoke(ray_commands.drain_node, ["--reason", "x"]).exit_code == 2


@overlays
def test_what_a_pod_refers_to_is_there(overlay: str) -> None:
    manifests = rendered(overlay)
    there = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for template in pod_templates(manifests):
        pod = template["spec"]
        assert ("ServiceAccount", pod["serviceAccountName"]) in there
        assert ("PriorityClass", pod["priorityClassName"]) in there
        volumes = {volume["name"] for volume in pod["volumes"]}
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


@overlays
def test_no_pod_is_root_or_may_become_it(overlay: str) -> None:
    for template in pod_templates(rendered(overlay)):
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@overlays
def test_secrets_are_named_and_never_held(overlay: str) -> None:
    assert not of_kind(rendered(overlay), "Secret")
    for container in containers(rendered(overlay)):
        for variable in container.get("env", []):
            assert not re.search(r"KEY|TOKEN|PASSWORD|SECRET", variable["name"])


@overlays
def test_the_ports_of_a_container_have_names_of_their_own(overlay: str) -> None:
    for container in containers(rendered(overlay)):
        ports = container.get("ports", [])
        assert len({port["name"] for port in ports}) == len(ports)
        assert len({port["containerPort"] for port in ports}) == len(ports)


def test_the_nightly_pod_may_do_what_its_program_does_and_no_more() -> None:
    manifests = rendered("nightly")
    (role,) = of_kind(manifests, "Role")
    program = (KUBERAY / "nightly" / "nightly.py").read_text()
    methods = set(re.findall(r'_ask\("(\w+)"', program))
    assert methods == {"GET", "POST", "DELETE"}
    assert role["rules"] == [
        {
            "apiGroups": ["ray.io"],
            "resources": ["rayjobs"],
            "verbs": ["get", "list", "create", "delete"],
        }
    ]
    (binding,) = of_kind(manifests, "RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["ganray-nightly"]


def test_a_night_neither_overlaps_nor_outlasts_the_next() -> None:
    manifests = rendered("nightly")
    (cron_job,) = of_kind(manifests, "CronJob")
    assert cron_job["spec"]["concurrencyPolicy"] == "Forbid"
    (template,) = of_kind(manifests, "RayJob")
    assert template["spec"]["suspend"]
    assert template["spec"]["activeDeadlineSeconds"] < 24 * 3600
    (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert f"--template={template['metadata']['name']}" in container["args"]


@pytest.mark.parametrize("day", ["2026-01-15", "2026-07-15"], ids=["winter", "summer"])
def test_a_night_that_begins_late_has_the_deadline_of_its_morning(day: str) -> None:
    (cron_job,) = of_kind(rendered("nightly"), "CronJob")
    spec = cron_job["spec"]
    minute, hour, *every_day = spec["schedule"].split()
    assert every_day == ["*", "*", "*"]
    begin = datetime.fromisoformat(f"{day}T{int(hour):02}:{int(minute):02}")
    begin = begin.replace(tzinfo=ZoneInfo(spec["timeZone"]))
    config = load_config(NightlyConfig, [str(ROOT / "jobs/configs/nightly.yaml")])
    clock = time.fromisoformat(config.deadline)
    local = begin.astimezone(ZoneInfo(config.timezone))
    deadline = datetime.combine(local.date(), clock, local.tzinfo)
    assert begin < deadline
    latest = begin + timedelta(seconds=spec["startingDeadlineSeconds"])
    # What begins an hour before it still does something.
    assert begin < latest <= deadline - timedelta(hours=1)


def test_jobs_of_two_overlays_in_one_namespace_have_two_names() -> None:
    """Or applying `restore` would take the template's suspension away."""
    names = [
        job["metadata"]["name"]
        for overlay in OVERLAYS
        for job in of_kind(rendered(overlay), "RayJob")
    ]
    assert len(set(names)) == len(names)


def test_a_cluster_of_a_job_goes_with_it() -> None:
    for overlay in ("restore", "train", "nightly"):
        assert not of_kind(rendered(overlay), "RayCluster")
        for job in of_kind(rendered(overlay), "RayJob"):
            assert job["spec"]["shutdownAfterJobFinishes"]


def test_a_head_with_redis_takes_its_password_from_a_secret() -> None:
    (spec,) = clusters(rendered("cluster"))
    password = spec["gcsFaultToleranceOptions"]["redisPassword"]
    assert password == {"valueFrom": {"secretKeyRef": {"name": "ganray-redis", "key": "password"}}}


def test_under_kueue_a_job_waits_suspended_with_a_cluster_of_one_size(tmp_path: Path) -> None:
    manifests = render_composed(
        tmp_path, ["site", "components/kueue", "components/jobs"], ["base", "restore"]
    )
    (job,) = of_kind(manifests, "RayJob")
    kuberay_api.check(job)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "ganray"
    assert job["spec"]["suspend"]
    spec = job["spec"]["rayClusterSpec"]
    assert not spec["enableInTreeAutoscaling"]
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] > 0


def test_under_kueue_the_template_of_the_nights_has_no_queue(tmp_path: Path) -> None:
    manifests = render_composed(
        tmp_path,
        ["site", "nightly/template", "components/kueue", "components/jobs"],
        ["base", "restore", "nightly"],
    )
    (template,) = of_kind(manifests, "RayJob")
    assert set(template["metadata"]["labels"]) == {"ganray.io/template"}
    (cron_job,) = of_kind(manifests, "CronJob")
    (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][-1] == "--queue=ganray"


def test_prometheus_scrapes_a_port_that_every_pod_of_ray_has(tmp_path: Path) -> None:
    manifests = render_composed(tmp_path, ["components/pod-monitor", "site"], ["base"])
    (monitor,) = of_kind(manifests, "PodMonitor")
    kuberay_api.check(monitor)
    (spec,) = clusters(manifests)
    assert monitor["metadata"]["namespace"] == "ganray"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    # Ray's agent forgets what a process said 20 seconds after it has gone.
    assert int(endpoint["interval"].removesuffix("s")) < 20
    for group in groups(spec):
        ports = group["template"]["spec"]["containers"][0]["ports"]
        assert {"name": endpoint["port"], "containerPort": 8080} in ports


def test_on_gke_workers_are_spot_and_accounts_are_google_s(tmp_path: Path) -> None:
    manifests = render_composed(tmp_path, ["components/gke"], ["base"])
    for manifest in manifests:
        kuberay_api.check(manifest)
    (spec,) = clusters(manifests)
    for group in spec["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        (label,) = pod["nodeSelector"]
        assert label in {toleration["key"] for toleration in pod["tolerations"]}
    for account in of_kind(manifests, "ServiceAccount"):
        assert "iam.gke.io/gcp-service-account" in account["metadata"]["annotations"]


def test_a_pod_has_no_more_memory_for_a_cpu_than_the_nodes_of_clouds() -> None:
    (spec,) = clusters(rendered("cluster"))
    for group in groups(spec):
        limits: Manifest = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert int(limits["memory"].removesuffix("Gi")) <= 4 * int(limits["cpu"])
