"""A target at its maximum, or at the end of float32's digits, has no slope but rounding: a blank map that says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nets
import pytest
import torch
from shell import SAMPLES, run
from torch import Tensor, nn

from camcli import methods
from camcli.answers import batch as answers
from camcli.answers import diagnosis
from camcli.network import slopes
from camcli.network.network import Network
from camcli.network.parts import ATTENTION, OF_TARGET
from camcli.records import Question
from camcli.tasks.classify import PLAIN
from camcli.tasks.outputs import Outputs
from camcli.tasks.targets import Custom, Mixture, Negated, OfClass, Similarity, Target

CAT = SAMPLES / "cat_chelsea.jpg"


@pytest.fixture
def outputs() -> Outputs:
    """Three pictures' scores, the first one's sure of class 1, and embeddings."""
    scores = 3 * nets.noise(3, 10)
    scores[0, 1] = 40
    return Outputs(scores, scores, PLAIN, nets.noise(3, 20, seed=1))


def _only_float32(given: Tensor) -> Tensor:
    assert given.dtype == torch.float32
    return given


FUNCTIONS: dict[str, tuple[Callable[[Any], Tensor], list[bool]]] = {
    "linear": (lambda given: given[:, 2] - given[:, 3], [False] * 3),
    "square": (lambda given: (given**2).sum(1), [False] * 3),
    "a length that is 1": (lambda given: (given / given.norm(dim=1, keepdim=True)).norm(dim=1), [True] * 3),
    "hidden behind a constant": (lambda given: 1e10 + given[:, 0], [True] * 3),
    "itself": (lambda given: torch.cosine_similarity(given, given.detach()), [True] * 3),
    "float32 alone": (lambda given: given @ torch.ones(10) / given.norm(dim=1), [False] * 3),
    "refuses doubles": (lambda given: _only_float32(given)[:, 2] ** 2, [False] * 3),
    "refuses doubles, and is a length that is 1": (
        lambda given: torch.cosine_similarity(_only_float32(given), given.detach()),
        [True] * 3,
    ),
    "zero": (lambda given: 0 * given[:, 0], [False] * 3),  # no slope at all is no rounding
    "no graph": (lambda given: given.detach()[:, 0], [False] * 3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_whose_slope_is_rounding_is_told(name: str, outputs: Outputs) -> None:
    function, expected = FUNCTIONS[name]
    assert slopes.is_rounding(Custom(name, function), outputs).tolist() == expected


@dataclass
class Returned:
    logits: Tensor
    features: Tensor


@pytest.mark.parametrize(
    "raw",
    [lambda own: {"logits": own}, lambda own: (own, 3), lambda own: [own], lambda own: Returned(own, own)],
    ids=["dict", "tuple", "list", "object"],
)
def test_what_networks_return_is_followed(raw: Callable[[Tensor], Any], outputs: Outputs) -> None:
    def of(given: Any) -> Tensor:
        if isinstance(given, (tuple, list)):
            return given[0]  # type: ignore[no-any-return]
        return given["logits"] if isinstance(given, dict) else given.logits  # type: ignore[no-any-return]

    given = Outputs(raw(outputs.scores), outputs.scores, PLAIN)
    unit = Custom("unit", lambda own: (of(own) / of(own).norm(dim=1, keepdim=True)).norm(dim=1))
    assert slopes.is_rounding(unit, given).all()
    assert not slopes.is_rounding(Custom("one", lambda own: of(own)[:, 1] ** 2), given).any()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (OfClass((1, 1, 1)), [False] * 3),
        (OfClass((1, 1, 1), probability=True), [True, False, False]),
        (Negated(OfClass((1, 1, 1), probability=True)), [True, False, False]),
        (OfClass((0, 0, 0), probability=True), [False] * 3),  # small, but with all its digits
        (Mixture(((1.0, OfClass((1, 2, 3), True)), (-1.0, OfClass((4, 5, 6), True)))), [True, False, False]),
        (Similarity(nets.noise(3, 20, seed=1)[1:2]), [False, True, False]),
        (Similarity(2 * nets.noise(3, 20, seed=1)[1:2]), [False, True, False]),
    ],
)
def test_saturated_probabilities_and_the_picture_itself_are_told(
    target: Target, expected: list[bool], outputs: Outputs
) -> None:
    assert slopes.is_rounding(target, outputs).tolist() == expected


class Centred(nn.Module):
    """Each channel's own mean is taken off after the layer, so what speaks for a class there adds up to nothing."""

    def __init__(self) -> None:
        super().__init__()
        parts = nets.Convolutional()
        self.conv1, self.conv2, self.fc = parts.conv1, parts.conv2, parts.fc
        self.norm = nn.InstanceNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv2(self.norm(self.conv1(x))).relu().mean((2, 3)))
        return scores


