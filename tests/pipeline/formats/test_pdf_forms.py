"""Fields that were filled in, and notes."""

from tests.pdf import drawn
from tests.pipeline.formats.test_pdf import text_of

TEXT = b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/TU(Name of applicant)/V(Jane Example)/Rect[%s]/F 4>>"
BOX = (
    b"<</Type/Annot/Subtype/Widget/FT/Btn/T(insured)/V/%s/AS/%s/AP<</N<</Yes 3 0 R/Off 3 0 R>>>>"
    b"/Rect[200 640 212 652]/F 4>>"
)


def form(*fields: bytes, page: list[tuple[float, float, float, str]]) -> str:
    """The fields stand in the catalog's form as well, as they must."""
    return text_of(drawn(page, more=b"/AcroForm<</Fields[%s]>>" % b"".join(fields), annotations=[fields]))


def test_a_value_follows_its_label() -> None:
    text = form(TEXT % b"200 695 400 711", page=[(60, 700, 10, "Name:"), (60, 600, 10, "Signed in Hull")])
    assert text == "Name: Jane Example\nSigned in Hull\n"


def test_a_value_without_a_label_has_its_name() -> None:
    assert (
        form(TEXT % b"200 695 400 711", page=[(60, 500, 10, "Application")])
        == "Name of applicant: Jane Example\nApplication\n"
    )


def test_boxes_are_ticked_or_not() -> None:
    for state, mark in ((b"Yes", "[x]"), (b"Off", "[ ]")):
        assert form(BOX % (state, state), page=[(60, 643, 10, "Insured:")]) == f"Insured: {mark}\n"


def test_notes_are_text_free_ones_in_their_place_and_others_at_the_end() -> None:
    free = b"<</Type/Annot/Subtype/FreeText/Rect[60 722 400 782]/Contents(Postponed until the auditors report.)>>"
    sticky = b"<</Type/Annot/Subtype/Text/Rect[500 700 520 720]/Contents(Ask the treasurer.)>>"
    hidden = b"<</Type/Annot/Subtype/Text/Rect[500 700 520 720]/Contents(Not for print)/F 2>>"
    text = text_of(drawn([(60, 600, 10, "The vote")], annotations=[[sticky, hidden, free]]))
    assert text == "Postponed until the auditors report.\nThe vote\nNote: Ask the treasurer.\n"
    assert text_of(drawn([], annotations=[[free]])) == "Postponed until the auditors report.\n"
