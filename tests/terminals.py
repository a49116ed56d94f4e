"""A terminal in the place of one of the process's streams."""

from __future__ import annotations

import io
import re
import sys

import pytest

# What tells a terminal from others.
_TOLD = ("NO_COLOR", "COLORTERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY")


class Terminal(io.StringIO):
    """Takes what is written to a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch, *streams: str, **variables: str) -> Terminal:
    """A terminal of 80x30 in 256 colours, or of other `variables`, in the place of these streams ("stdout", "stderr").

    It is to be called in the test itself: pytest sets its own streams after the fixtures.
    """
    for name in _TOLD:
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"COLUMNS": "80", "LINES": "30", "TERM": "xterm-256color"} | variables).items():
        monkeypatch.setenv(name, value)
    found = Terminal()
    for stream in streams:
        monkeypatch.setattr(sys, stream, found)
    return found


def bare(text: str) -> str:
    """The text without what drives the terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
