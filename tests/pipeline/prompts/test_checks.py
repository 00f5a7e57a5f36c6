"""An answer that says nothing, repeats its prompt or is not the JSON that was asked for gets a reason."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.settings import PromptSettings
from pipeline.prompts.checks import MAX_ERROR_CHARS, AnswerCheck, Verdict
from pipeline.prompts.template import render

LONG = "List the people who appear in the document, and say of each what they want and what becomes of them."
FACTS = {
    "type": "object",
    "required": ["title", "year"],
    "properties": {
        "title": {"type": "string"},
        "year": {"type": "integer"},
        "kind": {"enum": ["a very long name of a kind of document that nobody would ever write by chance"]},
    },
}


def judge(answer: str, instruction: str = "Summarize the document.", schema: dict | None = None) -> Verdict:
    return AnswerCheck(PromptSettings(instruction=instruction, json_schema=schema)).judge(answer)


@pytest.mark.parametrize("answer", ["", " ", "\n\t ", "\u00a0\u2003"])
@pytest.mark.parametrize("schema", [None, FACTS])
def test_blanks_are_an_empty_answer(answer, schema):
    assert judge(answer, schema=schema) == Verdict("", "empty", "the answer is empty")


@pytest.mark.parametrize(
    ("instruction", "answer"),
    [
        (LONG, LONG),
        (LONG, "In short: say of EACH what they\nwant, and what... becomes of them. Anna goes home."),
        ("Summarize the document.", "summarize the document"),
        ("Summarize the document.", "Summarize the document. It is about a whale."),
        ("Summarize the document.", "### Instruction\nSummarize the document.\n\n### Response\nIt is"),
        ("Summarize.", "  Summarize. "),
        ("Summarize.", "### Instruction\nSummarize."),
        ("Résumé!", "RÉSUMÉ"),
    ],
)
def test_an_answer_that_says_the_prompt_back_is_copied(instruction, answer):
    verdict = judge(answer, instruction)
    assert verdict.reason == "copied"
    assert verdict.error.startswith("the answer copies the prompt: ")
    assert verdict.summary == answer.strip()


@pytest.mark.parametrize(
    ("instruction", "answer"),
    [
        (LONG, "The people who appear in the document are Anna and Peter; Anna wants what becomes of them."),
        ("Summarize the document.", "It is about a whale, and how to summarize the document that tells of it."),
        ("Title?", "Title of the book: Moby-Dick"),
        ("Summarize.", "Summarize the accounts every month, says the manual."),
        ("???", "What?"),
        ("请总结这篇文档。", "这篇文档讲的是一头鲸鱼。"),
    ],
)
def test_words_that_a_prompt_and_an_answer_share_by_chance_are_not_copied(instruction, answer):
    assert judge(f" {answer}\n", instruction) == Verdict(answer)


@pytest.mark.parametrize(
    "answer",
    [
        '{"year": 1851, "title": "Moby-Dick — 白鯨"}',
        '{"year": 1851, "title": "Moby-Dick — 白鯨",}',
        "{'year': 1851, 'title': 'Moby-Dick — 白鯨'}",
        'Here it is:\n```json\n{"year": 1851, "title": "Moby-Dick — 白鯨"}\n```',
        '{"title": "Moby-Dick — 白鯨", "year": 1851',
    ],
)
def test_an_answer_that_fits_as_it_is_or_mended_becomes_canonical_json(answer):
    assert judge(answer, schema=FACTS) == Verdict('{"title":"Moby-Dick — 白鯨","year":1851}')


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("The book is about a whale.", "the answer is not JSON"),
        ('{"year": "soon", "title": "x"}', "at $.year: 'soon' is not of type 'integer'"),
        ('{"title": "x"}', "at $: 'year' is a required property"),
        ("[1851]", "at $: [1851] is not of type 'object'"),
        ('{"title": "x", "year": NaN}', "at $.year: 'NaN' is not of type 'integer'"),
        ('{"title": "x", "year": 1e999}', "the answer is not JSON: Out of range"),
        ("[" * 16_000, "the answer is not JSON: "),
        ('{"a":' * 3_000, "the answer is not JSON: "),
        ('{"a":' * 20_000, "the answer is not JSON, and with 100,000 characters too long to be repaired"),
    ],
    ids=lambda value: value[:30],
)
def test_an_answer_that_does_not_fit_keeps_its_text_and_gets_the_first_violation(answer, error):
    verdict = judge(answer, schema=FACTS)
    assert (verdict.summary, verdict.reason) == (answer, "schema")
    assert verdict.error.startswith(error)


def test_a_violation_is_short_whatever_the_answer_was():
    verdict = judge(json.dumps(["word"] * 5000), schema=FACTS)
    assert verdict.reason == "schema"
    assert len(verdict.error) == MAX_ERROR_CHARS


def test_an_answer_that_the_library_stumbles_over_is_rejected_and_does_not_raise():
    price = {"type": "object", "properties": {"price": {"multipleOf": 0.01}}}
    verdict = judge(f'{{"price": 1{"0" * 400}}}', schema=price)
    assert verdict.reason == "schema"
    assert "cannot be checked with the schema: OverflowError" in verdict.error


def test_the_schema_said_back_is_copied_even_where_it_fits():
    free = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    for answer in (json.dumps(free), '{"type": "object"}'):
        assert judge(answer, schema=free).reason == "copied"
    assert judge(render("Summarize.", FACTS), "Summarize.", FACTS).reason == "copied"
    assert judge('{"type": "objects"}', schema=free).reason is None


def test_a_value_that_the_schema_spells_out_is_not_copied():
    answer = {"kind": FACTS["properties"]["kind"]["enum"][0], "title": "x", "year": 1}
    assert judge(json.dumps(answer), schema=FACTS).reason is None
    assert judge(json.dumps(answer | {"title": LONG}), LONG, FACTS).reason == "copied"


def test_half_a_surrogate_pair_can_still_be_written_as_utf8():
    verdict = judge('{"title": "\\ud83d", "year": 1}', schema=FACTS)
    assert verdict == Verdict('{"title":"\\ud83d","year":1}')
    assert judge('{"title": 1, "year": "\\ud83d"}', schema=FACTS).error.encode()


@settings(deadline=None, max_examples=150)
@given(st.text(alphabet=st.sampled_from("{}[]\":,\\ \n-.0123eEu/*#`'tfnalsetru白\u00a0"), max_size=60))
def test_no_answer_raises_and_each_canonical_text_is_its_own_canonical_text(answer):
    check = AnswerCheck(PromptSettings(json_schema={"type": ["object", "array", "number", "boolean", "null"]}))
    verdict = check.judge(answer)
    verdict.summary.encode()
    if verdict.reason is None:
        assert check.judge(verdict.summary) == verdict


def test_a_question_without_a_schema_reads_as_it_always_did():
    assert render(" Summarize. ") == "\n\n### Instruction\nSummarize.\n\n### Response\n"


def test_a_question_shows_the_schema_in_one_spelling():
    schema = {"type": "object", "$schema": "https://json-schema.org/draft/2020-12/schema", "maxProperties": 3}
    text = render("Summarize. ", schema)
    assert text == render("Summarize.", dict(reversed(schema.items())))
    shown = 'Answer with JSON only, which fits this JSON schema: {"maxProperties":3,"type":"object"}'
    assert text == f"\n\n### Instruction\nSummarize.\n{shown}\n\n### Response\n"
