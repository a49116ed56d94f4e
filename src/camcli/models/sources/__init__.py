"""Sources of networks by name: the bundled one, torchvision, other libraries, the user's own code. A file each."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camcli.errors import CamcliError, RequestError, SetupError, unknown
from camcli.models import catalog
from camcli.models.model import Architecture, parsed
from camcli.models.weights import formats
from camcli.specs import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

# The modules with torchvision's networks, by task.
_OF_TASK = {
    "classify": "torchvision",
    "segment": "torchvision_dense",
    "detect": "torchvision_detect",
    "watch": "torchvision_video",
}
# The modules with the networks whose names begin so, and the packages that they import. The beginnings are the extras'
# names too.
_OF_LIBRARY = {
    catalog.TIMM: ("timm", "timm"),
    catalog.HF: ("hugging_face", "transformers"),
    catalog.OPEN_CLIP: ("open_clip", "open_clip"),
}
_TAKES_TEXTS = ("hugging_face", "open_clip")
_OF_ONNX = ("onnx", "onnx2pytorch", "onnxruntime")
# Endings of files that are taken for models.
_WEIGHTS = frozenset({".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl", ".h5", ".onnx"})


def architecture_of(spec: ModelSpec, tensors: Mapping[str, Tensor] | None = None) -> Architecture:
    """The architecture that the model's source gives; `tensors` are those of the file that will fill it."""
    name = spec.model or catalog.BUNDLED
    check_name(name)
    own = catalog.task_of(name) if name in catalog.names() else spec.task
    if spec.task not in (None, own, "liken"):  # any network's pictures can be compared
        raise RequestError(f"--task {spec.task}: {name} is there to {own}")
    if library := _library_of(name):
        source, _ = library
    elif catalog.is_ultralytics(name):
        source = "ultralytics"
    elif catalog.is_user_code(name):
        source = "user_code"
    elif _is_onnx(name):
        source = "onnx"
    else:
        source = "bundled" if name == catalog.BUNDLED else _OF_TASK[catalog.task_of(name)]
    if spec.texts and source not in _TAKES_TEXTS:
        raise RequestError(
            f"--text goes with image-text models, {catalog.OPEN_CLIP}NAME or {catalog.HF}FOLDER; "
            f"{name} takes pictures alone"
        )
    words: dict[str, Any] = {"texts": spec.sentences} if spec.texts else {}
    if source == "ultralytics":
        words["trust"] = spec.trust_checkpoint
    module = import_module(f"{__name__}.{source}")
    found: Architecture = module.architecture(name, spec.weights, parsed(spec.model_args), tensors, **words)
    return replace(found, labels=spec.texts) if spec.texts else found


def with_a_text(spec: ModelSpec) -> ModelSpec:
    """The spec, with a text if its network needs one and has none: for what is the same for all texts."""
    lacks = (spec.model or "").startswith(catalog.OPEN_CLIP) and not spec.texts
    return replace(spec, texts=("-",)) if lacks else spec


def listing(pattern: str) -> list[catalog.Entry] | None:
    """A library's networks whose names match a wildcard such as `timm:res*`; None if it begins as none does that lists
    its own.

    Raises: SetupError: the library is not installed.
    """
    if not pattern.startswith((catalog.TIMM, catalog.OPEN_CLIP)):
        return None
    source, _ = _OF_LIBRARY[f"{pattern.partition(':')[0]}:"]
    return list(import_module(f"{__name__}.{source}").listing(pattern))


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


def check_name(name: str) -> None:
    """Look at a model's name without importing what it names.

    Raises:
        RequestError: no model has that name.
        SetupError: the package that it needs is not installed, or it is no classifier, or a quantized one.
    """
    if library := _library_of(name):
        _, package = library
        if find_spec(package) is None:
            extra = name.partition(":")[0]
            raise SetupError(f"{name}: {package} is not installed: `pip install camcli[{extra}]`")
    elif catalog.is_ultralytics(name):
        _check_ultralytics(name)
    elif catalog.is_user_code(name):
        _check_code(name)
    elif _is_onnx(name):
        _check_onnx(name)
    elif name.startswith("quantized_") and (twin := name.removeprefix("quantized_")) in catalog.names():
        raise SetupError(
            f"{name} computes in integers, where no gradient exists, and every method here follows one: "
            f"explain its float twin, --model {twin}"
        )
    elif name.endswith(".py"):
        raise RequestError(f"--model {name}: say what in it makes the network, {name}:FACTORY")
    elif name != catalog.BUNDLED and name not in catalog.names():  # reading torchvision's takes a tenth of a second
        raise _not_listed(name)


def _library_of(name: str) -> tuple[str, str] | None:
    return next((library for prefix, library in _OF_LIBRARY.items() if name.startswith(prefix)), None)


def _check_code(name: str) -> None:
    """Raises: RequestError: it is no `module:factory`, or there is no such file."""
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise RequestError(f"--model {name!r}: write module:factory or path/to/file.py:factory")
    if where.endswith(".py") and not Path(where).is_file():
        raise RequestError(f"no such file: {where}")


def _is_onnx(name: str) -> bool:
    """True if it is the name of an ONNX file, whatever its ending is."""
    return os.path.exists(name) and Path(name).is_file() and formats.is_onnx(Path(name))


def _check_onnx(name: str) -> None:
    """Raises: SetupError: a package of the extra is not installed."""
    if missing := next((package for package in _OF_ONNX if find_spec(package) is None), None):
        raise SetupError(f"{name} is an ONNX graph, and {missing} is not installed: `pip install camcli[onnx]`")


def _check_ultralytics(name: str) -> None:
    """Raises: RequestError: there is no such file; SetupError: the package is not installed."""
    if not Path(name.removeprefix(catalog.ULTRALYTICS)).is_file():
        raise RequestError(f"{name}: no such file")
    if find_spec("ultralytics") is None:
        raise SetupError(
            f"{name}: ultralytics is not installed: `pip install ultralytics` (its licence is AGPL-3.0, so that no "
            "extra of camcli's brings it)"
        )


def _not_listed(name: str) -> CamcliError:
    """The error for a name that is none of the classifiers': what else it is, or which are near."""
    if os.path.exists(name) and (what := formats.told(Path(name))):
        return SetupError(f"--model {name}: it is {what}")
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
