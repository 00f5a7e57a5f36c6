import json
import random
from dataclasses import replace

import numpy as np
import pytest
import zstandard

from configs.errors import ConfigError
from pipeline.sentences.key_sentences import KeySentences
from pipeline.sentences.weights import Weights
from pipeline.training import extract_fit, extract_targets, summarized
from pipeline.training.ridge import Ridge
from pipeline.training.summarized import Summarized

KEY = "We propose that the council of {} decide on the budget for {} because the report demands it."
REST = "Then some birds of {} were seen over a field near {} and nobody cared at all, as was said."
PLACES = ("Bergen", "Porto", "Ghent", "Turin", "Lyon", "Basel")


def pair(number):
    chance = random.Random(number)
    places = [chance.sample(PLACES, 2) for _ in range(24)]
    sentences = [(KEY if at % 6 == 0 else REST).format(*names) for at, names in enumerate(places)]
    summary = " ".join(sentences[::6])
    text = "\n\n".join(" ".join(sentences[at : at + 3]) for at in range(0, 24, 3))
    return Summarized(f"made/{number}", "specs", "The Council", text, (summary,))


@pytest.fixture(scope="module")
def fit():
    documents = [pair(number) for number in range(24)]
    start = extract_fit.blank(*extract_fit.rarities(documents))
    return extract_fit.Fit([extract_fit.lesson(document, start) for document in documents], start)


def test_what_summaries_hold_is_learned(fit):
    document = pair(99)
    keys = KeySentences(40, learned=fit.everything)
    keys.feed(document.text)
    best, *others = sorted(keys.finish().select(), key=lambda sentence: -sentence.score)
    assert best.text.startswith("We propose")
    assert best.score > 1 > max(sentence.score for sentence in others)


def test_each_document_has_weights_that_have_not_seen_it(fit):
    first, second = fit.of(pair(0)), fit.everything
    assert len(fit.without) == len(extract_fit.GROUPS)
    assert not np.array_equal(first.sentences, second.sentences)


def test_weights_come_back_as_they_were_stored(fit):
    stored = fit.everything.to_bytes()
    assert Weights.from_bytes(stored).to_bytes() == stored


def test_the_oracle_takes_what_the_summary_holds():
    sentences = [extract_targets.read(text) for text in ("The cat sat.", "A dog ran off.", "Cats sit on mats.")]
    reference = extract_targets.read("Cats sit on mats in rows.")
    assert extract_targets.oracle(sentences, np.array([3, 4, 4]), reference, 4) == [2]
    density = extract_targets.densities(sentences, [reference])
    assert density.argmax() == 2


def test_a_ridge_without_a_part_is_the_ridge_of_the_rest():
    chance = np.random.default_rng(0)
    rows, targets, weights = chance.normal(size=(60, 4)), chance.normal(size=(60, 2)), chance.uniform(1, 2, 60)
    whole, part, rest = Ridge(4, 2), Ridge(4, 2), Ridge(4, 2)
    whole.add(rows, targets, weights)
    part.add(rows[:20], targets[:20], weights[:20])
    rest.add(rows[20:], targets[20:], weights[20:])
    assert np.allclose(whole.without(part).solve(3.0), rest.solve(3.0), atol=1e-5)


def test_pairs_are_chosen_by_kind(tmp_path):
    rows = [
        {"id": "squality/1", "text": "A story.", "summary": "One.", "summaries": ["One.", "Two."]},
        {"id": "qmsum/1/q2", "text": "A: Hello.", "summary": "An answer."},
        {"id": "qmsum/1", "text": "A: Hello. " * 1000, "summary": "A meeting."},
    ]
    data = zstandard.compress("\n".join(map(json.dumps, rows)).encode())
    (tmp_path / "stories_meetings.jsonl.zst").write_bytes(data)
    found = {document.kind: document for document in summarized.documents(tmp_path)}
    assert set(found) == {"stories", "meetings"}
    assert found["stories"].references == ("One.", "Two.")


def test_documents_with_a_summary_of_their_own_are_made():
    story = Summarized("a", "stories", "T", "The text.", ("One.", "Two."))
    paper = Summarized("b", "papers", "T", "The text.", ("First of all. Second of all. Third of all.",))
    first, second, third = summarized.with_own_summaries([story, paper, pair(0)])
    assert "# Summary\n\nTwo.\n" in first.text and first.text.endswith("The text.")
    assert second.text == "T\n\nFirst of all. Third of all.\n\nThe text."
    assert "# Executive Summary\n\nWe propose" in third.text
    assert [each.kind for each in (first, second, third)] == ["reports", "news", "reports"]
    assert first.fold == story.fold
    meeting = replace(story, kind="meetings")
    documents = [meeting, *[story, paper] * 4]
    assert [each.kind for each in summarized.learned(documents)[9:]] == ["news", "news"]


def test_sections_of_textbooks_are_joined(tmp_path):
    rows = [
        {
            "id": f"b/{order}",
            "group": "b",
            "order": order,
            "title": f"Book / Part / Title {order}",
            "text": f"Text {order}.",
            "summary": f"- Point {order} of the section. " * 20,
        }
        for order in (1, 0)
    ]
    (tmp_path / "textbooks.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (found,) = summarized.documents(tmp_path)
    assert found.text.index("Title 0") < found.text.index("Title 1")
    assert found.title == "Part" and not found.references[0].startswith("-")


def test_a_folder_without_pairs_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no documents with summaries"):
        summarized.documents(tmp_path)
