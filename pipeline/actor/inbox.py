"""Documents on their way from the threads of an actor's intake to that of its engine."""

import queue
from collections.abc import Iterator
from contextlib import suppress
from threading import Event

from pipeline.actor.job import Job


class Inbox:
    """Any thread puts in; the engine's thread takes out, until it refuses all that comes."""

    def __init__(self) -> None:
        self.news = Event()
        """A document came, or tokens of one that the engine waits for, or the end."""
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._error: Exception | None = None

    def __len__(self) -> int:
        return self._jobs.qsize()

    def put(self, job: Job) -> None:
        """In any thread."""
        self._jobs.put(job)
        self.news.set()
        if self._error is not None:
            self.refuse(self._error)

    def take(self) -> Iterator[Job]:
        """What has come since the last look."""
        with suppress(queue.Empty):
            while True:
                yield self._jobs.get_nowait()

    def refuse(self, error: Exception) -> None:
        """What is there, and whatever comes from now on. In any thread: each job is taken out by one."""
        self._error = error
        for job in self.take():
            job.refuse(error)
