"""What a trained model is worth: its loss on held-out summaries, and by position over one very long document."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from configs.training import TrainConfig
from models.mamba.language_model import MambaLM
from models.mamba.trainer import losses_by_token
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.training.corpus import Corpus, pair

EVAL_PAIRS = 40
EVAL_PAIR_CHARS = 15_000
EVAL_TEXT_TOKENS = 100_000
EVAL_SEGMENT = 1024
EVAL_MEMORY = 2048


def evaluate(model: MambaLM, tokenizer: Tokenizer, corpus: Corpus, config: TrainConfig) -> dict[str, object]:
    """Loss on held-out summaries, and by position over one long document that training never saw."""
    model.eval()
    pairs = [record for record in corpus.held_out if record.summary and len(record.text) < EVAL_PAIR_CHARS]
    answers = []
    for record in pairs[:EVAL_PAIRS]:
        example = pair(record, tokenizer)
        answers.append(losses_by_token(model, example.tokens, EVAL_SEGMENT)[-example.answer_tokens :].mean())
    text = Path(config.data.long_document).read_text(encoding="utf-8")[: EVAL_TEXT_TOKENS * 5]
    tokens = tokenize.tokens([text], tokenizer)[: EVAL_TEXT_TOKENS + 1]
    return {
        "held_out_answer_loss": round(float(np.mean(answers)), 3) if answers else None,
        "held_out_answers": len(answers),
        "loss_by_position": _by_position(
            losses_by_token(model, tokens, EVAL_SEGMENT),
            losses_by_token(model, tokens, EVAL_SEGMENT, forget_every=EVAL_MEMORY),
        ),
    }


def _by_position(carried: np.ndarray, forgetful: np.ndarray) -> list[dict[str, float]]:
    """Mean loss in ranges of position that double, with the state carried through and with frequent resets."""
    bounds = [0, *(512 * 2**power for power in range(20) if 512 * 2**power < len(carried)), len(carried)]
    return [
        {
            "from": start,
            "to": stop,
            "loss": round(float(carried[start:stop].mean()), 3),
            f"loss_forgetting_every_{EVAL_MEMORY}": round(float(forgetful[start:stop].mean()), 3),
        }
        for start, stop in pairwise(bounds)
    ]
