"""What `latest` may answer with: documents as their sources held them when they were last listed."""

from pathlib import Path

import pytest

from pipeline.driver import inventory
from pipeline.schemas.document import Document
from pipeline.storage import objects


@pytest.fixture
def listed(tmp_path):
    """Keeps a listing; then the URIs or ids below the output with their etags."""
    output = str(tmp_path / "output")

    def keep(sources: list[str], documents: dict[str, str], ids: dict[str, str] | None = None) -> dict[str, str]:
        """`documents` are etags by URI, `ids` the names that a manifest gave."""
        found = [Document((ids or {}).get(uri, uri), uri.partition("#")[0], etag, 1) for uri, etag in documents.items()]
        inventory.keep(output, sources, found)
        tables = objects.read_tables(objects.list_files(f"{output}/listing"))
        return {row["document_id"]: row["source_etag"] for table in tables for row in table.to_pylist()}

    keep.output = Path(output)
    return keep


def test_the_next_listing_of_the_same_sources_takes_its_place(listed):
    assert listed(["/in"], {"/in/a": "1", "/in/b": "1"}) == {"/in/a": "1", "/in/b": "1"}
    assert listed(["/in"], {"/in/a": "2", "/in/c": "1"}) == {"/in/a": "2", "/in/c": "1"}


def test_what_was_found_before_is_not_written_again(listed):
    listed(["/in"], {"/in/a": "1"})
    (file,) = (listed.output / "listing").iterdir()
    before = file.stat().st_mtime_ns
    listed(["/in"], {"/in/a": "1"})
    assert file.stat().st_mtime_ns == before
    listed(["/in"], {"/in/a": "2"})
    assert file.stat().st_mtime_ns != before


def test_other_sources_of_the_same_output_stay(listed):
    listed(["/in"], {"/in/a": "1"})
    assert listed(["/other"], {"/other/b": "1"}) == {"/in/a": "1", "/other/b": "1"}
    assert listed(["/in/sub"], {"/in/sub/c": "1"}) == {"/in/a": "1", "/other/b": "1", "/in/sub/c": "1"}


def test_a_source_that_joins_others_still_speaks_for_what_lies_below_it(listed):
    listed(["/in"], {"/in/a": "1", "/in/gone": "1"})
    assert listed(["/in/", "/other"], {"/in/a": "2", "/other/b": "1"}) == {"/in/a": "2", "/other/b": "1"}
    assert len(list((listed.output / "listing").iterdir())) == 1


def test_a_source_that_is_taken_from_others_leaves_what_lies_below_them(listed):
    listed(["/in", "/other"], {"/in/a": "1", "/in/gone": "1", "/other/b": "1"})
    assert listed(["/in"], {"/in/a": "1"}) == {"/in/a": "1", "/other/b": "1"}


def test_a_glob_speaks_for_what_it_matches(listed):
    listed(["/in"], {"/in/a.txt": "1", "/in/b.md": "1", "/in/.hidden.txt": "1"})
    assert listed(["/in/*.txt"], {"/in/c.txt": "1"}) == {"/in/b.md": "1", "/in/.hidden.txt": "1", "/in/c.txt": "1"}


def test_lines_of_a_file_go_with_their_ids(listed):
    listed(["/in/x.jsonl"], {"/in/x.jsonl#1": "1", "/in/x.jsonl#2": "1"})
    assert listed(["/in"], {"/in/x.jsonl#2": "1"}) == {"/in/x.jsonl#2": "1"}


def test_what_a_manifest_named_is_there_as_long_as_its_object(listed):
    listed(["/lists/one.manifest.jsonl"], {"/in/a": "1", "/in/b": "1"}, {"/in/a": "A", "/in/b": "B"})
    assert listed(["/in"], {"/in/a": "1"}) == {"A": "1", "/in/a": "1"}


def test_a_manifest_that_joins_others_speaks_for_what_it_named(listed):
    listed(["/one.manifest.jsonl"], {"/x/a": "1", "/x/b": "1"}, {"/x/a": "A", "/x/b": "B"})
    assert listed(["/one.manifest.jsonl", "/in"], {"/x/a": "1"}, {"/x/a": "A"}) == {"A": "1"}
