"""The table `listing`: which documents the sources of an output held, at which content, when they were last listed.

OUTPUT/listing/part-SOURCES.parquet    what a listing of these sources found, overwritten by the next that differs

Summaries stay; by this table the view `latest` leaves out those of documents that were corrected or deleted since.
Each document is in one file: a listing takes from the files of other sources what it has seen itself, and what it would
have seen if that were still there.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256

import pyarrow as pa

from pipeline.documents import sources as listed_sources
from pipeline.schemas.document import Document
from pipeline.schemas.tables import LISTING, LISTING_FOLDER
from pipeline.storage import objects

AT = "listed_at"
FOUND = [name for name in LISTING.names if name != AT]
SOURCES = b"longhaul.sources"
"""Key of a file's metadata."""

IsOutdated = Callable[[str, str], bool]
"""Of a document id and a URI."""


def keep(output_uri: str, sources: Sequence[str], documents: Sequence[Document]) -> None:
    """Write that a listing of `sources` found these documents, failed ones too, unless the last one did.

    Raises StorageError.
    """
    named = sorted({objects.resolve(source) for source in sources})
    digest = sha256("\n".join(named).encode()).hexdigest()[:16]
    folder = objects.join(output_uri, LISTING_FOLDER)
    own = objects.join(folder, f"part-{digest}.parquet")
    if others := [file for file in objects.list_files(folder, ".parquet") if file != own]:
        is_outdated = _outdated_by(sources, documents)
        for other in others:
            _take_out(other, named, is_outdated)
    rows = [{name: getattr(each, name) for name in FOUND} for each in documents]
    found = pa.Table.from_pylist(rows, LISTING)
    if not _is_kept(own, found):
        at = pa.array([datetime.now(UTC)] * len(rows), LISTING.field(AT).type)
        found = found.set_column(LISTING.get_field_index(AT), AT, at)
        objects.publish_table(own, found.replace_schema_metadata({SOURCES: json.dumps(named)}))


def _is_kept(file: str, found: pa.Table) -> bool:
    try:
        return bool(objects.read_table(file, FOUND).equals(found.select(FOUND)))
    except FileNotFoundError:
        return False


def _outdated_by(sources: Sequence[str], documents: Sequence[Document]) -> IsOutdated:
    ids, uris = {each.document_id for each in documents}, {each.source_uri for each in documents}
    is_below = listed_sources.matcher(sources)

    def is_outdated(document_id: str, uri: str) -> bool:
        # One that a manifest named is there as long as its object is; a line of an object has a name made of the URI.
        is_there = uri in uris and not document_id.startswith(uri)
        return document_id in ids or (is_below(uri) and not is_there)

    return is_outdated


def _take_out(file: str, named: Sequence[str], is_outdated: IsOutdated) -> None:
    try:
        table = objects.read_table(file)
    except FileNotFoundError:  # another run's listing has taken all of it
        return
    rows = zip(table["document_id"].to_pylist(), table["source_uri"].to_pylist(), strict=True)
    kept = [not is_outdated(*row) for row in rows]
    if not any(kept) or set(json.loads((table.schema.metadata or {}).get(SOURCES, b'[""]'))) <= set(named):
        objects.delete(file)
    elif not all(kept):
        objects.publish_table(file, table.filter(pa.array(kept)))
