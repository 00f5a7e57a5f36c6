"""The tables that a run writes: their columns with types, units and meanings, and the Arrow schemas made of them.

docs/tables.md is generated from here (`make docs`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from configs.settings import EXTRACTS
from pipeline.billing.money import MONEY, PRICE_PER_HOUR, PRICE_PER_SECOND, SECONDS, TIME

Row = dict[str, Any]
"""Of a table, by its columns."""


class Column(NamedTuple):
    """One column; its meaning is a sentence or two of Markdown."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    """Empty where the value has none."""


@dataclass(frozen=True)
class Table:
    """One table. Every column may hold nulls."""

    rows: str
    """What a row stands for, in Markdown."""
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(column.name, column.type) for column in self.columns])


SENTENCE = pa.struct(
    [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("section", pa.string()),
        ("score", pa.float64()),
        ("text", pa.string()),
    ]
)
"""A sentence of a document and its place in bytes of the extracted text."""

CITATION = pa.struct([("answer_start", pa.int64()), ("answer_end", pa.int64()), *SENTENCE])
"""A sentence of an answer, in bytes of the answer, and what of the document supports it best."""

BYTES, TOKENS, UTC, CURRENCY = "bytes", "tokens", "UTC", "`currency`"

_RUN = Column("run_id", pa.string(), "The run, as in the path of the file.")
_ID = Column(
    "document_id",
    pa.string(),
    "Stable name of the document: its URI, or the id that a manifest gives; of a line or row of a table that with `#` "
    "and its id or number, of a file in an archive with `#` and its path there.",
)
_URI = Column("source_uri", pa.string(), "The object that the document was read from.")
_ETAG = Column(
    "source_etag",
    pa.string(),
    "Changes when the content changes: the store's ETag, or a hash of the content where there is none.",
)
_SIZE = Column(
    "size_bytes",
    pa.int64(),
    "Size as stored, before decompression; of one line or the text of one row for JSON lines and tables.",
    BYTES,
)
_SETTINGS = Column(
    "settings_sha256",
    pa.string(),
    "Hash of everything that an answer depends on besides the document: model, tokenizer, prompts, extraction version.",
)
_MODEL = (
    Column("model_id", pa.string(), f"`model.uri` of the run; `{EXTRACTS}` where no model was asked."),
    Column("model_revision", pa.string(), "SHA-256 over the weights and `config.json`."),
)
_CURRENCY = Column("currency", pa.string(), "ISO 4217 code of every amount in the row.")
_DOCUMENT = (
    _RUN,
    _ID,
    _URI,
    _ETAG,
    _SIZE,
)
_READING = (
    Column(
        "format",
        pa.string(),
        "What the document was read as, such as `text`, `html`, `pdf`, or for a row its table's, such as `csv`; null "
        "where a reader failed.",
    ),
    Column("encoding", pa.string(), "Of its bytes; null where all are ASCII, or the format says."),
    Column("warnings", pa.list_(pa.string()), "What may be wrong with its text, a sentence each: replaced bytes, OCR."),
)
_ACCOUNT = (
    Column("attempts", pa.int32(), "Attempts that the run has made at the document so far."),
    Column("started_at", TIME, "Start of the attempt that this row comes from.", UTC),
    Column("finished_at", TIME, "End of that attempt.", UTC),
    Column("device_type", pa.string(), "The GPU as torch names it, or `cpu`."),
    Column(
        "device_seconds",
        SECONDS,
        "The row's equal share of the device time of all attempts at its document, wasted time excluded.",
        "device-seconds",
    ),
    Column(
        "cost",
        MONEY,
        "`device_seconds` at the price of each attempt's device. Over the rows of a run, `cost` sums to the rows of "
        "kind `document` in `costs`.",
        CURRENCY,
    ),
    Column(
        "full_cost",
        MONEY,
        "The row's part of everything that the run cost (documents, overheads, waste, other nodes), in proportion to "
        "`cost`. Over the rows of `summaries` and `failures` together, it sums to the run's `cost` in `jobs`.",
        CURRENCY,
    ),
    _CURRENCY,
)

_SUMMARIES = Table(
    "One row per document and prompt, and one per section and section prompt.",
    (
        *_DOCUMENT,
        *_READING,
        Column("title", pa.string(), "The document's own title, else its short first line, else its name."),
        Column("tokens_total", pa.int64(), "Length of the document; null for a summary so far.", TOKENS),
        Column(
            "tokens_read",
            pa.int64(),
            "Tokens of the document that were read. An answer about a section draws on those up to `section_end`.",
            TOKENS,
        ),
        Column(
            "tokens_resumed",
            pa.int64(),
            "Of `tokens_read`, those that came with a saved state and were not read again by this attempt.",
            TOKENS,
        ),
        Column(
            "windows",
            pa.int32(),
            "Windows that the model read the document in, each with a memory of its own: 1 as a whole, more where it "
            "is longer than the context and `long_documents` says so. Null for an extract.",
        ),
        Column("truncated", pa.bool_(), "Whether the document was read in part only: true for summaries so far alone."),
        Column("prompt_id", pa.string(), "`name` of the prompt."),
        Column(
            "kind",
            pa.string(),
            "`answer` of a model, or `extract`: sentences of the document. Null in rows from before there were any.",
        ),
        Column("prompt_sha256", pa.string(), "Hash of the prompt as the model sees it, JSON schema included."),
        *_MODEL,
        _SETTINGS,
        Column(
            "summary",
            pa.string(),
            "The answer; JSON where the prompt has a `json_schema` that the answer fits. Of an extract, a list in "
            "Markdown of its sentences.",
        ),
        Column(
            "sentences",
            pa.list_(SENTENCE),
            "Of an extract, its sentences in the order of the document: the first byte and the one behind the last in "
            "the extracted text (UTF-8, as `jobs.extract` shows it), the heading above, how good the sentence was "
            "found to be, and its text.",
        ),
        Column(
            "citations",
            pa.list_(CITATION),
            "Of an answer, for each of its sentences what supports it best in the document: the first byte and the one "
            "behind the last of the sentence in `summary` (UTF-8) and of the passage in the extracted text, the "
            "heading above the passage, how well it supports the sentence, and its text. Null where it "
            "was not looked for.",
        ),
        Column(
            "unsupported",
            pa.list_(pa.string()),
            "Numbers and names of an answer that its document does not hold, as the answer writes them; null where "
            "they were not looked for.",
        ),
        Column("summary_tokens", pa.int32(), "Length of the answer; null for an extract.", TOKENS),
        Column(
            "finish_reason",
            pa.string(),
            "`stop` or `length`; or why the answer was rejected, also on its second try: `loop`, `thinking` (thoughts "
            "that did not end), `empty`, `copied` (it repeats the prompt), `schema`.",
        ),
        Column("retries", pa.int32(), "How often the answer was generated again."),
        Column(
            "answer_error",
            pa.string(),
            "What is wrong with an answer that is empty, repeats the prompt or does not fit its schema; `summary` then "
            "holds the text as generated.",
        ),
        Column(
            "section_index",
            pa.int32(),
            "Position of the section in the document, from 0. Null, like the next three, for the whole document.",
        ),
        Column("section_title", pa.string(), "The section's heading."),
        Column("section_start", pa.int64(), "Tokens of the document before the section.", TOKENS),
        Column(
            "section_end",
            pa.int64(),
            "Tokens of the document up to the end of the section; the answer draws on all of them.",
            TOKENS,
        ),
        Column(
            "status",
            pa.string(),
            "`ok`, or `partial` for a summary so far, which a later start of the run replaces.",
        ),
        *_ACCOUNT,
    ),
)

_FAILURES = Table(
    "One row per document without a summary.",
    (
        *_DOCUMENT,
        *_READING,
        _SETTINGS,
        Column("tokens_read", pa.int64(), "Tokens that the model had read when the document failed.", TOKENS),
        Column(
            "error_class",
            pa.string(),
            "Which error, such as `CorruptError` or `TooLargeError`: a subclass of `DocumentError` in "
            "configs/errors.py.",
        ),
        Column("error_message", pa.string(), "What happened, as a sentence."),
        Column("status", pa.string(), "`failed`."),
        *_ACCOUNT,
    ),
)

_COSTS = Table(
    "One row per attempt at a document (`document`), one more for what was lost of it (`wasted`), one per overhead of "
    "an actor, and one per node without an actor (`node`). The rows of an actor sum to its whole lifetime, those of a "
    "run to its bill.",
    (
        _RUN,
        Column(
            "kind",
            pa.string(),
            "`document`; `wasted` (lost with an actor, or done twice); the overheads `startup`, `load`, `idle`, "
            "`snapshot`, `drain`; `node`, where `price.node_hour` is set.",
        ),
        Column("document_id", pa.string(), "The document; null for overheads and for waste of no particular document."),
        _ETAG,
        Column("attempt", pa.int32(), "Number of the attempt at this document and content in this run, from 1."),
        Column(
            "outcome",
            pa.string(),
            "How the attempt ended: `finished`; `failed`; `stopped`, to be resumed; `lost` with its actor; `fenced`, "
            "when another attempt had published the document first.",
        ),
        Column("actor_id", pa.string(), "The actor, or the meter of a node."),
        Column("node", pa.string(), "Host name of the machine."),
        Column("tokens_read", pa.int64(), "Tokens that this attempt read. They sum to the work done.", TOKENS),
        Column("tokens_resumed", pa.int64(), "Tokens that it did not have to read, thanks to a saved state.", TOKENS),
        Column(
            "tokens_wasted",
            pa.int64(),
            "Of `tokens_read`, those that were lost or read twice; null while the document has no result. Over the "
            "attempts at a finished document, `tokens_read` less `tokens_wasted` is its length, less what a state of "
            "an earlier run held.",
            TOKENS,
        ),
        Column("tokens_decoded", pa.int64(), "Tokens of answers that it generated.", TOKENS),
        Column("device_type", pa.string(), "The GPU as torch names it, `cpu`, or `node`."),
        Column(
            "device_seconds",
            SECONDS,
            "Device time: GPU-seconds, on a machine without a GPU reserved CPU-seconds, for kind `node` the node's "
            "seconds (which no sum of device time includes).",
            "device-seconds",
        ),
        Column(
            "decode_seconds",
            SECONDS,
            "Of `device_seconds`, the part that went to decoding answers; the rest is prefill. Null for overheads.",
            "device-seconds",
        ),
        Column(
            "price_per_second",
            PRICE_PER_SECOND,
            "Price that applied to the device: `price_per_hour` by its seconds, rounded to 12 decimals.",
            "`currency` per second",
        ),
        Column("cost", MONEY, "`device_seconds` times `price_per_second`, never rounded.", CURRENCY),
        _CURRENCY,
        Column("started_at", TIME, "Start of the attempt; for an overhead, of the actor.", UTC),
        Column("finished_at", TIME, "End of the attempt; for an overhead, when the actor's meter was last read.", UTC),
        Column("market", pa.string(), "`spot` or `on_demand`; null where unknown, like the next three."),
        Column("instance_type", pa.string(), "Machine type that the price is for, such as `p5.48xlarge`."),
        Column("region", pa.string(), "Region that the price is for."),
        Column("provider", pa.string(), "Cloud that the price is for, such as `aws`."),
        Column(
            "on_demand_price_per_second",
            PRICE_PER_SECOND,
            "What the device would have cost on demand; equal to `price_per_second` where no other price is known.",
            "`currency` per second",
        ),
        Column(
            "run_started_at",
            TIME,
            "The start of the run that the actor belonged to: a run resumed on a second night has two.",
            UTC,
        ),
        Column(
            "instance_id", pa.string(), "The machine as the cloud's bill names it; null where the cloud does not say."
        ),
        Column("price_per_hour", PRICE_PER_HOUR, "The price as it was given, exact.", "`currency` per hour"),
        Column("on_demand_price_per_hour", PRICE_PER_HOUR, "Likewise, on demand.", "`currency` per hour"),
    ),
)

_STATES = Table(
    "One row per kept state (`incremental: true`). Rows stay when `jobs.states expire` removes the object.",
    (
        _RUN,
        _ID,
        _URI,
        _ETAG,
        Column("title", pa.string(), "Title of the document."),
        Column("state_uri", pa.string(), "The safetensors object below `_states/`."),
        Column(
            "state_key",
            pa.string(),
            "Hash of what the reader of a state must share with its writer: weights, tokenizer, dtype, extraction "
            "version, preamble.",
        ),
        Column("made_by", pa.string(), "What extracted the text: a parser and its version, or a JSON field."),
        *_MODEL,
        _SETTINGS,
        Column("tokens_total", pa.int64(), "Length of the document when the state was taken.", TOKENS),
        Column(
            "tokens",
            pa.int64(),
            "Tokens that the state covers: up to the last place that appended text cannot change. The object also "
            "holds the tokens from there to the end.",
            TOKENS,
        ),
        Column("size_bytes", pa.int64(), "Size of the object.", BYTES),
        Column("parent_uri", pa.string(), "The state that reading resumed from; null where it began at the start."),
        Column("created_at", TIME, "When the state was stored.", UTC),
        Column("expires_at", TIME, "When it may be removed; runs do not resume from it any more after that.", UTC),
    ),
)

_JOBS = Table(
    "One row per run. Documents are counted as the run's last start found them.",
    (
        _RUN,
        Column(
            "status",
            pa.string(),
            "`succeeded`; `partial` where documents failed; `stopped` where documents are left to do.",
        ),
        Column("started_at", TIME, "First start of the run.", UTC),
        Column("finished_at", TIME, "When it was last committed.", UTC),
        Column("documents_total", pa.int64(), "Documents of the run: the sum of the next three.", "documents"),
        Column("documents_succeeded", pa.int64(), "Documents with summaries.", "documents"),
        Column("documents_failed", pa.int64(), "Documents with a failure row.", "documents"),
        Column("documents_left", pa.int64(), "Documents that a resumed run will still read.", "documents"),
        Column("tokens_read", pa.int64(), "Tokens of documents that were read, those read twice included.", TOKENS),
        Column("tokens_decoded", pa.int64(), "Tokens of answers that were generated.", TOKENS),
        Column("actors", pa.int32(), "Model actors that have worked on the run."),
        Column("device_type", pa.string(), "The GPU as torch names it, or `cpu`; of one actor, where they differ."),
        Column(
            "kernels",
            pa.string(),
            "What ran the model: `triton` for our kernels, `mamba-ssm` or `torch`; names with commas between, where "
            "actors differ; null without a model.",
        ),
        Column(
            "kernels_error",
            pa.float64(),
            "How far the kernels were from plain PyTorch when they were tested on the device: the largest of all "
            "actors, as a share of the logits' norm. Null for plain PyTorch.",
        ),
        Column("device_seconds", SECONDS, "Sum over `costs`, rows of kind `node` excluded.", "device-seconds"),
        Column("cost", MONEY, "Sum over `costs`.", CURRENCY),
        _CURRENCY,
        Column("peak_rss_bytes", pa.int64(), "Largest resident memory of any of its actors.", BYTES),
        *_MODEL,
        _SETTINGS,
        Column("config", pa.string(), "Settings of the last start, as JSON."),
        Column("code_version", pa.string(), "Version of Longhaul that committed the run."),
        Column(
            "quote",
            pa.string(),
            "What the run was expected to take, as JSON (pipeline/planning/quote.py); null where neither an earlier "
            "run nor the catalog knew the device.",
        ),
    ),
)

LISTED = Table(
    "One row per document that its sources held when they were last listed, failed ones included. A run writes it at "
    "its end for its own sources, also where nothing was to do.",
    (
        _ID,
        _URI,
        _ETAG,
        _SIZE,
        Column("listed_at", TIME, "When a listing of the sources first found all their documents as they are.", UTC),
    ),
)

DEFINITIONS = {"summaries": _SUMMARIES, "failures": _FAILURES, "costs": _COSTS, "states": _STATES, "jobs": _JOBS}

TABLES: dict[str, pa.Schema] = {name: table.schema for name, table in DEFINITIONS.items()}

SUMMARIES, FAILURES, COSTS, STATES, JOBS = TABLES.values()

LISTING = LISTED.schema
LISTING_FOLDER = "listing"
"""Below an output; unlike the tables', its files lie in no partitions."""

LATEST = """
SELECT summaries.*
FROM summaries
SEMI JOIN listing USING (document_id, source_etag)
QUALIFY run_id = first_value(run_id) OVER (PARTITION BY document_id, prompt_id ORDER BY finished_at DESC)
"""
"""The newest row per document and prompt, those of its sections too, of documents that are as they were last listed."""
