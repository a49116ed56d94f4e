"""Files of models in other forms than weights: each is named as what it is by -w, -m and inspect, by content."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shell import SAMPLES, refused, run
from torch import nn

from camcli.models.weights import formats

pytestmark = pytest.mark.usefixtures("one_thread")

PHOTO = SAMPLES / "cat_chelsea.jpg"


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(content), None)[1]


def _archive(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "{}")

    return make


def _folder(name: str, content: str = "") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / name).write_text(content)

    return make


def _message(*fields: tuple[int, bytes | int]) -> bytes:
    """A protocol buffer of such fields: texts of bytes, and numbers below 128."""
    made = b""
    for number, value in fields:
        key = number << 3 | (0 if isinstance(value, int) else 2)
        made += bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])
        made += bytes([value]) if isinstance(value, int) else bytes([len(value)]) + value
    return made


ENGINE = b'{"task": "detect"}'
KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "onnx": (_bytes(_message((1, 10), (2, b"pytorch"), (7, b"nodes"), (8, b"\x10\x14"))), "an ONNX graph"),
    "tflite": (_bytes(b"\x1c\0\0\0TFL3" + bytes(300)), "a TensorFlow Lite model"),
    "executorch": (_bytes(b"\x1c\0\0\0ET12" + bytes(300)), "an ExecuTorch program"),
    "h5": (_bytes(b"\x89HDF\r\n\x1a\n" + bytes(300)), "an HDF5 file (Keras)"),
    "keras": (_archive("metadata.json", "config.json", "model.weights.h5"), "a Keras model"),
    "saved model": (_folder("saved_model.pb"), "a TensorFlow SavedModel"),
    "saved_model.pb": (_bytes(_message((1, 1), (2, b"graph"))), "a TensorFlow saved model"),
    "graph": (_bytes(_message((1, b"node"), (1, b"node"), (4, b"\x08\x01"))), "a TensorFlow graph"),
    "coreml": (_bytes(_message((1, 5), (2, b"words"), (500, b"net"))), "a Core ML model"),
    "mlpackage": (_folder("Manifest.json", '{"itemInfoEntries": {}}'), "a Core ML package"),
    "openvino": (_bytes(b'<?xml version="1.0"?>\n<net name="own" version="11">'), "an OpenVINO network"),
    "tensorrt": (_bytes(b"ftrt" + bytes(300)), "a TensorRT engine"),
    "engine of ultralytics": (
        _bytes(len(ENGINE).to_bytes(4, "little") + ENGINE + b"ftrt" + bytes(300)),
        "a TensorRT engine",
    ),
    "aoti": (_archive("own/data/aotinductor/model/own.so", "own/archive_format"), "an AOTInductor package"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_named_by_its_content(kind: str) -> None:
    make, said = KINDS[kind]
    make(Path("own.pth"))
    assert f"own.pth is {said}" in refused(3, "explain", PHOTO, "-w", "own.pth")
    if kind != "onnx":  # which is explained
        assert f"--model own.pth: it is {said}" in refused(3, "explain", PHOTO, "-m", "own.pth")
    outcome = run("inspect", "own.pth", "--json")
    assert outcome.code == 3
    assert f"own.pth is {said}" in json.loads(outcome.out)["problem"]


@pytest.mark.parametrize(
    ("suffix", "kind"), [("onnx", "an ONNX"), ("tflite", "a TensorFlow Lite"), ("engine", "a TensorRT")]
)
def test_what_only_its_ending_tells(suffix: str, kind: str) -> None:
    Path(f"own.{suffix}").write_bytes(b"\x08\x07\x12\x07pytorch" + bytes(300))
    line = refused(3, "explain", PHOTO, "-w", f"own.{suffix}")
    assert f"own.{suffix} is {kind}" in line
    assert "by its name" in line


def test_numbers_of_openvino_are_told_by_their_neighbour() -> None:
    Path("own.bin").write_bytes(bytes(400))
    assert formats.told(Path("own.bin")) is None
    Path("own.xml").write_bytes(b'<?xml version="1.0"?>\n<net name="own" version="11">')
    assert "the numbers of the OpenVINO network own.xml" in refused(3, "explain", PHOTO, "-w", "own.bin")


@pytest.mark.filterwarnings("ignore")
def test_programs_are_said_how_to_get_the_weights_out_of() -> None:
    """The line that is given is run: what it saves is read."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    images = torch.rand(1, 3, 8, 8)
    torch.export.save(torch.export.export(net, (images,)), "program.pt2")
    torch.jit.trace(net, images).save("script.pt")  # type: ignore[no-untyped-call]
    for file, said in (("program.pt2", "an exported program"), ("script.pt", "a TorchScript archive")):
        line = refused(3, "explain", PHOTO, "-m", file)
        assert f"{file}: it is {said}" in line
        assert said in refused(3, "explain", PHOTO, "-w", file)
        code = line.split("python -c '")[1].split("', and explain")[0].replace("'\"'\"'", "'")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(code, {})
        state = torch.load("weights.pth")
        assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


def test_weights_are_none_of_these() -> None:
    torch.save(nn.Linear(3, 4).state_dict(), "own.pth")
    torch.save(nn.Linear(3, 4).state_dict(), "old.pth", _use_new_zipfile_serialization=False)
    for path in (Path("own.pth"), Path("old.pth"), PHOTO):
        assert formats.told(path) is None
        assert not formats.is_onnx(path)
