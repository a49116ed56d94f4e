"""The catalog, the bundled model, presets and labels, and requests that are refused."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nets
import numpy as np
import pytest
import shell
import torch
import torchvision
from torch import Tensor
from torch.nn import functional

from camcli import Spec, models
from camcli.errors import RequestError, SetupError
from camcli.models import catalog, loading
from camcli.models.sources import bundled
from camcli.models.sources import torchvision as torchvision_zoo
from camcli.records import Explained, Ref
from camcli.running.engine import Engine
from camcli.specs import ModelSpec

BUNDLED = catalog.BUNDLED
SMALL = "squeezenet1_1"


# The catalog.


# Not explained yet.
OTHERS = sorted(torchvision.models.list_models(module=torchvision.models.optical_flow))
EXPLAINED = (
    torchvision.models,
    torchvision.models.segmentation,
    torchvision.models.detection,
    torchvision.models.video,
)


@pytest.mark.parametrize("name", OTHERS)
def test_torchvisions_other_models_are_named_as_what_they_are(name: str) -> None:
    home = torchvision.models.get_model_builder(name).__module__.split(".")[2]
    said = home.replace("_", " ")
    with pytest.raises(SetupError, match=f"{name} is an? {said} .*: not explained yet"):
        models.check_name(name)


@pytest.mark.parametrize(("name", "said"), [("raft_huge", "optical flow"), ("RAFT", "optical flow")])
def test_so_are_names_that_begin_like_theirs(name: str, said: str) -> None:
    with pytest.raises(SetupError, match=said):
        models.check_name(name)


@pytest.mark.parametrize("name", ["convnextv2_tiny", "vit_base_patch16_224", "resnet50d.ra2_in1k"])
def test_timms_models_are_told_their_prefix(name: str) -> None:
    with pytest.raises(RequestError, match=f"timm has it, write --model timm:{name}"):
        models.check_name(name)


def test_what_the_others_are_is_known_without_importing_them() -> None:
    code = """
import sys
from camcli.models import check_name
for name in ("raft_large", "convnextv2_tiny", "nothing_at_all"):
    try:
        check_name(name)
    except Exception as error:
        print(error)
