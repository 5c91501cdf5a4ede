"""Run the four Swift servers of one store until told to end, or until one of them ends.

    python -m ganray.object_store.supervisor FOLDER [--parent PID]

With --parent it also ends as soon as that process, which must have started it, is gone, and
always when its folder is removed. The servers end as soon as the supervisor is gone, whatever
ended it: nothing is left behind.
"""

import argparse
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path

from swift.account.server import main as serve_account
from swift.common.ring import RingBuilder
from swift.container.server import main as serve_container
from swift.obj.server import main as serve_object
from swift.proxy.server import main as serve_proxy

from ganray.object_store.configuration import DEVICE, HOST, configuration_path, read_ports
from ganray.object_store.locks import hold

CHECK_SECONDS = 0.2
STOP_SECONDS = 5.0
# Data are found again through it: to change it is to lose what is stored.
PARTITION_POWER = 4

SERVE: dict[str, Callable[[], None]] = {
    "account": serve_account,
    "container": serve_container,
    "object": serve_object,
    "proxy": serve_proxy,
}

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the servers, watch them, end them; the exit status is 1 when one ended by itself."""
    parser = argparse.ArgumentParser(prog="ganray.object_store.supervisor")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parent", type=int)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # A session of its own keeps a terminal's Ctrl-C for the process that uses the store.
    os.setsid()
    pid_path = options.folder / "run" / "supervisor.pid"
    lock = hold(pid_path)
    _build_rings(options.folder)
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)
    # Nobody writes to this pipe: its end of file tells the servers that the supervisor is gone.
    pipe = os.pipe()
    servers = [_start(server, options.folder, (*pipe, lock)) for server in SERVE]
    try:
        return _watch(servers, options.parent, pid_path)
    finally:
        _end(servers)


def _exit(number: int, frame: object) -> None:
    logger.info("object_store=stopping signal=%d", number)
    sys.exit(0)


def _build_rings(folder: Path) -> None:
    """Write where each storage server is; Swift finds servers, and their ports, by these files."""
    for server, port in read_ports(folder).items():
        if server == "proxy":
            continue
        builder = RingBuilder(PARTITION_POWER, replicas=1, min_part_hours=0)
        device = {"region": 1, "zone": 1, "ip": HOST, "port": port, "device": DEVICE, "weight": 1}
        builder.add_dev(device)
        builder.rebalance()
        builder.get_ring().save(str(folder / "etc" / f"{server}.ring.gz"))


def _start(server: str, folder: Path, descriptors: tuple[int, int, int]) -> ForkProcess:
    # Forked, so that Swift's slow imports are paid once.
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_serve, args=(server, folder, descriptors), daemon=True)
    process.start()
    return process


def _serve(server: str, folder: Path, descriptors: tuple[int, int, int]) -> None:
    """Be one Swift server: the body of a forked process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    supervisor_alive, supervisor_end, supervisor_lock = descriptors
    os.close(supervisor_end)
    os.close(supervisor_lock)
    hold(folder / "run" / f"{server}.pid")
    log = os.open(
        folder / "log" / f"{server}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600
    )
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_end_with_supervisor, args=(supervisor_alive,), daemon=True).start()
    sys.argv = [f"swift-{server}-server", str(configuration_path(folder, server)), "--verbose"]
    SERVE[server]()


def _end_with_supervisor(supervisor_alive: int) -> None:
    os.read(supervisor_alive, 1)
    # Not sys.exit: that would end this thread only.
    os._exit(1)


def _watch(servers: list[ForkProcess], parent: int | None, pid_path: Path) -> int:
    """Return when a server has ended (1), or when the parent or the folder has gone (0)."""
    sentinels = [server.sentinel for server in servers]
    while not multiprocessing.connection.wait(sentinels, timeout=CHECK_SECONDS):
        # Not a pipe from the parent: whatever the parent forks would hold it open after its end.
        if parent is not None and os.getppid() != parent:
            logger.info("object_store=stopping reason=parent_ended")
            return 0
        if not pid_path.exists():
            logger.info("object_store=stopping reason=folder_removed")
            return 0
    logger.error("object_store=stopping reason=server_ended")
    return 1


def _end(servers: list[ForkProcess]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for server in servers:
        server.terminate()
    for server in servers:
        server.join(STOP_SECONDS)
        server.kill()
        server.join()


if __name__ == "__main__":
    sys.exit(main())
