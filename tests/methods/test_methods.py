"""The contract of every registered method, the formulas from their papers, and the registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from shell import SAMPLES, refused, run
from torch import Tensor, nn
from torch.nn import functional

from camcli import methods
from camcli.answers.batch import Batch, Plan
from camcli.errors import RequestError
from camcli.layers import choosing
from camcli.layers.tracing import trace
from camcli.methods import Method
from camcli.network import parts
from camcli.network.evidence import Evidence
from camcli.network.forward import Forward
from camcli.network.layer import Layer
from camcli.network.network import Network
from camcli.network.tapes import Tape
from camcli.tasks.targets import OfClass

NAMES = methods.names()
SIZE = (9, 14)
CLASS_IDS = torch.tensor([4, 0, 2])


@dataclass(frozen=True)
class Case:
    """A method with a network that it applies to, and three pictures for it."""

    method: Method
    net: nn.Module
    images: Tensor

    @property
    def layer(self) -> Layer:
        name = "norms.1" if isinstance(self.net, nets.Tokens) else "conv2"
        return choosing.resolve(self.net, trace(self.net, self.images[:1]), [name], "net")[0]

    def evidence(self, images: Tensor, class_ids: Tensor, needs: frozenset[str] | None = None) -> Evidence:
        """What the engine would hand over: no more than the method says it needs."""
        needs = self.method.needs if needs is None else needs
        layer = self.layer if needs & (parts.AT_LAYER | parts.AT_STAGES) else None
        stages = {}
        if layer and needs & parts.AT_STAGES:
            stages = {layer.name: choosing.stages(self.net, trace(self.net, images[:1]), layer)}
        forward = nets.run(self.net, images, [layer] if layer else [], needs, stages=stages)
        return Evidence(forward, nets.of_class(class_ids), layer)

    def values(self, images: Tensor, class_ids: Tensor = CLASS_IDS) -> Tensor:
        return self.method.function(self.evidence(images, class_ids))


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.exhaustive] if n == "rise" else []) for n in NAMES])
def case(request: pytest.FixtureRequest) -> Case:
    method = methods.get(request.param)
    if method.needs & parts.ATTENTION:
        return Case(method, nets.Tokens("class", prefix=1).eval(), nets.noise(3, 3, 16, 24))
    net = nets.Averaged() if "class_weights" in method.needs else nets.Convolutional()
    return Case(method, net.eval(), nets.noise(3, 3, *SIZE))


def test_values_are_of_the_methods_kind(case: Case) -> None:
    values = case.values(case.images)
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    assert all(picture.any() for picture in values)
    assert not values.requires_grad
    if case.method.kind == "saliency":
        assert values.shape == case.images.shape
        assert (values < 0).any()
    else:
        of_layer = (3, *case.layer.shape[1:]) if case.method.at_layer else None
        assert values.shape in (of_layer, (3, *case.images.shape[2:]))
        assert (values >= 0).all()
    assert torch.equal(case.values(case.images), values)


def test_each_picture_of_a_batch_is_explained_as_if_alone(case: Case) -> None:
    together = case.values(case.images)
    for i in range(3):
        alone = case.values(case.images[i : i + 1], CLASS_IDS[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=2e-5 * float(alone.abs().max()))


GRADIENTS = parts.TO_PIXELS | {"grads", "class_weights", "resume"}


def test_zero_gradient_gives_zeros(case: Case) -> None:
    if not case.method.needs & GRADIENTS:
        return
    nn.init.zeros_(case.net.get_parameter("head.weight" if hasattr(case.net, "head") else "fc.weight"))
    assert case.values(case.images).eq(0).all()


@pytest.mark.parametrize("name", [name for name in NAMES if methods.get(name).needs & GRADIENTS & parts.AT_LAYER])
def test_layer_that_no_path_to_the_score_crosses_gives_zeros(name: str) -> None:
    class DeadEnd(nets.Convolutional):
        def forward(self, x: Tensor) -> Tensor:
            x = self.conv1(x)
            self.conv2(x)
            return self.fc(torch.cat([x, x[:, :2]], 1).relu().mean((2, 3)))  # type: ignore[no-any-return]

    case = Case(methods.get(name), DeadEnd().eval(), nets.noise(3, 3, *SIZE))
    if "stages" not in case.method.needs and "formation_grads" not in case.method.needs:
        assert case.values(case.images).eq(0).all()


def test_needs_are_honest(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads nothing it does not declare, and without any one part it declares it cannot work."""
    read: set[str] = set()
    look_up = Evidence.__getattribute__

    def watched(self: Evidence, name: str) -> Any:
        if name in parts.ALL - parts.ALWAYS and sys._getframe(1).f_code.co_filename != evidence_file:
            read.add(name)
        return look_up(self, name)

    evidence = case.evidence(case.images, CLASS_IDS)
    evidence_file = sys.modules[Evidence.__module__].__file__
    with monkeypatch.context() as patched:
        patched.setattr(Evidence, "__getattribute__", watched)
        case.method.function(evidence)
    assert read == case.method.needs - parts.ALWAYS
    for part in (parts.AT_LAYER, parts.TO_PIXELS):
        if case.method.needs & part:
            with pytest.raises((RuntimeError, KeyError)):
                case.method.function(case.evidence(case.images, CLASS_IDS, case.method.needs - part - parts.AT_STAGES))


