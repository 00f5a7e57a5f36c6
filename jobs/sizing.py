"""`python -m jobs.sizing [MODEL]`: which GPUs a model fits on, and on which of them a token is cheapest.

By arithmetic: memory is that of the shapes, speed a share of what a GPU is rated at. `jobs.plan` quotes a run, with the
speed that earlier ones had.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any, Literal

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError
from rich.table import Table

from configs.errors import ConfigError, ModelError
from configs.hardware import GPUS, USUAL, gpu_named
from configs.prices import Catalog
from jobs import command, screen
from models.backends import adapted
from models.weights import checkpoint, hub
from pipeline.planning.fit import CURRENCY, Fit, PlanningRow, cheapest, fit, planning_table
from pipeline.planning.footprint import SSM_OVERHEAD, TRANSFORMER_OVERHEAD
from pipeline.planning.planned import PLANNED_DTYPES, SIZES, Planned, of_adapted, of_checkpoint, of_size
from pipeline.planning.speed import SHARE_OF_PEAK
from pipeline.reports.quantities import UNKNOWN, count, money
from pipeline.telemetry import logs

BASIS = (
    f"Arithmetic, nothing of it measured. Beside weights, {SSM_OVERHEAD - 1:.0%} of them for workspace "
    f"({TRANSFORMER_OVERHEAD - 1:.0%} in a transformer) and 1 GiB for libraries; for each document two states, its own "
    "and an answer's, of which a run has engine.slots at most (128 unless set), and of attention keys and values in "
    "bfloat16. Reading at "
    f"{SHARE_OF_PEAK:.0%} of the rated bf16 arithmetic, in float8 too; answers and preemptions left out. Prices: the "
    "first in the catalog that fit, see jobs.prices list."
)
ADAPTED = (
    "Run by transformers (model.backend), one document a forward. Known: weights, and what a document takes, twice, "
    "since each answer has a copy. Not known before a run has measured it: speed, and so what a token costs."
)
NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)([KMBT]?)", re.IGNORECASE)
SCALES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
MOST = 10**15
"""Of tokens, parameters and bytes: beyond it is a mistake."""
GPU_COLUMNS = ("GPU", "memory", "documents", "tokens/s", "per 1M on demand", "per 1M on spot", "")

Dtype = Literal["bfloat16", "int8", "float8"]
ModelName = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help=f"Directory, URI or hub id of a checkpoint, or one of {', '.join(SIZES)}."),
]
Lengths = Annotated[str, typer.Option(help="Tokens of a document, separated by commas; 16K is 16,000.")]
GpuNames = Annotated[
    list[str] | None, typer.Option("--gpu", help=f"May be repeated, of {', '.join(GPUS)}. Default: {', '.join(USUAL)}.")
]
OfWeights = Annotated[
    Dtype | None, typer.Option(help="Of the weights; 8 bits run in models with attention, see model.dtype.")
]
Parameters = Annotated[str | None, typer.Option(help="A size such as 1.5B, instead of MODEL.")]
State = Annotated[
    str | None, typer.Option(help="With --parameters: of one document, as 50MiB; unless given, projected.")
]
Hybrid = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="With --parameters: share of layers that are attention; 1 is a transformer."),
]
CatalogPath = Annotated[
    str | None, typer.Option(metavar="FILE", help="Your own prices, which take precedence over the shipped rows.")
]


def sizing(
    model: ModelName = None,
    lengths: Lengths = "16K,32K,128K,1M",
    gpu: GpuNames = None,
    dtype: OfWeights = None,
    parameters: Parameters = None,
    state: State = None,
    hybrid: Hybrid = None,
    catalog: CatalogPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Which GPUs a model fits on, how many documents at a time, what a million tokens cost, and what a transformer of
    that size would need. Without a model: a planning table of usual sizes. Calculated, not measured."""
    logs.configure()
    chosen = _model(model, parameters, state, hybrid)
    tokens = list(dict.fromkeys(number_of("--lengths", length, "16K,128K,1M") for length in lengths.split(",")))
    named = [gpu_named(name) for name in gpu or USUAL]
    gpus = [each for each in GPUS.values() if each in named]
    prices = Catalog.load(catalog)
    if chosen is None:
        dtypes = [dtype] if dtype else list(PLANNED_DTYPES)
        _show_table(planning_table(gpus, tokens, dtypes, prices), tokens, as_json)
        return
    precision = dtype or "bfloat16"
    if chosen.is_adapted and precision != "bfloat16":
        raise ConfigError(f"--dtype {dtype}: is of models that run natively, and transformers runs {model}")
    rival = None if chosen.attention_share == 1 or chosen.is_adapted else chosen.as_transformer()
    models = [chosen] if rival is None else [chosen, rival]
    fits = [
        [fit(each, each.width(precision), on, length, prices) for length in tokens for on in gpus] for each in models
    ]
    _show_models(models, fits, precision, as_json)


