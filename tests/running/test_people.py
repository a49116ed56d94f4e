"""Networks that people write: a faster form never answers otherwise than a plain forward, and assumptions are tried."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import people
import pytest
import torch
from numpy.typing import NDArray
from people import CLASSES, SIDE
from shell import SAMPLES
from torch import Tensor, nn
from variants import thinned

from camcli import Engine, Explained, Failed, Spec, expand
from camcli.errors import SetupError
from camcli.inputs import decoding, preprocessing
from camcli.inputs.refs import ref_named
from camcli.layers import changes, placing
from camcli.layers.choosing import choose
from camcli.layers.tracing import trace
from camcli.models import load_model

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*"),
]

PHOTOS = [str(SAMPLES / name) for name in ("cat_chelsea.jpg", "espresso.jpg", "honey_bee.jpg")]
EXPLAINED = (
    "Plain Viewed ViewedByWidth Columns Squeezed SqueezedYes OneAtATime FrozenStart DetachedStart OneReLU Repeated "
    "HalfMade BfloatHead DoubleMade Checkpointed CheckpointedReentrant ChangesItsInput ChangesItsMap HooksOfItsOwn "
    "Remembers TwoHeads DataclassOutput ListOfModules Concatenates Gated WeightNormed GroupNormed Clamped Vote "
    "LogSoftmaxed UnfoldedPatches ChannelsLastInside LeftTraining ScriptedInside CompiledInside Transposes "
    "ExtraArguments CastsToDouble CastsToBfloat MadeGrey WeightsOfNoModule"
).split()
SIDE_BY_SIDE = ("FlipAveraged", "TwoScales")
# Of the map's maximum: what other rounding moves.
SAME = 2e-3


def spec(name: str, **asked: Any) -> Spec:
    return Spec(f"people:{name}", "none", resize=SIDE, crop=SIDE, **asked)


def explained(asked: Spec, photos: list[str] = PHOTOS) -> list[Explained]:
    results = list(Engine(asked).explain(expand(photos)))
    assert all(isinstance(result, Explained) for result in results), results
    return [result for result in results if isinstance(result, Explained)]


def views(net_of: Spec) -> Tensor:
    preset = load_model(net_of).preset
    frames = [decoding.read_frame(ref_named(i, photo)) for i, photo in enumerate(PHOTOS)]
    return torch.from_numpy(np.stack([preprocessing.view_of(frame, preset, "crop").pixels for frame in frames]))


def truth(name: str) -> tuple[nn.Module, list[Tensor]]:
    """(the network, the probabilities of each photo), by a plain forward of one picture at a time."""
    net: nn.Module = getattr(people, name)().float().eval()
    if name in ("CompiledInside", "CastsToDouble"):
        net = people.Plain().eval()  # the same weights, and no compiler or casts
    if name == "CastsToBfloat":
        net = people.Plain().bfloat16().float().eval()
    said = []
    for view in views(spec(name)):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # checkpointing of nothing
            raw: Any = net(view[None].clone())
        if isinstance(raw, dict):
            raw = raw["logits"]
        raw = raw.scores if isinstance(raw, people.Said) else raw
        if name == "SqueezedYes":
            said.append(torch.stack([1 - raw, raw]))
        else:
            said.append(raw.reshape(-1) if name in ("Clamped", "Vote") else raw.reshape(-1).softmax(0))
    return net, said


def test_what_is_compiled_inside_is_looked_into_or_refused() -> None:
    engine = Engine(spec("CompiledInside"))
    assert [layer.name for layer in engine.layers] == ["late"]
    assert type(engine.model.net.get_submodule("late")) is nn.Sequential
    with pytest.raises(SetupError, match=r"guided-backprop does not apply .* 'neck' is compiled by TorchScript"):
        Engine(spec("ScriptedInside", methods=("guided-backprop",)))


def by_hand(net: nn.Module, view: Tensor, layer: str, call: int, class_id: int | None) -> NDArray[np.float32]:
    """Grad-CAM of one picture at that run of a layer whose output is channels first."""
    assert class_id is not None
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_() if len(kept) == call else output)
        return kept[-1].clone() if len(kept) == call + 1 else output

    with net.get_submodule(layer).register_forward_hook(keep, prepend=True):
        raw: Any = net(view[None].clone())
    raw = raw["logits"] if isinstance(raw, dict) else raw.scores if isinstance(raw, people.Said) else raw
    (gradient,) = torch.autograd.grad(raw.reshape(-1)[class_id], kept[call])
    weights = gradient.mean((2, 3), keepdim=True)
    values: NDArray[np.float32] = (weights * kept[call]).sum(1).relu()[0].detach().numpy()
    return values


@pytest.mark.parametrize("name", thinned(EXPLAINED, 2))
def test_fast_and_exact_say_what_a_plain_forward_says(name: str) -> None:
    net, expected = truth(name)
    fast, exact = explained(spec(name)), explained(spec(name, exact=True))
    for one, other, probabilities in zip(fast, exact, expected, strict=True):
        for found in (one, other):
            own = {score.id: score.probability for score in found.top}
            assert own == pytest.approx(dict(enumerate(probabilities.tolist())), abs=2e-5)
        assert one.top[0].id == other.top[0].id == int(probabilities.argmax())
        (fast_map,), (exact_map,) = one.attributions, other.attributions
        assert fast_map.note == exact_map.note
        assert np.abs(fast_map.values - exact_map.values).max() <= SAME * np.abs(exact_map.values).max()
    # Where the last layer alone is differentiated, and its output is channels first, the map is known.
    if name in ("SqueezedYes", "Clamped", "Vote", "LogSoftmaxed", "UnfoldedPatches", "CheckpointedReentrant"):
        return
    assert any(answer.values.any() for one in exact for answer in one.attributions)
    layer, call = str(exact[0].layer), {"OneReLU": 1, "Repeated": 2}.get(name, 0)
    for found, view in zip(exact, views(spec(name)), strict=True):
        values = by_hand(net, view, layer, call, found.top[0].id)
        np.testing.assert_allclose(found.attributions[0].values, values, rtol=1e-4, atol=1e-6)


# Those that other tests know the right answer of; without a layer of their own they are explained by the gradient.
NETS = """
import nets
import torch
from nets import *

