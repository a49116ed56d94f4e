"""The page of all commands and options, made of the code: `python docs/commands.py FILE.md`."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from camcli import cli


def page() -> Iterator[str]:
    """The lines of the page."""
    yield "# Commands"
    yield ""
    yield "As `camcli COMMAND --help` tells them."
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        yield ""
        yield f"## camcli {name}"
        yield ""
        yield _plain(command.help or "")
        groups: dict[str, list[Any]] = {}
        for parameter in command.params:
            if not getattr(parameter, "hidden", False):
                title = getattr(parameter, "rich_help_panel", None) or "Arguments and options"
                groups.setdefault(title, []).append(parameter)
        for title, parameters in groups.items():
            yield ""
            yield f"**{title}**"
            yield ""
            yield "| | |"
            yield "|---|---|"
            for parameter in parameters:
                yield f"| {_named(parameter)} | {_told(parameter)} |"


def _named(parameter: Any) -> str:
    """An option's spellings and what it takes; an argument's name."""
    takes = [parameter.metavar] if parameter.metavar else []
    if parameter.param_type_name == "argument":
        return f"`{_cell(parameter.metavar or parameter.name.upper())}`"
    spelled = [*parameter.opts, *parameter.secondary_opts, *([] if parameter.is_flag else takes)]
    return " ".join(f"`{_cell(word)}`" for word in spelled)


def _told(parameter: Any) -> str:
    """Its help, and its default if there is one to tell."""
    default = parameter.default
    shown = getattr(parameter, "show_default", True)
    if isinstance(shown, str):
        usual = shown
    elif shown is False or default is None or default is False or default == () or parameter.required:
        usual = ""
    else:
        usual = " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
    told = _plain(parameter.help or "")
    return _cell(told) + (f" Default: `{_cell(usual)}`." if usual and not isinstance(default, bool) else "")


def _plain(text: str) -> str:
    """Help without what Typer reads in it, as Markdown."""
    text = re.sub(r"\\(?=\[)", "", text).replace("\b", "")
    return html.escape(text, quote=False).replace("&amp;", "&")


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def write(file: Path) -> None:
    file.write_text("\n".join(page()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
