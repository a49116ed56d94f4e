"""Tasks that a network's own class, or the user, names: its output alone does not tell them from a classifier's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import RequestError, SetupError
from camcli.tasks import act
from camcli.tasks.act import Act
from camcli.tasks.answer import Answer
from camcli.tasks.caption import Caption
from camcli.tasks.classify import Classify
from camcli.tasks.frozen import frozen
from camcli.tasks.outputs import asked
from camcli.tasks.probing import probe_twice
from camcli.tasks.regress import Liken, Regress
from camcli.tasks.task import Task

_NAMES = ("answer", "caption", "act", "liken", "regress")


def named_by(net: nn.Module) -> str | None:
    """The task that a network's class names as its `task`, if it is one of these."""
    name = getattr(net, "task", None)
    return name if isinstance(name, str) and name in _NAMES else None


def labels_of(net: nn.Module) -> tuple[str, ...] | None:
    """The names that a network's class gives its outputs as `labels`; None without."""
    names = getattr(net, "labels", None)
    if not isinstance(names, (tuple, list)) or not names or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def reading_of(
    name: str | None, net: nn.Module, images: Tensor, key: str | None, multi_label: bool
) -> tuple[Task, int, bool] | None:
    """(the task, the number of its labels, whether the network takes one picture at a time) of the name; None if the
    network's output tells by itself. `images` (2, C, H, W) are noise.

    Raises: RequestError: the network does not give what the task is about; SetupError: it fails on such pictures.
    """
    if name not in _NAMES:
        return None
    if name == "caption":
        return _captioner(net, images, key)
    if name == "act" and key is None:
        with torch.no_grad(), frozen(net):
            key = act.scores_key(asked(net, images.clone()))
    found, classes, alone = probe_twice(net, images, key, multi_label)
    if name in ("regress", "liken"):
        outputs = 1 if found.binary else classes
        kind: Callable[..., Classify] = Liken if name == "liken" else Regress
        return kind(key=found.key), outputs, alone
    told = {field.name: getattr(found, field.name) for field in fields(Classify)}
    if name == "answer":
        return Answer(**told), classes, alone
    with torch.no_grad(), frozen(net):
        valued = act.value_in(asked(net, images.clone()), len(images)) is not None
    return Act(**told, valued=valued), classes, alone


def _captioner(net: nn.Module, images: Tensor, key: str | None) -> tuple[Caption, int, bool]:
    """(the reading of a captioner's output, the words that it knows, False)."""
    end: Any = getattr(net, "end", None)
    if not isinstance(end, int):
        raise RequestError("--task caption: the network's class says no `end`, the id of the word that ends a caption")
    task = Caption(end, key)
    with torch.no_grad(), frozen(net):
        found = task.outputs(net, images.clone())
    table = found.raw if isinstance(found.raw, Tensor) else None
    words = labels_of(net)
    if words is None and table is None:
        raise SetupError("the captioner's class names no `labels`, its words by id")
    return task, len(words) if words is not None else table.shape[2] if table is not None else 0, False
