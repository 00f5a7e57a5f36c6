"""Reads documents in a child process that can be killed, and whose crash affects nothing else.

The process is kept between batches, and replaced when a document has used up its time or memory or has crashed it. It
receives a batch as a whole and returns row by row, so that it is known which document was at fault. A pool of processes
would do the same at ten times the overhead for each short document.
"""

import os
import resource
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from ctypes import CDLL
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from configs.errors import DocumentError, ProcessKilledError, TimeLimitError, TooLargeError
from configs.settings import InputSettings
from pipeline.documents.handover import reason
from pipeline.schemas.tables import Row

OUT_OF_MEMORY = 77
"""Exit code."""
CLOCK_FACTOR = 10
START_ATTEMPTS = 3
PR_SET_PDEATHSIG = 1
MAIN = "import sys; from pipeline.documents import reader_process; reader_process.main(*map(int, sys.argv[1:]))"


class Reader(Protocol):
    """Reads a document."""

    def read(self, row: Row) -> Row:
        """The row with what was read, or an error. Raises only MemoryError."""


class Settings(Protocol):
    """What a reader is made by, in the process: it is pickled."""

    @property
    def input(self) -> InputSettings:
        """With the limits."""

    def reader(self) -> Reader:
        """With all that is loaded once, for no document's time and memory."""


class ReaderProcess:
    """A child process for reading, started on demand. Not thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._end: weakref.finalize | None = None  # type: ignore[type-arg]  # generic in the stubs alone

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def read(self, rows: Sequence[Row], settings: Settings) -> list[Row]:
        """What the settings' reader makes of each row, in order. A document that kills the process gets an error."""
        read: list[Row] = []
        while len(read) < len(rows):
            is_fresh = self._start()
            try:
                for row in self._rows(rows[len(read) :], settings):
                    read.append(row)
                    is_fresh = False
            except (EOFError, OSError) as error:
                # Earlier documents in the same process, or another process on the machine, may have caused this. A
                # document is blamed only if it was the first in its process, or for CPU time, which is its own.
                how = self._stop(settings.input, timed_out=isinstance(error, TimeoutError))
                if is_fresh or isinstance(how, TimeLimitError):
                    read.append(rows[len(read)] | reason(how))
        return read

    def close(self) -> None:
        """End the process. The next document starts a new one."""
        if self._end is not None:
            self._end()
        self._process = self._connection = self._end = None

    def _start(self) -> bool:
        """Start a process unless one is running; returns whether it is new. Raises RuntimeError if none can start."""
        if self._process is not None and self._process.poll() is None:
            return False
        codes: list[int] = []
        while len(codes) < START_ATTEMPTS:
            self.close()
            ours, process = _started()
            self._process, self._connection = process, ours
            self._end = weakref.finalize(self, _kill, process, ours)
            with suppress(EOFError, OSError):
                ours.recv()
                return True
            codes.append(process.wait())
        raise RuntimeError(f"the process that reads documents ended before it read any, with the exit codes {codes}")

    def _rows(self, rows: Sequence[Row], settings: Settings) -> Iterator[Row]:
        """Yields each row as soon as it is read. Raises EOFError or OSError if the process dies, TimeoutError if it
        hangs."""
        assert self._connection is not None
        self._connection.send((rows, settings))
        for _ in rows:
            if not self._connection.poll(CLOCK_FACTOR * settings.input.max_document_seconds):
                raise TimeoutError
            yield self._connection.recv()

    def _stop(self, limits: InputSettings, timed_out: bool) -> DocumentError:
        """How the process ended."""
        process = self._process
        assert process is not None
        if not timed_out:
            process.wait()
        self.close()
        seconds = f"{limits.max_document_seconds:g} s"
        if timed_out:
            return TimeLimitError(
                f"Reading the document took more than {CLOCK_FACTOR} times {seconds} on the clock, the limit that "
                "input.max_document_seconds sets."
            )
        if process.returncode == -signal.SIGPROF:
            return TimeLimitError(
                f"Reading the document took more than {seconds} of CPU time, the limit that "
                "input.max_document_seconds sets."
            )
        if process.returncode == OUT_OF_MEMORY:
            return TooLargeError(
                f"Reading the document took more than {limits.max_document_memory} bytes of memory, the limit that "
                "input.max_document_memory sets."
            )
        return _killed(process.returncode)


def _started() -> "tuple[Connection, subprocess.Popen[bytes]]":
    """A new process, which reports when it is ready, and the connection to it."""
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(
            # Not by multiprocessing, which would load the program that Ray's workers run there as well.
            [sys.executable, "-c", MAIN, str(theirs.fileno()), str(os.getpid())],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(place).absolute()) for place in sys.path)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return ours, process


@cache
def shared() -> ReaderProcess:
    """The reader process of this Ray worker, shared by all its batches."""
    return ReaderProcess()


def main(descriptor: int, parent: int) -> None:
    """The child's main loop: reads batches until the connection is closed."""
    _end_with(parent)
    # Ctrl-C is for the parent, at whose end this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reader: Reader | None = None
    known: Settings | None = None
    with Connection(descriptor) as connection, suppress(EOFError, ConnectionError):
        connection.send("ready")
        while True:
            rows, settings = connection.recv()
            if reader is None or settings != known:
                reader, known = _reader(settings), settings
            for row in rows:
                connection.send(_read(reader, row, settings.input.max_document_seconds))


def _reader(settings: Settings) -> Reader:
    reader = settings.reader()
    _limit_memory(settings.input.max_document_memory)
    return reader


def _read(reader: Reader, row: Row, seconds: float) -> Row:
    try:
        with _cpu_limit(seconds):
            return reader.read(row)
    except MemoryError:
        # Native code may have failed anywhere for lack of memory: this process is not safe for other documents.
        os._exit(OUT_OF_MEMORY)


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    """Limits CPU time, since a slow store is not the document's fault. The signal kills the process: native code cannot
    be interrupted by an exception."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory(num_bytes: int) -> None:
    """Limit the memory that documents may take beyond the process's own. Does nothing on systems other than Linux."""
    if sys.platform != "linux":
        return
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    taken = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = taken + num_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _end_with(parent: int) -> None:
    """End with the parent, even in the middle of a document. On systems other than Linux the process ends after its
    document, when the connection is closed."""
    if sys.platform == "linux":
        CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _kill(process: "subprocess.Popen[bytes]", connection: Connection) -> None:
    connection.close()
    process.kill()
    process.wait()


def _killed(exit_code: int) -> ProcessKilledError:
    how = f"it ended with exit code {exit_code}"
    if exit_code < 0:
        how = f"signal {signal.Signals(-exit_code).name}"
        if -exit_code == signal.SIGKILL:
            how += ", which is what a process gets that takes too much memory"
        elif -exit_code in (signal.SIGABRT, signal.SIGTRAP, signal.SIGILL):
            how += ", which is how a parser ends that gets no more memory; input.max_document_memory sets the limit"
    return ProcessKilledError(f"Reading the document killed the process: {how}.")
