"""Weights from files: what loads bit for bit, what is refused, and in which words."""

from __future__ import annotations

import argparse
import copy
import datetime
import gzip
import hashlib
import importlib
import json
import os
import pickle
import random
import re
import sys
import types
import warnings
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import nets
import numpy as np
import pytest
import shell
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from variants import thinned

from camcli import models
from camcli.errors import RequestError, SetupError
from camcli.models import catalog
from camcli.models.weights import checkpoints, contents, filling
from camcli.specs import ModelSpec

BUNDLED = catalog.BUNDLED
SMALL = "squeezenet1_1"


# Files of weights.


@pytest.fixture
def small_state() -> dict[str, Tensor]:
    return {name: value.clone() for name, value in nets.zoo(SMALL)[0].state_dict().items()}


def _saved(state: Any, name: str = "weights.pth") -> str:
    torch.save(state, name)
    return name


WITH_AUXILIARY_HEADS = {"aux_logits": True, "init_weights": False, "transform_input": True}
# With names, heads or a version of their own; test_fitting has one of each family.
OLD = ("googlenet", "inception_v3", "densenet121", "mnasnet1_0", "squeezenet1_1")


@pytest.mark.parametrize(
    ("name", "suffix"),
    thinned([(name, suffix) for name in OLD for suffix in ("pth", "safetensors")], 3),
)
def test_files_load_bit_for_bit_as_torchvision_loads_them(name: str, suffix: str) -> None:
    options = WITH_AUXILIARY_HEADS if name in ("googlenet", "inception_v3") else {}
    with filling.no_initialisation():
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
    height, width = model.preset.view_size if model.fixed_size else (96, 128)
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
    with filling.no_initialisation():
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


def _damaged(content: bytes, rng: random.Random) -> bytes:
    """With some bytes changed, cut out or put in, or with its end missing."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(damaged) + 1)
        end = at + rng.choice((0, 1, 1, 1, 20, len(damaged) if at else 0))
        damaged[at:end] = rng.randbytes(rng.choice((0, 1, 1, 1, 8)))
    return bytes(damaged)


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_a_damaged_file_is_a_state_or_one_refusal(form: str) -> None:
    path = Path("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_file(_tiny(), path)
    else:
        torch.save({"state_dict": _tiny(), "epoch": 3}, path, _use_new_zipfile_serialization=form == "zip")
    whole, rng, refusals = path.read_bytes(), random.Random(0), []
    for _ in range(500):
        path.write_bytes(_damaged(whole, rng))
        try:
            checkpoints.read(path)
        except SetupError as error:
            refusals.append(str(error))
    assert len(refusals) > 100
    assert all(path.name in refusal for refusal in refusals)


class _Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


def _zipped(names: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile("weights.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"w/data.pkl": b"\0" * 50_000_000}, "is a zip bomb: it unpacks to 50 MB, which no weights do"),
        ({"w/data.pkl": b"x", "w/data/0": b"\0" * 50_000_000}, "is a zip bomb: it unpacks to 50 MB"),
        ({"w/data.pkl": b"\0" * 101_000_000, "w/data/0": os.urandom(6_000_000)}, "holds a pickle of 101 MB"),
    ],
    ids=["pickle", "tensor", "long pickle"],
)
def test_a_zip_bomb_is_refused_before_it_is_unpacked(names: dict[str, bytes], reason: str) -> None:
    _zipped(names)
    with pytest.raises(SetupError, match=reason):
        checkpoints.read(Path("weights.pth"))


def test_more_tensors_than_networks_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({f"layers.{i}.weight": torch.zeros(2, 2) for i in range(30)}, "weights.pth")
    monkeypatch.setattr(contents, "_MAX_TENSORS", 29)
    with pytest.raises(SetupError, match=r"weights\.pth holds 30 tensors: no classifier has so many"):
        checkpoints.read(Path("weights.pth"))
    monkeypatch.setattr(contents, "_MAX_RECORDS", 29)
    with pytest.raises(SetupError, match=r"weights\.pth holds 3\d records: no checkpoint has so many tensors"):
        checkpoints.read(Path("weights.pth"))


def test_a_shape_without_bytes_is_refused(small_state: dict[str, Tensor]) -> None:
    name = "classifier.1.weight"
    path = _saved({**small_state, name: torch.zeros(1, 512, 1, 1).expand(10**9, 512, 1, 1)})
    with pytest.raises(
        SetupError, match=r"says that classifier\.1\.weight is 1000000000x512x1x1, and holds 2048 bytes"
    ):
        checkpoints.read(Path(path))


@pytest.mark.parametrize("save", [torch.save, lambda value, path: Path(path).write_bytes(pickle.dumps(value))])
def test_malicious_pickle_is_refused_and_runs_nothing(save: Callable[[Any, str], object]) -> None:
    save({"weight": _Malicious()}, "evil.pth")
    with pytest.raises(SetupError, match=r"evil\.pth is refused.*could run code"):
        models.load_model(ModelSpec(SMALL, "evil.pth", "cpu"))
    assert not Path("owned").exists()
    pickle.loads(pickle.dumps(_Malicious()))
    assert Path("owned").exists(), "the file would do harm if it were trusted"


# What training loops put around the weights.


CLASSES = 7


@pytest.fixture
def tuned() -> nn.Module:
    """A network of seven classes whose head tells it from another's."""
    with filling.no_initialisation():
        net: nn.Module = torchvision.models.get_model(SMALL, weights=None, num_classes=CLASSES)
    nets.fill(net)
    return net.eval().requires_grad_(False)


