import io
import zipfile
from datetime import date, datetime, time

import pytest

from configs.errors import CorruptError, EncryptedError, TooLargeError
from tests.documents_of_every_format import docx, odp, ods, odt, open_document, pptx, word_paragraph, xlsx, zipped
from tests.pipeline.formats.reading import read


def lines(body: str, **parts: str) -> list[str]:
    return read("a.docx", docx(body, **parts))[1]


def test_headings_of_word_are_those_of_styles_and_outline_levels() -> None:
    styles = {"Heading1": "# One", "Own": "# One", "Clause": "## One", "": "One"}
    assert [lines(word_paragraph("One", style))[0] for style in styles] == list(styles.values())
    assert lines(word_paragraph("One", more='<w:outlineLvl w:val="2"/>')) == ["### One"]
    assert lines(word_paragraph("One", "Heading1", '<w:outlineLvl w:val="9"/>')) == ["One"]


def test_the_title_of_word_is_that_of_its_properties_if_it_is_one() -> None:
    assert read("a", docx(word_paragraph("One"), title="Minutes of May"))[0] == "Minutes of May"
    assert read("a", docx(word_paragraph("One"), title="Microsoft Word - draft7.doc"))[0] is None


def test_changes_in_word_are_read_as_accepted() -> None:
    body = (
        "<w:p><w:r><w:t>We </w:t></w:r><w:ins><w:r><w:t>will</w:t></w:r></w:ins><w:del><w:r><w:delText>may</w:delText>"
        "</w:r></w:del><w:moveFrom><w:r><w:t>there</w:t></w:r></w:moveFrom><w:r><w:t xml:space='preserve'> vote</w:t>"
        "</w:r></w:p><w:p><w:pPr><w:rPr><w:del/></w:rPr></w:pPr><w:r><w:t>To</w:t></w:r></w:p>"
        + word_paragraph("gether")
    )
    assert lines(body) == ["We will vote", "Together"]


def test_hidden_text_and_codes_of_fields_are_not_read() -> None:
    body = (
        "<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r><w:r><w:rPr><w:vanish w:val='0'/></w:rPr>"
        "<w:t>seen</w:t></w:r><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
    )
    assert lines(body) == ["seen"]


def test_a_table_of_word_has_a_line_for_each_row() -> None:
    cell = "<w:tc><w:tcPr/>{}</w:tc>"
    rows = [["Item", "2026"], ["Repairs", "12.4"], ["", "3.1"]]
    table = "".join(f"<w:tr>{''.join(cell.format(word_paragraph(t)) for t in row)}</w:tr>" for row in rows)
    gone = f"<w:tr><w:trPr><w:del/></w:trPr>{cell.format(word_paragraph('gone'))}</w:tr>"
    assert lines(f"<w:tbl><w:tblPr/>{table}{gone}</w:tbl>") == ["Item | 2026", "Repairs | 12.4", " | 3.1"]


def test_numbers_of_lists_are_counted_as_word_does() -> None:
    level = '<w:lvl w:ilvl="{0}"><w:start w:val="1"/><w:numFmt w:val="{1}"/><w:lvlText w:val="{2}"/></w:lvl>'
    abstract = "".join([level.format(0, "decimal", "%1."), level.format(1, "lowerLetter", "%1.%2)")])
    numbering = (
        f'<w:abstractNum w:abstractNumId="5">{abstract}</w:abstractNum>'
        f'<w:abstractNum w:abstractNumId="6">{level.format(0, "bullet", "*")}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="5"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="6"/></w:num>'
        '<w:num w:numId="3"><w:abstractNumId w:val="5"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="4"/>'
        "</w:lvlOverride></w:num>"
    )

    def item(number: int, at: int) -> str:
        return word_paragraph("x", more=f'<w:numPr><w:ilvl w:val="{at}"/><w:numId w:val="{number}"/></w:numPr>')

    places = [(1, 0), (1, 1), (1, 1), (1, 0), (1, 1), (2, 0), (3, 0), (3, 0), (1, 0)]
    expected = ["1. x", "1.a) x", "1.b) x", "2. x", "2.a) x", "- x", "4. x", "5. x", "6. x"]
    assert lines("".join(item(*place) for place in places), numbering=numbering) == expected


def test_notes_of_word_follow_the_text_and_comments_are_counted() -> None:
    body = '<w:p><w:r><w:t>Costs rose</w:t><w:footnoteReference w:id="2"/></w:r></w:p>' + word_paragraph("End")
    footnotes = (
        f'<w:footnote w:type="separator" w:id="0">{word_paragraph("line")}</w:footnote>'
        f'<w:footnote w:id="2">{word_paragraph("Net of tax.")}</w:footnote>'
    )
    comments = f'<w:comment w:id="1">{word_paragraph("Really?")}</w:comment>'
    _, found, warnings = read("a", docx(body, footnotes=footnotes, comments=comments))
    assert found == ["Costs rose[^1]", "End", "[^1]: Net of tax."] and warnings == ["Comments were not read: 1."]


def test_text_boxes_are_read_once_and_exponents_and_formulas_survive() -> None:
    box = f"<w:txbxContent>{word_paragraph('Boxed')}</w:txbxContent>"
    body = (
        '<w:p><w:r><w:t>Area in m</w:t></w:r><w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>2</w:t></w:r>'
        '<w:r><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f"<mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
        "<w:p><m:oMath><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>"
        "</m:oMath></w:p>"
    )
    assert lines(body) == ["Area in m^2", "Boxed", "(a+b)/2"]


