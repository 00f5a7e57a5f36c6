"""A folder with a document of every format, and what engines other than ours say of `latest`."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from jobs import exits
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from tests import documented
from tests.documents_of_every_format import all_containers, all_documents

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results.md"
COLUMNS = ["document_id", "format", "tokens_total", "summary"]


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path) -> str:
    """Where documents and output lie."""
    if request.param == "disk":
        return str(tmp_path)
    return request.getfixturevalue("s3").new_bucket()


def snippets(output: str) -> dict[str, str]:
    """The code of the page, by its engine, on this output."""
    found = [*documented.blocks(PAGE.read_text(), "sql"), *documented.blocks(PAGE.read_text(), "python")]
    engines = {"duckdb": "SEMI JOIN", "pandas": "import pandas", "polars": "import polars"}
    code = {name: next(block for block in found if mark in block) for name, mark in engines.items()}
    return {name: block.replace("output/", f"{output}/") for name, block in code.items()}


def answers(output: str) -> dict[str, list[tuple[Any, ...]]]:
    """What each engine says of `latest`."""
    code = snippets(output)
    with duckdb.connect() as connection:
        if not objects.is_local(output):
            connection.register_filesystem(objects.filesystem(output)[0])
        found = connection.sql(code["duckdb"]).to_arrow_table()
    frames = {}
    for name in ("pandas", "polars"):
        names: dict[str, Any] = {}
        exec(code[name], names)
        frames[name] = names["latest"][COLUMNS]
    rows = {
        "ours": Warehouse(output).sql("from latest").select(COLUMNS).to_pylist(),
        "duckdb": found.select(COLUMNS).to_pylist(),
        "pandas": frames["pandas"].to_dict("records"),
        "polars": frames["polars"].to_dicts(),
    }
    return {name: sorted(tuple(row.values()) for row in each) for name, each in rows.items()}


def test_a_document_of_every_format_is_summarized_and_every_engine_says_the_same_of_latest(
    summarize, place, monkeypatch
):
    # Polars speaks HTTPS alone unless it is told, as a store on this machine needs.
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    summarize.output = f"{place}/output"
    documents = all_documents() | all_containers()
    for name, data in documents.items():
        objects.publish(f"{place}/docs/{name}", data)
    first = summarize([f"{place}/docs/"])
    assert first.returncode == exits.SUCCESS, first.stderr
    by_engine = answers(summarize.output)
    assert len(by_engine["ours"]) == len(documents)
    assert all(each == by_engine["ours"] for each in by_engine.values())

    objects.publish(f"{place}/docs/plain.txt", b"Something else altogether, and longer than it was.")
    objects.delete(f"{place}/docs/marked.md")
    assert summarize([f"{place}/docs/"]).returncode == exits.SUCCESS
    corrected = answers(summarize.output)
    assert all(each == corrected["ours"] for each in corrected.values())
    before, after = ({row[0]: row for row in each["ours"]} for each in (by_engine, corrected))
    assert after.keys() == before.keys() - {f"{place}/docs/marked.md"}
    assert {uri for uri in after if after[uri] != before[uri]} == {f"{place}/docs/plain.txt"}
    assert Warehouse(summarize.output).rows("select count(*) as n from summaries")[0]["n"] == len(documents) + 1

    # A night that finds nothing to do has still seen that a document is gone.
    objects.delete(f"{place}/docs/page.html")
    again = summarize([f"{place}/docs/"])
    assert again.returncode == exits.SUCCESS and "nothing to do" in again.stdout
    assert all(len(each) == len(documents) - 2 for each in answers(summarize.output).values())
