import contextlib

import pytest

from configs.errors import CorruptError, DocumentError, EmptyDocumentError, EncryptedError
from tests.cpu_limit import cpu_limit
from tests.documents_of_every_format import epub, jats, notebook, rtf
from tests.pipeline.formats.reading import read


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (r"Caf\'e9 \u8364?5\par", ["Café €5"]),
        (r"\f1 P\'f8\'edli\'9a\par", ["Příliš"]),
        (r"\uc2\u-10179??\u-8704??\par", ["😀"]),
        (r"{\outlinelevel0 Head}\par\pard Text\par", ["# Head", "Text"]),
        (r"\trowd\intbl a\cell b\par c\cell\row\pard after\par", ["a | b c", "after"]),
        (r"A\chftn{\footnote\pard An aside.} b\par", ["A[^1] b", "[^1]: An aside."]),
        (r"{\header Page 1}{\*\unknown x}{\pict\pngblip 89504e47}Text\par", ["Text"]),
        (r"{\v hidden}{\deleted gone}seen\par", ["seen"]),
        (r"10{\super 6} Hz\line H{\sub 2}O\par", ["10^6 Hz H2O"]),
        (r"{\field{\*\fldinst HYPERLINK x}{\fldrslt a link}} here\par", ["a link here"]),
        (r"{\shp{\*\shpinst{\sp{\sn a}{\sv b}}{\shptxt Boxed\par}}}Text\par", ["Boxed", "Text"]),
        (r"\{a\} \\ b\~c\_d\emdash\par", ["{a} \\ b c-d—"]),
        (r"{\pict\bin3 }}}after}Text\par", ["Text"]),
        (r"{\upr{old}{\*\ud{new}}}\par", ["new"]),
    ],
)
def test_rtf(body: str, expected: list[str]) -> None:
    assert read("a.rtf", rtf(body))[1] == expected


def test_rtf_has_a_title_and_tells_where_it_breaks_off() -> None:
    whole = rtf(r"{\info{\title Minutes of May}{\author A}}Text\par")
    assert read("a.rtf", whole) == ("Minutes of May", ["Text"], [])
    assert read("a.rtf", whole[:-1])[2] == ["The RTF breaks off before its end."]


def test_rtf_in_a_multibyte_code_page() -> None:
    source = b"{\\rtf1\\ansi\\ansicpg932 " + b"".join(b"\\'%02x" % byte for byte in "会議".encode("cp932")) + b"\\par}"
    assert read("a.rtf", source)[1] == ["会議"]


def subtitles(*cues: str, vtt: bool = True) -> list[str]:
    timed = [
        f"{number}\n00:00:{number * 4:02}.000 --> 00:00:{number * 4 + 4:02}.000 align:start\n{cue}\n"
        for number, cue in enumerate(cues, 1)
    ]
    source = "\n".join(timed)
    return read("a", (("WEBVTT\n\nSTYLE\n::cue {}\n\n" + source) if vtt else source.replace(".000", ",000")).encode())[
        1
    ]


def test_subtitles_have_no_numbers_times_notes_or_tags() -> None:
    assert subtitles("<b>One</b> &amp; two.", "NOTE not a note\nmore") == ["One & two.", "NOTE not a note more"]
    assert subtitles("{\\an8}<i>Three.</i>", "No.", "No.", vtt=False) == ["Three.", "No.", "No."]


def test_speakers_are_named() -> None:
    assert subtitles("<v Ann Lee>We vote.", "<v.loud Bo>Not now.</v>") == ["Ann Lee: We vote.", "Bo: Not now."]


def test_rolling_captions_are_read_once() -> None:
    rolling = ["so<00:00:01.200><c> the</c>", "so the\nwe<00:00:04.300><c> vote</c>", "we vote\nnow"]
    assert subtitles(*rolling) == ["so the we vote now"]
    plain = ["so the", "so the\nwe vote", "we vote\nnow", "now\nand then"]
    assert subtitles(*plain, vtt=False) == ["so the we vote now and then"]


def test_jats_has_its_title_sections_references_and_formulas() -> None:
    body = (
        "<sec><title>Methods</title><p>Cables<xref ref-type='bibr' rid='b1'>1</xref> at 10<sup>6</sup> Hz<sup><xref "
        "ref-type='bibr'>2</xref></sup>.</p><sec><title>Deep</title><table-wrap><table><tr><td>a</td><td><p>b</p></td>"
        "</tr></table></table-wrap><p>So <inline-formula><tex-math>x^2</tex-math></inline-formula> &nbsp;&mdash; yes"
        "</p></sec></sec>"
    )
    front = (
        "<contrib-group><contrib><name><surname>Lee</surname><given-names>Ann</given-names></name></contrib>"
        "</contrib-group><abstract><p>We found.</p></abstract>"
    )
    reference = "<ref><label>1</label><mixed-citation>Lee A. <source>Cables</source>.</mixed-citation></ref>"
    back = f"<ref-list>{reference}</ref-list>"
    title, lines, _ = read("a.xml", jats("Cracks in <italic>cables</italic>", body, front, back))
    assert title == "Cracks in cables" and lines == [
        *("# Cracks in cables", "Ann Lee", "## Abstract", "We found.", "## Methods", "Cables[1] at 10^6 Hz[2]."),
        *("### Deep", "a | b", "So x^2 — yes", "## References", "1 Lee A. Cables."),
    ]


