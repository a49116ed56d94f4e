"""The manual page, docs/camcli.1, made of the commands, their options and docs/shell.md's exit codes: `make texts`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from camcli import cli
from camcli._version import __version__

DOCS = Path(__file__).parent
PAGE = DOCS / "camcli.1"

_HEAD = f"""\
.TH CAMCLI 1 "" "camcli {__version__}" "User Commands"
.nh
.ad l
.SH NAME
camcli \\- show where an image model looked
.SH SYNOPSIS
.B camcli
.I COMMAND
.RI [ OPTION ]...
.RI [ ARGUMENT ]...
.SH DESCRIPTION"""

_ENVIRONMENT = {
    "TORCH_HOME": "Folder of downloaded weights; default: ~/.cache/torch.",
    "CAMCLI_MALLOC": "stock: leave glibc's allocator as it is; freed memory then goes back to the system.",
    "RAY_ADDRESS": "Cluster of --engine ray, if --ray-address does not name one.",
    "NO_COLOR": "Anything: no colours.",
    "COLORTERM": "truecolor or 24bit: --show draws in 24-bit colours.",
    "TMPDIR": "Folder of temporary files.",
}

_EXAMPLES = {
    'camcli explain photo.jpg -c "tiger cat"': "Draw where the model looked for a class, into camcli_out/.",
    "camcli explain val/ -c top1 -c folder -o run --report report.html": "Explain a folder of class folders, with a "
    "page to find what is wrong.",
    "find photos -name '*.jpg' -print0 | camcli explain - --json > rows.jsonl": "Explain a list, a row each.",
}


def page() -> str:
    """The whole page, in roff."""
    app: Any = typer.main.get_command(cli.app)
    lines = [_HEAD, _paragraphs(app.help)]
    lines += [".SH OPTIONS", *_options(app.params)]
    lines += [".PP", _text("Each command takes `-h` and `--help` too."), ".SH COMMANDS"]
    explain = app.commands["explain"]
    for name, command in app.commands.items():
        lines += _command(name, command, set() if command is explain else set(map(_meaning, explain.params)))
    lines += [".SH EXIT STATUS", *_entries(_exit_codes())]
    lines += [".SH ENVIRONMENT", *_entries(_ENVIRONMENT.items())]
    lines += [".SH EXAMPLES", *_entries(_EXAMPLES.items())]
    lines += [".SH AUTHORS", "The camcli authors."]
    return "\n".join(lines) + "\n"


def _command(name: str, command: Any, told: set[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a command. Options that have been `told`, those of `camcli explain`, are only named."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    yield f".SS camcli {name} {_text(' '.join(map(_argument, arguments)))}".rstrip()
    yield _paragraphs(command.help)
    yield from _entries((_argument(argument), argument.help) for argument in arguments)
    new = [option for option in options if _meaning(option) not in told]
    panels = list(dict.fromkeys(option.rich_help_panel for option in new))
    for panel in panels:
        if panel is not None and len(panels) > 1:
            yield f".PP\n.I {_text(panel)}"
        yield from _options(option for option in new if option.rich_help_panel == panel)
    known = ", ".join(option.opts[0] for option in options if option not in new)
    if known:
        yield f".PP\n{_text(f'As with `camcli explain`: {known}.')}"


def _meaning(parameter: Any) -> tuple[str, ...]:
    return (*parameter.opts, *parameter.secondary_opts, str(parameter.help), str(parameter.default))


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    if argument.nargs == -1:
        name = f"{name.rstrip('…')}..."
    return name if argument.required else f"[{name}]"


def _options(options: Iterable[Any]) -> Iterator[str]:
    for option in options:
        names = ", ".join([*reversed(option.opts), *option.secondary_opts])
        value = "" if option.is_flag else f" \\fI{_text(option.metavar)}\\fR"
        yield f".TP\n\\fB{_text(names)}\\fR{value}\n{_text(_help(option))}"


def _help(option: Any) -> str:
    """The option's help, with its default if `--help` shows one."""
    default = option.default if option.show_default is True else option.show_default
    if option.is_flag or default is None or default is False:
        return str(option.help)
    told = ", ".join(default) if isinstance(default, list) else default
    return f"{option.help.rstrip('.')}. Default: {told}."


def _exit_codes() -> list[tuple[str, str]]:
    """The table of exit codes in docs/shell.md."""
    section = (DOCS / "shell.md").read_text(encoding="utf-8").split("## Exit codes")[1].split("\n## ")[0]
    return re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)


def _entries(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in entries:
        yield f".TP\n\\fB{_text(term)}\\fR\n{_text(text)}"


def _paragraphs(text: str) -> str:
    return "\n.PP\n".join(_text(" ".join(paragraph.split())) for paragraph in text.split("\n\n"))


def _text(text: str) -> str:
    """The text as roff: what is `code` is bold, and no character of it is taken for a request."""
    text = text.replace("\\[", "[").replace("\\|", "|")  # Rich's and Markdown's escapes
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    text = "".join(letter if letter.isascii() else f"\\[u{ord(letter):04X}]" for letter in text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="ascii")
