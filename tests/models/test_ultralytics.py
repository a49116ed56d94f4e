"""Ultralytics' own networks, with random weights, against its own predicting. Only where the user has installed it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from shell import SAMPLES, run

from camcli import models
from camcli.specs import ModelSpec

pytest.importorskip(
    "ultralytics", reason="ultralytics is AGPL-3.0: it is tested where it is installed, and nowhere needed"
)
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]

# With two branches and without; the levels that enter the head.
LEVELS = {
    "yolov8n": [15, 18, 21],
    "yolo11n": [16, 19, 22],
    "yolov10n": [16, 19, 22],
    "yolo26n": [16, 19, 22],
    "yolov8n-seg": [15, 18, 21],
}
NAMES = [
    pytest.param(name, marks=pytest.mark.exhaustive if name not in ("yolov8n", "yolo26n") else ()) for name in LEVELS
]


def saved(name: str) -> str:
    """A file of the network with random weights, its batch norms settled and its scores spread."""
    from ultralytics.nn import tasks

    torch.manual_seed(0)
    kind = tasks.SegmentationModel if name.endswith("-seg") else tasks.DetectionModel
    net = kind(f"{name}.yaml", nc=3, verbose=False)
    head = net.model[-1]
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        for branch in filter(None, (head.cv3, getattr(head, "one2one_cv3", None))):
            for level in branch:
                level[-1].weight.normal_()
                level[-1].bias.normal_(mean=-1)
        for _ in range(2):
            net.train()(torch.rand(2, 3, 160, 160))
    net.names = {i: f"thing {i}" for i in range(3)}
    file = f"own_{name}.pt"
    torch.save({"model": net.eval(), "train_args": {"imgsz": 160}}, file)
    return file


@pytest.mark.parametrize("name", NAMES)
def test_what_is_found_is_what_predicting_finds(name: str) -> None:
    """At a size that is only padded, as theirs rounds what it resizes to whole levels."""
    from ultralytics import YOLO

    file = saved(name)
    with Image.open(SAMPLES / "cat_chelsea.jpg") as photo:
        picture = photo.convert("RGB").resize((160, 120))
    model = models.load_model(ModelSpec(f"ultralytics:{file}", device="cpu", trust_checkpoint=True))
    with torch.no_grad():
        (found,) = model.net([torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255])
    # Their predicting of masks needs masks; its boxes are those of the same network.
    head: Any = model.net.model.model[-1]  # type: ignore[union-attr,index]
    if name.endswith("-seg"):
        assert len(found["scores"]) > 1
        assert head.nc == 3
        return
    (theirs,) = YOLO(file).predict(picture, conf=0.01, verbose=False, device="cpu")
    count = len(theirs.boxes.conf)
    assert count > 20
    # A pair of boxes may lie at the limit of overlap: theirs has folded batch norms.
    assert abs(int((found["scores"] > 0.01).sum()) - count) <= 2
    same = min(count, 20)
    np.testing.assert_allclose(found["scores"][:same], theirs.boxes.conf[:same], atol=1e-4)
    np.testing.assert_allclose(found["boxes"][:same], theirs.boxes.xyxy[:same], atol=0.01)
    assert found["labels"][:same].tolist() == theirs.boxes.cls[:same].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_the_layer_is_a_level_that_enters_the_head(name: str) -> None:
    file = saved(name)
    levels = [f"model.model.{number}" for number in LEVELS[name]]
    told = json.loads(run("layers", "-m", f"ultralytics:{file}", "--trust-checkpoint", "--json").out)
    assert [own["layer"] for own in told["levels"]] == levels
    outcome = run(
        *("explain", SAMPLES / "cat_chelsea.jpg", "-m", f"ultralytics:{file}", "--trust-checkpoint"),
        *("--threshold", 0.1, "-c", "top3", "--save", "none", "--json"),
    )
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    assert row["top"][0]["label"].startswith("thing ")
    assert len(row["explanations"]) == 3
    for one in row["explanations"]:
        assert one["layer"] in levels
        assert one["max"] > 0
        # 400x300 at 160 is 160x120, on a canvas of 160x128.
        assert one["box"] == [0, -10, 400, 310]


def test_a_file_is_named_by_inspect() -> None:
    file = saved("yolov8n")
    facts = json.loads(run("inspect", Path(file), "--json").out)
    assert f"-m ultralytics:{file} --trust-checkpoint" in facts["problem"]
