"""One night's restoration, begun and followed to its end.

python nightly.py --template=ganray-night --hours=24 --keep=30 [--queue=NAME]

Copies a suspended RayJob under the night's own name and waits for the copy. Run again for the
same night, since its pod was lost, it goes on waiting: the name is taken. A copy of an earlier
night that still runs is waited for first, and nights without a success are told. Ends with 0 if
the archive is restored, inputs that failed by themselves included, with 1 if the run failed, with
2 if it cannot be begun. It needs the standard library alone, and the pod's service account.
"""

import argparse
import http.client
import json
import logging
import os
import re
import ssl
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SCHEDULE = "ganray.io/schedule"
QUEUE = "kueue.x-k8s.io/queue-name"
ENDED = {"Complete", "Failed", "ValidationFailed"}
SOME_INPUTS_FAILED = re.compile(r"Job entrypoint command failed with exit code 3\b")
"""How Ray's message begins; the end of the job's log, which may say anything, follows."""
PATIENCE_SECONDS = 1800.0
"""How long the Kubernetes API may be away: its own upgrade takes minutes."""

RayJob = dict[str, Any]

_log = logging.getLogger("nightly")


class NightlyError(Exception):
    """What keeps a night from being begun or followed, for the pod's log."""


@dataclass(frozen=True)
class RayJobs:
    """The RayJobs of one namespace, by Kubernetes' API at `server`."""

    server: str
    namespace: str
    account: Path
    poll_seconds: float

    def get(self, name: str) -> RayJob | None:
        """Return a RayJob, or None if there is none of this name."""
        status, job = self._ask("GET", f"/{quote(name)}")
        return None if status == http.client.NOT_FOUND else job

    def of_schedule(self, schedule: str) -> list[RayJob]:
        """Return the copies of a template, oldest first."""
        _, page = self._ask("GET", f"?labelSelector={quote(f'{SCHEDULE}={schedule}')}")
        items: list[RayJob] = page["items"]
        return sorted(items, key=begun)

    def create(self, job: RayJob) -> None:
        """Create a RayJob; one of its name that is there already is that of this night."""
        self._ask("POST", "", job)

    def delete(self, name: str) -> None:
        self._ask("DELETE", f"/{quote(name)}")

    def _ask(self, method: str, path: str, body: RayJob | None = None) -> tuple[int, RayJob]:
        """Make one request, and again while the API is away."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                status, answer = self._request(method, path, body)
            except (OSError, http.client.HTTPException) as error:
                status, answer = http.client.SERVICE_UNAVAILABLE, {"message": str(error)}
            if status < http.client.MULTIPLE_CHOICES or status in _ANSWERS.get(method, ()):
                return status, answer
            message = f"{method} rayjobs{path}: {status} {answer.get('message', '')}"
            if status not in _AWAY or time.monotonic() > deadline:
                raise NightlyError(message)
            _log.warning("event=api_away cause=%r", message)
            time.sleep(self.poll_seconds)

    def _request(self, method: str, path: str, body: RayJob | None) -> tuple[int, RayJob]:
        where = urlsplit(self.server)
        connection: http.client.HTTPConnection
        if where.scheme == "https":
            trust = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
            connection = http.client.HTTPSConnection(where.netloc, context=trust, timeout=30)
        else:
            connection = http.client.HTTPConnection(where.netloc, timeout=30)
        # Read each time: Kubernetes renews it.
        token = (self.account / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        place = f"/apis/ray.io/v1/namespaces/{self.namespace}/rayjobs{path}"
        try:
            connection.request(method, place, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        except json.JSONDecodeError as error:
            raise http.client.HTTPException(f"no JSON: {error}") from error
        finally:
            connection.close()


_ANSWERS = {
    "GET": {http.client.NOT_FOUND},
    "POST": {http.client.CONFLICT},
    "DELETE": {http.client.NOT_FOUND},
}
"""Statuses that answer a question, though they are errors."""
_AWAY = {401, 429, 500, 502, 503, 504}


def main(words: list[str]) -> int:
    options = _parse(words)
    server = options.server
    jobs = RayJobs(server, os.environ["NAMESPACE"], options.account, options.poll_seconds)
    try:
        return run_night(jobs, os.environ["NIGHT"], options)
    except NightlyError as error:
        _log.error("event=night_lost cause=%r", str(error))
        return 2


def run_night(jobs: RayJobs, night: str, options: argparse.Namespace) -> int:
    """Wait for earlier nights, begin this one unless it has begun, and follow it."""
    template = jobs.get(options.template)
    if template is None:
        raise NightlyError(f"no RayJob {options.template}: kubectl apply -k overlays/nightly")
    for earlier in jobs.of_schedule(options.template):
        if not has_ended(earlier) and name_of(earlier) != night:
            _log.warning("event=night_waits for=%s", name_of(earlier))
            follow(jobs, name_of(earlier))
    if jobs.get(night) is None:
        jobs.create(copy_of(template, night, options.queue))
    tell_of_missed(jobs, night, options)
    job = follow(jobs, night)
    _log.info("event=night_ended night=%s good=%s status=%s", night, is_good(job), job["status"])
    for old in [job for job in jobs.of_schedule(options.template) if has_ended(job)][
        : -options.keep
    ]:
        jobs.delete(name_of(old))
    return 0 if is_good(job) else 1


def copy_of(template: RayJob, night: str, queue: str) -> RayJob:
    """A RayJob like the template that starts, or that waits for Kueue if it has a queue."""
    labels = {SCHEDULE: name_of(template)} | ({QUEUE: queue} if queue else {})
    return {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": {"name": night, "labels": labels},
        "spec": template["spec"] | {"suspend": bool(queue)},
    }


def follow(jobs: RayJobs, name: str) -> RayJob:
    """Wait until a RayJob has ended, and return it as it ended."""
    told = ""
    while True:
        job = jobs.get(name)
        if job is None:
            raise NightlyError(f"RayJob {name} was deleted while it ran")
        if has_ended(job):
            return job
        state = str(job.get("status", {}).get("jobDeploymentStatus", "New"))
        if state != told:
            _log.info("event=night_state name=%s state=%s", name, state)
            told = state
        time.sleep(jobs.poll_seconds)


def tell_of_missed(jobs: RayJobs, night: str, options: argparse.Namespace) -> None:
    """Warn if the last good night is further back than the schedule's distance.

    If none of those kept was good, a good one before the oldest is the best that can be.
    """
    copies = jobs.of_schedule(options.template)
    now = next((begun(job) for job in copies if name_of(job) == night), None)
    earlier = [job for job in copies if name_of(job) != night]
    if now is None or not earlier:
        return
    good = [begun(job) for job in earlier if is_good(job)]
    last = good[-1] if good else begun(earlier[0]) - timedelta(hours=options.hours)
    hours = (now - last).total_seconds() / 3600
    # A night that waited for the one before begins late, by less than half the distance.
    if hours > 1.5 * options.hours:
        num_missed = round(hours / options.hours) - 1
        told = last.isoformat() if good else "none"
        _log.warning("event=nights_missed missed=%d last_good=%s", num_missed, told)


def has_ended(job: RayJob) -> bool:
    return job.get("status", {}).get("jobDeploymentStatus") in ENDED


def is_good(job: RayJob) -> bool:
    """Whether the archive is restored; inputs that failed are listed in its ledger."""
    status = job.get("status", {})
    if status.get("jobStatus") == "SUCCEEDED":
        return True
    return has_ended(job) and bool(SOME_INPUTS_FAILED.match(status.get("message", "")))


def name_of(job: RayJob) -> str:
    return str(job["metadata"]["name"])


def begun(job: RayJob) -> datetime:
    return datetime.fromisoformat(job["metadata"]["creationTimestamp"])


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Begin one night's restoration and follow it.")
    parser.add_argument("--template", required=True, help="the suspended RayJob to copy")
    parser.add_argument("--hours", type=float, required=True, help="between two nights")
    parser.add_argument("--keep", type=int, required=True, help="ended nights to keep, above 0")
    parser.add_argument("--queue", default="", help="Kueue's LocalQueue; empty for none")
    parser.add_argument("--server", default="https://kubernetes.default.svc")
    parser.add_argument("--account", type=Path, default=ACCOUNT, help="folder of token and ca.crt")
    parser.add_argument("--poll-seconds", type=float, default=15.0)
    return parser.parse_args(words)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s")
    sys.exit(main(sys.argv[1:]))
