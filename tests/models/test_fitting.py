"""Fine-tuned files meet their network: names that training loops wrapped, heads of other classes, what is refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrize

from camcli import models
from camcli.errors import SetupError
from camcli.models import Model, catalog
from camcli.models.sources import torchvision as torchvision_zoo
from camcli.models.weights import filling, fitting, misfits
from camcli.models.weights.fitting import Fit
from camcli.records import Sides
from camcli.specs import ModelSpec

State = dict[str, Tensor]
CLASSES = 7
# Small networks of torchvision: one whose head is "fc", one whose head is "classifier".
FC, CLASSIFIER = "shufflenet_v2_x0_5", "mobilenet_v2"


class Trunk(nn.Module):
    """Names of two and more parts, a BatchNorm's buffers, a head: what wrapped names are made of."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.blocks = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.blocks(self.stem(x)).mean((2, 3)))
        return scores


def _drawn(net: nn.Module, seed: int) -> nn.Module:
    """Seeded values in every tensor, so that one in the wrong place, or left as it was, changes the scores."""
    state = {
        name: nets.noise(*value.shape, seed=seed + place).abs() + 0.1 if value.is_floating_point() else value + seed
        for place, (name, value) in enumerate(net.state_dict().items())
    }
    net.load_state_dict(state)
    return net.eval().requires_grad_(False)


@pytest.fixture
def trained() -> nn.Module:
    return _drawn(Trunk(), seed=1)


@pytest.fixture
def empty() -> nn.Module:
    return _drawn(Trunk(), seed=100)


def _assert_same(net: nn.Module, expected: nn.Module, images: Tensor | None = None) -> None:
    images = nets.noise(2, 3, 16, 16) if images is None else images
    with torch.no_grad():
        scores = expected(images)
        assert scores.std() > 0
        assert torch.equal(net(images), scores)


# Names.


PREFIXES = ("module.", "model.", "_orig_mod.", "module._orig_mod.", "backbone.", "net.", "model.module.", "a.b.c.")
WRAPPERS_WITHIN: dict[str, Callable[[str], str]] = {
    "a compiled sub-module": lambda name: name.replace("blocks.", "blocks._orig_mod."),
    "a distributed sub-module": lambda name: name.replace("stem.", "stem.module."),
    "both, within a prefix": lambda name: "model." + name.replace("blocks.", "blocks.module._orig_mod."),
    "fully sharded": lambda name: "_fsdp_wrapped_module." + name.replace("stem.", "stem._fsdp_wrapped_module."),
    "checkpointed activations": lambda name: name.replace("blocks.0.", "blocks.0._checkpoint_wrapped_module."),
    "a bare file": str,
}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_taken_off(prefix: str, trained: nn.Module, empty: nn.Module) -> None:
    state = {prefix + name: value for name, value in trained.state_dict().items()}
    fit = filling.fill(empty, state, "it does not fit")
    assert (fit.problems, fit.heads, fit.aside) == (0, (), ())
    _assert_same(empty, trained)


@pytest.mark.parametrize("kind", WRAPPERS_WITHIN)
def test_wrappers_within_a_name_are_taken_out(kind: str, trained: nn.Module, empty: nn.Module) -> None:
    state = {WRAPPERS_WITHIN[kind](name): value for name, value in trained.state_dict().items()}
    filling.fill(empty, state, "it does not fit")
    _assert_same(empty, trained)


@pytest.mark.parametrize("prefix", ["", "module.", "net."])
def test_a_prefix_is_put_on_where_the_network_is_the_wrapped_one(
    prefix: str, trained: nn.Module, empty: nn.Module
) -> None:
    wrapped = nets.Wrapped(empty)
    filling.fill(wrapped, {prefix + name: value for name, value in trained.state_dict().items()}, "it does not fit")
    _assert_same(wrapped, trained)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_a_wrappers_name_that_is_the_networks_own_stays(prefix: str, trained: nn.Module, empty: nn.Module) -> None:
    class Own(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module
            self.head = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(self.module(x))
            return scores

    first, second = _drawn(Own(trained), seed=7), _drawn(Own(empty), seed=200)
    filling.fill(second, {prefix + name: value for name, value in first.state_dict().items()}, "it does not fit")
    _assert_same(second, first)


class Wide(Trunk):
    """The same names with other widths: a larger teacher."""

    def __init__(self) -> None:
        super().__init__(9)
        self.stem[0], self.stem[1] = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.blocks[0], self.blocks[1] = nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 9)


def test_the_prefix_with_the_right_shapes_wins(trained: nn.Module, empty: nn.Module) -> None:
    """A student and its larger teacher in one file have the same names."""
    teacher = {f"teacher.{name}": value for name, value in _drawn(Wide(), seed=300).state_dict().items()}
    student = {f"student.{name}": value for name, value in trained.state_dict().items()}
    fit = filling.fill(empty, teacher | student, "it does not fit")
    assert fit.prefix == "student."
    assert set(fit.aside) == set(teacher)
    _assert_same(empty, trained)


