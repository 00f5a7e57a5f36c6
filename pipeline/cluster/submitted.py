"""Jobs of a Ray cluster over HTTP: submit one once, follow its log, stop it, and learn how it ended."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from configs.errors import ConfigError

STOP_SECONDS = 600
"""From SIGTERM to SIGKILL when the job is stopped, in which actors save and the driver commits. Ray gives 3."""
POLL_SECONDS = 1.0
LOST_SECONDS = 300.0
"""A cluster that has not answered for so long is not waited for any more. The job goes on without us."""
NEW_HEAD_SECONDS = 60.0
"""A head that has just started answers before it can start jobs."""
TALKATIVE = ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
"""They tell of each package and each connection."""
PASSED = ("OPENLINEAGE_PARENT_ID",)
"""Variables that go with a job: what submits it knows them, and the head does not."""
NUMBER = re.compile(r"-(\d+)$")

Show = Callable[[str], object]


class Cluster:
    """The head's HTTP address. Every method raises ConfigError where it refuses us or does not answer."""

    def __init__(self, address: str | None) -> None:
        """`address` is the dashboard's, such as http://head:8265. Unset: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or the
        Ray of this machine."""
        if address is not None:
            # Ray lets the environment's RAY_ADDRESS win over what it is given.
            os.environ["RAY_API_SERVER_ADDRESS"] = address
        self.address = address or "the cluster"
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        with self._translated():
            self._client = JobSubmissionClient(address)

    def submit_once(self, name: str, folder: Path, entrypoint: str, metadata: Mapping[str, str]) -> tuple["Job", bool]:
        """The job `name-1`, or of its submissions the one that is not over; and whether it is new. After one that is
        over comes `name-2`. Of two submissions at the same moment one starts the job, and both get it."""
        while True:
            last, is_over = self._last(name)
            if last and not is_over:
                return Job(self._client, f"{name}-{last}"), False
            submission_id = f"{name}-{last + 1}"
            if self._submit(submission_id, folder, entrypoint, metadata):
                return Job(self._client, submission_id), True

    def _submit(self, submission_id: str, folder: Path, entrypoint: str, metadata: Mapping[str, str]) -> bool:
        """Whether nobody else has, meanwhile."""
        deadline = time.monotonic() + NEW_HEAD_SECONDS
        while True:
            try:
                with self._translated():
                    self._client.submit_job(
                        entrypoint=entrypoint,
                        submission_id=submission_id,
                        runtime_env=runtime_env(folder),
                        metadata=dict(metadata),
                    )
                return True
            except ConfigError as error:
                if submission_id in {each.submission_id for each in self._jobs()}:
                    return False
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def _last(self, name: str) -> tuple[int, bool]:
        """The number of the last submission of that name, 0 if there was none, and whether it is over."""
        found = [
            (int(number[1]), JobStatus(each.status).is_terminal())
            for each in self._jobs()
            if each.submission_id
            and (number := NUMBER.search(each.submission_id))
            and each.submission_id == f"{name}{number[0]}"
        ]
        return max(found, default=(0, True))

    def _jobs(self) -> list[JobDetails]:
        with self._translated():
            jobs: list[JobDetails] = self._client.list_jobs()
            return jobs

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise ConfigError(_about_tokens(self.address, str(error))) from error
        except (RuntimeError, OSError, ValueError) as error:
            raise ConfigError(f"--address: {self.address} does not take the job: {error}") from error


def _about_tokens(address: str, why: str) -> str:
    told = why.partition("\n")[0]
    return (
        f"--address: {address} asks for its token ({told}); set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token "
        "that the cluster was started with or RAY_AUTH_TOKEN_PATH to a file with it"
    )


def runtime_env(folder: Path) -> dict[str, object]:
    """Of a job whose code and settings are in `folder`. No secret belongs here: the dashboard shows it."""
    passed = {name: os.environ[name] for name in PASSED if os.environ.get(name)}
    return {"working_dir": str(folder), "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **passed}}


class Job:
    """One submission."""

    def __init__(self, client: JobSubmissionClient, submission_id: str) -> None:
        self._client, self.submission_id = client, submission_id
        self._shown = 0
        """Characters of its log."""

    def follow(self, show: Show) -> None:
        """Show its log as it is written, from where the last call was interrupted, until the job is over. Raises
        ConfigError where the cluster is lost, and KeyboardInterrupt."""
        lost_since: float | None = None
        while True:
            try:
                is_over = JobStatus(self._client.get_job_status(self.submission_id)).is_terminal()
                lost_since = None
                if is_over:
                    self._show_from(self._client.get_job_logs(self.submission_id), 0, show)
                    return
                asyncio.run(self._tail(show))
            except (RuntimeError, OSError, aiohttp.ClientError) as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > LOST_SECONDS:
                    raise ConfigError(
                        f"the cluster has not answered for {LOST_SECONDS:.0f} s ({error}). Job {self.submission_id} "
                        "may go on: the same command follows it once the cluster answers again"
                    ) from error
            time.sleep(POLL_SECONDS)

    async def _tail(self, show: Show) -> None:
        """It begins at the log's first line each time."""
        received = 0
        async for lines in self._client.tail_job_logs(self.submission_id):
            self._show_from(lines, received, show)
            received += len(lines)

    def _show_from(self, text: str, place: int, show: Show) -> None:
        """Of a text that stands at that place in the log, what was not shown yet."""
        new = text[max(0, self._shown - place) :]
        if new:
            show(new)
            self._shown = place + len(text)

    def stop(self) -> None:
        """Ask it to save, commit and end, which takes a while. Raises ConfigError where the cluster does not answer."""
        try:
            self._client.stop_job(self.submission_id)
        except (RuntimeError, OSError) as error:
            raise ConfigError(f"job {self.submission_id} could not be stopped: {error}") from error

    def ended(self) -> tuple[str, int | None, str]:
        """Its status, the exit code of its driver if there is one, and what Ray says about it."""
        info = self._client.get_job_info(self.submission_id)
        return str(JobStatus(info.status)), info.driver_exit_code, info.message or ""
