"""How busy a run's devices were over time: the share of each interval that went to documents."""

from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor

from pipeline.reports.warehouse import Warehouse

MAX_SLICES = 48
SLICE_SECONDS = (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
"""Lengths of slices in seconds; a run gets the shortest that gives at most MAX_SLICES."""

# An actor's rows cover its whole life. The time of an attempt is assumed to be spread evenly.
SPANS = """
    WITH lives AS (
        SELECT actor_id, min(started_at) AS began, max(finished_at) AS ended, sum(device_seconds) AS alive, 0 AS reading
        FROM chosen_costs WHERE run_id = $run AND actor_id IS NOT NULL AND kind <> 'node' GROUP BY actor_id
    ), attempts AS (
        SELECT actor_id, started_at AS began, finished_at AS ended, 0 AS alive, device_seconds AS reading
        FROM chosen_costs WHERE run_id = $run AND kind = 'document'
    )
    SELECT epoch(began) AS began, greatest(epoch(ended), epoch(began) + 1e-3) AS ended, alive::DOUBLE AS alive,
           reading::DOUBLE AS reading
    FROM (SELECT * FROM lives UNION ALL SELECT * FROM attempts) WHERE began IS NOT NULL AND ended IS NOT NULL
"""
RANGE = f"SELECT min(began) AS began, max(ended) AS ended FROM ({SPANS})"
SLICES = f"""
    WITH slices AS (SELECT unnest(range($number)) AS place), overlapping AS (
        SELECT place, alive, reading,
               greatest(0, least(ended, $began + (place + 1) * $length) - greatest(began, $began + place * $length))
               / (ended - began) AS share
        FROM slices CROSS JOIN ({SPANS})
    )
    SELECT place, sum(alive * share) AS alive, sum(reading * share) AS reading
    FROM overlapping GROUP BY place ORDER BY place
"""


@dataclass(frozen=True)
class Slice:
    """A stretch of a run, and how its devices were used."""

    began_at: datetime
    seconds: int
    """How long it is."""
    device_seconds: float
    """Time of all devices that actors held in it."""
    used: float | None
    """Share of it that was spent on documents; None if no device was held."""


def slices(warehouse: Warehouse, run_id: str) -> list[Slice]:
    """The slices of one of the runs that a report covers; empty if its rows have no times."""
    span = warehouse.rows(RANGE, run=run_id)[0]
    if span["began"] is None:
        return []
    length = next((each for each in SLICE_SECONDS if _number(span, each) <= MAX_SLICES), SLICE_SECONDS[-1])
    began = floor(span["began"] / length) * length
    rows = warehouse.rows(SLICES, run=run_id, began=float(began), length=length, number=_number(span, length))
    return [
        Slice(
            began_at=datetime.fromtimestamp(began + row["place"] * length, UTC),
            seconds=length,
            device_seconds=round(row["alive"], 3),
            used=min(1.0, round(row["reading"] / row["alive"], 6)) if row["alive"] > 0 else None,
        )
        for row in rows
    ]


def _number(span: dict[str, float], length: int) -> int:
    """Number of slices of that length that cover the span, if they begin at round times."""
    return max(1, ceil(span["ended"] / length) - floor(span["began"] / length))
