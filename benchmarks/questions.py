"""`python -m benchmarks.questions [tokens=30000] [questions=5]`: what more questions about one document cost.

One reading answered five times, against one reading plus five answers each timed by itself: CPU-seconds of one
thread, in one run. Prints JSON. 1.0 would do; answers that decode together cost less than by themselves.
"""

import numpy as np
import torch

from benchmarks import measure
from models.backends import engines
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.weights import checkpoint

ANSWER_TOKENS = 64
QUESTION_TOKENS = 20


def seconds_of(engine: Engine, tokens: np.ndarray, prompts: tuple[Prompt, ...]) -> float:
    engine.submit(Request("document", ArrayFeed(tokens), prompts))

    def read() -> None:
        while engine.busy:
            engine.step()

    return measure.cpu_seconds(read)


def main() -> None:
    given = measure.arguments(tokens="30000", questions="5")
    torch.set_num_threads(1)
    model = checkpoint.load(checkpoint.resolve("default"))
    random = np.random.default_rng(0)
    document = random.integers(1, model.config.vocab_size, int(given["tokens"]))
    # An id that no token has: every answer runs to its full length. Sampling, so that none goes round in circles.
    engine = engines.around(model, end_ids=(), num_slots=8, step_tokens=2048)
    engine.warm_up()
    asked = tuple(
        Prompt(tuple(random.integers(1, 1000, QUESTION_TOKENS).tolist()), Sampling(ANSWER_TOKENS, 1.0, seed=seed))
        for seed in range(int(given["questions"]))
    )
    glance = tuple(Prompt(each.tokens, Sampling(1)) for each in asked[:1])
    reading = min(seconds_of(engine, document, glance) for _ in range(2))
    # An answer by itself: over a document of one chunk, less that chunk with its question.
    answers = [seconds_of(engine, document[:64], (each,)) - seconds_of(engine, document[:64], glance) for each in asked]
    together = min(seconds_of(engine, document, asked) for _ in range(2))
    measure.publish(
        "questions",
        model="default",
        tokens=len(document),
        questions=len(asked),
        answer_tokens=ANSWER_TOKENS,
        reading_seconds=round(reading, 2),
        answers_seconds=round(sum(answers), 2),
        together_seconds=round(together, 2),
        ratio=round(together / (reading + sum(answers)), 3),
    )


if __name__ == "__main__":
    main()
