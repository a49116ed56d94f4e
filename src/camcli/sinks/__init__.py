"""Where results go: pictures to files, rows to a stream."""

from camcli.sinks.files import open_sinks, write_picture
from camcli.sinks.jsonl import as_row, dump

__all__ = ["as_row", "dump", "open_sinks", "write_picture"]