PAIRS = [("student", "teacher"), ("model", "ema_model.module"), ("encoder_q", "encoder_k")]


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("classes", [5, 9])
def test_of_two_networks_alike_the_user_says_which(
    names: tuple[str, str], classes: int, trained: nn.Module, empty: nn.Module
) -> None:
    """A teacher of the same widths fits as well as its student, whatever its head."""
    nets_by_name = {names[0]: trained, names[1]: _drawn(Trunk(classes), seed=300)}
    state = {f"{name}.{key}": v for name, net in nets_by_name.items() for key, v in net.state_dict().items()}
    said = " or ".join(name.removesuffix(".module") for name in sorted(names, key=list(names).index))
    with pytest.raises(SetupError, match=rf"as it is: it holds 2 networks .*--weights-key {said}") as refused:
        filling.fill(empty, state, "two.pth does not fit Trunk")
    chosen = str(refused.value).rpartition("--weights-key ")[2].split(" or ")
    for name, (own, net) in zip(chosen, nets_by_name.items(), strict=True):
        assert own.startswith(name)
        fresh = _drawn(Trunk(), seed=100)
        filling.fill(fresh, fitting.below(state, name), "it does not fit")
        _assert_same(fresh, net)


def test_two_names_of_one_network_are_one(trained: nn.Module, empty: nn.Module) -> None:
    state = {f"{name}.{key}": v for name in ("model", "attacker.model") for key, v in trained.state_dict().items()}
    filling.fill(empty, state, "it does not fit")
    _assert_same(empty, trained)


def test_a_tensor_that_is_there_twice_under_wrapped_names_is_left_over(trained: nn.Module, empty: nn.Module) -> None:
    state = dict(trained.state_dict())
    with pytest.raises(SetupError, match=r"left over .module\.fc\.weight"):
        filling.fill(empty, state | {"module.fc.weight": state["fc.weight"] + 1}, "it does not fit")


@pytest.mark.parametrize("counter", ["n_averaged", "num_updates", "module.n_averaged"])
def test_the_counter_of_an_averaged_network_is_ignored(counter: str, trained: nn.Module, empty: nn.Module) -> None:
    """torch.optim.swa_utils.AveragedModel, as torchvision's reference script saves it."""
    state = {f"module.{name}": value for name, value in trained.state_dict().items()}
    filling.fill(empty, {counter: torch.tensor(7)} | state, "it does not fit")
    _assert_same(empty, trained)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_profilers_leave_is_ignored(prefix: str, trained: nn.Module, empty: nn.Module) -> None:
    left = {f"{place}{name}": torch.zeros(1) for place in ("", "stem.0.") for name in ("total_ops", "total_params")}
    state = {prefix + name: value for name, value in (left | trained.state_dict()).items()}
    filling.fill(empty, state, "it does not fit")
    _assert_same(empty, trained)


def test_a_missing_batch_count_becomes_zero(trained: nn.Module, empty: nn.Module) -> None:
    state = {name: value for name, value in trained.state_dict().items() if "num_batches" not in name}
    filling.fill(empty, state, "it does not fit")
    counts = [value for name, value in empty.state_dict().items() if "num_batches" in name]
    assert [count.item() for count in counts] == [0, 0]
    _assert_same(empty, trained)


# Files of torchvision's networks, as `--model NAME --weights FILE` loads them.


def _network(name: str, change: Callable[[nn.Module], object] = lambda net: None, **options: object) -> nn.Module:
    """torchvision's own, changed as a training script would, with weights and trained statistics."""
    with filling.no_initialisation():
        net: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        change(net)
    nets.fill(net)
    for buffer_name, buffer in net.named_buffers():
        if buffer_name.endswith("running_var"):
            buffer.fill_(1.5)
    return net.eval().requires_grad_(False)


def _loaded(name: str, state: Mapping[str, object]) -> Model:
    torch.save(state, "tuned.pth")
    return models.load_model(ModelSpec(name, "tuned.pth", "cpu"))


def _images(model: Model, channels: int = 3) -> Tensor:
    size = model.preset.view_size if model.fixed_size else (80, 96)
    return nets.noise(1, channels, *size)


LARGE = (
    "alexnet vgg11 inception_v3 googlenet densenet121 regnet_y_400mf efficientnet_b0 convnext_tiny swin_t "
    "vit_b_32 maxvit_t"
).split()
SMALLEST = [*"resnet18 squeezenet1_1 shufflenet_v2_x0_5 mobilenet_v2 mobilenet_v3_small mnasnet0_5".split(), *LARGE]
WITH_AUXILIARY_HEADS = {"aux_logits": True, "init_weights": False, "transform_input": True}