def skips_last():
    torch.manual_seed(0)
    return nets.SkipsLast()

def two_trunks():
    torch.manual_seed(0)
    return nets.TwoTrunks()

def wrapped():
    return nets.Wrapped(nets.Convolutional())

def in_place():
    return nets.Convolutional(inplace=True)

def functional():
    return nets.Convolutional(functional=True)

def read_by_class_token():
    return nets.Tokens("class", 1)

def read_by_mean():
    return nets.Tokens("mean", 2)

def read_by_attention():
    return nets.Tokens("attention", 0)
"""


@pytest.mark.parametrize(
    ("made", "method"),
    [
        *((made, "grad-cam") for made in ("wrapped", "in_place", "functional", "RedBlue", "Averaged", "skips_last")),
        *((made, "grad-cam") for made in ("read_by_class_token", "read_by_mean", "read_by_attention")),
        *((made, "grad-cam") for made in ("PatchTransformer", "ClassAttention", "ChannelsLast")),
        *((made, "gradient") for made in ("Hierarchy", "two_trunks")),
    ],
)
def test_networks_of_other_tests_say_the_same_both_ways(made: str, method: str) -> None:
    Path("n.py").write_text(NETS)
    asked = Spec(f"n.py:{made}", "none", resize=SIDE, crop=SIDE, methods=(method,))
    for one, other in zip(explained(asked), explained(replace(asked, exact=True)), strict=True):
        assert [score.id for score in one.top] == [score.id for score in other.top]
        (fast,), (exact,) = one.attributions, other.attributions
        assert (fast.layer, fast.note) == (exact.layer, exact.note)
        assert np.abs(fast.values - exact.values).max() <= SAME * np.abs(exact.values).max()


def test_a_view_that_channels_last_breaks_is_computed_without_and_says_so() -> None:
    engine = Engine(spec("Viewed"))
    assert not engine.plan.network.channels_last
    assert [remark for remark in engine.remarks if "channels last" in remark]
    assert not [remark for remark in Engine(spec("Plain")).remarks if "channels last" in remark]
    # What is faster without changing how tensors lie is done all the same.
    assert isinstance(engine.model.net.get_submodule("early.1"), nn.Identity)


def test_the_layer_after_which_only_weights_of_no_module_come_is_the_last() -> None:
    (layer,) = Engine(spec("WeightsOfNoModule")).layers
    assert (layer.name, layer.shape) == ("fc", (7, 6, 6))


def test_a_masked_class_is_never_an_answer() -> None:
    """Its score is minus infinity."""
    (result,) = explained(spec("Masked", top=4), PHOTOS[:1])
    assert [score.id for score in result.top if score.id == 3] == []
    assert len(result.top) == 3
    (asked,) = Engine(spec("Masked", classes=("3",))).explain(expand(PHOTOS[:1]))
    assert isinstance(asked, Failed)
    assert asked.message.endswith("is minus infinity: it masks that class out")


def test_pictures_that_a_network_makes_grey_itself_have_three_channels() -> None:
    model = load_model(spec("MadeGrey"))
    assert len(model.preset.mean) == 3
    assert not [remark for remark in model.remarks if "grey" in remark]
    assert len(load_model(spec("MadeGrey", mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))).preset.mean) == 3


def test_a_half_precision_network_is_computed_in_float32_and_says_so() -> None:
    engine = Engine(spec("HalfMade"))
    assert engine.provenance.dtype == "float32"
    assert [remark for remark in engine.remarks if remark == "people:HalfMade is made in float16: computed in float32"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Vote", "gives probabilities: they are reported as they are"),
        ("Clamped", "gives numbers made of its softmax's: what entered that is read"),
    ],
)
def test_what_is_read_of_probabilities_is_said(name: str, said: str) -> None:
    assert [remark for remark in Engine(spec(name)).remarks if said in remark]


def test_a_network_of_one_picture_is_asked_one_by_one() -> None:
    engine = Engine(spec("OneAtATime", batch_size=8, methods=("grad-cam", "occlusion")))
    assert engine.batch_size == 1
    assert [remark for remark in engine.remarks if "takes one picture at a time" in remark]


# What runs more than once.


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
def test_runs_side_by_side_are_no_layer(name: str) -> None:
    with pytest.raises(SetupError, match="'body' runs 2 times in one forward"):
        Engine(spec(name))
    with pytest.raises(SetupError, match=r"layer 'body\.late' runs 2 times in one forward, side by side"):
        Engine(spec(name, layers=("body.late",)))
    # Without a layer it is explained.
    assert explained(spec(name, methods=("gradient",)))[0].attributions[0].values.any()


def test_of_two_runs_the_one_that_the_picture_takes_is_read() -> None:
    """The other one compares with a picture of the network's own."""
    for layers in ((), ("body.late",)):
        engine = Engine(spec("Siamese", layers=layers))
        (layer,) = engine.layers
        assert layer.call == 0
    net = people.Siamese().eval()
    (result,) = Engine(spec("Siamese", exact=True)).explain(expand(PHOTOS[:1]))
    assert isinstance(result, Explained)
    expected = by_hand(net, views(spec("Siamese"))[0], "body.late", 0, result.top[0].id)
    np.testing.assert_allclose(result.attributions[0].values, expected, rtol=1e-4, atol=1e-6)


