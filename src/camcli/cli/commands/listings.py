"""`camcli models`, `layers`, `methods` and `classes`: what there is to choose from."""

from __future__ import annotations

import inspect
import json as json_
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camcli import methods as methods_
from camcli.cli import config, console, report
from camcli.cli.completion import complete_class_name, complete_described_method, complete_model
from camcli.cli.flags.model import ModelArgument, ModelFlags
from camcli.cli.flags.run import Debug, Json
from camcli.cli.flags.spread import spread
from camcli.cli.problems import Problems
from camcli.errors import RequestError, SetupError
from camcli.models import Model, catalog, check_name, listing, typed, weights_file, weights_url
from camcli.network import parts
from camcli.records import spelled
from camcli.specs import TASKS, ModelSpec, Task

if TYPE_CHECKING:
    from camcli.layers.trace import Trace
    from camcli.network.layer import Layer

MethodName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="Method to describe in full.",
        autocompletion=complete_described_method,
        show_default=False,
    ),
]
TaskOption = Annotated[
    Task | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help=f"List only models with this kind of answer: {', '.join(TASKS)}.",
        show_default=False,
    ),
]
Pattern = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="Name or wildcard, such as 'res*' or 'timm:conv*'.",
        autocompletion=complete_model,
    ),
]


@console.guarded
def models(pattern: Pattern = "*", task: TaskOption = None, json: Json = False, debug: Debug = False) -> None:
    """List the models that can be asked for by name, and their weights; timm's with 'timm:*', open_clip's with
    'open_clip:*'."""
    found = listing(pattern)
    if found is None:
        found = [entry for entry in catalog.entries().values() if fnmatchcase(entry.name, pattern.lower())]
    found = [entry for entry in found if task in (None, entry.task)]
    if not found:
        raise RequestError(
            f"no model matches {pattern!r}: `camcli models` lists torchvision's, `camcli models 'timm:*'` timm's, "
            "`camcli models 'open_clip:*'` open_clip's"
        )
    if json:
        for entry in found:
            told = {"name": entry.name, "family": entry.family, "task": entry.task, "weights": list(entry.weights)}
            console.out(json_.dumps(told))
        return
    rows = [(entry.name, entry.family, entry.task, ", ".join(entry.weights)) for entry in found]
    report.table(("model", "family", "task", "weights"), rows)