def test_every_family_has_its_smallest_network_here() -> None:
    entries = catalog.classifiers()
    assert {entries[name].family for name in SMALLEST} == {entry.family for entry in entries.values()}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.exhaustive] if name in LARGE else []) for name in SMALLEST]
)
def test_a_head_of_other_classes_in_its_own_place(name: str) -> None:
    options: dict[str, Any] = WITH_AUXILIARY_HEADS if name in ("googlenet", "inception_v3") else {}
    tuned = _network(name, num_classes=CLASSES, **options)
    model = _loaded(name, tuned.state_dict())
    assert model.labels == tuple(f"class {i}" for i in range(CLASSES))
    assert set(model.net.state_dict()) == {k for k in tuned.state_dict() if not k.startswith(("aux", "AuxLogits"))}
    _assert_same(model.net, tuned, _images(model))


def _replace(path: str, head: nn.Module) -> Callable[[nn.Module], None]:
    return lambda net: net.set_submodule(path, head)


def _unbiased(net: nn.Module) -> None:
    net.set_submodule("fc", nn.Linear(1024, 1000, bias=False))


# What training scripts put in a head's place -> whether it stands in place of a head of several layers.
REPLACED: dict[str, tuple[str, Callable[[nn.Module], None], bool]] = {
    "dropout, linear for fc": (FC, _replace("fc", nn.Sequential(nn.Dropout(), nn.Linear(1024, CLASSES))), False),
    "one nested twice": (FC, _replace("fc", nn.Sequential(nn.Sequential(nn.Linear(1024, CLASSES)))), False),
    "no bias, other classes": (FC, _replace("fc", nn.Linear(1024, CLASSES, bias=False)), False),
    "no bias, as many classes": (FC, _unbiased, False),
    "mobilenet_v2": (CLASSIFIER, _replace("classifier", nn.Linear(1280, CLASSES)), False),
    "mobilenet_v2, in its place": (
        CLASSIFIER,
        _replace("classifier.1", nn.Sequential(nn.Dropout(), nn.Linear(1280, CLASSES))),
        False,
    ),
    "mobilenet_v3_small": ("mobilenet_v3_small", _replace("classifier", nn.Linear(576, CLASSES)), True),
    "mobilenet_v3_small, no bias": (
        "mobilenet_v3_small",
        _replace("classifier", nn.Linear(576, CLASSES, bias=False)),
        True,
    ),
    "squeezenet1_1": ("squeezenet1_1", _replace("classifier.1", nn.Conv2d(512, CLASSES, 1)), False),
    "squeezenet1_1, no bias": (
        "squeezenet1_1",
        _replace("classifier.1", nn.Conv2d(512, CLASSES, 1, bias=False)),
        False,
    ),
}


@pytest.mark.parametrize("kind", REPLACED)
def test_a_replaced_head(kind: str) -> None:
    name, change, flattened = REPLACED[kind]
    tuned = _network(name, change)
    model = _loaded(name, {"state_dict": {f"model.{k}": v for k, v in tuned.state_dict().items()}})
    said = any(remark.endswith("is the whole head") for remark in model.remarks)
    # A head that takes the place of several layers is worth a word, unless only a Dropout stood there.
    assert said or not flattened
    images = _images(model)
    _assert_same(model.net, tuned, images)
    assert len(model.labels) == tuned(images).shape[1]


@pytest.mark.parametrize("classes", [3, 5])
def test_a_head_gets_a_bias_that_the_network_has_not(classes: int) -> None:
    def trunk(classes: int, bias: bool, seed: int) -> nn.Module:
        net = Trunk()
        net.fc = nn.Linear(6, classes, bias=bias)
        return _drawn(net, seed)

    trained, empty = trunk(classes, True, 1), trunk(5, False, 100)
    fit = filling.fill(empty, trained.state_dict(), "it does not fit")
    assert [(head.path, head.bias, head.shape) for head in fit.heads] == [("fc", "fc.bias", (classes, 6))]
    _assert_same(empty, trained)


def test_a_head_outside_the_prefix() -> None:
    """A Lightning module with `self.backbone` and `self.head`."""
    tuned = _network(FC, num_classes=CLASSES)
    state = {
        f"backbone.{k}" if not k.startswith("fc.") else k.replace("fc.", "head."): v
        for k, v in tuned.state_dict().items()
    }
    model = _loaded(FC, {"state_dict": state | {"criterion.weight": torch.ones(CLASSES)}})
    _assert_same(model.net, tuned, _images(model))
    assert "tuned.pth: 1 tensor beside the network left aside (criterion.weight)" in model.remarks