def test_a_shared_module_is_read_at_the_run_that_gives_the_map() -> None:
    net = people.OneReLU().eval()
    traced = trace(net, torch.zeros(2, 3, SIDE, SIDE))
    chosen = choose(net, traced, "net")
    assert (chosen.name, chosen.call, chosen.shape) == ("relu", 1, (8, 12, 12))
    assert [run.shape for run in traced.runs_of("relu")] == [(2, 6, 24, 24), (2, 8, 12, 12), (2, 8)]


def test_perturbation_resumes_at_that_run_too() -> None:
    """Ablation-CAM runs the network from the layer on."""
    one, other = (explained(spec("OneReLU", methods=("ablation-cam",), exact=exact))[0] for exact in (True, False))
    assert (
        np.abs(one.attributions[0].values - other.attributions[0].values).max()
        <= SAME * one.attributions[0].values.max()
    )


# What cuts the graph.


@pytest.mark.parametrize("name", ["FrozenStart", "DetachedStart"])
def test_layers_before_a_cut_are_refused_by_its_name(name: str) -> None:
    cause = {"FrozenStart": "runs under torch.no_grad", "DetachedStart": "forward detaches"}[name]
    with pytest.raises(SetupError, match=f"no gradient of the score reaches layer 'early': .*{cause}"):
        Engine(spec(name, layers=("early",)))
    with pytest.raises(SetupError, match=f"gradient does not apply to .*{cause}"):
        Engine(spec(name, methods=("gradient",)))


