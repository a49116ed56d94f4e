"""Rows as a Parquet file, for DuckDB, pandas and Spark; nested as in JSON, the provenance as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from camcli.errors import RequestError, SetupError
from camcli.records import Row
from camcli.sinks import schema
from camcli.storage import uris
from camcli.storage.writing import check_file, failing, whole

# Rows in memory before they are written as one group.
GROUP = 1024


class Table(Protocol):
    """A collector of a run's rows."""

    def add(self, row: Row) -> None:
        """Takes one more row."""


class _Nowhere:
    def add(self, row: Row) -> None:
        pass


class _Parquet:
    def __init__(self, name: str, file: Any) -> None:
        from pyarrow.parquet import ParquetWriter

        self._name = name
        self._columns = _columns()
        with failing(name):
            self._writer = ParquetWriter(file, self._columns)
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(_flat(row))
        if len(self._rows) == GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        with failing(self._name):
            self._writer.close()

    def drop(self) -> None:
        """Let go of a file that is not kept: pyarrow would complain of it at the end of the process."""
        with suppress(OSError):
            self._writer.close()
        self._writer.is_open = False

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            with failing(self._name):
                self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._columns))
            self._rows = []


@contextmanager
def open_table(name: str | None) -> Iterator[Table]:
    """A table in the Parquet file or URI of that name, there when the run is over; without a name rows go nowhere.

    Raises:
        RequestError: the file can't be there.
        SetupError: pyarrow is missing, or a write fails.
    """
    if name is None:
        yield _Nowhere()
        return
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise SetupError("--results needs pyarrow: `pip install camcli[parquet]`") from None
    with _opened(name) as file:
        table = _Parquet(name, file)
        try:
            yield table
            table.close()
        except BaseException:
            table.drop()
            raise


@contextmanager
def _opened(name: str) -> Iterator[Any]:
    local = uris.local_path(name)
    if local is None:
        with uris.opened(name) as file:
            yield file
        return
    folder = Path(local).absolute().parent
    if not folder.is_dir():
        raise RequestError(f"--results {name}: no such folder")
    check_file(local, "name another with --results")
    with whole(folder / Path(local).name) as file:
        yield file


def _flat(row: Row) -> Row:
    """The row with a value for each column: maps as pairs, parts that differ from run to run as JSON text."""
    return {key.name: _cell(row.get(key.name), key.type) for key in schema.KEYS}


def _cell(value: Any, type_: schema.Type) -> Any:
    if value is None:
        return None
    if _is_text(type_):
        return json.dumps(value)
    if isinstance(type_, schema.Struct):
        return {key.name: _cell(value.get(key.name), key.type) for key in type_.keys}
    if isinstance(type_, schema.ListOf):
        return [_cell(each, type_.each) for each in value]
    if isinstance(type_, schema.MapOf):
        return [(name, _cell(each, type_.each)) for name, each in value.items()]
    return value


def _is_text(type_: schema.Type) -> bool:
    return type_ is schema.DATA or (isinstance(type_, schema.Struct) and type_.as_text)


def _columns() -> Any:
    import pyarrow

    return pyarrow.schema({key.name: _column(key.type) for key in schema.KEYS})


def _column(type_: schema.Type) -> Any:
    import pyarrow as pa

    if _is_text(type_):
        return pa.string()
    if isinstance(type_, schema.Struct):
        return pa.struct({key.name: _column(key.type) for key in type_.keys})
    if isinstance(type_, schema.ListOf):
        return pa.list_(_column(type_.each))
    if isinstance(type_, schema.MapOf):
        return pa.map_(pa.string(), _column(type_.each))
    return {
        schema.TEXT: pa.string(),
        schema.WHOLE: pa.int64(),
        schema.NUMBER: pa.float64(),
        schema.FLAG: pa.bool_(),
    }[type_]
