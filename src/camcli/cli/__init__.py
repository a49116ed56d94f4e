"""The command line. Nothing here imports torch before a request is known to be right."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from camcli._version import __version__
from camcli.cli import console
from camcli.cli.command import Command, UsageError, of_usage, refuse
from camcli.cli.commands import bench, compare, doctor, explain, inspect, listings, page, settings, verify


class _Commands(TyperGroup):
    """The commands. If a picture is named in the place of one, a message says which command is meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse as Typer does; say in one line what is wrong."""
        asks_nothing = not args
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            if asks_nothing:  # then it is the help
                raise
            return refuse(ctx, [of_usage(error)])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve a command as Typer does; refuse a picture in its place."""
        if args[0] not in self.list_commands(ctx) and _is_input(args[0]) and not ctx.resilient_parsing:
            refuse(ctx, [f"{args[0]} is no command: type `camcli explain {shlex.join(args)}`"])
        try:
            return super().resolve_command(ctx, args)
        except UsageError as error:
            return refuse(ctx, [of_usage(error)])


def _is_input(name: str) -> bool:
    """True if `explain` takes it, or if it looks like a picture that isn't there."""
    import glob

    from camcli.inputs import refs
    from camcli.storage import uris

    there = name == "-" or os.path.exists(name) or uris.is_uri(name) or glob.has_magic(name)
    return there or Path(name).suffix.lower() in refs.IMAGE_SUFFIXES


app = typer.Typer(
    name="camcli",
    cls=_Commands,
    help="See where an image model looked: Grad-CAM, Guided Backprop and Guided Grad-CAM (arXiv:1610.02391), and "
    "thirty other methods.\n\nBegin with `camcli explain photo.jpg`; `camcli COMMAND --help` explains each command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("explain", cls=Command)(explain.explain)
app.command("classify", cls=Command)(explain.classify)
app.command("compare", cls=Command)(compare.compare)
app.command("inspect", cls=Command)(inspect.inspect)
app.command("report", cls=Command)(page.report)
app.command("verify", cls=Command)(verify.verify)
app.command("bench", cls=Command)(bench.bench)
app.command("models", cls=Command)(listings.models)
app.command("layers", cls=Command)(listings.layers)
app.command("classes", cls=Command)(listings.classes)
app.command("methods", cls=Command)(listings.methods)
app.command("config", cls=Command)(settings.config)
app.command("doctor", cls=Command)(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"camcli {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Config file to take in place of those that are looked for; also CAMCLI_CONFIG.",
            show_default=False,
        ),
    ] = None,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="Take no config file and no CAMCLI_* variable.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script."""
    console.replace_what_cannot_be_encoded()
    app(prog_name="camcli")
