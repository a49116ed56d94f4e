"""Files of weights -> named tensors. Nothing in a file runs unless its reader says so.

torch.save archives (new and old), safetensors, and sharded ones with an index; a state dict alone or inside what a
training loop saved around it. Tensors are memory-mapped where the file allows it: opening costs no reading.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import CamcliError, RequestError, SetupError
from camcli.models import containers, labels, preset_words
from camcli.models.weights import causes, fitting, pickles

# Where training loops keep the weights, likeliest first; under other names they are found by what they hold.
_USUAL_KEYS = (
    "state_dict model_state_dict model_state model net network weights params module ema state_dict_ema model_ema "
    "ema_state_dict"
).split()
_MAX_DEPTH = 3
# Where training loops keep what they were asked for, class names among it, and what else these are called there.
_SETTINGS = (
    "hyper_parameters datamodule_hyper_parameters hparams args config cfg opt meta dataset_meta data dataset extra"
).split()
_NAMES = ("class_names", "CLASSES", "class_labels", "categories", "idx2label", "idx_to_label", "label_map", "vocab")
_IN_FOLDER = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# A zip archive that unpacks to more than so many times its size is a bomb: weights hardly compress.
_MAX_RATIO = 20
# The pickle that names the tensors takes some 100 bytes for each.
_MAX_PICKLE_BYTES = 100_000_000
# Classifiers have some thousands; a million would take minutes to compare with what each architecture has.
_MAX_TENSORS = 50_000
# Beside weights a file may hold averages of them, and what an optimizer keeps of each.
_MAX_RECORDS = 10 * _MAX_TENSORS
# Elements that a tensor may repeat without having bytes of its own for them, as expanded buffers do.
_MAX_REPEATED = 100_000_000
# What a file that is no checkpoint starts with, and what it is.
_NO_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<", "a web page or XML, not weights: the download went wrong"),
    (b"\x89HDF", "an HDF5 file (Keras): convert it to a PyTorch state dict"),
    (b"\x1f\x8b", "gzip: unpack it first"),
    (b"GGUF", "a GGUF file, not a PyTorch checkpoint"),
)
# Graphs of other runtimes, which have no signature of their own.
_GRAPHS = {".onnx": "an ONNX", ".tflite": "a TensorFlow Lite", ".pb": "a TensorFlow", ".mlmodel": "a Core ML"}


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """One state dict from a file: `tensors` by name, at `key` inside the file (None: the file is the state dict).

    `keys` lists all state dicts in it, `labels` class names kept beside them, `extras` what else there is, in words.
    `trusted` says that code in the file has run; `network` is then the pickled network that the tensors are of.
    `normalised`: where in it a mean and a std of pictures stand, in words.
    `made_for`: which library the folder was made for, and how it is read by that; "" if it does not say.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    tensors: Mapping[str, Tensor]
    key: str | None = None
    keys: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    extras: Mapping[str, str] | None = None
    trusted: bool = False
    network: nn.Module | None = None
    normalised: str | None = None
    made_for: str = ""


