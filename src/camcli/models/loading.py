"""Putting a model together: file, architecture, weights, preset, labels, the reading of its output.

Each step settles what the ones before it left open, and says so in a remark if the file alone could not tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from camcli.errors import RequestError, SetupError
from camcli.machine.faults import machine_failures
from camcli.models import guess, labels, presets, reading
from camcli.models.adapters import binding
from camcli.models.model import Architecture, Model
from camcli.models.preprocessing import changed, check_channels, check_size, normalisation_of, preset_of
from camcli.models.sources import architecture_of, in_memory, torchvision, user_code, with_a_text
from camcli.models.weights import checkpoints, downloads, filling, misfits, weights_file, weights_url
from camcli.models.weights.checkpoints import Checkpoint, Digest
from camcli.specs import ModelSpec
from camcli.tasks import classify, declared
from camcli.tasks.classify import Classify
from camcli.tasks.regress import Regress


@machine_failures()
def load(spec: ModelSpec, *, progress: bool = False) -> Model:
    """See `camcli.models.load_model`."""
    device = pick_device(spec.device)
    remarks: list[str] = []
    checkpoint = _checkpoint(spec, remarks, progress=progress)
    if checkpoint is not None and checkpoint.network is not None and spec.model is None:
        arch = user_code.pickled(checkpoint.network, checkpoint.path)
    else:
        if checkpoint is not None and spec.model is None:
            spec = _with_architecture(spec, checkpoint, remarks)
        arch = architecture_of(spec, checkpoint.tensors if checkpoint else None)
    remarks += arch.remarks
    net, files = _filled(arch, spec, checkpoint, remarks, progress=progress)
    net = arch.bind(net).eval().requires_grad_(False).to(device)
    binding.try_with_example(net, arch.preset.view_shape, device)
    model = _put_together(arch, net, spec, checkpoint, device, remarks)
    return replace(model, digest=Digest(files) if files else None)


@machine_failures()
def of_network(
    given: nn.Module, spec: ModelSpec, preset: Mapping[str, Any] | None, names: Sequence[str] | None
) -> Model:
    """See `camcli.models.of_network`."""
    arch = in_memory.architecture(given)
    remarks = [*arch.remarks]
    told: Mapping[str, Any] = {}
    if preset is not None:
        arch = replace(arch, preset=changed(arch.preset, preset, remarks), assumed_preset=False)
        told = normalisation_of(preset, arch.preset)
    net = arch.build(False)
    return _put_together(arch, net, spec, None, str(in_memory.device_of(net)), remarks, names, told)


def _put_together(
    arch: Architecture,
    net: nn.Module,
    spec: ModelSpec,
    checkpoint: Checkpoint | None,
    device: str,
    remarks: list[str],
    names: Sequence[str] | None = None,
    told: Mapping[str, Any] = MappingProxyType({}),
) -> Model:
    """The model that a network with its weights is; the classes' `names`, if they are known already. `told`: see
    `preset_of`."""
    if arch.probed and arch.read is None and spec.task in (None, "detect") and declared.named_by(net) is None:
        arch = reading.if_detector(arch, net, spec, device, remarks)
    preset = preset_of(arch, net, spec, checkpoint, remarks, told)
    task, classes, alone = reading.task_of(arch, net, preset, spec, device, remarks)
    unnamed = labels.NO_YES if task.binary else labels.numbered(classes)
    own = arch.labels or declared.labels_of(net)
    if isinstance(task, Regress):
        unnamed = task.unnamed(classes)
        own = own or unnamed
    if names is None:
        names = _labels(replace(arch, labels=own), spec, checkpoint, unnamed, remarks)
    return Model(
        name=arch.name,
        net=net,
        preset=preset,
        labels=_as_many(names, len(unnamed)) if classes else tuple(names),
        wordnet_ids=labels.wordnet_ids() if names == torchvision.imagenet_labels() else None,
        weights=checkpoint.path.absolute().name if checkpoint else arch.weights,
        task=task,
        device=device,
        fixed_size=arch.fixed_size,
        alone=alone,
        foreign=arch.foreign,
        package=arch.package,
        remarks=tuple(remarks),
    )


def with_preset(model: Model, fields: Mapping[str, Any]) -> Model:
    """See `camcli.models.with_preset`."""
    remarks = [*model.remarks]
    preset = changed(model.preset, fields, remarks)
    check_channels(model.name, preset, len(model.preset.mean))
    if model.fixed_size:
        check_size(model.name, preset, model.preset)
    return replace(model, preset=preset, remarks=tuple(remarks))


def without_classes(model: Model) -> Model:
    """See `camcli.models.without_classes`."""
    if not isinstance(model.task, Classify):
        raise RequestError(f"--output-index: {model.name} is no classifier")
    names, task = classify.without_classes(model.labels, model.task)
    return replace(model, labels=names, task=task)


def with_labels(model: Model, names: Sequence[str]) -> Model:
    """See `camcli.models.with_labels`."""
    return replace(model, labels=_as_many(names, len(model.labels)), wordnet_ids=None)


def _as_many(names: Sequence[str], classes: int) -> tuple[str, ...]:
    """The names. Raises: RequestError: not as many as there are classes."""
    if len(names) != classes:
        raise RequestError(f"{len(names)} labels, and the model has {classes} classes")
    return tuple(names)


def blueprint(spec: ModelSpec) -> Model:
    """See `camcli.models.blueprint`."""
    weights = "none" if spec.weights == "DEFAULT" else spec.weights  # others have presets of their own
    spec = with_a_text(replace(spec, weights=weights, mean=(0.0,), std=(1.0,)))  # nothing is normalised
    arch = architecture_of(spec)
    # Only a real forward shows how an unknown output is read, or what a detector's head reads.
    device = "cpu" if arch.probed else "meta"
    net = arch.bind(arch.build(device == "cpu")).eval().requires_grad_(False)
    binding.try_with_example(net, arch.preset.view_shape, device)
    preset = preset_of(arch, net, spec, None, [])
    task, _, alone = reading.task_of(arch, net.to(device), preset, spec, device, [])
    return Model(arch.name, net, preset, arch.labels or (), "none", task, device, arch.fixed_size, alone)


def named_in(path: str, classes: int) -> tuple[str, ...]:
    """The class names in a file or ImageFolder, for a model of so many classes.

    Raises: RequestError: not readable as names, or not as many as there are classes.
    """
    names = labels.read(Path(path))
    if classes == 2 and len(names) == 1:
        return f"not {names[0]}", names[0]
    if len(names) != classes:
        hidden = [name for name in names if name.startswith(".")] if Path(path).is_dir() else []
        among = f" ({', '.join(hidden[:3])} among them)" if hidden else ""
        raise RequestError(f"{path} names {len(names)} classes{among}, and the model has {classes}")
    return names


def _checkpoint(spec: ModelSpec, remarks: list[str], *, progress: bool) -> Checkpoint | None:
    url = weights_url(spec)
    file = downloads.of_url(url, progress=progress) if url else weights_file(spec)
    if file is None:
        if spec.weights_key is not None:
            raise RequestError("--weights-key goes with --weights FILE")
        return None
    checkpoint = checkpoints.read(file, key=spec.weights_key, trust=spec.trust_checkpoint)
    if spec.trust_checkpoint:
        remarks.append(f"warning: {file} was loaded with --trust-checkpoint: any code in it has run")
    others = [key for key in checkpoint.keys if key != checkpoint.key]
    if others and spec.weights_key is None:
        remarks.append(f"{file}: the weights under {checkpoint.key!r}; --weights-key chooses {' or '.join(others[:3])}")
    return checkpoint


def _with_architecture(spec: ModelSpec, checkpoint: Checkpoint, remarks: list[str]) -> ModelSpec:
    found = guess.only(guess.ranked(checkpoint.tensors), spec.weights, checkpoint.made_for)
    remarks.append(f"{spec.weights} holds weights of {found.name}")
    return replace(spec, model=found.name)


def _filled(
    arch: Architecture, spec: ModelSpec, checkpoint: Checkpoint | None, remarks: list[str], *, progress: bool
) -> tuple[nn.Module, Sequence[Path]]:
    """(the network with its weights, the files that they came from)."""
    if spec.weights == "none":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return arch.build(True), ()
    net = arch.build(False)
    if checkpoint is not None and spec.model is None:  # the network that was pickled, which has them
        return net, checkpoint.files
    if checkpoint is not None:
        what = f"{spec.weights} does not fit {arch.name}"
        fit = filling.fill(net, checkpoint.tensors, what, arch.rename, as_it_is=arch.whole)
        remarks += misfits.remarks(fit, spec.weights)
        return net, checkpoint.files
    if arch.fetch is None:
        path = arch.cached() if arch.cached else None
        return net, (path,) if path else ()
    path = arch.fetch(progress)
    what = f"{path} does not fit {arch.name}"
    filling.fill(net, checkpoints.read(path).tensors, what, arch.rename, as_it_is=arch.whole)
    return net, (path,)


def _labels(
    arch: Architecture, spec: ModelSpec, checkpoint: Checkpoint | None, unnamed: tuple[str, ...], remarks: list[str]
) -> tuple[str, ...]:
    """The names asked for, else those in or beside the file, the architecture's, ImageNet's, or these stand-ins."""
    classes = len(unnamed)
    if not classes and spec.labels is not None and arch.read is not None:
        return labels.of_detector(Path(spec.labels))
    if spec.labels is not None:
        remarks += labels.about_order(Path(spec.labels))
        return named_in(spec.labels, classes)
    if classes == 0:
        return ()
    found = [checkpoint.labels, presets.labels_beside(checkpoint.path)] if checkpoint else []
    for names in (*found, arch.labels):
        if names and len(names) == classes:
            return names
    if wrong := next((names for names in found if names), None):
        remarks.append(f"{checkpoint and checkpoint.path} names {len(wrong)} classes, and the model has {classes}")
    if classes == 1000:
        remarks.append(f"{arch.name}: 1000 classes, taken to be ImageNet's; --labels otherwise")
        return torchvision.imagenet_labels()
    if unnamed == labels.NO_YES:
        remarks.append(f"{arch.name}: one logit, read as no or yes: --labels FILE gives them names")
    else:
        remarks.append(f"{arch.name}: {classes} classes without names: --labels FILE gives them")
    return unnamed


def pick_device(name: str) -> str:
    """The device: for `auto` cuda, else mps, else cpu; or one of them by name, `cuda:1` for the second.

    Raises:
        RequestError: no such kind of device.
        SetupError: the device is not there.
    """
    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name == "auto":
        return next(device for device, there in count.items() if there)
    kind, _, number = name.partition(":")
    if kind not in count or not (number.isdecimal() or name == kind):
        raise RequestError(f"--device {name!r} is none of auto, cpu, cuda, cuda:N, mps")
    if int(number or 0) >= count[kind]:
        raise SetupError(f"no {name} device here: use --device auto")
    return name
