"""Documents are tested: commands of the README run, what it names exists, help is complete."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from ganray.cli import COMMANDS
from ganray.config import describe, load_config
from ganray.pipelines.explain import ExplainConfig
from ganray.pipelines.preview import PreviewConfig
from tests.infra.production import CONFIGS
from tests.integration.command import ganray_here, run_command
from tests.integration.pictures import write_pictures

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# `make demo` and `make test` are what runs the demo's and these tests.
RUN_ELSEWHERE = ("make ", "ray job submit", "source ")
CONFIGURED = CONFIGS | {"preview": PreviewConfig, "explain": ExplainConfig}
WITHOUT_PLAN = ("evaluate", "preview", "explain", "promote")


def readme_commands() -> list[str]:
    """Lines that follow a `$` prompt in the README's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line[:2] == "$ "]
    return [line for line in lines if not line.startswith(RUN_ELSEWHERE)]


def test_the_readme_has_commands_to_test() -> None:
    assert len(readme_commands()) >= 8


def test_every_command_of_the_readme_runs_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "my-photos", 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    for job in ("jobs", "ganray"):
        (tmp_path / job).symlink_to(ROOT / job)
    for line in readme_commands():
        if line.startswith("ganray "):
            outcome = ganray_here(*shlex.split(line)[1:])
        else:
            outcome = run_command(["bash", "-c", line])
        assert outcome.code in (0, 3), f"{line}\n{outcome.text}"


def test_the_python_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    write_pictures(tmp_path / "my-photos", 1)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(example, scope)
    assert scope["restored"].shape == (3, 192, 192)


def test_every_command_is_documented_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"ganray {name}" in README or f"make {name}" in README, name


@pytest.mark.parametrize(
    "document",
    ["README.md", "DESIGN.md", "CONTRIBUTING.md", "infra/README.md", "infra/monitoring/README.md"],
)
def test_every_link_to_a_file_leads_to_one(document: str) -> None:
    path = ROOT / document
    for link in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not link.startswith("http"):
            assert (path.parent / link).exists(), link


@pytest.mark.parametrize("name", CONFIGURED)
def test_help_lists_every_field_with_its_description(name: str) -> None:
    outcome = ganray_here(name, "--help")
    assert outcome.code == 0
    for field in describe(CONFIGURED[name]):
        assert f"  {field.key} = {field.default}" in outcome.output
        assert field.expected == "text" or field.expected in outcome.output
        assert len(field.description) > 10, field.key


@pytest.mark.parametrize("name", CONFIGURED)
def test_help_has_an_example_of_keys_that_there_are(name: str) -> None:
    words = ganray_here(name, "--help").output
    (example,) = re.findall(rf"^  ganray {name} (.*)$", words, re.MULTILINE)
    load_config(CONFIGURED[name], shlex.split(example))
    assert ("--plan " in words) == (name not in WITHOUT_PLAN)


def test_help_leaves_a_line_between_sections() -> None:
    words = ganray_here("restore", "--help").output
    assert "\n\n  workers.min = " in words and "\n\n  workers.max = " not in words


def test_help_shows_the_values_of_a_choice() -> None:
    words = ganray_here("restore", "--help").output
    assert '  output.format = "same"  (same, png, jpeg, webp or tiff)' in words
    assert '  precision = "auto"  (auto, float32, bfloat16 or float16)' in words
    assert '  compile = "auto"  (auto, always or never)' in words


@pytest.mark.parametrize("name", CONFIGS)
def test_every_job_says_how_to_launch_it(name: str) -> None:
    text = (ROOT / "jobs" / f"{name}.py").read_text()
    assert f"python jobs/{name}.py" in text.split('"""')[1]
    assert (ROOT / "jobs" / "configs" / f"{name}.yaml").is_file()
