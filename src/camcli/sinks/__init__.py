"""Sinks for results: pictures go to files, rows to a stream, a table, or the journal of a folder."""

from camcli.sinks.files import Files, open_sinks, write_picture
from camcli.sinks.journal import Journal, open_journal
from camcli.sinks.page import NO_PAGE, Page, check_page, open_page
from camcli.sinks.parquet import open_table
from camcli.sinks.rows import as_row, dump
from camcli.specs import JournalSpec

__all__ = [
    "NO_PAGE",
    "Files",
    "Journal",
    "JournalSpec",
    "Page",
    "as_row",
    "check_page",
    "dump",
    "open_journal",
    "open_page",
    "open_sinks",
    "open_table",
    "write_picture",
]
