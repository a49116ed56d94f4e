"""A spec -> Model: a frozen network with the preset, the labels and the reading of its output that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from camcli.models import catalog
from camcli.models.model import Architecture, Model
from camcli.models.sources import architecture_of, check_name, listing, typed, with_a_text
from camcli.models.weights import weights_file, weights_url
from camcli.specs import ModelSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Architecture",
    "Model",
    "architecture_of",
    "blueprint",
    "check_name",
    "labels_of",
    "listing",
    "load_model",
    "of_network",
    "typed",
    "weights_file",
    "weights_url",
    "with_a_text",
    "with_labels",
    "with_preset",
]


def load_model(spec: ModelSpec, *, progress: bool = False) -> Model:
    """Load a classifier, ready to be explained. `progress` shows a download's progress on stderr.

    Raises:
        RequestError: unknown model, weights, file or argument; labels or a preset that don't suit.
        SetupError: the weights can't be downloaded, are unsafe or don't fit, or the device is not there.
    """
    from camcli.models import loading

    return loading.load(spec, progress=progress)


def of_network(
    net: nn.Module,
    spec: ModelSpec,
    *,
    preset: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
) -> Model:
    """The model of a network in memory, as it is: `preset` are fields of its `Preset`, `names` its classes'.

    Raises:
        RequestError: not as many names as classes, or a preset that does not suit.
        SetupError: its layers can't be looked into, or it fails on pictures of the preset's size.
    """
    from camcli.models import loading

    return loading.of_network(net, spec, preset, names)


def with_preset(model: Model, fields: Mapping[str, Any]) -> Model:
    """The model with other fields of its `Preset`. Raises: RequestError: they don't suit."""
    from camcli.models import loading

    return loading.with_preset(model, fields)


def without_classes(model: Model) -> Model:
    """The model as one whose outputs are numbers, none of them a class's score. Raises: RequestError: it can't be."""
    from camcli.models import loading

    return loading.without_classes(model)


def with_labels(model: Model, names: Sequence[str]) -> Model:
    """The model with other names for its classes. Raises: RequestError: not as many as it has."""
    from camcli.models import loading

    return loading.with_labels(model, names)


def labels_of(spec: ModelSpec) -> tuple[str, ...] | None:
    """The class names, by id, if they are known without building or fetching anything; else None.

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