def _tiny(value: float = 1.0) -> dict[str, Tensor]:
    return {"conv.weight": torch.full((2, 3, 3, 3), value), "fc.weight": torch.full((5, 2), value)}


def _is(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return set(state) == set(expected) and all(torch.equal(state[name], value) for name, value in expected.items())


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    **{key: partial(lambda key, state: {key: state, "epoch": 3}, key) for key in checkpoints._USUAL_KEYS},
    "ema.module": lambda state: {"ema": {"module": state, "updates": 12}},
    "some_name_of_ours": lambda state: {"some_name_of_ours": state, "epoch": 3},
    "run.best.weights": lambda state: {"run": {"best": {"weights": state}}, "config": {"lr": 0.1}},
}


@pytest.mark.parametrize("key", WRAPPERS)
def test_a_state_is_found_under_whatever_key(key: str) -> None:
    path = Path(_saved(WRAPPERS[key](_tiny())))
    for asked in (None, key):
        checkpoint = checkpoints.read(path, key=asked)
        assert (checkpoint.key, checkpoint.keys) == (key, (key,))
        assert _is(checkpoint.tensors, _tiny())


def test_a_bare_state_has_no_key_and_may_hold_a_number() -> None:
    checkpoint = checkpoints.read(Path(_saved(_tiny())))
    assert (checkpoint.key, checkpoint.keys, checkpoint.format) == (None, (), "torch.save archive")
    checkpoint = checkpoints.read(Path(_saved(_tiny() | {"epoch": 3})))
    assert checkpoint.key is None
    assert _is(checkpoint.tensors, _tiny())


def test_a_file_of_several_states_says_so_and_weights_key_chooses(tuned: nn.Module) -> None:
    state = tuned.state_dict()
    averaged = {name: value * 0.5 for name, value in state.items()}
    path = _saved({"ema": averaged, "model": state})
    model = models.load_model(ModelSpec(SMALL, path, "cpu"))
    assert f"{path}: the weights under 'model'; --weights-key chooses ema" in model.remarks
    images = nets.noise(1, 3, 64, 96)
    scores = tuned(images)
    assert torch.equal(model.net(images), scores)
    other = models.load_model(ModelSpec(SMALL, path, "cpu", weights_key="ema"))
    assert not any("--weights-key" in remark for remark in other.remarks)
    assert not torch.allclose(other.net(images), scores)
    assert _is(other.net.state_dict(), averaged)


def test_a_key_that_holds_no_state_is_refused_with_those_that_do() -> None:
    path = _saved({"model": _tiny(), "ema": _tiny(2), "epoch": 3})
    for key in ("epoch", "nope"):
        with pytest.raises(RequestError, match=f"{path} holds no state dict under '{key}': it has model, ema$"):
            models.load_model(ModelSpec(SMALL, path, "cpu", weights_key=key))
    with pytest.raises(RequestError, match="--weights-key goes with --weights FILE"):
        models.load_model(ModelSpec(SMALL, "none", "cpu", weights_key="model"))


