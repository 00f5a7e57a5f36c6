"""A report's costs by day, model, source or section. Each sums to the whole bill: costs of no group have a row."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import takewhile
from typing import Any

from pipeline.billing.money import MILLION, part, per
from pipeline.reports.warehouse import Warehouse

ROOT = re.compile(r"^(?:[a-z][a-z0-9+.-]*://[^/]*/|/)?", re.IGNORECASE)
REST = "(start-up, idle time, waste, failures)"
NOWHERE = "(no source known)"


class Breakdown(StrEnum):
    """What costs can be grouped by."""

    DAY = "day"
    MODEL = "model"
    SOURCE = "source"
    SECTION = "section"


@dataclass(frozen=True)
class Group:
    """The costs that share a day, a model, a folder of sources or a section's heading."""

    name: str
    documents: int
    """Summarized."""
    tokens_read: int
    cost: Decimal
    share: float | None
    """Of the whole bill."""
    cost_per_million_tokens: Decimal | None
    cost_per_document: Decimal | None
    is_rest: bool
    """Whether this is the row for costs that belong to no group."""


# The day on which a run was started or resumed.
DAY = """
    SELECT day::VARCHAR AS name,
           count(*) FILTER (is_finished) AS documents,
           sum(tokens_read)::BIGINT AS tokens_read, coalesce(sum(cost), 0) AS cost
    FROM chosen_costs WHERE currency = $currency GROUP BY ALL
"""
MODEL = """
    SELECT coalesce(model_id, '(unknown)') AS name, sum(documents_succeeded)::BIGINT AS documents,
           sum(tokens_read)::BIGINT AS tokens_read, coalesce(sum(cost), 0) AS cost
    FROM chosen_jobs WHERE currency = $currency GROUP BY ALL
"""
# A document that no run has summarized yet may have a source from an earlier one.
SOURCE = """
    WITH located AS (
        SELECT document_id, any_value(regexp_replace(source_uri, '[^/]*$', '')) AS folder FROM (
            SELECT document_id, source_uri FROM summaries UNION ALL SELECT document_id, source_uri FROM failures
        ) SEMI JOIN chosen_costs USING (document_id) GROUP BY document_id
    )
    SELECT folder AS name,
           count(DISTINCT (run_id, document_id)) FILTER (is_finished) AS documents,
           sum(tokens_read)::BIGINT AS tokens_read, coalesce(sum(cost), 0) AS cost
    FROM chosen_costs LEFT JOIN located USING (document_id)
    WHERE currency = $currency AND kind = 'document' AND outcome IS DISTINCT FROM 'failed' GROUP BY ALL
"""
# Several prompts about one section are paid for together, and its tokens were read once.
SECTION = """
    WITH answered AS (
        SELECT run_id, document_id, section_index,
               CASE WHEN section_index IS NULL THEN '(whole documents)'
                    ELSE coalesce(any_value(section_title), 'section ' || (section_index + 1)) END AS name,
               max(coalesce(section_end - section_start,
                            summaries.tokens_read - coalesce(tokens_resumed, 0))) AS tokens_read,
               sum(summaries.cost) AS cost
        FROM summaries JOIN chosen_jobs USING (run_id)
        WHERE chosen_jobs.currency = $currency GROUP BY run_id, document_id, section_index
    )
    SELECT name, count(DISTINCT (run_id, document_id)) AS documents,
           sum(tokens_read)::BIGINT AS tokens_read, coalesce(sum(cost), 0) AS cost
    FROM answered GROUP BY name
"""
WHOLE = "SELECT coalesce(sum(cost), 0) AS cost FROM chosen_costs WHERE currency = $currency"


def groups(warehouse: Warehouse, by: Breakdown, currency: str) -> list[Group]:
    """The groups of the runs that a report covers: days with the newest first, others by cost."""
    queries = {
        Breakdown.DAY: DAY,
        Breakdown.MODEL: MODEL,
        Breakdown.SOURCE: SOURCE,
        Breakdown.SECTION: SECTION,
    }
    rows = warehouse.rows(queries[by], currency=currency)
    if by is Breakdown.SOURCE:
        rows = _by_folder(rows)
    if by in (Breakdown.DAY, Breakdown.MODEL):
        whole = sum((row["cost"] for row in rows), Decimal(0))
    else:
        whole = warehouse.rows(WHOLE, currency=currency)[0]["cost"]
    ordered = sorted(rows, key=lambda row: row["name" if by is Breakdown.DAY else "cost"], reverse=True)
    return [_group(row, whole) for row in [*ordered, *_rest(rows, whole)]]


def _group(row: Mapping[str, Any], whole: Decimal) -> Group:
    cost, tokens, documents = row["cost"], row["tokens_read"] or 0, row["documents"] or 0
    per_million, per_document = per(cost, tokens, MILLION), per(cost, documents)
    return Group(
        row["name"], documents, tokens, cost, part(cost, whole), per_million, per_document, row["name"] == REST
    )


def _rest(rows: Sequence[Mapping[str, Any]], whole: Decimal) -> list[dict[str, Any]]:
    rest = whole - sum((row["cost"] for row in rows), Decimal(0))
    return [{"name": REST, "documents": 0, "tokens_read": 0, "cost": rest}] if rest else []


def _by_folder(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Merge folders into those directly below the common prefix of their bucket's sources, or of the disk's."""
    by_root: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_root[_root(row["name"])].append(row)
    summed: dict[str, dict[str, Any]] = {}
    for root, found in by_root.items():
        shared = _shared([_folders(row["name"], root) for row in found])
        for row in found:
            name = NOWHERE if row["name"] is None else root + "/".join(_folders(row["name"], root)[: shared + 1])
            known = summed.setdefault(name, {"name": name, "documents": 0, "tokens_read": 0, "cost": Decimal(0)})
            for field in ("documents", "tokens_read", "cost"):
                known[field] += row[field] or 0
    return list(summed.values())


def _root(folder: str | None) -> str:
    matched = ROOT.match(folder or "")
    return matched[0] if matched else ""


def _folders(folder: str | None, root: str) -> list[str]:
    return [name for name in (folder or "").removeprefix(root).split("/") if name]


def _shared(folders: Sequence[list[str]]) -> int:
    """Number of leading folders that all paths share."""
    return sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False)))
