"""Cases of formats that were once read as plain text: what is in their text, or why they are refused."""

import pytest

from tests.jobs.cases.conftest import CASES

READ = {
    "13-mail/message.eml": ["Subject: Vote postponed – café", "see the attached minutes. Café at noon."],
    "13-mail/archive.mbox": ["# Vote postponed – café", "Café at noon."],
    "14-other/README": ["# A readme"],
    "14-other/article.xml": [
        "# Cracks in bridge cables",
        "We found cracks in two cables.",
        "## Methods",
        "5 × 10^6 Hz",
    ],
    "14-other/bomhtml": ["hello bom"],
    "14-other/frag.html": ["Only a fragment\n", "with two paragraphs."],
    "14-other/latin1.xml": ["Těšíme se na příští schůzi. Výbor zítra žádá o šek."],
    "14-other/leading.pdf": [],
    "14-other/leading_nl_pdf": [],
    "14-other/memo.rtf": ["The committee agreed to postpone the vote. Café at noon."],
    "14-other/noext_html": ["hello there"],
    "14-other/noext_pdf": [],
    "14-other/notebook.ipynb": ["# Findings\nThe bridge is safe.", "plot()"],
    "14-other/page.asp": ["A page of another name."],
    "14-other/page.mhtml": ["The committee agreed – yes."],
    "14-other/page.php": ["# Title\n", "text"],
    "14-other/table.csv": ["id | name | amount\n", "1 | Harbour, Ltd. | 10\n"],
    "14-other/talk.vtt": ["so the committee agreed to postpone it"],
}
REFUSED = {"14-other/doc.ps": "not text but PostScript", "14-other/Document.PDF.txt": "PDF is damaged"}
MARKUP = ("<p", "=C3", "=E2", "\\par", "image/png", "-->", "cell_type", "begin 644")


@pytest.mark.parametrize("name", READ)
def test_the_text_is_what_a_reader_sees(case, name: str) -> None:
    text = case(name)["text"]
    assert text.strip() and all(words in text for words in READ[name])
    assert not any(mark in text for mark in MARKUP)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_by_its_name(case, name: str) -> None:
    assert REFUSED[name] in case(name)["error_message"]


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared is absent")
def test_no_case_is_forgotten() -> None:
    names = {str(path.relative_to(CASES)) for folder in ("13-mail", "14-other") for path in (CASES / folder).iterdir()}
    assert names == READ.keys() | REFUSED.keys()
