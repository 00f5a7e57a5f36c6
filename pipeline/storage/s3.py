"""S3 with retries of transient faults: throttling, 5xx, timeouts, broken connections, truncated bodies."""

import asyncio
import errno
import io
import os
import random
import time
from collections.abc import Mapping
from typing import Any

import structlog
from aiohttp import ClientError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.exceptions import HTTPClientError, IncompleteReadError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from configs.errors import StorageError

log = structlog.get_logger()

TRIES = 10
TRYING_SECONDS = 120.0
"""After this time no further try begins."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""A connection without a byte for this long counts as broken."""
TRY_SECONDS = 45.0
"""Limit for one try of a request that transfers little, however steadily its response trickles in."""
SLOWEST_BYTES_PER_SECOND = 1024 * 1024
"""Requests that transfer more get more time, at this rate."""
UNKNOWN_BYTES = 512 * 1024 * 1024
"""The assumed size of a transfer of unknown size."""
LONGEST_SECONDS = TRYING_SECONDS + TRY_SECONDS
"""The longest that an operation that transfers little can take, with all its tries."""
ONE_PUT_BYTES = 4 * 1024**3
TRANSIENT_ERRORS = (
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoConnectionError,
    ResponseParserError,
    TimeoutError,
)
TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504, 509}
TRANSIENT_CODES = {
    # Sent with status 400.
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
    "XAmzContentSHA256Mismatch",
    # Sent with status 409: two clients wrote the same object at the same time.
    "ConditionalRequestConflict",
    "OperationAborted",
}


def open_files() -> "Files":
    """The file system of S3, at the endpoint and with the credentials of the environment."""
    return Files(use_listings_cache=False, config_kwargs=_config())


class Files(S3FileSystem):  # type: ignore[misc]  # s3fs publishes no types
    """S3 with retries of each single request, until TRIES or TRYING_SECONDS are used up.

    Every operation of s3fs, including a page of a listing or a block of a file, goes through `_call_s3`. The retries of
    s3fs itself cover less (no 500, no 429, no refused connection), have no jitter, and are nested around every read.
    """

    retries = 1

    async def _call_s3(self, method: str, *more: Any, **request: Any) -> Any:
        uri = f"s3://{request.get('Bucket', '')}/{request.get('Key') or request.get('Prefix', '')}"
        begun, tried = time.monotonic(), 0
        while True:
            try:
                return await self._try(method, *more, **request)
            except Exception as error:
                if not _is_transient(error):
                    raise
                tried += 1
                pause = _pause_seconds(uri, tried, time.monotonic() - begun, error)
            await asyncio.sleep(pause)

    call_s3 = sync_wrapper(_call_s3)

    async def _try(self, method: str, *more: Any, **request: Any) -> Any:
        async with asyncio.timeout(_seconds_for(method, request)):
            answer = await super()._call_s3(method, *more, **request)
            if method == "get_object":
                _check_range(request.get("Range", ""), answer.get("ContentRange", ""))
                answer["Body"] = _Body(await _whole(answer["Body"], answer.get("ContentLength")))
        return answer

    async def _cat_file(self, path: str, *more: Any, **options: Any) -> Any:
        # With concurrent requests s3fs would first request the size, even of small objects.
        return await super()._cat_file(path, *more, **{"max_concurrency": 1} | options)

    async def _pipe_file(self, path: str, data: bytes, chunksize: int = ONE_PUT_BYTES, **options: Any) -> Any:
        # If a multipart upload's last request got no response, it could not be told whether the upload succeeded.
        return await super()._pipe_file(path, data, chunksize=chunksize, **options)


def _seconds_for(method: str, request: Mapping[str, Any]) -> float:
    """Timeout of one try of a request, in seconds."""
    moved = len(request.get("Body", b""))
    if method == "get_object":
        first, _, last = request.get("Range", "").removeprefix("bytes=").partition("-")
        moved = int(last) - int(first) + 1 if first and last else UNKNOWN_BYTES
    return TRY_SECONDS + moved / SLOWEST_BYTES_PER_SECOND


def _pause_seconds(uri: str, tried: int, trying_seconds: float, error: Exception) -> float:
    """Seconds to wait before the next try. Raises StorageError once TRIES or TRYING_SECONDS are used up."""
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (tried - 1)) * random.uniform(0.5, 1)
    problem = str(getattr(error, "strerror", None) or error) or type(error).__name__
    if tried >= TRIES or trying_seconds + pause > TRYING_SECONDS:
        raise StorageError(
            f"{uri}: the store does not answer ({problem}; {tried} tries in {trying_seconds:.0f} s); check that it "
            "runs and is not overloaded, AWS_ENDPOINT_URL_S3, AWS_REGION and the network"
        ) from error
    if tried > 2:
        log.warning("store_tried_again", uri=uri, tries=tried, problem=problem)
    return pause


def _check_range(asked: str, sent: str) -> None:
    """Raises OSError if a server ignored the requested range and sent everything, which s3fs would not notice."""
    first = asked.partition("-")[0].replace("=", " ")
    if first not in ("", "bytes ") and not sent.startswith(f"{first}-"):
        raise OSError(errno.EIO, f"the store was asked for {asked} and sent {sent or 'all'}")


class _Body:
    """The body of a response, already received in full."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self._data.read(size)

    def close(self) -> None:
        self._data.close()


async def _whole(body: Any, size_bytes: int | None) -> bytes:
    try:
        data: bytes = await body.read()
    finally:
        body.close()
    if size_bytes is not None and len(data) != size_bytes:
        raise IncompleteReadError(actual_bytes=len(data), expected_bytes=size_bytes)
    return data


def _is_transient(error: BaseException) -> bool:
    """Whether an error of S3 is transient, so that the request is retried."""
    response = response_of(error)
    if not response:
        return isinstance(error, TRANSIENT_ERRORS)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in TRANSIENT_STATUSES or response["Error"].get("Code") in TRANSIENT_CODES


def response_of(error: BaseException) -> dict[str, Any] | None:
    """The response of S3 that an error of botocore, or the error of s3fs that it caused, carries."""
    responses = (getattr(each, "response", None) for each in (error, error.__cause__))
    return next((response for response in responses if isinstance(response, dict)), None)


def _config() -> dict[str, Any]:
    config: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        # Files retries already, and nested retries multiply.
        "retries": {"total_max_attempts": 1},
    }
    if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        # By default botocore puts the bucket before the host name, which only AWS resolves.
        config["s3"] = {"addressing_style": "path"}
    return config
