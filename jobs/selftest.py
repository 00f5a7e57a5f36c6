"""`python -m jobs.selftest [MODEL]`: whether kernels give on this device what plain PyTorch gives, and how fast."""

import json
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal, TypeVar

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from configs.errors import ModelError
from configs.settings import ModelSettings
from jobs import command, exits
from models.backends import attention, capacity, kernels, loading, recurrence, self_test
from models.backends import device as devices
from models.backends.adapted import Adapted
from models.backends.passes import Passes
from models.hybrid.language_model import HybridLM
from models.mamba.language_model import MambaLM
from models.weights import checkpoint
from pipeline.telemetry import logs

PACKAGES = ("torch", "triton", "mamba-ssm")
TOKENS, ROUNDS = 4096, 3
JUDGE = {"kernels": "torch", "verdict": "the judge"}
Made = TypeVar("Made")

Model = Annotated[str, typer.Argument(metavar="[MODEL]", help="As model.uri; by default the shipped one.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="`auto`: a GPU where torch sees one.")]
Dtype = Annotated[Literal["auto", "float32", "bfloat16"], typer.Option(help="`auto`: bfloat16 on a GPU, else float32.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, to paste into a report.")]


def selftest(model: Model = "default", device: Device = "auto", dtype: Dtype = "auto", as_json: AsJson = False) -> int:
    """Load a model on one device as a run does, and read a short ragged pack through each kind of kernels and through
    plain PyTorch. Exits with 3 where kernels run the model and differ from plain PyTorch."""
    logs.configure()
    kind = devices.kind_of(device)
    name = devices.gpu_name() if kind == "cuda" else "cpu"
    wanted = ModelSettings(dtype=dtype).dtype_on(kind)
    loaded = loading.loaded(checkpoint.resolve(model), getattr(torch, wanted), kind, "native")
    rows = _rows_of_hybrid(loaded) if isinstance(loaded, HybridLM) else _rows(loaded)
    report = {"model": model, "dtype": wanted, "device": name, **_machine(kind), "kernels": rows}
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        _show(report)
    return exits.PARTIAL if any(row["verdict"] == "differs" for row in rows) else exits.SUCCESS


def _rows(model: MambaLM | HybridLM | Adapted) -> list[dict[str, Any]]:
    """Of each kind of kernels, and of plain PyTorch."""
    assert isinstance(model, MambaLM), "what is loaded as native and has no attention"
    rows = [_row(model, made) for made in kernels.MAKERS]
    return [*rows, JUDGE | {"tokens_per_second": _speed(model, _reading(model, model))}]


def _row(model: MambaLM, name: str) -> dict[str, Any]:
    make, differ = partial(kernels.MAKERS[name], model), partial(self_test.difference, model)
    return _judged(name, model, make, differ, self_test.limit(model), partial(_reading, model))


def _rows_of_hybrid(model: HybridLM) -> list[dict[str, Any]]:
    """Of our kernels for those of its layers that have any, and of what plain PyTorch does on this device."""
    rows = _rows_of_attention(model) if model.config.attention_layers else []
    if model.config.mamba_layers:
        make, differ = partial(recurrence.ours, model), partial(recurrence.difference, model)
        rows.insert(0, _judged("triton, of Mamba-2", model, make, differ, recurrence.limit_of(model), None))
    return rows


def _rows_of_attention(model: HybridLM) -> list[dict[str, Any]]:
    """Of our kernel for attention, and of what plain PyTorch does on this device."""
    make, differ = partial(attention.ours, model), partial(attention.difference, model)
    ours = _judged("triton", model, make, differ, attention.limit_of(model), partial(partial, capacity.read, model))
    plain = partial(capacity.read, model, attention.choose(model, "torch").attention)
    return [ours, JUDGE | {"tokens_per_second": _speed(model, plain)}]


def _judged(
    name: str,
    model: MambaLM | HybridLM,
    make: Callable[[], Made],
    differ: Callable[[Made], float],
    limit: float,
    reading: Callable[[Made], Callable[[Tensor], object]] | None,
) -> dict[str, Any]:
    try:
        made = make()
    except ModelError as refused:
        return {"kernels": name, "verdict": "not used", "reason": str(refused)}
    started = time.perf_counter()
    error = differ(made)
    found = {"kernels": name, "error": error, "limit": limit, "seconds": round(time.perf_counter() - started, 2)}
    if error > limit:
        return found | {"verdict": "differs", "reason": "more than rounding explains: please report it"}
    speed = _speed(model, reading(made)) if reading and kernels.is_on_gpu(model) else None
    return found | {"verdict": "agrees", "tokens_per_second": speed}


def _reading(model: MambaLM, passes: Passes) -> Callable[[Tensor], object]:
    """Reads the tokens of one document."""
    state = model.empty_state(1)
    return lambda tokens: passes.prefill_(tokens, [0, len(tokens)], state, [0], tokens[:1])


@torch.inference_mode()
def _speed(model: MambaLM | HybridLM, read: Callable[[Tensor], object]) -> int:
    """Tokens per second of one document, in the best of some passes."""
    where = model.lm_head.weight.device
    tokens = torch.zeros(TOKENS, dtype=torch.long, device=where)
    best = float("inf")
    for _ in range(ROUNDS):
        devices.synchronize(where)
        started = time.perf_counter()
        read(tokens)
        devices.synchronize(where)
        best = min(best, time.perf_counter() - started)
    return round(TOKENS / best)


def _machine(kind: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    facts |= {package: _version(package) for package in PACKAGES}
    if kind == "cuda":
        about = torch.cuda.get_device_properties()
        facts |= {
            "cuda": torch.version.cuda,
            "capability": f"{about.major}.{about.minor}",
            "memory_bytes": about.total_memory,
            "gpus_seen": torch.cuda.device_count(),
        }
    return facts


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _show(report: dict[str, Any]) -> None:
    console, table = Console(), Table(box=None, pad_edge=False)
    for name, value in report.items():
        if name != "kernels":
            console.print(f"{name}: {'none' if value is None else value}", highlight=False)
    for name in ("kernels", "verdict", "error", "tokens/s", "reason"):
        table.add_column(name, justify="right" if name in ("error", "tokens/s") else "left")
    for row in report["kernels"]:
        error, speed = row.get("error"), row.get("tokens_per_second")
        table.add_row(
            row["kernels"],
            row["verdict"],
            "" if error is None else f"{error:.2g} of {row['limit']:.2g}",
            "" if speed is None else f"{speed:,}",
            row.get("reason", ""),
        )
    console.print(table)


if __name__ == "__main__":
    command.run(selftest)
