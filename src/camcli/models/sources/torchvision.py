"""torchvision's classifiers by name. The only file that imports torchvision at module level."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from camcli.errors import RequestError, SetupError
from camcli.models import catalog
from camcli.models.model import Architecture, Args
from camcli.models.sources.uncompiled import without_compiler
from camcli.models.weights import downloads, filling
from camcli.records import Preset

try:
    with without_compiler():
        import torchvision
except (RuntimeError, ImportError, AttributeError) as error:
    # "operator torchvision::nms does not exist": the compiled half is of another torch.
    raise SetupError(
        f"torchvision does not work with the installed torch {torch.__version__}: {error}. They are built in pairs: "
        "`pip install --upgrade --force-reinstall torch torchvision` (from the same index) mends it"
    ) from error

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def architecture(name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None) -> Architecture:
    """A torchvision classifier; `tensors` are those of a file that will fill it, under whatever prefix.

    Raises:
        RequestError: neither a member of the weights nor "none"; a member without a classifier; a wrong argument.
    """
    member = member_of(name, "none" if tensors is not None else weights)
    family = catalog.entries()[name].family
    size = args.get("image_size")
    if tensors is not None and family == "vision_transformer" and (seen := _size_seen_in(tensors, name)):
        member, size = _of_size(name, member, seen), seen
    preset = _preset(member)
    if size is not None and preset.crop != size:
        preset = replace(preset, resize=size, crop=size)
    options: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    if family == "vision_transformer":
        options = {"image_size": preset.crop}
    elif family in ("googlenet", "inception"):
        # torchvision's own weights want transform_input. The auxiliary heads never run outside training.
        from_torchvision = tensors is None or _was_trained(tensors)
        options = {"transform_input": from_torchvision, "aux_logits": False, "init_weights": False}
        if tensors is not None and "transform_input" not in args:
            remarks = (
                f"{name}: transform_input={from_torchvision}, as in a network "
                f"{'fine-tuned from torchvision' if from_torchvision else 'never trained'}; "
                "no file says it, --model-arg transform_input=… does",
            )

    def build(initialise: bool) -> nn.Module:
        net = built(name, options | args, initialise=initialise)
        if tensors is not None and family == "mnasnet":
            _of_version(net, tensors)
        return net

    return Architecture(
        name=name,
        build=build,
        preset=preset,
        labels=tuple(member.meta["categories"]),
        **filled_from(member, weights, tensors),
        rename=_rename,
        fixed_size=family in ("vision_transformer", "maxvit"),
        remarks=remarks,
    )


def filled_from(member: Any, weights: str, tensors: Mapping[str, Tensor] | None) -> dict[str, Any]:
    """The fields of an Architecture that say where its weights come from: the member's own file, or elsewhere."""
    if weights == "none" or tensors is not None:
        return {"weights": weights, "fetch": None}
    return {"weights": member.name, "fetch": partial(fetch, member.url)}


def built(name: str, args: Args, *, initialise: bool) -> nn.Module:
    """torchvision's network of that name, without weights. Raises: RequestError: it takes no such arguments."""
    with nullcontext() if initialise else filling.no_initialisation():
        try:
            net: nn.Module = torchvision.models.get_model(name, weights=None, **args)
        except (TypeError, ValueError) as error:
            raise RequestError(f"--model-arg: {name} can't be built: {error}") from None
    return net


def imagenet_labels() -> tuple[str, ...]:
    """The thousand classes, in torchvision's order and spelling."""
    return tuple(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])


def member_of(name: str, weights: str) -> Any:
    """The weights enum member that gives preset and labels: the one named, else the architecture's DEFAULT.

    Raises:
        RequestError: neither a member nor "none"; or a member without a classifier.
    """
    enum = torchvision.models.get_model_weights(name)
    if weights in ("DEFAULT", "none"):
        return enum.DEFAULT
    if weights not in enum.__members__:
        raise catalog.unknown_weights(name, weights)
    member = enum[weights]
    if member.name not in catalog.entries()[name].weights:
        raise RequestError(f"{name} {member.name} are features without a classifier: nothing to explain")
    return member


def fetch(url: str, progress: bool = False) -> Path:
    """The file of `url` in torch's own cache, downloaded if it is not there; its name has the start of its sha256.

    Raises:
        SetupError: unreachable, or not the file its name promises.
    """
    name = Path(urlparse(url).path).name
    promised = re.search(r"-([a-f0-9]{8,})\.", name)
    return downloads.fetch(url, downloads.folder() / name, promised[1] if promised else "", progress=progress)


def _size_seen_in(tensors: Mapping[str, Tensor], name: str) -> int | None:
    """The picture size of a ViT's file: its position embedding has a row a patch, and one for the class token."""
    positions = next((value for key, value in tensors.items() if key.endswith("encoder.pos_embedding")), None)
    if positions is None or positions.ndim != 3:
        return None
    return math.isqrt(positions.shape[1] - 1) * int(name.rsplit("_", 1)[1])


def _of_size(name: str, member: Any, size: int) -> Any:
    """The first of the model's weights for pictures of that size, else the member given."""
    usable = (own for own in type(member) if own.name in catalog.entries()[name].weights)
    return next((own for own in usable if _preset(own).crop == size), member)


def _was_trained(tensors: Mapping[str, Tensor]) -> bool:
    """True if any batch has moved the first BatchNorm's statistics: a file of random weights comes from no training."""
    variances = (value for key, value in tensors.items() if key.endswith("running_var"))
    return not torch.equal(first := next(variances, torch.zeros(1)).float(), torch.ones_like(first))


def _of_version(net: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Gives an MNASNet the form of its file: in version 1 the stem has 32 channels whatever the width."""
    stem = next((value for key, value in tensors.items() if key.endswith("layers.0.weight")), None)
    if stem is not None and stem.shape[0] == 32 != net.get_parameter("layers.0.weight").shape[0]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a wider guess tries this on files that turn out to be something else
            net._load_from_state_dict({}, "", {"version": 1}, False, [], [], [])


def _preset(member: Any) -> Preset:
    transforms = member.transforms()
    return Preset(
        resize=transforms.resize_size[0],
        crop=transforms.crop_size[0],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )


def _rename(key: str) -> str | None:
    if key.startswith(_AUXILIARY):
        return None
    # torchvision's DenseNet files still have the names of 2017: "norm.1" is "norm1".
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", key)
