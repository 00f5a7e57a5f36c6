import random
from itertools import pairwise

import pytest

from pipeline.sentences.lines import Kind
from pipeline.sentences.splitter import LONGEST_BLOCK, Splitter

DOCUMENT = """Café Noir
=========

Mr. Smith paid 3.50 euros, i.e. too much. “Who asked?” said the waiter—naïvely. See Fig. 3 for more! It
was late… The end came.

## Setting up

- First item of the list. It has two sentences.
2. Second item

```python
x = "One. Two. Three."
```

| a | b |
|---|---|

Grad G: I think so. We agree.
Professor F (by phone): Right.

HAMLET.
To be or not to be. That is it.

OPHELIA.
My lord.

HAMLET.
Get thee gone. Now.

2024-05-06 10:11:12 INFO started
2024-05-06 10:11:13 WARN slow disk

1 Introduction

這是第一句。這是第二句。
"""


def split(text, cuts=()):
    splitter = Splitter()
    found = []
    bounds = [0, *sorted(cuts), len(text)]
    for start, end in pairwise(bounds):
        found += splitter.feed(text[start:end])
    return found + splitter.finish()


def texts(text):
    return [sentence.text for sentence in split(text)]


def test_sentences_end_where_readers_see_it():
    found = texts(DOCUMENT)
    assert found[:7] == [
        "Café Noir",
        "Mr. Smith paid 3.50 euros, i.e. too much.",
        "“Who asked?” said the waiter—naïvely.",
        "See Fig. 3 for more!",
        "It was late…",
        "The end came.",
        "## Setting up",
    ]
    assert found[-2:] == ["這是第一句。", "這是第二句。"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Café Noir", Kind.HEADING),
        ("## Setting up", Kind.HEADING),
        ("1 Introduction", Kind.HEADING),
        ("First item of the list.", Kind.LIST),
        ("Second item", Kind.LIST),
        ('x = "One. Two. Three."', Kind.CODE),
        ("| a | b |", Kind.TABLE),
        ("2024-05-06 10:11:13 WARN slow disk", Kind.LOG),
        ("The end came.", Kind.PROSE),
    ],
)
def test_lines_have_kinds(text, kind):
    assert [sentence.kind for sentence in split(DOCUMENT) if sentence.text == text] == [kind]


def test_a_speaker_says_every_sentence_of_a_turn():
    said = {sentence.text: sentence.speaker for sentence in split(DOCUMENT)}
    assert said["I think so."] == said["We agree."] == "Grad G"
    assert said["Right."] == "Professor F (by phone)"
    assert said["Get thee gone."] == said["Now."] == "Hamlet"
    assert said["The end came."] == ""


def test_sentences_know_their_heading():
    found = {sentence.text: (sentence.section, sentence.heading) for sentence in split(DOCUMENT)}
    assert found["It was late…"] == (1, "Café Noir")
    assert found["Right."] == (2, "Setting up")


def test_offsets_are_those_of_the_text_and_of_its_bytes():
    encoded = DOCUMENT.encode()
    for sentence in split(DOCUMENT):
        verbatim = DOCUMENT[sentence.start : sentence.end]
        assert encoded[sentence.start_byte : sentence.end_byte].decode() == verbatim
        assert " ".join(verbatim.split()) == sentence.text


@pytest.mark.parametrize("seed", range(20))
def test_sentences_do_not_depend_on_the_pieces(seed):
    chance = random.Random(seed)
    text = DOCUMENT + "word " * 9_000 + "\n" + "Yes. " * 200 + DOCUMENT
    whole = split(text)
    assert split(text, [chance.randrange(len(text)) for _ in range(chance.choice([3, 400]))]) == whole


@pytest.mark.parametrize("seed", range(10))
def test_a_splitter_goes_on_from_its_state(seed):
    chance = random.Random(seed)
    cut = chance.randrange(len(DOCUMENT))
    first = Splitter()
    found = first.feed(DOCUMENT[:cut])
    second = Splitter.resumed(first.state())
    assert found + second.feed(DOCUMENT[cut:]) + second.finish() == split(DOCUMENT)


@pytest.mark.parametrize("text", ["word " * 100_000, "x" * 500_000, "." * 500_000, "a\n" * 100_000, "Mr. " * 100_000])
def test_a_line_or_paragraph_without_end_takes_little_memory(text):
    splitter, held = Splitter(), 0
    for start in range(0, len(text), 1000):
        splitter.feed(text[start : start + 1000])
        held = max(held, len(splitter.state()["_buffer"]) + sum(map(len, splitter.state()["_parts"])))
    assert held < 3 * LONGEST_BLOCK
