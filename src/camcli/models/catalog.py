"""The models there are, without importing torch: read off torchvision's own source.

Help, completion, `camcli models` and did-you-mean must answer at once, and importing torchvision costs seconds.
A test holds this against `torchvision.models.list_models`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from camcli.errors import RequestError, unknown
from camcli.specs import ModelSpec

BUNDLED = "efficientnet_lite0"
# The names of timm's models start with this.
TIMM = "timm:"
# And those of Hugging Face's, a folder or a name on the hub, with this.
HF = "hf:"
# And those of open_clip's with this.
OPEN_CLIP = "open_clip:"
# And files of ultralytics' with this.
ULTRALYTICS = "ultralytics:"
LIBRARIES = (TIMM, HF, OPEN_CLIP, ULTRALYTICS)
# torchvision's sub-packages whose models are explained, by task; and what the others hold.
TASKS = {"segmentation": "segment", "detection": "detect", "video": "watch"}
_KINDS = {"optical_flow": "an optical flow model"}
# A weights member for feature extraction only: it has no valid classifier, no labels, and another pixel scale.
_NOT_CLASSIFIERS = frozenset({"IMAGENET1K_FEATURES"})
# `@register_model()`, other decorators, then the function of that name.
_REGISTERED = re.compile(r"^@register_model\b.*?^def (\w+)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model by name: its family (torchvision's module), the weights that can be asked for, and its task."""

    name: str
    family: str
    weights: tuple[str, ...]
    task: str = "classify"


@cache
def entries() -> dict[str, Entry]:
    """All models by name: the bundled one, torchvision's classifiers, its models of other tasks."""
    others: dict[str, Entry] = {}
    for package, task in TASKS.items():
        for file in _sources("torchvision", f"{package}/*.py"):
            source = file.read_text(encoding="utf-8")
            if "@register_model" in source:
                found = _registered(ast.parse(source), file.stem)
                others |= {entry.name: replace(entry, task=task) for entry in found}
    return classifiers() | others


@cache
def classifiers() -> dict[str, Entry]:
    """The classifiers of pictures by name, the bundled one first."""
    found = {BUNDLED: Entry(BUNDLED, "efficientnet", ("IMAGENET1K",))}
    # Detection, segmentation and video live in sub-packages: the files beside them are the classifiers.
    for file in _sources("torchvision", "*.py"):
        source = file.read_text(encoding="utf-8")
        if "@register_model" in source:
            found |= {entry.name: entry for entry in _registered(ast.parse(source), file.stem)}
    return found


def kind_of_other(name: str) -> str | None:
    """The kind of torchvision's models whose names start with the same word; None if they classify pictures."""
    for file in _sources("torchvision", "*/*.py"):
        known = _REGISTERED.findall(file.read_text(encoding="utf-8")) if file.parent.name in _KINDS else ()
        if name.lower().partition("_")[0] in {own.partition("_")[0] for own in known}:
            return _KINDS[file.parent.name]
    return None


def is_in_timm(name: str) -> bool:
    """True if the installed timm has a model of that name, with or without a tag; timm is not imported."""
    return name.partition(".")[0] in names_in(TIMM)


def names_in(library: str) -> list[str]:
    """The names of timm's or open_clip's models, without tags, none if it is not installed; it is not imported."""
    if library == OPEN_CLIP:
        spec = find_spec("open_clip")
        folder = Path(spec.origin).parent / "model_configs" if spec and spec.origin else None
        return sorted(file.stem for file in folder.glob("*.json")) if folder else []
    found = (_REGISTERED.findall(file.read_text(encoding="utf-8")) for file in _sources("timm", "*.py"))
    return sorted({name for names in found for name in names})


@cache
def categories() -> tuple[str, ...]:
    """The classes of the classifiers' own weights, by id, read off torchvision's source."""
    for file in _sources("torchvision", "_meta.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_IMAGENET_CATEGORIES":
                return tuple(ast.literal_eval(node.value))
    return ()


def _sources(package: str, pattern: str) -> list[Path]:
    """The files of a package's `models`, none if it is not installed."""
    spec = find_spec(package)  # finds, does not import
    return sorted((Path(spec.origin).parent / "models").glob(pattern)) if spec and spec.origin else []


def names() -> list[str]:
    return list(entries())


def task_of(name: str) -> str:
    """The task of the model of that name."""
    return entries()[name].task


def takes_clips(spec: ModelSpec) -> bool:
    """True if the model takes clips of several frames, as far as its name and `task` tell."""
    return (task_of(spec.model) if spec.model in names() else spec.task) == "watch"


def unknown_weights(name: str, weights: str) -> RequestError:
    """The error for weights that are no member of the model's."""
    known = ["DEFAULT", *entries()[name].weights, "none"]
    return unknown(f"weights for {name}", weights, known, f"camcli models {name}")


def is_ultralytics(name: str) -> bool:
    return name.startswith(ULTRALYTICS)


def is_user_code(name: str) -> bool:
    """True if the name is `module:factory` or `file.py:factory`."""
    return ":" in name and not name.startswith(LIBRARIES)


def _registered(tree: ast.Module, family: str) -> list[Entry]:
    members = {node.name: _members(node) for node in tree.body if isinstance(node, ast.ClassDef)}
    return [
        Entry(node.name, family, members.get(_weights_class(node), ()))
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("register_model" in ast.unparse(d) for d in node.decorator_list)
    ]


def _members(node: ast.ClassDef) -> tuple[str, ...]:
    names = [
        target.id
        for statement in node.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)
        for target in statement.targets
        if isinstance(target, ast.Name)
    ]
    return tuple(name for name in names if name not in _NOT_CLASSIFIERS)


def _weights_class(node: ast.FunctionDef) -> str:
    """`weights: Optional[ResNet50_Weights]` -> "ResNet50_Weights"."""
    annotation = next((a.annotation for a in node.args.kwonlyargs if a.arg == "weights"), None)
    named = [n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)] if annotation else []
    return next((name for name in named if name.endswith("_Weights")), "")
