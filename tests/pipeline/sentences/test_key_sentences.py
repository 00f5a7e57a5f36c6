import random
from itertools import pairwise

import pytest

from pipeline.sentences import key_sentences
from pipeline.sentences.key_sentences import KeySentences, bullets

TOPICS = ("the harbour", "a lighthouse", "the old keeper", "storms of winter", "ships from Norway", "the town council")
VERBS = ("protects", "changes", "remembers", "describes", "threatens", "repairs")


def document(num_paragraphs, seed=0):
    chance = random.Random(seed)
    lines = []
    for number in range(num_paragraphs):
        if number % 10 == 0:
            lines.append(f"# Chapter {number // 10}: {chance.choice(TOPICS).title()}")
        sentences = [
            f"In {1800 + chance.randrange(200)}, {chance.choice(TOPICS)} {chance.choice(VERBS)} {chance.choice(TOPICS)}"
            f" near the café, because {chance.choice(TOPICS)} {chance.choice(VERBS)} number {chance.randrange(999)}."
            for _ in range(chance.randrange(1, 6))
        ]
        lines.append(" ".join(sentences))
    return "\n\n".join(lines) + "\n"


TEXT = document(60)


def read(text, cuts=(), resumes=False, **settings):
    keys = KeySentences(**{"max_words": 80, "title": "The Lighthouse"} | settings)
    bounds = [0, *sorted(cuts), len(text)]
    for start, end in pairwise(bounds):
        keys.feed(text[start:end])
        if resumes:
            keys = KeySentences.from_bytes(keys.to_bytes())
    return keys.finish()


def test_a_summary_is_verbatim_in_order_and_within_its_length():
    keys = read(TEXT)
    found = keys.select()
    encoded = TEXT.encode()
    assert 40 < sum(len(sentence.text.split()) for sentence in found) <= 80
    assert [sentence.start_byte for sentence in found] == sorted(sentence.start_byte for sentence in found)
    for sentence in found:
        assert encoded[sentence.start_byte : sentence.end_byte].decode() == sentence.text
        assert sentence.section.startswith("Chapter")
    assert keys.summary == bullets(found) == "\n".join(f"- {sentence.text}" for sentence in found)


def test_summaries_of_several_lengths_come_of_one_pass():
    keys = read(TEXT)
    assert len(keys.select(30)) < len(keys.select(80))


def test_a_part_of_the_document_has_its_own():
    keys = read(TEXT)
    half = len(TEXT.encode()) // 2
    found = keys.select(60, start_byte=half)
    assert found and all(sentence.start_byte >= half for sentence in found)


def test_sections_are_summed_up_as_they_end():
    keys, place = KeySentences(80), 0
    for part in TEXT.split("# ")[1:]:
        keys.feed("# " + part)
        place += len(f"# {part}".encode())
        keys.end_section(place, [40])
    summaries = [summary for (summary,) in keys.finish().sections]
    assert len(summaries) == 6 and all(summaries)
    places = [sentence.start_byte for summary in summaries for sentence in summary]
    assert places == sorted(places)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("resumes", [False, True])
def test_the_result_depends_neither_on_pieces_nor_on_going_on(seed, resumes):
    chance = random.Random(seed)
    cuts = [chance.randrange(len(TEXT)) for _ in range(12)]
    assert read(TEXT, cuts, resumes).select() == read(TEXT).select()


def test_a_long_document_goes_on_with_few_candidates(monkeypatch):
    for name, value in {"CANDIDATES": 50, "SAMPLE": 40, "BATCH": 32, "SECTION_CANDIDATES": 10}.items():
        monkeypatch.setattr(key_sentences, name, value)
    text = document(300)
    whole = read(text)
    assert whole.num_sentences > 800
    assert len(whole.knowledge.candidates) < 3 * 128 + 40 + 32
    cuts = [random.Random(1).randrange(len(text)) for _ in range(10)]
    assert read(text, cuts, resumes=True).select() == whole.select()


def test_a_table_of_words_that_is_full_forgets_the_rare_ones(monkeypatch):
    monkeypatch.setattr("pipeline.sentences.vocabulary.MOST_STEMS", 300)
    monkeypatch.setattr("pipeline.sentences.vocabulary.KEPT_STEMS", 100)
    monkeypatch.setattr(key_sentences, "BATCH", 16)
    text = document(150)
    whole = read(text)
    assert len(whole.knowledge.table) <= 300 + 16 * 40
    cuts = [random.Random(2).randrange(len(text)) for _ in range(10)]
    assert read(text, cuts, resumes=True).select() == whole.select()


def test_a_speaker_is_named():
    text = "".join(
        f"Grad {'ABC'[at % 3]}: The {TOPICS[at % 6]} should be number {at} of our plan. We agree on that, I think.\n\n"
        for at in range(30)
    )
    found = read(text, max_words=40).select()
    assert found and all(sentence.shown.startswith("Grad ") for sentence in found)


def test_references_licenses_and_fragments_are_not_quoted():
    poor = "and the keeper of it was (of all people the old council and its many ships from Norway\n\n"
    apparatus = (
        "# References\n\nSmith, J. The lighthouse and the keeper of the harbour and its many ships. Norway Press.\n"
    )
    found = read(poor * 3 + TEXT + apparatus).select()
    assert not [sentence for sentence in found if "Norway Press" in sentence.text or "(of all" in sentence.text]
    assert not [sentence for sentence in found if sentence.section == "References"]


@pytest.mark.parametrize(
    "text", ["", "\n\n \n", "Word", "| a | b |\n| 1 | 2 |\n", "# Only a heading\n", "1 2 3 4 5 6 7 8\n" * 50]
)
def test_documents_without_sentences_have_what_there_is(text):
    found = read(text).select()
    assert bool(found) == bool(text.strip())


def test_a_log_has_lines_for_a_summary():
    text = "".join(
        f"2024-05-06 10:{at % 60:02}:00 INFO worker {at} finished job {at * 7 % 13} of the night\n" for at in range(200)
    )
    assert len(read(text).select()) > 1


def test_repeats_are_taken_once():
    text = TEXT + "\n\n".join(
        ["In 1999, the town council repairs the café near the harbour for ships from Norway."] * 30
    )
    found = [sentence.text for sentence in read(text).select()]
    assert len(found) == len(set(found))


def test_a_budget_below_every_sentence_gives_the_shortest():
    assert len(read(TEXT).select(2)) == 1


def test_a_state_of_another_version_is_refused(monkeypatch):
    state = read(TEXT).to_bytes()
    monkeypatch.setattr(key_sentences, "VERSION", 99)
    with pytest.raises(ValueError, match="version 2"):
        KeySentences.from_bytes(state)
