"""Dashboard, alerts and their document know the metrics that ganray exports, and no other."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ganray.pipelines.metrics import METRICS

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "infra" / "monitoring"
SERVED = {metric.served_name: metric for metric in METRICS}
RAY_LABELS = {"SessionName", "WorkerId", "le"}
SUFFIXES = ("_bucket", "_count", "_sum")
USE = re.compile(r"(ray_ganray_\w+)(?:\{([^}]*)\})?")
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
ALERTS = [rule for rule in RULES if "alert" in rule]
DOCUMENT = (MONITORING / "README.md").read_text()


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def base(name: str) -> str:
    """The name of a metric without what a histogram's series add to it."""
    for suffix in SUFFIXES:
        stem = name.removesuffix(suffix)
        if stem in SERVED and SERVED[stem].kind == "histogram":
            return stem
    return name


def uses(expressions: list[str]) -> list[tuple[str, str]]:
    """Every metric that is named, with its selectors."""
    return [match for expression in expressions for match in USE.findall(expression)]


@pytest.mark.parametrize(
    ("name", "selectors"),
    sorted(set(uses(dashboard_expressions() + [rule["expr"] for rule in RULES]))),
)
def test_what_dashboard_and_alerts_ask_for_is_exported(name: str, selectors: str) -> None:
    assert base(name) in SERVED
    labels = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\"", selectors))
    assert labels <= {*SERVED[base(name)].labels, *RAY_LABELS}


@pytest.mark.parametrize("expression", dashboard_expressions() + [rule["expr"] for rule in RULES])
def test_what_is_grouped_by_is_a_label_of_a_metric_in_the_expression(expression: str) -> None:
    known = {label for name, _ in uses([expression]) for label in SERVED[base(name)].labels}
    for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert {label.strip() for label in labels.split(",")} <= known | RAY_LABELS


def test_every_metric_is_shown_on_the_dashboard() -> None:
    shown = {base(name) for name, _ in uses(dashboard_expressions())}
    assert shown == set(SERVED)


def test_legends_name_labels_that_there_are() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            known = {label for n, _ in uses([target["expr"]]) for label in SERVED[base(n)].labels}
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert legend <= known | RAY_LABELS, target


def test_every_metric_and_every_alert_is_documented() -> None:
    documented = set(re.findall(r"`(ganray_\w+)`", DOCUMENT.partition("## Metrics")[2]))
    assert documented == {metric.name for metric in METRICS}
    for rule in ALERTS:
        assert f"| {rule['alert']} |" in DOCUMENT


def test_names_are_as_prometheus_has_them() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"ganray_[a-z_]+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert (metric.kind == "histogram") == bool(metric.buckets), metric.name
    assert len(SERVED) == len(METRICS)


def test_promtool_finds_the_rules_sound_and_raised_when_they_should_be() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    rules, cases = MONITORING / "alerts.yaml", ROOT / "tests" / "infra" / "alerts_test.yaml"
    for command in (["check", "rules", str(rules)], ["test", "rules", str(cases)]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_raises_it() -> None:
    cases = yaml.safe_load((ROOT / "tests/infra/alerts_test.yaml").read_text())["tests"]
    raised = {
        case["alertname"]
        for test in cases
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert raised == {rule["alert"] for rule in ALERTS}
