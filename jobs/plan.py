"""`python -m jobs.plan CONFIG.yaml [key=value ...]`: what a run will take and cost, before it starts."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import command
from pipeline.driver.prepare import kept_states, prepare, quote_of
from pipeline.planning.quote import Memory, Quote
from pipeline.reports.quantities import count, duration, money, size
from pipeline.telemetry import logs

Gpu = Annotated[str | None, typer.Option(help="GPU to run on, such as H100 or L40S. Default: this machine's CPU.")]
Exact = Annotated[bool, typer.Option("--exact", help="Tokenize every document instead of a sample of each kind.")]
BECOME = {
    "fail": "failure rows to be (long_documents: fail)",
    "windows": "to be read in windows, whose answers are joined",
    "map_reduce": "to be read in windows, whose answers are summarized",
}
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def plan(
    config_path: command.ConfigPath,
    overrides: command.Overrides = None,
    gpu: Gpu = None,
    exact: Exact = False,
    as_json: AsJson = False,
) -> None:
    """Quote a run: tokens, device hours, wall time, cost on spot and on demand, memory, and what a transformer of the
    same size would need. Starts no run and writes nothing."""
    config = load(SummarizeConfig, config_path, overrides or [])
    logs.configure()
    prepared = prepare(config)
    kept = kept_states(prepared, "cuda" if gpu else "cpu")
    quote = quote_of(prepared, gpu or "cpu", kept, exact=exact)
    assert quote is not None, "what was not measured is timed"
    if as_json:
        print(json.dumps(quote.as_row(), indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _lines(quote, prepared.num_skipped, config.long_documents):
        table.add_row(name, value)
    Console().print(table)


def _lines(quote: Quote, num_skipped: int, long_documents: str) -> list[tuple[str, str]]:
    how = "counted" if quote.tokens_are_counted else "estimated from a sample"
    done = f", {num_skipped} more are already done" if num_skipped else ""
    per_million = quote.cost * 1_000_000 / quote.tokens if quote.tokens else None
    return [
        ("documents", f"{count(quote.documents)} of {size(quote.size_bytes)}{done}"),
        ("tokens", f"{count(quote.tokens)}, {how}; the longest document {count(quote.longest_tokens)}"),
        ("answers", f"at most {count(quote.tokens_decoded)} tokens"),
        ("speed", f"{count(quote.tokens_per_second)} tokens/s on one {quote.device} ({quote.speed_source})"),
        ("device time", f"{duration(quote.device_seconds)} of {quote.device}"),
        ("wall time", _wall_time(quote)),
        ("cost", f"{money(quote.cost, quote.currency)}, {money(per_million, quote.currency)} per million tokens"),
        *_markets(quote),
        *(_model(quote.memory) if quote.memory else ()),
        *_too_long(quote, long_documents),
    ]


def _wall_time(quote: Quote) -> str:
    most = f"{duration(quote.wall_seconds)} with {quote.workers} actor{'s' * (quote.workers > 1)}"
    if quote.least_workers is None or quote.least_workers_seconds is None:
        return most
    return f"{most}, {duration(quote.least_workers_seconds)} with {quote.least_workers}"


def _too_long(quote: Quote, long_documents: str) -> list[tuple[str, str]]:
    if quote.longest_possible_why is None:
        return []
    lines = [("longest document", quote.longest_possible_why)]
    if quote.num_too_long:
        lines.append(("too long", f"{count(quote.num_too_long)}, {BECOME[long_documents]}"))
        lines += [("", f"{document_id}: {count(tokens)} tokens") for document_id, tokens in quote.too_long]
    if quote.num_windows:
        more = f"{count(quote.tokens_beside)} tokens of prompts and answers to be read beside theirs"
        lines.append(("windows", f"{count(quote.num_windows)}, with at most {more}"))
    return lines


def _markets(quote: Quote) -> list[tuple[str, str]]:
    lines = []
    if quote.cost_on_demand is not None:
        lines.append(("  on demand", money(quote.cost_on_demand, quote.currency)))
    if quote.cost_spot is not None:
        loss = duration(quote.expected_loss_seconds)
        lines.append(("  on spot", f"{money(quote.cost_spot, quote.currency)}, with {loss} lost to preemptions"))
    return lines


def _model(memory: Memory) -> list[tuple[str, str]]:
    states = size(2 * memory.slots * memory.state_bytes)
    cache = f", {size(memory.cache_bytes)} of keys and values for the longest" if memory.cache_bytes else ""
    ratio = memory.transformer_arithmetic_ratio
    verdict = f"{ratio:.1f} times the arithmetic" if ratio >= 1.05 else "no more arithmetic: documents are short"
    return [
        (
            "memory",
            f"{size(memory.weights_bytes)} of weights and {size(memory.state_bytes)} for each document, "
            f"{states} for {memory.slots} slots and as many answers{cache}",
        ),
        (
            "a transformer",
            f"of {memory.transformer}'s shape: {size(memory.transformer_cache_bytes)} of cache for the longest "
            f"document, {verdict}",
        ),
    ]


if __name__ == "__main__":
    command.run(plan, SummarizeConfig)
