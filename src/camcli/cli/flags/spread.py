"""Groups of flags as one parameter of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, fields
from functools import wraps
from typing import Any, TypeVar, get_type_hints

from camcli.cli.flags.computing import ComputeFlags
from camcli.cli.flags.figure import FigureFlags
from camcli.cli.flags.model import ModelFlags
from camcli.cli.flags.panels import MODEL, OUT, RUN, WHAT
from camcli.cli.flags.pictures import PictureFlags
from camcli.cli.flags.question import TargetFlags
from camcli.cli.flags.run import RunFlags

T = TypeVar("T")


# The flags that a command takes as one parameter, and their title in --help.
_GROUPS: dict[object, str] = {
    ModelFlags: MODEL,
    PictureFlags: "Pictures in",
    TargetFlags: WHAT,
    FigureFlags: OUT,
    ComputeFlags: "Speed",
    RunFlags: RUN,
}


def spread(command: Callable[..., T]) -> Callable[..., T]:
    """The command, with each parameter whose type is a group of flags replaced by one option a field.

    If the command has a parameter of its own for a field, such as a repeatable --model, the field keeps its default.
    """
    taken = list(inspect.signature(command, eval_str=True).parameters.values())
    groups = {p.name: p.annotation for p in taken if p.annotation in _GROUPS}
    own = {p.name for p in taken}
    given = {name: [f.name for f in fields(kind) if f.name not in own] for name, kind in groups.items()}
    parameters: list[inspect.Parameter] = []
    for parameter in taken:
        name = parameter.name
        options = _options_of(parameter.annotation, given[name]) if name in groups else [parameter]
        parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in options]

    @wraps(command)
    def run(**options: Any) -> T:
        made = {name: kind(**{field: options.pop(field) for field in given[name]}) for name, kind in groups.items()}
        return command(**options, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options_of(kind: type, names: Collection[str]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for hint in hints.values():
        hint.__metadata__[0].rich_help_panel = _GROUPS[kind]
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=f.default if f.default_factory is MISSING else f.default_factory(),
            annotation=hints[f.name],
        )
        for f in fields(kind)
        if f.name in names
    ]
