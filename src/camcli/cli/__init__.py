"""The command line. Nothing here imports torch before a request is known to be right."""

from __future__ import annotations

from typing import Annotated

import typer

from camcli import __version__
from camcli.cli import bench, compare, doctor, explain, inspect, listings, verify

app = typer.Typer(
    name="camcli",
    help="See where an image model looked: Grad-CAM, Guided Backprop and Guided Grad-CAM (arXiv:1610.02391).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("explain")(explain.explain)
app.command("classify")(explain.classify)
app.command("compare")(compare.compare)
app.command("inspect")(inspect.inspect)
app.command("verify")(verify.verify)
app.command("bench")(bench.bench)
app.command("models")(listings.models)
app.command("layers")(listings.layers)
app.command("classes")(listings.classes)
app.command("methods")(listings.methods)
app.command("doctor")(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"camcli {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script."""
    app(prog_name="camcli")
