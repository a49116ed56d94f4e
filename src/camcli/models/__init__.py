"""Name + weights -> Model: a frozen network with the preset and the labels that belong to its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from camcli.errors import RequestError, SetupError, unknown
from camcli.models import catalog
from camcli.records import Preset

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded classifier: `net` in eval mode, frozen, on `device`; `weights` the enum member, file name or "none".

    `fixed_size` says that the network takes only the preset's crop size.
    """

    name: str
    net: nn.Module
    preset: Preset
    labels: tuple[str, ...]
    weights: str
    device: str = "cpu"
    fixed_size: bool = False


def load_model(
    name: str = catalog.BUNDLED, weights: str = "DEFAULT", device: str = "auto", *, progress: bool = False
) -> Model:
    """Load a classifier by name, ready to be explained.

    weights: DEFAULT, a member of the architecture's weights enum, "none" (random, seeded), or a file with a state
    dict of the same architecture. `progress` shows a download's progress on stderr.

    Raises:
        RequestError: unknown model, weights or file.
        SetupError: the weights can't be downloaded or don't fit, or the device is not there.
    """
    on = pick_device(device)
    if name == catalog.BUNDLED:
        from camcli.models import efficientnet_lite

        model = efficientnet_lite.load(weights)
    else:
        check_name(name)
        from camcli.models import torchvision_zoo

        model = torchvision_zoo.load(name, weights, progress=progress)
    net = model.net.eval().requires_grad_(False).to(on)
    return Model(model.name, net, model.preset, model.labels, model.weights, on, model.fixed_size)


def labels_of(name: str, weights: str = "DEFAULT") -> tuple[str, ...]:
    """The class names, by id, without building or fetching anything.

    Raises:
        RequestError: unknown model, weights or file.
    """
    if name == catalog.BUNDLED:
        from camcli.models import efficientnet_lite

        return efficientnet_lite.labels(weights)
    check_name(name)
    from camcli.models import torchvision_zoo

    return tuple(torchvision_zoo.member_of(name, weights).meta["categories"])


def blueprint(name: str) -> Model:
    """The architecture without weights, on the meta device: nothing is downloaded, allocated or computed."""
    if name == catalog.BUNDLED:
        from camcli.models import efficientnet_lite

        model = efficientnet_lite.build()
    else:
        check_name(name)
        from camcli.models import torchvision_zoo

        model = torchvision_zoo.build(name, torchvision_zoo.member_of(name, "DEFAULT"))
    net = model.net.eval().requires_grad_(False).to("meta")
    return Model(name, net, model.preset, model.labels, "none", "meta", model.fixed_size)


def check_name(name: str) -> None:
    """Raises: RequestError: no model has that name."""
    if name not in catalog.names():
        raise unknown("model", name, catalog.names(), "camcli models")


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
