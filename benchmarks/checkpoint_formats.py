"""Every architecture, its weights saved as people save them, loaded by one command: a Markdown table.

python benchmarks/checkpoint_formats.py [NAME…]

For each of torchvision's classifiers a seeded random state dict is saved in six forms; each file is loaded with -m,
and must give the direct forward's scores bit for bit. The last column is the architecture that `-w FILE` without -m
finds for the foreign head.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from camcli.errors import CamcliError
from camcli.models import catalog, guess, load_model
from camcli.models.weights import checkpoints, filling
from camcli.specs import ModelSpec

FORMS = ("plain", "DDP", "Lightning", "torch.compile", "safetensors", "7 classes")
CLASSES = 7


def network(name: str, classes: int) -> nn.Module:
    """The architecture with seeded normal weights, scaled by fan-in so that nothing overflows."""
    options = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    with filling.no_initialisation():
        net: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, (2 * len(parameter) / parameter.numel()) ** 0.5, generator=generator)
        else:
            parameter.data.fill_(0.1)
    return net.eval()


def saved(state: Mapping[str, Tensor], form: str, folder: Path) -> Path:
    """The state dict in a file, as one of the forms."""
    path = folder / ("weights.safetensors" if form == "safetensors" else "weights.ckpt")
    if form == "safetensors":
        save_file(dict(state), path)
    elif form == "Lightning":
        wrapped = {f"model.{key}": value for key, value in state.items()}
        torch.save({"epoch": 3, "pytorch-lightning_version": "2.4.0", "state_dict": wrapped, "callbacks": {}}, path)
    else:
        prefix = {"DDP": "module.", "torch.compile": "_orig_mod."}.get(form, "")
        named = {prefix + key: value for key, value in state.items()}
        torch.save({"model": named, "epoch": 3} if form == "DDP" else named, path)
    return path


def row(name: str, folder: Path) -> list[str]:
    cells = []
    for form in FORMS:
        if form in ("plain", FORMS[-1]):
            net = network(name, CLASSES if form == FORMS[-1] else 1000)
        path = saved(net.state_dict(), form, folder)
        try:
            model = load_model(ModelSpec(name, str(path), "cpu"))
            size = model.preset.view_size if model.fixed_size else (96, 96)
            images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
            with torch.inference_mode():
                equal = torch.equal(model.net(images), net(images)) and bool(net(images).any())
            cells.append("equal" if equal else "DIFFERS")
        except CamcliError as error:
            cells.append(str(error))
    try:
        cells.append(guess.only(guess.ranked(checkpoints.read(path).tensors), "file").name)
    except CamcliError as error:
        cells.append(str(error))
    path.unlink()
    return cells


def main() -> None:
    names = sys.argv[1:] or [*catalog.classifiers()][1:]
    print("| architecture |", " | ".join(FORMS), "| found without -m |")
    print("|---" * (len(FORMS) + 2) + "|")
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            cells = row(name, Path(folder))
            right += cells[-1] == name
            print(f"| {name} |", " | ".join(cells), "|", flush=True)
    print(f"\nfound: {right} of {len(names)}")


if __name__ == "__main__":
    main()
