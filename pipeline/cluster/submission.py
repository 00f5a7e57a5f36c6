"""What `ray job submit` changes for a driver: its working directory is a copy that goes with the job."""

import os

from configs.errors import ConfigError

LASTING = ("/", "~", "file:")


def is_submitted() -> bool:
    """Whether `ray job submit` started this driver."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def refuse_relative(field: str, uri: str) -> None:
    """Raises ConfigError where the setting is a path that would land in the copy."""
    if is_submitted() and "://" not in uri and not uri.startswith(LASTING):
        raise ConfigError(
            f"{field} = {uri!r}: a relative path would land in the copy of the working directory that Ray deletes "
            "with the job; give an absolute path that every node shares, or s3://"
        )
