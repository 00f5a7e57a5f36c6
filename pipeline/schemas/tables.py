"""The five tables that a run leaves, and the exact types of time and money in them.

Money adds up exactly: seconds have 6 decimals, prices per second 12, so that every product has at most 18
and no cost is ever rounded.
"""

from typing import Any

import pyarrow as pa

from pipeline.billing.money import MONEY, PRICE_PER_SECOND, SECONDS, TIME

Row = dict[str, Any]
"""Of a table, by its columns."""

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
    ("device_type", pa.string()),
    ("device_seconds", SECONDS),
    ("cost", MONEY),
    ("full_cost", MONEY),
    ("currency", pa.string()),
]

SUMMARIES = pa.schema(
    [
        *_DOCUMENT,
        ("title", pa.string()),
        ("tokens_total", pa.int64()),
        ("tokens_read", pa.int64()),
        ("tokens_resumed", pa.int64()),
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
"""One row per document and prompt, and per section and its prompt. `device_seconds` and `cost` are the row's equal
share of its document's, whose attempts that were stopped or lost count with what snapshots saved of them: the rows sum
to the `document` rows of `costs`. `full_cost` is the row's part of all that the run cost, overheads, waste and the
cluster's other nodes included, in proportion to `cost`: those of summaries and failures sum to the `cost` of the run in
`jobs`.

`tokens_read` are those that the answer is drawn from; `tokens_resumed` of them had been read before, by an attempt
whose state was gone on from. `truncated` is false, and `status` `ok`; a summary so far, from a run that had to stop, is
`truncated` and `partial`, until a later run replaces it.

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
        ("source_etag", pa.string()),
        ("attempt", pa.int32()),
        ("outcome", pa.string()),
        ("actor_id", pa.string()),
        ("node", pa.string()),
        ("tokens_read", pa.int64()),
        ("tokens_resumed", pa.int64()),
        ("tokens_wasted", pa.int64()),
        ("tokens_decoded", pa.int64()),
        ("device_type", pa.string()),
        ("device_seconds", SECONDS),
        ("decode_seconds", SECONDS),
        ("price_per_second", PRICE_PER_SECOND),
        ("cost", MONEY),
        ("currency", pa.string()),
        ("started_at", TIME),
        ("finished_at", TIME),
        ("market", pa.string()),
        ("instance_type", pa.string()),
        ("region", pa.string()),
        ("provider", pa.string()),
        ("on_demand_price_per_second", PRICE_PER_SECOND),
        ("run_started_at", TIME),
        ("instance_id", pa.string()),
    ]
)
"""One row per attempt at a document (kind `document`), one more for what is lost of it (`wasted`, as is what was lost
without being any one document's), one per overhead of an actor: `startup`, `load`, `idle`, `snapshot`, `drain`, and one
per node that holds no actor (`node`), where `price.node_hour` says what that costs.

`outcome` says how an attempt ended: `finished`; `failed`; `stopped`, to go on elsewhere or another day; `lost` with its
actor; `fenced`, because another actor had published the document. `tokens_read` are those that this attempt read, so
that they sum to the work done; `tokens_resumed` are those that it did not need to read, as earlier ones had saved them.
`tokens_wasted` are those of `tokens_read` that were lost and read again, or read of a document that another attempt
finished; null as long as the document has no result. Over the attempts at a finished document `tokens_read` less
`tokens_wasted` sum to its `tokens_total`, but for those that another run had kept.

`device_seconds` times `price_per_second` is `cost`, and the rows of an actor sum to all its seconds. On a machine
without a GPU the device is a CPU: `device_type` is `cpu` and `device_seconds` are CPU-seconds reserved; of a `node` it
is `node`, and they are its seconds, which count in no sum of devices' time. Of an attempt's, `decode_seconds` went to
writing answers, and the rest to reading: the document, and the questions about it.

`market` (`spot` or `on_demand`), `instance_type`, `region` and `provider` say which price was in force; null where that
is not known. `on_demand_price_per_second` is what the device would have cost on demand: `price_per_second` where it was
bought so, or no other price is known. `instance_id` is the machine as its cloud's bill names it; null where the cloud
does not tell it.

`run_started_at` is the start of the run that the row's actor belongs to: of a run that was stopped and gone on with the
next night there are two."""

STATES = pa.schema(
    [
        ("run_id", pa.string()),
        ("document_id", pa.string()),
        ("source_uri", pa.string()),
        ("source_etag", pa.string()),
        ("title", pa.string()),
        ("state_uri", pa.string()),
        ("state_key", pa.string()),
        ("made_by", pa.string()),
        ("model_id", pa.string()),
        ("model_revision", pa.string()),
        ("settings_sha256", pa.string()),
        ("tokens_total", pa.int64()),
        ("tokens", pa.int64()),
        ("size_bytes", pa.int64()),
        ("parent_uri", pa.string()),
        ("created_at", TIME),
        ("expires_at", TIME),
    ]
)
"""One row per state that is kept: which document was read, by which model, up to which of its tokens.

`tokens` is the last place at which text that is added changes nothing before it; the state's object holds the tokens
from there to the end as well. `made_by` is what made the text: a parser and its version, or the field of JSON.
`parent_uri` is the state that the reading went on from."""

JOBS = pa.schema(
    [
        ("run_id", pa.string()),
        ("status", pa.string()),
        ("started_at", TIME),
        ("finished_at", TIME),
        ("documents_total", pa.int64()),
        ("documents_succeeded", pa.int64()),
        ("documents_failed", pa.int64()),
        ("documents_left", pa.int64()),
        ("tokens_read", pa.int64()),
        ("tokens_decoded", pa.int64()),
        ("actors", pa.int32()),
        ("device_type", pa.string()),
        ("device_seconds", SECONDS),
        ("cost", MONEY),
        ("currency", pa.string()),
        ("peak_rss_bytes", pa.int64()),
        ("model_id", pa.string()),
        ("model_revision", pa.string()),
        ("settings_sha256", pa.string()),
        ("config", pa.string()),
        ("code_version", pa.string()),
        ("quote", pa.string()),
    ]
)
"""One row per run. Documents are counted as its last start found them: `documents_total` is the sum of the three other
counts. `status` is `succeeded`, `partial` where documents failed, or `stopped` where `documents_left` are still to be
done; `cost` is the sum over `costs`, in one currency. `config`, of the last start, and `quote` are JSON; there is a
quote where an earlier run had measured the device, or the device is a GPU that is known (`pipeline.planning.quote`)."""

TABLES = {"summaries": SUMMARIES, "failures": FAILURES, "costs": COSTS, "states": STATES, "jobs": JOBS}
