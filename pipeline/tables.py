"""The four tables that a run leaves, and the exact types of time and money in them.

Money adds up exactly: seconds have 6 decimals, prices per second 12, so that every product has at most 18
and no cost is ever rounded.
"""

from decimal import Decimal

import pyarrow as pa

SECONDS = pa.decimal128(18, 6)
PRICE_PER_SECOND = pa.decimal128(18, 12)
MONEY = pa.decimal128(38, 18)
TIME = pa.timestamp("us", tz="UTC")

MICROSECOND = Decimal("0.000001")
PRICE_STEP = Decimal("0.000000000001")

_DOCUMENT = [
    ("run_id", pa.string()),
    ("document_id", pa.string()),
    ("source_uri", pa.string()),
    ("source_etag", pa.string()),
    ("size_bytes", pa.int64()),
]
_ATTEMPT = [
    ("status", pa.string()),
    ("attempts", pa.int32()),
    ("started_at", TIME),
    ("finished_at", TIME),
    ("gpu_type", pa.string()),
    ("gpu_seconds", SECONDS),
    ("cost", MONEY),
    ("currency", pa.string()),
]

SUMMARIES = pa.schema(
    [
        *_DOCUMENT,
        ("title", pa.string()),
        ("tokens_total", pa.int64()),
        ("tokens_read", pa.int64()),
        ("truncated", pa.bool_()),
        ("prompt_id", pa.string()),
        ("prompt_sha256", pa.string()),
        ("model_id", pa.string()),
        ("model_revision", pa.string()),
        ("settings_sha256", pa.string()),
        ("summary", pa.string()),
        ("summary_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("retries", pa.int32()),
        ("answer_error", pa.string()),
        ("section_index", pa.int32()),
        ("section_title", pa.string()),
        ("section_start", pa.int64()),
        ("section_end", pa.int64()),
        *_ATTEMPT,
    ]
)
"""One row per document and prompt, and per section and its prompt. `gpu_seconds` and `cost` are the row's equal share
of its document's.

A section's rows carry its place in the order, its heading and the tokens of the document before its start and its end;
rows about the whole document carry null. A section's answer is drawn from all that was read up to its end.

`finish_reason` is `stop` or `length`, or why the answer will not do, even after a second try: `loop`, `empty`, `copied`
or `schema`. `answer_error` says what is wrong with an answer that is empty, copies the prompt or does not fit its JSON
schema; `summary` is then the text as it came. Where a prompt has a schema and the answer fits, `summary` is JSON."""

FAILURES = pa.schema(
    [
        *_DOCUMENT,
        ("settings_sha256", pa.string()),
        ("tokens_read", pa.int64()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        *_ATTEMPT,
    ]
)
"""One row per document that has no summary."""

COSTS = pa.schema(
    [
        ("run_id", pa.string()),
        ("kind", pa.string()),
        ("document_id", pa.string()),
        ("attempt", pa.int32()),
        ("actor_id", pa.string()),
        ("node", pa.string()),
        ("tokens_read", pa.int64()),
        ("tokens_decoded", pa.int64()),
        ("gpu_type", pa.string()),
        ("gpu_seconds", SECONDS),
        ("price_per_second", PRICE_PER_SECOND),
        ("cost", MONEY),
        ("currency", pa.string()),
        ("started_at", TIME),
        ("finished_at", TIME),
    ]
)
"""One row per attempt at a document (kind `document`) and per overhead of an actor (`startup`, `idle`, `wasted`).

`gpu_seconds` times `price_per_second` is `cost`, and the rows of an actor sum to all its seconds. On a machine without
a GPU the device is a CPU: `gpu_type` is `cpu` and `gpu_seconds` are CPU-seconds reserved."""

JOBS = pa.schema(
    [
        ("run_id", pa.string()),
        ("status", pa.string()),
        ("started_at", TIME),
        ("finished_at", TIME),
        ("documents_total", pa.int64()),
        ("documents_succeeded", pa.int64()),
        ("documents_failed", pa.int64()),
        ("tokens_read", pa.int64()),
        ("tokens_decoded", pa.int64()),
        ("actors", pa.int32()),
        ("gpu_type", pa.string()),
        ("gpu_seconds", SECONDS),
        ("cost", MONEY),
        ("currency", pa.string()),
        ("peak_rss_bytes", pa.int64()),
        ("model_id", pa.string()),
        ("model_revision", pa.string()),
        ("settings_sha256", pa.string()),
        ("config", pa.string()),
        ("code_version", pa.string()),
    ]
)
"""One row per run. `status` is `succeeded`, or `partial` where documents failed; `cost` is the sum over `costs`."""

TABLES = {"summaries": SUMMARIES, "failures": FAILURES, "costs": COSTS, "jobs": JOBS}
