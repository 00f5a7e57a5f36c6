"""Extracts are the same however the text comes, and each section's are of its own sentences."""

import json
import random
from pydoc_data.topics import topics

import pytest

from configs.settings import InputSettings, ModelSettings, PromptSettings, SectionSettings
from pipeline.documents import reader as reading
from pipeline.documents.extracts import ExtractPrompts, Extracts
from pipeline.documents.handover import READ_ROW
from pipeline.documents.reader import Reader, ReaderSettings
from pipeline.documents.sources import list_documents

WHOLE = (PromptSettings(name="short", kind="extract", max_words=50), PromptSettings(name="long", kind="extract"))
OF_SECTIONS = (PromptSettings(name="section", kind="extract", max_words=30),)
CHAPTERS = [f"# {name}\n\n{text}\n" for name, text in sorted(topics.items())[:12]]
TEXT = "".join(CHAPTERS)
BOUNDS = [len("".join(CHAPTERS[:number])) for number in range(1, len(CHAPTERS))]


def rows(cuts: list[int], prompts: ExtractPrompts, save_at: int | None = None) -> list[dict[str, object]]:
    """Of the text fed in pieces, with what is stored and taken up again after one of them."""
    extracts, place = Extracts(prompts), 0
    for number, cut in enumerate([*sorted(cuts), len(TEXT)]):
        extracts.feed(TEXT[place:cut], [bound - place for bound in BOUNDS if place <= bound < cut])
        place = cut
        if number == save_at:
            extracts = Extracts.from_bytes(prompts, extracts.to_bytes())
    return extracts.rows()


@pytest.mark.parametrize("seed", range(4))
def test_any_pieces_give_the_same_and_so_does_a_stored_state(seed):
    chance = random.Random(seed)
    cuts = chance.sample(range(1, len(TEXT)), 30)
    prompts = ExtractPrompts(WHOLE, OF_SECTIONS)
    expected = rows([], prompts)
    assert rows(cuts, prompts) == rows(cuts, prompts, save_at=chance.randrange(30)) == expected
    assert [row["prompt_id"] for row in expected] == ["section"] * len(CHAPTERS) + ["short", "long"]


def test_sections_draw_on_their_own_sentences_and_leave_those_of_the_whole_alone():
    found = rows([], ExtractPrompts(WHOLE, OF_SECTIONS))
    for chapter, row in zip(CHAPTERS, found, strict=False):
        assert all(sentence["text"] in " ".join(chapter.split()) for sentence in row["sentences"])
    assert found[-2:] == rows([], ExtractPrompts(WHOLE))


def test_no_extract_is_longer_than_asked():
    for row in rows([], ExtractPrompts(WHOLE, OF_SECTIONS)):
        most = {"short": 50, "long": 120, "section": 30}[row["prompt_id"]]
        words = sum(len(sentence["text"].split()) for sentence in row["sentences"])
        assert words <= most or len(row["sentences"]) == 1


def test_answers_are_not_compared_with_very_long_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_COMPARED_BYTES", 20_000)
    (tmp_path / "long.md").write_text(TEXT)
    (tmp_path / "short.md").write_text(TEXT[:15_000])
    settings = InputSettings(sources=(str(tmp_path),))
    for prompts in (ExtractPrompts((), has_passages=True), ExtractPrompts(WHOLE, has_passages=True)):
        reader = Reader(ReaderSettings(settings, ModelSettings(), None, prompts))
        long, short = (reader.read(dict.fromkeys(READ_ROW.names) | each.as_row()) for each in list_documents(settings))
        assert (long["passages"] is None, short["passages"] is None) == (True, False)
        assert len(long["tokens"]) > len(short["tokens"]) and len(json.loads(long["extracts"])) == len(prompts.whole)


def test_a_reader_makes_them_of_short_and_long_documents_and_of_what_is_resumed(tmp_path):
    (tmp_path / "a.md").write_text(TEXT)
    (tmp_path / "b.md").write_text(TEXT[: len(TEXT) // 2])
    settings = InputSettings(sources=(str(tmp_path),), inline_bytes=len(TEXT.encode()) - 1)
    sections = SectionSettings(prompts=OF_SECTIONS)
    prompts = ExtractPrompts.of(WHOLE, sections)
    reader = Reader(ReaderSettings(settings, ModelSettings(), sections, prompts))
    empty = dict.fromkeys(READ_ROW.names)
    documents = list_documents(settings)
    read = [reader.read(empty | document.as_row()) for document in documents]
    resumed = reader.read(empty | documents[1].as_row() | {"state_uri": "s"})
    assert [row["is_streamed"] for row in [*read, resumed]] == [True, False, True]
    assert all(row["extracts"] for row in read) and resumed["extracts"] == read[1]["extracts"]
    without = Reader(ReaderSettings(settings, ModelSettings(), sections))
    for document, row in zip(documents, read, strict=True):
        plain = without.read(empty | document.as_row())
        assert plain["extracts"] is None
        assert {name: str(row[name]) for name in row if name != "extracts"} == {
            name: str(plain[name]) for name in plain if name != "extracts"
        }