@console.guarded
@spread
def layers(
    context: typer.Context,
    flags: ModelFlags,
    name: ModelArgument = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Print a model's modules with their output shapes, and mark the layer that is explained.

    Weights are not downloaded; a file named with --weights is read, because it
    says what the network is.
    """
    spec = _spec(context, name, flags)
    import torch

    from camcli.layers.choosing import resolve
    from camcli.layers.tracing import trace
    from camcli.models import blueprint, load_model

    plan = load_model(spec) if _is_filled(spec) else blueprint(spec)
    for remark in plan.remarks:
        console.say(remark)
    pictures = 1 if plan.alone else 2
    grey = torch.zeros(pictures, *plan.preset.view_shape, device=plan.device)
    traced = trace(plan.net, grey, plan.task)
    chosen: list[Layer] = []
    refusal = None
    try:
        chosen = resolve(plan.net, traced, (), plan.name, rule=plan.task.rule)
    except SetupError as error:  # raised once it is listed which of the others can be named
        refusal = error
    modules: list[dict[str, Any]] = [
        {"name": name, "type": type(module).__name__, "shape": list(run.shape[1:]) if run else None}
        for name, module in plan.net.named_modules()
        if name
        for run in [traced.last(name)]
    ]
    if json:
        found = [{"layer": own.name, "shape": list(own.shape), "why": own.why} for own in chosen]
        top: dict[str, Any] = found[0] if found else {"layer": None}
        more = {"levels": found} if len(found) > 1 else {}
        console.out(json_.dumps({"model": plan.name, **top, **more, "modules": modules}))
    else:
        _list_layers(plan, traced, modules, chosen)
    if refusal is not None:
        raise refusal


def _list_layers(plan: Model, traced: Trace, modules: list[dict[str, Any]], chosen: Sequence[Layer]) -> None:
    """Print a line for each module, with marks, and the meaning of the marks."""
    usable = {run.name for module in modules if (run := traced.last(module["name"])) and run.layout}
    names = [own.name for own in chosen]
    rows = []
    for module in modules:
        name = module["name"]
        mark = "=>" if name in names else "*" if name in usable else ""
        shape = "x".join(map(str, module["shape"])) if module["shape"] else "-"
        rows.append((mark, "  " * name.count(".") + name, module["type"], shape))
    report.table(("", "layer", "type", f"output at {spelled(plan.preset.crop)}"), rows)
    listed = ", ".join(f"{own.name} ({'x'.join(map(str, own.shape))})" for own in chosen)
    said = f"=> {listed}: {chosen[0].why}; " if chosen else ""
    console.say(f"{said}* can be named with --layer")


@console.guarded
def methods(
    name: MethodName = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the methods, or say all about one: formula, paper, cost, needs, when not to use it."""
    found = [methods_.get(name) for name in ([name] if name else methods_.names())]
    if json:
        for m in found:
            console.out(json_.dumps(_described(m)))
    elif name:
        report.table(("", ""), [(title, _text(value)) for title, value in _described(found[0]).items() if value])
    else:
        rows = [(m.name, m.kind, m.paper, m.summary) for m in found]
        report.table(("method", "kind", "paper", "what it is"), rows)


def _described(method: methods_.Method) -> dict[str, object]:
    return {
        "name": method.name,
        "kind": method.kind,
        "paper": method.paper,
        "formula": inspect.cleandoc(method.function.__doc__ or ""),
        "forwards": method.forwards,
        "backwards": method.backwards,
        "heads": method.heads,
        "needs": [words for part, words in NEEDS.items() if method.needs & part],
        "caveat": method.caveat,
    }


def _text(value: object) -> str:
    return "; ".join(value) if isinstance(value, list) else " ".join(str(value).split())


# The meaning, for a method's user, of the parts of Evidence that it reads.
NEEDS = {
    parts.AT_LAYER | parts.AT_STAGES: "a target layer that gives a map",
    parts.AT_STAGES: "the ends of earlier stages too",
    parts.TO_PIXELS: "gradients to the pixels",
    parts.BENDS_RELU: "ReLU activations",
    parts.ASKS_AGAIN: "many forwards, or runs of what comes after the layer",
    frozenset({"class_weights"}): "a network that ends in an average and one linear layer",
    parts.ATTENTION: "self-attention over the layer's tokens (ViT)",
}


@console.guarded
@spread
def classes(
    context: typer.Context,
    flags: ModelFlags,
    name: ModelArgument = None,
    query: Annotated[
        str,
        typer.Argument(
            metavar="TEXT",
            help="List only classes whose name contains TEXT.",
            autocompletion=complete_class_name,
            show_default=False,
        ),
    ] = "",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List a model's classes with their ids.

    Weights are not downloaded; a file named with --weights is read, because it
    says which classes there are.
    """
    if name is not None and not query and _names_the_model(flags, name):
        query, name = name, None
    spec = _spec(context, name, flags)
    from camcli.questions.classes import matching

    labels = _labels(spec)
    if not labels:
        raise RequestError(f"{typed(spec)} names no class")
    found = matching(query, labels) if query else list(range(len(labels)))
    if not found:
        raise RequestError(f"no class of {typed(spec)} contains {query!r}: `camcli classes {typed(spec)}` lists them")
    if json:
        for i in found:
            console.out(json_.dumps({"id": i, "label": labels[i]}))
        return
    report.table(("id", "class"), [(i, labels[i]) for i in found], right=(0,))


def _names_the_model(flags: ModelFlags, word: str) -> bool:
    """True if the flags say which model it is, so that a single word after them is a part of a class's name."""
    if flags.model is not None or flags.weights in ("DEFAULT", "none"):
        return flags.model is not None
    try:
        check_name(word)
    except RequestError:
        return True
    return False


def _spec(context: typer.Context, name: str | None, flags: ModelFlags) -> ModelSpec:
    """The model that is named, as an argument or with --model.

    Raises: RequestError: both are typed, or wrong flags.
    """
    if name is not None and flags.model is not None and "model" not in config.in_effect(context):
        raise RequestError(f"{name} and --model {flags.model} are two models: leave one out")
    problems = Problems()
    given = problems.of_model(replace(flags, model=name or flags.model))
    problems.raise_any()
    return ModelSpec(**given | {"device": "cpu"})  # names and shapes are the same on any


def _is_filled(spec: ModelSpec) -> bool:
    """True if a file tells what the network is."""
    return weights_url(spec) is not None or weights_file(spec) is not None


def _labels(spec: ModelSpec) -> tuple[str, ...]:
    from camcli.models import labels_of, load_model

    if (known := labels_of(spec)) is not None:
        return known
    weights = spec.weights if _is_filled(spec) else "none"
    mean, std = spec.mean or (0.0,), spec.std or (1.0,)  # nothing is normalised
    model = load_model(replace(spec, weights=weights, mean=mean, std=std))
    for remark in model.remarks:
        console.say(remark)
    return model.labels