def test_lightnings_file_loads_and_says_what_it_left_aside() -> None:
    tuned = _network(FC, num_classes=CLASSES)
    state = {f"model.{k}": v for k, v in tuned.state_dict().items()}
    extra = {f"metric.{place}": torch.zeros(1) for place in range(4)}
    model = _loaded(FC, {"epoch": 3, "state_dict": state | {"criterion.weight": torch.ones(CLASSES)}})
    assert "tuned.pth: 1 tensor beside the network left aside (criterion.weight)" in model.remarks
    _assert_same(model.net, tuned, _images(model))
    model = _loaded(FC, {"epoch": 3, "state_dict": state | extra})
    assert "tuned.pth: 4 tensors beside the network left aside (metric.0, metric.1, metric.2, …)" in model.remarks
    bare = _loaded(FC, state)
    assert not any("left aside" in remark for remark in bare.remarks)


def test_a_stem_of_one_channel_and_its_preset() -> None:
    tuned = _network("resnet18", _replace("conv1", nn.Conv2d(1, 64, 7, 2, 3, bias=False)), num_classes=CLASSES)
    model = _loaded("resnet18", tuned.state_dict())
    assert (model.preset.mean, model.preset.std) == ((0.449,), (0.226,))
    assert any("one input channel" in remark for remark in model.remarks)
    _assert_same(model.net, tuned, _images(model, channels=1))


def test_a_vits_picture_size_is_seen_in_its_position_embedding() -> None:
    def sized(patches: int) -> tuple[Sides, Sides]:
        tensors = {"model.encoder.pos_embedding": torch.zeros(1, patches + 1, 768)}
        preset = torchvision_zoo.architecture("vit_b_32", "none", {}, tensors).preset
        return preset.resize, preset.crop

    assert sized(7 * 7) == (256, 224)  # torchvision's own
    assert sized(12 * 12) == (384, 384)
    assert sized(3 * 3) == (96, 96)


@pytest.mark.exhaustive
def test_a_vit_of_another_picture_size_with_a_bare_linear_head() -> None:
    tuned = _network("vit_b_32", _replace("heads", nn.Linear(768, CLASSES)), image_size=384)
    model = _loaded("vit_b_32", {f"net.{k}": v for k, v in tuned.state_dict().items()})
    assert (model.preset.crop, model.fixed_size) == (384, True)
    _assert_same(model.net, tuned, nets.noise(1, 3, 384, 384))


# What is refused.


def _changed(spoil: Callable[[State], object]) -> Callable[[State], State]:
    def change(state: State) -> State:
        spoil(state)
        return state

    return change


TWO_LAYERS = nn.Sequential(nn.Linear(1024, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, CLASSES))


def test_a_head_of_two_layers_is_refused_and_shown_the_way_out() -> None:
    tuned = _network(FC, _replace("fc", TWO_LAYERS))
    with pytest.raises(
        SetupError, match=r"tuned\.pth does not fit shufflenet_v2_x0_5: 2 missing .fc\.weight"
    ) as refused:
        _loaded(FC, {f"model.{k}": v for k, v in tuned.state_dict().items()})
    assert "Its head has layers of its own (model.fc.0.weight 32x1024, model.fc.3.weight 7x32)" in str(refused.value)
    assert "--model FILE.py:factory" in str(refused.value)
    Path("own.py").write_text(
        "import torchvision\nfrom torch import nn\n\n\ndef factory():\n"
        f"    net = torchvision.models.{FC}(weights=None)\n"
        f"    net.fc = nn.Sequential(nn.Linear(1024, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, {CLASSES}))\n"
        "    return net\n"
    )
    model = models.load_model(ModelSpec("own.py:factory", "tuned.pth", "cpu"))
    _assert_same(model.net, tuned, nets.noise(1, 3, 96, 128))


