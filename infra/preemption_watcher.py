"""Runs beside Ray on a spot node: when the cloud announces that it takes the machine back, Ray drains the node.

    python preemption_watcher.py [--address HEAD:PORT] [--node-id ID] [--cloud auto|aws|azure|gcp]

Needs nothing but Python and the `ray` that is on the node. It ends once Ray knows.
"""

import argparse
import json
import logging
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.util import get_node_ip_address

METADATA_URL = "http://169.254.169.254"
"""The same address on AWS, Azure and GCP."""
METADATA_TIMEOUT_SECONDS = 2
GCS_TIMEOUT_SECONDS = 5
GCP_NOTICE_SECONDS = 30
AZURE_NOTICE_SECONDS = 30
AZURE_GOING = ("Preempt", "Terminate")
TOKEN_SECONDS = 21_600
LONGEST_BACKOFF = 4
"""Polls are at most so many times as far apart while the metadata service fails: a notice on GCP is short."""

log = logging.getLogger("preemption_watcher")
# Metadata is on the node itself; a proxy would ask for that of another machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Notice:
    """The machine goes away."""

    deadline: float
    """Seconds since 1970."""
    message: str


class MetadataError(Exception):
    """The metadata service does not answer, or says what nobody understands."""


class NodeError(Exception):
    """Which of Ray's nodes is this one cannot be told; the message says what to do."""


