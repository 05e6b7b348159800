"""A database as lines of JSON: the same for SQLite and PostgreSQL, whatever the schema's revision.

The first line says format, revision and tables; then come, per table in an order in which no row
refers to a later one, a line with its columns and a line per row. The last line counts the rows, so
that a dump that was cut off shows.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard
from sqlalchemy import Connection, MetaData, Table, insert, select, text
from sqlalchemy.orm import Session

from app.errors import InvalidRequest

FORMAT = 1
VERSIONS = "alembic_version"
PAGE = 1000
LEVEL = 3

Row = dict[str, Any]


def write_dump(connection: Connection, path: Path) -> str:
    """Write all tables as the connection sees them; returns the revision of the schema."""
    tables = MetaData()
    tables.reflect(connection)
    revision = connection.execute(text(f"SELECT version_num FROM {VERSIONS}")).scalar_one()  # noqa: S608
    ordered = [table for table in tables.sorted_tables if table.name != VERSIONS]
    with path.open("wb") as file, zstandard.ZstdCompressor(LEVEL).stream_writer(file) as stream:

        def line(value: object) -> None:
            stream.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")

        line({"format": FORMAT, "revision": revision, "tables": [t.name for t in ordered]})
        rows = 0
        for table in ordered:
            line({"table": table.name, "columns": [column.name for column in table.columns]})
            query = select(table).order_by(*table.primary_key.columns)
            for row in connection.execution_options(yield_per=PAGE).execute(query):
                line([_encoded(value) for value in row])
                rows += 1
        line({"rows": rows})
    return str(revision)


def read_dump(path: Path) -> Iterator[tuple[str, Row]]:
    """(table, row) in the order of the dump. Raises InvalidRequest for one that is not whole."""
    head, lines = _opened(path)
    del head
    table, columns, rows = "", [], 0
    for value in lines:
        if isinstance(value, list):
            rows += 1
            yield table, dict(zip(columns, map(_decoded, value), strict=True))
        elif "table" in value:
            table, columns = value["table"], value["columns"]
        elif value["rows"] == rows:
            return
        else:
            break
    raise InvalidRequest(f"the dump {path} is not whole")


def revision_of(path: Path) -> str:
    """The revision of the schema that a dump was made at."""
    head, _ = _opened(path)
    return head["revision"]


def load_rows(
    session: Session, rows: Iterator[tuple[str, Row]], keep: Callable[[str, Row], bool]
) -> None:
    """Insert the rows of a dump that are to be kept into an empty database of its revision."""
    tables = MetaData()
    tables.reflect(session.connection())
    batch: list[Row] = []
    name = ""
    for table, row in rows:
        if batch and (table != name or len(batch) == PAGE):
            session.execute(insert(tables.tables[name]), batch)
            batch = []
        name = table
        if keep(table, row):
            batch.append(_fitting(tables.tables[table], row))
    if batch:
        session.execute(insert(tables.tables[name]), batch)
    if session.get_bind().dialect.name == "postgresql":
        _advance_sequences(session, list(tables.tables.values()))


def _opened(path: Path) -> tuple[dict[str, Any], Iterator[Any]]:
    lines = _lines(path)
    head = next(lines, None)
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise InvalidRequest(f"{path} is no dump of a hub that this version can read")
    return head, lines


def _lines(path: Path) -> Iterator[Any]:
    rest = b""
    with path.open("rb") as file:
        for chunk in zstandard.ZstdDecompressor().read_to_iter(file):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from map(json.loads, whole)


def _encoded(value: Any) -> Any:
    match value:
        case bytes() | memoryview():
            return {"b": base64.b64encode(value).decode()}
        case datetime():
            moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return {"t": moment.isoformat()}
        case _:
            return value


def _decoded(value: Any) -> Any:
    match value:
        case {"b": str(data)}:
            return base64.b64decode(data)
        case {"t": str(moment)}:
            return datetime.fromisoformat(moment)
        case _:
            return value


def _fitting(table: Table, row: Row) -> Row:
    """Values as the database at hand takes them: SQLite keeps times without their zone."""
    naive = {column.name for column in table.columns if not getattr(column.type, "timezone", False)}
    return {
        name: value.replace(tzinfo=None) if isinstance(value, datetime) and name in naive else value
        for name, value in row.items()
    }


def _advance_sequences(session: Session, tables: Sequence[Table]) -> None:
    """PostgreSQL counts ids apart from the rows."""
    for table in tables:
        if "id" not in table.columns:
            continue
        name = f'"{table.name}"'
        if session.scalar(text("SELECT pg_get_serial_sequence(:t, 'id')"), {"t": name}):
            session.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence(:t, 'id'), "  # noqa: S608
                    f"(SELECT max(id) FROM {name}))"
                ),
                {"t": name},
            )
