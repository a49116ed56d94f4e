"""Files of models in other forms than weights, told by their content: what each is, and the next thing to do.

Nothing is loaded: signatures are looked at, the fields of protocol buffers counted, the names in archives listed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import IO

_GIVE = (
    "give the PyTorch network that it was made from: its weights with --weights, its code with --model FILE.py:factory"
)
_NO_LAYERS = f"whose layers can't be looked into: {_GIVE}"
_ONNX = "an ONNX graph, no checkpoint: name it with --model, without --weights (`pip install camcli[onnx]`)"
_TENSORFLOW = "which torch can't read"
# The fields that a message has, those that it must have: (number, varint or not).
_FIELDS = {
    "onnx": (frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}), frozenset({1, 7, 8})),
    "saved model": (frozenset({1, 2}), frozenset({1, 2})),
    "graph": (frozenset({1, 2, 3, 4, 5}), frozenset({1, 4})),
}
# Core ML says what kind of network it is by a field of its own, from here on.
_CORE_ML = 200
# By their names, where the content tells nothing.
_NAMED = {
    **dict.fromkeys((".engine", ".plan", ".trt"), "a TensorRT engine"),
    ".onnx": "an ONNX graph",
    ".tflite": "a TensorFlow Lite model",
    ".pb": "a TensorFlow graph",
    ".mlmodel": "a Core ML model",
}
_MOST_FIELDS = 100_000


def told(path: Path) -> str | None:
    """The sentence on a file or folder of another form, without its name; None if it is of none that is known."""
    if path.is_dir():
        return _folder(path)
    with path.open("rb") as file:
        start = file.read(1024)
    return _signed(start, path) or (_archive(path) if zipfile.is_zipfile(path) else _unsigned(path, start))


def _signed(start: bytes, path: Path) -> str | None:
    """By what its first bytes are."""
    if start[4:8] == b"TFL3":
        return f"a TensorFlow Lite model, {_NO_LAYERS}"
    if start[4:8] in (b"ET12", b"eh00"):
        return f"an ExecuTorch program, {_NO_LAYERS}"
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return f"an HDF5 file (Keras), {_TENSORFLOW}: convert it to a PyTorch state dict"
    # Ultralytics write a length and a JSON before the engine.
    if start[:4] in (b"ftrt", b"ptrt") or (start[4:5] == b"{" and b"ftrt" in _after_json(path, start)):
        return f"a TensorRT engine, {_NO_LAYERS}"
    if b"<net " in start and b"<?xml" in start[:64]:
        return f"an OpenVINO network, {_NO_LAYERS}"
    return None


def _after_json(path: Path, start: bytes) -> bytes:
    """The first bytes after a JSON whose length stands in the first four."""
    with path.open("rb") as file:
        file.seek(4 + int.from_bytes(start[:4], "little"))
        return file.read(8)


def _archive(path: Path) -> str | None:
    """By the names in a zip archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    ends = {name.rpartition("/")[2] for name in names}
    state = f"weights.pth, if the network is one that camcli knows: `camcli inspect weights.pth`. Else {_GIVE}"
    if "constants.pkl" in ends:
        loaded = f"torch.jit.load({str(path)!r}, map_location='cpu').state_dict()"
        return (
            "a TorchScript archive: a compiled program whose layers can't be looked into. Save the state_dict in it, "
            f"{_saving(loaded)}, and explain {state}"
        )
    if any("/aotinductor/" in name for name in names):
        return f"an AOTInductor package: compiled machine code, {_NO_LAYERS}"
    if "serialized_exported_program.json" in ends or any("/models/" in name for name in names if name.endswith("json")):
        return (
            "an exported program (torch.export): calls of operators without modules, so that it has no layers. Save "
            f"the state_dict in it, {_saving(f'torch.export.load({str(path)!r}).state_dict')}, and explain {state}"
        )
    if {"config.json", "metadata.json"} <= ends and any(name.endswith(".weights.h5") for name in names):
        return f"a Keras model, {_TENSORFLOW}: convert it to a PyTorch state dict"
    return None


def _saving(state: str) -> str:
    return f"""python -c {quote(f"import torch; torch.save({state}, 'weights.pth')")}"""


def _unsigned(path: Path, start: bytes) -> str | None:
    """By the fields of a protocol buffer, or by its neighbours."""
    beside = path.with_suffix(".xml")
    if path.suffix.lower() == ".bin" and beside.is_file() and not start.startswith((b"PK", b"\x80")):
        with beside.open("rb") as file:
            if b"<net " in file.read(1024):
                return f"the numbers of the OpenVINO network {beside.name} beside it, {_NO_LAYERS}"
    fields = _fields(path)
    kind = next((own for own, (known, needed) in _FIELDS.items() if needed <= fields <= known), None)
    if kind == "onnx":
        return _ONNX
    if kind is not None:
        return f"a TensorFlow {kind}, {_TENSORFLOW}: {_GIVE}"
    if {1, 2} <= fields and any(field >= _CORE_ML for field in fields):
        return f"a Core ML model, {_NO_LAYERS}"
    named = _NAMED.get(path.suffix.lower())
    return f"{named}, by its name, {_NO_LAYERS}" if named and not start.startswith((b"PK", b"\x80")) else None


def is_onnx(path: Path) -> bool:
    """True for an ONNX graph."""
    known, needed = _FIELDS["onnx"]
    return needed <= _fields(path) <= known


def _fields(path: Path) -> set[int]:
    """The numbers of the fields of the protocol buffer that a file may be; 0 among them if it is none."""
    with path.open("rb") as file:
        return set(_each_field(file, path.stat().st_size))


def _each_field(file: IO[bytes], size: int) -> Iterator[int]:
    """The numbers of the fields of a protocol buffer, each value skipped; 0 where it is none."""
    for _ in range(_MOST_FIELDS):
        if file.tell() == size:
            return
        key = _varint(file)
        if key is None or key & 7 not in (0, 1, 2, 5):
            break
        length = {1: 8, 5: 4}.get(key & 7, 0) if key & 7 != 2 else _varint(file)
        if key & 7 == 0 and _varint(file) is None:
            break
        if length is None or file.tell() + length > size:
            break
        file.seek(length, 1)
        yield key >> 3
    yield 0


def _varint(file: IO[bytes]) -> int | None:
    """A number of 7 bits a byte, the lowest first; None at the end of the file."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    return None


def _folder(path: Path) -> str | None:
    """By the files that a folder must have."""
    if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file():
        return f"a TensorFlow SavedModel, {_TENSORFLOW}: {_GIVE}"
    if (path / "coremldata.bin").is_file() or _is_core_ml(path / "Manifest.json"):
        return f"a Core ML package, {_NO_LAYERS}"
    return None


def _is_core_ml(manifest: Path) -> bool:
    try:
        return "itemInfoEntries" in json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