class Digest:
    """The sha256 of files one after the other, computed beside whatever runs meanwhile."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._hash = hashlib.sha256()
        # Opened here: a file that is not there is the caller's error, and the thread needs no working directory.
        opened = [path.open("rb", buffering=0) for path in files]
        self._thread = threading.Thread(target=self._read, args=(opened,), daemon=True)
        self._thread.start()

    def hexdigest(self) -> str:
        """64 hexadecimal digits; waits for them."""
        self._thread.join()
        return self._hash.hexdigest()

    def _read(self, files: Sequence[FileIO]) -> None:
        # One buffer for all: a new one each time would have the system map memory while the weights are being mapped.
        buffer = memoryview(bytearray(1 << 18))
        for opened in files:
            with opened as file:
                while size := file.readinto(buffer):
                    self._hash.update(buffer[:size])


def read(path: Path, *, key: str | None = None, trust: bool = False) -> Checkpoint:
    """The state dict in a file, or in a folder as the Hugging Face hub lays it out.

    `key` chooses where a file holds several ("ema", "ema.module"), or one network of several in one state dict
    ("teacher"). `trust` lets a pickle run its code.

    Raises:
        RequestError: no state dict at `key`.
        SetupError: unreadable, unsafe without `trust`, no checkpoint, or no state dict in it.
    """
    files, format, content = _content(path, trust)
    states = dict(_states(content))
    if not states and key is None:
        raise SetupError(f"{path} holds no state dict (names -> tensors), but {_instead(content)}")
    at, tensors = _chosen(path, states, key)
    _check_sizes(path, tensors)
    outer = content if isinstance(content, Mapping) and at else {}
    network = _network(content, at) if key in (None, at) else None
    return Checkpoint(
        path=path,
        files=files,
        format=format,
        tensors=tensors,
        key=(at if key is None else key) or None,
        keys=tuple(filter(None, states)),
        labels=_labels(outer) or _labels(vars(getattr(network, "module", network)) if network is not None else {}),
        extras={str(name): _described(value) for name, value in outer.items() if str(name) != at.split(".")[0]},
        trusted=trust,
        network=network,
        normalised=preset_words.normalisation_in(path, outer),
        made_for=causes.of_folder(path),
    )


def _chosen(
    path: Path, states: Mapping[str, Mapping[str, Tensor]], key: str | None
) -> tuple[str, Mapping[str, Tensor]]:
    """(the place of the state dict that is asked for, its tensors or those below a prefix in it)."""
    usual = sorted(states, key=_usualness)
    if key is None or key in states:
        at = usual[0] if key is None else key
        return at, states[at]
    for at in usual:
        if part := fitting.below(states[at], key.removeprefix(f"{at}.")):
            return at, part
    raise RequestError(f"{path} holds no state dict under {key!r}: it has {', '.join(filter(None, states)) or 'none'}")


def _network(content: Any, at: str) -> nn.Module | None:
    """The pickled network at a dotted place, if there is one."""
    for name in at.split(".") if at else ():
        content = content[name]
    return content if isinstance(content, nn.Module) else None


def _labels(outer: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Class names from the usual places: beside the weights, or among what the training was asked for."""
    return next((found for held in _held(outer) if (found := labels.found_in(held))), None)


