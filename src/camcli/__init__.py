"""See where an image model looked: Grad-CAM, Guided Backprop and Guided Grad-CAM for any classifier.

    import camcli

    answer = camcli.explain("cat.jpg", model="resnet50")
    answer.overlay()  # in a notebook the answer shows itself
    camcli.report(camcli.explain_many("photos/"), "report.html")

`explain` and `explain_many` are for people who hold a network, pictures or a loader; `Engine` runs what a `Spec` says,
as the command line does. The names below are imported when first used, so that `import camcli` costs nothing (PEP 562).

What can go wrong, by who can mend it:

    Exception
    └── CamcliError           anything that the user can act on
        ├── RequestError      the request is wrong: an argument, a name, a path; nothing was run
        ├── SetupError        this machine or this model can't serve it
        │   ├── NoTableError      what the network returned holds no scores of classes
        │   └── UnsafeFileError   a file of weights asks for code to be run
        └── InputError        one picture can't be explained

    UserWarning
    └── CamcliWarning         an answer may mean something else than it seems to
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from camcli._version import __version__

if TYPE_CHECKING:
    from camcli.api.answer import Answer
    from camcli.api.explaining import CamcliWarning, explain, explain_many
    from camcli.api.explanation import Explanation
    from camcli.api.reporting import report
    from camcli.errors import CamcliError, InputError, RequestError, SetupError
    from camcli.inputs.refs import expand
    from camcli.methods import get as method
    from camcli.models import Model, load_model
    from camcli.models.weights.pickles import UnsafeFileError
    from camcli.records import Explained, Failed, Preset
    from camcli.running.engine import Engine
    from camcli.sinks import open_sinks
    from camcli.specs import OutputSpec, Spec
    from camcli.tasks.tables import NoTableError

_HOME = {
    "Answer": ("camcli.api.answer", "Answer"),
    "Explanation": ("camcli.api.explanation", "Explanation"),
    "CamcliWarning": ("camcli.api.explaining", "CamcliWarning"),
    "explain": ("camcli.api.explaining", "explain"),
    "explain_many": ("camcli.api.explaining", "explain_many"),
    "report": ("camcli.api.reporting", "report"),
    "CamcliError": ("camcli.errors", "CamcliError"),
    "InputError": ("camcli.errors", "InputError"),
    "RequestError": ("camcli.errors", "RequestError"),
    "SetupError": ("camcli.errors", "SetupError"),
    "NoTableError": ("camcli.tasks.tables", "NoTableError"),
    "UnsafeFileError": ("camcli.models.weights.pickles", "UnsafeFileError"),
    "Engine": ("camcli.running.engine", "Engine"),
    "expand": ("camcli.inputs.refs", "expand"),
    "method": ("camcli.methods", "get"),
    "Model": ("camcli.models", "Model"),
    "load_model": ("camcli.models", "load_model"),
    "Explained": ("camcli.records", "Explained"),
    "Failed": ("camcli.records", "Failed"),
    "Preset": ("camcli.records", "Preset"),
    "OutputSpec": ("camcli.specs", "OutputSpec"),
    "Spec": ("camcli.specs", "Spec"),
    "open_sinks": ("camcli.sinks", "open_sinks"),
}

__all__ = [
    "Answer",
    "CamcliError",
    "CamcliWarning",
    "Engine",
    "Explained",
    "Explanation",
    "Failed",
    "InputError",
    "Model",
    "NoTableError",
    "OutputSpec",
    "Preset",
    "RequestError",
    "SetupError",
    "Spec",
    "UnsafeFileError",
    "__version__",
    "expand",
    "explain",
    "explain_many",
    "load_model",
    "method",
    "open_sinks",
    "report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'camcli' has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return list(__all__)