@pytest.mark.parametrize("key", ["teacher", "state_dict.teacher"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_key_chooses_one_network_of_two_in_one_state(wrapped: bool, key: str, tuned: nn.Module) -> None:
    other = {name: value * 0.5 for name, value in tuned.state_dict().items()}
    prefixes = ("module.student.", "module.teacher.") if wrapped else ("student.", "teacher.")
    both = {
        p + name: v for p, state in zip(prefixes, (tuned.state_dict(), other), strict=True) for name, v in state.items()
    }
    path = _saved({"state_dict": both, "epoch": 3, "classes": list(NAMES)})
    with pytest.raises(
        SetupError, match=r"it holds 2 networks .student, teacher.: say which, --weights-key student or "
    ):
        models.load_model(ModelSpec(SMALL, path, "cpu"))
    model = models.load_model(ModelSpec(SMALL, path, "cpu", weights_key=key))
    assert _is(model.net.state_dict(), other)
    assert model.labels == NAMES
    assert (checkpoints.read(Path(path), key=key).extras or {}).keys() == {"epoch", "classes"}


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, partial(torch.optim.SGD, lr=0.1, momentum=0.9)])
def test_an_optimizers_state_is_no_state_of_a_network(optimizer: Callable[..., torch.optim.Optimizer]) -> None:
    net = nets.Convolutional()
    steps = optimizer(net.parameters())
    net(nets.noise(1, 3, 8, 8)).sum().backward()
    steps.step()
    kept = {"optimizer": steps.state_dict(), "state_dict": net.state_dict(), "epoch": 3}
    checkpoint = checkpoints.read(Path(_saved(kept)))
    assert (checkpoint.key, checkpoint.keys) == ("state_dict", ("state_dict",))
    assert checkpoint.extras == {"optimizer": "a dict of 2", "epoch": "3"}
    del kept["state_dict"]
    with pytest.raises(SetupError, match="holds no state dict"):
        checkpoints.read(Path(_saved(kept)))


NAMES = tuple("abcdefg")


@pytest.mark.parametrize(
    "kept",
    [
        {"classes": list(NAMES)},
        {"class_to_idx": {name: i for i, name in reversed(list(enumerate(NAMES)))}},
        {"idx_to_class": dict(enumerate(NAMES))},
        {"hyper_parameters": {"lr": 0.1, "class_names": list(NAMES)}},
        {"hyper_parameters": {"class_to_idx": {name: i for i, name in enumerate(NAMES)}, "classes": 7}},
        {"hparams": {"data": {"classes": NAMES}}},
        {"args": argparse.Namespace(lr=0.1, classes=list(NAMES))},
        {"config": SimpleNamespace(class_names=np.array(NAMES))},
        {"meta": {"CLASSES": NAMES}},
        {"meta": {"dataset_meta": {"classes": NAMES}}},
    ],
)
def test_class_names_kept_beside_the_weights_become_labels(kept: dict[str, Any], tuned: nn.Module) -> None:
    model = models.load_model(ModelSpec(SMALL, _saved({"model": tuned.state_dict()} | kept), "cpu"))
    assert model.labels == NAMES


def test_settings_that_are_no_class_names_are_none() -> None:
    for kept in (
        {"args": argparse.Namespace(labels="labels.txt", classes=7)},
        {"config": {"names": None}},
        {"meta": 3},
    ):
        assert checkpoints.read(Path(_saved({"model": _tiny()} | kept))).labels is None


def test_class_names_of_another_number_are_no_labels(tuned: nn.Module) -> None:
    model = models.load_model(ModelSpec(SMALL, _saved({"model": tuned.state_dict(), "classes": ["a", "b"]}), "cpu"))
    assert model.labels == tuple(f"class {i}" for i in range(CLASSES))


# Forms of files.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_lower_precision_becomes_float32(dtype: torch.dtype, suffix: str, tuned: nn.Module) -> None:
    lower = {name: value.to(dtype) for name, value in tuned.state_dict().items()}
    if suffix == "pth":
        torch.save(lower, f"weights.{suffix}")
    else:
        save_file(lower, f"weights.{suffix}")
    own = models.load_model(ModelSpec(SMALL, f"weights.{suffix}", "cpu")).net.state_dict()
    assert _is(own, {name: value.float() for name, value in lower.items()})
    assert {value.dtype for value in own.values()} == {torch.float32}


