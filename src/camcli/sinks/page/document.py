"""The HTML around the cards: its policy, its styles and scripts, and what it says where scripts are off."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from camcli._version import __version__
from camcli.drawing.colours import colour_bytes

# The colour maps that a page offers, the first one first.
COLORMAPS = ("inferno", "turbo", "viridis", "cividis", "gray")


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of a run: inputs, those refused, and those right of those whose truth is known."""

    inputs: int
    refused: int
    known: int
    right: int


def head(title: str, *, is_part: bool) -> bytes:
    """What the cards' JSON begins with; `is_part`: the run was stopped before its end."""
    about = {
        "title": title,
        "part": is_part,
        "separator": os.sep,
        "camcli": __version__,
        "colormaps": {name: base64.b64encode(colour_bytes(name)).decode() for name in COLORMAPS},
    }
    return (_inert(json.dumps(about))[:-1] + ', "cards": [').encode()


def tail(runs: list[Mapping[str, Any]]) -> bytes:
    """What it ends with."""
    return f'\n], "runs": {_inert(json.dumps(runs))}}}'.encode()


def line(card: Mapping[str, Any]) -> bytes:
    """One card as a line of ASCII that ends no script."""
    return _inert(json.dumps(card, allow_nan=False)).encode()


def before(title: str, *, apart: bool) -> bytes:
    """The HTML before the data; `apart`: those lie in a folder beside the page."""
    style, script = _asset("page.css"), _asset("page.js")
    beside = " 'self' file:" if apart else ""
    policy = (
        f"default-src 'none'; img-src data:{beside}; style-src {_hash(style)}; script-src {_hash(script)}{beside}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="camcli {__version__}">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<div id="app"></div>
""".encode()


def after(counts: Counts, data: str) -> bytes:
    """The HTML after the data: a summary where scripts are off, and the script. `data` names where the data lie."""
    told = [("inputs", counts.inputs), ("answered", counts.inputs - counts.refused), ("refused", counts.refused)]
    if counts.known:
        told += [("right", counts.right), ("wrong", counts.known - counts.right)]
    rows = "".join(f"<tr><th scope=row>{name}</th><td>{count}</td></tr>" for name, count in told)
    return f"""
<noscript>
<p>This page needs JavaScript to show its pictures. It asks no server for anything.</p>
<table>{rows}</table>
</noscript>
<script data-from="{html.escape(data)}">{_asset("page.js")}</script>
</body>
</html>
""".encode()


def in_page(cards: Iterator[bytes]) -> Iterator[bytes]:
    """The data as a part of the page that no browser runs."""
    yield b'<script type="application/json" id="data">'
    yield from cards
    yield b"</script>"


def in_file(cards: Iterator[bytes]) -> Iterator[bytes]:
    """The data as a script of their own: pages from a disk may read no other files. Parsed as JSON, which is twice as
    fast as a script's own objects."""
    yield b"globalThis.CAMCLI=JSON.parse('"
    for part in cards:
        yield part.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\n", b"")
    yield b"')"


def _inert(text: str) -> str:
    """JSON in which no tag begins."""
    return text.replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (files("camcli.sinks.page") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
