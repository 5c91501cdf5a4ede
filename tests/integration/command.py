"""Run ganray as a user does: its exit code and its words, in a process of its own or here."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ganray.cli import main

TIMEOUT_SECONDS = 240


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        return self.output + self.errors

    @property
    def json(self) -> Any:
        return json.loads(self.output)


def ganray(*words: str, folder: Path | None = None, **environment: str) -> Outcome:
    """Run `ganray WORDS…` in `folder` with `environment` added."""
    return run_command([sys.executable, "-m", "ganray", *words], folder, environment)


def ganray_here(*words: str, **environment: str) -> Outcome:
    """Run `ganray WORDS…` in this process, which saves the seconds of importing torch and Ray.

    An exception that is no exit code reaches the test.
    """
    output, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        code = main(words)
    return Outcome(code, output.getvalue(), errors.getvalue())


def run_command(
    command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None
) -> Outcome:
    """Run any command; a traceback in its words fails the test that asked for it."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in outcome.text, outcome.text
    return outcome