class Kernel(nn.Module):
    """A layer of somebody's own: its parameter is not called weight."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.ones(CLASSES, 6)), nn.Parameter(torch.ones(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.kernel.T + self.bias


class Transposed(Kernel):
    def __init__(self) -> None:
        super().__init__()
        del self.kernel
        self.weight = nn.Parameter(torch.ones(6, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Cosine(nn.Linear):
    """A head that compares directions, and multiplies by a number that was learnt."""

    def __init__(self, factor: str, path: str = "") -> None:
        super().__init__(6, CLASSES, bias=False)
        holder = self
        if path:
            holder = self.add_module(path, nn.Module()) or self.get_submodule(path)  # type: ignore[func-returns-value, assignment]
        holder.register_parameter(factor, nn.Parameter(torch.ones(1)))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(nn.functional.normalize(x), nn.functional.normalize(self.weight)) * 30


class Unit(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.normalize(weight, dim=1)


def _unit() -> nn.Module:
    return parametrize.register_parametrization(nn.Linear(6, CLASSES), "weight", Unit())


def _bias_elsewhere() -> nn.Module:
    head = nn.Sequential(nn.Linear(6, CLASSES, bias=False))
    head.register_parameter("bias", nn.Parameter(torch.ones(CLASSES)))
    return head


# A head in the file that a Linear can't stand in for -> what the refusal names.
NO_LINEAR: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "parametrised": (_unit, ("fc.parametrizations.weight.original", "parametrize.remove_parametrizations")),
    "a parameter of another name": (Kernel, ("fc.kernel", "fc.bias")),
    "transposed": (Transposed, ("fc.weight 6x7, wanted 5x6",)),
    "its bias stays behind": (_bias_elsewhere, ("fc.bias",)),
    "a cosine head with scale": (lambda: Cosine("scale"), ("fc.scale",)),
    "a cosine head with tau below": (lambda: Cosine("tau", "temper"), ("fc.temper.tau",)),
    "LayerNorm before it": (lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, CLASSES)), ("fc.0.weight",)),
    "BatchNorm before it": (lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, CLASSES)), ("fc.0.running_mean",)),
    "PReLU before it": (lambda: nn.Sequential(nn.PReLU(), nn.Linear(6, CLASSES)), ("fc.0.weight",)),
    "two heads": (
        lambda: nn.ModuleDict({"a": nn.Linear(6, CLASSES), "b": nn.Linear(6, 3)}),
        ("fc.a.weight 7x6", "fc.b.weight 3x6"),
    ),
    "two layers": (lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, CLASSES)), ("fc.0.weight 4x6",)),
}


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("kind", NO_LINEAR)
def test_a_head_that_is_no_linear_is_refused_by_name(
    kind: str, prefix: str, trained: nn.Module, empty: nn.Module
) -> None:
    """Whatever a head put in its place would displace is left over."""
    make, named = NO_LINEAR[kind]
    trained.fc = make()
    state = {prefix + name: value for name, value in trained.state_dict().items()}
    with pytest.raises(SetupError) as refused:
        filling.fill(empty, state, "tuned.pth does not fit Trunk")
    assert all(name in str(refused.value) for name in named), str(refused.value)


def _dropped() -> nn.Module:
    return nn.Sequential(nn.Dropout(), nn.Linear(6, CLASSES))


# A head in the file that a Linear stands in for -> what is said of it.
LINEAR: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dropout before it": (_dropped, "fc.1.weight is taken for the head fc, a plain Linear"),
    "nested": (
        lambda: nn.Sequential(nn.Sequential(nn.Dropout(), _dropped())),
        "fc.0.1.1.weight is taken for the head fc",
    ),
    "no bias": (lambda: nn.Linear(6, CLASSES, bias=False), "the head has no bias, and is taken for a plain Linear"),
    "half precision": (lambda: nn.Linear(6, CLASSES).half(), ""),
    "other classes": (lambda: nn.Linear(6, CLASSES), ""),
}


@pytest.mark.parametrize("kind", LINEAR)
def test_a_head_that_is_a_linear_gives_its_scores_and_a_moved_one_is_told(
    kind: str, trained: nn.Module, empty: nn.Module
) -> None:
    make, said = LINEAR[kind]
    trained.fc = make().requires_grad_(False)
    fit = filling.fill(empty, trained.state_dict(), "it does not fit")
    _assert_same(empty, trained.float().eval())
    remarks = misfits.remarks(fit, "tuned.pth")
    assert [said in remark for remark in remarks] == ([True] if said else [])


# Names for the head -> tensors beside it that take part in the scores, and what is named.
RENAMED_HEADS = ["classifier", "head", "linear.out"]
BESIDE: dict[str, dict[str, Tensor]] = {
    "a neck": {"neck.weight": torch.ones(6), "neck.bias": torch.ones(6), "neck.running_var": torch.ones(6)},
    "a scale": {"logit_scale": torch.ones(1)},
    "another head": {"rotation.weight": torch.ones(4, 6), "rotation.bias": torch.ones(4)},
    "a norm": {"norm.weight": torch.ones(4), "norm.bias": torch.ones(4)},
}


@pytest.mark.parametrize("name", RENAMED_HEADS)
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_head_of_another_name_is_taken_and_told_or_refused(
    name: str, prefix: str, trained: nn.Module, empty: nn.Module
) -> None:
    trained.fc = nn.Linear(6, CLASSES).requires_grad_(False)
    state = {
        key.replace("fc", name) if key.startswith("fc.") else prefix + key: v for key, v in trained.state_dict().items()
    }
    for beside in BESIDE.values():
        with pytest.raises(SetupError, match=next(iter(beside)).replace(".", r"\.")):
            filling.fill(_drawn(Trunk(), seed=100), state | beside, "it does not fit")
    fit = filling.fill(empty, state, "it does not fit")
    _assert_same(empty, trained)
    assert misfits.remarks(fit, "x.pth")[0].startswith(f"x.pth: {name}.weight is taken for the head fc, a plain Linear")


# Layers beside a network that has its head -> what is named.
LAYERS_BESIDE: dict[str, tuple[dict[str, Tensor], str]] = {
    "a head of its features": (
        {"head.weight": torch.ones(CLASSES, 6), "head.bias": torch.ones(CLASSES)},
        "head.weight 7x6",
    ),
    "a head of its scores": ({"model.out.weight": torch.ones(CLASSES, 5)}, "model.out.weight 7x5"),
    "a convolution before it": (
        {"adapter.weight": torch.ones(3, 1, 1, 1), "adapter.bias": torch.ones(3)},
        "adapter.weight",
    ),
    "a norm": ({"bn0.weight": torch.ones(3), "bn0.running_mean": torch.ones(3)}, "bn0.weight"),
}


@pytest.mark.parametrize("kind", LAYERS_BESIDE)
@pytest.mark.parametrize("prefix", ["backbone", "model.backbone"])
def test_a_layer_beside_the_network_is_asked_about(
    kind: str, prefix: str, trained: nn.Module, empty: nn.Module
) -> None:
    """The backbone of a Lightning module may keep a head that no longer answers."""
    beside, named = LAYERS_BESIDE[kind]
    whole = {f"{prefix}.{name}": value for name, value in trained.state_dict().items()} | beside
    with pytest.raises(
        SetupError, match=rf"Beside the network stands {named}.*--weights-key {prefix} takes the network"
    ):
        filling.fill(empty, whole, "it does not fit")
    filling.fill(empty, fitting.below(whole, prefix), "it does not fit")
    _assert_same(empty, trained)


@pytest.mark.parametrize("name", ["temperature", "logit_scale", "model.tau"])
def test_a_factor_of_the_scores_is_told(name: str, trained: nn.Module, empty: nn.Module) -> None:
    """Temperature scaling keeps one number beside the network."""
    state = {f"net.{key}": value for key, value in trained.state_dict().items()} | {name: torch.ones(1)}
    fit = filling.fill(empty, state, "it does not fit")
    assert f"x.pth: the scores may have been scaled by {name}, and are reported without" in misfits.remarks(
        fit, "x.pth"
    )


def test_a_tensor_has_one_place_only() -> None:
    """A head that is taken from amid the network leaves a hole there."""
    wanted = {"a.weight": (4, 4), "a.bias": (4,), "fc.0.weight": (6, 4), "fc.1.weight": (5, 4)}
    fit = fitting.match(wanted, {"a.weight": (4, 4), "a.bias": (4,), "fc.0.weight": (6, 4)})
    assert fit.problems > 0


class Own(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.normalize(x))


def test_a_layer_of_ones_own_is_not_replaced_by_a_linear(trained: nn.Module, empty: nn.Module) -> None:
    """It computes what a Linear does not, whatever the shape of its weight."""
    empty.fc, trained.fc = Own(6, 5), Own(6, CLASSES)
    with pytest.raises(
        SetupError, match=r"the head fc is a Own, which a plain Linear .fc\.weight 7x6. can't stand in for"
    ):
        filling.fill(empty, trained.state_dict(), "it does not fit")


# The children of a known network, numbered.


def _children(name: str, *, inside: bool, last: str) -> Callable[[nn.Module], nn.Module]:
    def change(net: nn.Module) -> nn.Module:
        body = list(net.children())[:-1]
        head = net.get_submodule(last)
        return (
            nn.Sequential(nn.Sequential(*body), nn.Flatten(), head)
            if inside
            else nn.Sequential(*body, nn.Flatten(), head)
        )

    return change


class Featured(nn.Module):
    """PyTorch Lightning's own example of transfer learning."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.feature_extractor = nn.Sequential(*list(net.children())[:-1])
        self.classifier = net.get_submodule("fc")

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.feature_extractor(x).flatten(1))
        return scores