def test_slides_have_headings_tables_and_notes_and_hidden_ones_are_counted() -> None:
    table = "<p:graphicFrame><a:tbl>{}</a:tbl></p:graphicFrame>".format(
        "<a:tr><a:tc><a:txBody><a:p><a:r><a:t>1</a:t></a:r></a:p></a:txBody></a:tc><a:tc><a:txBody><a:p><a:r><a:t>2"
        "</a:t></a:r></a:p></a:txBody></a:tc></a:tr>"
    )
    slides = [("First", "Text", "Say it"), ("", "More", ""), ("Hidden", "x", "")]
    title, found, warnings = read("a", pptx(slides, title="Vote", hidden=1, more=table))
    assert title == "Vote" and warnings == ["Hidden slides were not read: 1."]
    assert found == ["## First", "Text", "1 | 2", "Notes: Say it", "## Slide 2", "More", "1 | 2"]


def test_values_of_sheets_are_those_that_a_reader_sees() -> None:
    rows = [
        ["When", "Share", "Sum"],
        [date(2026, 3, 2), 0.125, 0.1 + 0.2],
        [datetime(2026, 3, 2, 10, 30), 0.5, 3],
        [time(7, 5), None, True],
        [],
        [None, "x\ny", None],
    ]
    title, found, warnings = read("a", xlsx(rows, "Sums of May", {"B2": "0.0%", "B3": "0%"}, hidden="secret"))
    assert title == "Sums of May" and warnings == ["Hidden sheets were not read: 1."]
    assert found == [
        *("## Decisions", "When | Share | Sum", "2026-03-02 | 12.5% | 0.3", "2026-03-02 10:30:00 | 50% | 3"),
        *("07:05:00 |  | TRUE", " | x y"),
    ]


def test_formulas_that_were_never_computed_are_counted() -> None:
    _, found, warnings = read("a", xlsx([["Sum", "=A1+1"], ["=B1"]]))
    assert found == ["## Decisions", "Sum"] and warnings[0].startswith(
        "Formulas without a stored value were not read: 2;"
    )


def test_opendocument_has_headings_lists_notes_and_no_deleted_or_hidden_text() -> None:
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="2">Vote</text:h><text:list><text:list-item><text:p>one</text:p>'
        "<text:list><text:list-item><text:p>deep</text:p></text:list-item></text:list></text:list-item></text:list>"
        '<text:p>A<text:s text:c="3"/>B<text:note><text:note-citation>1</text:note-citation><text:note-body>'
        "<text:p>Aside</text:p></text:note-body></text:note><office:annotation><text:p>Hm</text:p></office:annotation></text:p>"
    )
    title, found, warnings = read("a", odt(body, "Minutes of May"))
    assert title == "Minutes of May" and warnings == ["Comments were not read: 1."]
    assert found == ["## Vote", "- one", "- deep", "A B[^1]", "[^1]: Aside"]


def test_sheets_and_slides_of_opendocument() -> None:
    assert read("a", ods([["a", "b"], ["", "c"]]))[1] == ["## Decisions", "a | b", " | c"]
    assert read("a", odp("Vote", "Text"))[1] == ["## Vote", "Text"]
    many = '<table:table><table:table-row table:number-rows-repeated="1048576"><table:table-cell><text:p>x</text:p>'
    many += "</table:table-cell></table:table-row></table:table>"
    assert len(read("a", open_document("spreadsheet", many))[1]) == 1000


def test_office_with_a_password_is_unreadable() -> None:
    packed = open_document("text", "<text:p>x</text:p>")
    with pytest.raises(EncryptedError, match="password"):
        read("a", zipped_with(packed, {"META-INF/manifest.xml": "<m><encryption-data/></m>"}))


def zipped_with(packed: bytes, parts: dict[str, str]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return zipped({name: archive.read(name) for name in archive.namelist()} | parts)


def test_a_bomb_in_an_office_file_stops_at_the_limit() -> None:
    bomb = docx(word_paragraph("x" * 30_000_000))
    with pytest.raises(TooLargeError, match=r"input\.max_expansion"):
        read("a", bomb)
    with pytest.raises(TooLargeError, match=r"input\.max_document_bytes"):
        read("a", bomb, max_expansion=100_000, max_document_bytes=20_000_000)


def test_a_cut_archive_is_corrupt() -> None:
    whole = docx(word_paragraph("One"))
    for name, data in {"a.docx": whole[: len(whole) // 2], "b.docx": whole[:-30]}.items():
        with pytest.raises(CorruptError, match="damaged"):
            read(name, data)


def test_entities_do_not_grow_and_files_are_not_fetched() -> None:
    grown = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    with pytest.raises(CorruptError, match="beyond all measure"):
        read("a.xml", f'<!DOCTYPE x [<!ENTITY a0 "ha">{grown}]><x>so &a9; end</x>'.encode())
    body = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd"><!ENTITY g "good">]><x>so &f; &g;&nbsp;end</x>'
    assert read("a.xml", body.encode())[1] == ["so good end"]
