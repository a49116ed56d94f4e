"""Where results go: pictures to files, rows to a stream or a table."""

from camcli.sinks.files import Files, open_sinks, write_picture
from camcli.sinks.jsonl import as_row, dump
from camcli.sinks.parquet import open_table

__all__ = ["Files", "as_row", "dump", "open_sinks", "open_table", "write_picture"]
