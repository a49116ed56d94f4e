"""The page of what `import camcli` gives, made of its docstrings: `python docs/interface.py FILE.md`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import camcli


def page() -> Iterator[str]:
    """The lines of the page."""
    yield "# Python reference"
    yield ""
    yield "What `import camcli` gives. [The guide](python.md) shows it at work."
    for name in sorted(camcli.__all__, key=str.lower):
        yield from _described(name, getattr(camcli, name), "##")


def _described(name: str, value: Any, level: str) -> Iterator[str]:
    if not (inspect.isclass(value) or callable(value)):
        return
    yield from (
        "",
        f"{level} {name.rsplit('.')[-1]}",
        "",
        "```python",
        _signature(name, value),
        "```",
        "",
        _told(value),
    )
    if inspect.isclass(value) and not issubclass(value, Enum):
        for own, member in sorted(vars(value).items()):
            if own.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
                continue
            if inspect.getdoc(member):
                yield from ("", f"**`{own}{_arguments(member)}`**", "", _told(member))


def _signature(name: str, value: Any) -> str:
    return f"class {name}{_arguments(value)}" if inspect.isclass(value) else f"camcli.{name}{_arguments(value)}"


def _arguments(value: Any) -> str:
    """What it takes, without the types, which the docstring tells in words."""
    if isinstance(value, property) or (inspect.isclass(value) and issubclass(value, (Enum, BaseException))):
        return ""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(value).parameters.values()
        if parameter.name != "self"
    ]
    return re.sub(r"<factory>|<object object at \w+>", "…", str(inspect.Signature(parameters)))


def _told(value: Any) -> str:
    """Its docstring as Markdown; what it raises as a list."""
    text = inspect.getdoc(value) or ""
    head, raises, errors = text.partition("\nRaises:")
    if not raises:
        return text
    listed = re.sub(r"^ +(\w+): ", r"- `\1`: ", errors.strip("\n"), flags=re.MULTILINE).strip()
    return f"{head.rstrip()}\n\nRaises:\n\n{re.sub(r'^ +', '  ', listed, flags=re.MULTILINE)}"


def write(file: Path) -> None:
    file.write_text("\n".join(page()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
