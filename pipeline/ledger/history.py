"""What an output already holds: which documents are done, and what was begun of the others."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from configs import errors
from configs.errors import DocumentError
from pipeline.ledger import commits
from pipeline.ledger.records import place_of
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.attempt import Begun
from pipeline.storage import objects

Key = tuple[str, str]
"""Document id and etag: a document at one content."""


def done_in_other_runs(output_uri: str, settings_sha256: str, run_id: str) -> set[Key]:
    """Documents that committed runs have summarized with the same model, prompts and settings."""
    rows = _of_other_runs("summaries", "truncated", output_uri, settings_sha256, run_id)
    return {key for key, truncated in rows if not truncated}


def failed_in_other_runs(output_uri: str, settings_sha256: str, run_id: str) -> set[Key]:
    """Documents that failed in committed runs with the same settings for what is in them, and would fail again."""
    rows = _of_other_runs("failures", "error_class", output_uri, settings_sha256, run_id)
    return {key for key, name in rows if getattr(errors, name or "", DocumentError).is_of_content}


def _of_other_runs(
    table: str, column: str, output_uri: str, settings_sha256: str, run_id: str
) -> Iterator[tuple[Key, Any]]:
    """Documents in a table of committed runs with the same settings, each with the value of a column."""
    columns = ["run_id", "document_id", "source_etag", "settings_sha256", column]
    for part in objects.read_tables(commits.files(output_uri, [table])[table], columns):
        for row in part.to_pylist():
            if row["settings_sha256"] == settings_sha256 and row["run_id"] != run_id:
                yield (row["document_id"], row["source_etag"]), row[column]


def done_in(ledger: Ledger) -> set[Key]:
    """What one run has summarized."""
    entries = ledger.entries(["source_etag", "outcome"])
    return {(entry["document_id"], entry["source_etag"]) for entry in entries if entry["outcome"] == "finished"}


def begun_in(ledger: Ledger) -> dict[str, list[Begun]]:
    """Attempts that earlier starts of a run made at documents which they have not finished, by the documents' keys."""
    columns = ("source_etag", "batch", "claim", "attempt", "actor_id", "outcome", "tokens_resumed")
    entries = ledger.entries(columns)
    ended = Counter((entry["batch"], entry["claim"]) for entry in entries)
    places = {place_of(entry) for entry in entries}
    finished = {place_of(entry)[0] for entry in entries if entry["outcome"] == "finished"}
    begun: dict[str, list[Begun]] = defaultdict(list)
    for entry in entries:
        ended_well = Begun(entry["attempt"], entry["actor_id"], "", entry["tokens_resumed"], True)
        begun[place_of(entry)[0]].append(ended_well)
    for claim in ledger.claims_without_an_end(ended):
        if claim.place not in places:
            lost = Begun(claim.attempt, claim.actor_id, claim.node_id, claim.tokens_before, False)
            begun[claim.key].append(lost)
    return {key: sorted(each, key=lambda one: one.attempt) for key, each in begun.items() if key not in finished}
