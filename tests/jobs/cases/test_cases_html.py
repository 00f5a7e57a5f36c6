"""Cases of pages that were once read wrong: what must be in their text, and what must not."""

import pytest

READ: dict[str, tuple[str, list[str], list[str]]] = {
    "01-ixbrl/filing.htm": (
        "exco-20261231",
        [
            "Net sales were $412.5 million in 2026, up 7% from $385.5 million, and revenue is recognised when control "
            "passes to the customer.",
            "Net sales | $ 412.5 | $ 385.5",
            "Net loss | (12.4) | 3.1",
        ],
        ["0009999999", "2026-12-31"],
    ),
    "02-edgar-txt/0009999999-26-000001.txt": (
        "EXAMPLE CO 10-K",
        ["# 10-K", "Net sales were $412.5 million in 2026.", "Net loss | (12.4)"],
        ["<", "style", "begin 644", "logo.jpg"],
    ),
    "02-edgar-txt/exco-20261231.htm": ("exco", ["Net sales were $412.5 million in 2026."], ["10-K", "TEXT"]),
    "03-html/page.html": (
        "Bridge closed after inspection - The Harbour Gazette",
        ["# Bridge closed after inspection", "It will reopen in spring.", "Year | Cars", "The formula E=mc^2 holds."],
        ["We value your privacy", "SPONSORED", "World", "\xad", "cables.#", "Read more"],
    ),
    "14-other/bomhtml": ("hello bom", ["hello bom"], ["<"]),
    "14-other/frag.html": ("Only a fragment", ["Only a fragment", "with two paragraphs."], ["<"]),
    "14-other/noext_html": ("hello there", ["hello there"], ["<", "saved"]),
    "14-other/page.asp": ("A page of another name.", ["A page of another name."], ["<"]),
    "14-other/page.php": ("Title", ["# Title", "text"], ["<"]),
    "15-sections/page.html": (
        "Setup guide",
        ["```", "# install packages", "## Costs and fees", "## Linked heading"],
        [],
    ),
    "18-sup/study.html": (
        "Dose study",
        [
            "Each vial held 5 × 10^6 cells in 2 m^2 trays; the rate was 10^-3 per day.",
            "The harbour covers 12 km^2 and cost $3[4] million in 1931[12].",
            "Water is H2O; the 5th trial used log_10 2.",
        ],
        [],
    ),
    "21-math/paper.html": (
        "Error table",
        [
            r"The loss is L=\frac{1}{2}mv^{2} at low speed.",
            r"Bessel | 1.3\times 10^{-4}",
            "The dose was 40 mg twice daily.",
        ],
        [],
    ),
    "23-html-misc/bom_page": ("Minutes", ["The committee met."], ["<", "\ufeff"]),
    "23-html-misc/svgtitle.html": ("Bridge report", ["# Bridge report", "The bridge is safe."], ["Menu icon"]),
    "23-html-misc/word-table.html": (
        "Costs",
        [
            "Item | 2025 | 2026",
            "Repairs | (12.4) | 3.1",
            "Wages | 40.0 | 41.5",
            "## Costs and fees",
            "The Alba ran twice a day.",
        ],
        [],
    ),
}


@pytest.mark.parametrize("name", READ)
def test_a_page_is_read_as_it_is_seen(case, name: str) -> None:
    title, lines, unseen = READ[name]
    shown = case(name)
    assert shown["title"] == title
    assert [line for line in lines if line not in shown["text"].splitlines()] == []
    assert [each for each in unseen if each in shown["text"]] == []
