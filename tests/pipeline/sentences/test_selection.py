from pipeline.sentences.key_sentences import KeySentences
from pipeline.sentences.selection import Taste

WORDS = (
    *("harbor", "keeper", "council", "winter", "report", "budget", "island", "ferry"),
    *("market", "bridge", "school", "river", "castle", "garden", "engine", "letter"),
)


def document(heading="Summary"):
    """Sentences of several lengths, and a section in the middle."""
    lines = []
    for at in range(48):
        names = [WORDS[(at * step + step) % len(WORDS)] for step in (3, 5, 7, 9, 11)]
        long = f" near the {names[2]}, the {names[3]} and the {names[4]} of the old town" * (at % 3)
        lines.append(f"The {names[0]} needs the {names[1]} for the year {1900 + at}{long}.")
    lines[24:24] = [f"# {heading}", "The council needs the bridge for the year 1999 near the market.", "# The rest"]
    return "\n\n".join(lines)


def chosen(max_words, text, **taste):
    keys = KeySentences(max_words, taste=Taste(**taste))
    keys.feed(text)
    return keys.finish().select()


def test_little_of_a_budget_is_left_over():
    used = {
        waste: sum(len(each.text.split()) for words in range(20, 60) for each in chosen(words, document(), waste=waste))
        for waste in (0.0, 20.0)
    }
    assert used[20.0] > used[0.0]


def test_a_section_that_sums_up_comes_first():
    for heading, is_taken in (("Summary", True), ("Ferries", False)):
        found = {each.section for each in chosen(40, document(heading), waste=0.0)}
        assert (heading in found) == is_taken


def test_a_sentence_that_says_little_comes_after_those_that_say_more():
    text = document().replace("The keeper needs", "He said that he needs")
    assert "he needs" in " ".join(each.text for each in chosen(600, text, leans=-9.0, poor=-9.0))
    first = [each.text for each in chosen(60, text)]
    assert first and not [each for each in first if "he needs" in each]
