"""See where an image model looked: Grad-CAM, Guided Backprop and Guided Grad-CAM for torchvision classifiers.

The names below are imported when first used, so that `import camcli` costs nothing (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from camcli._version import __version__

if TYPE_CHECKING:
    from camcli.inputs.refs import expand
    from camcli.methods import get as method
    from camcli.models import Model, load_model
    from camcli.records import Explained, Failed
    from camcli.running.engine import Engine, explain
    from camcli.sinks import open_sinks
    from camcli.specs import OutputSpec, Spec

_HOME = {
    "Engine": ("camcli.running.engine", "Engine"),
    "explain": ("camcli.running.engine", "explain"),
    "expand": ("camcli.inputs.refs", "expand"),
    "method": ("camcli.methods", "get"),
    "Model": ("camcli.models", "Model"),
    "load_model": ("camcli.models", "load_model"),
    "Explained": ("camcli.records", "Explained"),
    "Failed": ("camcli.records", "Failed"),
    "OutputSpec": ("camcli.specs", "OutputSpec"),
    "Spec": ("camcli.specs", "Spec"),
    "open_sinks": ("camcli.sinks", "open_sinks"),
}

__all__ = [
    "Engine",
    "Explained",
    "Failed",
    "Model",
    "OutputSpec",
    "Spec",
    "__version__",
    "expand",
    "explain",
    "load_model",
    "method",
    "open_sinks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'camcli' has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return list(__all__)
