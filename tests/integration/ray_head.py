"""A Ray head with its job server, on ports of its own, as a test's cluster to submit to."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.fake_cloud import RAY, end_family, free_port

START_SECONDS = 240.0
STORE_BYTES = 100 * 2**20


@dataclass(frozen=True)
class RayHead:
    """A running head: where its job server listens, and what a client needs in its environment."""

    url: str
    environment: dict[str, str]
    folder: Path

    def ray(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `ray WORDS…` against this head."""
        return subprocess.run(
            [*RAY, *words],
            cwd=cwd,
            env=client_environment() | self.environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )


@contextmanager
def ray_head(*, num_cpus: int) -> Iterator[RayHead]:
    """Start a head and stop it again; `python` of its jobs is the one that runs this."""
    folder = Path(tempfile.mkdtemp(prefix="ganray-head-", dir="/tmp"))
    url = f"http://127.0.0.1:{free_port()}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    command = [*RAY, "start", "--head", "--block", f"--port={free_port()}"]
    command += [f"--dashboard-port={url.rpartition(':')[2]}", "--include-dashboard=true"]
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--temp-dir={folder}"]
    command += [f"--num-cpus={num_cpus}", f"--object-store-memory={STORE_BYTES}"]
    command += [f"--ray-client-server-port={free_port()}", "--disable-usage-stats"]
    log = folder / "head.log"
    with log.open("w") as output:
        process = psutil.Popen(
            command, env=client_environment() | token, stdout=output, stderr=output
        )
    head = RayHead(url, token | {"RAY_API_SERVER_ADDRESS": url}, folder)
    try:
        _wait_for_jobs(head, process, log)
        yield head
    finally:
        end_family(process)
        shutil.rmtree(folder, ignore_errors=True)


def client_environment() -> dict[str, str]:
    """This environment without a cluster, and with this Python first."""
    known = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{known.get('PATH', '')}"
    known.pop("PYTHONPATH", None)
    return known | {"PATH": path}


def _wait_for_jobs(head: RayHead, process: psutil.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "Ray runtime started" not in log.read_text() or head.ray("job", "list").returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no head within {START_SECONDS:g} s: {log.read_text()[-3000:]}")
        time.sleep(0.5)