@pytest.mark.parametrize(("switch", "named"), [("no_grad", "no_grad"), ("inference_mode", "inference_mode")])
def test_a_network_without_any_graph_names_the_cause(switch: str, named: str, tmp_path: Path) -> None:
    Path("net.py").write_text(
        "import torch\nfrom people import Plain\n\nclass Net(Plain):\n"
        f"    @torch.{switch}()\n    def forward(self, x):\n        return super().forward(x)\n"
    )
    with pytest.raises(SetupError, match=rf"no gradient reaches the model's layers: forward runs under torch\.{named}"):
        Engine(Spec("net.py:Net", "none", resize=SIDE, crop=SIDE))
    # What is in it can be told.
    assert len(explained(Spec("net.py:Net", "none", resize=SIDE, crop=SIDE, methods=()))) == len(PHOTOS)


def test_a_frozen_branch_is_said_to_be_on_no_map(tmp_path: Path) -> None:
    Path("net.py").write_text(
        "import torch\nfrom people import Plain\n\nclass Net(Plain):\n    def forward(self, x):\n"
        "        with torch.no_grad():\n            aside = self.early(x).mean()\n"
        "        return super().forward(x) + aside\n"
    )
    remarks = Engine(Spec("net.py:Net", "none", resize=SIDE, crop=SIDE)).remarks
    assert [remark for remark in remarks if "runs 'early.0' under torch.no_grad(): what the score owes to it" in remark]


# What moves the picture.


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Mirrored", "sees the picture mirrored, left to right"),
        ("UpsideDown", "sees the picture upside down"),
        ("Transposed", "sees the picture transposed"),
        ("Quarter", "never sees the view's top right and bottom left and bottom right corner"),
        ("Middle", "never sees the view's top left and top right and bottom left and bottom right corner"),
        ("Barely", "never sees what lies along the view's top side"),
        ("Zoomed", "never sees what lies along the view's top side"),
        ("Padded", "sees the picture smaller"),
        ("PaddedBelow", "sees the picture smaller"),
        ("PaddedAround", "sees the picture smaller"),
        ("Reflected", "sees the picture smaller"),
        ("Interlaced", "sees the picture smaller"),
    ],
)
def test_a_map_that_does_not_lie_on_the_view_is_refused(name: str, how: str) -> None:
    with pytest.raises(SetupError, match=how):
        Engine(spec(name))
    assert explained(spec(name, methods=("gradient",)))[0].attributions[0].values.any()


FAR_KERNELS = """
import torch
from torch import nn

def conv(given, out, stride, dilation=1, mode="zeros"):
    own = nn.Conv2d(given, out, 3, stride, dilation, dilation=dilation, bias=False, padding_mode=mode)
    return nn.Sequential(own, nn.BatchNorm2d(out), nn.ReLU())

class Net(nn.Module):
    def __init__(self, seed, kind):
        super().__init__()
        torch.manual_seed(seed)
        fine = [nn.Conv2d(3, 8, 11, padding=5), nn.ReLU()]
        dilated = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=4, dilation=4), nn.ReLU()]
        unpadded = [nn.Conv2d(3, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 5), nn.ReLU(), nn.MaxPool2d(2)]
        deep = [conv(3, 8, 2), conv(8, 8, 2), conv(8, 8, 1, 2), conv(8, 8, 1, 4)]
        circular = [conv(3, 8, 2, mode="circular"), conv(8, 8, 2, mode="circular"), conv(8, 8, 2, mode="circular")]
        kinds = {"fine": fine, "dilated": dilated, "unpadded": unpadded, "deep": deep, "circular": circular}
        self.body = nn.Sequential(*kinds[kind])
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))
"""


@pytest.mark.parametrize("kind", ["fine", "dilated", "unpadded", "deep", "circular"])
@pytest.mark.parametrize("seed", thinned("0123", 4))
def test_kernels_that_reach_far_are_not_suspected(kind: str, seed: str) -> None:
    Path("large.py").write_text(FAR_KERNELS)
    asked = Spec("large.py:Net", "none", model_args=(("kind", kind), ("seed", seed)), resize=64, crop=64)
    warned = [remark for remark in Engine(asked).remarks if "warning" in remark]
    assert [remark for remark in warned if "painted too wide" not in remark] == []


SPREADS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.far = nn.Conv2d(32, 32, 3, padding=8, dilation=8)
        self.fc = nn.Linear(32, 4)

    def forward(self, x):
        if self.kind == "min-max":
            low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
            return self.fc(self.stem((x - low) / (high - low)).mean((2, 3)))
        return self.fc(self.far(self.stem(x)).relu().mean((2, 3)))
