"""`python -m jobs.query` as a person runs it, over Parquet files of the tables' own schemas."""

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from jobs import exits
from pipeline.schemas.tables import TABLES
from tests.outputs import STARTED, cost_row, job_row, mark, write_part

# A dozen tenths that floats cannot add up, and a part far below a cent.
COSTS = ["0.1"] * 12 + ["0.000000000000000001"]
NAMES = ['it\'s "quoted".txt', "отчёт/年報 № 7.md", "s3://bucket/a b?c=*&[1].txt", "line\nbreak\x1b[31m.txt"]


@pytest.fixture
def query(warm):
    return lambda output, *arguments: warm("jobs.query", [str(output), *arguments])


@pytest.fixture
def rows(query):
    def answer(output: Path | str, sql: str) -> list[dict[str, object]]:
        result = query(output, sql, "--format", "json")
        assert result.returncode == exits.SUCCESS, result.stderr
        return json.loads(result.stdout)

    return answer


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on two days, in a folder whose name holds what SQL and globs take for their own."""
    root = tmp_path_factory.mktemp("query") / "it's [1] *é"
    write_part(root, "costs", "night", [cost_row("document", cost, "a") for cost in COSTS[:7]])
    write_part(root, "costs", "night", [cost_row("document", cost, "b") for cost in COSTS[7:]])
    write_part(root, "costs", "007", [cost_row("idle", "2.5")], day="2026-03-02")
    write_part(root, "jobs", "night", [job_row("1.2")])
    write_part(root, "summaries", "night", [{"document_id": name, "summary": f"About {name}"} for name in NAMES])
    return root


@pytest.mark.parametrize("table", ["costs", "jobs", "summaries"])
def test_pandas_and_pyarrow_read_a_whole_table(output, rows, table):
    """The keys of paths are no columns of files, or they would have two types."""
    folder, (found,) = output / table, rows(output, f"select count(*) as n from {table}")
    assert len(pd.read_parquet(folder)) == pq.read_table(folder).num_rows == found["n"]
    assert set(pq.read_table(folder)["run_id"].to_pylist()) <= {"night", "007"}


def test_money_adds_up_exactly(output, rows):
    found = rows(output, "select sum(cost) as cost from costs where run_id = 'night'")
    assert Decimal(found[0]["cost"]) == sum(map(Decimal, COSTS)) == Decimal("1.200000000000000001")


def test_partitions_are_columns_and_a_run_named_like_a_number_stays_text(output, rows):
    found = rows(output, "select run_id, dt, count(*) as parts from costs group by all order by dt")
    assert found == [
        {"run_id": "night", "dt": "2026-03-01", "parts": 13},
        {"run_id": "007", "dt": "2026-03-02", "parts": 1},
    ]


def test_names_with_quotes_line_breaks_and_other_scripts_come_back_whole(output, query, rows):
    assert {row["document_id"] for row in rows(output, "from summaries")} == set(NAMES)
    answer = query(output, "select document_id from summaries", "--format", "csv").stdout
    assert {row["document_id"] for row in csv.DictReader(io.StringIO(answer))} == set(NAMES)


def test_a_table_on_screen_holds_no_control_characters_of_a_document(output, query):
    shown = query(output, "select document_id from summaries").stdout
    assert NAMES[0] in shown
    assert NAMES[1] in shown
    assert "\x1b" not in shown
    assert "4 rows" in shown


def test_times_are_utc_in_iso_8601(output, rows):
    assert rows(output, "select started_at from jobs") == [{"started_at": STARTED.isoformat()}]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_files_is_an_empty_view_of_the_same_columns(tmp_path, output, table, rows):
    (tmp_path / "_runs").mkdir()
    describe = f"select column_name, column_type from (describe {table})"
    empty = rows(tmp_path, describe)
    assert [row["column_name"] for row in empty] == [*TABLES[table].names, "dt"]
    assert empty == rows(output, describe)
    assert rows(tmp_path, f"from {table}") == []


def test_files_that_no_commit_made_are_not_read(tmp_path, rows):
    write_part(tmp_path, "jobs", "one", [job_row("1")])
    (tmp_path / "jobs" / "part-stray.parquet").write_text("not Parquet")
    (tmp_path / "jobs" / "dt=2026-03-01" / "run=one" / "part-1.parquet.partial").write_text("half")
    assert rows(tmp_path, "select run_id from jobs") == [{"run_id": "one"}]


def test_an_older_file_without_a_column_gives_null(tmp_path, rows):
    part = write_part(tmp_path, "jobs", "old", [job_row("1")])
    pq.write_table(pq.ParquetFile(part).read(columns=["run_id", "cost"]), part)
    assert rows(tmp_path, "select run_id, cost, code_version from jobs") == [
        {"run_id": "old", "cost": "1", "code_version": None}
    ]


def test_without_sql_the_tables_are_listed_with_rows_and_columns(output, query):
    result = query(output, "--format", "csv")
    listed = {row["table"]: row for row in csv.DictReader(io.StringIO(result.stdout))}
    assert {name: int(row["num_rows"]) for name, row in listed.items()} == {
        "summaries": 4,
        "failures": 0,
        "costs": 14,
        "states": 0,
        "jobs": 1,
        "listing": 0,
        "latest": 0,
    }
    assert listed["jobs"]["columns"].split(", ") == [*TABLES["jobs"].names, "dt"]
    assert "failures" in query(output).stdout


def test_a_wide_answer_is_shown_a_field_a_line(output, query):
    shown = query(output, "from jobs").stdout.splitlines()
    assert shown[0] == "row 1"
    assert any(line.split() == ["documents_succeeded", "2"] for line in shown)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("from nowhere", "nowhere does not exist"),
        ("select nothing from jobs", '"nothing" not found'),
        ("select 'x'::int", "Could not convert string 'x'"),
    ],
)
def test_wrong_sql_is_refused_with_duckdbs_reason(output, sql, reason, query):
    result = query(output, sql)
    assert result.returncode == exits.REFUSED
    assert result.stderr.startswith("refused: ")
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_an_output_that_no_run_wrote_is_refused(tmp_path, name, query):
    (tmp_path / "empty").mkdir()
    result = query(tmp_path / name, "from jobs")
    assert result.returncode == exits.REFUSED
    assert f"{name}: no run has written there" in result.stderr


def test_a_broken_part_is_refused_by_name(tmp_path, query):
    write_part(tmp_path, "jobs", "one", [job_row("1")]).write_bytes(b"PAR1 this is not Parquet PAR1")
    result = query(tmp_path, "from jobs")
    assert result.returncode == exits.REFUSED
    assert "part-0001-00000.parquet" in result.stderr


def test_an_output_on_s3_is_asked_just_the_same(s3, tmp_path, query, rows):
    bucket = s3.new_bucket()
    output = f"{bucket}/it's [1] é"
    for number, run_id in enumerate(["night", "007"]):
        part = write_part(tmp_path, "costs", run_id, [cost_row("document", cost) for cost in COSTS[number:]])
        key = f"it's [1] é/{part.relative_to(tmp_path).as_posix()}"
        s3.client().put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=part.read_bytes())
        mark(output, run_id)
    assert rows(output, "select run_id, dt, sum(cost) as cost from costs group by all order by 1") == [
        {"run_id": "007", "dt": "2026-03-01", "cost": "1.100000000000000001"},
        {"run_id": "night", "dt": "2026-03-01", "cost": "1.200000000000000001"},
    ]
    assert query(f"{bucket}/nothing").returncode == exits.REFUSED