def _model(name: str | None, parameters: str | None, state: str | None, hybrid: float | None) -> Planned | None:
    if parameters is None:
        for option, value in (("--state", state), ("--hybrid", hybrid)):
            if value is not None:
                raise ConfigError(f"{option} {value}: needs --parameters too, such as --parameters 1.5B")
        return None if name is None else _named(name)
    if name is not None:
        raise ConfigError(f"MODEL {name} and --parameters {parameters}: give one of them")
    return of_size(
        number_of("--parameters", parameters, "1.5B"), None if state is None else _num_bytes(state), hybrid or 0.0
    )


def _named(name: str) -> Planned:
    if size := SIZES.get(name.lower()):
        return size.model
    try:
        path = hub.config(name, "MODEL")
    except ModelError as error:
        raise ModelError(f"{error}; or a size: {', '.join(SIZES)}, or --parameters") from error
    if checkpoint.is_native(path.parent):
        return of_checkpoint(name, checkpoint.architecture(path.parent))
    return of_adapted(name, adapted.sizes(path.parent))


def number_of(option: str, text: str, example: str) -> int:
    """A whole one, at least 1."""
    matched = NUMBER.fullmatch(text.strip())
    number = Decimal(matched[1]) * SCALES[matched[2].upper()] if matched else Decimal(0)
    if not (1 <= number <= MOST and number % 1 == 0):
        raise ConfigError(f"{option} {text!r}: expected a number from 1 to 1,000T, as {example}")
    return int(number)


def _num_bytes(text: str) -> int:
    try:
        number = TypeAdapter(ByteSize).validate_python(text)
    except (ValidationError, OverflowError) as error:
        raise ConfigError(f"--state {text!r}: expected a size with its unit, as 50MiB") from error
    if number > MOST:
        raise ConfigError(f"--state {text!r}: is more than {_size(MOST)}")
    return number


def _show_table(rows: Sequence[PlanningRow], lengths: Sequence[int], as_json: bool) -> None:
    if as_json:
        _print_json({"sizes": [_table_row(row) for row in rows]})
        return
    at = [f"at {count(length)}" for length in lengths]
    names = ["model", "weights", "VRAM", "smallest GPU", *at, f"per 1M {at[0]}"]
    table = screen.table("Projected sizes; documents in flight on the smallest GPU that holds them", names, numbers=at)
    for row in rows:
        model = row.size.model
        vram = f"{row.vram_bytes / 1e9:.0f} GB{' + cache' if model.attention_share else ''}"
        fits = [count(each.documents) for each in row.fits] or [UNKNOWN] * len(lengths)
        table.add_row(model.name, row.dtype, vram, row.smallest_gpu or "none of these", *fits, _lowest(row.cheapest))
    _print(table)


def _table_row(row: PlanningRow) -> dict[str, Any]:
    return {
        "model": row.size.model.name,
        "dtype": row.dtype,
        "vram_bytes": round(row.vram_bytes),
        "states_bytes": row.size.states_bytes,
        "smallest_gpu": row.smallest_gpu,
        "documents": {each.num_tokens: each.documents for each in row.fits},
        "cheapest": row.cheapest and _as_row(row.cheapest),
    }


def _show_models(models: Sequence[Planned], fits: Sequence[Sequence[Fit]], dtype: str, as_json: bool) -> None:
    """A model and, unless it is one, a transformer."""
    if as_json:
        parts = [_part(model, model.width(dtype), of_model) for model, of_model in zip(models, fits, strict=True)]
        _print_json({"dtype": dtype} | dict(zip(("model", "transformer"), parts, strict=False)))
        return
    tables = [_gpu_table(models[0], fits[0])]
    for each, of_model in zip(models, fits, strict=True):
        if each.attention_share:
            tables.append(_length_table(each, models[0], of_model))
    screen.console().print(_about(models[0], dtype, models[0].width(dtype)))
    _print(*tables)