"""


@pytest.mark.exhaustive
def test_kernels_that_reach_half_across_the_map_are_not_refused_and_noted() -> None:
    Path("spreads.py").write_text(SPREADS)
    asked = Spec("spreads.py:Net", "none", model_args=(("kind", "dilated"),), resize=64, crop=64)
    assert [remark for remark in Engine(asked).remarks if placing.UNSEEN in remark]
    assert all(result.attributions[0].note == placing.UNSEEN for result in explained(asked))


def test_a_picture_that_is_divided_by_its_own_extremes_is_seen() -> None:
    """A part that is brighter than all of it changes all of it."""
    Path("spreads.py").write_text(SPREADS)
    asked = Spec("spreads.py:Net", "none", model_args=(("kind", "min-max"),), resize=64, crop=64)
    assert not [remark for remark in Engine(asked).remarks if "warning" in remark]


def test_rounding_does_not_bring_the_places_of_a_small_map_nearer() -> None:
    """On a 2x2 map opposite corners are as far apart as they must be, and no farther."""
    for value in torch.rand(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)):
        first, last = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
        first[0, 0] = last[1, 1] = value
        assert (changes.place_of(first), changes.place_of(last)) == ((0.25, 0.25), (0.75, 0.75))


def test_all_methods_go_on_without_those_that_look_at_a_layer() -> None:
    """Where the map would lie elsewhere, and where no layer is crossed by every path."""
    for name, why in (("Mirrored", "mirrored"), ("FlipAveraged", "runs 2 times"), ("AllFunctional", "no layer of")):
        engine = Engine(spec(name, methods=("all",)))
        assert {method.name for method in engine.methods} >= {"gradient", "occlusion"}
        assert not [method for method in engine.methods if method.at_layer]
        assert [remark for remark in engine.remarks if "grad-cam" in remark and "left out" in remark and why in remark]


def test_maps_beside_the_batch_are_no_layer() -> None:
    for layers in ((), ("late",)):
        with pytest.raises(SetupError, match=r"layer 'late' gives 8 maps of 8x6x6 for 2 .*-M gradient, -M occlusion"):
            Engine(spec("Tiles", layers=layers))
    assert explained(spec("Tiles", methods=("occlusion",)))[0].attributions[0].values.any()


def test_a_layer_inside_a_compiled_one_is_refused_by_its_name() -> None:
    with pytest.raises(SetupError, match=r"layer 'neck\.0' is compiled by TorchScript, where no output is seen"):
        Engine(spec("ScriptedInside", layers=("neck.0",)))


# What is not the picture's alone.


@pytest.mark.parametrize("name", ["Dropped", "Noisy", "SeldomSkips"])
def test_chance_is_said_and_noted(name: str) -> None:
    engine = Engine(spec(name))
    assert [remark for remark in engine.remarks if "answers otherwise each time it is asked" in remark]
    (result,) = engine.explain(expand(PHOTOS[:1]))
    assert isinstance(result, Explained)
    assert str(result.attributions[0].note).startswith("one draw")


@pytest.mark.parametrize("name", ["BatchNormed", "Standardised"])
def test_company_is_said_and_changes_nothing(name: str) -> None:
    remarks = Engine(spec(name)).remarks
    assert [remark for remark in remarks if "depends on the others of its batch" in remark]
    alone, among = explained(spec(name), PHOTOS[:1])[0], explained(spec(name))[0]
    assert alone.top == among.top
    assert np.array_equal(alone.attributions[0].values, among.attributions[0].values)


@pytest.mark.parametrize("name", ["Plain", "Masked", "LeftTraining", "ChangesItsInput", "Remembers", "HooksOfItsOwn"])
def test_ordinary_networks_are_not_suspected(name: str) -> None:
    assert not [remark for remark in Engine(spec(name)).remarks if "warning" in remark]


def test_variants_of_a_picture_that_the_network_writes_into_are_variants_of_the_picture() -> None:
    changing = explained(spec("ChangesItsInput", methods=("occlusion",), augment=("flip",)))[0]
    Path("net.py").write_text(
        "from people import Plain\n\nclass Net(Plain):\n    def forward(self, x):\n"
        "        return super().forward((x - 0.1) * 2)\n"
    )
    asked = Spec("net.py:Net", "none", resize=SIDE, crop=SIDE, methods=("occlusion",), augment=("flip",))
    same = explained(asked)[0]
    np.testing.assert_allclose(changing.attributions[0].values, same.attributions[0].values, rtol=1e-4, atol=1e-6)


# A target function needs no classifier.

SEGMENTS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 5, 4, 4)

    def forward(self, x):
        return self.up(self.down(x))

class Words(Net):
    def forward(self, x):
        return {"words": super().forward(x).flatten(2).transpose(1, 2), "lengths": [1]}

def score(maps):
    return -maps[:, 2].mean((1, 2))

def of_words(said):
    return said["words"][..., 1].mean(1)
"""