def test_xml_without_a_known_form_has_a_line_for_each_text() -> None:
    source = "<?xml version='1.0' encoding='iso-8859-2'?><d i='7'><a>Příliš</a><b>žluťoučký <i>kůň</i> úpěl</b><c/></d>"
    assert read("a", source.encode("iso-8859-2"))[1] == ["Příliš", "žluťoučký kůň úpěl"]


@pytest.mark.parametrize("source", [b"<?xml " + b" " * 1_000_000, b"<a>" + b"&" * 500_000, b"<a>" + b"&x;" * 200_000])
def test_hostile_xml_takes_no_time(source: bytes) -> None:
    with cpu_limit(5), contextlib.suppress(DocumentError):
        read("a.xml", source)


def test_tei_has_its_title_and_divisions() -> None:
    source = (
        '<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>Letters</title></titleStmt>'
        "</fileDesc></teiHeader><text><body><div><head>First</head><p>Dear <name>Ann</name>,<lb/>come.</p></div></body>"
        "</text></TEI>"
    )
    assert read("a", source.encode()) == ("Letters", ["# Letters", "## First", "Dear Ann, come."], [])


def test_xml_that_is_not_well_formed_is_read_as_far_as_it_goes() -> None:
    assert read("a.xml", b"<doc><p>AT&T and you</p></doc>")[1] == ["AT&T and you"]
    _, lines, warnings = read("a.xml", b"<doc><p>One</p><p>Two")
    assert lines == ["One", "Two"] and warnings[0].startswith("The XML is not well formed (")
    with pytest.raises(EmptyDocumentError):
        read("a.xml", b" \n")
    with pytest.raises(CorruptError, match="beyond all measure"):
        read("a.xml", b"<a>" * 5000 + b"x")


def test_notebooks_have_text_code_and_output_without_pictures() -> None:
    outputs: list[dict[str, object]] = [
        {"output_type": "stream", "text": ["10%\r100%\n", "\x1b[31mred\x1b[0m\n"]},
        {
            "output_type": "display_data",
            "data": {"image/png": "aaaa", "text/plain": "<Figure size 640x480 with 1 Axes>"},
        },
        {"output_type": "execute_result", "data": {"text/html": "<table><tr><td>1</td><td>2</td></tr></table>"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["\x1b[0m"]},
    ]
    _, lines, warnings = read("a", notebook([("markdown", "# Findings"), ("code", "# plot\nplot()")], outputs))
    assert lines == [
        *("# Findings", "```python", "# plot", "plot()", "```", "```", "100%", "red", "```", "```", "1 | 2", "```"),
        *("```", "ValueError: no", "```"),
    ]
    assert warnings == ["Pictures were not read: 1."]


def test_old_and_broken_notebooks() -> None:
    old = b'{"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": "x", "outputs": []}]}]}'
    assert read("a", old)[1] == ["```", "x", "```"]
    for broken in (b'{"cells": [', b'{"cells": {"cell_type": 1}, "nbformat": 4', b"[1]"):
        with pytest.raises(CorruptError, match="notebook"):
            read("a.ipynb", broken)


def test_chapters_of_a_book_have_headings_of_their_own_or_of_its_contents() -> None:
    chapters = {
        "1.xhtml": "<p>It began.</p>",
        "2.xhtml": "<h2>Second</h2><p>It went on.</p>",
        "3.xhtml": "<p>End</p><p>.</p>",
    }
    title, lines, _ = read("a.epub", epub(chapters, toc={"1.xhtml": "First", "3.xhtml": "End"}))
    assert title == "Minutes of a Year" and lines == [
        *("# Minutes of a Year", "A. Person", "## First", "It began.", "## Second", "It went on.", "## End", "."),
    ]


def test_a_book_with_its_own_title_page_has_no_other() -> None:
    lines = read("a.epub", epub({"1.xhtml": "<h1>Minutes of a Year</h1><p>Text</p>"}))[1]
    assert lines == ["# Minutes of a Year", "Text"]


def test_protected_books_are_unreadable() -> None:
    method = '<encryption><EncryptedData><EncryptionMethod Algorithm="{}"/></EncryptedData></encryption>'
    chapters = {"1.xhtml": "<p>Text</p>"}
    with pytest.raises(EncryptedError, match="DRM"):
        read("a", epub(chapters, encryption=method.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc")))
    fonts = epub(chapters, encryption=method.format("http://www.idpf.org/2008/embedding"))
    assert "Text" in read("a", fonts)[1]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('a,b\n1,"x, y"\n2,"two\nlines"\n', ["a | b", "1 | x, y", "2 | two lines"]),
        ("a;b\n1,5;2\n", ["a | b", "1,5 | 2"]),
        ("a\tb\n1\t\n\n", ["a | b", "1"]),
        ("sep=;\na;b\n", ["a | b"]),
        ("word\nother\n", ["word", "other"]),
        ('a|b\n"say ""yes"""|2\n', ["a | b", 'say "yes" | 2']),
        ("a,b\r\n1,2\r\n", ["a | b", "1 | 2"]),
    ],
)
def test_tables_in_text(source: str, expected: list[str]) -> None:
    assert read("a.csv", source.encode())[1] == expected


def test_a_large_table_is_read_as_a_whole_piece_by_piece() -> None:
    rows = "".join(f'{number},"name, {number}"\n' for number in range(150_000))
    with cpu_limit(10):
        lines = read("a.csv", rows.encode("utf-16"))[1]
    assert len(lines) == 150_000 and lines[-1] == "149999 | name, 149999"
