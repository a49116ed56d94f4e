"""A command: its options as they are typed, set or left alone, and all that is wrong with them in one line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from camcli.cli import config, console
from camcli.cli.help import Paneled
from camcli.errors import ExitCode, RequestError

# The kind of all that is wrong with a command line. Typer gives a name to this one of them only.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class Command(Paneled):
    """A command whose options are, if they are not typed, what the environment or a config file says."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse as Typer does, with settings for what is not typed; refuse all wrong values at once."""
        if ctx.resilient_parsing:  # the shell asks for offers: it is no time to complain
            with suppress(RequestError):
                ctx.default_map = _values(config.settings(ctx))
            return super().parse_args(ctx, args)
        try:
            typed, rest, _ = self.make_parser(ctx).parse_args(list(args))
        except UsageError as error:
            if getattr(error, "option_name", None) in ("--config", "--no-config"):
                return refuse(ctx, [f"{error.option_name} stands before the command: `camcli --help`"])  # type: ignore[attr-defined]
            return refuse(ctx, [of_usage(error)])
        try:
            # `--help` is the same everywhere, and needs no file.
            ctx.default_map = None if typed.get("help") else _values(config.take(ctx, typed))
            parsed = super().parse_args(ctx, args)
            config.check_trust(ctx)
        except RequestError as error:
            return refuse(ctx, [str(error)])
        except UsageError as error:
            return refuse(ctx, list(self._wrong(ctx, typed, rest)) or [of_usage(error)])
        return parsed

    def invoke(self, ctx: Any) -> Any:
        """Run it. Say which settings took part if the command can't be done, or if that is asked for."""
        if ctx.params.get("verbose"):
            _tell(ctx)
        try:
            return super().invoke(ctx)
        except typer.Exit as end:
            if end.exit_code in (ExitCode.REQUEST, ExitCode.SETUP):
                _tell(ctx)
            raise

    def _wrong(self, ctx: Any, typed: Mapping[str, Any], rest: Sequence[str]) -> Iterator[str]:
        """A line on each value that Typer does not take; `rest` are arguments too many."""
        for param in self.params:
            try:
                param.handle_parse_result(ctx, typed, list(rest))
            except typer.BadParameter as error:
                setting = config.in_effect(ctx).get(param.name)
                if not error.message:
                    yield f"{param.metavar} is missing: see `{ctx.command_path} --help`"
                else:
                    value = typed.get(param.name) if setting is None else setting.value
                    yield self.wrong(param, value, setting, error)

    def wrong(self, param: Any, value: Any, setting: config.Setting | None, error: typer.BadParameter) -> str:
        """A line on a value that Typer does not take."""
        option = max(param.opts, key=len) if param.param_type_name == "option" else param.metavar
        name = option if setting is None else f"{setting.origin}: {option}"
        said = config.shortened(repr(value))
        if choices := self.choices(param.name):
            return f"{name} {said} is none of {', '.join(choices)}"
        return f"{name} {said}: {error.message.removeprefix('Value error, ').rstrip('.')}"

    def choices(self, name: str) -> tuple[str, ...]:
        """The words that a parameter is one of; none if it is free."""
        hint = self.hint(name)
        one_of = [kind for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal]
        return get_args(one_of[0]) if one_of else ()

    def hint(self, name: str) -> Any:
        """The type of a parameter."""
        assert self.callback is not None
        hint = inspect.signature(self.callback, eval_str=True).parameters[name].annotation
        return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def of_usage(error: Exception) -> str:
    """A line on what is wrong with a command line, in Typer's words."""
    said: str = error.format_message()  # type: ignore[attr-defined]
    return f"{said[:1].lower()}{said[1:]}".rstrip(".")


def refuse(ctx: Any, problems: Sequence[str]) -> Any:
    """Say what is wrong with a command line, and end."""
    console.say(f"error: {'; '.join(dict.fromkeys(problems))}")
    ctx.exit(int(ExitCode.REQUEST))


def _values(settings: Mapping[str, config.Setting]) -> dict[str, Any]:
    return {name: setting.value for name, setting in settings.items()}


def _tell(ctx: Any) -> None:
    """Say which options are neither typed nor as usual, and who says so."""
    by_origin: dict[str, list[str]] = {}
    for setting in config.in_effect(ctx).values():
        by_origin.setdefault(setting.origin, []).append(f"--{setting.option}")
    for origin, options in by_origin.items():
        console.say(f"{origin} sets {', '.join(options)}")
