"""Conflicts in a request: all that can be refused before a model is loaded, and what its model forbids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from camcli import methods
from camcli.errors import RequestError, SetupError
from camcli.methods import Method
from camcli.models import Model
from camcli.network import parts
from camcli.records import spelled
from camcli.specs import TARGETS, OutputSpec, Spec
from camcli.tasks.task import Task

# These need every operation before the layer to be seen, and compiled code shows none.
_SEEN_WHOLE = parts.TO_PIXELS | parts.ATTENTION | parts.RESUMES


def methods_of(spec: Spec, task: Task | None = None) -> tuple[list[Method], list[str]]:
    """(the methods asked for, why others are left out). `all` asks for those that go with the other flags, and with the
    `task`, once that is known.

    Raises:
        RequestError: flags that exclude each other, numbers out of range, no such method or file.
        SetupError: a method that does not load.
    """
    if (spec.batch_size is not None and spec.batch_size < 1) or spec.top < 1:
        raise RequestError("batch size and top must be at least 1")
    found: list[Method] = []
    left_out: list[str] = []
    for name in methods.names() if asks_all(spec) else methods.asked(_named(spec)):
        try:
            found.append(_method(spec, name, task))
        except (RequestError, SetupError) as error:
            if not asks_all(spec):
                raise
            left_out.append(f"{name} is left out: {error}")
    check_targets(spec)
    _check_computing(spec, found)
    if spec.fuse and len(dict.fromkeys(spec.layers)) < 2:
        raise RequestError("--fuse joins the maps of several layers: name two or more with --layer")
    return found, left_out


def asks_all(spec: Spec) -> bool:
    """True if every method that applies is asked for."""
    return methods.ALL in methods.asked(_named(spec))


def resolved(spec: Spec, task: Task) -> Spec:
    """The spec with what suits the task where nothing was said. Raises: RequestError: the task has no such
    quantity, or can't serve a flag."""
    for name, why in task.forbids.items():
        if getattr(spec, name) not in (None, (), False):
            raise RequestError(f"--{name.replace('_', '-')} does not go with models that {task.name}: {why}")
    if task.name == "embed" and not (spec.compares or spec.asks_function):
        raise RequestError(
            "the network has no head, so it names no class: `camcli explain --similar-to PICTURE` explains its "
            "embedding, --target FILE.py:FUNCTION a number made of it"
        )
    asked = spec.target if spec.quantity is None else spec.quantity
    if asked in task.absent:
        raise RequestError(f"{task.name} has no {asked} here: {task.absent[asked]}")
    if spec.quantity is not None and spec.quantity not in task.quantities:
        raise RequestError(f"--quantity {spec.quantity!r} is none of {', '.join(task.quantities)}")
    return replace(spec, methods=(task.method,) if spec.methods is None else spec.methods, fit=spec.fit or task.fit)


def _named(spec: Spec) -> tuple[str, ...]:
    """The methods; if the task will choose one, grad-cam stands for it."""
    return ("grad-cam",) if spec.methods is None else spec.methods


def check_model(spec: Spec, model: Model) -> None:
    """Check the pictures' size, and the frames asked for.

    Raises:
        RequestError: frames of clips, of a model of pictures, or the other way round.
        SetupError: the model takes one size only, and others are asked for.
    """
    if model.preset.frames is None and spec.stride is not None:
        raise RequestError(f"--stride: {model.name} takes pictures, not clips; --every takes each N-th frame of a film")
    if model.preset.frames is not None and spec.every is not None:
        raise RequestError(f"--every: {model.name} takes clips; --stride says how far apart their frames are")
    if not model.fixed_size:
        return
    if "scale" in spec.augment:
        raise SetupError(f"{model.name} takes pictures of one size only: use --augment flip")
    if spec.fit == "full":
        size = spelled(model.preset.crop)
        raise SetupError(f"{model.name} takes {size} pictures only: use --fit crop, squash or pad")


def check_pictures(where: OutputSpec, model: Model) -> None:
    """Check the kinds of pictures to be written. Raises: RequestError: a clip's, of a model that takes pictures."""
    if model.preset.frames is None and "gif" in where.pictures:
        raise RequestError(f"--save gif is of clips, and {model.name} takes pictures")
    if "mask" in where.pictures and model.task.rule == "crossing":
        raise RequestError(f"--save mask is of a region, and {model.name} is there to {model.task.name}")


def _method(spec: Spec, name: str, task: Task | None) -> Method:
    found = methods.get(name)
    if task is not None and (lacking := sorted(found.needs & task.lacks.keys())):
        part = lacking[0]
        raise SetupError(f"{name} does not go with models that {task.name}: {task.lacks[part]}")
    if spec.eigen_smooth and "combine" not in found.needs:
        raise RequestError(f"--eigen-smooth replaces a sum over channels, and {name} has none")
    if asks_all(spec):
        _check_computing(spec, [found])
    return found


def check_targets(spec: Spec) -> None:
    """Check what is to be explained. Raises: RequestError: flags that exclude each other, or no such file."""
    ways = {
        "--class": spec.classes not in ((), ("top1",)),
        "--contrast": spec.contrast is not None,
        "--target FUNCTION": spec.target not in TARGETS,
        "--output-index": spec.output_index is not None,
        "--similar-to": spec.similar_to is not None,
    }
    if len(given := [flag for flag, used in ways.items() if used]) > 1:
        raise RequestError(f"{' and '.join(given)} each say what is explained: give one")
    if spec.target not in TARGETS:
        where, _, function = spec.target.rpartition(":")
        if not where or not function:
            raise RequestError(f"--target {spec.target!r} is none of {', '.join(TARGETS)}, module:function")
        if where.endswith(".py") and not Path(where).is_file():
            raise RequestError(f"no such file: {where}")
    places = [flag for flag in ("at", "region", "mask") if getattr(spec, flag) is not None]
    if len(places) > 1:
        raise RequestError(f"{' and '.join('--' + flag for flag in places)} each name a place: give one")
    if spec.region is not None and not (spec.region[0] < spec.region[2] and spec.region[1] < spec.region[3]):
        raise RequestError(
            f"--region {','.join(f'{side:g}' for side in spec.region)}: x0,y0,x1,y1 with x0 < x1, y0 < y1"
        )
    if spec.quantity is not None and spec.target != "logit":
        raise RequestError("--quantity and --target each say which number is explained: give one")
    if spec.target == "softmax" and (spec.output_index is not None or spec.similar_to is not None):
        raise RequestError("--target softmax goes with classes only")


def _check_computing(spec: Spec, asked: Sequence[Method]) -> None:
    if spec.exact and (spec.compile or spec.precision != "fp32"):
        raise RequestError("--exact is plain fp32: leave --precision and --compile out")
    for method in asked:
        if spec.precision != "fp32" and method.needs & parts.TO_PIXELS:
            raise RequestError(
                f"--precision {spec.precision}: {method.name} differentiates through the whole network, and of so few "
                "digits only noise would be left"
            )
    if not spec.compile:
        return
    for method in asked:
        if method.needs & _SEEN_WHOLE:
            raise RequestError(f"--compile: {method.name} looks at all of the network, and at compiled parts it can't")
    if spec.sanity is not None:
        raise RequestError("--compile: --sanity draws the network's weights anew, and compiled parts keep theirs")
    if spec.fit == "full":
        raise RequestError("--compile builds for views of one size: leave --fit full out")
