"""Tasks that a network's own class, or the user, names: its output alone does not tell them from a classifier's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import RequestError
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
    name = said(net, "task")
    return name if isinstance(name, str) and name in _NAMES else None


def said(net: nn.Module, name: str) -> Any:
    """What a network's class says under that name; None if it says nothing, or fails to."""
    try:
        return getattr(net, name, None)
    except Exception:  # noqa: BLE001  a property of code that is not ours
        return None


def labels_of(net: nn.Module) -> tuple[str, ...] | None:
    """The names that a network's class gives its outputs as `labels`; None without."""
    names = said(net, "labels")
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
    value = None
    if name == "act":
        with torch.no_grad(), frozen(net):
            raw = asked(net, images.clone())
        names = labels_of(net)
        key = key or act.scores_key(raw, len(names) if names is not None else None)
        value = act.value_key(raw, len(images))
    found, classes, alone = probe_twice(net, images, key, multi_label)
    if name in ("regress", "liken"):
        outputs = 1 if found.binary else classes
        kind: Callable[..., Classify] = Liken if name == "liken" else Regress
        return kind(key=found.key), outputs, alone
    told = {field.name: getattr(found, field.name) for field in fields(Classify)}
    return (Act(**told, value=value) if name == "act" else Answer(**told)), classes, alone


def _captioner(net: nn.Module, images: Tensor, key: str | None) -> tuple[Caption, int, bool]:
    """(the reading of a captioner's output, the words that it knows, False)."""
    end = said(net, "end")
    if not hasattr(end, "__index__"):
        raise RequestError("--task caption: the network's class says no `end`, the id of the word that ends a caption")
    task = Caption(int(end), key)
    with torch.no_grad(), frozen(net):
        count = task.words(task.outputs(net, images.clone()).raw).shape[2]
    names = labels_of(net)
    if names is not None and len(names) != count:
        raise RequestError(f"the captioner's class names {len(names)} words (`labels`), and it scores {count}")
    return task, count, False
