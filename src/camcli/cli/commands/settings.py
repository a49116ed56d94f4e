"""`camcli config`: what each option is if it is not typed, and who says so."""

from __future__ import annotations

import json as json_
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from camcli.cli import config as sources
from camcli.cli import console, report
from camcli.cli.completion import complete_command
from camcli.cli.flags.run import Debug, Json
from camcli.errors import RequestError, unknown

CommandName = Annotated[
    str | None,
    typer.Argument(
        metavar="COMMAND",
        help="Command whose options are all shown; default: what is set, of any command.",
        autocompletion=complete_command,
        show_default=False,
    ),
]


@console.guarded
def config(context: typer.Context, command: CommandName = None, json: Json = False, debug: Debug = False) -> None:
    r"""Show each option's value if it is not typed, and where that comes from: a variable, a config file, or camcli.

    The first of these wins: what is typed, CAMCLI_* variables, the nearest
    camcli.toml or \[tool.camcli] of a pyproject.toml, your own file.
    """
    group: Any = context.find_root().command
    names = group.list_commands(context)
    if command is not None and command not in names:
        raise unknown("command", command, names, "camcli --help")
    rows = [
        (name, *row)
        for name in ([command] if command else names)
        for row in _options(context, group.get_command(context, name), name)
        if command or row[2] != _USUAL
    ]
    places = sources.places(context)
    if json:
        for place in places:
            console.out(json_.dumps({"file": place.path, "status": place.status}))
        for row in rows:
            console.out(json_.dumps(dict(zip(("command", "option", "value", "from"), row, strict=True))))
        return
    if rows:
        report.table(
            ("command", "option", "value", "from"),
            [(*row[:2], sources.shortened(_text(row[2])), row[3]) for row in rows],
        )
    for place in places:
        console.say(f"{place.path}: {place.status}")
    if not rows:
        console.say("nothing is set: each option is what `camcli COMMAND --help` says")


_USUAL = "default"


def _options(context: typer.Context, command: Any, name: str) -> Iterator[tuple[str, Any, str]]:
    """(long name, value, who says so) of each option.

    Raises: RequestError: see `config.settings`; or an option takes no such value.
    """
    settings = sources.settings(context, name)
    for param in command.params:
        if param.param_type_name != "option":
            continue
        setting = settings.get(param.name)
        option = max(param.opts, key=len).removeprefix("--")
        if setting is None:
            yield option, param.get_default(context), _USUAL
            continue
        try:
            yield option, param.process_value(context, setting.value), setting.origin
        except typer.BadParameter as error:
            raise RequestError(command.wrong(param, setting.value, setting, error)) from None


def _text(value: Any) -> str:
    """A value as TOML has it, but for the quotes of a text; empty if there is none."""
    if value is None or isinstance(value, str):
        return value or ""
    return json_.dumps(value)
