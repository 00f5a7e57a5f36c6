"""What `jobs.extract` shows is what a run reads."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from configs.settings import InputSettings, ModelSettings
from jobs import exits
from models.weights.tokenizer import Tokenizer
from pipeline.documents.handover import READ_ROW
from pipeline.documents.reader import Reader, ReaderSettings
from pipeline.documents.sources import list_documents
from tests.containers import zip_of

FRENCH = "Le garçon mange des pêches près du café ; voilà une phrase française assez longue pour que l'on devine.\n" * 4
PAGE = (
    '<html><head><meta charset="iso-8859-2"><title>Počátek</title></head>'
    "<body><h1>Úvod</h1><p>Žluťoučký kůň.</p></body></html>"
)


@pytest.fixture
def extract(warm):
    return lambda *arguments: warm("jobs.extract", [*map(str, arguments)])


@pytest.fixture
def folder(tmp_path) -> Path:
    home = tmp_path / "docs"
    home.mkdir()
    (home / "plain.md").write_text("# A title\n\nSome text.\n")
    (home / "french.txt").write_bytes(FRENCH.encode("cp1252"))
    (home / "marked.txt").write_bytes(("Český text.\n" * 9).encode("utf-16"))
    (home / "page.html").write_bytes(PAGE.encode("iso-8859-2"))
    (home / "cut.txt.gz").write_bytes(gzip.compress(FRENCH.encode() * 50)[:-9])
    (home / "two.zip").write_bytes(zip_of({"a.md": b"# Of a\n", "t.csv": b"id,text\nrow,Second.\n"}))
    (home / "records.jsonl").write_text('{"id": "one", "text": "First."}\n{"id": "two", "other": 1}\n')
    return home


def test_each_document_says_how_it_is_read_or_why_it_cannot_be(folder, extract):
    run = extract(folder, "--json")
    assert run.returncode == exits.PARTIAL, run.stderr
    shown = {Path(line["document_id"]).name: line for line in map(json.loads, run.stdout.splitlines())}
    taken = {name: (line["format"], line["encoding"], line["encoding_chosen_by"]) for name, line in shown.items()}
    assert taken == {
        "plain.md": ("text", None, None),
        "french.txt": ("text", "cp1252", "guessed"),
        "marked.txt": ("text", "utf-16-le", "mark"),
        "page.html": ("html", "iso8859-2", "declared"),
        "cut.txt.gz": (None, None, None),
        "records.jsonl#one": ("json", None, None),
        "records.jsonl#2": (None, None, None),
        "two.zip#a.md": ("text", None, None),
        "two.zip#t.csv#row": ("csv", None, None),
    }
    assert shown["french.txt"]["text"] == FRENCH
    assert (shown["page.html"]["title"], shown["page.html"]["text"]) == ("Počátek", "# Úvod\nŽluťoučký kůň.\n")
    plain = shown["plain.md"]
    assert plain["title"] == "A title" and plain["warnings"] == []
    assert plain["sections"] == [{"title": "A title", "start": 0, "end": plain["tokens"]}]
    errors = {name: line["error_class"] for name, line in shown.items() if line["error_class"]}
    assert errors == {"cut.txt.gz": "CorruptError", "records.jsonl#2": "CorruptError"}
    assert shown["cut.txt.gz"]["text"] is None and "breaks off" in shown["cut.txt.gz"]["error_message"]


def test_the_text_and_the_tokens_are_those_of_a_run(folder, extract):
    run = extract(folder / "french.txt", folder / "page.html", "--json")
    assert run.returncode == exits.SUCCESS, run.stderr
    shown = {line["document_id"]: line for line in map(json.loads, run.stdout.splitlines())}
    settings = InputSettings(sources=[str(folder / "french.txt"), str(folder / "page.html")])
    reader, tokenizer = Reader(ReaderSettings(settings, ModelSettings())), Tokenizer.find(None, ModelSettings().uri)
    for document in list_documents(settings):
        row = reader.read(dict.fromkeys(READ_ROW.names) | document.as_row())
        line = shown[document.document_id]
        assert (line["title"], line["tokens"]) == (row["title"], len(row["tokens"]))
        begun = np.concatenate([[tokenizer.begin_id], tokenizer.encode(line["text"])])
        assert row["tokens"].tolist() == begun.tolist()


def test_settings_of_the_run_apply_and_people_read_it_too(folder, extract):
    run = extract(folder / "records.jsonl", "input.text_field=other")
    assert run.returncode == exits.PARTIAL
    assert "the field 'other', which input.text_field names, is missing" in run.stdout
    run = extract(folder / "page.html")
    assert run.returncode == exits.SUCCESS, run.stderr
    assert "encoding  iso8859-2, as the document declares" in run.stdout
    assert "# Úvod\nŽluťoučký kůň." in run.stdout


def test_what_is_not_there_is_refused(tmp_path, extract):
    run = extract(tmp_path / "nothing.txt")
    assert run.returncode == exits.REFUSED and "nothing.txt" in run.stderr


def test_an_object_is_a_line_for_whatever_splits_lines(tmp_path, extract):
    (tmp_path / "a.txt").write_text("one\u2028two\x85three\u2029four ž")
    (line,) = extract(tmp_path / "a.txt", "--json").stdout.splitlines()
    assert json.loads(line)["text"] == "one\u2028two\x85three\u2029four ž" and "ž" in line
