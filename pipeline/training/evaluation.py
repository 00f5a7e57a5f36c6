"""What a trained model is worth: its loss on held-out summaries, and by position over one very long document."""

from pathlib import Path

import numpy as np

from configs.training import TrainConfig
from models.backends.losses import losses_by_token
from models.mamba.language_model import MambaLM
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.training.corpus import Corpus, pair
from pipeline.training.positions import SEGMENT_TOKENS, loss_by_position

EVAL_PAIRS = 40
EVAL_PAIR_CHARS = 15_000
EVAL_TEXT_TOKENS = 100_000


def evaluate(model: MambaLM, tokenizer: Tokenizer, corpus: Corpus, config: TrainConfig) -> dict[str, object]:
    """Loss on held-out summaries, and by position over one long document that training never saw."""
    model.eval()
    pairs = [record for record in corpus.held_out if record.summary and len(record.text) < EVAL_PAIR_CHARS]
    answers = []
    for record in pairs[:EVAL_PAIRS]:
        example = pair(record, tokenizer)
        answers.append(losses_by_token(model, example.tokens, SEGMENT_TOKENS)[-example.answer_tokens :].mean())
    text = Path(config.data.long_document).read_text(encoding="utf-8")[: EVAL_TEXT_TOKENS * 5]
    tokens = tokenize.tokens([text], tokenizer)[: EVAL_TEXT_TOKENS + 1]
    return {
        "held_out_answer_loss": round(float(np.mean(answers)), 3) if answers else None,
        "held_out_answers": len(answers),
        "loss_by_position": loss_by_position(model, tokens),
    }
