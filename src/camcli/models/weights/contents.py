"""A file of weights -> what it holds, read without running anything that it asks for."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from camcli.errors import CamcliError, SetupError
from camcli.models import containers
from camcli.models.weights import formats, pickles

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
# The start of a file that is no checkpoint, and what it is.
_NO_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"<", "a web page or XML, not weights: the download went wrong"),
    (b"\x1f\x8b", "gzip: unpack it first"),
    (b"GGUF", "a GGUF file, not a PyTorch checkpoint"),
)


def content_of(path: Path, trust: bool) -> tuple[tuple[Path, ...], str, Any]:
    """(the files it came from, their format, what they hold)."""
    if path.is_dir():
        inside = next((path / name for name in _IN_FOLDER if (path / name).is_file()), None)
        if inside is None and (what := formats.told(path)):
            raise SetupError(f"{path} is {what}")
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
        _, kind, state = content_of(index.parent / name, trust)
        tensors.update(state)
    return (index, *(index.parent / name for name in names)), f"{len(names)} shards of {kind}", tensors


def _check_kind(path: Path, start: bytes) -> None:
    """Refuse files that are recognisably something else, and say what."""
    if what := formats.told(path):
        raise SetupError(f"{path} is {what}")
    for signature, what in _NO_WEIGHTS:
        if start.startswith(signature):
            raise SetupError(f"{path} is {what}")
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
    """Python's own reader of pickles; a path of another system can't be made here, and is read as names only."""

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
    """Lets code in these folders be imported, after everything that is installed."""
    for folder in folders:
        if (entry := str(folder.absolute())) not in sys.path:
            sys.path.append(entry)


def check_sizes(path: Path, tensors: Mapping[str, Tensor]) -> None:
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


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns anything that a reader raises on a damaged file into one sentence about the file."""
    try:
        yield
    except CamcliError:
        raise
    except Exception as error:  # noqa: BLE001  unpicklers raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SetupError(f"{path} can't be read as weights (cut off or not a checkpoint): {reason}") from None