class Aws:
    """Version 2 of the instance metadata service: a token first, then answers; 404 as long as there is no notice."""

    name = "aws"

    def __init__(self, url: str) -> None:
        self._url = f"{url}/latest"
        self._token: str | None = None
        self._rebalance: str | None = None

    def notice(self) -> Notice | None:
        """Raises MetadataError."""
        rebalance = self._get("events/recommendations/rebalance")
        if rebalance is not None and rebalance != self._rebalance:
            log.warning("AWS expects to need this machine, and has not decided yet: %s", rebalance)
            self._rebalance = rebalance
        answer = self._get("spot/instance-action")
        if answer is None:
            return None
        try:
            action = json.loads(answer)
            deadline = datetime.fromisoformat(action["time"].replace("Z", "+00:00")).timestamp()
            return Notice(deadline, f"AWS: {action['action']} at {action['time']}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MetadataError(f"spot/instance-action says {answer!r}") from error

    def _get(self, path: str) -> str | None:
        is_fresh = self._token is None
        if self._token is None:
            lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            self._token = fetch(f"{self._url}/api/token", lifetime, method="PUT")
        if self._token is None:
            raise MetadataError(f"no token at {self._url}/api/token")
        try:
            return fetch(f"{self._url}/meta-data/{path}", {"X-aws-ec2-metadata-token": self._token})
        except MetadataError:
            self._token = None
            if is_fresh:
                raise
            # It may have expired.
            return self._get(path)


class Gcp:
    """Says TRUE or FALSE."""

    name = "gcp"

    def __init__(self, url: str) -> None:
        self._url = f"{url}/computeMetadata/v1/instance/preempted"

    def notice(self) -> Notice | None:
        """Raises MetadataError."""
        answer = fetch(self._url, {"Metadata-Flavor": "Google"})
        if answer not in ("TRUE", "FALSE"):
            raise MetadataError(f"instance/preempted says {answer!r}")
        return Notice(time.time() + GCP_NOTICE_SECONDS, "GCP: preempted") if answer == "TRUE" else None


class Azure:
    """Scheduled events: a list for all machines of a scale set, each named by its own machines."""

    name = "azure"

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metadata"
        self._machine: str | None = None

    def notice(self) -> Notice | None:
        """Raises MetadataError."""
        if self._machine is None:
            self._machine = self._get("instance/compute/name?api-version=2021-02-01&format=text")
        answer = self._get("scheduledevents?api-version=2020-07-01")
        try:
            for event in json.loads(answer)["Events"]:
                if event["EventType"] in AZURE_GOING and self._machine in event["Resources"]:
                    return Notice(_azure_time(event["NotBefore"]), f"Azure: {event['EventType']}")
        except (ValueError, KeyError, TypeError) as error:
            raise MetadataError(f"scheduledevents says {answer!r}") from error
        return None

    def _get(self, path: str) -> str:
        answer = fetch(f"{self._url}/{path}", {"Metadata": "true"})
        if answer is None:
            raise MetadataError(f"nothing at {self._url}/{path}")
        return answer


def _azure_time(not_before: str) -> float:
    """Empty once the event has begun."""
    return parsedate_to_datetime(not_before).timestamp() if not_before else time.time() + AZURE_NOTICE_SECONDS


Cloud = Aws | Azure | Gcp


class Auto:
    """Whichever of the clouds answers first, from then on."""

    def __init__(self, url: str) -> None:
        self._clouds: tuple[Cloud, ...] = (Aws(url), Gcp(url), Azure(url))

    def notice(self) -> Notice | None:
        """Raises MetadataError."""
        reasons = []
        for cloud in self._clouds:
            try:
                notice = cloud.notice()
            except MetadataError as error:
                reasons.append(f"{cloud.name}: {error}")
                continue
            if len(self._clouds) > 1:
                log.info("this is %s", cloud.name)
                self._clouds = (cloud,)
            return notice
        raise MetadataError("; ".join(reasons))


CLOUDS: dict[str, type[Auto | Cloud]] = {"auto": Auto, "aws": Aws, "azure": Azure, "gcp": Gcp}


def fetch(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """The body, or None for 404."""
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with _direct.open(request, timeout=METADATA_TIMEOUT_SECONDS) as response:
            body: bytes = response.read()
            return body.decode().strip()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise MetadataError(f"{url}: HTTP {error.code}") from error
    except (OSError, ValueError) as error:
        raise MetadataError(f"{url}: {error}") from error


class Ray:
    """The cluster, and which of its nodes this is."""

    def __init__(self, address: str | None, node_id: str | None) -> None:
        self._address = address
        self._node_id = node_id

    def node_id(self) -> str:
        """Raises NodeError, and whatever Ray raises where its head does not answer."""
        if self._node_id is None:
            infos: Iterable[Any] = self._client().get_all_node_info(timeout=GCS_TIMEOUT_SECONDS).values()
            alive = {each.node_id.hex(): each.node_manager_address for each in infos if each.state == GcsNodeInfo.ALIVE}
            self._node_id = only_node_at(get_node_ip_address(), alive)
        return self._node_id

    def drain(self, notice: Notice) -> None:
        """Raises as `node_id` does."""
        node_id = self.node_id()
        accepted, why_not = self._client().drain_node(
            node_id,
            DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
            notice.message,
            int(notice.deadline * 1000),
            timeout=GCS_TIMEOUT_SECONDS,
        )
        if not accepted:
            raise RuntimeError(f"Ray refuses to drain {node_id}: {why_not}")

    def _client(self) -> GcsClient:
        """A new one each time: the head may have moved since."""
        return GcsClient(address=canonicalize_bootstrap_address_or_die(self._address))


def only_node_at(ip: str, addresses: dict[str, str]) -> str:
    """Of `{node_id: ip}`, the node with this IP address. Raises NodeError."""
    found = sorted(node_id for node_id, address in addresses.items() if address == ip)
    if len(found) == 1:
        return found[0]
    which = f"nodes {', '.join(found)} all have" if found else "no node of the cluster has"
    raise NodeError(f"{which} this machine's address {ip}: name this node with --node-id (`ray list nodes` shows ids)")


def watch(cloud: Auto | Cloud, poll_seconds: float) -> Notice:
    """Wait for the notice, and go on over whatever the metadata service does."""
    failures = 0
    while True:
        try:
            notice = cloud.notice()
        except MetadataError as error:
            if not failures:
                log.warning("the metadata service fails, polling goes on: %s", error)
            failures += 1
        else:
            if failures:
                log.info("the metadata service answers again")
            failures = 0
            if notice is not None:
                return notice
        time.sleep(poll_seconds * min(2**failures, LONGEST_BACKOFF))


def drain(ray: Ray, notice: Notice) -> bool:
    """Tell Ray, again and again until the deadline; whether it heard."""
    log.warning("notice: %s; %.0f s left", notice.message, notice.deadline - time.time())
    while True:
        try:
            ray.drain(notice)
        except Exception as error:  # Ray's are of many classes, and there is nothing better left to do
            log.error("Ray does not drain this node yet: %s", error)
        else:
            log.info("Ray drains node %s", ray.node_id())
            return True
        if time.time() > notice.deadline:
            return False
        time.sleep(1)


def say_which_node(ray: Ray) -> None:
    """So that a wrong address shows before it matters. Raises NodeError."""
    try:
        log.info("watching for node %s", ray.node_id())
    except NodeError:
        raise
    except Exception as error:  # Ray's are of many classes, and it may start after this program
        log.warning("Ray does not answer yet: %s", error)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="Ray's head, HOST:PORT; otherwise RAY_ADDRESS, or what `ray start` left here")
    parser.add_argument("--node-id", help="this node's id in hex; otherwise the node with this machine's IP address")
    parser.add_argument("--cloud", choices=CLOUDS, default="auto", help="whose metadata service to ask")
    parser.add_argument("--metadata-url", default=METADATA_URL, help="where that service is; for tests")
    parser.add_argument("--poll-seconds", type=float, default=5, help="between two looks (5, as AWS advises)")
    parser.add_argument("--once", action="store_true", help="look once; exit code 1 where the service does not answer")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    cloud, ray = CLOUDS[options.cloud](options.metadata_url.rstrip("/")), Ray(options.address, options.node_id)
    try:
        say_which_node(ray)
        notice = cloud.notice() if options.once else watch(cloud, options.poll_seconds)
    except (NodeError, MetadataError) as error:
        log.error("%s", error)
        return 2 if isinstance(error, NodeError) else 1
    if notice is None:
        log.info("no notice")
        return 0
    return 0 if drain(ray, notice) else 1


if __name__ == "__main__":
    sys.exit(main())
