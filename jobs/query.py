"""`python -m jobs.query OUTPUT ["select ..."]`: SQL over summaries, failures, costs and jobs, or a list of them."""

import csv
import json
import sys
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.table import Table
from rich.text import Text

from jobs import command, screen
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.tables import TABLES

ALSO = ("listing", "latest")
FOLD_WIDTH = 24
NULL = ""

Sql = Annotated[str | None, typer.Argument(metavar="[SQL]", help="DuckDB SQL. Default: list the tables.")]


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def query(
    output: command.OutputUri,
    sql: Sql = None,
    output_format: Annotated[
        Format, typer.Option("--format", help="json is an array of objects in which money is text, to stay exact.")
    ] = Format.TABLE,
) -> None:
    """Query the tables of an output: summaries, failures, costs and jobs, and `latest`, what of the summaries counts.

    docs/tables.md lists their columns; dt is the day of the run. Money and seconds are exact.
    """
    warehouse = Warehouse(output)
    answer = warehouse.sql(sql) if sql is not None else _listing(warehouse)
    if answer is not None:
        {Format.TABLE: _print_table, Format.CSV: _print_csv, Format.JSON: _print_json}[output_format](answer)


def _listing(warehouse: Warehouse) -> pa.Table:
    rows = []
    for table in (*TABLES, *ALSO):
        columns = [row["column_name"] for row in warehouse.rows(f"DESCRIBE {table}")]
        num_rows = warehouse.rows(f"SELECT count(*) AS num_rows FROM {table}")[0]["num_rows"]
        rows.append({"table": table, "num_rows": num_rows, "columns": ", ".join(columns)})
    return pa.Table.from_pylist(rows)


def _print_table(answer: pa.Table) -> None:
    """A grid, or where its columns would be squeezed, a line for each field of each row."""
    console = screen.console()
    rows = [[screen.plain(_text(value)) for value in row] for row in _rows(answer)]
    if _fits(answer.column_names, rows, console.width):
        console.print(_grid(answer, rows))
    else:
        for number, row in enumerate(rows, 1):
            console.print(f"row {number}", style="bold")
            console.print(_record(answer.column_names, row))
    console.print(f"{answer.num_rows:,} row{'' if answer.num_rows == 1 else 's'}", style="dim")


def _fits(names: list[str], rows: list[list[Text]], width: int) -> bool:
    """Whether every column has the room that it needs, or enough of it to fold long text."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(names)
    needed = [
        max(len(name), *(min(cell.cell_len, FOLD_WIDTH) for cell in cells), 0)
        for name, cells in zip(names, columns, strict=True)
    ]
    return sum(needed) + 2 * len(names) <= width


def _grid(answer: pa.Table, rows: list[list[Text]]) -> Table:
    # Columns of a join may share a name, so what is a number goes by the place.
    grid = screen.table(None, answer.column_names)
    for column, field in zip(grid.columns, answer.schema, strict=True):
        column.justify = "right" if _is_number(field.type) else "left"
    for row in rows:
        grid.add_row(*row)
    return grid


def _record(names: list[str], row: list[Text]) -> Table:
    grid = screen.table(None, ["field", "value"])
    grid.show_header = False
    for name, cell in zip(names, row, strict=True):
        grid.add_row(screen.plain(name), cell)
    return grid


def _print_csv(answer: pa.Table) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(answer.column_names)
    writer.writerows([_text(value) for value in row] for row in _rows(answer))


def _print_json(answer: pa.Table) -> None:
    lines = [
        json.dumps(dict(zip(answer.column_names, row, strict=True)), default=_text, ensure_ascii=False)
        for row in _rows(answer)
    ]
    print("[" + ",\n ".join(lines) + "]")


def _rows(answer: pa.Table) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in answer.columns), strict=True))


def _text(value: Any) -> str:
    """A value as text that loses nothing: decimals with all their digits, times in ISO 8601."""
    if value is None:
        return NULL
    if isinstance(value, Decimal):
        return _digits(value)
    if isinstance(value, bool | list | dict):
        return json.dumps(value, default=_text, ensure_ascii=False)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _digits(value: Decimal) -> str:
    """Without exponent and without the zeros that the column's scale adds."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


if __name__ == "__main__":
    command.run(query)
