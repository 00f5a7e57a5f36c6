"""`python -m benchmarks.decode`: how fast many documents are answered together on one thread.

Prints JSON: tokens per CPU-second of our model of 18 million parameters that decodes several documents at once, in
place in its slots and greedily; what reading the weights and moving the states through memory would allow; and
`generate` of transformers' Mamba-2 of the same shape, with one document.
"""

from collections.abc import Callable

import torch

from benchmarks import measure, subjects
from models.mamba.language_model import MambaLM

BATCHES = (1, 8, 32, 128)
NUM_TOKENS = 64
COMPARED_BATCH = 32
PROMPT_TOKENS, CHUNK_SIZE = 16, 64
"""Of the prompt that `generate` goes on from; the chunk size is transformers' fastest."""


def greedy(model: MambaLM, batch: int) -> Callable[[], object]:
    slots = model.empty_state(batch)

    def decode() -> None:
        tokens = torch.zeros(batch, dtype=torch.long)
        for _ in range(NUM_TOKENS):
            tokens = model.decode_(tokens, slots, range(batch)).argmax(-1)

    return decode


def generate(model: torch.nn.Module, num_tokens: int) -> Callable[[], object]:
    prompt = torch.ones((1, PROMPT_TOKENS), dtype=torch.long)
    lengths = {"min_new_tokens": num_tokens, "max_new_tokens": num_tokens}
    return lambda: model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, **lengths)


def limits(model: MambaLM, bytes_per_second: float) -> dict[str, int]:
    """Every weight is read once a pass, and every document's state read and written."""
    weights = sum(parameter.nbytes for parameter in model.parameters())
    state = model.empty_state(1).nbytes
    return {str(batch): round(batch * bytes_per_second / (weights + 2 * batch * state)) for batch in BATCHES}


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    model, other = subjects.ours(), subjects.transformers_mamba2(CHUNK_SIZE)
    sweep, swept_bytes = measure.sweep()
    seconds = measure.least_cpu_seconds(
        {str(batch): greedy(model, batch) for batch in BATCHES}
        | {"first": generate(other, 1), "all": generate(other, NUM_TOKENS + 1), "sweep": sweep},
        rounds=3,
    )
    bytes_per_second = swept_bytes / seconds["sweep"]
    rates = {str(batch): batch * NUM_TOKENS / seconds[str(batch)] for batch in BATCHES}
    theirs = NUM_TOKENS / (seconds["all"] - seconds["first"])
    measure.publish(
        "decode",
        model={"parameters": subjects.num_parameters(model), "state_bytes": model.empty_state(1).nbytes},
        tokens=NUM_TOKENS,
        memory_gigabytes_per_second=round(bytes_per_second / 1e9, 1),
        limit_tokens_per_cpu_second_by_batch=limits(model, bytes_per_second),
        tokens_per_cpu_second_by_batch={batch: round(rate) for batch, rate in rates.items()},
        transformers_mamba2={
            "transformers": subjects.transformers_version(),
            "parameters": subjects.num_parameters(other),
            "tokens_per_cpu_second": round(theirs, 1),
            "ours_of_32_documents_over_it": round(rates[str(COMPARED_BATCH)] / theirs, 1),
        },
    )


if __name__ == "__main__":
    main(**measure.arguments())
