"""`python -m benchmarks.families [families=all] [tokens=1024,4096,16384]`: native families against transformers, of
about 18 million parameters and with the same weights.

Prints JSON: tokens per CPU-second of one thread, of one document read through the engine in passes of as many tokens as
a run's, and by transformers' own model in turn with it: in pieces of 1024, where its model does not forget between
pieces, and whole, where that does not take many gigabytes. And what more of memory than before it began each takes at
its peak, in a process of its own.
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
from configs.settings import EngineSettings
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
HEADS: dict[str, Any] = {"num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 1 << 20}
GRANITE: dict[str, Any] = {
    **{"layer_types": ["mamba"] * 3 + ["attention"] + ["mamba"] * 4, "position_embedding_type": "nope"},
    **{"mamba_n_heads": 16, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_n_groups": 1},
    "attention_multiplier": 0.125,
}
NEMOTRON: dict[str, Any] = {
    **{"hybrid_override_pattern": "M-M*M-ME", "mamba_num_heads": 16, "mamba_head_dim": 64, "ssm_state_size": 128},
    **{"n_groups": 8, "head_dim": 64, "intermediate_size": 1024, "n_routed_experts": 8, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 256, "moe_shared_expert_intermediate_size": 512},
}
FORGETFUL = {"falcon_mamba", "mamba"}
"""Those that transformers cannot read in pieces."""
LONGEST_WHOLE, OF_ATTENTION_ALONE = 16384, 65536
"""Tokens that transformers reads whole where it can read in pieces: of a hybrid, more take many gigabytes."""
FEW_ROUNDS_FROM, FEW_ROUNDS = 4096, 2
"""Documents of so many tokens are read so often, after a round that does not count."""
ONE_ROUND_FROM = 16384
"""And once in all where one takes minutes: each way in a fresh process, where its memory is counted as well."""


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SHAPE, **HEADS, intermediate_size=704))


def granite_h() -> Any:
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM

    options = {"num_local_experts": 0, "shared_intermediate_size": 384}
    return GraniteMoeHybridForCausalLM(GraniteMoeHybridConfig(**SHAPE, **HEADS, **GRANITE, **options))


def granite_h_experts() -> Any:
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM

    options = {"num_local_experts": 8, "intermediate_size": 64, "shared_intermediate_size": 256}
    return GraniteMoeHybridForCausalLM(GraniteMoeHybridConfig(**SHAPE, **HEADS, **GRANITE, **options))


def nemotron_h() -> Any:
    from transformers import NemotronHConfig, NemotronHForCausalLM

    shape = {name: value for name, value in SHAPE.items() if name not in ("num_hidden_layers", "tie_word_embeddings")}
    return NemotronHForCausalLM(NemotronHConfig(**shape, **HEADS, **NEMOTRON))


def mamba() -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(**SHAPE))


def falcon_mamba() -> Any:
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    return FalconMambaForCausalLM(FalconMambaConfig(**SHAPE))


FAMILIES: dict[str, Callable[[], Any]] = {
    "falcon_mamba": falcon_mamba,
    "granite_h": granite_h,
    "granite_h_experts": granite_h_experts,
    "llama": llama,
    "mamba": mamba,
    "nemotron_h": nemotron_h,
}
"""Theirs, with random weights."""


def built(family: str) -> Any:
    torch.manual_seed(0)
    return FAMILIES[family]().eval()


def ours(theirs: Any) -> Engine:
    """Around the same weights, by way of the files that transformers writes."""
    with TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        model = checkpoint.load(Path(folder))
    return engines.around(model, {0}, num_slots=1, step_tokens=EngineSettings().step_tokens_on("cpu"))


def we_read(engine: Engine, tokens: np.ndarray) -> None:
    engine.submit(Request("document", ArrayFeed(tokens), (Prompt((1,), Sampling(max_tokens=1)),)))
    while engine.busy:
        engine.step()


@torch.inference_mode()
def they_read(model: torch.nn.Module, piece_tokens: int, tokens: np.ndarray) -> None:
    document, cache = torch.from_numpy(tokens).long().unsqueeze(0), None
    for piece in document.split(piece_tokens, dim=1):
        _, cache = subjects.read_on(model, piece, cache, logits_to_keep=1)


def pieces_of(family: str, length: int) -> dict[str, int]:
    """The ways in which transformers reads a document of that length, and the tokens of a piece in each."""
    ways = {"transformers in pieces": PIECE_TOKENS, "transformers whole": length}
    if family in FORGETFUL:
        del ways["transformers in pieces"]
    elif not PIECE_TOKENS < length <= (OF_ATTENTION_ALONE if family == "llama" else LONGEST_WHOLE):
        del ways["transformers whole"]
    return ways


def document(num_tokens: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, VOCAB_SIZE, num_tokens, dtype=np.int32)


def speeds(family: str, lengths: list[int]) -> dict[str, dict[str, int]]:
    """Tokens per CPU-second by length and way, each way in turn with the others."""
    theirs = built(family)
    engine, found = ours(theirs), {}
    for length in lengths:
        tokens = document(length)
        works = {"ours": partial(we_read, engine, tokens)}
        for way, piece_tokens in pieces_of(family, length).items():
            works[way] = partial(they_read, theirs, piece_tokens, tokens)
        taken = measure.least_cpu_seconds(works, FEW_ROUNDS if length >= FEW_ROUNDS_FROM else measure.ROUNDS)
        found[str(length)] = {name: round(length / each) for name, each in taken.items()}
    return found


def once(family: str, whose: str, length: int) -> dict[str, float]:
    """CPU-seconds of reading a document once in this process, and bytes at the peak beyond what it had before."""
    theirs, tokens = built(family), document(length)
    if whose == "ours":
        read = partial(we_read, ours(theirs))
    else:
        read = partial(they_read, theirs, pieces_of(family, length)[whose])
    # Linux: from here on the peak is a new one.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_bytes()
    taken = measure.cpu_seconds(partial(read, tokens))
    return {"seconds": taken, "peak_bytes": peak_bytes() - before}


def once_in_a_fresh_process(family: str, whose: str, length: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.families", f"once={family},{whose},{length}"]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def of_family(family: str, lengths: list[int]) -> dict[str, Any]:
    rates = speeds(family, [length for length in lengths if length < ONE_ROUND_FROM])
    peaks = dict[str, dict[str, float]]()
    for length in map(str, lengths):
        for whose in ("ours", *pieces_of(family, int(length))):
            found = once_in_a_fresh_process(family, whose, int(length))
            peaks.setdefault(whose, {})[length] = found["peak_bytes"]
            if int(length) >= ONE_ROUND_FROM:
                rates.setdefault(length, {})[whose] = round(int(length) / found["seconds"])
            print(family, whose, length, found, file=sys.stderr)
    for each in rates.values():
        each["times"] = round(each["ours"] / max(rate for whose, rate in each.items() if whose != "ours"), 2)  # type: ignore[assignment]
    return {
        "parameters": subjects.num_parameters(built(family)),
        "tokens_per_cpu_second": rates,
        "peak_bytes_beyond_the_model": peaks,
    }


def main(families: str, tokens: str) -> None:
    lengths = [int(each) for each in tokens.split(",")]
    chosen = list(FAMILIES) if families == "all" else families.split(",")
    results = {family: of_family(family, lengths) for family in chosen}
    measure.publish(
        "families", piece_tokens=PIECE_TOKENS, transformers=subjects.transformers_version(), families=results
    )


if __name__ == "__main__":
    heap.keep_freed_memory()
    torch.set_num_threads(1)
    given = measure.arguments(families="all", tokens="1024,4096,16384", once="")
    if one := given.pop("once"):
        family, whose, length = one.split(",")
        print(json.dumps(once(family, whose, int(length))))
    else:
        main(**given)