def _shards(folder: str, state: Mapping[str, Tensor]) -> Path:
    """Two shards and their index, as the Hugging Face hub has them."""
    Path(folder).mkdir()
    names = list(state)
    halves = {"model-1.safetensors": names[: len(names) // 2], "model-2.safetensors": names[len(names) // 2 :]}
    for shard, held in halves.items():
        save_file({name: state[name] for name in held}, f"{folder}/{shard}")
    index = Path(folder, "model.safetensors.index.json")
    weight_map = {name: shard for shard, held in halves.items() for name in held}
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


def test_shards_are_read_by_their_index_or_folder(tuned: nn.Module) -> None:
    state = tuned.state_dict()
    index = _shards("hub", state)
    for path in (index, index.parent):
        checkpoint = checkpoints.read(path)
        assert _is(checkpoint.tensors, state)
        assert checkpoint.format == "2 shards of safetensors"
        assert [file.name for file in checkpoint.files] == [index.name, "model-1.safetensors", "model-2.safetensors"]
        assert _is(models.load_model(ModelSpec(SMALL, str(path), "cpu")).net.state_dict(), state)


def test_shards_that_are_missing_or_elsewhere_are_refused() -> None:
    index = _shards("hub", _tiny())
    save_file(_tiny(), "outside.safetensors")
    whole = json.loads(index.read_text())
    for name in ("../outside.safetensors", str(Path("outside.safetensors").absolute()), "..", index.name):
        index.write_text(json.dumps({"weight_map": whole["weight_map"] | {"fc.weight": name}}))
        with pytest.raises(
            SetupError, match=r"index\.json (names a shard outside its folder|can't be read|names the shard \.\., )"
        ):
            checkpoints.read(index)
    index.write_text(json.dumps(whole))
    Path("hub/model-2.safetensors").unlink()
    with pytest.raises(SetupError, match=r"names the shard model-2\.safetensors, which is not beside it"):
        checkpoints.read(index)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": 3}', "{"])
def test_an_index_that_is_none_is_refused(text: str) -> None:
    Path("model.safetensors.index.json").write_text(text)
    with pytest.raises(SetupError, match=r"model\.safetensors\.index\.json"):
        checkpoints.read(Path("model.safetensors.index.json"))


def test_a_folder_without_weights_is_refused() -> None:
    Path("empty").mkdir()
    with pytest.raises(SetupError, match=r"empty is a folder without weights: none of model\.safetensors, "):
        checkpoints.read(Path("empty"))


def test_a_file_from_before_torch_1_6_loads(tuned: nn.Module) -> None:
    torch.save(tuned.state_dict(), "old.pth", _use_new_zipfile_serialization=False)
    assert _is(models.load_model(ModelSpec(SMALL, "old.pth", "cpu")).net.state_dict(), tuned.state_dict())
    assert checkpoints.read(Path("old.pth")).format == "torch.save file from before torch 1.6"


def test_a_file_saved_on_a_gpu_loads_without_one(shared: Path) -> None:
    path = shared / "weights" / "finetuned" / "leaforia_squeezenet1_0_corn4.pth"
    model = models.load_model(ModelSpec("squeezenet1_0", str(path), "cpu"))
    assert len(model.labels) == 4
    assert {value.device.type for value in model.net.state_dict().values()} == {"cpu"}
    with torch.no_grad():
        assert model.net(nets.noise(1, 3, 224, 224)).shape == (1, 4)


def test_the_digest_is_the_files_sha256(tuned: nn.Module) -> None:
    path = Path(_saved(tuned.state_dict()))
    expected = hashlib.sha256(path.read_bytes())
    assert checkpoints.Digest((path,)).hexdigest() == expected.hexdigest()
    model = models.load_model(ModelSpec(SMALL, str(path), "cpu"))
    assert model.digest is not None
    assert model.digest.hexdigest() == expected.hexdigest()
    Path("more").write_bytes(b"more")
    expected.update(b"more")
    assert checkpoints.Digest((path, Path("more"))).hexdigest() == expected.hexdigest()


# Safety: nothing in a file runs unless the user says so.


def _pickle_of(protocol: int) -> Callable[[Any, str], object]:
    return lambda value, path: Path(path).write_bytes(pickle.dumps(value, protocol))


FORMS: dict[str, Callable[[Any, str], object]] = {
    "archive": torch.save,
    "archive, protocol 4": partial(torch.save, pickle_protocol=4),
    "old": partial(torch.save, _use_new_zipfile_serialization=False),
    "pickle 2": _pickle_of(2),
    "pickle 4": _pickle_of(4),
}


@pytest.mark.parametrize(
    ("kept", "place"),
    [
        ({"config": {"data": {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}}}, ", config.data"),
        ({"args": argparse.Namespace(mean=[127.5], std=[127.5])}, ", args"),
        ({"mean": [0.5], "std": [0.5]}, ""),
        ({"config": {"lr": 0.1}, "history": {"mean": 0.9, "std": 0.01}}, None),
    ],
)
def test_a_mean_and_std_kept_beside_the_weights_are_said_not_to_be_used(
    kept: dict[str, Any], place: str | None, tuned: nn.Module, picture: Callable[..., Path]
) -> None:
    torch.save({"state_dict": tuned.state_dict()} | kept, "kept.pth")
    said = f"kept.pth{place}: its mean and std are not used: say them with --mean and --std"
    asked = ["classify", picture(), "-m", SMALL, "-w", "kept.pth"]
    assert (said in shell.run(*asked).err) == (place is not None)
    assert "not used" not in shell.run(*asked, "--mean", "0.5", "--std", "0.5").err


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("command", ["explain", "classify", "inspect"])
def test_each_command_refuses_a_pickle_that_would_run_something(
    command: str, form: str, picture: Callable[..., Path]
) -> None:
    FORMS[form]({"state_dict": _tiny(), "args": _Malicious()}, "evil.pth")
    asked = ["inspect", "evil.pth"] if command == "inspect" else [command, picture(), "-m", SMALL, "-w", "evil.pth"]
    outcome = shell.run(*asked)
    assert outcome.code == 3, outcome.err
    said = outcome.out if command == "inspect" else outcome.err
    assert "evil.pth is refused: its pickle asks for " in said
    assert f"{os.system.__module__}.system" in said
    assert "--trust-checkpoint" in said
    assert not Path("owned").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_trusted_pickle_does_run(form: str, tuned: nn.Module) -> None:
    """What the tests above refuse would have happened."""
    FORMS[form]({"state_dict": tuned.state_dict(), "args": _Malicious()}, "evil.pth")
    # A plain pickle has run by the time that it turns out to be no file of torch's.
    with pytest.raises(SetupError, match=r"evil\.pth") if form.startswith("pickle") else nullcontext():
        models.load_model(ModelSpec(SMALL, "evil.pth", "cpu", trust_checkpoint=True))
    assert Path("owned").exists()


@pytest.mark.parametrize("form", ["archive", "old"])
def test_a_harmless_class_beside_the_weights_is_named_and_loads_if_trusted(form: str, tuned: nn.Module) -> None:
    FORMS[form]({"state_dict": tuned.state_dict(), "ratio": Fraction(1, 3)}, "args.pth")
    with pytest.raises(SetupError, match=r"its pickle asks for fractions\.Fraction, and loading that could run code"):
        models.load_model(ModelSpec(SMALL, "args.pth", "cpu"))
    model = models.load_model(ModelSpec(SMALL, "args.pth", "cpu", trust_checkpoint=True))
    assert "warning: args.pth was loaded with --trust-checkpoint: any code in it has run" in model.remarks
    assert _is(model.net.state_dict(), tuned.state_dict())


# What training scripts keep beside the weights -> how it is described.
PLAIN: dict[str, tuple[Any, str]] = {
    "arguments": (argparse.Namespace(lr=0.1, out=Path("runs"), kind=float), "a dict of 3"),
    "a namespace": (SimpleNamespace(a=1), "a dict of 1"),
    "a path": (Path("runs/best.pth"), "runs/best.pth"),
    "a path of Windows": (PureWindowsPath("C:/runs/best.pth"), "C:\\runs\\best.pth"),
    "numpy's number": (np.float64(0.25), "0.25"),
    "numpy's small number": (np.float32(0.5), "0.5"),
    "numpy's flag": (np.bool_(True), "True"),
    "numpy's text": (np.str_("cosine"), "cosine"),
    "numpy's array": (np.arange(6).reshape(2, 3), "a list of 6"),
    "numpy's array of texts": (np.array(["cat", "hound"]), "a list of 2"),
    "numpy's array of objects": (np.array(["cat", None], dtype=object), "a list of 2"),
    "an empty array": (np.zeros(0), "a list of 0"),
    "the generator's state": (np.random.RandomState(0).get_state(), "a tuple of 5"),
    "defaults": (defaultdict(list, {"loss": [1.0, 2.0]}), "a dict of 1"),
    "counts of defaults": (defaultdict(int, {"a": 1}), "a dict of 1"),
    "an order": (OrderedDict(a=1), "a OrderedDict of 1"),
    "a queue": (deque([1, 2], maxlen=3), "a list of 2"),
    "sets": ([{1, 2}, frozenset((1, 2))], "a list of 2"),
    "a date": ([datetime.datetime(2026, 1, 2), datetime.date(2026, 1, 2), datetime.timedelta(1)], "a list of 3"),
    "a time with its zone": (datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), "None"),  # noqa: UP017
    "torch's version": (torch.__version__, str(torch.__version__)),
}


@pytest.mark.parametrize("form", ["archive", "old"])
@pytest.mark.parametrize("kind", PLAIN)
def test_simple_objects_beside_the_weights_are_read_without_trust(kind: str, form: str) -> None:
    kept, described = PLAIN[kind]
    FORMS[form]({"state_dict": _tiny(), "kept": kept, "deep": {"in": [kept]}}, "kept.pth")
    checkpoint = checkpoints.read(Path("kept.pth"))
    assert _is(checkpoint.tensors, _tiny())
    assert (checkpoint.extras or {})["kept"] == described


def test_a_path_of_another_system_is_no_crash_even_if_trusted() -> None:
    """A WindowsPath can't be made on Linux, nor a PosixPath on Windows."""
    torch.save({"state_dict": _tiny(), "kept": PureWindowsPath("C:/best.pth")}, "kept.pth")
    with zipfile.ZipFile("kept.pth") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile("kept.pth", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content.replace(b"PureWindowsPath", b"WindowsPath"))
    for trust in (False, True):
        checkpoint = checkpoints.read(Path("kept.pth"), trust=trust)
        assert (checkpoint.extras or {})["kept"] == "C:\\best.pth"


class _Asks:
    """A pickle that has a stand-in called, or built, with what it was not made for."""

    def __init__(self, what: Callable[..., Any], arguments: tuple[Any, ...], state: Any = None) -> None:
        self.what, self.arguments, self.state = what, arguments, state

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what, self.arguments, self.state


ODD: dict[str, Any] = {
    "a default factory that runs": lambda: _Asks(defaultdict, (_Malicious(),)),
    "attributes that are none": lambda: _Asks(SimpleNamespace, (), [1, 2]),
    "a class as an attribute": lambda: _Asks(SimpleNamespace, (), (None, {"__class__": _Malicious})),
    "an array of a kind that is not read": lambda: np.zeros(2, dtype=[("a", "i4"), ("b", "O")]),
    "a number of a kind that is not read": lambda: np.datetime64("2026-01-02"),
    "a path of a number": lambda: _Asks(PurePosixPath, (3,)),
    "a dtype of an object": lambda: _Asks(np.dtype, ("O",), (3, "|", None, None, None, 8, 8, 0)),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_stand_in_runs_nothing_whatever_it_is_asked(kind: str) -> None:
    torch.save({"state_dict": _tiny(), "kept": ODD[kind]()}, "odd.pth")
    allowed = set(torch.serialization.get_safe_globals())
    with suppress(SetupError):
        assert _is(checkpoints.read(Path("odd.pth")).tensors, _tiny())
    assert not Path("owned").exists()
    assert set(torch.serialization.get_safe_globals()) == allowed


@pytest.mark.parametrize("form", ["archive", "archive, protocol 4", "old"])
def test_a_whole_pickled_network_is_refused_as_such_and_loads_if_trusted(form: str, tuned: nn.Module) -> None:
    FORMS[form](tuned, "whole.pth")
    with pytest.raises(SetupError, match=r"is a whole pickled network .*squeezenet\.SqueezeNet.* --trust-checkpoint"):
        models.load_model(ModelSpec(SMALL, "whole.pth", "cpu"))
    model = models.load_model(ModelSpec(SMALL, "whole.pth", "cpu", trust_checkpoint=True))
    assert _is(model.net.state_dict(), tuned.state_dict())
    itself = models.load_model(ModelSpec(None, "whole.pth", "cpu", trust_checkpoint=True))
    assert itself.name == "SqueezeNet"
    assert _is(itself.net.state_dict(), tuned.state_dict())


OWN = """
from torch import nn


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.factor = 3.0
        self.names = {0: "ant", 1: "bee", 2: "cat"}

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3))) * self.factor
"""

# How people keep a network -> where it lies in the file.
KEPT_WHOLE: dict[str, tuple[Callable[[nn.Module], Any], str | None]] = {
    "alone": (lambda net: net, None),
    "as ultralytics does": (lambda net: {"epoch": 3, "model": copy.deepcopy(net).half(), "ema": None}, "model"),
    "in training mode": (lambda net: {"net": net.train(), "optimizer": {}}, "net"),
    "in DataParallel": (lambda net: {"model": nn.DataParallel(net)}, "model"),
}


@pytest.mark.parametrize("kind", KEPT_WHOLE)
def test_a_trusted_network_of_ones_own_class_is_used_as_it_is(
    kind: str, picture: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its forward too, which is in no state dict; the class lies in a file beside the weights."""
    Path("kept").mkdir()
    Path("kept/my_own_network.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [str(Path("kept").absolute()), *sys.path])
    net: nn.Module = importlib.import_module("my_own_network").Own()
    nets.fill(net)
    keep, key = KEPT_WHOLE[kind]
    torch.save(keep(net), "kept/whole.pt")
    monkeypatch.setattr(sys, "path", sys.path[1:])
    sys.modules.pop("my_own_network")
    with pytest.raises(SetupError, match=r"is a whole pickled network .(my_own_network\.Own|torch\.nn.*DataParallel)"):
        models.load_model(ModelSpec(None, "kept/whole.pt", "cpu"))
    model = models.load_model(ModelSpec(None, "kept/whole.pt", "cpu", trust_checkpoint=True))
    assert (model.name, model.weights, model.labels) == ("Own", "whole.pt", ("ant", "bee", "cat"))
    assert any("is a whole pickled network (my_own_network.Own), used as it is" in remark for remark in model.remarks)
    assert not model.net.training
    assert {parameter.dtype for parameter in model.net.parameters()} == {torch.float32}
    images = nets.noise(2, 3, 9, 9)
    expected = net.eval()(images)
    tolerance = 0.01 if kind.startswith("as ultralytics") else 0.0
    assert torch.allclose(model.net(images), expected, atol=tolerance, rtol=0)
    sys.modules.pop("my_own_network")
    outcome = shell.run("explain", picture(), "-w", "kept/whole.pt", "--trust-checkpoint", "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    assert outcome.rows[0]["model"] == "Own"
    sys.modules.pop("my_own_network")
    described = shell.run("inspect", "kept/whole.pt", "--trust-checkpoint", "--json")
    assert (described.code, described.rows[0]["architecture"], described.rows[0]["key"]) == (0, "Own", key)


def test_a_network_whose_code_is_gone_is_refused_with_the_way_on(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gone_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    torch.save(importlib.import_module("gone_network").Own(), "whole.pt")
    Path("gone_network.py").unlink()
    sys.modules.pop("gone_network")
    importlib.invalidate_caches()
    with pytest.raises(SetupError, match=r"No module named 'gone_network'.*or put it beside whole\.pt"):
        models.load_model(ModelSpec(None, "whole.pt", "cpu", trust_checkpoint=True))


@pytest.mark.parametrize("trust", [False, True])
def test_torchscript_is_refused_even_if_trusted(trust: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())).save("script.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(SetupError, match=r"script\.pt is a TorchScript archive: .* Save the state_dict"):
        checkpoints.read(Path("script.pt"), trust=trust)


OTHER_KINDS = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "a web page or XML": b"<!DOCTYPE html><html><title>404</title></html>",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(300),
    "gzip: unpack it first": gzip.compress(b"weights"),
    "a GGUF file": b"GGUF" + bytes(300),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
@pytest.mark.parametrize("trust", [False, True])
def test_other_kinds_of_files_are_called_by_their_name(kind: str, trust: bool) -> None:
    Path("other.pth").write_bytes(OTHER_KINDS[kind])
    with pytest.raises(SetupError, match=f"other.pth is {kind}"):
        checkpoints.read(Path("other.pth"), trust=trust)


def test_a_plain_zip_is_no_checkpoint() -> None:
    with zipfile.ZipFile("other.pth", "w") as archive:
        archive.writestr("weights.txt", "1 2 3")
    with pytest.raises(SetupError, match=r"other\.pth is a zip archive, but not one that torch\.save made"):
        checkpoints.read(Path("other.pth"))


# Files of other libraries, named as what they are.


def test_a_hugging_face_folder_is_answered_with_the_line_that_works(picture: Callable[..., Path]) -> None:
    Path("my hub").mkdir()
    config = {"architectures": ["ViTForImageClassification"], "id2label": {"0": "cat", "1": "dog"}}
    Path("my hub/config.json").write_text(json.dumps(config))
    Path("my hub/preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3}))
    save_file(
        {"vit.embeddings.cls_token": torch.zeros(1, 1, 4), "classifier.weight": torch.zeros(2, 4)},
        "my hub/model.safetensors",
    )
    line = (
        "-m transformers:AutoModelForImageClassification.from_pretrained "
        "--model-arg 'pretrained_model_name_or_path=my hub' --preset 'my hub/preprocessor_config.json' "
        "--labels 'my hub/config.json', without --weights"
    )
    for outcome in (shell.run("explain", picture(), "-w", "my hub"), shell.run("inspect", "my hub")):
        assert outcome.code == 3
        assert f"transformers (ViTForImageClassification): {line}" in outcome.out + outcome.err


def test_a_folder_of_timms_names_the_model(picture: Callable[..., Path]) -> None:
    Path("hub").mkdir()
    Path("hub/config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224", "num_classes": 2}))
    save_file({"blocks.0.attn.qkv.weight": torch.zeros(6, 2)}, "hub/model.safetensors")
    assert "Its config.json is timm's: -m timm:vit_tiny_patch16_224" in shell.run("explain", picture(), "-w", "hub").err


def _fastai() -> dict[str, Tensor]:
    """Learner.save of a vision_learner: the body, and the head that fastai gives it."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    head = nn.Sequential(
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 6, bias=False)),
        *(nn.ReLU(), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2, bias=False)),
    )
    return dict(nn.Sequential(body, head).state_dict())


