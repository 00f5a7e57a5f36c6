"""Errors of stores, translated: a fault of the store as a whole becomes a StorageError that names the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import ClientError
from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

from configs.errors import StorageError
from pipeline.storage import s3

NO_CREDENTIALS = (
    "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a "
    "role"
)
UNREACHABLE = "{error}; check AWS_ENDPOINT_URL_S3, AWS_PROFILE, AWS_REGION and the network"
BY_CLASS = {
    NoCredentialsError: NO_CREDENTIALS,
    PartialCredentialsError: NO_CREDENTIALS,
    BotoCoreError: UNREACHABLE,
    ClientError: UNREACHABLE,
}
"""Errors of the libraries below s3fs, which it does not translate; the first matching class counts."""
NO_BUCKET = "there is no such bucket; create it or correct the name"
NO_PERMISSION = "no permission ({reason}); grant it or use another place"
CREDENTIALS_REFUSED = (
    "the store refuses the credentials ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
)
DENIED = {"AccessDenied", "AllAccessDisabled"}
"""S3's codes for credentials that are valid, but not for this object."""


@contextmanager
def translated(uri: str, whole_store: bool = False) -> Iterator[None]:
    """Raises StorageError for foreign errors. What is wrong with one object stays an OSError, unless `whole_store` says
    that the object is one of the run's own, without which the run cannot work."""
    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        problem = _problem(uri, error, whole_store)
        if problem is None:
            raise
        raise StorageError(f"{uri}: {problem}") from error


def code_of(error: OSError) -> str | None:
    """The error code of S3 behind an error of s3fs; None for any other error."""
    response = s3.response_of(error)
    return response["Error"].get("Code") if response else None


def _problem(uri: str, error: Exception, whole_store: bool) -> str | None:
    """What is wrong with the store; None if the error concerns one object only."""
    for error_class, problem in BY_CLASS.items():
        if isinstance(error, error_class):
            return problem.format(error=error)
    assert isinstance(error, OSError)
    code = code_of(error)
    if isinstance(error, FileNotFoundError):
        return NO_BUCKET if code in ("NoSuchBucket", "404") else None
    if isinstance(error, PermissionError):
        # The response to HEAD is a bare 403, without a body that says why.
        code = _reason_of_refusal(uri) or code if code == "403" else code
        if code and code not in DENIED:
            return CREDENTIALS_REFUSED.format(code=code)
        return NO_PERMISSION.format(reason=code or error.strerror) if whole_store else None
    return str(error.strerror or error) if whole_store else None


def _reason_of_refusal(uri: str) -> str | None:
    files = s3.open_files()
    bucket, key, _ = files.split_path(uri)
    try:
        files.call_s3("get_object", Bucket=bucket, Key=key or "-", Range="bytes=0-0")
    except OSError as error:
        return code_of(error)
    return None
