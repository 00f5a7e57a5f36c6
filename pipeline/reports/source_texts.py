"""What stands around sentences in their documents, read again from where the runs read them, as the runs did."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from configs.errors import StorageError
from configs.settings import InputSettings
from pipeline.documents import containers
from pipeline.documents.passages import PassageSettings
from pipeline.documents.reader_process import ReaderProcess
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import MANIFEST
from pipeline.schemas.tables import Row
from pipeline.storage import objects

MOST_SECONDS = 30.0
"""Of a CPU, for a document."""
MOST_SECONDS_IN_ALL = 600.0
CHANGED = "the document has changed since it was read"
NOT_FOUND = "the document is in a file of several, and the run's list of them is gone"
NO_TIME = f"reading documents again took more than {MOST_SECONDS_IN_ALL / 60:.0f} minutes"

Span = tuple[int, int]
"""A first byte of the extracted text, and the one behind the last."""
Key = tuple[str, str]
"""A run, and a document that it read."""


@dataclass(frozen=True)
class Passage:
    """The paragraph of a sentence."""

    before: str
    sentence: str
    """As the document has it, line ends included."""
    after: str


@dataclass(frozen=True)
class SourceText:
    """What could be read of a document again."""

    num_bytes: int | None = None
    """Of its text as UTF-8."""
    passages: Mapping[Span, Passage] = field(default_factory=dict)
    problem: str | None = None
    """Why nothing could."""


def read(warehouse: Warehouse, rows: Iterable[Row], spans: Mapping[Key, set[Span]]) -> dict[Key, SourceText]:
    """The passages of documents: `rows` of summaries say where these are. Within limits of time and memory, in a
    process that a document may kill."""
    row_of = {(row["run_id"], row["document_id"]): row for row in rows}
    places = _places(warehouse, [row_of[key] for key in spans])
    limits = _settings(warehouse, {run_id for run_id, _ in spans})
    found = {key: SourceText(problem=NOT_FOUND) for key in spans if places[key] is None}
    asked = [(key, {**place, "spans": sorted(spans[key])}) for key in spans if (place := places[key]) is not None]
    # In the order of the files, of which those that hold several documents then take a single pass.
    asked.sort(key=lambda each: (each[0][0], each[1]["source_uri"], _offset(each[1])))
    with closing(ReaderProcess()) as process:
        for key, read_again in _each(process, asked, limits):
            found[key] = read_again
    return found


def _each(
    process: ReaderProcess, asked: Sequence[tuple[Key, Row]], limits: Mapping[str, InputSettings]
) -> Iterator[tuple[Key, SourceText]]:
    """One after another, until there is no more time; a store that cannot be asked is not asked again."""
    end, failing = monotonic() + MOST_SECONDS_IN_ALL, dict[str, SourceText]()
    for key, place in asked:
        store = "/".join(place["source_uri"].split("/")[:3])
        if store in failing:
            yield key, failing[store]
        elif monotonic() > end:
            yield key, SourceText(problem=NO_TIME)
        else:
            (row,) = process.read([place], PassageSettings(limits[key[0]]))
            text = _source_text(row)
            if row["error_class"] == StorageError.__name__:
                failing[store] = text
            yield key, text


def _source_text(row: Row) -> SourceText:
    if row["error_class"] == "ChangedError":
        return SourceText(problem=CHANGED)
    if row["error_class"] is not None:
        return SourceText(problem=_within_a_sentence(row["error_message"]))
    passages = zip(row["spans"], row["passages"], strict=True)
    return SourceText(row["text_bytes"], {span: Passage(*found) for span, found in passages if found})


def _within_a_sentence(message: str) -> str:
    return re.sub("^The ", "the ", message).removesuffix(".")


def _offset(place: Row) -> int:
    return place["within"][0]["offset"] or 0 if place["within"] else 0


def _places(warehouse: Warehouse, rows: Iterable[Row]) -> dict[Key, Row | None]:
    """Rows of `MANIFEST`; None for what is in a file of several, if no manifest of its run has it."""
    by_run: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_run[row["run_id"]].append(row)
    places: dict[Key, Row | None] = {}
    for run_id, read_by_it in by_run.items():
        inside = {row["document_id"] for row in read_by_it if _may_be_inside(row)}
        listed = _listed(warehouse, run_id, inside)
        for row in read_by_it:
            name = row["document_id"]
            whole = dict.fromkeys(MANIFEST.names) | {each: row[each] for each in MANIFEST.names if each in row}
            places[run_id, name] = listed.get((name, row["source_etag"])) if name in inside else whole
    return places


def _may_be_inside(row: Row) -> bool:
    return row["document_id"] != row["source_uri"] and containers.may_be(row["source_uri"])


def _listed(warehouse: Warehouse, run_id: str, document_ids: Collection[str]) -> dict[tuple[str, str], Row]:
    """Where documents are, by id and etag, as the run listed them."""
    if not document_ids:
        return {}
    found: dict[tuple[str, str], Row] = {}
    wanted = pa.array(sorted(document_ids), pa.string())
    manifests = objects.list_files(objects.join(warehouse.uri, "_runs", run_id, "manifests"), ".parquet")
    for table in objects.read_tables(manifests):
        # Those of older versions say it in another way.
        if set(MANIFEST.names) <= set(table.column_names):
            rows = table.select(MANIFEST.names).filter(pc.is_in(table["document_id"], wanted)).to_pylist()
            found |= {(row["document_id"], row["source_etag"]): row for row in rows}
    return found


def _settings(warehouse: Warehouse, run_ids: Iterable[str]) -> dict[str, InputSettings]:
    """Of each run's input, within the limits of a review."""
    rows = warehouse.rows("SELECT run_id, config FROM jobs WHERE list_contains($runs, run_id)", runs=sorted(run_ids))
    configs = {row["run_id"]: row["config"] for row in rows}
    return {run_id: _limited(_input(configs.get(run_id))) for run_id in run_ids}


def _input(config: str | None) -> InputSettings:
    """Defaults where a run's settings are not known, or are of another version: text at another place is found out."""
    default = InputSettings(sources=("unknown",))
    try:
        values: dict[str, Any] = json.loads(config)["input"] if config else {}
        return InputSettings.model_validate(default.model_dump() | values | {"sources": default.sources})
    except (ValidationError, ValueError, KeyError, TypeError):
        return default


def _limited(settings: InputSettings) -> InputSettings:
    return settings.model_copy(update={"max_document_seconds": min(settings.max_document_seconds, MOST_SECONDS)})
