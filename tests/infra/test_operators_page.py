"""infra/README.md names files that exist and commands that ganray has."""

import re
import shlex

import pytest

from ganray.cli import COMMANDS
from tests.infra.manifests import OVERLAYS, ROOT

PAGE = (ROOT / "infra" / "README.md").read_text()
LINES = [
    line for block in re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL) for line in block.split("\n")
]


def test_the_page_has_commands_to_check() -> None:
    assert len([line for line in LINES if line]) > 20


def test_every_file_that_a_command_takes_exists() -> None:
    named = re.findall(r"(?:file://|-k |-f |ray up |ray attach )(infra/\S+)", "\n".join(LINES))
    assert len(named) > 8
    for path in named:
        assert (ROOT / path).exists(), path


def test_what_a_night_would_cost_is_asked_before_one_is_begun() -> None:
    (plan,) = [number for number, line in enumerate(LINES) if line.endswith("nightly.yaml --plan")]
    begin = LINES.index("kubectl apply -k infra/kuberay/overlays/nightly")
    assert plan < begin


def test_every_overlay_is_explained() -> None:
    for overlay in OVERLAYS:
        assert f"kuberay/overlays/{overlay}/kustomization.yaml" in PAGE


def test_every_policy_is_named() -> None:
    for path in (ROOT / "infra" / "storage").iterdir():
        assert path.name in PAGE, path.name


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("ganray ")])
def test_a_command_of_ganray_is_one(line: str) -> None:
    assert shlex.split(line)[1] in COMMANDS
