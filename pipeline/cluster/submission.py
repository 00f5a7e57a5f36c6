"""What `ray job submit` changes for a driver: its working directory is a copy that goes with the job."""

import os

from configs.errors import ConfigError

LASTING = ("/", "~", "file:")


def is_submitted() -> bool:
    """Whether `ray job submit` started this driver."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def refuse_relative(field: str, uri: str, is_going: bool = False) -> None:
    """Raises ConfigError where the setting is a path that would land in the copy. `is_going` is for whoever submits."""
    if (is_going or is_submitted()) and "://" not in uri and not uri.startswith(LASTING):
        raise ConfigError(
            f"{field} = {uri!r}: a relative path means the job's own copy of the working directory, which Ray deletes "
            "with the job; give an absolute path that every node shares, or s3://"
        )
