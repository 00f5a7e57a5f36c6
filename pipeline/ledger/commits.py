"""Which files of the tables count: those of each run's newest commit, which its marker tells.

OUTPUT/TABLE/dt=YYYY-MM-DD/run=RUN/part-0003-00000.parquet    a file of the commit of the run's third start
OUTPUT/_commits/RUN/0003.json    that commit's marker, written after its files; the highest number counts

Starts are numbered by the lease, so that no two drivers write one file. Files of older commits go when the marker is
there. A driver that was taken for dead and wakes up has a lower number than its successor: what it writes does not
count, and it removes nothing but what is older than its own.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any

import pyarrow as pa
import structlog

from configs.errors import LedgerError, StorageError
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.tables import TABLES, Row
from pipeline.storage import objects

log = structlog.get_logger()

FOLDER = "_commits"
ORDER = ("costs", "jobs", "states", "failures", "summaries")
"""Of writing: who reads a table without the markers sees no summary before what it cost."""
ROWS_PER_FILE = 100_000
ROWS_AT_ONCE = 2_000
PART = re.compile(r"/dt=\d{4}-\d\d-\d\d/run=(?P<run>[^/]+)/part-(?P<number>\d{4})-\d{5}\.parquet$")


class Commit:
    """A commit under way, of one start of a run."""

    def __init__(self, ledger: Ledger, number: int, day: str) -> None:
        """`day` is that of the run's partition, as YYYY-MM-DD."""
        self._ledger, self._number, self._day = ledger, number, day
        self._files: dict[str, list[str]] = {}
        """By table, in the order of ORDER."""

    def write(self, tables: Mapping[str, Iterable[Row]]) -> None:
        """The tables' files, which do not count yet; rows of one file at a time are in memory. Raises StorageError."""
        for name in ORDER:
            rows, folder = iter(tables[name]), self._folder(name)
            self._files[name] = []
            for index in count():
                part = pa.concat_tables(_columns(islice(rows, ROWS_PER_FILE), TABLES[name]))
                if not part.num_rows:
                    break
                file = objects.join(folder, f"part-{self._number:04d}-{index:05d}.parquet")
                self._files[name].append(file)
                objects.publish_table(file, part)

    def publish(self, about: Mapping[str, Any]) -> None:
        """The marker: from here on these files count, and those of older commits go.

        Raises LedgerError, and nothing has changed, where a later start of the run has committed meanwhile.
        """
        uri = _marker(self._ledger, self._number)
        files = {name: [_below(self._ledger.output_uri, file) for file in files] for name, files in self._files.items()}
        at = datetime.now(UTC).isoformat()
        objects.publish(uri, _json({**about, "number": self._number, "committed_at": at, "files": files}))
        numbers = _numbers(self._ledger)
        if max(numbers) > self._number:
            objects.delete(uri)
            self.withdraw()
            raise LedgerError("a later start of the run has committed it meanwhile; this one's tables were taken back")
        self._sweep()
        for number in numbers:
            if number < self._number:
                objects.delete(_marker(self._ledger, number))

    def withdraw(self) -> None:
        """Remove the files. Not once there may be a marker, whose answer may have been lost."""
        try:
            for file in [file for files in self._files.values() for file in files]:
                objects.delete(file)
        except StorageError:  # they do not count, and the run's next commit sweeps them
            log.warning("tables_not_taken_back", run_id=self._ledger.run_id, exc_info=True)

    def _sweep(self) -> None:
        """Remove files of older commits, including commits that died before their marker was written."""
        for name, files in self._files.items():
            for file in objects.list_files(self._folder(name), ".parquet"):
                found = PART.search(file)
                if found and int(found["number"]) <= self._number and file not in files:
                    objects.delete(file)

    def _folder(self, table: str) -> str:
        return objects.join(self._ledger.output_uri, table, f"dt={self._day}", f"run={self._ledger.run_id}")


def _columns(rows: Iterator[Row], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of the rows, some thousands at a time, which take far less memory; the last one is empty."""
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield pa.Table.from_pylist(some, schema)
    yield schema.empty_table()


def newest(ledger: Ledger) -> dict[str, Any] | None:
    """What the marker of the run's newest commit says, or None where there is none."""
    while number := max(_numbers(ledger), default=0):
        # One that a newer commit has just swept away is looked for again.
        with suppress(FileNotFoundError):
            marker: dict[str, Any] = json.loads(objects.read_bytes(_marker(ledger, number)))
            return marker
    return None


def is_complete(ledger: Ledger) -> bool:
    """Whether everything that was begun of the run is committed, and the run did not end early."""
    marker = newest(ledger)
    return marker is not None and marker["status"] != "stopped" and marker["number"] >= ledger.last_begun()


def files(output_uri: str, tables: Iterable[str]) -> dict[str, list[str]]:
    """URIs of the Parquet files that count, by table, each run as one commit left it. Raises StorageError.

    Two listings of the markers around those of the tables tell that no commit came in between, however many runs there
    are. A file that somebody has removed is missed by nobody, so that old partitions may be deleted.
    """
    counted = _newest_numbers(output_uri)
    while True:
        found = {table: _files(output_uri, table, counted) for table in tables}
        before, counted = counted, _newest_numbers(output_uri)
        if counted == before:
            return found


def _files(output_uri: str, table: str, counted: Mapping[str, int]) -> list[str]:
    folder = objects.join(output_uri, table)
    # What lies elsewhere is none of ours.
    parts = ((uri, PART.fullmatch(uri.removeprefix(folder))) for uri in objects.list_files(folder, ".parquet"))
    return [uri for uri, part in parts if part and counted.get(part["run"]) == int(part["number"])]


def _newest_numbers(output_uri: str) -> dict[str, int]:
    """By run."""
    numbers: dict[str, int] = {}
    for uri in objects.list_files(objects.join(output_uri, FOLDER), ".json"):
        run_id, name = uri.rsplit("/", 2)[1:]
        numbers[run_id] = max(int(name.removesuffix(".json")), numbers.get(run_id, 0))
    return numbers


def _numbers(ledger: Ledger) -> list[int]:
    files = objects.list_files(objects.join(ledger.output_uri, FOLDER, ledger.run_id), ".json")
    return [int(file.rsplit("/", 1)[1].removesuffix(".json")) for file in files]


def _marker(ledger: Ledger, number: int) -> str:
    return objects.join(ledger.output_uri, FOLDER, ledger.run_id, f"{number:04d}.json")


def _below(output_uri: str, uri: str) -> str:
    return uri.removeprefix(output_uri).lstrip("/")


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