NUMBERED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "in one Sequential": _children("resnet18", inside=False, last="fc"),
    "a body and a head": _children("resnet18", inside=True, last="fc"),
    "a feature extractor": Featured,
}


@pytest.mark.parametrize(
    "name", ["vgg11", "vgg11_bn", "squeezenet1_1", "mobilenet_v2", "efficientnet_b0", "densenet121"]
)
@pytest.mark.parametrize("spread", [False, True], ids=["children", "grandchildren"])
def test_children_of_other_families_fit_by_their_numbers(name: str, spread: bool) -> None:
    """All of them, with their own heads; and those of Sequentials one level higher."""
    with torch.device("meta"), filling.no_initialisation():
        net: nn.Module = torchvision.models.get_model(name, num_classes=CLASSES)
        wanted = fitting.shapes_of(torchvision.models.get_model(name).state_dict())
    children = list(net.children())
    if spread:
        children = [own for child in children for own in (child if isinstance(child, nn.Sequential) else [child])]
    given = fitting.shapes_of(nn.Sequential(*children).state_dict())
    fit = fitting.match(wanted, given)
    assert fit.problems == 0
    taken, there = ([name for name in names if "num_batches" not in name] for names in (fit.names.values(), given))
    assert taken == there


@pytest.mark.parametrize("kind", NUMBERED)
def test_the_children_of_a_known_network_are_taken_in_their_order(kind: str) -> None:
    tuned = NUMBERED[kind](_network("resnet18", num_classes=CLASSES))
    model = _loaded("resnet18", tuned.state_dict())
    _assert_same(model.net, tuned, _images(model))
    assert "tuned.pth: its 102 tensors have numbers for names, and are taken in their order" in model.remarks


