"""The catalog, the bundled model, weights from files and from the network, and what is refused."""

from __future__ import annotations

import gc
import hashlib
import math
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import shell
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from camcli import Spec, models
from camcli.engine import Engine
from camcli.errors import RequestError, SetupError
from camcli.models import catalog, checkpoints, efficientnet_lite, torchvision_zoo
from camcli.records import Explained, Ref

BUNDLED = catalog.BUNDLED
SMALL = "squeezenet1_1"


# The catalog.


def test_catalog_is_torchvisions_list() -> None:
    entries = catalog.entries()
    assert next(iter(entries)) == BUNDLED
    assert set(entries) - {BUNDLED} == set(torchvision.models.list_models(module=torchvision.models))
    for name in list(entries)[1:]:
        members = [member.name for member in torchvision.models.get_model_weights(name)]
        assert [*entries[name].weights] == [member for member in members if member != "IMAGENET1K_FEATURES"]
        builder = torchvision.models.get_model_builder(name)
        assert entries[name].family == builder.__module__.rsplit(".", 1)[1]


def test_catalog_leaves_torch_out() -> None:
    code = "import sys; from camcli.models import catalog; print(len(catalog.names()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [str(len(catalog.names())), "False"]


def test_presets_and_labels_are_those_of_the_weights() -> None:
    for entry in list(catalog.entries().values())[1:]:
        for weights in entry.weights:
            member = torchvision_zoo.member_of(entry.name, weights)
            assert member is torchvision.models.get_model_weights(entry.name)[weights]
            transforms, preset = member.transforms(), torchvision_zoo._preset(member)
            assert [preset.resize] == list(transforms.resize_size)
            assert [preset.crop] == list(transforms.crop_size)
            assert (preset.mean, preset.std) == (tuple(transforms.mean), tuple(transforms.std))
            assert preset.interpolation == transforms.interpolation.value
            assert models.labels_of(entry.name, weights) == tuple(member.meta["categories"])


def test_weights_that_choose_another_size_choose_another_network() -> None:
    member = torchvision_zoo.member_of("vit_b_16", "IMAGENET1K_SWAG_E2E_V1")
    model = torchvision_zoo.build("vit_b_16", member)
    assert model.preset.crop == model.net.image_size == 384
    assert model.fixed_size


# The bundled model.


def test_bundled_weights_are_the_packaged_file_and_fill_the_network_one_to_one() -> None:
    path = efficientnet_lite.packaged_weights()
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("57934424")
    state = torch.load(path, weights_only=True)
    net = models.load_model(BUNDLED).net
    assert sum(p.numel() for p in net.parameters()) == 4_652_008
    renamed = {efficientnet_lite._rename(name): value for name, value in state.items()}
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
    state = torch.load(efficientnet_lite.packaged_weights(), weights_only=True)
    images = nets.noise(2, 3, 97, 130)
    torch.testing.assert_close(models.load_model(BUNDLED).net(images), _slow_lite0(state, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 1), (5, 1)])
def test_same_padding_is_tensorflows(kernel: int, stride: int) -> None:
    """Output i reads input i * stride - before + 0 … kernel - 1; before = total // 2, zeros outside."""
    conv = efficientnet_lite.SameConv2d(1, 1, kernel, stride, bias=False)
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
    results = list(Engine(Spec(model, weights, methods=(), device="cpu")).explain(refs))
    ranks = [[score.id for score in r.top].index(5 * i) if 5 * i in [s.id for s in r.top] else 9
             for i, r in enumerate(results) if isinstance(r, Explained)]  # fmt: skip
    assert len(ranks) == photos
    return sum(rank == 0 for rank in ranks) / photos, sum(rank < 5 for rank in ranks) / photos


@pytest.mark.slow
def test_bundled_model_knows_photographs(shared: Path) -> None:
    top1, top5 = _accuracy(shared, BUNDLED, "DEFAULT", 200)
    assert top1 >= 0.86
    assert top5 >= 0.96


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "file", "bar"),
    [
        (SMALL, "squeezenet1_1_imagenet1k_v1_from_fp16.pth", 0.60),
        ("mobilenet_v2", "mobilenet_v2_imagenet_tf2ptq_tvnorm.pth", 0.72),
    ],
)
def test_checkpoints_from_files_know_photographs(shared: Path, model: str, file: str, bar: float) -> None:
    assert _accuracy(shared, model, str(shared / "weights" / file), 60)[0] >= bar


# Files of weights.


