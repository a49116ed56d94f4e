"""Ultralytics' detectors (YOLO), as `ultralytics:FILE.pt`, if the user has installed that package. It is AGPL-3.0:
never a dependency, and imported by nothing but the file itself, a pickle of its classes that runs their code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from camcli.errors import RequestError, SetupError
from camcli.models import catalog
from camcli.models.adapters import yolo
from camcli.models.model import DETECTED, Architecture, Args
from camcli.models.weights.contents import content_of
from camcli.tasks.detect import Detect

# The heads that join boxes and probabilities; those with masks or keypoints give more, which is left aside.
_HEADS = ("Detect", "v10Detect")
_MORE = {"Segment": "masks", "Segment26": "masks", "Pose": "keypoints", "Pose26": "keypoints"}
# The longer side of what networks see, unless their file says otherwise.
_SIZE = 640
_SIZES = "imgsz"


def architecture(
    name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None, trust: bool = False
) -> Architecture:
    """The detector in a file of ultralytics, seen at the size that it was trained at, or at the argument `imgsz`.

    Raises:
        RequestError: weights by name or from another file, or another argument.
        SetupError: the file is not trusted, can't be read, or holds no detector.
    """
    file = Path(name.removeprefix(catalog.ULTRALYTICS))
    if tensors is not None or weights not in ("DEFAULT", "none"):
        raise RequestError(f"--weights {weights}: {name} has its own")
    if unknown := [key for key in args if key != _SIZES]:
        raise RequestError(f"--model-arg {unknown[0]}: {name} is in its file; {_SIZES} is the side that it sees")
    if not trust:
        raise SetupError(
            f"{name} is a pickle, a whole network whose loading runs code: --trust-checkpoint if you trust whoever "
            "made the file"
        )
    held = _held(file)
    net: Any = held.get("ema") or held.get("model")
    head, more = _head(net, name)
    names: Any = getattr(net, "names", None)
    size, stride = args.get(_SIZES, _size(held)), int(max(head.stride))  # type: ignore[arg-type]
    if not isinstance(size, int) or size < 1:
        raise RequestError(f"--model-arg {_SIZES}={size}: write a number of pixels")
    remark = f"{file}: its {more} are left aside, its boxes are explained" if more else ""

    def build(initialise: bool) -> nn.Module:
        # Random weights in place of the file's, which are there already.
        made = type(net)(net.yaml, verbose=False) if initialise and weights == "none" else net
        made = made.float().eval()
        return yolo.Yolo(made, _head(made, name)[0], -(-size // stride) * stride, stride)

    return Architecture(
        name=name,
        build=build,
        preset=DETECTED,
        labels=tuple(str(names[i]) for i in range(len(names))) if names else None,
        read=lambda net, several: (Detect(), int(head.nc)),  # type: ignore[arg-type]
        weights=file.name if weights == "DEFAULT" else weights,
        cached=partial(Path, file),
        probed=True,
        package="ultralytics",
        foreign=True,
        remarks=(
            f"warning: {file} was loaded with --trust-checkpoint: any code in it has run",
            *filter(None, [remark]),
        ),
    )


def _held(file: Path) -> Mapping[str, Any]:
    """What the file holds. Its classes are imported, and may print; packages that they lack are not installed."""
    os.environ["YOLO_AUTOINSTALL"] = "false"
    with redirect_stdout(sys.stderr):
        _, _, content = content_of(file, trust=True)
    return content if isinstance(content, Mapping) else {"model": content}


def _size(held: Mapping[str, Any]) -> int:
    """The side of the pictures that it was trained on."""
    arguments = held.get("train_args")
    size = arguments.get(_SIZES) if isinstance(arguments, Mapping) else None
    return size if isinstance(size, int) else _SIZE


def _head(net: Any, name: str) -> tuple[nn.Module, str]:
    """(the head of a network, what it gives besides boxes). Raises: SetupError: it is none of the known ones."""
    layers = getattr(net, "model", None)
    if not isinstance(net, nn.Module) or not isinstance(layers, nn.Sequential):
        raise SetupError(f"{name} holds no network of ultralytics, but a {type(net).__name__}")
    head = layers[-1]
    kind = type(head).__name__
    if kind not in (*_HEADS, *_MORE):
        task = getattr(net, "task", None)
        raise SetupError(
            f"{name} ends in a {kind}{f' (task {task})' if task else ''}: of ultralytics' networks those are explained "
            f"that end in {', '.join((*_HEADS, *_MORE))}"
        )
    return head, _MORE.get(kind, "")
