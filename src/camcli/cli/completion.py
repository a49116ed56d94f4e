"""The shell's offers after a flag. Where there is none the shell offers files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from camcli.cli import foreign
from camcli.models import catalog
from camcli.specs import TARGETS

if TYPE_CHECKING:
    from camcli.models import Model


def complete_model(incomplete: str) -> list[str]:
    """Models by name; of a library its names are offered once its own is typed."""
    for library in (catalog.TIMM, catalog.OPEN_CLIP):
        if incomplete.startswith(library):
            return _beginning(incomplete, (library + name for name in catalog.names_in(library)))
    return _beginning(incomplete, (*catalog.names(), *catalog.LIBRARIES))


def complete_method(incomplete: str) -> list[str]:
    from camcli import methods

    return _beginning(incomplete, (*methods.names(), methods.ALL))


def complete_described_method(incomplete: str) -> list[str]:
    from camcli import methods

    return _beginning(incomplete, methods.names())


def complete_weights(context: typer.Context, incomplete: str) -> list[str]:
    known = catalog.entries().get(_model(context) or catalog.BUNDLED)
    return _beginning(incomplete, ("DEFAULT", *(known.weights if known else ()), "none"))


def complete_weights_key(context: typer.Context, incomplete: str) -> list[str]:
    """The state dicts in a file, which must be read for that."""
    from camcli.errors import CamcliError
    from camcli.models.weights import checkpoints

    file = _argument(context, "file") or _one(context.params.get("weights"))
    if file is None or not os.path.exists(file):
        return []
    try:
        return _beginning(incomplete, checkpoints.read(Path(file)).keys)
    except CamcliError:
        return []


def complete_class(context: typer.Context, incomplete: str) -> list[str]:
    return [*_beginning(incomplete, ("top1", "top5", "folder")), *complete_class_name(context, incomplete)]


def complete_class_name(context: typer.Context, incomplete: str) -> list[str]:
    """Names of classes, as bash takes them: it alone quotes nothing itself."""
    bash = os.environ.get("_CAMCLI_COMPLETE", "").endswith("bash")
    return _beginning(incomplete, (name.replace(" ", r"\ ") if bash else name for name in _classes(context)))


def complete_layer(context: typer.Context, incomplete: str) -> list[str]:
    """Names of layers, for which the network must be built."""
    plan = _blueprint(context)
    return _beginning(incomplete, (name for name, _ in plan.net.named_modules() if name)) if plan else []


def complete_quantity(context: typer.Context, incomplete: str) -> list[str]:
    """The numbers that the network's task has, for which it must be built."""
    plan = _blueprint(context)
    return _beginning(incomplete, plan.task.quantities) if plan else []


def complete_target(incomplete: str) -> list[str]:
    return _beginning(incomplete, TARGETS)


def complete_device(incomplete: str) -> list[str]:
    """The devices that there may be; Linux shows NVIDIA's as files."""
    cards = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return _beginning(incomplete, ("auto", "cpu", "cuda", *(f"cuda:{card}" for card in cards), "mps"))


def complete_preset(incomplete: str) -> list[str]:
    """Its one word, once it is begun: else the shell would offer no files."""
    return _beginning(incomplete, ("none",)) if incomplete else []


def complete_command(context: typer.Context, incomplete: str) -> list[str]:
    root = context.find_root()
    return _beginning(incomplete, root.command.list_commands(root))  # type: ignore[attr-defined]


def complete_list(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Offers the choices that are not there yet, after the last comma of a list."""

    def complete(incomplete: str) -> list[str]:
        head, comma, last = incomplete.rpartition(",")
        left = [choice for choice in choices if choice not in head.split(",")]
        return [f"{head}{comma}{choice}" for choice in _beginning(last, left)]

    return complete


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _one(value: object) -> str | None:
    """The value of an option, the first one if it is repeatable."""
    first = next(iter(value), None) if isinstance(value, (list, tuple)) else value
    return None if first is None else str(first)


def _model(context: typer.Context) -> str | None:
    """The model that is named, as an argument or with --model."""
    return _argument(context, "name") or _one(context.params.get("model"))


def _argument(context: typer.Context, name: str) -> str | None:
    """An argument of that name; while the value of an option is typed, arguments are not sorted out yet."""
    if any(param.name == name for param in context.command.params):
        return _one(context.params.get(name) or context.args)
    return None


def _is_harmless(model: str | None) -> bool:
    """True if the model can be built without code of anybody's, and nothing is fetched: it is only typed, not run yet.
    open_clip may fetch what takes its texts apart."""
    name = model or ""
    return not (foreign.is_code(name) or foreign.is_of_hub(name) or name.startswith(catalog.OPEN_CLIP))


def _classes(context: typer.Context) -> Sequence[str]:
    from camcli.errors import CamcliError
    from camcli.models import labels, labels_of
    from camcli.specs import ModelSpec

    model, weights = _model(context), _one(context.params.get("weights")) or "DEFAULT"
    try:
        if file := _one(context.params.get("labels")):
            return labels.read(Path(file))
        if model in (None, *catalog.classifiers()) and not os.path.exists(weights):
            return catalog.categories()
        return (labels_of(ModelSpec(model, weights)) or ()) if _is_harmless(model) else ()
    except CamcliError:
        return ()


def _blueprint(context: typer.Context) -> Model | None:
    from camcli.errors import CamcliError
    from camcli.models import blueprint
    from camcli.specs import ModelSpec

    if not _is_harmless(_model(context)):
        return None
    try:
        return blueprint(ModelSpec(_model(context), task=context.params.get("task")))
    except CamcliError:
        return None
