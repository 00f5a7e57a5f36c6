"""The tables of an output as DuckDB views, for questions in SQL, and `latest`, what of them answers today."""

import glob
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from configs.errors import ConfigError, StorageError
from pipeline.ledger import commits
from pipeline.schemas.tables import LATEST, LISTING, LISTING_FOLDER, TABLES
from pipeline.storage import objects

RUNS_FOLDER = "_runs"
PARTITION_TYPES = "{'dt': DATE, 'run': VARCHAR}"


class Warehouse:
    """A DuckDB connection to one output. A table that no run has written yet is an empty view of the same columns."""

    def __init__(self, uri: str) -> None:
        self.uri = objects.resolve(uri)
        self._parts = self._files()
        self._require_output()
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": False})
        # Times of day depend on no machine's zone.
        self._connection.execute("SET TimeZone = 'UTC'")
        if not objects.is_local(self.uri):
            self._connection.register_filesystem(objects.filesystem(self.uri)[0])
        self._make_views()

    def sql(self, query: str, **parameters: Any) -> pa.Table | None:
        """The rows of a query as Arrow, decimals exact; None where a statement has none. `$name` marks a parameter.

        Raises ConfigError with DuckDB's message if the query is wrong.
        """
        while True:
            try:
                relation = self._connection.sql(query, params=parameters)
                return None if relation is None else relation.to_arrow_table()
            except (duckdb.IOException, OSError) as error:
                if not self._has_moved_on():
                    raise StorageError(f"output {self.uri}: {error}") from error
                self._make_views()
            except duckdb.Error as error:
                raise ConfigError(str(error)) from error

    def _make_views(self) -> None:
        while True:
            try:
                for table, schema in TABLES.items():
                    self._connection.execute(_view(table, schema, self._parts[table]))
                self._connection.execute(
                    _view(LISTING_FOLDER, LISTING, self._parts[LISTING_FOLDER], is_partitioned=False)
                )
                self._connection.execute(f"CREATE OR REPLACE VIEW latest AS {LATEST}")
                return
            except (OSError, duckdb.Error) as error:
                if not self._has_moved_on():
                    # DuckDB's second paragraph quotes the view, which is not the user's.
                    raise StorageError(f"output {self.uri}: {str(error).partition(chr(10))[0]}") from error

    def _has_moved_on(self) -> bool:
        """Whether a run was committed since the tables were listed, so that its older files are gone."""
        before, self._parts = self._parts, self._files()
        return self._parts != before

    def _files(self) -> dict[str, list[str]]:
        listing = objects.list_files(objects.join(self.uri, LISTING_FOLDER), ".parquet")
        return {**commits.files(self.uri, TABLES), LISTING_FOLDER: listing}

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query as dictionaries."""
        table = self.sql(query, **parameters)
        return table.to_pylist() if table is not None else []

    def _require_output(self) -> None:
        folders = [*TABLES, RUNS_FOLDER]
        if not any(self._parts.values()) and not any(objects.exists(objects.join(self.uri, name)) for name in folders):
            expected = ", ".join(f"{name}/" for name in folders)
            raise ConfigError(f"output {self.uri}: no run has written there; expected one of {expected}")


def _view(table: str, schema: pa.Schema, parts: Sequence[str], is_partitioned: bool = True) -> str:
    """Typed columns first, so that files of an older version, with fewer of them, still fit."""
    columns = [(field.name, _sql_type(field.type)) for field in schema] + [("dt", "DATE")] * is_partitioned
    empty = ", ".join(f'NULL::{sql_type} AS "{name}"' for name, sql_type in columns)
    query = f"SELECT {empty} WHERE false"
    if parts:
        # DuckDB reads * ? [ in a name as a pattern.
        files = ", ".join("'" + glob.escape(part).replace("'", "''") + "'" for part in parts)
        options = (
            f"hive_partitioning = true, hive_types = {PARTITION_TYPES}"
            if is_partitioned
            else "hive_partitioning = false"
        )
        wanted = "* EXCLUDE (run)" if is_partitioned else "*"
        query += f" UNION ALL BY NAME SELECT {wanted} FROM read_parquet([{files}], union_by_name = true, {options})"
    return f'CREATE OR REPLACE VIEW "{table}" AS {query}'


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        fields = ", ".join(f'"{field.name}" {_sql_type(field.type)}' for field in kind)
        return f"STRUCT({fields})"
    return {
        pa.string(): "VARCHAR",
        pa.bool_(): "BOOLEAN",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float64(): "DOUBLE",
        pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
    }[kind]