def _held(outer: Mapping[Any, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """A mapping, by the names that labels go by, and those of settings in it."""
    known = {name: containers.plain(value) for name, value in outer.items() if isinstance(name, str)}
    other = [known[name] for name in _NAMES if isinstance(known.get(name), (list, tuple, Mapping))]
    yield ({"classes": other[0]} if other else {}) | known
    for name in _SETTINGS:
        if depth < _MAX_DEPTH and isinstance(known.get(name), Mapping):
            yield from _held(known[name], depth + 1)


def _content(path: Path, trust: bool) -> tuple[tuple[Path, ...], str, Any]:
    """(the files it came from, their format, what they hold)."""
    if path.is_dir():
        inside = next((path / name for name in _IN_FOLDER if (path / name).is_file()), None)
        if inside is None:
            raise SetupError(f"{path} is a folder without weights: none of {', '.join(_IN_FOLDER)} is in it")
        path = inside
    if path.name.endswith(".index.json"):
        return _sharded(path, trust)
    with _readable(path):
        with path.open("rb") as file:
            start = file.read(264)
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return (path,), "safetensors", _safetensors(path)
        _check_kind(path, start)
        return (path,), *_pickled(path, trust)


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise SetupError(f"{path} is not a readable safetensors file: {error}") from None


def _sharded(index: Path, trust: bool) -> tuple[tuple[Path, ...], str, Any]:
    with _readable(index):
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(weight_map.values()), key=str)
        except (TypeError, AttributeError):
            raise SetupError(f'{index} is no index of shards: it has no "weight_map"') from None
    tensors: dict[str, Tensor] = {}
    for name in names:
        # An index names its neighbours, nothing elsewhere.
        if not isinstance(name, str) or Path(name).name != name or name.endswith(".index.json"):
            raise SetupError(f"{index} names a shard outside its folder: {name!r}")
        if not (index.parent / name).is_file():
            raise SetupError(f"{index} names the shard {name}, which is not beside it")
        _, kind, state = _content(index.parent / name, trust)
        tensors.update(state)
    return (index, *(index.parent / name for name in names)), f"{len(names)} shards of {kind}", tensors


def _check_kind(path: Path, start: bytes) -> None:
    """Refuse what is recognisably something else, in words that say what."""
    for signature, what in _NO_WEIGHTS:
        if start.startswith(signature):
            raise SetupError(f"{path} is {what}")
    if (kind := _GRAPHS.get(path.suffix.lower())) and not start.startswith((b"PK", b"\x80")):
        raise SetupError(
            f"{path} is {kind} graph, whose layers can't be looked into: give the PyTorch weights it is from"
        )
    if start[257:262] == b"ustar":
        raise SetupError(f"{path} is a tar archive, not weights: unpack it and name the file inside")
    if start.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise SetupError(f"{path} can't be read as weights: it is cut off; fetch it again")
    if zipfile.is_zipfile(path):
        _check_archive(path)


def _check_archive(path: Path) -> None:
    """Refuse zip archives that torch.save did not make, or that unpack to more than weights do."""
    with zipfile.ZipFile(path) as archive:
        names, infos = archive.namelist(), archive.infolist()
    if any(name.endswith("/constants.pkl") for name in names):
        raise SetupError(
            f"{path} is a TorchScript archive: a compiled program whose layers can't be looked into. "
            "Save the state_dict of the network it was made from"
        )
    if not any(name.endswith("data.pkl") for name in names):
        raise SetupError(f"{path} is a zip archive, but not one that torch.save made")
    if len(infos) > _MAX_RECORDS:
        raise SetupError(f"{path} holds {len(infos)} records: no checkpoint has so many tensors")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > _MAX_RATIO * path.stat().st_size:
        raise SetupError(f"{path} is a zip bomb: it unpacks to {unpacked / 1e6:.0f} MB, which no weights do")
    largest = max(info.file_size for info in infos if info.filename.endswith(".pkl"))
    if largest > _MAX_PICKLE_BYTES:
        raise SetupError(f"{path} holds a pickle of {largest / 1e6:.0f} MB beside its tensors: no checkpoint does")


class _Trusting(pickle.Unpickler):
    """Python's own reader of pickles; but a path of another system, which can't be made here, is one of names only."""

    def find_class(self, module: str, name: str) -> Any:
        foreign = module.startswith("pathlib") and name in ("PosixPath", "WindowsPath")
        return super().find_class("pathlib", f"Pure{name}") if foreign else super().find_class(module, name)


def _pickled(path: Path, trust: bool) -> tuple[str, Any]:
    zipped = zipfile.is_zipfile(path)
    how: dict[str, Any] = {"weights_only": True}
    if trust:
        reader = SimpleNamespace(__name__="pickle", Unpickler=_Trusting, load=pickle.load)
        how = {"weights_only": False, "pickle_module": reader}
        _import_from(Path(), path.parent)
    try:
        # Files saved before torch 1.6 are no zip archives and can't be mapped.
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals(containers.allowed()),
            redirect_stdout(sys.stderr) if trust else nullcontext(),  # what code in the file prints is no row of ours
        ):
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", mmap=zipped, **how)
    except pickle.UnpicklingError as error:
        if trust:
            raise SetupError(f"{path} can't be read as weights: {error}") from None
        raise pickles.refusal(path, str(error)) from None
    except (ImportError, AttributeError) as error:
        raise SetupError(_without_its_code(path, error)) from None
    return "torch.save archive" if zipped else "torch.save file from before torch 1.6", content


