"""The shell's offers after a flag."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from camcli.models import catalog


def complete_model(incomplete: str) -> list[str]:
    return [name for name in catalog.names() if name.startswith(incomplete)]


def complete_method(incomplete: str) -> list[str]:
    from camcli import methods

    return [name for name in methods.names() if name.startswith(incomplete)]


def complete_layer(context: typer.Context, incomplete: str) -> list[str]:
    """Names of layers: the one completion that must build a network, and so import torch."""
    from camcli.errors import CamcliError
    from camcli.models import blueprint
    from camcli.specs import ModelSpec

    model = context.params.get("model")
    try:
        net = blueprint(ModelSpec(model[0] if isinstance(model, (list, tuple)) else model)).net
    except CamcliError:
        return []
    return [name for name, _ in net.named_modules() if name and name.startswith(incomplete)]


def offer(choices: Sequence[str]) -> object:
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]
