"""Runs in the CronJob's pod: makes the night's RayJob of its template, waits for it, and ends as it ended.

Needs nothing but Python. Exit codes: 0 the night went well, 3 it failed. Another pod of the same night finds the RayJob
by its name and goes on waiting.
"""

import json
import logging
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
FAILED = 3
POLL_SECONDS = 30
GRACE_SECONDS = 1200
"""After the deadline, for saving and committing; then the operator ends what is left."""
LEAST_SECONDS = 900
"""Worth another attempt: it takes minutes until a model is loaded."""

log = logging.getLogger("start_night")
Object = dict[str, Any]


class Api:
    """RayJobs of a namespace."""

    def __init__(self, url: str, namespace: str, account: Path = ACCOUNT) -> None:
        self._url = f"{url}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
        self._account = account
        authority = account / "ca.crt"
        self._tls = ssl.create_default_context(cafile=str(authority)) if authority.exists() else None

    def get(self, name: str) -> Object:
        return self._ask(f"{self._url}/{name}")

    def create(self, rayjob: Object) -> bool:
        """Whether it is new; if not, it is there already."""
        try:
            self._ask(self._url, rayjob)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            return False
        return True

    def _ask(self, url: str, body: Object | None = None) -> Object:
        # Read each time: Kubernetes renews it.
        token = (self._account / "token").read_text(encoding="utf-8")
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
        with urllib.request.urlopen(request, timeout=30, context=self._tls) as response:
            answer: Object = json.load(response)
            return answer


def began_at(job_name: str, now: float) -> float:
    """When the night's tick was, in seconds since 1970: a CronJob puts its minute at the end of its Jobs' names. One
    that a person made begins now."""
    minute = job_name.rpartition("-")[2]
    tick = int(minute) * 60 if minute.isdecimal() else now
    return tick if abs(now - tick) < 86_400 else now


def night(template: Object, name: str, ends_at: float, now: float) -> Object:
    """The RayJob of one attempt at a night."""
    if "NIGHT_ENDS" not in template["spec"]["entrypoint"]:
        raise ValueError("spec.entrypoint of the template: NIGHT_ENDS stands nowhere in it, so no night would end")
    ends = datetime.fromtimestamp(ends_at, UTC).isoformat(timespec="seconds")
    return {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": {"name": name, "labels": template["metadata"].get("labels", {})},
        "spec": template["spec"]
        | {
            "suspend": False,
            "entrypoint": template["spec"]["entrypoint"].replace("NIGHT_ENDS", ends),
            "activeDeadlineSeconds": int(ends_at - now) + GRACE_SECONDS,
        },
    }


def wait(api: Api, name: str, sleep: Callable[[float], None]) -> bool:
    """Whether it went well. Goes on over whatever the API server does."""
    while True:
        try:
            status = api.get(name).get("status", {})
        except (OSError, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 404:
                log.error("%s is gone: somebody deleted it", name)
                return False
            log.warning("Kubernetes does not say how %s goes: %s", name, error)
            status = {}
        state = status.get("jobDeploymentStatus")
        if state in ("Complete", "Failed"):
            log.info("%s: %s, %s %s", name, state, status.get("jobStatus"), status.get("message", ""))
            return bool(state == "Complete" and status.get("jobStatus") == "SUCCEEDED")
        sleep(POLL_SECONDS)


def run(
    api: Api,
    environment: dict[str, str],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    job_name = environment["JOB_NAME"]
    template = api.get(environment["NIGHT_TEMPLATE"])
    ends_at = began_at(job_name, clock()) + float(environment["NIGHT_SECONDS"])
    for attempt in range(1, int(environment["NIGHT_ATTEMPTS"]) + 1):
        name, now = f"{job_name}-{attempt}", clock()
        if attempt > 1 and ends_at - now < LEAST_SECONDS:
            log.error("no time is left for another attempt; the next night resumes")
            break
        log.info("%s: %s", name, "begun" if api.create(night(template, name, ends_at, now)) else "is there already")
        if wait(api, name, sleep):
            return 0
    return FAILED


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    HOST, PORT = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT_HTTPS"]
    sys.exit(run(Api(f"https://{HOST}:{PORT}", os.environ["NAMESPACE"]), dict(os.environ)))
