"""Start, find and stop the embedded object store of a folder.

The process that calls these functions runs no server: `supervisor.py` does, in a process of
its own, and `locks.py` tells whether it lives.
"""

import http.client
import importlib.util
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ganray.errors import ConfigError, MissingExtraError, StorageError, UnreachableError
from ganray.object_store.configuration import HOST, SERVERS, prepare, read_credentials, read_ports
from ganray.object_store.locks import exclusive, holder

REGION = "us-east-1"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
CHECK_SECONDS = 10.0
POLL_SECONDS = 0.05
NUM_LOG_LINES = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ObjectStore:
    """A running store: where it is and how to get in."""

    folder: Path
    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which every S3 client finds the store."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
        }

    def create_bucket(self, name: str) -> None:
        """Create the bucket, unless it exists."""
        client = _client(self)
        try:
            client.create_bucket(Bucket=name)
        except client.exceptions.BucketAlreadyOwnedByYou:
            pass
        except (BotoCoreError, ClientError) as error:
            raise StorageError(
                f"cannot create bucket {name!r} in {self.endpoint_url}: {error}"
            ) from error


def start(folder: Path) -> ObjectStore:
    """Start the store of `folder`, which runs until `stop`; one that runs already is returned.

    Raises StorageError or UnreachableError, with the last lines of the logs, when it does not
    answer within a minute.
    """
    folder = _ready_folder(folder)
    with exclusive(folder / "lock"):
        return _find(folder) or _start(folder, parent=None)


def stop(folder: Path) -> bool:
    """Stop the store of `folder` and wait until its processes are gone; False if none ran."""
    folder = folder.resolve()
    if not (folder / "lock").exists():
        return False
    with exclusive(folder / "lock"):
        return _stop(folder)


@contextmanager
def running(folder: Path) -> Iterator[ObjectStore]:
    """Run a store for the length of the block, and never longer than the calling process.

    Raises StorageError when a store already runs in `folder`: to end it is not for this block.
    """
    folder = _ready_folder(folder)
    with exclusive(folder / "lock"):
        if holder(_pid_path(folder, "supervisor")) is not None:
            raise StorageError(
                f"an object store already runs in {folder}; use it, stop it, or choose another "
                "folder"
            )
        store = _start(folder, parent=os.getpid())
    try:
        yield store
    finally:
        stop(folder)


def _ready_folder(folder: Path) -> Path:
    if importlib.util.find_spec("swift") is None:
        raise MissingExtraError(
            "the embedded object store needs OpenStack Swift; run: pip install 'ganray[demo]'"
        )
    folder = folder.resolve()
    # Swift takes the path of its configuration for a URI.
    if set("#%") & set(str(folder)):
        raise ConfigError(f"the path {folder} has a '#' or '%' in it; choose another folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot create the folder {folder} ({error.strerror}); choose another"
        ) from error
    return folder


def _find(folder: Path) -> ObjectStore | None:
    """The store that runs in `folder` and answers, None when none runs."""
    deadline = time.monotonic() + CHECK_SECONDS
    # More than one look: a store that is just ending, or very busy, may not answer the first.
    while holder(_pid_path(folder, "supervisor")) is not None:
        store = _read(folder)
        if _is_ready(store):
            return store
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"the object store of {folder} runs but does not answer; stop it, then start it "
                f"again; its logs are in {folder / 'log'}:\n{_last_lines(folder)}"
            )
        time.sleep(POLL_SECONDS)
    return None


def _start(folder: Path, parent: int | None) -> ObjectStore:
    begin = time.monotonic()
    # What is left of a store whose supervisor was killed ends by itself, but not at once.
    _stop(folder)
    prepare(folder)
    pid = _spawn_supervisor(folder, parent)
    store = _read(folder)
    try:
        _wait_until_ready(store, pid)
    except BaseException:
        if not _has_ended(pid):
            _signal(pid, signal.SIGTERM)
        _wait_until_gone(folder)
        _reap(pid)
        raise
    seconds = time.monotonic() - begin
    logger.info("object_store=started endpoint=%s seconds=%.1f", store.endpoint_url, seconds)
    return store


def _read(folder: Path) -> ObjectStore:
    credentials = read_credentials(folder)
    endpoint_url = f"http://{HOST}:{read_ports(folder)['proxy']}"
    return ObjectStore(folder, endpoint_url, credentials.access_key, credentials.secret_key)


def _spawn_supervisor(folder: Path, parent: int | None) -> int:
    """Start the supervisor and return its pid."""
    # -P: without it Python would import from whatever folder the caller stands in.
    command = [sys.executable, "-P", "-m", "ganray.object_store.supervisor", str(folder)]
    if parent is not None:
        command += ["--parent", str(parent)]
    # The servers import ganray's cache by name, also where ganray is not installed.
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    log = str(folder / "log" / "supervisor.log")
    # Not subprocess: a detached store outlives the object that subprocess would keep of it.
    return os.posix_spawn(
        sys.executable,
        command,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )


def _wait_until_ready(store: ObjectStore, pid: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_ready(store):
        if _has_ended(pid):
            raise StorageError(
                f"the object store of {store.folder} ended while starting; its logs are in "
                f"{store.folder / 'log'}:\n{_last_lines(store.folder)}"
            )
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"the object store of {store.folder} does not answer after {START_SECONDS:.0f} s; "
                f"its logs are in {store.folder / 'log'}:\n{_last_lines(store.folder)}"
            )
        time.sleep(POLL_SECONDS)


def _is_ready(store: ObjectStore) -> bool:
    """Whether all servers are up and a signed S3 request succeeds."""
    if not all(_answers(port) for port in read_ports(store.folder).values()):
        return False
    try:
        _client(store).list_buckets()
    except (BotoCoreError, ClientError):
        return False
    return True


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=CHECK_SECONDS)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _client(store: ObjectStore) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=store.endpoint_url,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name=REGION,
        # The store is on this machine, whatever proxy the environment names.
        config=Config(proxies={}, read_timeout=CHECK_SECONDS, retries={"total_max_attempts": 1}),
    )


def _last_lines(folder: Path) -> str:
    lines = []
    for log in sorted((folder / "log").glob("*.log")):
        tail = log.read_text(errors="replace").splitlines()[-NUM_LOG_LINES:]
        lines += [f"{log.name}: {line}" for line in tail]
    return "\n".join(lines)


def _stop(folder: Path) -> bool:
    any_lived = bool(_living(folder))
    supervisor = holder(_pid_path(folder, "supervisor"))
    if supervisor is not None:
        _signal(supervisor, signal.SIGTERM)
    _wait_until_gone(folder)
    if supervisor is not None:
        _reap(supervisor)
    return any_lived


def _wait_until_gone(folder: Path) -> None:
    """Wait until no process of the store lives, and kill those that take too long."""
    deadline = time.monotonic() + STOP_SECONDS
    while pids := _living(folder):
        if time.monotonic() > deadline:
            logger.warning("object_store=killing pids=%s folder=%s", pids, folder)
            for pid in pids:
                _signal(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _living(folder: Path) -> list[int]:
    """Pids of the processes of the store that live."""
    pids = [holder(_pid_path(folder, name)) for name in ("supervisor", *SERVERS)]
    return [pid for pid in pids if pid is not None]


def _pid_path(folder: Path, name: str) -> Path:
    return folder / "run" / f"{name}.pid"


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _has_ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


def _reap(pid: int) -> None:
    """Clear a process that has ended from the process table, if this process started it."""
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
