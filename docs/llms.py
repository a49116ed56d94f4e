"""llms.txt: what camcli is and where to read on, for programs that read; made of the code and docs: `make texts`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from camcli import cli, methods

ROOT = Path(__file__).parent.parent
FILE = ROOT / "llms.txt"

_CONTRACT = """\
stdout is data, stderr is for people. `--json` writes one JSON object a line for each picture, refused ones too
(`error`). Exit codes: 0 every picture answered, 2 the request is wrong, 3 this machine or model can't, 4 some pictures
were refused. A map shows where the evidence lies, not why; rows with a `note` say what is wrong with theirs."""


def text() -> str:
    """The whole file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    parts = [f"# camcli\n\n> {project['description']}", _CONTRACT]
    for title, lines in {"Commands": _commands(), "Docs": _documents(), "Methods": _methods()}.items():
        parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _commands() -> Iterator[str]:
    app: Any = typer.main.get_command(cli.app)
    for name, command in app.commands.items():
        first, *_ = command.help.split("\n\n")
        yield f"`camcli {name}`: {' '.join(first.split())}"


def _documents() -> Iterator[str]:
    """The README and all that lies in docs/, each with its title and its headings."""
    pages = [path for path in sorted((ROOT / "docs").glob("*.md")) if path.stem not in ("api", "commands", "index")]
    for path in (ROOT / "README.md", *pages, ROOT / "SECURITY.md"):
        name = path.relative_to(ROOT).as_posix()
        title, *headings = _headings(path.read_text(encoding="utf-8"))
        yield f"[{title}]({name})" + (f": {', '.join(headings)}" if headings else "")


def _headings(document: str) -> Iterator[str]:
    """The title and the headings below it, but not the comments in blocks of code."""
    for line in "".join(document.split("```")[::2]).splitlines():
        if line.startswith(("# ", "## ")):
            yield line.lstrip("# ")


def _methods() -> Iterator[str]:
    for name in methods.names():
        method = methods.get(name)
        yield f"`{name}` ({method.kind}, {method.paper}): {method.caveat}"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
