"""Which cloud machine this is: provider, id, type and region, where the cloud tells them.

The firmware tells which cloud's metadata service to query. On a machine outside of a cloud nothing is queried.
"""

import json
import os
import urllib.request
from collections.abc import Callable, Mapping
from functools import cache
from http.client import HTTPException
from pathlib import Path

import structlog

from configs.labels import INSTANCE_LABEL, INSTANCE_TYPE_LABEL, PROVIDER_LABEL, REGION_LABEL

FIRMWARE = Path("/sys/class/dmi/id")
METADATA_URL = "http://169.254.169.254"
"""The same address on AWS, GCP and Azure."""
TIMEOUT_SECONDS = 1.0
"""The service is local to the machine; if a pod has no access to it, requests time out."""
VARIABLE = "LONGHAUL_INSTANCE_ID"
"""Id of the machine, as in the bill; overrides what is detected. On Kubernetes, set it from `spec.nodeName` with the
downward API."""
TOKEN_SECONDS = 60
AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"
"""Asset tag of the chassis of Azure's machines; other virtual machines of Hyper-V have another."""

log = structlog.get_logger()
# A proxy would fetch the metadata of its own machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Labels = dict[str, str]


@cache
def here() -> Mapping[str, str]:
    """The instance that this process runs on, detected once."""
    return labels()


def labels(
    firmware: Path = FIRMWARE, metadata_url: str = METADATA_URL, environment: Mapping[str, str] = os.environ
) -> Labels:
    """As labels of a Ray node; without what is not known."""
    found, named = _found(firmware, metadata_url), environment.get(VARIABLE)
    return found | {INSTANCE_LABEL: named} if named else found


def _found(firmware: Path, url: str) -> Labels:
    cloud = _cloud(firmware)
    if cloud is None:
        return {}
    provider, ask = cloud
    known = {PROVIDER_LABEL: provider} | (_nitro(firmware) if provider == "aws" else {})
    try:
        return known | ask(url)
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        log.warning("instance_unknown", provider=provider, reason=str(error), remedy=f"set {VARIABLE} where ray starts")
        return known


def _cloud(firmware: Path) -> tuple[str, Callable[[str], Labels]] | None:
    says = {
        name: _read(firmware / name) for name in ("sys_vendor", "bios_version", "product_name", "chassis_asset_tag")
    }
    if says["sys_vendor"] == "Amazon EC2" or says["bios_version"].endswith(".amazon"):
        return "aws", _aws
    if says["product_name"] == "Google Compute Engine":
        return "gcp", _gcp
    if says["chassis_asset_tag"] == AZURE_TAG:
        return "azure", _azure
    return None


def _nitro(firmware: Path) -> Labels:
    """What AWS's firmware tells, for a process without access to the metadata service."""
    tag = _read(firmware / "board_asset_tag")
    return {INSTANCE_LABEL: tag, INSTANCE_TYPE_LABEL: _read(firmware / "product_name")} if tag.startswith("i-") else {}


def _aws(url: str) -> Labels:
    """AWS's metadata service, version 2, which needs a token."""
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
    token = _fetch(f"{url}/latest/api/token", lifetime, "PUT")
    answer = _fetch(f"{url}/latest/dynamic/instance-identity/document", {"X-aws-ec2-metadata-token": token})
    about = json.loads(answer)
    return _labels(about["instanceId"], about["instanceType"], about["region"])


def _gcp(url: str) -> Labels:
    def ask(name: str) -> str:
        return _fetch(f"{url}/computeMetadata/v1/instance/{name}", {"Metadata-Flavor": "Google"})

    # projects/NUMBER/zones/us-central1-a
    zone = ask("zone").rpartition("/")[2]
    return _labels(ask("id"), ask("machine-type").rpartition("/")[2], zone.rpartition("-")[0])


def _azure(url: str) -> Labels:
    about = json.loads(_fetch(f"{url}/metadata/instance/compute?api-version=2021-02-01", {"Metadata": "true"}))
    return _labels(about["resourceId"], about["vmSize"], about["location"])


def _labels(id: str, type: str, region: str) -> Labels:
    return {INSTANCE_LABEL: id, INSTANCE_TYPE_LABEL: type, REGION_LABEL: region}


def _fetch(url: str, headers: dict[str, str], method: str = "GET") -> str:
    """Raises OSError, HTTPException, ValueError."""
    request = urllib.request.Request(url, headers=headers, method=method)
    with _direct.open(request, timeout=TIMEOUT_SECONDS) as response:
        body: bytes = response.read()
        return body.decode().strip()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
