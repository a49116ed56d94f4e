"""`--help` of a command: what most people type stands first."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from camcli.cli.flags.panels import FIRST, RUN

# In the order in which they are shown.
_MOST_USED = (
    *("--class", "--method", "--layer", "--model", "--weights", "--labels"),
    *("--output", "--save", "--show", "--json"),
)
# A command of fewer options has no panel of the most used ones.
_MANY = 20


class Paneled(TyperCommand):
    """A command whose most used options are in a panel of their own, if it has many, and `--help` among those of the
    run."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, as they are shown."""
        found = super().get_params(ctx)
        named = {param.opts[0]: param for param in found} if len(found) > _MANY else {}
        first = [named[flag] for flag in _MOST_USED if flag in named]
        for param in first:
            param.rich_help_panel = FIRST  # type: ignore[attr-defined]
        return [*first, *(param for param in found if param not in first)]

    def get_help_option(self, ctx: Any) -> Any:
        """The option `--help`."""
        option: Any = super().get_help_option(ctx)
        option.rich_help_panel = RUN
        return option
