"""Classifiers in ONNX files, converted to modules of torch by onnx2pytorch (extra camcli[onnx]), which is the only file
that imports that. What was converted must answer as ONNX Runtime does."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import CamcliError, RequestError, SetupError
from camcli.models.model import USUAL_PRESET, Architecture, Args
from camcli.models.sources.boundary import reason_of

# The largest difference from ONNX Runtime's answer, as a share of the largest score, and at all.
NEAR, TINY = 1e-3, 1e-6
_FLOAT = 1
_EXTRA = "`pip install camcli[onnx]`"


class Graph(nn.Module):
    """A converted graph, given as many `pictures` at a time as it was exported for; 0: any number."""

    def __init__(self, model: nn.Module, pictures: int) -> None:
        super().__init__()
        self.model, self.pictures = model, pictures

    def forward(self, images: Tensor) -> Any:
        # Graphs of one picture may give its answer for each of several.
        if self.pictures not in (0, len(images)):
            raise RuntimeError(f"the graph takes {self.pictures} picture at a time")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the converter's words to its own developers
            return self.model(images)


def architecture(name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None) -> Architecture:
    """The network that an ONNX file holds, of the size of pictures that it was exported for.

    Raises:
        RequestError: weights by name or from another file, or arguments.
        SetupError: the extra is not installed, the graph can't be converted, or answers otherwise then.
    """
    if args:
        raise RequestError(f"--model-arg: {name} is in its file")
    if tensors is not None or weights not in ("DEFAULT", "none"):
        raise RequestError(f"--weights {weights}: {name} has its own")
    file = Path(name)
    with _saying(name):
        import onnx

        graph = onnx.load(file)
    pictures, channels, *size = _shape(graph, name)
    _simplified(graph.graph)
    _renamed(graph.graph)
    net = _converted(graph, pictures, name)
    whole = (size[0] or 224, size[1] or 224)
    _compare(net, file, (pictures or 1, channels or 3, *whole), name)
    usual = whole == (224, 224)
    return Architecture(
        name=name,
        build=lambda initialise: net,
        preset=USUAL_PRESET if usual else replace(USUAL_PRESET, resize=whole, crop=whole),
        labels=None,
        weights=file.name,
        cached=partial(_file_of_weights, file),
        fixed_size=bool(size[0] and size[1]),
        probed=True,
        assumed_preset=True,
        package="onnx2pytorch",
        foreign=True,
        remarks=(f"{name} has its own weights: --weights none changes nothing",) if weights == "none" else (),
    )


def _shape(graph: Any, name: str) -> list[int]:
    """The sides (pictures, channels, height, width) of its input, 0 for any.

    Raises: SetupError: it takes no pictures of floats (N, C, H, W), or several at a time.
    """
    constants = {tensor.name for tensor in graph.graph.initializer}
    inputs = [own for own in graph.graph.input if own.name not in constants]
    kind = inputs[0].type.tensor_type if len(inputs) == 1 else None
    sides = [int(side.dim_value) for side in kind.shape.dim] if kind is not None else []
    if kind is None or kind.elem_type != _FLOAT or len(sides) != 4 or sides[1] > 4 >= sides[3] > 0:
        raise SetupError(
            f"{name} takes {len(inputs)} input(s) {'x'.join(map(str, sides))}: graphs that take pictures (N, C, H, W) "
            "of float32 are explained. Export it so, or give the PyTorch network with --model FILE.py:factory"
        )
    if sides[0] > 1:
        raise SetupError(f"{name} takes exactly {sides[0]} pictures at a time: export it for one, or for any number")
    return sides


def _simplified(graph: Any) -> None:
    """Takes out of a graph what the converter does not know: copies of constants, words on training."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Identity" and node.input[0] in constants:
            copy = type(constants[node.input[0]])()
            copy.CopyFrom(constants[node.input[0]])
            copy.name = node.output[0]
            graph.initializer.append(copy)
            constants[copy.name] = copy
            graph.node.remove(node)
        elif node.op_type == "BatchNormalization":
            for own in [own for own in node.attribute if own.name == "training_mode" and own.i == 0]:
                node.attribute.remove(own)


def _renamed(graph: Any) -> None:
    """Gives its tensors names that modules may have: letters, digits and underscores."""
    taken = {own.name for own in (*graph.initializer, *graph.input)}
    renamed: dict[str, str] = {}
    for node in graph.node:
        for old in filter(None, node.output):
            new = re.sub(r"\W", "_", old)
            while new in taken:
                new += "_"
            taken.add(new)
            renamed[old] = new
    for number, node in enumerate(graph.node):
        node.name = f"node_{number}"
        for names in (node.input, node.output):
            names[:] = [renamed.get(old, old) for old in names]
    for own in graph.output:
        own.name = renamed.get(own.name, own.name)
    del graph.value_info[:]


def _converted(graph: Any, pictures: int, name: str) -> nn.Module:
    with _saying(name):
        from onnx2pytorch import ConvertModel

        return Graph(ConvertModel(graph, experimental=True), pictures).float().eval().requires_grad_(False)


def _compare(net: nn.Module, file: Path, shape: tuple[int, ...], name: str) -> None:
    """Raises: SetupError: the network answers otherwise than the graph."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with _saying(name):
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        theirs = torch.as_tensor(session.run(None, {session.get_inputs()[0].name: noise.numpy()})[0])
        with torch.no_grad():
            given = net(noise)
    own = given if isinstance(given, Tensor) else next(iter(given))
    if own.shape != theirs.shape or float((own - theirs).abs().max()) > NEAR * float(theirs.abs().max()) + TINY:
        raise SetupError(
            f"{name}: its conversion to torch answers otherwise than ONNX Runtime does, so its maps would be another "
            "network's: give the PyTorch network with --model FILE.py:factory"
        )


def _file_of_weights(file: Path) -> Path:
    """The file that holds the weights: beside the graph, as torch's exporter writes them, or the graph's own."""
    beside = file.with_name(f"{file.name}.data")
    return beside if beside.is_file() else file


@contextmanager
def _saying(name: str) -> Iterator[None]:
    """The boundary around the converter: its errors become ours, its prints are no rows."""
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CamcliError:
        raise
    except ImportError as error:
        raise SetupError(f"{name}: {error.name} is not installed: {_EXTRA}") from None
    except Exception as error:  # code and files that are not ours
        raise SetupError(
            f"{name} can't be converted to torch ({reason_of(error)}): give the PyTorch network that it was made from, "
            "its weights with --weights, its code with --model FILE.py:factory"
        ) from error
