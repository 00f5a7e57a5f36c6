"""`python -m benchmarks.ledger [documents=5000,50000] [batch=4] [segment=100]`: what the ledger takes for each
document, and what memory its commit takes.

Claims and segments as actors write them, of documents that each gave one summary of 1 KB; then a commit of them all, in
a process of its own. The memory that a commit takes must grow by little more than the documents' ids.

`batch` documents are given to an actor at once, and the entries of `segment` are written together.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks import measure
from pipeline.billing.metering import Rate, Spent
from pipeline.ledger.commit import commit
from pipeline.ledger.records import ENTRY, Claim, MeterReading, batch_of, document_key
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.document import Document

RATE = Rate("NVIDIA H100 80GB HBM3", 1, Decimal("2.37"), "USD")
SPENT_US = 30_000
WORDS = [f"word{number}" for number in range(5000)]


def documents(number: int) -> list[Document]:
    names = (f"s3://bucket/filings/2026/{index:09d}.txt" for index in range(number))
    return [Document(name, name, "etag", 4000) for name in names]


def entry(document: Document, batch: str, reading: MeterReading) -> dict[str, Any]:
    now = datetime.now(UTC)
    row = {
        **{
            "run_id": "r",
            "document_id": document.document_id,
            "source_uri": document.source_uri,
            "source_etag": "etag",
        },
        **{"started_at": now, "finished_at": now, "device_type": RATE.device_type, "currency": "USD", "attempts": 1},
    }
    texts = {"summary": " ".join(random.choices(WORDS, k=120)), "summary_tokens": 160, "finish_reason": "stop"}
    summary = row | texts | {"prompt_id": "summary", "tokens_total": 1000, "tokens_read": 1000, "truncated": False}
    return {
        **{"document_id": document.document_id, "source_etag": "etag", "batch": batch, "claim": 1, "attempt": 1},
        **{"actor_id": reading.actor_id, "outcome": "finished", "started_at": now, "published_at": now},
        **{"tokens_resumed": 0, "tokens_read": 1000, "tokens_decoded": 160, "spent": asdict(Spent(SPENT_US).all_saved)},
        **{"summaries": [summary], "failures": [], "states": []},
        "reading": asdict(reading),
    }


def write(ledger: Ledger, all_documents: list[Document], batch: int, segment: int) -> None:
    """What one actor writes."""
    pending: list[dict[str, Any]] = []
    numbers = iter(range(1, len(all_documents) + 2))
    for first in range(0, len(all_documents), batch):
        some = all_documents[first : first + batch]
        name = batch_of(1, [document_key(each.document_id, "etag") for each in some])
        claims = [Claim(each.document_id, "etag", 1, "actor", 1, 0) for each in some]
        assert ledger.begin_attempts(name, 1, claims)
        reading = MeterReading(
            *("actor", "node", RATE.device_type, 1, str(RATE.price_per_second), "USD", 0, 1),
            total_us=SPENT_US * (first + len(some)),
        )
        pending += [entry(each, name, reading) for each in some]
        if len(pending) >= segment or first + batch >= len(all_documents):
            rows = [row if index == len(pending) - 1 else row | {"reading": None} for index, row in enumerate(pending)]
            ledger.publish_segment("actor", next(numbers), pa.Table.from_pylist(rows, ENTRY))
            pending = []


def committed(output: str, number: int) -> None:
    """In a process of its own: prints what it took."""
    listed = documents(number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    commit(Ledger(output, "r"), listed)
    used = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_mib": peak / 1024, "before": before / 1024, "seconds": used}))


def measured(number: int, batch: int, segment: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as output:
        ledger = Ledger(output, "r")
        config = {"price": {"currency": "USD"}, "model": {"uri": "m"}, "input": {"sources": ["x"]}}
        about = {"started_at": "2026-11-25T00:00:00+00:00", "settings_sha256": "s", "model_revision": "m"}
        ledger.begin(about | {"config": config})
        started = time.process_time()
        write(ledger, documents(number), batch, segment)
        writing = time.process_time() - started
        files = {kind: list(Path(ledger.uri, kind).rglob("*.*")) for kind in ("claims", "segments")}
        command = [sys.executable, "-m", "benchmarks.ledger", "commit", output, str(number)]
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        took = json.loads(ran.stdout.splitlines()[-1])
        sizes = {kind: sum(file.stat().st_size for file in some) for kind, some in files.items()}
    return {
        "documents": number,
        "objects_per_document": sum(map(len, files.values())) / number,
        "bytes_per_document": {kind: round(size / number) for kind, size in sizes.items()},
        "cpu_seconds_writing": round(writing, 2),
        "cpu_seconds_committing": round(took["seconds"], 2),
        "mib_before_the_commit": round(took["before"]),
        "peak_mib_of_the_commit": round(took["peak_mib"]),
    }


def main(documents: str, batch: str, segment: str) -> None:
    rows = [measured(int(number), int(batch), int(segment)) for number in documents.split(",")]
    grown = (rows[-1]["peak_mib_of_the_commit"] - rows[0]["peak_mib_of_the_commit"]) * 2**20
    per_document = grown / (rows[-1]["documents"] - rows[0]["documents"])
    measure.publish("ledger", ledger=rows, bytes_of_memory_per_document=round(per_document))


if __name__ == "__main__":
    if sys.argv[1:2] == ["commit"]:
        committed(sys.argv[2], int(sys.argv[3]))
    else:
        main(**measure.arguments(documents="5000,50000", batch="4", segment="100"))
