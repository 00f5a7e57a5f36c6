"""What a trained model is worth: its loss on held-out summaries, and by position over one very long document."""

from hashlib import sha256

import numpy as np

from configs.errors import ConfigError
from configs.training import TrainConfig
from models.backends.kernels import choose
from models.backends.losses import losses_by_token
from models.mamba.language_model import MambaLM
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.storage import objects
from pipeline.training.corpus import CHARS_PER_TOKEN, Corpus, pair
from pipeline.training.positions import SEGMENT_TOKENS, loss_by_position

EVAL_PAIRS = 40
EVAL_PAIR_CHARS = 15_000
EVAL_TEXT_TOKENS = 100_000


def long_text(config: TrainConfig) -> str | None:
    """The text over which the loss by position is measured, if one is named. Raises ConfigError."""
    uri = config.data.long_document
    if uri is None:
        return None
    try:
        return objects.read_bytes(uri).decode()[: EVAL_TEXT_TOKENS * 5]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data.long_document = {uri!r} is no readable text in UTF-8: {error}") from error


def evaluate(
    model: MambaLM, tokenizer: Tokenizer, corpus: Corpus, config: TrainConfig, text: str | None
) -> dict[str, object]:
    """Loss on held-out summaries, and by position over one long text that training never saw."""
    longest = max(EVAL_PAIR_CHARS, config.data.max_pair_tokens * CHARS_PER_TOKEN)
    pairs = [record for record in corpus.held_out if record.summaries and len(record.text) < longest]
    answers, passes = [], choose(model).passes
    # Of all files alike, whatever their order.
    for record in sorted(pairs, key=lambda record: sha256(record.id.encode()).digest())[:EVAL_PAIRS]:
        example = pair(record, record.summaries[0], tokenizer, config.data.preamble)
        answers.append(
            losses_by_token(model, example.tokens, SEGMENT_TOKENS, passes=passes)[-example.answer_tokens :].mean()
        )
    figures: dict[str, object] = {
        "held_out_answer_loss": round(float(np.mean(answers)), 3) if answers else None,
        "held_out_answers": len(answers),
    }
    if text is not None:
        tokens = tokenize.tokens([text], tokenizer)[: EVAL_TEXT_TOKENS + 1]
        figures["loss_by_position"] = loss_by_position(model, passes, tokens)
    return figures
