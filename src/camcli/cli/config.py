"""What options are if they are not typed: CAMCLI_* variables, then the first config file that is found."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from camcli.cli import foreign
from camcli.errors import RequestError

NAME, PYPROJECT = "camcli.toml", "pyproject.toml"
# Options that mean another thing in that command than in others: only its own table sets them.
_OWN = {
    "classify": {"class"},
    "compare": {"output"},
    "inspect": {"model"},
    "models": {"task"},
    "report": {"output"},
    "verify": {"model", "weights", "target", "trust-checkpoint", "device"},
}
_WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
# The places of a command's settings, and of the files, in its context.
_META, _PLACES = "camcli.settings", "camcli.places"
# Parsing takes seconds for each megabyte.
_LARGEST = 1_000_000
# So much of a value is shown.
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of an option, as it would be typed, and who gives it: a variable, or a table of a file. `foreign`: a
    file that may have come with the folder."""

    option: str
    value: Any
    origin: str
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A file that was looked for; `tables` are those of the one that holds, None of all others."""

    path: str
    status: str
    tables: Mapping[str, Any] | None = None
    foreign: bool = False

    def table(self, command: str | None = None) -> str:
        """The words that name the table of a command, or the one of all."""
        names = [*(("tool", "camcli") if Path(self.path).name == PYPROJECT else ()), *((command,) if command else ())]
        return f"{self.path} [{'.'.join(names)}]" if names else self.path


def take(ctx: typer.Context, typed: Mapping[str, Any]) -> dict[str, Setting]:
    """The settings of the command that is about to run, kept as `in_effect` but for those of options that are typed.

    Raises: RequestError: see `settings`.
    """
    found = {name: setting for name, setting in settings(ctx).items() if name not in typed}
    ctx.meta[_META] = found
    return found


def in_effect(ctx: typer.Context) -> Mapping[str, Setting]:
    """The settings that a command takes, by its parameters' names."""
    found: Mapping[str, Setting] = ctx.meta.get(_META, {})
    return found


def settings(ctx: typer.Context, command: str | None = None) -> dict[str, Setting]:
    """The settings of a command, the one of the context if it is not named, by its parameters' names.

    Raises: RequestError: two files are asked for, one can't be read, or it says what it can't say.
    """
    root = ctx.find_root()
    command = command or str(ctx.info_name)
    options = {
        name: _options(root.command.get_command(root, name))  # type: ignore[attr-defined]
        for name in root.command.list_commands(root)  # type: ignore[attr-defined]
    }
    if root.params.get("no_config"):
        if root.params.get("config"):
            raise RequestError("--config FILE and --no-config exclude each other: leave one out")
        return {}
    place = next((place for place in places(ctx) if place.tables is not None), None)
    of_file = _of_file(place, command, options) if place is not None else {}
    return of_file | dict(_of_environment(command, options[command]))


def check_trust(ctx: typer.Context) -> None:
    """Check that --trust-checkpoint is of a file that the user has named.

    Raises: RequestError: a foreign config file has named it.
    """
    for name in ("model", "weights"):
        setting = in_effect(ctx).get(name)
        if ctx.params.get("trust_checkpoint") and setting is not None and setting.foreign:
            raise RequestError(
                f"--trust-checkpoint lets a file run code, and {setting.origin} names it: say yourself which one, "
                f"--{name} {shlex.join(foreign.texts_of(setting.value))}"
            )


def places(ctx: typer.Context) -> list[Place]:
    """The files that are looked for, in order; the first one that is there, and says something of camcli, holds.

    Raises: RequestError: it can't be read, or is no TOML.
    """
    meta = ctx.find_root().meta
    if _PLACES not in meta:
        meta[_PLACES] = _looked_for(ctx.find_root().params)
    found: list[Place] = meta[_PLACES]
    return found


def _looked_for(params: Mapping[str, Any]) -> list[Place]:
    if params.get("no_config"):
        return []
    typed = params.get("config")
    if named := typed or os.environ.get("CAMCLI_CONFIG"):
        place = _place(named, foreign=False)
        if place.tables is None:
            raise RequestError(f"{'--config ' if typed else 'CAMCLI_CONFIG='}{named}: {place.status}")
        return [place]
    found: list[Place] = []
    for path, is_foreign in _candidates():
        if not any(place.tables is not None for place in found):
            found.append(_place(path, foreign=is_foreign))
        elif _is_there(path):
            found.append(Place(path, "not read: another one holds"))
    return found


def users_file() -> str:
    """The path of the user's own file."""
    return os.path.join(typer.get_app_dir("camcli"), "config.toml")  # noqa: PTH118  it is printed as it is


def _candidates() -> Iterator[tuple[str, bool]]:
    try:
        here = Path.cwd()
    except OSError:  # the folder is gone
        here = None
    for folder in (here, *here.parents) if here else ():
        yield str(folder / NAME), True
        yield str(folder / PYPROJECT), True
    yield users_file(), False


