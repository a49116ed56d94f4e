"""A spec -> Model: a frozen network with the preset, the labels and the reading of its output that belong to it."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from camcli import remote
from camcli.errors import CamcliError, RequestError, SetupError, unknown
from camcli.models import catalog
from camcli.models.architecture import Architecture, parsed
from camcli.records import ModelSpec, Preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from camcli.models.checkpoints import Digest
    from camcli.outputs import Readout

# Endings of files that are taken for models.
_WEIGHTS = frozenset({".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl", ".h5", ".onnx"})


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded classifier: `net` in eval mode, frozen, on `device`; `weights` the enum member, file name or "none".

    readout: how its output is read. fixed_size: the network takes only the preset's crop size. alone: it takes one
    picture at a time. foreign: it is the user's own code. wordnet_ids: of its classes, where they are ImageNet's.
    digest: of the file of the weights. package: the library that the architecture comes from. remarks: what the user
    should know.
    """

    name: str
    net: nn.Module
    preset: Preset
    labels: tuple[str, ...]
    weights: str
    readout: Readout
    device: str = "cpu"
    fixed_size: bool = False
    alone: bool = False
    foreign: bool = False
    wordnet_ids: tuple[str, ...] | None = None
    digest: Digest | None = None
    package: str = "torchvision"
    remarks: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether all that is done to it is tested on this very architecture: torchvision's, and the bundled one."""
        return not self.foreign and self.package != "timm"


def load_model(spec: ModelSpec, *, progress: bool = False) -> Model:
    """Load a classifier, ready to be explained. `progress` shows a download's progress on stderr.

    Raises:
        RequestError: unknown model, weights, file or argument; labels or a preset that don't suit.
        SetupError: the weights can't be downloaded, are unsafe or don't fit, or the device is not there.
    """
    from camcli.models import loading

    return loading.load(spec, progress=progress)


def labels_of(spec: ModelSpec) -> tuple[str, ...] | None:
    """The class names, by id, where they are known without building or fetching anything; else None.

    Raises:
        RequestError: unknown model, weights or file.
    """
    check_name(spec.model or catalog.BUNDLED)
    if weights_url(spec) or weights_file(spec) is not None or spec.model_args or catalog.is_user_code(spec.model or ""):
        return None
    from camcli.models import loading

    named = architecture_of(spec).labels
    return loading.named_in(spec.labels, len(named)) if spec.labels and named else named


def blueprint(spec: ModelSpec) -> Model:
    """The network without weights, to be traced: torchvision's on the meta device, where nothing is computed."""
    from camcli.models import loading

    return loading.blueprint(spec)


def architecture_of(spec: ModelSpec, tensors: Mapping[str, Tensor] | None = None) -> Architecture:
    """What the model's source says about it; `tensors` are those of the file that will fill it."""
    name = spec.model or catalog.BUNDLED
    check_name(name)
    if catalog.is_timm(name):
        source = "timm_zoo"
    elif catalog.is_user_code(name):
        source = "user_code"
    else:
        source = "efficientnet_lite" if name == catalog.BUNDLED else "torchvision_zoo"
    module = import_module(f"camcli.models.{source}")
    found: Architecture = module.architecture(name, spec.weights, parsed(spec.model_args), tensors)
    return found


def typed(spec: ModelSpec) -> str:
    """The words that name the model after `camcli classes` and `camcli layers`, as the user has named it."""
    words = [spec.model] if spec.model else []
    if spec.weights not in ("DEFAULT", "none"):
        words += ["-w", spec.weights]
    for key, value in spec.model_args:
        words += ["--model-arg", f"{key}={value}"]
    for name in ("weights_key", "labels", "preset", "output_key"):
        if (value := getattr(spec, name)) is not None:
            words += [f"--{name.replace('_', '-')}", value]
    words += [f"--{name.replace('_', '-')}" for name in ("trust_checkpoint", "multi_label") if getattr(spec, name)]
    return shlex.join(words or [catalog.BUNDLED])


