"""What programs leave beside documents is passed over, once said; what a user names or wrote is not."""

import pytest
from structlog.testing import capture_logs

from configs.errors import ConfigError
from configs.settings import InputSettings
from pipeline.documents import bookkeeping
from pipeline.documents.sources import list_documents
from pipeline.storage import objects
from pipeline.storage.listing import Listed


def uris(entries: list[Listed]) -> list[str]:
    return [entry.uri for entry in entries]


def listed(*sources: object) -> list[str]:
    return [each.document_id for each in list_documents(InputSettings(sources=tuple(map(str, sources))))]


def test_markers_of_folders_and_jobs_are_passed_over_and_empty_documents_are_not():
    names = ["b/same", "b/fold_$folder$", "b/_SUCCESS", "b/report.txt", "b/sub/_SUCCESS"]
    empty = [Listed(f"s3://{name}") for name in names]
    full = [Listed("s3://b/same/x.txt", 9), Listed("s3://b/full_$folder$", 9), Listed("s3://b/my_SUCCESS", 0)]
    with capture_logs() as logged:
        kept = bookkeeping.without([*empty, *full], given=())
    assert uris(kept) == ["s3://b/report.txt", *uris(full)]
    assert [(entry["event"], entry["objects"]) for entry in logged] == [("markers_passed_over", 4)]
    assert uris(bookkeeping.without([*empty, *full], given={"s3://b/_SUCCESS"}))[0] == "s3://b/_SUCCESS"


def test_what_cannot_be_read_is_no_marker():
    broken = Listed("s3://b/_SUCCESS", problem="The store does not permit reading this object.")
    assert bookkeeping.without([broken], given=()) == [broken]


@pytest.mark.parametrize("begun", ["_runs/one/run.json", "_runs/_commands/0a1b/0001.json"])
def test_the_output_of_runs_is_passed_over_wherever_it_lies(tmp_path, begun):
    own = [
        begun,
        "_runs/one/claims/0001.json",
        "summaries/dt=2026-11-26/run=one/part.parquet",
        "jobs/dt=1/p.parquet",
    ]
    theirs = ["a.txt", "out/summaries/mine.txt", "out/notes.txt", "_runs/other.txt"]
    for name in [*(f"out/{each}" for each in own), *theirs]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    with capture_logs() as logged:
        assert listed(tmp_path) == sorted(f"{tmp_path}/{name}" for name in theirs)
    passed = [(entry["event"], entry["output_uri"], entry["objects"]) for entry in logged]
    assert passed == [("output_passed_over", f"{tmp_path}/out", len(own))]
    # Somebody who names a file means it.
    assert listed(tmp_path / "out" / own[1]) == [f"{tmp_path}/out/{own[1]}"]


def test_a_source_with_nothing_else_is_refused(tmp_path):
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(ConfigError, match="nothing below it but what programs leave"):
        listed(tmp_path)


def test_markers_in_a_bucket(s3):
    bucket = s3.new_bucket()
    for name, data in {
        "in/_SUCCESS": b"",
        "in/fold_$folder$": b"",
        "in/fold/a.txt": b"text",
        "in/empty.txt": b"",
    }.items():
        objects.publish(f"{bucket}/{name}", data)
    assert listed(f"{bucket}/in") == [f"{bucket}/in/empty.txt", f"{bucket}/in/fold/a.txt"]
