"""torchvision's classifiers by name. The only file that imports torchvision at module level."""

from __future__ import annotations

import re
import urllib.error
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from camcli.errors import RequestError, SetupError, unknown
from camcli.models import Model, catalog, checkpoints
from camcli.records import Preset

try:
    import torchvision
except (RuntimeError, ImportError, AttributeError) as error:
    # "operator torchvision::nms does not exist": the compiled half is of another torch.
    raise SetupError(
        f"torchvision does not work with the installed torch {torch.__version__}: {error}. They are built in pairs: "
        "`pip install --upgrade --force-reinstall torch torchvision` (from the same index) mends it"
    ) from error

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def load(name: str, weights: str, *, progress: bool = False) -> Model:
    """A torchvision model with its weights; see `camcli.models.load_model`."""
    member = member_of(name, weights)
    if weights == "none":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return build(name, member, initialise=True)
    model = build(name, member)
    from_file = weights != "DEFAULT" and weights not in type(member).__members__
    path = Path(weights) if from_file else fetch(member.url, progress=progress)
    checkpoints.fill(model.net, checkpoints.read(path), f"{path} does not fit {name}", _rename)
    label = path.name if from_file else member.name
    return Model(name, model.net, model.preset, model.labels, label, fixed_size=model.fixed_size)


def member_of(name: str, weights: str) -> Any:
    """The weights enum member that gives preset and labels: the one named, else the architecture's DEFAULT.

    Raises:
        RequestError: neither a member, "none", nor a file; or a member without a classifier.
    """
    enum = torchvision.models.get_model_weights(name)
    if weights == "none" or Path(weights).is_file():
        return enum.DEFAULT
    if weights != "DEFAULT" and weights not in enum.__members__:
        raise unknown_weights(name, weights)
    member = enum.DEFAULT if weights == "DEFAULT" else enum[weights]
    if member.name not in catalog.entries()[name].weights:
        raise RequestError(f"{name} {member.name} are features without a classifier: nothing to explain")
    return member


def build(name: str, member: Any, *, initialise: bool = False) -> Model:
    """The architecture with the preset and labels of `member`; its weights are not yet set unless `initialise`."""
    preset = _preset(member)
    family = catalog.entries()[name].family
    labels = tuple(member.meta["categories"])
    options: dict[str, Any] = {}
    if family == "vision_transformer":
        options = {"image_size": preset.crop}
    elif family in ("googlenet", "inception"):
        # transform_input: torchvision's own weights want it. The auxiliary heads never run outside training.
        options = {"transform_input": True, "aux_logits": False, "init_weights": False}
    with nullcontext() if initialise else checkpoints.no_initialisation():
        net = torchvision.models.get_model(name, weights=None, num_classes=len(labels), **options)
    return Model(name, net, preset, labels, "none", fixed_size=family in ("vision_transformer", "maxvit"))


def fetch(url: str, *, progress: bool = False) -> Path:
    """The file of `url` in torch's own cache (TORCH_HOME), downloaded if it is not there, its sha256 checked.

    Raises:
        SetupError: unreachable, or not the file its name promises.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if path.exists():
        return path
    digest = re.search(r"-([a-f0-9]{8,})\.", path.name)
    otherwise = (
        f"put the file at {path} by hand, name one with --weights FILE, "
        f"or use the bundled model (--model {catalog.BUNDLED}), which needs no network"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digest[1] if digest else None, progress=progress)
    except RuntimeError:
        raise SetupError(
            f"the weights downloaded from {url} are not the file promised (wrong sha256): {otherwise}"
        ) from None
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            reason = f"HTTP {error.code} {error.reason}"
        raise SetupError(f"can't download {url} ({reason}): {otherwise}") from None
    return path


def unknown_weights(name: str, weights: str) -> RequestError:
    """The error for weights that are neither a member nor a file."""
    if Path(weights).suffix or "/" in weights:
        return RequestError(f"no such weights file: {weights}")
    known = ["DEFAULT", *catalog.entries()[name].weights, "none"]
    return unknown(f"weights for {name}", weights, known, f"camcli models {name}")


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
