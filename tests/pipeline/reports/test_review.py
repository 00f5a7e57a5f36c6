"""What a review holds: today's rows alone, with the paragraphs of documents that are still what was read."""

import json
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from pipeline.documents import pinned
from pipeline.reports import source_texts
from pipeline.reports.review import review
from pipeline.reports.source_texts import CHANGED, Passage
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import MANIFEST
from tests.batch import FINISHED, RUN, Batch
from tests.outputs import job_row, write_part

TEXT = "# Title\n\nAlpha opened in 1990. It grew.\n\nBeta closed. Nobody knows why.\n"
ALPHA, BETA = "Alpha opened in 1990.", "Beta closed."


@pytest.fixture
def batch(tmp_path):
    return Batch(tmp_path)


def reviewed(batch, where=None, most=200):
    return review(Warehouse(str(batch.write())), where, most)


def test_a_document_has_its_sentences_within_their_paragraphs(batch):
    about = batch.document("a.txt", TEXT, "A report", warnings=["1 byte was replaced."])
    batch.extract(about, TEXT, ALPHA, BETA)
    batch.answer(about, TEXT, "It opened. Then 1991.", {"It opened.": ALPHA}, unsupported=["1991"])
    (document,) = reviewed(batch).documents
    assert (document.title, document.tokens, document.num_bytes) == ("A report", len(TEXT) // 4, len(TEXT))
    assert (document.cost, document.currency) == (Decimal("0.002"), "USD")
    assert (document.warnings, document.unsupported, document.note) == (1, 1, None)
    extract, answer = document.entries
    assert [each.text for each in extract.sentences] == [ALPHA, BETA]
    assert extract.sentences[0].passage == Passage("", ALPHA, " It grew.")
    (citation,) = answer.citations
    assert (citation.start, citation.end, citation.source.text) == (0, len("It opened."), ALPHA)
    assert citation.source.passage == Passage("", ALPHA, " It grew.")


def test_rows_of_before_there_were_extracts_are_answers(batch):
    about = batch.document("a.txt", TEXT)
    batch.answer(about, TEXT, "Something.", kind=None)
    (document,) = reviewed(batch).documents
    assert (document.unsupported, document.num_bytes, document.note) == (None, None, None)
    assert [(entry.is_extract, entry.text, list(entry.citations)) for entry in document.entries] == [
        (False, "Something.", [])
    ]


def test_tables_of_before_there_were_citations_are_read(batch):
    batch.answer(batch.document("a.txt", TEXT), TEXT, "Something.")
    batch.write()
    (part,) = batch.output.glob("summaries/*/*/*.parquet")
    older = pq.read_table(part, partitioning=None).drop_columns(["kind", "sentences", "citations", "unsupported"])
    pq.write_table(older, part)
    (document,) = review(Warehouse(str(batch.output))).documents
    assert [(entry.text, entry.unsupported) for entry in document.entries] == [("Something.", None)]


def test_only_what_counts_today_is_shown(batch):
    about = batch.document("a.txt", TEXT)
    batch.answer(about, TEXT, "Newest.")
    gone = batch.document("gone.txt", TEXT)
    batch.answer(gone, TEXT, "Of a document that is no more.")
    batch.listed.pop()
    without = batch.document("failed.txt", TEXT)
    output = batch.write()
    older = {"finished_at": FINISHED - timedelta(days=1), "kind": "answer", "prompt_id": "summary", "summary": "Older."}
    write_part(output, "summaries", "earlier", [about | older])
    found = review(Warehouse(str(output)))
    assert [document.document_id for document in found.documents] == [about["document_id"]]
    assert [entry.text for entry in found.documents[0].entries] == ["Newest."]
    assert (found.num_matching, found.num_without) == (1, 1)
    assert without["document_id"] not in {document.document_id for document in found.documents}


def test_documents_are_chosen_by_sql_over_their_rows(batch):
    for name in "abc":
        about = batch.document(f"{name}.txt", TEXT, name.upper())
        batch.answer(about, TEXT, "Something.")
        batch.extract(about, TEXT, ALPHA, prompt_id=f"of_{name}")
    found = reviewed(batch, "prompt_id IN ('of_a', 'of_c') -- two of them")
    assert [document.title for document in found.documents] == ["A", "C"]
    assert [len(document.entries) for document in found.documents] == [2, 2]
    with pytest.raises(ConfigError, match=r"--where no_such = 1.*no_such"):
        reviewed(batch, "no_such = 1")


def test_those_with_most_to_check_come_first_and_others_are_counted(batch):
    for name, unsupported, warnings in (("a", [], []), ("b", [], ["w"]), ("c", ["9"], []), ("d", ["8", "9"], [])):
        about = batch.document(f"{name}.txt", TEXT, name.upper(), warnings=warnings)
        batch.answer(about, TEXT, "In 8 or 9.", unsupported=unsupported)
    found = reviewed(batch, most=3)
    assert [document.title for document in found.documents] == ["D", "C", "B"]
    assert found.num_matching == 4


def test_answers_that_are_not_to_be_used_are_warnings_but_empty_sections_are_not(batch):
    about = batch.document("a.txt", TEXT)
    batch.answer(about, TEXT, "{", answer_error="not JSON")
    section = {"section_index": 0, "section_title": "Notes", "section_start": 0, "section_end": 9}
    batch.extract(about, TEXT, answer_error="no sentence", **section)
    (document,) = reviewed(batch).documents
    assert document.warnings == 1
    assert [(each.title, each.start, each.end, len(each.entries)) for each in document.sections] == [("Notes", 0, 9, 1)]


def test_sections_come_in_their_order_with_all_their_rows(batch):
    about = batch.document("a.txt", TEXT)
    for index in (10, 9, 2):
        section = {"section_index": index, "section_title": f"Part {index}"}
        batch.answer(about, TEXT, "Said.", prompt_id="of_section", **section)
        batch.extract(about, TEXT, ALPHA, prompt_id="points", **section)
    (document,) = reviewed(batch).documents
    assert [section.title for section in document.sections] == ["Part 2", "Part 9", "Part 10"]
    assert [[entry.prompt for entry in section.entries] for section in document.sections] == 3 * [
        ["points", "of_section"]
    ]


def test_who_says_a_sentence_is_shown(batch):
    about = batch.document("a.txt", TEXT)
    batch.extract(about, TEXT, ALPHA, BETA, summary=f"- Ann: {ALPHA}\n- {BETA}")
    (document,) = reviewed(batch).documents
    assert [each.text for each in document.entries[0].sentences] == [f"Ann: {ALPHA}", BETA]
    assert document.note is None


def test_a_source_that_changed_leaves_sentences_alone(batch):
    about = batch.document("a.txt", TEXT)
    batch.extract(about, TEXT, ALPHA)
    path = batch.root / "documents" / "a.txt"
    path.write_text(TEXT.replace("1990", "1991"), encoding="utf-8")
    (document,) = reviewed(batch).documents
    assert (document.note, document.num_bytes) == (CHANGED, None)
    assert [(each.text, each.passage) for each in document.entries[0].sentences] == [(ALPHA, None)]


def test_a_source_that_is_gone_leaves_sentences_alone(batch):
    batch.extract(batch.document("a.txt", TEXT), TEXT, ALPHA)
    (batch.root / "documents" / "a.txt").unlink()
    (document,) = reviewed(batch).documents
    assert document.note == "the document does not exist any more"
    assert document.entries[0].sentences[0].passage is None


def test_a_store_that_cannot_be_asked_is_asked_once(batch, monkeypatch):
    for name in ("a", "b"):
        batch.extract(batch.document(name, TEXT, source_uri=f"gone{name}://bucket/{name}"), TEXT, ALPHA)
        batch.extract(batch.document(name + name, TEXT, source_uri=f"gone://bucket/{name}"), TEXT, ALPHA)
    asked = []

    def read(self, rows, settings):
        asked.extend(row["source_uri"] for row in rows)
        return [row | {"error_class": "StorageError", "error_message": "The store is away."} for row in rows]

    monkeypatch.setattr(source_texts.ReaderProcess, "read", read)
    found = reviewed(batch).documents
    assert {document.note for document in found} == {"the store is away"}
    assert asked == ["gone://bucket/a", "gonea://bucket/a", "goneb://bucket/b"]


def test_reading_again_ends_at_some_time(batch, monkeypatch):
    monkeypatch.setattr(source_texts, "MOST_SECONDS_IN_ALL", -1.0)
    batch.extract(batch.document("a.txt", TEXT), TEXT, ALPHA)
    (document,) = reviewed(batch).documents
    assert document.note == source_texts.NO_TIME


def test_a_place_that_holds_something_else_is_not_shown_as_the_sentence(batch):
    about = batch.document("a.txt", TEXT)
    batch.extract(about, TEXT, ALPHA)["sentences"][0]["text"] = "Alpha closed in 1990."
    (document,) = reviewed(batch).documents
    assert "not at their places" in document.note
    assert document.entries[0].sentences[0].passage is None


def test_documents_in_a_file_of_several_are_found_by_the_manifest_of_their_run(batch):
    lines = [json.dumps({"id": name, "text": f"{TEXT}\n{name}"}) + "\n" for name in ("one", "two")]
    path = batch.root / "some.jsonl"
    path.write_text("".join(lines), encoding="utf-8")
    manifest = []
    for number, name in enumerate(("one", "two")):
        content = lines[number].encode()
        place = {"document_id": f"{path}#{name}", "source_uri": str(path), "size_bytes": len(content)}
        place["source_etag"] = pinned.hash_of(content.rstrip())
        batch.extract(batch.document(name, TEXT, format="json", **place), TEXT, BETA)
        at = {"kind": "jsonl", "name": None, "offset": number * len(lines[0].encode()), "length": len(content)}
        manifest.append(dict.fromkeys(MANIFEST.names) | place | {"within": [at]})
    assert {document.note for document in reviewed(batch).documents} == {source_texts.NOT_FOUND}
    folder = batch.output / "_runs" / RUN / "manifests"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(manifest, MANIFEST), folder / "0001.parquet")
    found = review(Warehouse(str(batch.output))).documents
    assert [document.note for document in found] == [None, None]
    assert [document.entries[0].sentences[0].passage.after for document in found] == 2 * [" Nobody knows why."]


@pytest.mark.parametrize(("others", "is_read"), [({}, True), ({"of_another_version": 1}, False)])
def test_text_is_extracted_as_the_run_did(batch, others, is_read):
    text = "Žluťoučký kůň pěl.\n"
    about = batch.document("a.txt", text, encoding="windows-1250")
    batch.extract(about, text, text.strip())
    given = {"sources": ["elsewhere"], "encoding": "windows-1250"} | others
    write_part(batch.output, "jobs", RUN, [job_row("1", config=json.dumps({"input": given}))])
    (document,) = reviewed(batch).documents
    assert (document.note is None) == is_read
    assert document.entries[0].sentences[0].passage == (Passage("", text.strip(), "") if is_read else None)


def test_an_output_without_rows_is_an_empty_review(tmp_path):
    (tmp_path / "_runs").mkdir()
    found = review(Warehouse(str(tmp_path)))
    assert (found.documents, found.num_matching, found.num_without) == ([], 0, 0)
