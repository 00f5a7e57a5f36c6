"""A submission to EDGAR is taken apart: what its header says, and the documents that are for people."""

import binascii

import pytest

from configs.errors import EmptyDocumentError
from configs.settings import InputSettings
from pipeline.formats import edgar, registry
from pipeline.formats.notes import Notes
from tests.pdf import pdf

HEADER = """<SEC-DOCUMENT>0009999999-26-000001.txt : 20260302
<SEC-HEADER>0009999999-26-000001.hdr.sgml : 20260302
CONFORMED SUBMISSION TYPE:	10-K
CONFORMED PERIOD OF REPORT:	20251231
ITEM INFORMATION:		Results
FILED AS OF DATE:		20260301
		COMPANY CONFORMED NAME:			EXAMPLE  CO
		FORMER CONFORMED NAME:	OLD CO
</SEC-HEADER>
"""
SGML_HEADER = """<SUBMISSION>
<ACCESSION-NUMBER>0009999999-26-000001
<TYPE>10-K
<PERIOD>20251231
<FILING-DATE>20260301
<CONFORMED-NAME>EXAMPLE CO
"""
SIGNED = "-----BEGIN PRIVACY-ENHANCED MESSAGE-----\nProc-Type: 2001,MIC-CLEAR\nMIC-Info: RSA-MD5,RSA,\n gAxnIyS==\n\n"
PAGE = (
    "<html><head><title>exco</title><style>.a{display:none}</style></head><p>Net sales were &#36;4.<b class=a>9</b></p>"
)


def document(kind: str, name: str, text: str, description: str = "") -> str:
    about = f"<DESCRIPTION>{description}\n" if description else ""
    return f"<DOCUMENT>\n<TYPE>{kind}\n<SEQUENCE>1\n<FILENAME>{name}\n{about}<TEXT>\n{text}\n</TEXT>\n</DOCUMENT>\n"


def uuencoded(data: bytes, name: str) -> str:
    lines = (binascii.b2a_uu(data[start : start + 45]).decode() for start in range(0, len(data), 45))
    return f"begin 644 {name}\n{''.join(lines)}`\nend"


def read(submission: str | bytes, name: str = "a.txt") -> tuple[str | None, list[str], Notes]:
    """Title, lines that are not blank, and notes, of what is recognized by its content."""
    data = submission if isinstance(submission, bytes) else submission.encode()
    assert registry.recognized(name, data) == "edgar"
    notes = Notes()
    title, text = edgar.parse(data, notes, InputSettings(sources=("unused",)))
    return title, [line for line in "".join(text).splitlines() if line.strip()], notes


def test_each_document_is_read_by_its_own_content() -> None:
    xml = '<XML>\n<?xml version="1.0"?>\n<a><shares><value>10</value></shares><owner>A. Person</owner></a>\n</XML>'
    submission = (
        HEADER
        + document("10-K", "exco.htm", f"<XBRL>\n{PAGE}\n</XBRL>", "ANNUAL REPORT")
        + document("EX-99.1", "ex99.txt", "<PAGE>\nA plain exhibit.\n<TABLE>\n<S> <C>\nRent  4\n</TABLE>")
        + document("4", "form4.xml", xml)
        + document("EX-99.2", "ex.pdf", "<PDF>\n" + uuencoded(pdf("Words of a PDF."), "ex.pdf") + "\n</PDF>")
        + document("GRAPHIC", "logo.jpg", uuencoded(b"\xff\xd8\xff" * 50, "logo.jpg"))
        + document("GRAPHIC", "chart.gif", uuencoded(b"GIF89a", "chart.gif"))
        + document("XML", "R1.htm", "<html><p>The statements again.</p></html>")
        + document("EX-101.SCH", "exco.xsd", "<XBRL>\n<schema/>\n</XBRL>")
    )
    title, lines, notes = read(submission)
    assert title == "EXAMPLE CO 10-K 2025-12-31"
    assert lines == [
        *("Company: EXAMPLE CO", "Form: 10-K", "Period: 2025-12-31", "Filed: 2026-03-01", "Items: Results"),
        *("# 10-K ANNUAL REPORT", "Net sales were $4."),
        *("# EX-99.1", "A plain exhibit.", "Rent  4"),
        *("# 4", "shares: 10", "owner: A. Person"),
        *("# EX-99.2", "Words of a PDF."),
    ]
    assert notes.warnings == ["Not read: 4 of 8 documents in the submission (1 EX-101.SCH, 2 GRAPHIC, 1 XML)."]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", [HEADER, SGML_HEADER, SIGNED + HEADER, "\n" + HEADER])
def test_headers_of_all_times_are_read(header: str, ends: str) -> None:
    title, lines, _ = read((header + document("10-K", "a.htm", PAGE)).replace("\n", ends))
    assert title == "EXAMPLE CO 10-K 2025-12-31"
    assert lines[-2:] == ["# 10-K", "Net sales were $4."]


def test_a_page_with_the_lines_of_its_document_above_is_read_as_the_page() -> None:
    assert read(document("10-K", "exco.htm", PAGE), "exco.htm")[:2] == ("exco", ["Net sales were $4."])
    assert read(document("S-3", "", "As filed in May."), "0000.txt")[0] == "S-3"


def test_a_document_that_cannot_be_read_is_told_of() -> None:
    submission = HEADER + document("10-K", "a.htm", PAGE) + document("EX-1", "b.htm", "<html><!-- --></html><script>")
    lines, notes = read(submission + document("EX-2", "c.pdf", "<PDF>\nbegin 644 c.pdf\n#AAAA\nend\n</PDF>"))[1:]
    assert lines[-1] == "Net sales were $4."
    assert notes.warnings == ["Not read: 1 of 3 documents in the submission (1 EX-2 (CorruptError))."]


def test_a_submission_without_documents_is_empty() -> None:
    with pytest.raises(EmptyDocumentError, match="no document in it"):
        read(HEADER)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.txt", b"A <SEC-DOCUMENT> is"),
        ("a.xml", b"<DOCUMENT><p>"),
        ("a.txt", b"-----BEGIN PRIVACY-ENHANCED MESSAGE-----"),
    ],
)
def test_other_documents_are_no_submissions(name: str, head: bytes) -> None:
    assert registry.recognized(name, head) != "edgar"
