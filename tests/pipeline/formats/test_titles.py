"""Titles in metadata: which are none."""

import time

import pytest

from pipeline.formats.titles import checked

NONE = [
    None,
    "",
    " \t ",
    "Microsoft Word - draft7.doc",
    "Microsoft Word - Annual Report",
    "Microsoft PowerPoint - ODL 3q16 update.pptx",
    "Microsoft Word Document",
    "untitled",
    "Untitled-1",
    "Untitled Document",
    "Document1",
    "Document 12",
    "Dokument1",
    "Doc1",
    "Book1",
    "Binder1.pdf",
    "Presentation2",
    "PowerPoint Presentation",
    "PowerPoint-Präsentation",
    "Présentation PowerPoint",
    "Slide 1",
    "Scanned Document",
    "scan.pdf",
    "scan0001.pdf",
    "i-xx_Report-fm.indd",
    "Quarterly plan final.docx",
    "notes.txt",
    "10811.exe",
    "88300 162..177",
    "905_Precinct_NoOU",
    "2026-11-26-minutes",
    "C:\\Users\\me\\report",
    "file:///home/me/report",
    "https://example.org/a/b",
    "12345",
    "2026-11-26",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "{{ title }}",
    "þÿ\0T\0i",
    "\ue001\ue002\ue003",
    "R\ufffdport",
    "x" * 1001,
]
TITLES = [
    "Minutes of the Harbour Committee",
    "Annual Report 2026",
    "Report on the tides",
    "COVID-19",
    "Node.js in Action",
    "A guide to README.md",
    "Document management in ports",
    "Word order in Latin",
    "Untitled works of the masters",
    "Image processing",
    "Test-driven development",
    "Nineteen Eighty-Four",
    "年度报告",
    "Отчёт",
    "R2-D2",
    "TCP/IP",
    "Input/output",
]


@pytest.mark.parametrize("title", NONE, ids=ascii)
def test_what_is_no_title(title: str | None) -> None:
    assert checked(title) is None


@pytest.mark.parametrize("title", TITLES)
def test_what_is_a_title(title: str) -> None:
    assert checked(title) == title


def test_a_title_becomes_one_line() -> None:
    assert checked(" Imports\n and\texports\0") == "Imports and exports"


def test_no_title_is_searched_for_long() -> None:
    start = time.process_time()
    for unit in ("a", "_", "-", ".", "\\", " ", "a.", "a-1", "{", "untitled "):
        checked(unit * (1000 // len(unit)))
    assert time.process_time() - start < 1