def test_declared_cost_is_the_cost(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, heads = [], []
    backwards: list[int] = []
    grad, play = torch.autograd.grad, Tape.play_many
    case.net.register_forward_pre_hook(lambda net, args: pictures.append(len(args[0])))
    network = Network(case.net, batch_size=3)
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: backwards.append(1) or grad(*a, **k))  # type: ignore[func-returns-value]
    monkeypatch.setattr(Tape, "play_many", lambda tape, o, w: heads.append(len(o)) or play(tape, o, w))  # type: ignore[func-returns-value]
    layer = case.layer if case.method.at_layer else None
    stages = {layer.name: [layer]} if layer else None
    places = {"C": case.layer.shape[0], "patches": SIZE[0] * SIZE[1], "blocks": 2}
    pictures.clear()
    forward = Forward(network, case.images, [layer] if layer else [], case.method.needs, stages)
    case.method.function(Evidence(forward, nets.of_class(CLASS_IDS), layer))
    cost = [eval(str(cost), places) for cost in (case.method.forwards, case.method.backwards, case.method.heads)]
    # One more run of the head proves that the tape is right; where pictures go alone, each has its own backwards.
    turns = 3 if "alone" in case.method.needs else 1
    assert [sum(pictures) / 3, len(backwards) / turns, max(0, sum(heads) - 1)] == cost


class RectifiedTokens(nets.Tokens):
    """Attention, then ReLU: both what reads attention and what bends ReLU applies."""

    def __init__(self) -> None:
        super().__init__("class", prefix=1)
        self.mixes = nn.ModuleList(nn.Sequential(nets.Attention(12), nn.ReLU()) for _ in range(2))
        nets.fill(self)