def weights_url(spec: ModelSpec) -> str | None:
    """The URL that `weights` is, None where it is none.

    Raises: RequestError: one that nothing is fetched from, or with a sha256 that is none.
    """
    if not remote.is_uri(spec.weights) or os.path.exists(spec.weights):
        return None
    if not spec.weights.startswith("https://"):
        raise RequestError(f"--weights {spec.weights}: weights come by https:// only, or from a file")
    _, mark, fragment = spec.weights.partition("#")
    if mark and not re.fullmatch("sha256=[0-9a-f]{64}", fragment):
        raise RequestError(f"--weights {spec.weights}: write #sha256= and the file's 64 hexadecimal digits, or nothing")
    return spec.weights


def weights_file(spec: ModelSpec) -> Path | None:
    """The file or folder that `weights` names, None where it names none of these.

    Raises: RequestError: it looks like a path, and nothing is there.
    """
    if spec.weights in ("DEFAULT", "none"):
        return None
    if os.path.exists(spec.weights):  # says no where a Path would raise: too long, odd characters
        return Path(spec.weights)
    if Path(spec.weights).suffix or "/" in spec.weights:
        raise RequestError(f"no such weights file: {spec.weights}")
    return None


def check_name(name: str) -> None:
    """Look at a model's name without importing what it names.

    Raises:
        RequestError: no model has that name.
        SetupError: the package that it needs is not installed, or it is no classifier, or a quantized one.
    """
    if catalog.is_timm(name):
        if find_spec("timm") is None:
            raise SetupError(f"{name}: timm is not installed: `pip install camcli[timm]`")
    elif catalog.is_user_code(name):
        where, _, attribute = name.rpartition(":")
        if not where or not attribute:
            raise RequestError(f"--model {name!r}: write module:factory or path/to/file.py:factory")
        if where.endswith(".py") and not Path(where).is_file():
            raise RequestError(f"no such file: {where}")
    elif name.startswith("quantized_") and (twin := name.removeprefix("quantized_")) in catalog.names():
        raise SetupError(
            f"{name} computes in integers, where no gradient exists, and every method here follows one: "
            f"explain its float twin, --model {twin}"
        )
    elif name.endswith(".py"):
        raise RequestError(f"--model {name}: say what in it makes the network, {name}:FACTORY")
    elif name != catalog.BUNDLED and name not in catalog.names():  # reading torchvision's takes a tenth of a second
        raise _not_listed(name)


def _not_listed(name: str) -> CamcliError:
    """The error for a name that is none of the classifiers': what else it is, or which are near."""
    if os.path.exists(name) or Path(name).suffix.lower() in _WEIGHTS:
        return RequestError(f"--model {name}: a file or folder of weights is named with --weights {name}")
    if (kind := catalog.kind_of_other(name)) is not None:
        return SetupError(f"{name} is {kind}: not explained yet; `camcli models` lists the classifiers that are")
    if catalog.is_in_timm(name):
        return RequestError(f"unknown model {name!r}: timm has it, write --model {catalog.TIMM}{name}")
    if re.fullmatch(r"[^\W\d]\w*(\.\w+)+", name) and find_spec(name.partition(".")[0]) is not None:
        module, _, factory = name.rpartition(".")
        return RequestError(f"unknown model {name!r}: code is named with a colon, --model {module}:{factory}")
    return unknown("model", name, catalog.names(), "camcli models")


def pick_device(name: str) -> str:
    """`auto`: cuda, else mps, else cpu; or one of them by name, `cuda:1` for the second.

    Raises:
        RequestError: no such kind of device.
        SetupError: the device is not there.
    """
    import torch

    count = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    if name == "auto":
        return next(device for device, there in count.items() if there)
    kind, _, number = name.partition(":")
    if kind not in count or not (number.isdecimal() or name == kind):
        raise RequestError(f"--device {name!r} is none of auto, cpu, cuda, cuda:N, mps")
    if int(number or 0) >= count[kind]:
        raise SetupError(f"no {name} device here: use --device auto")
    return name
