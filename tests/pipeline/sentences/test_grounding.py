import random

import pytest

from pipeline.sentences.facts import Facts, numbers
from pipeline.sentences.grounding import citations, unsupported
from pipeline.sentences.key_sentences import KeySentences

DOCUMENT = """# The harbor of Bergen

In 1843 the council of Bergen bought 1,250 oak planks for $3.5 million. Captain Anna Holm led seven men.
About 42% of the ships were lost, or 0.50 of those that sailed in the 2nd year.

MINUTES OF THE BOARD: napoleon wrote to KING OSCAR. It cost 2,000,000 crowns, and twelve thousand more.
Elsewhere it was 7,5 [3,4].
"""
TEMPLATES = (
    "In {} the fleet of {} lost some ships.",
    "The council paid {} crowns to {} for repairs.",
    "About {}% of the men in {} were sick.",
)


def read(text):
    keys = KeySentences()
    keys.feed(text)
    return keys.finish()


@pytest.fixture(scope="module")
def keys():
    return read(DOCUMENT)


@pytest.mark.parametrize(
    "answer",
    [
        "The council paid 3,500,000 dollars in 1843.",
        "It bought 1250 planks and cost 2 million crowns.",
        "Captain Holm led 7 men. They lost 42 percent.",
        "Half, that is 0.5, sailed in the 2nd year.",
        "Twelve thousand were added.",
        "Letters went from Napoleon to King Oscar.",
        "Overall, the harbor of Bergen is described.",
        "In summary, 7,5 is 7.5 as in sources 3 and 4.",
    ],
)
def test_what_the_document_holds_is_supported_however_it_is_written(keys, answer):
    assert unsupported(answer, keys.facts) == []


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("In 1844 it was bought.", ["1844"]),
        ("They bought 1,251 planks.", ["1,251"]),
        ("It cost 3.6 million.", ["3.6 million"]),
        ("Captain Holm led nine men.", ["nine"]),
        ("The council of Oslo met Anna Bergman.", ["Oslo", "Bergman"]),
        ("Peter Holm led the men.", ["Peter"]),
        ("Zorkinski led the men.", ["Zorkinski"]),
        ("It cost 2,843 crowns.", ["2,843"]),
    ],
)
def test_what_it_does_not_hold_is_named(keys, answer, found):
    assert [each.text for each in unsupported(answer, keys.facts)] == found
    assert all(answer[each.start : each.end] == each.text for each in unsupported(answer, keys.facts))


def test_two_hundred_invented_numbers_and_their_true_twins():
    chance = random.Random(0)
    places = ("Bergen", "Porto", "Ghent", "Turin")
    true = chance.sample(range(100, 9_999), 200)
    told = [(chance.choice(TEMPLATES), number, chance.choice(places)) for number in true]
    facts = read("\n\n".join(template.format(f"{number:,}", place) for template, number, place in told)).facts
    invented = [chance.choice([number for number in range(100, 9_999) if number not in true]) for _ in true]
    flagged_true = sum(bool(unsupported(template.format(number, place), facts)) for template, number, place in told)
    flagged_invented = sum(
        bool(unsupported(template.format(number, place), facts))
        for (template, _, place), number in zip(told, invented, strict=True)
    )
    assert (flagged_true, flagged_invented) == (0, 200)


def test_each_sentence_of_an_answer_has_its_passage(keys):
    answer = "- Bergen's council bought oak planks.\n- Many ships were lost."
    found = citations(answer, keys)
    encoded = DOCUMENT.encode()
    assert [answer[each.answer_start : each.answer_end] for each in found] == [
        "Bergen's council bought oak planks.",
        "Many ships were lost.",
    ]
    assert ["oak planks" in found[0].text, "ships were lost" in found[1].text] == [True, True]
    for each in found:
        assert " ".join(encoded[each.start_byte : each.end_byte].decode().split()) == each.text
        assert 0 < each.score <= 1
        assert each.section == "The harbor of Bergen"


def test_a_sentence_of_other_words_has_no_passage(keys):
    assert citations("Quarks decay.", keys) == []


def test_facts_come_back_with_the_state(keys):
    again = KeySentences.from_bytes(keys.to_bytes())
    assert again.facts.holds(["1843"]) and not again.facts.holds(["1844"])


def test_numbers_have_one_form():
    assert [forms[0] for forms in numbers("1,234 and 1234.0, 007, 3.50%, v2.x and 21st")] == [
        "1234",
        "1234",
        "7",
        "3.5",
        "21",
    ]


def test_what_is_held_is_never_missed_and_little_else_seems_held():
    facts = Facts()
    for number in range(20_000):
        facts.add(str(number))
    assert all(facts.holds([str(number)]) for number in range(0, 20_000, 7))
    assert sum(facts.holds([str(number)]) for number in range(20_000, 40_000)) <= 2
