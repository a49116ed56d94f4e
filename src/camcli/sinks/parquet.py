"""Rows as a Parquet file, for DuckDB, pandas and Spark; nested as in JSON, the provenance as JSON text."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from camcli import remote
from camcli.errors import RequestError, SetupError
from camcli.records import Row

# Rows in memory before they are written as one group.
GROUP = 1024


class Table(Protocol):
    """Where a run's rows are collected."""

    def add(self, row: Row) -> None:
        """One more row."""


class _Nowhere:
    def add(self, row: Row) -> None:
        pass


class _Parquet:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer = writer
        self._schema = schema
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(_flat(row))
        if len(self._rows) == GROUP:
            self.flush()

    def flush(self) -> None:
        import pyarrow

        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


@contextmanager
def open_table(name: str | None) -> Iterator[Table]:
    """Rows go to the Parquet file or URI of that name, which appears when the run is over; nowhere where it is None.

    Raises:
        RequestError: the folder is not there.
        SetupError: pyarrow is missing, or the file can't be written.
    """
    if name is None:
        yield _Nowhere()
        return
    try:
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise SetupError("--results needs pyarrow: `pip install camcli[parquet]`") from None
    schema = _schema()
    with _opened(name) as file, ParquetWriter(file, schema) as writer:
        table = _Parquet(writer, schema)
        yield table
        table.flush()


@contextmanager
def _opened(name: str) -> Iterator[Any]:
    local = remote.local_path(name)
    if local is None:
        fs, path = remote.filesystem(name)
        with fs.open(path, "wb") as file:
            yield file
        return
    final = Path(local)
    if not final.absolute().parent.is_dir():
        raise RequestError(f"--results {name}: no such folder")
    temporary = final.with_name(f".{final.name}-{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(final)
    except OSError as error:
        raise SetupError(f"can't write {name}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _flat(row: Row) -> Row:
    """The row with what differs from run to run as JSON text."""
    return {
        **row,
        "explanations": [_answer(answer) for answer in row.get("explanations", ())],
        "provenance": json.dumps(row["provenance"]) if "provenance" in row else None,
        "ms": _pairs(row.get("ms", {})),
    }


def _answer(answer: Mapping[str, Any]) -> Row:
    return {**answer, "files": _pairs(answer["files"])}


def _pairs(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return list(mapping.items())


def _schema() -> Any:
    import pyarrow as pa

    text, whole, number, flag = pa.string(), pa.int64(), pa.float64(), pa.bool_()
    score = {"id": whole, "label": text, "probability": number, "logit": number}
    target = {**score, "name": text, "quantity": text, "value": number, "minus": pa.struct(score), "negated": flag}
    neurons = pa.list_(pa.struct({"channel": whole, "weight": number}))
    answer = {
        "method": text,
        "target": pa.struct(target),
        "layer": text,
        "peak": pa.list_(whole),
        "bbox": pa.list_(whole),
        "max": number,
        "fingerprint": pa.struct({"sha256": text, "grid": text}),
        "files": pa.map_(text, text),
        "neurons": pa.struct({"top": neurons, "bottom": neurons}),
        "sanity": pa.list_(pa.struct({"randomised": text, "rank_correlation": number, "ssim": number})),
        "note": text,
    }
    return pa.schema(
        {
            "schema": whole,
            "input": text,
            "size": pa.list_(whole),
            "box": pa.list_(whole),
            "model": text,
            "weights": text,
            "layer": text,
            "top": pa.list_(pa.struct(score)),
            "truth": pa.struct({"id": whole, "label": text}),
            "correct": flag,
            "note": text,
            "explanations": pa.list_(pa.struct(answer)),
            "provenance": text,
            "ms": pa.map_(text, number),
            "error": pa.struct({"stage": text, "kind": text, "message": text}),
        }
    )
