"""The image can be built of what its context has, and holds the versions that are pinned."""

import inspect
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray.autoscaler._private import command_runner

from ganray import __version__
from tests.infra.manifests import ROOT

DOCKERFILE = ROOT / "infra" / "docker" / "Dockerfile"
INSTALL = ROOT / "infra" / "docker" / "install.sh"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, with their continued lines."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def test_hadolint_finds_nothing() -> None:
    beside_python = str(Path(sys.executable).parent)
    hadolint = shutil.which("hadolint", path=beside_python) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed; on Linux, ganray[dev] brings it")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_is_copied_exists_and_is_let_into_the_context() -> None:
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored[0] == "*"
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    copied = [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert "ganray" in copied
    for source in copied:
        assert (ROOT / source).exists()
        assert any(fnmatch(source, pattern) for pattern in let_in), source
    assert set(let_in) <= set(copied)


def test_the_last_stage_has_no_tools_to_build_and_no_root() -> None:
    words = instructions()
    last = max(index for index, (word, _) in enumerate(words) if word == "FROM")
    final = words[last:]
    (installed,) = [rest for word, rest in final if word == "RUN"]
    assert "pip" not in installed
    assert not re.search(r"gcc|build-essential|git", installed)
    (user,) = [rest for word, rest in final if word == "USER"]
    assert user == "1000:1000"
    assert f"--uid {user.partition(':')[0]} " in installed


def test_the_tag_and_the_label_are_this_version() -> None:
    text = DOCKERFILE.read_text()
    assert set(re.findall(r"-t ganray:([0-9.]+)", text)) == {__version__}
    assert f'image.version="{__version__}"' in text


def packages() -> set[str]:
    """What apt installs in the last stage."""
    (installed,) = [rest for word, rest in instructions() if word == "RUN" and "apt-get" in rest]
    words = re.search(r"apt-get install ([^&]+)", installed)
    assert words
    return set(words[1].split())


def test_what_probes_call_is_installed() -> None:
    (check,) = [rest for word, rest in instructions() if word == "HEALTHCHECK"]
    assert '"wget"' in check
    assert "wget" in packages()


def test_what_ray_s_command_runners_call_is_installed() -> None:
    """They call rsync in the container, and from the head's container ssh to the workers."""
    runners = inspect.getsource(command_runner)
    assert "rsync -e '{} exec -i'" in runners
    assert '["ssh", "-tt"]' in runners
    assert {"rsync", "openssh-client"} <= packages()


@pytest.mark.parametrize(
    ("torch", "is_labelled"), [("cuda", False), ("cpu", True)], ids=["cuda", "cpu"]
)
def test_the_image_installs_ganray_by_the_constraints(
    tmp_path: Path, torch: str, is_labelled: bool
) -> None:
    """By a python that says what it was asked for, and which torch its constraints allow."""
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/bash\nprintf "%s\\n" "$@"\n'
        'while [ "$1" != --constraint ]; do shift; done\ngrep ^torch== "$2"\n'
    )
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", INSTALL, python, torch], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *words, constraint = done.stdout.splitlines()
    assert words[:3] == ["-m", "pip", "install"]
    assert words[-1] == ".[cluster,geo,dicom,video]"
    pinned = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert constraint == pinned[0] + ("+cpu" if is_labelled else "")


def test_an_unknown_build_is_refused() -> None:
    done = subprocess.run(["bash", INSTALL, "python", "rocm"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected cuda or cpu" in done.stderr


def test_what_only_the_image_installs_is_pinned_too() -> None:
    """Ray's `default` extra, of which the tests' own environment has nothing."""
    pins = {
        canonicalize_name(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    needed = [Requirement(text) for text in metadata.requires("ray") or []]
    names = {
        canonicalize_name(requirement.name)
        for requirement in needed
        if requirement.marker and requirement.marker.evaluate({"extra": "default"})
    }
    assert "opencensus" in names
    assert names <= pins
