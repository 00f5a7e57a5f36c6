"""Thoughts before an answer are no part of it, and thoughts that did not end are no answer."""

import pytest

from configs.settings import PromptSettings
from pipeline.prompts.checks import AnswerCheck, Verdict

UNENDED = Verdict("", "thinking", "the answer is nothing but thoughts that did not end")


@pytest.mark.parametrize(
    ("answer", "begins", "verdict"),
    [
        ("<think>\nHm.\n</think>\n\nIt is a bridge.", False, Verdict("It is a bridge.")),
        (" <think></think>It is a bridge.", False, Verdict("It is a bridge.")),
        ("Hm.</think> It is a bridge.", True, Verdict("It is a bridge.")),
        ("<think>Hm.</think>It is a bridge.", True, Verdict("It is a bridge.")),
        ("<think>Hm, it", False, UNENDED),
        ("Hm, it", True, UNENDED),
        ("", True, UNENDED),
        ("<think>Hm.</think>\n", False, Verdict("", "empty", "the answer is empty")),
        ("HTML has no tag </think>.", False, Verdict("HTML has no tag </think>.")),
        ("The tag <think> opens it.", False, Verdict("The tag <think> opens it.")),
    ],
)
def test_an_answer_is_what_follows_the_thoughts(answer, begins, verdict):
    assert AnswerCheck(PromptSettings(), begins).judge(answer) == verdict


def test_json_is_found_behind_the_thoughts():
    check = AnswerCheck(PromptSettings(json_schema={"type": "object"}))
    assert check.judge('<think>{"a": 0}?</think>{"a": 1}') == Verdict('{"a":1}')
