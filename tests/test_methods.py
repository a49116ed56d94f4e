"""The contract of every registered method, the formulas from their papers, and the registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from camcli import layers, methods
from camcli import needs as parts
from camcli.errors import RequestError
from camcli.evidence import Evidence
from camcli.layers import Layer
from camcli.methods import Method
from camcli.tracing import trace

NAMES = methods.names()
SIZE = (9, 14)
CLASS_IDS = torch.tensor([4, 0, 2])


def _evidence(
    method: Method, net: nn.Module, images: Tensor, class_ids: Tensor, needs: frozenset[str] | None = None
) -> Evidence:
    """What the engine would hand over: no more than the method says it needs."""
    needs = method.needs if needs is None else needs
    layer = _layer(net, images) if needs & (parts.AT_LAYER | parts.AT_STAGES) else None
    forward = nets.run(net, images, [layer] if layer else [], parts=needs)
    return forward.at(nets.of_class(class_ids), layer)


def _layer(net: nn.Module, images: Tensor) -> Layer:
    return layers.resolve(net, trace(net, images[:1]), ["conv2"], "net")[0]


@pytest.fixture(params=NAMES)
def method(request: pytest.FixtureRequest) -> Method:
    return methods.get(request.param)


@pytest.fixture
def net() -> nn.Module:
    return nets.Convolutional().eval()


@pytest.fixture
def images() -> Tensor:
    return nets.noise(3, 3, *SIZE)


def test_values_are_of_the_methods_kind(method: Method, net: nn.Module, images: Tensor) -> None:
    evidence = _evidence(method, net, images, CLASS_IDS)
    values = method.function(evidence)
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    assert all(picture.any() for picture in values)
    assert not values.requires_grad
    if method.kind == "map":
        assert values.shape == (3, *evidence.acts.shape[2:])
        assert (values >= 0).all()
    else:
        assert values.shape == images.shape
        assert (values < 0).any()
    assert torch.equal(method.function(_evidence(method, net, images, CLASS_IDS)), values)


def test_each_picture_of_a_batch_is_explained_as_if_alone(method: Method, net: nn.Module, images: Tensor) -> None:
    together = method.function(_evidence(method, net, images, CLASS_IDS))
    for i in range(3):
        alone = method.function(_evidence(method, net, images[i : i + 1], CLASS_IDS[i : i + 1]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-6 * float(alone.abs().max()))


def test_zero_gradient_gives_zeros(method: Method, net: nn.Module, images: Tensor) -> None:
    nn.init.zeros_(net.get_parameter("fc.weight"))
    assert method.function(_evidence(method, net, images, CLASS_IDS)).eq(0).all()


@pytest.mark.parametrize("name", [name for name in NAMES if methods.get(name).at_layer])
def test_layer_that_no_path_to_the_score_crosses_gives_zeros(name: str, images: Tensor) -> None:
    class DeadEnd(nets.Convolutional):
        def forward(self, x: Tensor) -> Tensor:
            x = self.conv1(x)
            self.conv2(x)
            return self.fc(torch.cat([x, x[:, :2]], 1).relu().mean((2, 3)))  # type: ignore[no-any-return]

    assert methods.get(name).function(_evidence(methods.get(name), DeadEnd().eval(), images, CLASS_IDS)).eq(0).all()


def test_needs_are_honest(method: Method, net: nn.Module, images: Tensor) -> None:
    """It reads nothing it does not declare, and without any one part it declares it cannot work."""
    read: set[str] = set()

    class Watched(Evidence):
        def __getattribute__(self, name: str) -> Any:
            if name in parts.ALL - parts.ALWAYS:
                read.add(name)
            return super().__getattribute__(name)

    evidence = _evidence(method, net, images, CLASS_IDS)
    watched = Watched(evidence._forward, nets.of_class(CLASS_IDS), evidence._layer)
    method.function(watched)
    assert read == method.needs - parts.ALWAYS
    for part in (parts.AT_LAYER, parts.TO_PIXELS):
        if method.needs & part:
            with pytest.raises(RuntimeError, match="did not declare in `needs`"):
                method.function(_evidence(method, net, images, CLASS_IDS, method.needs - part))


def test_declared_backwards_are_those_that_run(
    method: Method, net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    grad = torch.autograd.grad
    evidence = _evidence(method, net, images, CLASS_IDS)
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: calls.append(1) or grad(*a, **k))  # type: ignore[func-returns-value]
    method.function(evidence)
    assert (method.forwards, method.backwards) == (1, len(calls))


def test_file_says_name_and_paper(method: Method) -> None:
    assert method.function.__module__ == f"camcli.methods.{method.name.replace('-', '_')}"
    assert method.paper.startswith("arXiv:")
    assert method.paper in (method.function.__doc__ or "")
    assert method.summary


# The formulas, slowly. Each works on one picture, by hand from the weights of nets.Convolutional.


def _by_hand(net: nn.Module, image: Tensor, class_id: int, rule: str) -> tuple[Tensor, Tensor, Tensor]:
    """(A at conv2, dy/dA, dy/dx under a rule), back through fc, mean, relu, conv2, relu and conv1 step by step."""
    parameters = {name: value.detach() for name, value in net.named_parameters()}
    first = functional.conv2d(image[None], parameters["conv1.weight"], parameters["conv1.bias"], padding=1)
    second = functional.conv2d(
        first.clamp(min=0), parameters["conv2.weight"], parameters["conv2.bias"], padding=1, stride=2
    )
    places = second.shape[2] * second.shape[3]
    arriving = (parameters["fc.weight"][class_id] / places)[None, :, None, None].expand_as(second)

    def back(gradient: Tensor, before: Tensor) -> Tensor:
        if rule != "deconvnet":
            gradient = gradient * (before > 0)
        return gradient if rule == "gradient" else gradient * (gradient > 0)

    at_acts = arriving * (second > 0)
    spare = tuple((size + 1) % 2 for size in first.shape[2:])
    onto_first = functional.conv_transpose2d(
        back(arriving, second), parameters["conv2.weight"], stride=2, padding=1, output_padding=spare
    )
    at_pixels = functional.conv_transpose2d(back(onto_first, first), parameters["conv1.weight"], padding=1)
    return second[0], at_acts[0], at_pixels[0]


def _grad_cam(acts: Tensor, grads: Tensor) -> Tensor:
    """arXiv:1610.02391 eq. 1 and 2, place by place."""
    channels, height, width = acts.shape
    map_ = torch.zeros(height, width)
    for k in range(channels):
        alpha = sum(float(grads[k, i, j]) for i in range(height) for j in range(width)) / (height * width)
        for i in range(height):
            for j in range(width):
                map_[i, j] += alpha * float(acts[k, i, j])
    return map_.clamp(min=0)


def _bilinear(map_: Tensor, height: int, width: int) -> Tensor:
    """Pixel centres at half: source = (i + 1/2) * h / H - 1/2, clamped to the map."""
    values = torch.zeros(height, width)
    for i in range(height):
        for j in range(width):
            y = max((i + 0.5) * map_.shape[0] / height - 0.5, 0.0)
            x = max((j + 0.5) * map_.shape[1] / width - 0.5, 0.0)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, map_.shape[0] - 1), min(x0 + 1, map_.shape[1] - 1)
            above = (1 - (x - x0)) * map_[y0, x0] + (x - x0) * map_[y0, x1]
            below = (1 - (x - x0)) * map_[y1, x0] + (x - x0) * map_[y1, x1]
            values[i, j] = (1 - (y - y0)) * above + (y - y0) * below
    return values


def _formula(name: str, net: nn.Module, image: Tensor, class_id: int) -> Tensor:
    rule = {"gradient": "gradient", "deconvnet": "deconvnet"}.get(name, "guided")
    acts, grads, pixels = _by_hand(net, image, class_id, rule)
    if name == "grad-cam":
        return _grad_cam(acts, grads)
    if name == "guided-grad-cam":
        return _bilinear(_grad_cam(acts, grads), *SIZE) * pixels
    return pixels


@pytest.mark.parametrize("name", ["grad-cam", "guided-backprop", "guided-grad-cam", "deconvnet", "gradient"])
@pytest.mark.parametrize("inplace", [False, True])
def test_formula_from_the_paper(name: str, inplace: bool, images: Tensor) -> None:
    net = nets.Convolutional(inplace=inplace).eval()
    values = methods.get(name).function(_evidence(methods.get(name), net, images, CLASS_IDS))
    expected = torch.stack([_formula(name, net, x, i) for x, i in zip(images, CLASS_IDS.tolist(), strict=True)])
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


# The registry.


def test_names_are_the_files_the_papers_first() -> None:
    files = {path.stem.replace("_", "-") for path in Path(next(iter(methods.__path__))).glob("[!_]*.py")}
    assert set(NAMES) == files
    assert NAMES[:3] == ["grad-cam", "guided-backprop", "guided-grad-cam"]
    assert [methods.get(name).name for name in NAMES] == NAMES


def test_unknown_name_suggests() -> None:
    with pytest.raises(RequestError, match=r"unknown method 'gradcam': did you mean grad-cam.*`camcli methods`"):
        methods.get("gradcam")
    with pytest.raises(RequestError, match="unknown method 'grad_cam'"):
        methods.get("grad_cam")


def test_registration_refuses_duplicates_and_unheard_of_needs() -> None:
    function = methods.get("grad-cam").function
    assert import_module("camcli.methods.grad_cam").grad_cam is function
    with pytest.raises(ValueError, match="two methods are called 'grad-cam'"):
        methods.method(kind="map", needs={"acts"}, paper="arXiv:0")(function)

    def other(evidence: Evidence) -> Tensor:
        return evidence.acts

    with pytest.raises(ValueError, match="Evidence has no guided_acts"):
        methods.method(kind="map", needs={"acts", "guided_acts"}, paper="arXiv:0")(other)
    assert methods.get("grad-cam").function is function


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A method installed by another package: "mean-map", in a module outside camcli."""
    source = (
        "from camcli.methods import method\n\n"
        "@method(kind='map', needs={'acts'}, paper='arXiv:0000.00000')\n"
        "def mean_map(evidence):\n"
        "    '''The mean activation. arXiv:0000.00000.'''\n"
        "    return evidence.acts.mean(1).relu()\n"
    )
    (tmp_path / "mean_map.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("mean-map", "mean_map:mean_map", methods.ENTRY_POINTS)
    monkeypatch.setattr(methods, "entry_points", lambda group: [point] if group == methods.ENTRY_POINTS else [])
    methods._plugins.cache_clear()
    yield "mean-map"
    methods._plugins.cache_clear()
    methods._registered.pop("mean-map", None)
    sys.modules.pop("mean_map", None)


def test_plug_in_is_listed_and_imported_when_asked_for(plugin: str, net: nn.Module, images: Tensor) -> None:
    assert methods.names() == [*NAMES, plugin]
    assert "mean_map" not in sys.modules
    method = methods.get(plugin)
    assert method.summary.startswith("The mean activation")
    values = method.function(_evidence(method, net, images, CLASS_IDS))
    assert values.shape == (3, 5, 7)
    assert methods.get(plugin) is method


def _torch_is_loaded_by(code: str) -> bool:
    probe = f"import sys\n{code}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.split()[-1] == "True"


def test_registry_and_method_files_leave_torch_out() -> None:
    files = "; ".join(f"import camcli.methods.{name.replace('-', '_')}" for name in NAMES)
    assert not _torch_is_loaded_by("from camcli import methods; assert methods.names()")
    assert not _torch_is_loaded_by(files)


def test_the_probe_would_notice_torch() -> None:
    assert _torch_is_loaded_by("import camcli.evidence")