NAMED: dict[str, tuple[Any, str]] = {
    "fastai": (
        {"model": _fastai(), "opt": {}},
        r"It is a fastai Learner's .*create_vision_model\(BODY, n_out=CLASSES",
    ),
    "torch_ema": (
        {"decay": 0.9, "num_updates": 3, "shadow_params": [torch.ones(2, 2)]},
        "shadow_params .torch_ema.*copy_to",
    ),
    "an optimizer": ({"optimizer": {"state": {}}, "epoch": 3}, "what an optimizer needs, no weights"),
    "a detector": (
        {f"roi_heads.box.{i}.weight": torch.ones(2, 2) for i in range(3)},
        "It is a detector, and what is explained here are classifiers",
    ),
    "timm": (
        {"patch_embed.proj.weight": torch.ones(4, 3, 2, 2), "blocks.0.attn.qkv.weight": torch.ones(12, 4)},
        "(: not one of its tensors is known in any|does not fit any of 81 architectures). Its names look like timm's: ",
    ),
    "tensors without names": ([torch.ones(2, 2)] * 3, "a list of 3, tensors without names"),
    "a segmentation network": (
        {f"encoder.{i}.weight": torch.ones(4, 3, 2, 2) for i in range(9)}
        | {"segmentation_head.0.weight": torch.ones(2, 4, 1, 1)},
        "It is a segmentation network",
    ),
    "transformers": (
        {"vit.embeddings.cls_token": torch.ones(1, 1, 4), "classifier.weight": torch.ones(2, 4)},
        "Its names are those of Hugging Face's transformers: -m transformers:AutoModelForImage",
    ),
}


@pytest.mark.parametrize("kind", NAMED)
def test_a_file_of_another_library_is_called_by_its_name(kind: str, picture: Callable[..., Path]) -> None:
    held, said = NAMED[kind]
    path = _saved(held)
    for outcome in (shell.run("explain", picture(), "-w", path), shell.run("inspect", path, "--json")):
        assert outcome.code == 3
        assert re.search(said, outcome.out + outcome.err), outcome.out + outcome.err


def test_a_fastai_export_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = types.ModuleType("fastai.learner")
    learner.Learner = type("Learner", (), {"__module__": "fastai.learner"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fastai", types.ModuleType("fastai"))
    monkeypatch.setitem(sys.modules, "fastai.learner", learner)
    torch.save(learner.Learner(), "export.pkl")
    with pytest.raises(SetupError, match=r"it is a fastai export .Learner\.export.*Learner\.save"):
        checkpoints.read(Path("export.pkl"))
