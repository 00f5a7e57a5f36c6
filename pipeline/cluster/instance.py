"""Which cloud machine this is: provider, id, type and region, where the cloud tells them.

The firmware says which cloud's metadata service there is to ask. A machine of one's own has none, and asks nobody.
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
"""The service is on the machine itself; a pod may be kept from it, and then nobody answers."""
VARIABLE = "LONGHAUL_INSTANCE_ID"
"""Goes before what is found out: the machine as the bill names it. On Kubernetes the downward API knows
`spec.nodeName`."""
TOKEN_SECONDS = 60
AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"
"""Of the chassis of its machines; other machines of Microsoft's hypervisor have another."""

log = structlog.get_logger()
# A proxy would ask for the metadata of another machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Labels = dict[str, str]


@cache
def here() -> Mapping[str, str]:
    """Of this machine, asked once."""
    return labels()


def labels(
    firmware: Path = FIRMWARE, metadata_url: str = METADATA_URL, environment: Mapping[str, str] = os.environ
) -> Labels:
    """In the form of a node's labels, which may say the same; empty where nothing is known."""
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
    """What a machine of AWS has in its firmware, for one that is kept from the metadata service."""
    tag = _read(firmware / "board_asset_tag")
    return {INSTANCE_LABEL: tag, INSTANCE_TYPE_LABEL: _read(firmware / "product_name")} if tag.startswith("i-") else {}


def _aws(url: str) -> Labels:
    """Version 2 of the service: a token first."""
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
