import pytest

from pipeline.sentences.key_sentences import KeySentences
from pipeline.sentences.speech import shown

SPOKEN = {
    "Two dollars for the uh for the add-on modules , and um three for the charger .": (
        "Two dollars for the add-on modules, and three for the charger."
    ),
    "And uh what 's the idea about uh the shape ?": "What's the idea about the shape?",
    "So , well , the the battery is in the popu popular sender .": "The battery is in the popular sender.",
    "Right , we decided on it , you know , and the T_V_ stays .": "We decided on it, and the TV stays.",
    "Okay , no , that is fine .": "No, that is fine.",
    "So that we can finish , the report must be short .": "So that we can finish, the report must be short.",
    "The cat is in the inn .": "The cat is in the inn.",
    "so like channel zero would be off .": "like channel zero would be off.",
    "Um .": "",
    "Mm-hmm , uh-huh , the price is twelve , um .": "The price is twelve.",
    "Their work working well , we had had enough .": "Their working well, we had enough.",
}


@pytest.mark.parametrize("text", sorted(SPOKEN))
def test_what_is_said_is_shown_without_hesitations_and_stammers(text):
    assert shown(text, is_spoken=True) == SPOKEN[text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Lachesis and the Atropos , both old .", "The Lachesis and the Atropos, both old."),
        ("And uh so it was , a year ... or two .", "And uh so it was, a year ... or two."),
        ("Version .5 of it , at 3 .14 .", "Version .5 of it, at 3 .14."),
        ("Nothing to change, here.", "Nothing to change, here."),
    ],
)
def test_what_is_written_keeps_its_words(text, expected):
    assert shown(text, is_spoken=False) == expected


def test_a_bullet_is_tidy_and_its_sentence_verbatim():
    said = "And uh we decided that the the remote control will have a rubber case , um , in yellow ."
    turns = [f"Grad A: {said}", *(f"Grad B: The number {at} is what was said in the last meeting ." for at in range(9))]
    text = "\n\n".join(turns)
    keys = KeySentences(30)
    keys.feed(text)
    (found,) = [each for each in keys.finish().select() if "rubber" in each.text]
    assert found.text == said == text[found.start : found.end]
    assert found.shown == "Grad A: We decided that the remote control will have a rubber case, in yellow."
    assert f"- {found.shown}" in keys.summary
