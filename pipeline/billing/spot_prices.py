"""Current spot prices of AWS's GPUs, as rows of the price catalog."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import botocore.session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from configs.errors import ConfigError
from configs.prices import Price

PROVIDER = "aws"
SOURCE = "AWS describe_spot_price_history"
DEFAULT_REGION = "us-east-1"
LINUX = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"]
HOUR_STEP = Decimal("0.000000001")
MIB_PER_GIB = 1024


def default_region() -> str:
    """The region of AWS_REGION or of the profile, else DEFAULT_REGION. Raises ConfigError for an unknown profile."""
    with _refusing():
        # botocore reads AWS_DEFAULT_REGION and the profile.
        configured = botocore.session.get_session().get_config_variable("region")
        return os.environ.get("AWS_REGION") or configured or DEFAULT_REGION


def fetch(region: str, instance_types: Sequence[str]) -> list[Price]:
    """A row for each instance type that the region offers on the spot market, with the price per GPU in its cheapest
    zone.

    Raises ConfigError without credentials, if AWS refuses the request, or if an instance type has no whole GPU.
    """
    with _refusing():
        client = _client(region)
        gpus = _gpus(client, instance_types)
        cheapest = cheapest_zones(_history(client, list(gpus)))
    return [
        Price(
            gpu=gpu,
            provider=PROVIDER,
            region=region,
            instance_type=instance_type,
            gpus_per_instance=number,
            spot_gpu_hour=(cheapest[instance_type] / number).quantize(HOUR_STEP).normalize(),
            date=datetime.now(UTC).date(),
            source=SOURCE,
        )
        for instance_type, (gpu, number) in gpus.items()
        if instance_type in cheapest
    ]


def cheapest_zones(history: Iterable[dict[str, Any]]) -> dict[str, Decimal]:
    """The lowest of each instance type's latest prices by zone, from an unordered `SpotPriceHistory`."""
    latest = {
        (each["InstanceType"], each["AvailabilityZone"]): Decimal(each["SpotPrice"])
        for each in sorted(history, key=lambda each: each["Timestamp"])
    }
    cheapest: dict[str, Decimal] = {}
    for (instance_type, _), price in latest.items():
        cheapest[instance_type] = min(price, cheapest.get(instance_type, price))
    return cheapest


def _client(region: str) -> Any:
    session = botocore.session.get_session()
    if session.get_credentials() is None:
        raise NoCredentialsError
    return session.create_client("ec2", region_name=region)


def _gpus(client: Any, instance_types: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Name and number of the GPUs of each instance type that the region has."""
    # As a filter: given as names, one unknown type would fail the whole request.
    filters = [{"Name": "instance-type", "Values": list(instance_types)}]
    pages = client.get_paginator("describe_instance_types").paginate(Filters=filters)
    return {about["InstanceType"]: _gpu(about) for page in pages for about in page["InstanceTypes"]}


def _gpu(about: dict[str, Any]) -> tuple[str, int]:
    gpus = about.get("GpuInfo", {}).get("Gpus", [])
    if len(gpus) != 1 or gpus[0].get("GpuPartitionSize", 1.0) != 1.0:
        raise ConfigError(f"--instance {about['InstanceType']}: has no whole GPU of its own; name one that has")
    memory_gib = round(gpus[0]["MemoryInfo"]["SizeInMiB"] / MIB_PER_GIB)
    return f"{gpus[0]['Name']} {memory_gib}GB", gpus[0]["Count"]


def _history(client: Any, instance_types: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Current prices: a history that starts now begins with them."""
    if not instance_types:
        return  # to AWS no name means all of them
    pages = client.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=instance_types, ProductDescriptions=LINUX, StartTime=datetime.now(UTC)
    )
    for page in pages:
        yield from page["SpotPriceHistory"]


@contextmanager
def _refusing() -> Iterator[None]:
    """Raises AWS's errors as ConfigError."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise ConfigError(
            f"AWS: {error}. Credentials come from the environment: AWS_PROFILE, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or the role of this machine"
        ) from error
    except InvalidRegionError as error:
        raise ConfigError(f"--region: {error}") from error
    except ClientError as error:
        raise ConfigError(
            f"AWS: {error}. Prices need ec2:DescribeSpotPriceHistory and ec2:DescribeInstanceTypes, and a region that "
            "the account has enabled"
        ) from error
    except BotoCoreError as error:
        raise ConfigError(f"AWS does not answer: {error}") from error
