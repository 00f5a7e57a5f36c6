"""What a quote says of documents in windows is what the engine then reads and answers of them."""

from dataclasses import replace

import pytest

from configs.settings import InputSettings, PromptSettings, SummarizeConfig
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Answer, Request
from pipeline.actor.reduction import Texts
from pipeline.actor.windows import Windows
from pipeline.planning.windowed import Beside, Windowed
from pipeline.prompts.bound import BoundPrompts
from tests.growing_backend import GrowingBackend
from tests.one_actor import tokenizer
from tests.pipeline.actor.test_windows import tokens_of

LENGTHS = (90, 500, 2500)


class OfOneLength(Texts):
    """Answers as texts of as many tokens as they have, which an answer of random tokens need not come to."""

    def of(self, prompt: int, answer: Answer) -> str:
        return "~" * len(answer.tokens)


def config(mode: str) -> SummarizeConfig:
    # Sampled, since what repeats itself is cut short.
    prompts = tuple(
        PromptSettings(name=name, instruction="line", max_tokens=most, temperature=2.0)
        for name, most in (("one", 12), ("other", 7))
    )
    return SummarizeConfig(input=InputSettings(sources=("x",)), prompts=prompts, long_documents=mode)


@pytest.mark.parametrize("mode", ["windows", "map_reduce"])
@pytest.mark.parametrize("context", [200, 400])
def test_of_a_document_in_windows_prompts_and_answers_are_quoted_as_they_come(mode, context):
    asked = config(mode)
    bound, _ = BoundPrompts(asked.prompts, None, tokenizer()).of("")
    answers: list[int] = []
    # All will do: what is wrong with an answer would be tried again.
    prompts = tuple(replace(prompt, check=lambda tokens: answers.append(len(tokens))) for prompt in bound)
    engine = Engine(GrowingBackend(context, 4 * context), set(), 3, 32)
    subject = Windows(engine, OfOneLength(asked.prompts, tokenizer()), mode == "map_reduce")
    for length in LENGTHS:
        subject.submit(Request(length, ArrayFeed(tokens_of(length)), prompts))
    read = num_windows = 0
    while subject.busy:
        done = subject.step()
        assert not done.failed
        # The rest are tokens of answers, each the next one's input.
        read += sum(done.shares.values()) - done.answer_tokens
        num_windows += sum(max(1, len(each.windows)) for each in done.finished)
    most = engine.longest(prompts)
    assert most is not None
    assert Windowed(asked, tokenizer(), most).all(LENGTHS) == Beside(num_windows, read - sum(LENGTHS), sum(answers))
    assert (len(answers) > 2 * num_windows) is (mode == "map_reduce")