def _is_there(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113  says no where a Path would raise


def _place(path: str, *, foreign: bool) -> Place:
    import tomllib

    if not _is_there(path):
        return Place(path, "not there")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise RequestError(f"{path} is larger than {_LARGEST // 1_000_000} MB: no config file is")
        # Another tool's faults are not ours.
        of_us = Path(path).name != PYPROJECT or b"camcli" in content
        tables = tomllib.loads(content.decode()) if of_us else {}
    except OSError as error:
        raise RequestError(f"can't read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is no TOML: {error}") from None
    if Path(path).name == PYPROJECT:
        tool = tables.get("tool")
        if not isinstance(tool, dict) or not isinstance(tool.get("camcli"), dict):
            return Place(path, "passed over: it has no [tool.camcli]")
        tables = tool["camcli"]
    return Place(path, "holds", tables, foreign)


def _options(command: Any) -> dict[str, tuple[Any, bool]]:
    """The options of a command by their long names, with the value of those that are on or off if they are given."""
    names: dict[str, tuple[Any, bool]] = {}
    for param in command.params:
        if param.param_type_name == "option":
            names |= {opt[2:]: (param, True) for opt in param.opts if opt.startswith("--")}
            names |= {opt[2:]: (param, False) for opt in param.secondary_opts}
    return names


def _of_file(place: Place, command: str, options: Mapping[str, Mapping[str, Any]]) -> dict[str, Setting]:
    """The settings of a command in a file. Raises: RequestError: an unknown key, or a value that is none."""
    tables = place.tables or {}
    of_all = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    own = {key: value for key, value in tables.items() if isinstance(value, dict)}
    known = {name for names in options.values() for name in names}
    for key in of_all:
        if key in options and key not in known:
            raise RequestError(f"{place.table()}: {key} = {_shown(of_all[key])}: [{key}] is the table of a command")
        if key not in known:
            raise _unknown(place.table(), key, [*known, *options], f"camcli config {command}")
    for name, table in own.items():
        if name not in options:
            raise _unknown(place.table(), name, options, "camcli --help")
        for key in table:
            if key not in options[name]:
                raise _unknown(place.table(name), key, options[name], f"camcli config {name}")
    here = {key: value for key, value in of_all.items() if key in options[command] and key not in _OWN.get(command, ())}
    return dict(_of_table(place, place.table(), here, options[command])) | dict(
        _of_table(place, place.table(command), own.get(command, {}), options[command])
    )


def _of_table(
    place: Place, origin: str, table: Mapping[str, Any], options: Mapping[str, tuple[Any, bool]]
) -> Iterator[tuple[str, Setting]]:
    said: dict[str, str] = {}
    for key, value in table.items():
        param, given = options[key]
        _once(said, param, key, origin)
        try:
            typed = _typed(param, value)
            if place.foreign:
                foreign.check(key, typed)
        except ValueError as error:
            raise RequestError(f"{origin}: {key} = {_shown(value)}: {error}") from None
        except foreign.ForeignError as error:
            ways = f"--{key}, CAMCLI_{_variable(key)} or {users_file()}"
            raise RequestError(f"{origin}: {key} = {_shown(value)} {error}: only {ways} can say so") from None
        yield param.name, Setting(key, typed == given if param.is_flag else typed, origin, place.foreign)


def _of_environment(command: str, options: Mapping[str, tuple[Any, bool]]) -> Iterator[tuple[str, Setting]]:
    said: dict[str, str] = {}
    for key, (param, given) in options.items():
        name = f"CAMCLI_{_variable(key)}"
        text = os.environ.get(name)
        if not text or key in _OWN.get(command, ()):
            continue
        _once(said, param, name, "the environment")
        try:
            value = _typed_by_words(param, text)
        except ValueError as error:
            raise RequestError(f"{name}={text}: {error}") from None
        yield param.name, Setting(key, value == given if param.is_flag else value, name)


def _once(said: dict[str, str], param: Any, key: str, where: str) -> None:
    """Raises: RequestError: the option is set already, under its other name."""
    if other := said.get(param.name):
        raise RequestError(f"{where}: {other} and {key} are one option: leave one out")
    said[param.name] = key


def _typed(param: Any, value: Any) -> Any:
    """A value of a TOML file as texts that could be typed. Raises: ValueError: the option takes no such thing."""
    if param.is_flag:
        if not isinstance(value, bool):
            raise ValueError("write true or false")
        return value
    several = param.multiple or param.nargs != 1
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in values):
        raise ValueError("write a text or a number" + (", or a list of them" if several else ""))
    if isinstance(value, list) and not several:
        raise ValueError("write one value, no list")
    return _counted(param, [str(one) for one in values]) if several else str(value)


def _typed_by_words(param: Any, text: str) -> Any:
    """A variable's text as what could be typed. Raises: ValueError: the option takes no such thing."""
    if param.is_flag:
        if text.lower() not in _WORDS:
            raise ValueError(f"write one of {', '.join(_WORDS)}")
        return _WORDS[text.lower()]
    return _counted(param, shlex.split(text)) if param.multiple or param.nargs != 1 else text


def _counted(param: Any, values: list[str]) -> list[str]:
    """The values. Raises: ValueError: there are not as many as the option takes."""
    if param.nargs not in (1, len(values)):
        raise ValueError(f"write {param.nargs} values")
    if not values:
        raise ValueError("write at least one value")
    return values


def _unknown(where: str, key: str, known: Any, listing: str) -> RequestError:
    near = get_close_matches(key.lower().replace("_", "-"), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return RequestError(f"{where}: unknown key {key!r}: {hint}`{listing}` lists them all")


def _variable(option: str) -> str:
    return option.upper().replace("-", "_")


def _shown(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return shortened(f"[{', '.join(map(_shown, value))}]")
    return f'"{shortened(value)}"' if isinstance(value, str) else shortened(str(value))


def shortened(text: str) -> str:
    """The text's beginning, if it is too long to be read."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
