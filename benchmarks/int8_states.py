"""`python -m benchmarks.int8_states [models=default] [documents=12] [tokens=2048] [after=128]`: what int8 does to a
state.

Prints JSON, by model (directories or `default`, with commas between): bytes of a state in int8 against those as it is,
how far the logits are off at each of some tokens after the resume (norm of the difference over norm), the divergence of
their distributions (KL, nats), and of how many documents the 64 greedy tokens from there are the same.
"""

from pydoc_data.topics import topics

import numpy as np
import torch

from benchmarks import measure
from models.backends import engines, loading
from models.engine.backend import Backend, Handle, Work
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.states import int8

PASS_TOKENS, GREEDY_TOKENS = 512, 64
SHOWN = (1, 2, 4, 8, 16, 32, 64, 128)


def documents(count: int, tokens: int) -> list[np.ndarray]:
    """Python's reference, begun at other chapters."""
    texts, tokenizer = sorted(topics.values()), Tokenizer.shipped()
    whole = ["\n\n".join(texts[7 * index :] + texts[: 7 * index])[: 20 * tokens] for index in range(count)]
    return [np.array(tokenizer.encode(text)[:tokens]) for text in whole]


def resumed(backend: Backend, document: np.ndarray, tokens: int) -> tuple[Handle, Handle, float]:
    """Read so far, the same from int8, and the share of bytes."""
    read = backend.open(2 * len(document))
    for start in range(0, tokens, PASS_TOKENS):
        backend.run([Work(read, document[start : min(start + PASS_TOKENS, tokens)])])
    state = backend.export(read)
    packed = int8.packed(state)
    share = sum(array.nbytes for array in packed.values()) / sum(array.nbytes for array in state.values())
    return read, backend.open(2 * len(document), int8.unpacked(packed)), share


def step(backend: Backend, handles: tuple[Handle, Handle], tokens: tuple[int, int]) -> torch.Tensor:
    """Logits (2, V) after one more token of each."""
    work = [Work(handle, np.array([token]), True) for handle, token in zip(handles, tokens, strict=True)]
    return backend.run(work).double()


@torch.inference_mode()
def compare(backend: Backend, document: np.ndarray, tokens: int) -> tuple[list[float], list[float], bool, float]:
    """Errors and divergences by position, whether the same is written then, and the share of bytes."""
    read, again, share = resumed(backend, document, tokens)
    errors, divergences = [], []
    for token in document[tokens:]:
        exact, rounded = step(backend, (read, again), (token, token))
        errors.append(float((exact - rounded).norm() / exact.norm()))
        logs, others = exact.log_softmax(-1), rounded.log_softmax(-1)
        divergences.append(float((logs.exp() * (logs - others)).sum()))
    chosen = int(exact.argmax()), int(rounded.argmax())
    same = True
    for _ in range(GREEDY_TOKENS):
        same = same and chosen[0] == chosen[1]
        chosen = tuple(int(logits.argmax()) for logits in step(backend, (read, again), chosen))
    backend.close(read)
    backend.close(again)
    return errors, divergences, same, share


def main(models: str, documents_: str, tokens: str, after: str) -> None:
    torch.set_num_threads(1)
    given = documents(int(documents_), int(tokens) + int(after))
    found = {}
    for uri in models.split(","):
        model = loading.loaded(checkpoint.resolve(uri), torch.float32, "cpu")
        backend = engines.around(model, (), 4, PASS_TOKENS)._backend
        results = [compare(backend, document, int(tokens)) for document in given]
        errors, divergences, same, shares = zip(*results, strict=True)
        positions = [position for position in SHOWN if position <= int(after)]
        found[uri] = {
            "bytes_share": round(float(np.mean(shares)), 3),
            "error_at": {at: round(float(np.mean(errors, axis=0)[at - 1]), 6) for at in positions},
            "largest_error": round(float(np.max(errors)), 5),
            "divergence_at": {at: float(f"{np.mean(divergences, axis=0)[at - 1]:.2g}") for at in positions},
            "same_greedy_text": f"{sum(same)} of {len(given)}",
        }
    measure.publish("int8_states", documents=len(given), tokens_before=int(tokens), models=found)


if __name__ == "__main__":
    given_words = measure.arguments(models="default", documents="12", tokens="2048", after="128")
    main(given_words["models"], given_words["documents"], given_words["tokens"], given_words["after"])
