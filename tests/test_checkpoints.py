"""Weights from files and from the network: what loads bit for bit, what is refused, and in which words."""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from camcli import models
from camcli.errors import SetupError
from camcli.models import catalog, fitting, torchvision_zoo
from camcli.records import ModelSpec

BUNDLED = catalog.BUNDLED
SMALL = "squeezenet1_1"


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
    with fitting.no_initialisation():
        theirs = torchvision.models.get_model(name, weights=None, **options).eval()
    nets.fill(theirs)
    for buffer_name, buffer in theirs.named_buffers():
        if buffer_name.endswith("running_var"):
            buffer.fill_(1.5)  # trained: and so, for GoogLeNet and Inception, from torchvision's own weights
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
    model = models.load_model(ModelSpec(name, path, "cpu"))
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
        model = models.load_model(ModelSpec("mnasnet0_5", path, "cpu"))
    images = nets.noise(1, 3, 64, 96)
    assert torch.equal(model.net(images), old(images))


def test_half_precision_files_become_float32(small_state: dict[str, Tensor]) -> None:
    path = _saved({name: value.half() for name, value in small_state.items()})
    own = models.load_model(ModelSpec(SMALL, path, "cpu")).net.state_dict()
    assert all(torch.equal(own[name], value.half().float()) for name, value in small_state.items())


def test_no_initialisation_draws_nothing_and_ends_with_its_block() -> None:
    layer = nn.Linear(4, 3)
    drawn = layer.weight.detach().clone()
    state = torch.random.get_rng_state()
    with fitting.no_initialisation():
        layer.reset_parameters()
        torchvision.models.resnet18(weights=None)
    assert torch.equal(layer.weight, drawn)
    assert torch.equal(torch.random.get_rng_state(), state)
    layer.reset_parameters()
    assert not torch.equal(layer.weight, drawn)


def test_weights_none_are_seeded_and_leave_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    for name in (SMALL, BUNDLED):
        first, second = (models.load_model(ModelSpec(name, "none", "cpu")).net.state_dict() for _ in range(2))
        assert all(torch.equal(value, second[key]) for key, value in first.items())
        assert first["classifier.1.weight"].std() > 0
    assert torch.equal(torch.random.get_rng_state(), state)


# What is refused.


def _without(state: dict[str, Tensor]) -> Any:
    del state["features.0.bias"]
    return state


BROKEN: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "missing": (_without, "1 missing .features.0.bias"),
    "left over": (lambda state: state | {"head.weight": torch.zeros(2)}, "1 left over .head.weight"),
    "wrong shape": (
        lambda state: state | {"features.0.bias": torch.zeros(7)},
        "1 of another shape .features.0.bias 7, wanted 64",
    ),
    "a list": (lambda state: list(state.values()), "holds no state dict .names -> tensors., but a list of 52"),
    "nothing known": (lambda state: {"a.weight": torch.zeros(2, 2)}, "not one of its tensors is known there"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_states_that_do_not_fit_are_refused_by_name(kind: str, small_state: dict[str, Tensor]) -> None:
    spoil, message = BROKEN[kind]
    path = _saved(spoil(small_state))
    with pytest.raises(SetupError, match=f"{path}.*{message}"):
        models.load_model(ModelSpec(SMALL, path, "cpu"))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("resnet18-f37072fd_truncated_580k.pth", "can't be read as weights"),
        ("resnet18-5c106cde_1MiB_paxtar.pth", "is a tar archive"),
        ("train_dataset_pickle.pt", "is refused: its pickle asks for .*, and loading that could run code"),
    ],
)
def test_broken_files_from_the_wild_are_refused(shared: Path, file: str, reason: str) -> None:
    with pytest.raises(SetupError, match=f"{file}.*({reason})"):
        models.load_model(ModelSpec("resnet18", str(shared / "neg" / file), "cpu"))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut"])
def test_garbage_is_refused(content: bytes, suffix: str) -> None:
    path = Path(f"garbage.{suffix}")
    path.write_bytes(content)
    with pytest.raises(SetupError, match=f"garbage.{suffix}"):
        models.load_model(ModelSpec(SMALL, str(path), "cpu"))


class _Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: Path(path).write_bytes(pickle.dumps(value))])
def test_malicious_pickle_is_refused_and_runs_nothing(save: Callable[[Any, str], object]) -> None:
    save({"weight": _Malicious()}, "evil.pth")
    with pytest.raises(SetupError, match=r"evil\.pth is refused.*could run code"):
        models.load_model(ModelSpec(SMALL, "evil.pth", "cpu"))
    assert not Path("owned").exists()
    pickle.loads(pickle.dumps(_Malicious()))
    assert Path("owned").exists(), "the file would do harm if it were trusted"


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
