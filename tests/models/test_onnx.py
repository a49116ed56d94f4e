"""ONNX graphs, converted to torch: the answers and the maps of the networks that they were exported from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import torch
import torchvision
from shell import SAMPLES, refused, run
from torch import nn

import camcli

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx2pytorch")
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]

PHOTO = SAMPLES / "cat_chelsea.jpg"
# densenet121's last map is a batch norm's, and the ReLU after it is a function: in the graph that is a layer too.
NAMES = (
    "squeezenet1_1 resnet18 mobilenet_v2 vgg11 densenet121 efficientnet_b0 shufflenet_v2_x1_0 convnext_tiny "
    "regnet_y_400mf mnasnet0_5"
).split()


def exported(net: nn.Module, *, dynamo: bool, size: int = 224, file: str = "own.onnx") -> str:
    given: dict[str, Any] = {"dynamo": dynamo, **({"verbose": False} if dynamo else {})}
    torch.onnx.export(net.eval(), (torch.rand(1, 3, size, size),), file, **given)
    return file


@pytest.mark.exhaustive
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_maps_are_those_of_the_network(name: str, dynamo: bool) -> None:
    net = torchvision.models.get_model(name, weights=None).eval()
    nets.fill(net)
    exported(net, dynamo=dynamo)
    options: dict[str, Any] = {}
    if name == "densenet121":
        graph = onnx.load("own.onnx").graph
        last = [node.output[0] for node in graph.node if node.op_type == "BatchNormalization"][-1]
        tidy = "".join(c if c.isalnum() else "_" for c in last)
        options = {"layer": f"model.BatchNormalization_{tidy}"}
    own = camcli.explain(PHOTO, model=net.eval())
    words = [part for key, value in options.items() for part in (f"--{key}", value)]
    outcome = run(
        "explain", PHOTO, "-m", "own.onnx", *words, "-c", f"id:{own.top[0].id}", "--save", "raw", "-o", "out", "--json"
    )
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    (answer,) = row["explanations"]
    theirs = np.load(answer["files"]["raw"])["values"]
    assert answer["target"]["value"] == pytest.approx(own.top[0].score, abs=1e-4, rel=1e-4)
    np.testing.assert_allclose(theirs / theirs.max(), own.map / own.map.max(), atol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dynamo", [False, True])
def test_a_small_graph(dynamo: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    )
    file = exported(net, dynamo=dynamo, size=64)
    outcome = run("explain", PHOTO, "-m", file, "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    assert row["weights"] == "own.onnx"
    assert row["layer"].startswith("model.Relu_")
    assert row["provenance"]["preset"]["crop"] == [64, 64]
    assert row["provenance"]["weights_sha256"]
    assert json.loads(run("layers", "-m", file, "--json").out)["layer"] == row["layer"]
    Path(file).rename("own.bin")
    if not Path("own.onnx.data").exists():
        assert run("classify", PHOTO, "-m", "own.bin", "--json").rows[0]["top"] == row["top"]


def test_a_conversion_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    file = exported(net, dynamo=False, size=64)
    from camcli.models.sources import onnx as source

    monkeypatch.setattr(source.Graph, "forward", lambda self, images: self.model(images) * 1.01)
    assert "answers otherwise than ONNX Runtime" in refused(3, "explain", PHOTO, "-m", file)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    torch.onnx.export(net, (torch.rand(1, 12),), "flat.onnx", dynamo=False)
    assert "flat.onnx takes 1 input(s) 1x12: graphs that take pictures" in refused(
        3, "explain", PHOTO, "-m", "flat.onnx"
    )
    assert "flat.onnx has its own" in refused(2, "explain", PHOTO, "-m", "flat.onnx", "-w", "IMAGENET1K_V1")
    assert "flat.onnx is in its file" in refused(2, "explain", PHOTO, "-m", "flat.onnx", "--model-arg", "a=1")
    assert "name it with --model" in refused(3, "explain", PHOTO, "-w", "flat.onnx")
    monkeypatch.setattr("camcli.models.sources.find_spec", lambda name: None)
    assert "`pip install camcli[onnx]`" in refused(3, "explain", PHOTO, "-m", "flat.onnx")
