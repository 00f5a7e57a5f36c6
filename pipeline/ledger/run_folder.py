"""The ledger of a run: what has been tried and finished and what every actor's time went to, durable as it happens.

OUTPUT/_runs/RUN/
    run.json                      what was asked, written first
    starts/                       when drivers began to work on it (`pipeline.ledger.lease`)
    quote.json                    what it was thought to take, where that could be said
    manifests/0001.parquet        the documents, as the first start listed them
    claims/BATCH/0001.json        who began a batch of documents, and from where; made only where there was none
    segments/ACTOR/000001.parquet    what attempts gave that have ended, as many as came together
    snapshots/DOCUMENT.safetensors    where a document that is not finished stands, overwritten
    snapshots/DOCUMENT/           segments of its state, where that grows with the tokens (`pipeline.states.segments`)
    actors/ACTOR.json             the actor's last reading of its meter and what it was at, overwritten; so for a node
                                  that holds none
    device_failures/              actors whose device failed (`pipeline.ledger.device_failures`)
    stops/0001.json               why the first start shall stop, where it shall
    pruned.json                   where `jobs.runs prune` has removed the rest

DOCUMENT stands for a document at one content, BATCH for those that an actor is given at once. The ledger only grows,
by objects per batch and per heartbeat, not per document. The tables are a function of it, so that a commit can be
repeated; of two results for one document it takes the first.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import pyarrow as pa
import structlog

from configs.errors import LedgerError
from pipeline.ledger.records import (
    Claim,
    Entry,
    Heartbeat,
    as_json,
    size_of,
)
from pipeline.schemas.document import MANIFEST, Document
from pipeline.storage import objects

log = structlog.get_logger()


class Ledger:
    """Overwrite what an actor wrote last."""

    """One run's folder."""

    def __init__(self, output_uri: str, run_id: str) -> None:
        # One spelling everywhere: an actor's working directory is not the driver's.
        self.output_uri, self.run_id = objects.resolve(output_uri), run_id
        self.uri = objects.join(self.output_uri, "_runs", run_id)

    def begin(self, about: dict[str, Any]) -> None:
        """Write what the run is asked to do. A rerun keeps when the run began; the rest is of its last start."""
        before = self.about()
        if before is not None:
            about = about | {"started_at": before["started_at"]}
        objects.publish(objects.join(self.uri, "run.json"), as_json(about))

    def about(self) -> dict[str, Any] | None:
        """What `begin` wrote, or None where there is no such run."""
        return _read_json(objects.join(self.uri, "run.json"))

    def mark_pruned(self) -> None:
        """Say that parts of the ledger are gone, so that it cannot be resumed."""
        objects.publish(objects.join(self.uri, "pruned.json"), as_json({"pruned_at": datetime.now(UTC).isoformat()}))

    def is_pruned(self) -> bool:
        """Whether `mark_pruned` was called."""
        return objects.exists(objects.join(self.uri, "pruned.json"))

    def keep_quote(self, quote: dict[str, Any]) -> None:
        """Write what the run was quoted; a rerun keeps the first quote."""
        objects.create(objects.join(self.uri, "quote.json"), as_json(quote))

    def quote(self) -> dict[str, Any] | None:
        """What `keep_quote` wrote, or None."""
        return _read_json(objects.join(self.uri, "quote.json"))

    def write_manifest(self, documents: Sequence[Document], start: int) -> None:
        """What a start of the run is about to work on: until it is committed the run is not complete."""
        rows = [document.as_row() for document in documents]
        objects.publish_table(self._manifest(start), pa.Table.from_pylist(rows, MANIFEST))

    def last_begun(self) -> int:
        """The number of the last start that wrote a manifest, or 0."""
        files = objects.list_files(objects.join(self.uri, "manifests"), ".parquet")
        return max((int(file.rsplit("/", 1)[1].removesuffix(".parquet")) for file in files), default=0)

    def num_documents(self) -> int:
        """Of the run, as its last start listed them; 0 before the first has."""
        number = self.last_begun()
        if not number:
            return 0
        return int(objects.read_table(self._manifest(number), ["document_id"]).num_rows)

    def _manifest(self, start: int) -> str:
        return objects.join(self.uri, "manifests", f"{start:04d}.parquet")

    def begin_attempts(self, batch: str, number: int, claims: Sequence[Claim]) -> bool:
        """Begin attempts at documents of a batch, with one object however many they are. Whether nobody had made the
        claim of that number, from 1, before."""
        uri = objects.join(self.uri, "claims", batch, f"{number:04d}.json")
        return objects.create(uri, as_json([asdict(claim) for claim in claims]))

    def claims(self, batch: str) -> dict[int, list[Claim]]:
        """The claims of a batch by number, in order."""
        return {number: self._claims(batch, number) for number in self._numbers_of_claims(batch)}

    def claims_without_an_end(self, ended: Mapping[tuple[str, int], int]) -> list[Claim]:
        """Claims of which not all attempts may have ended, whole: `ended` counts entries by batch and claim.

        Of a batch that ended at its first claim nothing is read: that is for all documents which came with it.
        """
        unclear = [
            (batch, number)
            for batch, numbers in self._all_claims().items()
            for number in numbers
            if not (number == 1 and ended.get((batch, number)) == size_of(batch))
        ]
        with ThreadPoolExecutor(objects.READS_AT_ONCE) as threads:
            found = threads.map(lambda each: self._claims(*each), unclear)
            return [claim for claims in found for claim in claims]

    def publish_segment(self, actor_id: str, number: int, entries: pa.Table) -> None:
        """Write an actor's next entries (`ENTRY`), which appear whole or not at all. Raises StorageError."""
        objects.publish_table(objects.join(self.uri, "segments", actor_id, f"{number:06d}.parquet"), entries)

    def segments(self, actor_id: str = "") -> list[str]:
        """URIs of what all actors have written, or one of them."""
        return objects.list_files(objects.join(self.uri, "segments", actor_id), ".parquet")

    def entries(self, columns: Sequence[str] | None = None) -> list[Entry]:
        """Every attempt that came to an end, in the order of its end: all in memory, or some `columns`."""
        named = None if columns is None else [*{*columns, "published_at", "document_id"}]
        rows = [row for table in objects.read_tables(self.segments(), named) for row in table.to_pylist()]
        return sorted(rows, key=lambda row: (row["published_at"], row["document_id"]))

    def snapshot_uri(self, key: str) -> str:
        """Where a document's snapshot is, by its key, if it has one."""
        return objects.join(self.uri, "snapshots", f"{key}.safetensors")

    def snapshots(self) -> dict[str, str]:
        """URIs by the document's key."""
        files = objects.list_files(objects.join(self.uri, "snapshots"), ".safetensors", depth=1)
        return {file.rsplit("/", 1)[1].removesuffix(".safetensors"): file for file in files}

    def saved(self) -> set[str]:
        """Keys of documents that have a snapshot, or segments that one left behind."""
        return {*self.snapshots(), *objects.list_folders(objects.join(self.uri, "snapshots"))}

    def forget_snapshot(self, key: str) -> None:
        """Of a document that is finished: its segments first, so that what a crash leaves of them is still found."""
        uri = self.snapshot_uri(key)
        for segment in objects.list_files(uri.removesuffix(".safetensors")):
            objects.delete(segment)
        objects.delete(uri)

    def publish_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Overwrite the actor's last one. Raises StorageError."""
        objects.publish(self._heartbeat(heartbeat.reading.actor_id), heartbeat.to_bytes())

    def heartbeat_uris(self) -> list[str]:
        """Of all actors, and of nodes that hold none."""
        return objects.list_files(objects.join(self.uri, "actors"), ".json")

    def heartbeat(self, uri: str) -> Heartbeat:
        """Raises LedgerError where it is damaged, FileNotFoundError, StorageError."""
        data = objects.read_bytes(uri)
        try:
            return Heartbeat.from_bytes(data)
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(f"{uri}: the heartbeat is damaged ({error!r})") from error

    def heartbeats(self) -> list[Heartbeat]:
        """The last heartbeat of each actor. A damaged one is left out: segments carry meter readings too."""
        found = []
        for uri in self.heartbeat_uris():
            try:
                found.append(self.heartbeat(uri))
            except LedgerError as error:
                log.warning("heartbeat_left_out", run_id=self.run_id, reason=str(error))
        return found

    def publish_later_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Overwrite the actor's last one unless that is as new. Raises StorageError."""
        try:
            known = self.heartbeat(self._heartbeat(heartbeat.reading.actor_id)).reading.read_us
        except (LedgerError, FileNotFoundError):
            known = 0
        if heartbeat.reading.read_us > known:
            self.publish_heartbeat(heartbeat)

    def _heartbeat(self, actor_id: str) -> str:
        return objects.join(self.uri, "actors", f"{actor_id}.json")

    def stop(self, reason: str, start: int = 0) -> None:
        """Ask everyone who works on that start of the run to stop."""
        objects.publish(self._stop(start), as_json({"reason": reason}))

    def stop_reason(self, start: int = 0) -> str | None:
        """Why `stop` was asked for, if it was."""
        about = _read_json(self._stop(start))
        return None if about is None else str(about["reason"])

    def _stop(self, start: int) -> str:
        return objects.join(self.uri, "stops", f"{start:04d}.json")

    def _all_claims(self) -> dict[str, list[int]]:
        """Numbers of claims by their batch, from names."""
        found: dict[str, list[int]] = defaultdict(list)
        for uri in objects.list_files(objects.join(self.uri, "claims"), ".json"):
            batch, name = uri.rsplit("/", 2)[1:]
            found[batch].append(int(name.removesuffix(".json")))
        return found

    def _numbers_of_claims(self, batch: str) -> list[int]:
        files = objects.list_files(objects.join(self.uri, "claims", batch), ".json")
        return [int(file.rsplit("/", 1)[1].removesuffix(".json")) for file in files]

    def _claims(self, batch: str, number: int) -> list[Claim]:
        """What is damaged is left out: an attempt that ended has an entry too."""
        uri = objects.join(self.uri, "claims", batch, f"{number:04d}.json")
        try:
            return [Claim(**claim | {"batch": batch}) for claim in json.loads(objects.read_bytes(uri))]
        except (ValueError, TypeError) as error:
            log.warning("claims_left_out", run_id=self.run_id, uri=uri, reason=repr(error))
            return []


def runs(output_uri: str) -> list[Ledger]:
    """Every run below an output, the newest first."""
    ledgers = [Ledger(output_uri, name) for name in objects.list_folders(objects.join(output_uri, "_runs"))]
    with ThreadPoolExecutor(objects.READS_AT_ONCE) as threads:
        abouts = list(threads.map(Ledger.about, ledgers))
    begun = [(about["started_at"], ledger) for about, ledger in zip(abouts, ledgers, strict=True) if about is not None]
    return [ledger for _, ledger in sorted(begun, key=itemgetter(0), reverse=True)]


def _read_json(uri: str) -> dict[str, Any] | None:
    try:
        return json.loads(objects.read_bytes(uri))
    except FileNotFoundError:
        return None