SPOILED: dict[str, Callable[[State], State]] = {
    "one more": lambda state: state | {"0.9.weight": torch.zeros(2)},
    "one fewer": _changed(lambda state: state.pop("0.4.0.conv1.weight")),
    "another shape": lambda state: state | {"0.4.0.conv1.weight": torch.zeros(64, 64, 1, 1)},
    "another order": lambda state: dict(reversed(state.items())),
    "another name below": lambda state: {name.replace("conv1", "conv9"): value for name, value in state.items()},
}


OTHER_HEADS: dict[str, tuple[str, list[nn.Module]]] = {
    "without its Dropout": ("mobilenet_v3_small", [nn.Linear(576, 1024), nn.ReLU(), nn.Linear(1024, CLASSES)]),
    "one activation more": (
        "mobilenet_v3_small",
        [nn.Tanh(), nn.Linear(576, 1024), nn.ReLU(), nn.Dropout(), nn.Tanh(), nn.Linear(1024, CLASSES)],
    ),
    "a norm after Flatten": ("convnext_tiny", [nn.Flatten(1), nn.LayerNorm(768), nn.Linear(768, CLASSES)]),
}


@pytest.mark.parametrize("whole", [False, True], ids=["in its place", "all in order"])
@pytest.mark.parametrize("kind", OTHER_HEADS)
def test_a_head_of_as_many_layers_with_others_between_is_refused(kind: str, whole: bool) -> None:
    """The shapes are the same, in the same order; the activations need not be."""
    name, head = OTHER_HEADS[kind]
    with torch.device("meta"), filling.no_initialisation():
        net: nn.Module = torchvision.models.get_model(name)
        wanted = fitting.shapes_of(net.state_dict())
        net.set_submodule("classifier", nn.Sequential(*head))
    tuned = nn.Sequential(*net.children()) if whole else net
    assert fitting.match(wanted, fitting.shapes_of(tuned.state_dict())).problems > 0


@pytest.mark.parametrize("kind", SPOILED)
def test_numbered_tensors_that_may_mean_something_else_are_refused(kind: str) -> None:
    with torch.device("meta"):
        net = torchvision.models.resnet18(num_classes=CLASSES)
    wanted = fitting.shapes_of(net.state_dict())
    numbered = _children("resnet18", inside=True, last="fc")(net).state_dict()
    assert fitting.match(wanted, fitting.shapes_of(numbered)).problems == 0
    assert fitting.match(wanted, fitting.shapes_of(SPOILED[kind](dict(numbered)))).problems > 0


def test_a_norm_in_the_head_is_refused() -> None:
    tuned = _network(FC, _replace("fc", nn.Sequential(nn.BatchNorm1d(1024), nn.Linear(1024, CLASSES))))
    with pytest.raises(SetupError, match=r"fc\.0\.weight"):
        _loaded(FC, tuned.state_dict())


def test_a_head_whose_weight_and_bias_disagree_is_refused() -> None:
    state = _network(FC).state_dict() | {"fc.bias": torch.zeros(CLASSES)}
    with pytest.raises(SetupError, match=r"1 of another shape .fc\.bias 7, wanted 1000"):
        _loaded(FC, state)


def test_a_file_without_a_head_is_refused() -> None:
    tuned = _network(FC, _replace("fc", nn.Identity()))
    with pytest.raises(SetupError, match=r"2 missing .fc\.weight, fc\.bias.; see `camcli inspect`"):
        _loaded(FC, tuned.state_dict())