def _said(name: str, net: nn.Module, target: Target, question: Question, layer: str) -> tuple[Tensor, str | None]:
    images = nets.noise(2, 3, 24, 30)
    found = nets.layers_of(net.eval(), images[:1], layer)
    method = methods.get(name)
    plan = answers.Plan(Network(net), [method], found, {layer: found})
    batch = answers.Batch(plan, images)
    (answer,) = batch.answers(target)
    said = diagnosis.of_values(answer.values[0], batch.forward, target, answer.layer, question, 0)
    return torch.from_numpy(answer.values), said


def test_a_sum_that_cancels_is_blank() -> None:
    """Grad-CAM's weights in front of an instance norm are zero, and were painted from 1e-9 of what was added up."""
    question = Question("a", 1.0, "logit")
    map_, said = _said("grad-cam", Centred(), OfClass((1, 2)), question, "conv1")
    assert not map_.any()
    assert said == "blank: what speaks for a at conv1 and what speaks against it cancel, but for rounding"
    map_, said = _said("hires-cam", Centred(), OfClass((1, 2)), question, "conv1")  # each place has its own weight
    assert map_.any()
    assert said is None


READS_TARGET = [
    name
    for name in methods.names()
    if methods.get(name).needs & OF_TARGET and not methods.get(name).needs & (ATTENTION | {"ascend"})
]


@pytest.mark.parametrize("name", READS_TARGET)
def test_a_number_that_is_the_same_for_all_pictures_has_a_blank_map(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradient is rounding at every picture, noisy copies too, and nothing that is hidden changes it."""
    monkeypatch.setattr("camcli.methods.rise.MASKS", 50)
    unit = Custom("unit", lambda given: (given / given.norm(dim=1, keepdim=True)).norm(dim=1))
    question = Question("unit", 1.0, "function")
    map_, said = _said(name, nets.Averaged(), unit, question, "conv2")
    if name in ("score-cam", "ss-cam", "is-cam"):  # weights that are all the same
        return
    assert not map_.any()
    assert said == "blank: the number hardly depends on what the network says: its gradient is rounding"


@pytest.mark.parametrize("name", ["smooth-grad", "integrated-gradients", "occlusion", "score-cam", "shapley-cam"])
def test_methods_that_look_at_other_pictures_still_say_why_a_picture_is_like_itself(name: str) -> None:
    """The cosine has no slope there, but what is covered, dimmed or noisy is less similar."""
    net = nets.Convolutional().eval()
    images = nets.noise(2, 3, 24, 30)
    with torch.no_grad():
        own = net(images)[0]
    like = Custom("like", lambda given: torch.cosine_similarity(given, own.expand_as(given)))
    map_, said = _said(name, net, like, Question("like", 1.0, "function"), "conv2")
    assert map_[0].any()
    assert said is None
    assert not _said("grad-cam", net, like, Question("like", 1.0, "function"), "conv2")[0][0].any()


def test_places_that_are_all_alike_have_no_component() -> None:
    net = nets.Convolutional()
    with torch.no_grad():
        net.conv2.weight.zero_()
    for name in ("kpca-cam", "eigen-grad-cam"):
        map_, _ = _said(name, net, OfClass((1, 2)), Question("a", 1.0, "logit"), "conv2")
        assert not map_.any()


@pytest.mark.exhaustive
def test_a_picture_compared_with_itself_is_blank_and_says_why(tmp_path: Path) -> None:
    flags = ("-M", "grad-cam", "-M", "gradient", "--save", "none", "--json")
    own, other = run("explain", CAT, SAMPLES / "espresso.jpg", "--similar-to", CAT, *flags).rows
    for explanation in own["explanations"]:
        assert explanation["max"] == 0
        assert explanation["note"].startswith("blank: no picture could be more similar")
    assert all(explanation["max"] > 0 and "note" not in explanation for explanation in other["explanations"])
    (tmp_path / "mine.py").write_text("def sure(out):\n    return out.softmax(1).sum(1)\n")
    (row,) = run("explain", CAT, "--target", "mine.py:sure", "--save", "none", "--json").rows
    assert row["explanations"][0]["note"].startswith("blank: the ")
    (row,) = run("explain", CAT, "--contrast", 282, 282, "--save", "none", "--json").rows
    assert row["explanations"][0]["note"] == "blank: a class less itself is zero whatever the picture shows"
