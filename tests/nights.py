"""A week of nightly runs on spot GPUs that never ran: rows that add up as a commit's do, the same each time."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from pipeline.billing.money import MICROSECOND, PRICE_STEP
from pipeline.schemas.tables import Row
from tests.outputs import write_part

SPOT = (Decimal("2.25") / 3600).quantize(PRICE_STEP)
ON_DEMAND = (Decimal("5.40") / 3600).quantize(PRICE_STEP)
TOKENS_PER_SECOND = 4_000
ACTORS = 4
DOCUMENTS = 150
COMPANIES = ("Alder Steel", "Brightwater", "Cobalt Freight", "Dunmore Foods", "Eastgate Power", "Fenwick Rail")
FORMS = (("10-K", "annual report"), ("10-Q", "quarterly report"), ("calls", "earnings call"))
MODEL = "state-spaces/mamba3-mimo-1.5b"
SECTIONS = ("Prepared remarks", "Questions and answers")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'name'.pdf"


@dataclass
class Night:
    """One run, as it is put together."""

    run_id: str
    began: datetime
    random: Random
    costs: list[Row] = field(default_factory=list)
    summaries: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)

    def cost(self, kind: str, actor: str, span: tuple[float, float], seconds: float, **others: Any) -> Row:
        """Seconds after the run began, and what the device spent of them on this."""
        exact = round(seconds * 1_000_000) * MICROSECOND
        row = {
            "kind": kind,
            "actor_id": actor,
            "node": f"node-{actor}",
            "device_type": "NVIDIA H200",
            "device_seconds": exact,
            "price_per_second": SPOT,
            "cost": exact * SPOT,
            "market": "spot",
            "region": "us-east-2",
            "provider": "aws",
            "instance_type": "p5e.48xlarge",
            "on_demand_price_per_second": ON_DEMAND,
            "started_at": self.began + timedelta(seconds=span[0]),
            "finished_at": self.began + timedelta(seconds=span[1]),
            **others,
        }
        self.costs.append(row)
        return row


def write_nights(root: Path, last: date, nights: int = 7) -> list[Night]:
    """One run a night up to `last`, at 01:00 UTC, the oldest first."""
    return [_write(root, last - timedelta(days=nights - 1 - number), number) for number in range(nights)]


def _write(root: Path, day: date, number: int) -> Night:
    night = Night(f"nightly-{day}", datetime(day.year, day.month, day.day, 1, tzinfo=UTC), Random(number))
    for actor in range(ACTORS):
        # One machine is taken away in every third night.
        _live(night, f"{actor}", range(actor, DOCUMENTS + 4 * number, ACTORS), is_lost=actor == 0 and number % 3 == 1)
    for table in ("costs", "summaries", "failures"):
        write_part(root, table, night.run_id, getattr(night, table), day=str(day))
    write_part(root, "jobs", night.run_id, [_job(night)], day=str(day))
    return night


def _live(night: Night, actor: str, documents: range, is_lost: bool) -> None:
    """An actor's life: start, load, its documents, and at last nothing to do."""
    startup, load = 20 + 15 * night.random.random(), 40 + 20 * night.random.random()
    clock = startup + load
    for place in documents:
        clock += _read(night, actor, place, clock)
    if is_lost:
        clock += _lose(night, actor, clock)
    idle = night.random.uniform(60, 300)
    overheads = {"startup": startup, "load": load, "snapshot": clock * 0.004, "idle": idle}
    end = clock + overheads["snapshot"] + idle
    for kind, seconds in overheads.items():
        night.cost(kind, actor, (0, end), seconds)


def _read(night: Night, actor: str, place: int, clock: float) -> float:
    company, (folder, form) = COMPANIES[place % len(COMPANIES)], FORMS[place // 7 % len(FORMS)]
    tokens = round(60_000 * night.random.paretovariate(1.6))
    seconds = tokens / TOKENS_PER_SECOND * night.random.uniform(0.95, 1.1)
    name, title = f"{folder}/{night.began:%Y-%m-%d}/{place:03d}.pdf", f"{company} {form} {place:03d}"
    if place == 5:
        name, title, seconds, tokens = f"{folder}/{HOSTILE}", HOSTILE, 40 + seconds, tokens + 900_000
    is_broken = place == 17
    about = {
        "document_id": name,
        "source_uri": f"s3://filings/us/{name}",
        "source_etag": "v1",
        "size_bytes": tokens * 5,
    }
    attempt = {"document_id": name, "source_etag": "v1", "attempt": 1, "outcome": "failed" if is_broken else "finished"}
    spent = night.cost("document", actor, (clock, clock + seconds), seconds, tokens_read=tokens, **attempt)
    shared = about | {key: spent[key] for key in ("device_type", "device_seconds", "cost", "started_at", "finished_at")}
    if is_broken:
        reason = {"error_class": "CorruptError", "error_message": "the PDF breaks off"}
        night.failures.append(shared | reason | {"tokens_read": tokens, "status": "failed", "attempts": 1})
        return seconds
    answer = {
        "title": title,
        "tokens_total": tokens,
        "tokens_read": tokens,
        "model_id": MODEL,
    }
    summary = shared | answer | {"prompt_id": "summary", "status": "ok", "attempts": 1}
    night.summaries.extend(_by_section(summary) if folder == "calls" else [summary])
    return seconds


def _by_section(summary: Row) -> list[Row]:
    """An answer for each of two sections, with half of the cost."""
    half, tokens = (summary["device_seconds"] / 2).quantize(MICROSECOND), summary["tokens_read"]
    rows = []
    for index, (title, seconds) in enumerate(((SECTIONS[0], half), (SECTIONS[1], summary["device_seconds"] - half))):
        place = {"section_index": index, "section_title": title}
        span = {"section_start": index * tokens // 2, "section_end": (index + 1) * tokens // 2}
        rows.append(summary | place | span | {"device_seconds": seconds, "cost": seconds * SPOT})
    return rows


def _lose(night: Night, actor: str, clock: float) -> float:
    """A machine goes away in the middle of a document: part of its time had been saved."""
    attempt = {"document_id": "10-K/lost.pdf", "source_etag": "v1", "attempt": 1, "outcome": "lost"}
    span = (clock, clock + 200)
    night.cost("document", actor, span, 120, tokens_read=2_500_000, **attempt)
    night.cost("wasted", actor, span, 80, **attempt)
    return 200


def _job(night: Night) -> Row:
    ended = max(row["finished_at"] for row in night.costs)
    cost = sum((row["cost"] for row in night.costs), Decimal(0))
    summarized = {row["document_id"] for row in night.summaries}
    return {
        "status": "partial",
        "started_at": night.began,
        "finished_at": ended + timedelta(seconds=9),
        "documents_total": len(summarized) + len(night.failures),
        "documents_succeeded": len(summarized),
        "documents_failed": len(night.failures),
        "documents_left": 0,
        "tokens_read": sum(row.get("tokens_read") or 0 for row in night.costs),
        "actors": ACTORS,
        "device_type": "NVIDIA H200",
        "device_seconds": sum((row["device_seconds"] for row in night.costs), Decimal(0)),
        "cost": cost,
        "model_id": MODEL,
        "quote": f'{{"cost": "{cost * Decimal("0.93"):.6f}", "currency": "USD", "tokens": 9000000}}',
    }
