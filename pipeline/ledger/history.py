"""What an output already holds: which documents are done."""

from pipeline.ledger import commits
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import objects

Key = tuple[str, str]
"""Document id and etag: a document at one content."""


def done_in_other_runs(output_uri: str, settings_sha256: str, run_id: str) -> set[Key]:
    """Documents that committed runs have summarized with the same model, prompts and settings."""
    columns = ["run_id", "document_id", "source_etag", "settings_sha256", "truncated"]
    done: set[Key] = set()
    files = commits.files(output_uri, ["summaries"])["summaries"]
    for table in objects.read_tables(files, columns):
        for row in table.to_pylist():
            is_whole = row["settings_sha256"] == settings_sha256 and not row["truncated"]
            if is_whole and row["run_id"] != run_id:
                done.add((row["document_id"], row["source_etag"]))
    return done


def done_in(ledger: Ledger) -> set[Key]:
    """What one run has summarized."""
    entries = (entry for entry in ledger.entries() if entry["outcome"] == "finished")
    return {(entry["document_id"], entry["source_etag"]) for entry in entries}
