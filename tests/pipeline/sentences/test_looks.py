import pytest

from pipeline.sentences.splitter import Splitter
from pipeline.sentences.surface import Reader
from pipeline.sentences.vocabulary import WordTable

WHOLE = (
    "The committee decided that the harbor will be closed in winter.",
    "This paper shows that the harbor will be closed in winter.",
    "In this study, the committee measured the harbor for a year.",
    "Anna told the keeper of the lighthouse that he must leave.",
    "Keeper: The committee will close the old harbor in winter.",
)
LEANING = (
    "It decided that the harbor will be closed in winter.",
    "However, the harbor will be closed in the winter months.",
    "In that case, the harbor will be closed in the winter months.",
    "The harbor is closed by the committee in the following manner.",
    "Would the committee close the harbor in the winter months?",
    "Keeper: That is what they said it would be.",
)
POOR = (
    "“The harbor will be closed in winter,” said the old keeper.",
    '"The committee closes the harbor in winter," said the keeper.',
    "The keeper of the lighthouse knew that he must leave.",
    "Find the mean depth of the harbor in winter and summer.",
    "Keeper: The minutes of the committee are on the harbor website.",
)
BROKEN = (
    "the harbor will be closed in winter by the committee.",
    "The harbor (of the old committee will be closed in winter.",
    "With lots of harbors for the winter.",
    "Where the harbor is closed.",
    "Keeper: You put it in the harbor then, I think.",
    "Keeper: Let's look at the harbor and the committee first.",
)


def split(text):
    splitter = Splitter()
    return splitter.feed(text) + splitter.finish()


def surface(text):
    return Reader(WordTable({})).read(split(text))


@pytest.mark.parametrize("text", WHOLE)
def test_a_sentence_that_says_it_all_has_no_fault(text):
    read = surface(text)
    assert not (read.leans.any() or read.is_poor.any() or read.is_broken.any())


@pytest.mark.parametrize("text", LEANING)
def test_a_sentence_leans_on_what_is_before_it(text):
    assert surface(text).leans.all()


@pytest.mark.parametrize("text", POOR)
def test_a_sentence_can_stand_alone_and_say_little(text):
    read = surface(text)
    assert read.is_poor.all() and not read.leans.any()


@pytest.mark.parametrize("text", BROKEN)
def test_a_fragment_is_broken(text):
    assert surface(text).is_broken.all()


@pytest.mark.parametrize("marks", ["“”", '""'])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_what_stands_within_a_speech_is_known_by_the_marks_around_it(marks, size):
    opened, closed = marks
    text = (
        f"The keeper closed the harbor. {opened}Ships come in winter. They bring the mail. Nobody sees them.{closed} "
        "Anna left the harbor.\n\nThe ships came back in spring."
    )
    sentences = split(text)
    reader = Reader(WordTable({}))
    poor = [
        bool(each) for at in range(0, len(sentences), size) for each in reader.read(sentences[at : at + size]).is_poor
    ]
    assert poor == [False, True, True, True, False, False]
