"""A network rearranged to be computed faster, in a lower precision and compiled if asked for.

The rearranged network is a copy with the same module names; the one given stays as it was. Batch norms are folded into
the convolutions before them, and kernels lie channels last in memory, as the fastest implementations want them. Scores
and normalised maps move as much as rounding moves them: benchmarks/agreement.py measures it for each method.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from camcli.errors import SetupError
from camcli.layers import choosing
from camcli.layers.trace import Trace
from camcli.methods import Method
from camcli.models import Model
from camcli.network.layer import Layer
from camcli.network.network import watched
from camcli.specs import Spec
from camcli.tasks.frozen import frozen
from camcli.tasks.outputs import Outputs
from camcli.tasks.tables import tensors_in

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Raised by deepcopy on things that a network may hold: tensors of a graph, locks, generators.
_UNCOPIED = (RuntimeError, TypeError, AttributeError, ValueError)


def remarks(spec: Spec, device: str) -> list[str]:
    """Remarks for the user on the precision asked for on this device."""
    if device != "cpu" or spec.precision == "fp32":
        return []
    if spec.precision == "fp16":
        return ["--precision fp16 is slower than fp32 on most CPUs; `camcli bench` measures it, bf16 is made for them"]
    if not torch.cpu.get_capabilities().get("avx512_bf16", True):
        return ["--precision bf16 is slower than fp32 on this CPU, which has no instructions for it"]
    return []


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """The network as a run computes it. cut: the layer after which it is fp32 in a run of lower precision.
    channels_last: how its pictures lie in memory. remark: why it is not computed as fast as others."""

    net: nn.Module
    cut: Layer | None = None
    channels_last: bool = False
    remark: str | None = None


def rearranged(
    model: Model, spec: Spec, methods: Sequence[Method], trace: Trace | None, kept: Sequence[Layer]
) -> Tuned:
    """A network rearranged for a run; `kept` are the layers that are read.

    `trace` is None if the network could not be followed: its modules then stay as they are.

    Raises: SetupError: a lower precision, and a layer that not every path to the score crosses.
    """
    if spec.exact:
        return Tuned(model.net)
    # Implicit biases are read one by one, and random weights drawn one by one.
    apart = spec.sanity is not None or any("bias_grads" in method.needs for method in methods)
    found = _faster(model, () if trace is None or apart else trace.normalised, [layer.name for layer in kept])
    if found.net is model.net:
        if spec.compile or spec.precision != "fp32":
            raise SetupError(f"{model.name} can't be copied, as --precision and --compile must: leave them out")
        return found
    if spec.precision == "fp32" and not spec.compile:
        return found
    if trace is None:
        raise SetupError("the network can't be followed, so --precision and --compile don't know where its head begins")
    kept = kept or [choosing.choose(model.net, trace, model.name, model.task.rule)]
    if spec.compile:
        compile_trunk(found.net, trace, [layer.name for layer in kept])
    if spec.precision == "fp32":
        return found
    runs = {layer.name: trace.runs_of(layer.name)[layer.call] for layer in kept}
    for name, run in runs.items():
        if not run.on_every_path:
            raise SetupError(
                f"--precision {spec.precision}: after the layer all is fp32, and paths that don't cross {name} "
                "would not be: choose another --layer"
            )
    first = min(kept, key=lambda layer: trace.runs.index(runs[layer.name]))
    return replace(found, cut=first.in_net(found.net))


def _faster(model: Model, normalised: Sequence[tuple[str, str]], kept: Collection[str]) -> Tuned:
    """The tuned network. torchvision's are known to be tuned well; of others the fastest form that answers alike, or
    else the network itself."""
    if model.preset.frames is not None:  # kernels of clips are of five axes
        memories: tuple[bool, ...] = (False,)
    else:
        memories = (True, False)
    if model.known:
        return Tuned(tuned(model.net, normalised, kept, channels_last=memories[0]), channels_last=memories[0])
    if model.task.rule == "read-from":  # on noise nothing is found that could be compared
        return Tuned(model.net)
    remark = None
    for channels_last in memories:
        try:
            net = tuned(model.net, normalised, kept, channels_last=channels_last)
        except _UNCOPIED:
            return Tuned(model.net)
        if is_faithful(net, model, kept, channels_last=channels_last):
            return Tuned(net, channels_last=channels_last, remark=remark)
        remark = (
            f"{model.name} answers otherwise, or fails, on tensors that lie channels last: computed without, slower"
        )
    return Tuned(model.net, remark=f"{model.name} answers otherwise where it is rearranged: computed as it is, slower")


def is_faithful(copy: nn.Module, model: Model, layers: Collection[str], *, channels_last: bool = True) -> bool:
    """True if a copy answers as the model does, by running its own layers: code may hold on to the network that it was
    made for, and then runs that in place of the copy."""
    shape = (1 if model.alone else 2, *model.preset.view_shape)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    memory = torch.channels_last if channels_last else torch.contiguous_format
    try:
        with torch.no_grad(), frozen(model.net), frozen(copy), watched(copy, layers) as ran:
            expected = model.task.outputs(model.net, noise.clone())
            found = model.task.outputs(copy, noise.clone(memory_format=memory))
    except SetupError:  # the copy's: the model has been asked before
        return False
    return ran == set(layers) and _alike(found, expected)


def _alike(found: Outputs, expected: Outputs) -> bool:
    """True if two outputs differ by rounding only: in their scores, or without scores in all tensors returned."""
    pairs = [(found.scores, expected.scores)]
    if not expected.task.table:
        pairs = list(zip(tensors_in(found.raw), tensors_in(expected.raw), strict=True))
    return all(
        one.shape == other.shape
        and torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-4 * _size(other), equal_nan=True)
        for one, other in pairs
    )


def _size(values: Tensor) -> float:
    """The largest number there, infinity and NaN left out."""
    return float(values.float().abs().nan_to_num(posinf=0.0).max()) if values.numel() else 0.0


def tuned(
    net: nn.Module, normalised: Sequence[tuple[str, str]], kept: Collection[str] = (), *, channels_last: bool = True
) -> nn.Module:
    """A copy with channels-last kernels and folded batch norms. `normalised` are pairs of a convolution and its only
    reader, a batch norm. Each norm becomes Identity, unless its convolution is in `kept`, whose own output is read."""
    memory = torch.channels_last if channels_last else torch.contiguous_format
    named = [(net.get_submodule(conv), net.get_submodule(norm)) for conv, norm in normalised if conv not in kept]
    pairs = [(conv, norm) for conv, norm in named if _is_plain(conv) and _is_plain(norm)]
    stand_ins: dict[int, nn.Module] = {}
    for conv, norm in pairs:
        stand_ins |= {id(conv): _folded(conv, norm, memory), id(norm): nn.Identity().eval()}
    tensors: dict[int, Tensor] = {
        id(tensor): _arranged(tensor, memory)
        for module in net.modules()
        if id(module) not in stand_ins
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    }
    return deepcopy(net, {**tensors, **stand_ins})


def compile_trunk(net: nn.Module, trace: Trace, layers: Collection[str]) -> None:
    """Have torch.compile build, in place and at their next call, the modules that run up to the last of the layers.

    It builds the largest that contain no layer, since hooks inside a compiled module are not seen. The part after the
    layers stays as it is: it is differentiated, and small. Built code is kept in the user's cache for the next run.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "camcli" / "inductor"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.fspath(cache))
    order = {run.name: position for position, run in enumerate(trace.runs)}
    last = max(order[layer] for layer in layers)

    def build(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            path = f"{prefix}{name}"
            if path not in layers and (path not in order or any(layer.startswith(path + ".") for layer in layers)):
                build(child, path + ".")
            elif order[path] <= last:
                child.forward = torch.compile(child.forward)

    build(net, "")


def _is_plain(module: nn.Module) -> bool:
    """True if it computes what its class does, from its own tensors: hooks may change both (weight_norm does)."""
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return "forward" not in vars(module) and not any(hooks) and getattr(module, "running_mean", 0) is not None


def _folded(conv: nn.Module, norm: nn.Module, memory: torch.memory_format) -> nn.Module:
    assert isinstance(conv, (nn.Conv2d, nn.Conv3d))
    assert isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm3d))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    one = deepcopy(conv, {id(tensor): tensor for tensor in conv.parameters()})
    one.weight = nn.Parameter(_arranged(weight.detach(), memory), requires_grad=False)
    one.bias = nn.Parameter(bias.detach(), requires_grad=False)
    return one


def _arranged(tensor: Tensor, memory: torch.memory_format) -> Tensor:
    """The tensor in that memory format; the tensor itself if it is no kernel of a convolution of pictures."""
    if tensor.ndim != 4:
        return tensor
    arranged = tensor.detach().contiguous(memory_format=memory)
    return nn.Parameter(arranged, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else arranged
