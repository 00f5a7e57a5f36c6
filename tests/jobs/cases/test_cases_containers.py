"""Cases of archives and JSON lines: each file and line is a document."""

from tests.jobs.cases.conftest import CASES


def test_the_file_in_a_tar_archive_is_read(case) -> None:
    assert case("06-compress/arch.tar.gz#doc.txt")["text"] == (CASES / "06-compress" / "doc.txt").read_text()


def test_json_lines_are_read_also_after_compression_and_with_a_mark(case) -> None:
    read = {name: case(f"20-jsonl/{name}")["text"] for name in ("bom.jsonl#1", "crawl.jsonl.gz#2", "dump.jsonl#a/b#c")}
    assert read == {"bom.jsonl#1": "first with bom", "crawl.jsonl.gz#2": "gz two", "dump.jsonl#a/b#c": "odd id"}


def test_lines_that_are_no_documents_fail_alone(case) -> None:
    assert "'text'" in case("20-jsonl/dump.jsonl#10")["error_message"]
    assert "not valid UTF-8" in case("20-jsonl/latin.jsonl#1")["error_message"]
    assert case("20-jsonl/latin.jsonl#2")["text"] == "ok"