def _without_its_code(path: Path, error: ImportError | AttributeError) -> str:
    where = f"run where it can be imported, or put it beside {path.name}"
    if "__main__" in str(error):
        where = (
            "it was defined in the script that saved the file; save the state_dict there, and give -m SCRIPT.py:CLASS"
        )
    return f"{path} was saved with code that is not here ({error}): {where}"


def _import_from(*folders: Path) -> None:
    """Code in these folders can be imported, after everything that is installed."""
    for folder in folders:
        if (entry := str(folder.absolute())) not in sys.path:
            sys.path.append(entry)


def _check_sizes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse more tensors than networks have, and shapes that the file has no bytes for."""
    if len(tensors) > _MAX_TENSORS:
        raise SetupError(f"{path} holds {len(tensors)} tensors: no classifier has so many")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.numel() <= _MAX_REPEATED:
            continue
        held = tensor.untyped_storage().nbytes()
        if tensor.numel() * tensor.element_size() > held:
            shape = "x".join(map(str, tensor.shape))
            raise SetupError(f"{path} says that {name} is {shape}, and holds {held} bytes of it")


def _states(content: Any, at: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Each state dict in what was loaded, by its dotted place in it ("" for the whole)."""
    if isinstance(content, nn.Module):
        yield at, content.state_dict()
    elif isinstance(content, Mapping) and (state := _as_state(content)) is not None:
        yield at, state
    elif isinstance(content, Mapping) and depth < _MAX_DEPTH:
        for name, value in content.items():
            if isinstance(name, str):
                yield from _states(value, f"{at}.{name}" if at else name, depth + 1)


def _as_state(content: Mapping[Any, Any]) -> Mapping[str, Tensor] | None:
    """The tensors of a mapping from names to tensors; one that has some numbers among them (an epoch) still is one."""
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    others = len(content) - len(tensors)
    if not any(value.ndim > 1 for value in tensors.values()) or others >= len(tensors):
        return None
    if any(isinstance(value, (Mapping, nn.Module)) for value in content.values()):
        return None
    return tensors if others else content


def _instead(content: Any) -> str:
    """What a file without a state dict holds, and the way on if that is known."""
    held = content if isinstance(content, Mapping) else vars(content) if hasattr(content, "__dict__") else {}
    if isinstance(held.get("shadow_params"), list):
        return (
            "an average's shadow_params (torch_ema), a list of tensors without names: call "
            "ema.copy_to(model.parameters()) before saving the network's state_dict"
        )
    if isinstance(held.get("model"), nn.Module):
        return f"a {type(content).__name__} around a network: save its model.state_dict(), or the model itself"
    if isinstance(content, (list, tuple)) and any(isinstance(value, Tensor) for value in content):
        return f"{_described(content)}, tensors without names: save the network's state_dict"
    if isinstance(held, Mapping) and ("optimizer" in held or "param_groups" in held):
        return f"{_described(content)} ({', '.join(map(str, list(held)[:6]))}): what an optimizer needs, no weights"
    return _described(content)


def _usualness(at: str) -> tuple[int, int]:
    parts = at.split(".") if at else []
    ranks = [_USUAL_KEYS.index(part) if part in _USUAL_KEYS else len(_USUAL_KEYS) for part in parts]
    return (ranks[0] if ranks else -1), len(parts)


def _described(value: Any) -> str:
    """A value of a checkpoint in a few words."""
    value = containers.plain(value)
    if isinstance(value, Tensor):
        return f"a tensor {'x'.join(map(str, value.shape))}"
    if isinstance(value, (bool, int, float, str)) or value is None:
        text = " ".join(str(value).split())
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, (Mapping, list, tuple, set)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever a damaged file makes its reader raise, as one sentence about the file."""
    try:
        yield
    except CamcliError:
        raise
    except Exception as error:  # noqa: BLE001  unpicklers raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SetupError(f"{path} can't be read as weights (cut off or not a checkpoint): {reason}") from None