# A change amid the network -> exactly what is said of it.
AMID: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (_changed(lambda state: state.pop("blocks.0.weight")), "1 missing (blocks.0.weight)"),
    "left over": (lambda state: state | {"blocks.9.weight": torch.zeros(2, 2)}, "1 left over (blocks.9.weight)"),
    "of another shape": (
        lambda state: state | {"blocks.0.weight": torch.zeros(6, 4, 5, 5)},
        "1 of another shape (blocks.0.weight 6x4x5x5, wanted 6x4x3x3)",
    ),
    "wider": (
        lambda state: state | {"blocks.0.weight": torch.zeros(8, 4, 3, 3), "blocks.0.bias": torch.zeros(8)},
        "2 of another shape (blocks.0.weight 8x4x3x3, wanted 6x4x3x3, blocks.0.bias 8, wanted 6)",
    ),
    "beside a head of its own": (
        lambda state: (
            state | {"fc.weight": torch.zeros(7, 6), "fc.bias": torch.zeros(7), "blocks.1.weight": torch.zeros(8)}
        ),
        "3 of another shape (blocks.1.weight 8, wanted 6, fc.weight 7x6, wanted 5x6, fc.bias 7, wanted 5)",
    ),
    "a norm that keeps no statistics": (
        _changed(lambda state: (state.pop("stem.1.running_mean"), state.pop("stem.1.running_var"))),
        "2 missing (stem.1.running_mean, stem.1.running_var)",
    ),
    "all at once": (
        _changed(lambda state: state.update({"more.bias": torch.zeros(1), "stem.0.bias": state.pop("fc.weight")})),
        "1 missing (fc.weight); 1 left over (more.bias); 1 of another shape (stem.0.bias 5x6, wanted 4)",
    ),
}


@pytest.mark.parametrize("kind", AMID)
def test_a_difference_amid_the_network_is_refused_and_nothing_is_loaded(
    kind: str, trained: nn.Module, empty: nn.Module
) -> None:
    spoil, said = AMID[kind]
    before = {name: value.clone() for name, value in empty.state_dict().items()}
    with pytest.raises(SetupError) as refused:
        filling.fill(empty, spoil(dict(trained.state_dict())), "tuned.pth does not fit Trunk")
    assert str(refused.value) == f"tuned.pth does not fit Trunk: {said}; see `camcli inspect`"
    assert refused.value.exit_code == 3
    after = empty.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_long_list_of_differences_is_cut_and_inspects_is_not(trained: nn.Module, empty: nn.Module) -> None:
    state = trained.state_dict() | {f"stem.{i}.scale": torch.ones(1) for i in range(9)}
    with pytest.raises(SetupError, match=r"9 left over .stem\.0\.scale, .*stem\.5\.scale, ….; see"):
        filling.fill(empty, state, "it does not fit")
    fit = fitting.match(fitting.shapes_of(empty.state_dict()), fitting.shapes_of(state))
    assert misfits.differences(fit).count(".scale") == 9


def test_folded_batch_norms_are_called_so(trained: nn.Module, empty: nn.Module) -> None:
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("stem.1.")}
    empty.set_submodule("stem.0", nn.Conv2d(3, 4, 3, bias=False))
    with pytest.raises(
        SetupError, match=r"left over .stem\.0\.bias.\. Its batch norms seem to be folded into the conv"
    ):
        filling.fill(empty, state, "it does not fit")


@pytest.mark.parametrize(
    "names", [("mean", "std"), ("normalizer.new_mean", "normalizer.new_std"), ("norm.mean_", "norm.std_")]
)
def test_a_network_that_normalises_its_pictures_is_told(
    names: tuple[str, str], trained: nn.Module, empty: nn.Module
) -> None:
    state = {f"net.{name}": value for name, value in trained.state_dict().items()}
    colours = torch.tensor([0.1, 0.2, 0.25]).view(1, 3, 1, 1)
    fit = filling.fill(empty, {names[0]: colours, names[1]: 2 * colours} | state, "it does not fit")
    said = f"normalise its pictures itself ({names[0]} 0.1,0.2,0.25, {names[1]} 0.2,0.4,0.5): check --mean and --std"
    assert said in misfits.remarks(fit, "x.pth")[-1]


def test_another_network_altogether() -> None:
    fit = fitting.match({"conv.weight": (4, 3, 3, 3)}, {"embed.proj.kernel": (8, 3, 16, 16)})
    assert misfits.differences(fit) == "not one of its tensors is known there"


def test_a_fit_names_each_tensor_of_the_network_once(trained: nn.Module) -> None:
    own = fitting.shapes_of(trained.state_dict())
    fit: Fit = fitting.match(own, OrderedDict((f"module.{name}", shape) for name, shape in own.items()))
    assert fit.names == {name: f"module.{name}" for name in own}
    assert (fit.prefix, fit.stem, fit.problems) == ("", None, 0)


def test_dropped_names_are_neither_missing_nor_left_over() -> None:
    wanted = {"conv.weight": (4, 3, 3, 3), "fc.weight": (5, 4)}
    given = wanted | {"aux1.fc.weight": (5, 9)}
    fit = fitting.match(wanted, given, lambda name: None if name.startswith("aux1.") else name)
    assert fit.problems == 0
    assert fitting.match(wanted, given).unexpected == ("aux1.fc.weight",)