print(*({"torch", "torchvision", "timm"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 4
    assert done.stdout.splitlines()[-1] == ""


def test_catalog_is_torchvisions_list() -> None:
    entries = catalog.entries()
    assert next(iter(entries)) == BUNDLED
    listed = [name for module in EXPLAINED for name in torchvision.models.list_models(module=module)]
    assert set(entries) - {BUNDLED} == set(listed)
    for name in list(entries)[1:]:
        members = [member.name for member in torchvision.models.get_model_weights(name)]
        assert [*entries[name].weights] == [member for member in members if member != "IMAGENET1K_FEATURES"]
        builder = torchvision.models.get_model_builder(name)
        assert entries[name].family == builder.__module__.rsplit(".", 1)[1]


@pytest.mark.parametrize(
    ("module", "task", "answer"),
    [
        (torchvision.models, "classify", "ImageClassification"),
        (torchvision.models.segmentation, "segment", "SemanticSegmentation"),
        (torchvision.models.detection, "detect", "ObjectDetection"),
        (torchvision.models.video, "watch", "VideoClassification"),
    ],
)
def test_the_task_is_what_the_weights_say(module: ModuleType, task: str, answer: str) -> None:
    for name in torchvision.models.list_models(module=module):
        assert catalog.task_of(name) == task
        transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        assert type(transforms).__name__ == answer


def test_catalog_leaves_torch_out() -> None:
    code = "import sys; from camcli.models import catalog; print(len(catalog.names()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [str(len(catalog.names())), "False"]


def test_presets_and_labels_are_those_of_the_weights() -> None:
    for entry in list(catalog.classifiers().values())[1:]:
        for weights in entry.weights:
            member = torchvision_zoo.member_of(entry.name, weights)
            assert member is torchvision.models.get_model_weights(entry.name)[weights]
            transforms, preset = member.transforms(), torchvision_zoo._preset(member)
            assert [preset.resize] == list(transforms.resize_size)
            assert [preset.crop] == list(transforms.crop_size)
            assert (preset.mean, preset.std) == (tuple(transforms.mean), tuple(transforms.std))
            assert preset.interpolation == transforms.interpolation.value
            assert models.labels_of(ModelSpec(entry.name, weights)) == tuple(member.meta["categories"])


def test_weights_that_choose_another_size_choose_another_network() -> None:
    model = torchvision_zoo.architecture("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", {}, None)
    assert model.preset.crop == model.build(False).image_size == 384
    assert model.fixed_size


# The bundled model.


def test_bundled_weights_are_the_packaged_file_and_fill_the_network_one_to_one() -> None:
    path = bundled.packaged_weights()
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("57934424")
    state = torch.load(path, weights_only=True)
    net = models.load_model(ModelSpec(BUNDLED)).net
    assert sum(p.numel() for p in net.parameters()) == 4_652_008
    renamed = {bundled._rename(name): value for name, value in state.items()}
    own = net.state_dict()
    assert len(renamed) == len(state)
    assert set(renamed) == set(own)
    assert all(torch.equal(own[name], value) for name, value in renamed.items())


def _slow_lite0(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """EfficientNet-Lite0 from its paper's table (arXiv:1905.11946), straight from the file's own names."""

    def same(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        for axis in (3, 2):
            size, kernel = x.shape[axis], weight.shape[axis]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads = [total // 2, total - total // 2]
            x = functional.pad(x, pads if axis == 3 else [0, 0, *pads])
        return functional.conv2d(x, weight, stride=stride, groups=groups)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-3).sqrt() * weight + bias

    x = norm(same(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for number, stride in enumerate(strides):
        block, shortcut = f"_blocks.{number}._", x
        if number:
            x = norm(same(x, f"{block}expand_conv"), f"{block}bn0").clamp(0, 6)
        x = norm(same(x, f"{block}depthwise_conv", stride, x.shape[1]), f"{block}bn1").clamp(0, 6)
        x = norm(same(x, f"{block}project_conv"), f"{block}bn2")
        x = x + shortcut if x.shape == shortcut.shape else x
    x = norm(same(x, "_conv_head"), "_bn1").clamp(0, 6).mean((2, 3))
    return x @ state["_fc.weight"].T + state["_fc.bias"]


def test_bundled_network_is_lite0() -> None:
    state = torch.load(bundled.packaged_weights(), weights_only=True)
    images = nets.noise(2, 3, 97, 130)
    torch.testing.assert_close(
        models.load_model(ModelSpec(BUNDLED)).net(images), _slow_lite0(state, images), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 1), (5, 1)])
def test_same_padding_is_tensorflows(kernel: int, stride: int) -> None:
    """Output i reads input i * stride - before + 0 … kernel - 1; before = total // 2, zeros outside."""
    conv = bundled.SameConv2d(1, 1, kernel, stride, bias=False)
    weight = conv.weight.detach()[0, 0]
    for height, width in ((1, 2), (2, 5), (7, 4), (8, 9), (13, 6), (14, 15)):
        x = nets.noise(height, width)
        outputs = [math.ceil(size / stride) for size in (height, width)]
        before = [
            max((output - 1) * stride + kernel - size, 0) // 2
            for output, size in zip(outputs, (height, width), strict=True)
        ]
        expected = torch.zeros(*outputs)
        for i, j, a, b in np.ndindex(*outputs, kernel, kernel):
            y, z = i * stride - before[0] + a, j * stride - before[1] + b
            if 0 <= y < height and 0 <= z < width:
                expected[i, j] += weight[a, b] * x[y, z]
        torch.testing.assert_close(conv(x[None, None])[0, 0].detach(), expected, rtol=1e-5, atol=1e-5)


def _accuracy(shared: Path, model: str, weights: str, photos: int) -> tuple[float, float]:
    """(top-1, top-5) over the first photos; the i-th in the order of names is class 5 i."""
    paths = sorted((shared / "images" / "imagenet200").iterdir())
    assert len(paths) == 200
    refs = [Ref(i, path.name, path) for i, path in enumerate(paths[:photos])]
    results = list(Engine(Spec(model, weights, "cpu", methods=())).explain(refs))
    ranks = [[score.id for score in r.top].index(5 * i) if 5 * i in [s.id for s in r.top] else 9
             for i, r in enumerate(results) if isinstance(r, Explained)]  # fmt: skip
    assert len(ranks) == photos
    return sum(rank == 0 for rank in ranks) / photos, sum(rank < 5 for rank in ranks) / photos


@pytest.mark.exhaustive
def test_bundled_model_knows_photographs(shared: Path) -> None:
    top1, top5 = _accuracy(shared, BUNDLED, "DEFAULT", 200)
    assert top1 >= 0.86
    assert top5 >= 0.96


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("model", "file", "bar"),
    [
        (SMALL, "squeezenet1_1_imagenet1k_v1_from_fp16.pth", 0.60),
        ("mobilenet_v2", "mobilenet_v2_imagenet_tf2ptq_tvnorm.pth", 0.72),
    ],
)
def test_checkpoints_from_files_know_photographs(shared: Path, model: str, file: str, bar: float) -> None:
    assert _accuracy(shared, model, str(shared / "weights" / file), 60)[0] >= bar


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("resnet50", "IMAGENET1K_V3", r"unknown weights for resnet50 'IMAGENET1K_V3': did you mean .*IMAGENET1K_V[12]"),
        ("resnet50", "missing.pth", r"no such weights file: missing\.pth"),
        (BUNDLED, "IMAGENET", r"did you mean IMAGENET1K.*`camcli models efficientnet_lite0`"),
        ("vgg16", "IMAGENET1K_FEATURES", "without a classifier"),
        ("resnet5", "DEFAULT", r"unknown model 'resnet5': did you mean resnet50.*`camcli models`"),
    ],
)
def test_requests_that_are_wrong_are_refused(model: str, weights: str, message: str) -> None:
    for ask in (models.load_model, models.labels_of):
        with pytest.raises(RequestError, match=message):
            ask(ModelSpec(model, weights, "cpu"))


def test_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert loading.pick_device("auto") == "cpu"
    with pytest.raises(RequestError, match="abacus"):
        loading.pick_device("abacus")
    with pytest.raises(SetupError, match="no cuda:1 device here"):
        loading.pick_device("cuda:1")


# A torchvision of another torch.


@pytest.mark.exhaustive
def test_torchvision_that_does_not_fit_torch_is_explained(tmp_path: Path, picture: Callable[..., Path]) -> None:
    fake = tmp_path / "fake" / "torchvision"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    environment = os.environ | {"PYTHONPATH": str(fake.parent)}
    done = shell.finish(shell.spawn("explain", picture(), env=environment))
    assert (done.code, done.out) == (3, "")
    assert done.err.count("\n") == 1
    for part in (f"installed torch {torch.__version__}", "torchvision::nms", "pip install"):
        assert part in done.err
    doctor = shell.finish(shell.spawn("doctor", "--json", env=environment))
    assert doctor.code == 3
    assert "torchvision::nms" in doctor.rows[0]["problem"]