def _about(model: Planned, dtype: str, width: float) -> str:
    parts = [
        f"{count(model.parameters)} parameters",
        f"{_size(model.parameters * width)} of weights in {dtype}, {_size(model.vram_bytes(width))} with workspace",
    ]
    if model.state_bytes:
        parts.append(f"{_size(model.state_bytes)} of state for each document")
    if model.own and model.own.cache_numbers:
        parts.append(f"{_size(model.cache_bytes(1))} of keys and values for each token")
    if model.own and model.own.max_context:
        parts.append(f"a context of {count(model.own.max_context)} tokens")
    note = "" if model.attention else "\nNo published transformer is near that size, to compare with."
    note = f"\n{ADAPTED}" if model.is_adapted else note
    return f"{model.name}: {', '.join(parts)}{note}\n"


def _part(model: Planned, width: float, fits: Sequence[Fit]) -> dict[str, Any]:
    return {
        "name": model.name,
        "parameters": model.parameters,
        "attention_share": None if model.is_adapted else model.attention_share,
        "note": ADAPTED if model.is_adapted else None,
        "attention_of": "its own" if model.own else model.attention and model.attention.name,
        "max_context": model.own and model.own.max_context,
        "weights_bytes": round(model.parameters * width),
        "vram_bytes": round(model.vram_bytes(width)),
        "state_bytes": model.state_bytes,
        "cache_bytes": {each.num_tokens: round(model.cache_bytes(each.num_tokens)) for each in fits},
        "fits": [_as_row(each) for each in fits],
        "cheapest": {
            length: best.gpu if (best := cheapest(each for each in fits if each.num_tokens == length)) else None
            for length in dict.fromkeys(each.num_tokens for each in fits)
        },
    }


def _gpu_table(model: Planned, fits: Sequence[Fit]) -> Table:
    """At the longest length, which matters where there is attention."""
    longest = max(each.num_tokens for each in fits)
    shown = [each for each in fits if each.num_tokens == longest]
    of_length = f"{count(longest)} tokens" if model.attention_share else "any length"
    table = screen.table(f"Documents of {of_length}", GPU_COLUMNS, numbers=GPU_COLUMNS[1:-1])
    best = cheapest(shown)
    for each in shown:
        table.add_row(
            each.gpu,
            _size(each.memory_bytes),
            _documents(each),
            count(each.tokens_per_second),
            money(each.per_million.get("on_demand"), CURRENCY),
            money(each.per_million.get("spot"), CURRENCY),
            "cheapest" if each is best else "",
        )
    return table


def _length_table(model: Planned, against: Planned, fits: Sequence[Fit]) -> Table:
    gpus = [f"on {name}" for name in dict.fromkeys(each.gpu for each in fits)]
    names = ["tokens", "cache of one", *gpus, "per 1M", *([] if model is against else ["arithmetic"])]
    like = f", with attention as in {model.attention.name}" if model.attention and not model.own else ""
    title = f"{model.name}: documents in flight{like}"
    table = screen.table(title, names, numbers=[*names[: len(gpus) + 2], "arithmetic"])
    for length in dict.fromkeys(each.num_tokens for each in fits):
        shown = [each for each in fits if each.num_tokens == length]
        more = model.reading_flops(length) / against.reading_flops(length)
        cells = [count(length), _size(model.cache_bytes(length)), *map(_documents, shown), _lowest(cheapest(shown))]
        table.add_row(*cells, *([] if model is against else [f"{more:.1f} times"]))
    return table


def _documents(fitted: Fit) -> str:
    return "too small" if fitted.documents is None else count(fitted.documents)


def _lowest(fitted: Fit | None) -> str:
    if fitted is None or fitted.market is None:
        return UNKNOWN
    return f"{money(fitted.lowest, CURRENCY)} on {fitted.gpu}{' spot' * (fitted.market == 'spot')}"


def _size(num_bytes: float) -> str:
    """In decimal units, as the makers of GPUs count."""
    return ByteSize(round(num_bytes)).human_readable(decimal=True, separator=" ")


def _as_row(fitted: Fit) -> dict[str, Any]:
    return asdict(fitted) | {"per_million": {market: str(cost) for market, cost in fitted.per_million.items()}}


def _print(*tables: Table) -> None:
    for table in tables:
        screen.console().print(table)
        print()
    screen.console().print(BASIS)


def _print_json(found: dict[str, Any]) -> None:
    print(json.dumps(found | {"currency": CURRENCY, "basis": BASIS}, indent=2))


if __name__ == "__main__":
    command.run(sizing)