@pytest.mark.parametrize(("made", "function"), [("Net", "score"), ("Words", "of_words")])
def test_a_target_function_explains_what_is_no_classifier(made: str, function: str) -> None:
    Path("n.py").write_text(SEGMENTS)
    asked = Spec(f"n.py:{made}", "none", resize=SIDE, crop=SIDE, target=f"n.py:{function}")
    result = explained(asked)[0]
    (answer,) = result.attributions
    assert (result.layer, answer.values.shape, result.top) == ("down", (12, 12), ())
    assert (answer.target.quantity, answer.target.name) == ("function", f"n.py:{function}")
    assert answer.values.any()
    exact = explained(replace(asked, exact=True))[0]
    assert np.abs(exact.attributions[0].values - answer.values).max() <= SAME * answer.values.max()
    without = Spec(f"n.py:{made}", "none", resize=SIDE, crop=SIDE)
    if made == "Net":  # which gives scores of each place
        assert Engine(without).model.task.name == "segment"
    else:
        with pytest.raises(SetupError, match=r"no classifier|no single"):
            Engine(without)


def test_the_layer_leads_to_what_the_function_reads() -> None:
    """The scores go through `late`, what is asked about does not."""
    Path("n.py").write_text(
        "from people import Plain\n\nclass Net(Plain):\n    def forward(self, x):\n        early = self.early(x)\n"
        "        return {'logits': self.fc(self.late(early).mean((2, 3))), 'aside': early}\n\n"
        "def aside(said):\n    return said['aside'].mean((1, 2, 3))\n"
    )
    results = explained(Spec("n.py:Net", "none", resize=SIDE, crop=SIDE, target="n.py:aside"))
    assert results[0].layer == "early"
    assert len(results[0].top) == CLASSES


# Hugging Face's.

TRANSFORMERS = """
import torch
from transformers import HieraConfig, HieraForImageClassification
from transformers import PoolFormerConfig, PoolFormerForImageClassification, Swinv2Config, Swinv2ForImageClassification

def swin():
    sizes = {"image_size": 64, "patch_size": 4, "window_size": 4}
    return Swinv2ForImageClassification(Swinv2Config(embed_dim=12, depths=(1, 1), num_heads=(1, 2), **sizes))

def pool():
    sizes = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
    return PoolFormerForImageClassification(PoolFormerConfig(num_labels=3, **sizes))

def hiera():
    sizes = {"embed_dim": 16, "depths": [1, 1, 2, 2], "num_heads": [1, 2, 4, 8], "image_size": [128, 128]}
    return HieraForImageClassification(HieraConfig(num_labels=3, **sizes))
"""


@pytest.mark.parametrize(
    ("made", "side", "layer", "grid"),
    [
        ("swin", 64, "swinv2.layernorm", (24, 8, 8)),
        ("pool", 64, "norm", (20, 2, 2)),
        ("hiera", 128, "hiera.encoder.stages.3", (128, 4, 4)),
    ],
    ids=[
        "a table of 7x7 is no picture's map",
        "a norm whose class is called Pool is no pool",
        "before the last stage tokens lie window by window, and stages give tuples",
    ],
)
def test_layers_of_transformers(made: str, side: int, layer: str, grid: tuple[int, int, int]) -> None:
    Path("hf.py").write_text(TRANSFORMERS)
    engine = Engine(Spec(f"hf.py:{made}", "none", resize=side, crop=side))
    assert [(own.name, own.shape) for own in engine.layers] == [(layer, grid)]


@pytest.mark.parametrize("name", ["Squeezed", "SqueezedYes"])
def test_one_picture_of_a_network_that_squeezes_is_run_again_from_the_layer(name: str) -> None:
    asked = spec(name, methods=("cam", "ablation-cam"))
    (alone,), together = explained(asked, PHOTOS[:1]), explained(asked)
    for one, other in zip(alone.attributions, together[0].attributions, strict=True):
        assert one.values.any() == other.values.any()
        assert np.abs(one.values - other.values).max() <= SAME * max(np.abs(other.values).max(), 1e-6)
