"""`python -m benchmarks.prefill [uri=default]`: how fast models read on one thread, and against what limit.

Prints JSON: tokens per CPU-second for several packs, of our model of 18 million parameters and of the one at `uri`,
beside what the projections' matrix products alone would allow at the measured speed of a matrix product, and where
the rest of the time goes; and transformers' Mamba-2 of the same shape, in pieces with carried cache.
"""

from itertools import accumulate

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import measure, subjects
from models.mamba.language_model import MambaLM
from models.weights import checkpoint

PACKS = {"one document": [2048], "eight equal": [256] * 8, "ragged": [1500, 300, 120, 64, 40, 16, 7, 1]}
COMPARED_TOKENS, COMPARED_CHUNKS = 2048, (32, 64, 128, 256)
KINDS = {
    "matrix products of the projections": {"mm", "addmm"},
    "matrix products of the recurrence": {"bmm", "baddbmm", "baddbmm_"},
    "exp, sin, cos and their like": {
        *("exp", "exp_", "sin", "cos", "silu", "sigmoid", "softplus", "tanh", "rsqrt", "rsqrt_")
    },
    "copies": {"copy_", "cat", "index", "index_select", "index_copy_", "index_fill_", "embedding"},
    "other arithmetic": {
        *("add", "add_", "sub", "mul", "mul_", "addcmul", "cumsum", "clamp", "tril_", "complex", "remainder", "where"),
        *("pow", "sum", "mean", "div_", "neg", "rsub", "reciprocal", "ge", "fill_"),
    },
}
PROFILED_PASSES = 5


def read_pack(model: MambaLM, lengths: list[int]) -> None:
    state = model.empty_state(len(lengths))
    model.prefill(torch.zeros(sum(lengths), dtype=torch.long), [0, *accumulate(lengths)], state)


def read_in_pieces(model: MambaLM, num_tokens: int) -> None:
    state, piece = model.empty_state(1), torch.zeros(subjects.PIECE_TOKENS, dtype=torch.long)
    for _ in range(num_tokens // len(piece)):
        _, state = model.prefill(piece, [0, len(piece)], state)


def transformers_reads_in_pieces(model: torch.nn.Module, num_tokens: int) -> None:
    cache, piece = None, torch.zeros((1, subjects.PIECE_TOKENS), dtype=torch.long)
    for _ in range(num_tokens // piece.shape[1]):
        _, cache = subjects.read_on(model, piece, cache, logits_to_keep=1)


def shares_of_time(model: MambaLM) -> dict[str, float]:
    """Of each kind of operation while one document is read."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(PROFILED_PASSES):
            read_pack(model, PACKS["one document"])
    spent = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profiled.key_averages()}
    total = sum(spent.values())
    shares = {kind: sum(spent.get(name, 0) for name in names) / total for kind, names in KINDS.items()}
    return {kind: round(share, 3) for kind, share in (shares | {"calls and views": 1 - sum(shares.values())}).items()}


def against_the_limit(model: MambaLM) -> dict[str, object]:
    product, flops = measure.matmul(width=model.config.d_model)
    works = {name: lambda lengths=lengths: read_pack(model, lengths) for name, lengths in PACKS.items()}
    seconds = measure.least_cpu_seconds(works | {"matmul": product})
    flops_per_second = flops / seconds.pop("matmul")
    limit = flops_per_second / subjects.projection_flops(model)
    rates = {name: sum(PACKS[name]) / taken for name, taken in seconds.items()}
    return {
        "parameters": subjects.num_parameters(model),
        "matmul_gflops_per_second": round(flops_per_second / 1e9, 1),
        "projection_flops_per_token": subjects.projection_flops(model),
        "limit_tokens_per_cpu_second": round(limit),
        "tokens_per_cpu_second": {name: round(rate) for name, rate in rates.items()},
        "share_of_limit": {name: round(rate / limit, 3) for name, rate in rates.items()},
        "shares_of_time": shares_of_time(model),
    }


def against_transformers(model: MambaLM) -> dict[str, object]:
    works = {"ours": lambda: read_in_pieces(model, COMPARED_TOKENS)}
    for chunk_size in COMPARED_CHUNKS:
        other = subjects.transformers_mamba2(chunk_size)
        works[f"chunk_size {chunk_size}"] = lambda other=other: transformers_reads_in_pieces(other, COMPARED_TOKENS)
    rates = {name: COMPARED_TOKENS / taken for name, taken in measure.least_cpu_seconds(works).items()}
    mine = rates.pop("ours")
    return {
        "transformers": subjects.transformers_version(),
        "piece_tokens": subjects.PIECE_TOKENS,
        "parameters": subjects.num_parameters(other),
        "tokens_per_cpu_second": {name: round(rate) for name, rate in rates.items()},
        "ours_tokens_per_cpu_second": round(mine),
        "ours_over_its_best": round(mine / max(rates.values()), 2),
    }


@torch.inference_mode()
def main(uri: str) -> None:
    torch.set_num_threads(1)
    model = subjects.ours()
    compared = against_transformers(model)
    models = {"18m": model, uri: checkpoint.load(checkpoint.resolve(uri))}
    measure.publish(
        "prefill",
        models={name: against_the_limit(model) for name, model in models.items()},
        transformers_mamba2=compared,
    )


if __name__ == "__main__":
    main(**measure.arguments(uri="default"))