BENDERS = [methods.get(name) for name in NAMES if methods.get(name).bends_relu]
FEWER = {"rise": ("MASKS", 50), "opti-cam": ("STEPS", 5)}


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_the_same_beside_every_method_that_bends_a_rule(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shapley-CAM was differentiated by Guided Backprop's rule if that was asked for first."""
    assert len(BENDERS) >= 3
    asked = methods.get(name)
    if name in FEWER:
        monkeypatch.setattr(f"camcli.methods.{name.replace('-', '_')}.{FEWER[name][0]}", FEWER[name][1])
    net: nn.Module = nets.Averaged() if "class_weights" in asked.needs else nets.Convolutional()
    layer_name, size = "conv2", SIZE
    if asked.needs & parts.ATTENTION:
        net, layer_name, size = RectifiedTokens(), "norms.1", (16, 24)
    images = nets.noise(2, 3, *size)
    found = nets.layers_of(net.eval(), images[:1], layer_name)

    def answers(*together: Method) -> dict[str, NDArray[np.float32]]:
        plan = Plan(Network(net), together, found, {layer_name: found})
        batch = Batch(plan, images)
        return {answer.method.name: answer.values for answer in batch.answers(OfClass((4, 2)))}

    alone = answers(asked)[name]
    assert alone.any()
    before, after = answers(*BENDERS, asked), answers(asked, *BENDERS)
    for bender in BENDERS:
        np.testing.assert_array_equal(before[bender.name], after[bender.name])
    for values in (before[name], after[name]):
        np.testing.assert_allclose(values, alone, rtol=1e-5, atol=1e-6 * np.abs(alone).max())


@pytest.mark.exhaustive
def test_an_answer_is_the_same_beside_a_bent_rule_from_the_shell() -> None:
    flags = ("-m", "alexnet", "-w", "none", "--resize", 64, "--crop", 64, "--save", "none", "--json")
    both = ("-M", "guided-backprop", "-M", "shapley-cam")
    (together,) = run("explain", SAMPLES / "espresso.jpg", *flags, *both).rows
    (alone,) = run("explain", SAMPLES / "espresso.jpg", *flags, "-M", "shapley-cam").rows
    assert together["explanations"][1]["fingerprint"] == alone["explanations"][0]["fingerprint"]


@pytest.mark.parametrize("name", NAMES)
def test_file_says_name_and_paper(name: str) -> None:
    method = methods.get(name)
    assert method.function.__module__ == f"camcli.methods.{method.name.replace('-', '_')}"
    assert method.paper.startswith(("arXiv:", "doi:"))
    assert method.paper in " ".join((method.function.__doc__ or "").split())
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
def test_formula_from_the_paper(name: str, inplace: bool) -> None:
    case = Case(methods.get(name), nets.Convolutional(inplace=inplace).eval(), nets.noise(3, 3, *SIZE))
    values = case.values(case.images)
    pairs = zip(case.images, CLASS_IDS.tolist(), strict=True)
    expected = torch.stack([_formula(name, case.net, x, i) for x, i in pairs])
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


# The registry.


def test_names_are_the_files_the_papers_first() -> None:
    files = {path.stem.replace("_", "-") for path in Path(next(iter(methods.__path__))).glob("[!_]*.py")}
    assert set(NAMES) == files
    assert NAMES[:3] == ["grad-cam", "guided-backprop", "guided-grad-cam"]
    assert [methods.get(name).name for name in NAMES] == NAMES


def test_unknown_name_suggests() -> None:
    with pytest.raises(RequestError, match=r"unknown method 'gradcm': did you mean grad-cam.*`camcli methods`"):
        methods.get("gradcm")
    with pytest.raises(RequestError, match="unknown method ''"):
        methods.get("")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("gradcam", "grad-cam"),
        ("GradCAM", "grad-cam"),
        ("Grad_CAM", "grad-cam"),
        ("gradcam++", "grad-cam-pp"),
        ("Grad-CAM++", "grad-cam-pp"),
        ("GradCAMPlusPlus", "grad-cam-pp"),
        ("SmoothGradCAMpp", "smooth-grad-cam-pp"),
        ("guided_backprop", "guided-backprop"),
        ("GuidedBackprop", "guided-backprop"),
        ("Guided Grad-CAM", "guided-grad-cam"),
        ("XGradCAM", "xgrad-cam"),
        ("ALL", "all"),
        ("cam++", "cam++"),
        ("nothing", "nothing"),
    ],
)
def test_other_spellings_of_a_name(written: str, name: str) -> None:
    assert methods.canonical(written) == name


def test_every_name_is_its_own_and_no_other_ones_spelling() -> None:
    for name in NAMES:
        for written in (name, name.replace("-", "_"), name.replace("-", "").upper(), name.title().replace("-", " ")):
            assert methods.canonical(written) == name