@pytest.fixture
def small_state() -> dict[str, Tensor]:
    return {name: value.clone() for name, value in nets.zoo(SMALL)[0].state_dict().items()}


def _saved(state: Any, name: str = "weights.pth") -> str:
    torch.save(state, name)
    return name


FAMILIES = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet1_0 mobilenet_v2 "
    "mobilenet_v3_small regnet_y_400mf resnet18 shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11_bn vit_b_32"
).split()
WITH_AUXILIARY_HEADS = {"aux_logits": True, "init_weights": False, "transform_input": True}
FAST = ("googlenet", "inception_v3", "densenet121", "mnasnet1_0", "squeezenet1_1")


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_files_load_bit_for_bit_as_torchvision_loads_them(name: str, suffix: str) -> None:
    options = WITH_AUXILIARY_HEADS if name in ("googlenet", "inception_v3") else {}
    with checkpoints.no_initialisation():
        theirs = torchvision.models.get_model(name, weights=None, **options).eval()
    nets.fill(theirs)
    state = theirs.state_dict()
    if name.startswith("densenet"):
        # As in torchvision's own files of 2017.
        state = {
            k.replace("norm1", "norm.1")
            .replace("norm2", "norm.2")
            .replace("conv1", "conv.1")
            .replace("conv2", "conv.2"): v
            for k, v in state.items()
        }
    path = f"weights.{suffix}"
    if suffix == "pth":
        torch.save(state, path)
    else:
        save_file(dict(state), path)
    # Whatever the constructor left in memory must be overwritten.
    model = models.load_model(name, path, "cpu")
    own = model.net.state_dict()
    expected = {k: v for k, v in theirs.state_dict().items() if not k.startswith(("aux", "AuxLogits"))}
    assert set(own) == set(expected)
    assert all(torch.equal(own[k], v) and own[k].dtype == v.dtype for k, v in expected.items())
    assert (model.weights, model.net.training) == (path, False)
    height, width = (model.preset.crop,) * 2 if model.fixed_size else (96, 128)
    if suffix == "pth":
        with torch.no_grad():
            images = nets.noise(1, 3, height, width)
            assert torch.equal(model.net(images), theirs(images))


def test_old_mnasnet_files_are_read_as_the_version_they_are() -> None:
    """A file of version 1 has a stem of 32 channels whatever alpha is; its `_metadata` says so."""
    old = torchvision.models.mnasnet0_5(weights=None)
    with pytest.warns(UserWarning, match="previous version"):
        old._load_from_state_dict({}, "", {"version": 1}, False, [], [], [])
    nets.fill(old)
    state = old.eval().state_dict()
    assert state["layers.0.weight"].shape[0] == 32
    path = _saved(state)
    with pytest.warns(UserWarning, match="previous version"):
        model = models.load_model("mnasnet0_5", path, "cpu")
    images = nets.noise(1, 3, 64, 96)
    assert torch.equal(model.net(images), old(images))


def test_half_precision_files_become_float32(small_state: dict[str, Tensor]) -> None:
    path = _saved({name: value.half() for name, value in small_state.items()})
    own = models.load_model(SMALL, path, "cpu").net.state_dict()
    assert all(torch.equal(own[name], value.half().float()) for name, value in small_state.items())


def test_no_initialisation_draws_nothing_and_ends_with_its_block() -> None:
    layer = nn.Linear(4, 3)
    drawn = layer.weight.detach().clone()
    state = torch.random.get_rng_state()
    with checkpoints.no_initialisation():
        layer.reset_parameters()
        torchvision.models.resnet18(weights=None)
    assert torch.equal(layer.weight, drawn)
    assert torch.equal(torch.random.get_rng_state(), state)
    layer.reset_parameters()
    assert not torch.equal(layer.weight, drawn)


def test_weights_none_are_seeded_and_leave_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    for name in (SMALL, BUNDLED):
        first, second = (models.load_model(name, "none", "cpu").net.state_dict() for _ in range(2))
        assert all(torch.equal(value, second[key]) for key, value in first.items())
        assert first["classifier.1.weight"].std() > 0
    assert torch.equal(torch.random.get_rng_state(), state)


# What is refused.


def _without(state: dict[str, Tensor]) -> Any:
    del state["features.0.bias"]
    return state


