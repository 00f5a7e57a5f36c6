"""From the ledger to the tables. A function of the ledger alone, so that it can be repeated at any time.

What is written counts when its marker is there (`pipeline.ledger.commits`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from configs import VERSION
from configs.errors import LedgerError, StorageError
from pipeline.ledger.account import Account, Shares
from pipeline.ledger.commits import Commit
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row


def commit(
    ledger: Ledger,
    documents: Sequence[Document],
    stopped: bool = False,
    *,
    start: int = 1,
    confirm: Callable[[], None] | None = None,
) -> Row:
    """Write the run's tables and, for its start of that number, their marker. Returns the run's row in `jobs`.

    `confirm` raises where the run is no longer this driver's; it is asked when the files are there, right before the
    marker. Raises LedgerError, and takes the files back, where it does or where a later start has committed; also where
    a document of the manifest has neither result nor failure, unless the run was `stopped`.
    """
    about = ledger.about()
    assert about is not None, "a run begins before it is committed"
    etags = {document.document_id: document.source_etag for document in documents}
    account = Account(ledger, etags)
    if account.left and not stopped:
        missing = next(iter(account.left))
        raise LedgerError(f"{len(account.left)} documents have no row yet, for example {missing!r}: run it again")
    job = _job(about, account) | _counts(len(etags), account.counts["finished"], account.counts["failed"])
    shares = Shares(account.sums)
    tables = {
        "costs": account.costs(),
        "jobs": iter([job]),
        "states": account.states(),
        "failures": account.failures(shares),
        "summaries": account.summaries(shares),
    }
    made = Commit(ledger, start, about["started_at"][:10])
    try:
        made.write(tables)
        if confirm is not None:
            confirm()
    except (LedgerError, StorageError):
        made.withdraw()
        raise
    made.publish({"status": job["status"], "documents": len(etags) - len(account.left)})
    for key in account.finished:
        ledger.forget_snapshot(key)
    return job


def _job(about: Mapping[str, Any], account: Account) -> Row:
    sums = account.sums
    actors = [reading for reading in account.meters.values() if reading.is_of_actor]
    return {
        "run_id": account.run_id,
        "started_at": datetime.fromisoformat(about["started_at"]),
        "finished_at": datetime.now(UTC),
        "tokens_read": sums.tokens_read,
        "tokens_decoded": sums.tokens_decoded,
        "actors": len(actors),
        "device_type": next((reading.device_type for reading in actors), None),
        "kernels": ",".join(sorted({reading.kernels for reading in actors} - {""})) or None,
        "kernels_error": max(
            (float(reading.kernels_error) for reading in actors if reading.kernels_error), default=None
        ),
        "device_seconds": sums.device_seconds,
        "cost": sums.cost,
        "currency": account.currency or about["config"]["price"]["currency"],
        "peak_rss_bytes": max((reading.peak_rss_bytes for reading in actors), default=0),
        "model_id": about.get("model_id", about["config"]["model"]["uri"]),
        "model_revision": about["model_revision"],
        "settings_sha256": about["settings_sha256"],
        "config": json.dumps(about["config"], sort_keys=True),
        "code_version": VERSION,
        "quote": account.quote and json.dumps(account.quote, sort_keys=True),
    }


def _counts(documents: int, succeeded: int, failed: int) -> Row:
    left = documents - succeeded - failed
    return {
        "status": "stopped" if left else "partial" if failed else "succeeded",
        "documents_total": documents,
        "documents_succeeded": succeeded,
        "documents_failed": failed,
        "documents_left": left,
    }