def test_rows_have_a_methods_own_name_once() -> None:
    spelled = ("-M", "GradCAM", "-M", "grad_cam", "-M", "gradcam++")
    asked = ("-m", "squeezenet1_1", "-w", "none", "--save", "none", "--json")
    (row,) = run("explain", SAMPLES / "espresso.jpg", *spelled, *asked).rows
    assert [answer["method"] for answer in row["explanations"]] == ["grad-cam", "grad-cam-pp"]
    assert row["provenance"]["spec"]["methods"] == ["grad-cam", "grad-cam-pp"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("command", ["explain", "bench", "compare"])
def test_all_are_those_that_apply_and_go_with_the_flags(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "names", lambda: ["grad-cam", "gradient", "guided-backprop", "attention-rollout"])
    asked = ("-m", "squeezenet1_1", "-w", "none", "-M", "all", "--json")
    outcome = run(command, SAMPLES / "espresso.jpg", *asked, *(() if command == "compare" else ("--save", "none")))
    assert outcome.code == 0, outcome.err
    assert "attention-rollout does not apply to squeezenet1_1" in outcome.err
    if command != "bench":
        answers = [answer["method"] for answer in outcome.rows[0]["explanations"]]
        assert answers == ["grad-cam", "gradient", "guided-backprop"]
    lower = run(command, SAMPLES / "espresso.jpg", *asked, "--precision", "bf16")
    assert lower.code == 0, lower.err
    assert "gradient is left out: --precision bf16" in lower.err


def test_rows_of_all_can_be_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "names", lambda: ["grad-cam", "attention-rollout"])
    asked = ("-m", "squeezenet1_1", "-w", "none", "-M", "all", "-M", "grad-cam", "--save", "none", "--json")
    Path("then.jsonl").write_bytes(run("explain", SAMPLES / "espresso.jpg", *asked).stdout)
    assert "1 identical, 0 equal, 0 differs" in run("verify", "then.jsonl").err


def test_where_none_of_all_applies_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "names", lambda: ["attention-rollout"])
    line = refused(3, "explain", SAMPLES / "espresso.jpg", "-m", "squeezenet1_1", "-w", "none", "-M", "all")
    assert "none of the methods applies to squeezenet1_1" in line


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


MEAN_MAP = """
from camcli.methods import method

@method(kind="map", needs={"acts"}, paper="arXiv:0000.00000")
def mean_map(evidence):
    '''The mean activation. arXiv:0000.00000.'''
    return evidence.acts.mean(1).relu()
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lays a package down as pip does, that offers "mean-map" from mean_map.py."""

    def lay_down(source: str) -> None:
        about = tmp_path / "mean_map-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mean-map\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text("[camcli.methods]\nmean-map = mean_map:mean_map\n")
        (tmp_path / "mean_map.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        methods._plugins.cache_clear()

    yield lay_down
    methods._plugins.cache_clear()
    methods._registered.pop("mean-map", None)
    sys.modules.pop("mean_map", None)


def test_another_package_adds_a_method_with_one_file(install: Callable[[str], None]) -> None:
    install(MEAN_MAP)
    assert methods.names() == [*NAMES, "mean-map"]
    assert "mean_map" not in sys.modules
    method = methods.get("mean-map")
    assert method.summary.startswith("The mean activation")
    case = Case(method, nets.Convolutional().eval(), nets.noise(3, 3, *SIZE))
    assert case.values(case.images).shape == (3, 5, 7)
    assert methods.get("mean-map") is method
    (row,) = run("explain", SAMPLES / "espresso.jpg", "-M", "mean-map", "--json").rows
    assert row["explanations"][0]["method"] == "mean-map"
    assert Path(row["explanations"][0]["files"]["overlay"]).is_file()
    assert run("methods", "mean-map", "--json").rows[0]["formula"] == "The mean activation. arXiv:0000.00000."


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "method mean-map: mean_map:mean_map raised ZeroDivisionError: division by zero"),
        ("def mean_map(evidence): ...", "method mean-map: mean_map:mean_map registers no method of that name"),
    ],
)
def test_another_packages_fault_is_its_own(source: str, said: str, install: Callable[[str], None]) -> None:
    install(source)
    assert said in refused(3, "explain", SAMPLES / "espresso.jpg", "-M", "mean-map")
    (row,) = run("explain", SAMPLES / "espresso.jpg", "--json", "--save", "none").rows
    assert row["explanations"][0]["method"] == "grad-cam"


def _torch_is_loaded_by(code: str) -> bool:
    probe = f"import sys\n{code}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.split()[-1] == "True"


def test_registry_and_method_files_leave_torch_out() -> None:
    files = "; ".join(f"import camcli.methods.{name.replace('-', '_')}" for name in NAMES)
    assert not _torch_is_loaded_by("from camcli import methods; assert methods.names()")
    assert not _torch_is_loaded_by(files)


@pytest.mark.exhaustive
def test_the_probe_would_notice_torch() -> None:
    assert _torch_is_loaded_by("import camcli.network.evidence")
