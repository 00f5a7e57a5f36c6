"""How fast a device reads: measured by earlier runs, rated by its maker, or timed now."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from configs.errors import ConfigError
from configs.hardware import Gpu, same_gpu
from configs.settings import SummarizeConfig
from pipeline.planning.footprint import Footprint
from pipeline.reports.warehouse import Warehouse

SHARE_OF_PEAK = 0.3
"""Assumed share of a GPU's dense bf16 peak that reading reaches: the paper's 1.5B model on an H100 has 0.32."""
UNMEASURED_STARTUP_SECONDS = 60.0
RUNS_LOOKED_AT = 5
MEASURED = """
    with marked as (
        select *, kind = 'document' and coalesce(outcome, 'finished') = 'finished' as is_finished from costs
        where device_type = $device
    ), spent as (
        select run_id, count(distinct actor_id) as actors,
            count(*) filter (is_finished) as documents, sum(tokens_read) filter (is_finished)::bigint as tokens,
            sum(device_seconds - coalesce(decode_seconds, 0))
                filter (is_finished or kind = 'snapshot')::double as reading,
            coalesce(sum(decode_seconds) filter (is_finished), 0)::double as answering,
            sum(device_seconds) filter (kind in ('startup', 'load', 'idle'))::double as starting
        from marked group by run_id having tokens > 0 and reading > 0
    )
    select spent.*, config, quote from spent join jobs on spent.run_id = jobs.run_id
    where model_revision = $revision order by started_at desc limit $most
"""
"""The newest runs with a model on a device, by the attempts that finished: lost ones say nothing about speed."""


@dataclass(frozen=True)
class Speed:
    """The speed of one device."""

    seconds_per_token: float
    """Of reading."""
    seconds_per_answered: float
    """Seconds per document for its answers."""
    startup_seconds: float
    """Seconds until an actor begins to read."""
    source: str
    """Where the figures come from, as a clause."""


def measured_speed(output_uri: str, model_revision: str, device: str, config: SummarizeConfig) -> Speed | None:
    """The speed of the newest runs of an output that read with this model on this device, by any of its names; None if
    there are none."""
    try:
        tables = Warehouse(output_uri)
    except ConfigError:
        return None
    metered = [row["device_type"] for row in tables.rows(DEVICES, revision=model_revision)]
    # `H100` matches both PCIe and SXM; figures of different devices are not mixed.
    named = device if device in metered else next((name for name in metered if same_gpu(name, device)), None)
    if named is None:
        return None
    runs = tables.rows(MEASURED, revision=model_revision, device=named, most=RUNS_LOOKED_AT)
    if not runs:
        return None
    read = sum(run["tokens"] * _share_beside(run) for run in runs)
    starting = sum(run["starting"] or 0 for run in runs) / sum(run["actors"] for run in runs)
    # The time of answers is assumed to grow with their number and maximum length.
    asked = sum(run["documents"] * _asked_of_document(run) for run in runs)
    answering = sum(run["answering"] for run in runs) / asked if asked else 0.0
    return Speed(
        seconds_per_token=sum(run["reading"] for run in runs) / read,
        seconds_per_answered=answering * most_answer_tokens(config.model_dump()),
        startup_seconds=starting,
        source=f"measured in {len(runs)} run{'s' * (len(runs) > 1)} on {named}, the latest {runs[0]['run_id']}",
    )


def _share_beside(run: Mapping[str, Any]) -> float:
    """Tokens that were read for each of a document's, as the run's quote had it: of documents in windows there are
    more."""
    quote = json.loads(run["quote"] or "{}")
    return 1.0 + quote.get("tokens_beside", 0) / max(1, quote.get("tokens", 0))


def _asked_of_document(run: Mapping[str, Any]) -> float:
    """Tokens of a document's answers at most, as the run's quote had it: likewise."""
    quote = json.loads(run["quote"] or "{}")
    if decoded := quote.get("tokens_decoded"):
        return float(decoded / max(1, quote["documents"]))
    return most_answer_tokens(json.loads(run["config"]))


def most_answer_tokens(config: Mapping[str, Any]) -> int:
    """That a document may get, sections counted once."""
    prompts = [*config["prompts"], *((config.get("sections") or {}).get("prompts") or ())]
    return sum(prompt["max_tokens"] for prompt in prompts if prompt.get("kind") != "extract")


def rated_speed(gpu: Gpu, model: Footprint, tokens_before: float = 0.0) -> Speed:
    """The speed of a GPU, calculated from its rated peak, where so many tokens stand before one on average."""
    return Speed(
        model.reading_flops(tokens_before) / (gpu.flops * SHARE_OF_PEAK),
        0.0,
        UNMEASURED_STARTUP_SECONDS,
        f"not measured: {SHARE_OF_PEAK:.0%} of an {gpu.name}'s arithmetic, answers left out",
    )


DEVICES = """
    select costs.device_type from costs join jobs on costs.run_id = jobs.run_id
    where model_revision = $revision and kind = 'document' and coalesce(outcome, 'finished') = 'finished'
        and costs.tokens_read > 0
    group by costs.device_type order by max(jobs.started_at) desc
"""
"""Devices that read with a model, by their names in meters, the most recently used first."""
