"""Sections end at headings, or where they become too long; and are the same however the text came."""

from collections import deque

import pytest

from configs.settings import SectionSettings
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.documents.sections import Section, SectionFinder, before, headings
from tests.cpu_limit import cpu_limit

TOKENIZER = Tokenizer.load(checkpoint.resolve("default"))
TEXT = "\n".join(
    [
        "# A guide to everything",
        "word " * 30,
        "## Installing",
        "Short.",
        "## Running it",
        "more words " * 40,
        "3.1 Numbered by hand",
        "and so on " * 600,
        "CHAPTER IV. In which it ends",
        "the end " * 50,
    ]
)


def found(text: str, **settings) -> tuple[list[Section], list[int]]:
    finder, count = SectionFinder(SectionSettings(**{"least_tokens": 20} | settings)), 1
    for part in tokenize.cut([text]):
        ids, places = TOKENIZER.encode_with_places(part)
        finder.add(part, places, count)
        count += len(ids)
    return finder.sections, [*(section.start for section in finder.sections[1:]), count]


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# Title", "Title"),
        ("### Deep one ##", "Deep one"),
        ("# C# and F#  # \t", "C# and F"),
        ("## ####", "#"),
        ("#  \t ", None),
        ("2 Methods", "2 Methods"),
        ("1.2.3. Results of the survey", "1.2.3. Results of the survey"),
        ("Chapter 7", "Chapter 7"),
        ("APPENDIX A: tables", "APPENDIX A: tables"),
        ("#hashtag", None),
        ("1998 was a good year.", None),
        ("3 apples and a pear", None),
        ("2. Take the second road, and stop;", None),
        ("Section by section we go", None),
        ("    1 Indented", None),
        ("12 May is a holiday", None),
        ("12 May 2026", None),
        ("3 Boats were out of service and were repaired over the winter", None),
        ("10 Downing Street is the address of the office", None),
        ("Section 1201 proscribes devices or services that", None),
        ("Section 12 applies", None),
        ("Section 12", "Section 12"),
        ("Article 5 Payment of rent", "Article 5 Payment of rent"),
        ("Part II: The storm", "Part II: The storm"),
    ],
)
def test_what_a_heading_is(line, title):
    assert list(headings(f"before\n{line}\nafter")) == ([] if title is None else [(title, len("before\n"))])


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("# A\n\n```bash\n# fetch\n```\n# B\n", ["A", "B"]),
        ("# A\n~~~\n# fetch\n~~~\n# B\n", ["A", "B"]),
        ("# A\n```\n# one\n```\n# B\n```\n# two\n", ["A", "B"]),
        ("# within code\n```\n# B\n```bash\n# two\n```\n# C\n", ["B", "C"]),
        ("Text.\n\nA heading\n=========\n\nAnother one\n---\n\nLast.\n", ["A heading", "Another one"]),
        ("A heading\n=========\n", ["A heading"]),
        ("of a long paragraph\nthat ends here\n---\nand goes on\n", []),
        ("1. First cable\n2. Second cable\n\n1. Scope\n\nText.\n", ["1. Scope"]),
        ("| a | b |\n|---|---|\n\n***\n---\n", []),
    ],
)
def test_code_has_no_headings_and_underlined_lines_are_some(text, titles):
    assert [title for title, _ in headings(text)] == titles


def test_front_matter_has_no_headings():
    text = "---\ntitle: A\n# a comment\n---\n\n# B\n"
    assert [title for title, _ in headings(text, is_start=True)] == ["B"]
    assert [title for title, _ in headings("---\n# not closed\n", is_start=True)] == ["not closed"]


@pytest.mark.parametrize("filler", [" ", "#", "\t#", "1.", "chapter 1", "chapter ", "1 A"])
def test_no_line_takes_more_than_its_length_to_be_no_heading(filler):
    for line in (f"# a{filler * 200_000}b", f"# {filler * 200_000}b", filler * 200_000):
        with cpu_limit(5):
            deque(headings(line), maxlen=0)


def test_sections_begin_at_headings_and_short_ones_are_read_on():
    sections, ends = found(TEXT, most_tokens=100_000)
    titles = ["A guide to everything", "Installing", "3.1 Numbered by hand", "CHAPTER IV. In which it ends"]
    assert [section.title for section in sections] == titles
    ids = tokenize.tokens([TEXT], TOKENIZER)
    for section, end in zip(sections[1:], ends[1:], strict=True):
        assert section.title in TOKENIZER.decode(ids[section.start : end].tolist()).strip().partition("\n")[0]
    assert ends == [*(section.start for section in sections[1:]), len(ids)]


def test_a_long_section_is_cut():
    sections, ends = found(TEXT, most_tokens=500)
    lengths = [end - section.start for section, end in zip(sections, ends, strict=True)]
    assert max(lengths) == 500 and lengths.count(500) >= 2
    assert [section.title for section in sections if section.title][-1] == "CHAPTER IV. In which it ends"


def test_without_headings_every_section_but_the_last_is_as_long():
    sections, ends = found("plain text without any heading " * 900, most_tokens=1000)
    assert {end - section.start for section, end in zip(sections[:-1], ends[:-1], strict=True)} == {1000}
    assert found(TEXT, headings=False, most_tokens=400)[0][0] == Section(None, 0)


@pytest.mark.parametrize(("least_tokens", "most_tokens"), [(1, 64), (20, 500), (300, 5000), (3000, 3000)])
def test_at_every_cut_a_finder_can_go_on_where_another_stood(least_tokens, most_tokens):
    text = "".join(f"{number} Chapter\n{'word ' * (number * 37 % 400)}\n" for number in range(1, 150))
    parts = [(part, *TOKENIZER.encode_with_places(part)) for part in tokenize.cut([text])]
    settings = SectionSettings(least_tokens=least_tokens, most_tokens=most_tokens)
    finder, count = SectionFinder(settings), 1
    known = [(count, list(finder.sections))]
    for part, ids, places in parts:
        finder.add(part, places, count)
        count += len(ids)
        known.append((count, list(finder.sections)))
    assert len(parts) > 20
    for index, (tokens, sections) in enumerate(known):
        assert before(finder.sections, tokens) == sections
        resumed = SectionFinder(settings, sections)
        for (part, _, places), (at, _) in zip(parts[index:], known[index:], strict=False):
            resumed.add(part, places, at)
        assert resumed.sections == finder.sections
