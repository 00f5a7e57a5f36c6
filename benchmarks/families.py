"""`python -m benchmarks.families [families=mamba,falcon_mamba] [tokens=1024,4096,16384]`: native families against
transformers, of about 18 million parameters and with the same weights.

Prints JSON: tokens per CPU-second of one thread, of one document read through the engine in passes of 1024 tokens, and
by transformers' own model in turn with it: in pieces of as many, or whole where its model forgets between pieces. And
what more of memory than before it began each takes at its peak, in a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks import measure, subjects
from benchmarks.length import peak_bytes
from benchmarks.subjects import D_MODEL, NUM_LAYERS, PIECE_TOKENS, VOCAB_SIZE
from models.backends import engines, heap
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.weights import checkpoint

SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": D_MODEL,
    "num_hidden_layers": NUM_LAYERS,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
}
FORGETFUL = {"falcon_mamba", "mamba"}
"""Those that transformers cannot read in pieces."""
FEW_ROUNDS_FROM, FEW_ROUNDS = 8192, 1
"""A document that takes a minute to read is read once, after a round that does not count."""


def mamba() -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(**SHAPE))


def falcon_mamba() -> Any:
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    return FalconMambaForCausalLM(FalconMambaConfig(**SHAPE))


FAMILIES: dict[str, Callable[[], Any]] = {"falcon_mamba": falcon_mamba, "mamba": mamba}
"""Theirs, by `model_type`, with random weights."""


def built(family: str) -> Any:
    torch.manual_seed(0)
    return FAMILIES[family]().eval()


def ours(theirs: Any) -> Engine:
    """Around the same weights, by way of the files that transformers writes."""
    with TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        model = checkpoint.load(Path(folder))
    return engines.around(model, {0}, num_slots=1, step_tokens=PIECE_TOKENS)


def we_read(engine: Engine, tokens: np.ndarray) -> None:
    engine.submit(Request("document", ArrayFeed(tokens), (Prompt((1,), Sampling(max_tokens=1)),)))
    while engine.busy:
        engine.step()


@torch.inference_mode()
def they_read(model: torch.nn.Module, family: str, tokens: np.ndarray) -> None:
    document = torch.from_numpy(tokens).long().unsqueeze(0)
    if family in FORGETFUL:
        model(document, use_cache=True, logits_to_keep=1)
        return
    cache = None
    for piece in document.split(PIECE_TOKENS, dim=1):
        _, cache = subjects.read_on(model, piece, cache, logits_to_keep=1)


def document(num_tokens: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, VOCAB_SIZE, num_tokens, dtype=np.int32)


def speeds(family: str, lengths: list[int]) -> dict[str, dict[str, float]]:
    """Tokens per CPU-second by length, and how many times theirs ours is."""
    theirs = built(family)
    engine, found = ours(theirs), {}
    for length in lengths:
        tokens = document(length)
        works = {"ours": partial(we_read, engine, tokens), "transformers": partial(they_read, theirs, family, tokens)}
        rounds = FEW_ROUNDS if length >= FEW_ROUNDS_FROM else measure.ROUNDS
        rates = {name: length / taken for name, taken in measure.least_cpu_seconds(works, rounds).items()}
        found[str(length)] = {
            **{name: round(rate) for name, rate in rates.items()},
            "times": round(rates["ours"] / rates["transformers"], 2),
        }
    return found


def memory(family: str, whose: str, length: int) -> int:
    """Bytes at the peak of reading a document beyond what the process had before, in this process."""
    theirs, tokens = built(family), document(length)
    read = partial(we_read, ours(theirs)) if whose == "ours" else partial(they_read, theirs, family)
    # Linux: from here on the peak is a new one.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_bytes()
    read(tokens)
    return peak_bytes() - before


def memory_in_a_fresh_process(family: str, whose: str, length: int) -> int:
    command = [sys.executable, "-m", "benchmarks.families", f"memory={family},{whose},{length}"]
    return int(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def main(families: str, tokens: str) -> None:
    lengths, results = [int(each) for each in tokens.split(",")], {}
    for family in families.split(","):
        peaks = {
            whose: {str(length): memory_in_a_fresh_process(family, whose, length) for length in lengths}
            for whose in ("ours", "transformers")
        }
        results[family] = {
            "parameters": subjects.num_parameters(built(family)),
            "transformers_reads": "whole" if family in FORGETFUL else "in pieces",
            "tokens_per_cpu_second": speeds(family, lengths),
            "peak_bytes_beyond_the_model": peaks,
        }
    measure.publish(
        "families", piece_tokens=PIECE_TOKENS, transformers=subjects.transformers_version(), families=results
    )


if __name__ == "__main__":
    heap.keep_freed_memory()
    torch.set_num_threads(1)
    given = measure.arguments(families=",".join(FAMILIES), tokens="1024,4096,16384", memory="")
    if one := given.pop("memory"):
        family, whose, length = one.split(",")
        print(memory(family, whose, int(length)))
    else:
        main(**given)
