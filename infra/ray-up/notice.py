"""Drains a spot node of EC2 as soon as its end is announced.

python notice.py [--metadata URL] [--poll-seconds 5]

Ray watches no cloud's notices. A node that is drained in the two minutes before it goes gets no
new orders, finishes and records those it has; otherwise they are done again elsewhere. It needs
the standard library and `ray` on the PATH, and ends with the node.
"""

import argparse
import http.client
import json
import logging
import subprocess
import sys
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

METADATA = "http://169.254.169.254"
SPARE_SECONDS = 10
"""Between the last window's end and the node's."""

_log = logging.getLogger("notice")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Drain this node when its end is announced.")
    parser.add_argument("--metadata", default=METADATA)
    parser.add_argument("--poll-seconds", type=float, default=5.0)
    options = parser.parse_args(words)
    while True:
        end = announced_end(options.metadata)
        if end is not None:
            return drain(seconds_until(end))
        time.sleep(options.poll_seconds)


def announced_end(metadata: str) -> datetime | None:
    """Return when this node is to go, or None; a service that is silent for once says nothing."""
    try:
        token = _ask(metadata, "PUT", "/latest/api/token", ttl="60")
        notice = _ask(metadata, "GET", "/latest/meta-data/spot/instance-action", token=token or "")
    except (OSError, http.client.HTTPException) as error:
        _log.warning("event=metadata_silent cause=%r", str(error))
        return None
    return None if notice is None else datetime.fromisoformat(json.loads(notice)["time"])


def _ask(metadata: str, method: str, path: str, **headers: str) -> str | None:
    """Make one request; None is 404, which there means that nothing is announced."""
    names = {"ttl": "X-aws-ec2-metadata-token-ttl-seconds", "token": "X-aws-ec2-metadata-token"}
    connection = http.client.HTTPConnection(urlsplit(metadata).netloc, timeout=2)
    try:
        connection.request(
            method, path, headers={names[key]: value for key, value in headers.items()}
        )
        response = connection.getresponse()
        body = response.read().decode()
    finally:
        connection.close()
    if response.status == http.client.NOT_FOUND:
        return None
    if response.status != http.client.OK:
        raise http.client.HTTPException(f"{method} {path}: {response.status}")
    return body


def seconds_until(end: datetime) -> int:
    return max(1, int((end - datetime.now(UTC)).total_seconds()) - SPARE_SECONDS)


def drain(num_seconds: int) -> int:
    _log.info("event=drained seconds=%d", num_seconds)
    words = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    deadline = ["--deadline-remaining-seconds", str(num_seconds)]
    return subprocess.run(["ray", "drain-node", *words, *deadline], check=False).returncode  # noqa: S607


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    sys.exit(main(sys.argv[1:]))
