"""A Ray head of a test's own: on free ports, in a folder of its own, ended with all it started."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

RAY = (sys.executable, "-m", "ray.scripts.scripts")
STORE_BYTES = 100 * 2**20
START_SECONDS = 240.0
END_SECONDS = 15.0


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
    """A head with its job server; `python` of its jobs is the one that runs this."""
    url = f"http://127.0.0.1:{free_port()}"
    token = new_token()
    words = [f"--port={free_port()}", f"--dashboard-port={url.rpartition(':')[2]}"]
    words += [f"--dashboard-agent-listen-port={free_port()}", "--include-dashboard=true"]
    words += [f"--ray-client-server-port={free_port()}", f"--num-cpus={num_cpus}"]
    with short_folder("ganray-head-") as folder, started_head(folder, words, token):
        head = RayHead(url, token | {"RAY_API_SERVER_ADDRESS": url}, folder)
        _wait_for_jobs(head)
        yield head


@contextmanager
def short_folder(prefix: str) -> Iterator[Path]:
    """A new folder for Ray: the paths of its sockets have to be short."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started_head(
    folder: Path, words: Sequence[str], environment: dict[str, str]
) -> Iterator[psutil.Process]:
    """`ray start --head WORDS…` in a folder, from when it runs until the context ends."""
    command = [*RAY, "start", "--head", "--block", *words, f"--temp-dir={folder}"]
    command += [f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats"]
    log = folder / "head.log"
    with log.open("w") as output:
        # There, too, Ray notes where its latest head is: no other `ray.init()` is to find this one.
        environment = client_environment() | {"RAY_TMPDIR": str(folder)} | environment
        process = psutil.Popen(command, env=environment, stdout=output, stderr=output)
    deadline = time.monotonic() + START_SECONDS
    try:
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no head within {START_SECONDS:g} s: {log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield process
    finally:
        end_family(process)


def end_family(process: psutil.Process) -> None:
    """End a process and all that it started, by number; what does not go is killed."""
    with suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.terminate()
        _, alive = psutil.wait_procs(family, END_SECONDS)
        for member in alive:
            with suppress(psutil.NoSuchProcess):
                member.kill()


def client_environment() -> dict[str, str]:
    """This environment without a cluster, and with this Python first."""
    known = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{known.get('PATH', '')}"
    known.pop("PYTHONPATH", None)
    return known | {"PATH": path}


def new_token() -> dict[str, str]:
    """What lets this test alone into its cluster."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


def _wait_for_jobs(head: RayHead) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (listed := head.ray("job", "list")).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no job server within {START_SECONDS:g} s: {listed.stderr[-3000:]}")
        time.sleep(0.5)