BROKEN: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (_without, "Missing key.*features.0.bias"),
    "left over": (lambda state: state | {"head.weight": torch.zeros(2)}, "Unexpected key.*head.weight"),
    "wrong shape": (
        lambda state: state | {"features.0.bias": torch.zeros(7)},
        r"size mismatch for features.0.bias.*\[7\]",
    ),
    "nested": (lambda state: {"state_dict": state}, "no plain state dict"),
    "a list": (lambda state: list(state.values()), "no plain state dict"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_states_that_do_not_fit_are_refused_by_name(kind: str, small_state: dict[str, Tensor]) -> None:
    spoil, message = BROKEN[kind]
    path = _saved(spoil(small_state))
    with pytest.raises(SetupError, match=f"{path}.*{message}"):
        models.load_model(SMALL, path, "cpu")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("resnet18-f37072fd_truncated_580k.pth", "can't be read as weights"),
        ("resnet18-5c106cde_1MiB_paxtar.pth", "can't be read as weights|is refused"),
        ("train_dataset_pickle.pt", "is refused: it is not a file of tensors alone|can't be read as weights"),
    ],
)
def test_broken_files_from_the_wild_are_refused(shared: Path, file: str, reason: str) -> None:
    with pytest.raises(SetupError, match=f"{file}.*({reason})"):
        models.load_model("resnet18", str(shared / "neg" / file), "cpu")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut"])
def test_garbage_is_refused(content: bytes, suffix: str) -> None:
    path = Path(f"garbage.{suffix}")
    path.write_bytes(content)
    with pytest.raises(SetupError, match=f"garbage.{suffix}"):
        models.load_model(SMALL, str(path), "cpu")


class _Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: Path(path).write_bytes(pickle.dumps(value))])
def test_malicious_pickle_is_refused_and_runs_nothing(save: Callable[[Any, str], object]) -> None:
    save({"weight": _Malicious()}, "evil.pth")
    with pytest.raises(SetupError, match=r"evil\.pth is refused.*could run code"):
        models.load_model(SMALL, "evil.pth", "cpu")
    assert not Path("owned").exists()
    pickle.loads(pickle.dumps(_Malicious()))
    assert Path("owned").exists(), "the file would do harm if it were trusted"


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
    for ask in (partial(models.load_model, device="cpu"), models.labels_of):
        with pytest.raises(RequestError, match=message):
            ask(model, weights)


def test_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert models.pick_device("auto") == "cpu"
    with pytest.raises(RequestError, match="abacus"):
        models.pick_device("abacus")
    with pytest.raises(SetupError, match="no cuda:1 device here"):
        models.pick_device("cuda:1")


# Downloads.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A web server on the loopback: (its folder, its address)."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def _cache() -> Path:
    return Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints"


def test_download_lands_in_torchs_cache_and_is_not_repeated(server: tuple[Path, str]) -> None:
    folder, address = server
    content = b"weights" * 1000
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content)
    path = torchvision_zoo.fetch(f"{address}/{name}")
    assert path == _cache() / name
    assert path.read_bytes() == content
    (folder / name).unlink()
    assert torchvision_zoo.fetch(f"{address}/{name}") == path
    assert torchvision_zoo.fetch(f"http://127.0.0.1:9/{name}") == path


def test_download_with_another_sha256_is_refused_and_leaves_no_file(server: tuple[Path, str]) -> None:
    folder, address = server
    (folder / "net-00000000.pth").write_bytes(b"tampered")
    with pytest.raises(SetupError, match="wrong sha256") as refused:
        torchvision_zoo.fetch(f"{address}/net-00000000.pth")
    _says_what_to_do(str(refused.value), f"{address}/net-00000000.pth")


def test_download_that_is_not_there_is_refused(server: tuple[Path, str]) -> None:
    url = f"{server[1]}/net-00000000.pth"
    with pytest.raises(SetupError, match="404") as refused:
        torchvision_zoo.fetch(url)
    _says_what_to_do(str(refused.value), url)
    # An answer left open is a ResourceWarning, and so an error, when it is collected: here, not in a later test.
    del refused
    gc.collect()


def test_download_from_nowhere_is_refused() -> None:
    url = "http://127.0.0.1:9/net-00000000.pth"
    with pytest.raises(SetupError, match="refused") as refused:
        torchvision_zoo.fetch(url)
    _says_what_to_do(str(refused.value), url)


def _says_what_to_do(message: str, url: str) -> None:
    assert url in message
    assert str(_cache() / "net-00000000.pth") in message
    assert f"--model {BUNDLED}" in message
    assert not list(_cache().iterdir())


# A torchvision of another torch.


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
