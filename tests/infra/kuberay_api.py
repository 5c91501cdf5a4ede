"""The fields of KubeRay 1.7 and Prometheus' operator that ganray's manifests use, closed.

Any other is a mistake. Their own schemas are in no package registry; these are the names and
types of their API references, and pods inside them are checked by Kubernetes' published schema.
"""

from typing import Annotated, Any, Literal

import kubernetes_validate
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

KUBERNETES = "1.33"
"""The oldest release that the manifests are for."""

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[int, Field(ge=1)]
Resources = dict[str, dict[str, str]]


def _check_pod(template: dict[str, Any]) -> dict[str, Any]:
    pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)
    return template


PodTemplate = Annotated[dict[str, Any], AfterValidator(_check_pod)]


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class AutoscalerOptions(Fields):
    version: Literal["v1", "v2"]
    idle_timeout_seconds: Seconds
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"]
    resources: Resources
    security_context: dict[str, Any]


class AuthOptions(Fields):
    mode: Literal["token", "disabled"]


class Secret(Fields):
    value_from: dict[Literal["secretKeyRef"], dict[Literal["name", "key"], str]]


class GcsFaultToleranceOptions(Fields):
    redis_address: str
    redis_password: Secret


class HeadGroup(Fields):
    ray_start_params: dict[str, str]
    template: PodTemplate


class WorkerGroup(HeadGroup):
    group_name: str
    replicas: Count
    min_replicas: Count
    max_replicas: Count


class RayClusterSpec(Fields):
    ray_version: str
    enable_in_tree_autoscaling: bool
    autoscaler_options: AutoscalerOptions | None = None
    auth_options: AuthOptions
    gcs_fault_tolerance_options: GcsFaultToleranceOptions | None = None
    head_group_spec: HeadGroup
    worker_group_specs: list[WorkerGroup]


class RayJobSpec(Fields):
    entrypoint: str
    shutdown_after_job_finishes: bool
    ttl_seconds_after_finished: Count
    backoff_limit: Count
    pre_running_deadline_seconds: Seconds
    active_deadline_seconds: Seconds
    suspend: bool = False
    ray_cluster_spec: RayClusterSpec


class Requirement(Fields):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = []


class Selector(Fields):
    match_labels: dict[str, str] = {}
    match_expressions: list[Requirement] = []


class PodMetricsEndpoint(Fields):
    port: str
    interval: Annotated[str, Field(pattern=r"^[0-9]+s$")]


class PodMonitorSpec(Fields):
    selector: Selector
    pod_target_labels: list[str]
    pod_metrics_endpoints: list[PodMetricsEndpoint]


SPECS: dict[tuple[str, str], type[Fields]] = {
    ("ray.io/v1", "RayCluster"): RayClusterSpec,
    ("ray.io/v1", "RayJob"): RayJobSpec,
    ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitorSpec,
}


def check(manifest: dict[str, Any]) -> None:
    """Raise unless a manifest is what Kubernetes, or its operator, would take."""
    spec = SPECS.get((manifest["apiVersion"], manifest["kind"]))
    if spec is None:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    spec.model_validate(manifest["spec"])
