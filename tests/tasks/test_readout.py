"""How what a network returned is read: scores before any activation, and the probabilities that belong to them."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace

import nets
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from camcli import methods
from camcli.errors import RequestError, SetupError
from camcli.network.evidence import Evidence
from camcli.tasks.classify import Classify
from camcli.tasks.probing import places, probe, probe_twice
from camcli.tasks.tables import NoTableError

IMAGES = nets.noise(3, 3, 12, 16)
ONE = nets.noise(1, 3, 12, 16)
TWO = nets.noise(2, 3, 12, 16)

Head = Callable[[Tensor], object]


class Headed(nn.Module):
    """`nets.Convolutional` with a head behind its logits."""

    def __init__(self, head: Head, classes: int = 5) -> None:
        super().__init__()
        self.body = nets.Convolutional(classes)
        self.head = head

    def forward(self, x: Tensor) -> object:
        return self.head(self.body(x))


def headed(head: Head, classes: int = 5) -> Headed:
    return Headed(head, classes).eval().requires_grad_(False)


def logits(net: Headed) -> Tensor:
    scores: Tensor = net.body(IMAGES)
    return scores


def read(net: nn.Module, key: str | None = None, *, multi_label: bool = False) -> tuple[Classify, int, Tensor]:
    """(how it is read, number of classes, the scores of IMAGES), probed with one picture as a run does."""
    readout, classes = probe(net, ONE, key, multi_label)
    scores = readout.outputs(net, IMAGES).scores
    assert scores.shape == (len(IMAGES), classes)
    return readout, classes, scores


def plain(scores: Tensor) -> Tensor:
    return scores


def softmax_by_hand(scores: Tensor) -> Tensor:
    shifted = (scores - scores.amax(1, keepdim=True)).double().exp()
    return (shifted / shifted.sum(1, keepdim=True)).float()


def sigmoid_by_hand(scores: Tensor) -> Tensor:
    return torch.tensor([[1 / (1 + math.exp(-z)) for z in row] for row in scores.tolist()])


SOFTMAX: list[tuple[str, Head]] = [
    ("module", nn.Softmax(dim=1)),
    ("log module", nn.LogSoftmax(dim=1)),
    ("module of maps", lambda z: nn.Softmax2d()(z[:, :, None, None])),
    ("functional", lambda z: functional.softmax(z, dim=1)),
    ("functional log", lambda z: functional.log_softmax(z, dim=1)),
    ("functional by keyword", lambda z: functional.softmax(input=z, dim=1)),
    ("torch", lambda z: torch.softmax(z, 1)),
    ("torch log", lambda z: torch.log_softmax(z, 1)),
    ("method", lambda z: z.softmax(-1)),
    ("log method", lambda z: z.log_softmax(-1)),
    ("flattened", lambda z: nn.Flatten()(z[:, :, None, None].softmax(1))),
    ("squeezed", lambda z: z[:, :, None].softmax(1).squeeze(2)),
    ("with dropout", lambda z: functional.dropout(z.softmax(1), 0.5, training=False)),
]

SIGMOID: list[tuple[str, Head]] = [
    ("module", nn.Sigmoid()),
    ("functional", functional.sigmoid),
    ("torch", torch.sigmoid),
    ("method", Tensor.sigmoid),
    ("expit", torch.special.expit),
    ("in place", lambda z: z.sigmoid_()),
    ("torch in place", lambda z: torch.sigmoid_(z)),
    ("flattened", lambda z: z[:, :, None, None].sigmoid().flatten(1)),
    ("squeezed", lambda z: z[..., None].sigmoid().squeeze(-1)),
]


def test_logits_are_the_scores() -> None:
    net = headed(plain)
    readout, classes, scores = read(net)
    assert (readout, classes) == (Classify(), 5)
    assert torch.equal(scores, logits(net))
    torch.testing.assert_close(readout.probabilities(scores), softmax_by_hand(scores), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("head", [pytest.param(head, id=name) for name, head in SOFTMAX])
def test_a_softmax_at_the_end_is_read_before_it(head: Head) -> None:
    net = headed(head)
    readout, classes, scores = read(net)
    assert (readout.activated, readout.activation, classes) == (True, "softmax", 5)
    assert torch.equal(scores, logits(net))
    torch.testing.assert_close(readout.probabilities(scores), softmax_by_hand(scores), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("head", [pytest.param(head, id=name) for name, head in SIGMOID])
def test_a_sigmoid_at_the_end_is_read_before_it(head: Head) -> None:
    net = headed(head)
    readout, classes, scores = read(net)
    assert (readout.activated, readout.activation, classes) == (True, "sigmoid", 5)
    assert torch.equal(scores, logits(net))
    torch.testing.assert_close(readout.probabilities(scores), sigmoid_by_hand(scores), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ends", [False, True], ids=["logit", "sigmoid"])
@pytest.mark.parametrize("flat", [False, True], ids=["N1", "N"])
def test_one_logit_is_two_classes(flat: bool, ends: bool) -> None:
    def head(z: Tensor) -> Tensor:
        z = z.sigmoid() if ends else z
        return z.squeeze(1) if flat else z

    net = headed(head, classes=1)
    readout, classes, scores = read(net)
    assert classes == 2
    z = logits(net)
    assert torch.equal(scores, torch.cat([-z, z], dim=1))
    probabilities = readout.probabilities(scores)
    torch.testing.assert_close(probabilities[:, 1:], sigmoid_by_hand(z), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(IMAGES)))


def test_multi_label_probabilities_are_sigmoids() -> None:
    readout, classes, scores = read(headed(plain), multi_label=True)
    assert classes == 5
    assert torch.equal(scores, logits(headed(plain)))
    torch.testing.assert_close(readout.probabilities(scores), sigmoid_by_hand(scores), rtol=1e-6, atol=1e-7)
    same, _, _ = read(headed(torch.sigmoid), multi_label=True)
    assert (same.activated, same.activation) == (True, "sigmoid")


@pytest.mark.parametrize("head", [nn.Softmax(dim=1), nn.LogSoftmax(dim=1)], ids=["softmax", "log_softmax"])
def test_multi_label_is_refused_where_classes_exclude_each_other(head: Head) -> None:
    with pytest.raises(RequestError, match="--multi-label: the model ends in a softmax"):
        probe(headed(head), ONE, None, multi_label=True)


def test_an_inner_softmax_or_sigmoid_is_not_the_heads() -> None:
    """Attention, gates, and a second output beside the scores."""
    readout, classes = probe(nets.Tokens("attention", 1).eval(), nets.noise(1, 3, 32, 32), None, False)
    assert (readout, classes) == (Classify(), 5)

    def gated(z: Tensor) -> Tensor:
        return z * z.sigmoid()

    def scaled(z: Tensor) -> Tensor:
        return z * torch.sigmoid(torch.tensor(0.5))

    def beside(z: Tensor) -> dict[str, Tensor]:
        return {"logits": z, "probabilities": z.softmax(1)}

    for head in (gated, scaled, beside):
        assert not read(headed(head))[0].activated


def test_the_sigmoid_of_a_doubled_batch_is_still_the_heads() -> None:
    """One picture probes, another number of them is explained."""
    net = headed(torch.sigmoid)
    readout, _ = probe(net, ONE, None, False)
    assert torch.equal(readout.outputs(net, torch.cat([IMAGES, IMAGES])).scores, torch.cat([logits(net)] * 2))


# Several outputs.

Pair = namedtuple("Pair", ["features", "scores"])


@dataclass
class Output:
    """As Transformers returns it, but neither a dict nor a tuple."""

    logits: Tensor
    hidden_states: tuple[Tensor, ...]
    loss: Tensor | None = None


def maps(z: Tensor) -> Tensor:
    return z[:, :, None, None].expand(-1, -1, 4, 4)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(lambda z: {"aux": z + 1, "logits": z}, id="dict with logits"),
        pytest.param(lambda z: {"out": z, "features": maps(z), "count": 3}, id="dict with one table"),
        pytest.param(lambda z: (maps(z), z), id="tuple"),
        pytest.param(lambda z: [z], id="list"),
        pytest.param(lambda z: (z, None, {"loss": z}), id="tuple with other things"),
        pytest.param(lambda z: Pair(maps(z), z), id="named tuple"),
        pytest.param(lambda z: Output(z, (maps(z),)), id="object"),
        pytest.param(lambda z: {"out": z[:, :, None, None], "ids": z.argsort(1)}, id="convolutional"),
        pytest.param(lambda z: {"out": {"logits": z, "features": maps(z)}, "loss": 0.5}, id="dict in a dict"),
    ],
)
def test_the_one_table_of_several_outputs_is_the_scores(head: Head) -> None:
    readout, classes, scores = read(headed(head))
    assert (replace(readout, key=None), classes) == (Classify(), 5)
    # Found once: of one picture a squeezed output would be no table.
    assert read(headed(head), readout.key)[0] == readout
    assert torch.equal(scores, logits(headed(head)))


@pytest.mark.parametrize(
    ("head", "listed"),
    [
        (lambda z: {"main": z, "aux": z[:, :3]}, "main (1x5), aux (1x3)"),
        (lambda z: (z, z[:, :3]), "0 (1x5), 1 (1x3)"),
        (lambda z: Pair(z, z), "features (1x5), scores (1x5)"),
        (lambda z: {"map": maps(z)}, "map (1x5x4x4)"),
        (lambda z: {"out": {"a": z, "b": z[:, :3]}, "n": 1}, "out.a (1x5), out.b (1x3)"),
    ],
    ids=["dict", "tuple", "named tuple", "no table", "inside"],
)
def test_several_possible_outputs_are_listed_with_the_flag_that_picks(head: Head, listed: str) -> None:
    with pytest.raises(SetupError) as refusal:
        probe(headed(head), ONE, None, False)
    assert str(refusal.value).endswith(f"choose one with --output-key, of {listed}")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (lambda z: {"nothing": 1}, "dict"),
        (lambda z: (), "tuple"),
        (lambda z: 3.0, "float"),
        (lambda z: None, "NoneType"),
        (lambda z: z.numpy(), "ndarray"),
        (lambda z: ["cat"] * len(z), "list"),
    ],
)
def test_what_is_no_tensor_is_named(head: Head, kind: str) -> None:
    with pytest.raises(NoTableError, match=rf"returns no tensor \({kind}\)"):
        probe(headed(head), ONE, None, False)


@pytest.mark.parametrize(
    ("head", "key"),
    [
        (lambda z: {"main": z, "aux": z[:, :3]}, "aux"),
        (lambda z: {"out": {"main": z, "aux": z[:, :3]}, "loss": 0.5}, "out.aux"),
        (lambda z: (z, z[:, :3]), "1"),
        (lambda z: Pair(z, z[:, :3]), "scores"),
        (lambda z: {"logits": z, 7: z[:, :3]}, "7"),
    ],
    ids=["dict", "dict in a dict", "tuple", "named tuple", "number"],
)
def test_a_key_picks(head: Head, key: str) -> None:
    readout, classes, scores = read(headed(head), key)
    assert (readout, classes) == (Classify(key), 3)
    assert torch.equal(scores, logits(headed(head))[:, :3])


def test_a_key_picks_an_activated_output() -> None:
    net = headed(lambda z: {"main": z, "probabilities": z.softmax(1)})
    readout, _, scores = read(net, "probabilities")
    assert readout == Classify("probabilities", "softmax", activated=True)
    assert torch.equal(scores, logits(net))


def test_an_activated_output_before_another_activation() -> None:
    """The softmax of the scores is not the last activation that ran."""
    net = headed(lambda z: {"probabilities": z.softmax(1), "gate": z[:, 0].sigmoid()})
    readout, _, scores = read(net)
    assert readout.activated
    assert torch.equal(scores, logits(net))


def test_a_wrong_key_lists_the_right_ones() -> None:
    several = headed(lambda z: {"main": z, "aux": z[:, :3], "note": "text"})
    with pytest.raises(RequestError, match=r"^--output-key scores: the model's outputs are main \(1x5\), aux \(1x3\)$"):
        probe(several, ONE, "scores", False)
    with pytest.raises(RequestError, match="--output-key 0: the model gives one tensor"):
        probe(headed(plain), ONE, "0", False)


@pytest.mark.parametrize("head", [lambda z: z[:, :, None, None], lambda z: z[:, None]], ids=["maps", "one token"])
def test_axes_of_length_one_are_none(head: Head) -> None:
    net = headed(head)
    assert torch.equal(read(net)[2], logits(net))


@pytest.mark.parametrize(
    ("head", "given"),
    [
        (maps, "2x5x4x4"),
        (lambda z: z.sum(), "one number"),
        (lambda z: torch.stack([z, z], 1), "2x2x5"),
        (lambda z: torch.cat([z, z]), "4x5"),
        (lambda z: z[0], "5"),
    ],
    ids=["map", "scalar", "sequence", "other batch", "no batch"],
)
def test_what_is_no_table_of_scores_is_no_classifier(head: Head, given: str) -> None:
    with pytest.raises(NoTableError, match="it is no classifier") as refusal:
        probe(headed(head), TWO, None, False)
    assert f"the model gives {given} for 2 picture(s)" in str(refusal.value)


def ranked_by_numpy(scores: Tensor) -> dict[str, Tensor]:
    ids = torch.from_numpy(scores.numpy().argsort(1)[:, ::-1].copy())
    return {"scores": torch.from_numpy(scores.numpy()[[[i] for i in range(len(ids))], ids]), "labels": ids}


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (lambda z: z.mean(0)[:2], "2 numbers of one picture and 1 each of 2"),
        (lambda z: z.argmax(1), "int64 numbers, not scores"),
        (lambda z: z[:, :0], "its table has no classes"),
        (lambda z: z.softmax(0), "a softmax that is not over its classes"),
        (lambda z: z.log_softmax(0), "a softmax that is not over its classes"),
        (lambda z: z.softmax(1).topk(3), "come before its topk, sort or max"),
        (lambda z: z.topk(3).values.softmax(1), "come before its topk, sort or max"),
        (lambda z: torch.sort(z, descending=True)[0], "come before its topk, sort or max"),
        (lambda z: z.sigmoid().max(1, keepdim=True), "come before its topk, sort or max"),
        (lambda z: ranked_by_numpy(z), "come before its topk, sort or max"),
    ],
    ids=[
        "a batch's mean as long as the batch",
        "class ids",
        "no classes",
        "softmax over the batch",
        "log-softmax over the batch",
        "topk",
        "softmax of topk",
        "sorted",
        "the best alone",
        "scores and ids in a dict",
    ],
)
def test_what_only_looks_like_a_table_is_no_classifier(head: Head, said: str) -> None:
    with pytest.raises(NoTableError, match=said):
        probe_twice(headed(head), TWO, None, False)


@pytest.mark.parametrize("head", [lambda z: z.topk(3).values, lambda z: z.sort(1)[0], lambda z: z.argmax(1)])
def test_a_table_says_nothing_of_places(head: Head) -> None:
    """What told why it is no classifier was lost: it was then read as a segmenter's output, of two axes or one."""
    net = headed(head)
    with pytest.raises(NoTableError):
        probe_twice(net, TWO, None, False)
    assert places(net, TWO, None, False) is None


@pytest.mark.parametrize(
    ("head", "classes"),
    [(lambda z: z.squeeze(), 5), (lambda z: z[:, :1].squeeze(), 2), (lambda z: z[:, :1].squeeze().sigmoid(), 2)],
    ids=["five classes", "one logit", "one sigmoid"],
)
def test_a_squeezed_output_is_read_of_one_picture_as_of_two(head: Head, classes: int) -> None:
    net = headed(head)
    readout, found, alone = probe_twice(net, TWO, None, False)
    assert (found, alone) == (classes, False)
    together = readout.outputs(net, TWO).scores
    one = readout.outputs(net, TWO[:1]).scores
    assert together.shape == (2, classes)
    torch.testing.assert_close(one, together[:1], rtol=1e-4, atol=1e-5)


def test_a_network_of_one_picture_is_read_alone() -> None:
    net = headed(lambda z: z.reshape(1, 5))
    readout, classes, alone = probe_twice(net, TWO, None, False)
    assert (classes, alone) == (5, True)
    torch.testing.assert_close(readout.outputs(net, IMAGES[:1]).scores, logits(headed(plain))[:1])


@pytest.mark.parametrize(
    ("head", "activation"),
    [
        (lambda z: z.softmax(1).clamp(0.2, 1), "softmax"),
        (lambda z: (z.softmax(1) + (2 * z).softmax(1)) / 2, "softmax"),
        (lambda z: z.exp() / z.exp().sum(1, keepdim=True), "softmax"),
        (lambda z: z.softmax(1) * torch.tensor([1.0, 1, 1, 1, 0]), "softmax"),
        (lambda z: (z.sigmoid() + (2 * z).sigmoid()) / 2, "sigmoid"),
        (lambda z: 1 - z.sigmoid(), "sigmoid"),
    ],
    ids=["clamped", "vote", "by hand", "masked", "vote of sigmoids", "the other side"],
)
def test_probabilities_are_not_taken_for_scores(head: Head, activation: str) -> None:
    net = headed(head)
    readout, classes, scores = read(net)
    assert (readout.given, readout.activation, classes) == (True, activation, 5)
    given = net(IMAGES)
    torch.testing.assert_close(readout.probabilities(scores), given, rtol=1e-4, atol=1e-6)
    # In float32 a number that is zero has no logarithm: it stays finite.
    assert scores.isfinite().all()


@pytest.mark.parametrize(
    ("head", "activation"),
    [
        (lambda z: 100 * softmax_by_hand(z), "softmax"),
        (lambda z: 100 * (z.softmax(1) + (2 * z).softmax(1)) / 2, "softmax"),
    ],
    ids=["by hand", "vote"],
)
def test_per_cent_are_not_taken_for_scores(head: Head, activation: str) -> None:
    net = headed(head)
    readout, classes, scores = read(net)
    assert (readout.given, readout.activation, classes) == (100, activation, 5)
    torch.testing.assert_close(readout.probabilities(scores), net(IMAGES) / 100, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("head", "activation"),
    [
        (lambda z: z.softmax(1).clamp(1e-6, 1), "softmax"),
        (lambda z: 2 * z.softmax(1) - 1, "softmax"),
        (lambda z: z.softmax(1) - 1 / 5, "softmax"),
        (lambda z: z.softmax(1) / 1000, "softmax"),
        (lambda z: z.softmax(1) * 100, "softmax"),
        (lambda z: z.softmax(1).log(), "softmax"),
        (lambda z: z.softmax(1).log2(), "softmax"),
        (lambda z: 10 * z.log_softmax(1) / math.log(10), "softmax"),
        (lambda z: 2 * z.sigmoid() - 1, "sigmoid"),
        (lambda z: z.sigmoid() * 100, "sigmoid"),
        (functional.logsigmoid, "sigmoid"),
        (lambda z: z.sigmoid().log(), "sigmoid"),
    ],
    ids=[
        "clamped",
        "2p-1",
        "p-1/K",
        "a thousandth",
        "per cent",
        "log",
        "log2",
        "dB",
        "2s-1",
        "per cent of sigmoids",
        "log-sigmoid",
        "log of sigmoids",
    ],
)
def test_what_is_made_of_probabilities_is_read_before_them(head: Head, activation: str) -> None:
    """A multiple of an activation's numbers or of their logarithms, plus a constant."""
    net = headed(head)
    readout, classes, alone = probe_twice(net, TWO, None, activation == "sigmoid")
    assert (readout.activated, readout.activation, classes, alone) == (True, activation, 5, False)
    assert torch.equal(readout.outputs(net, IMAGES).scores, logits(net))
    torch.testing.assert_close(readout.outputs(net, ONE).scores, net.body(ONE))


@pytest.mark.parametrize(
    "head", [lambda z: -z.log_softmax(1), lambda z: 1 - z.softmax(1), lambda z: -(z.softmax(1).log2())]
)
def test_what_falls_where_a_softmax_rises_is_refused(head: Head) -> None:
    with pytest.raises(NoTableError, match="the largest is the least likely"):
        probe_twice(headed(head), TWO, None, False)


def test_scores_through_a_gate_of_their_own_are_scores() -> None:
    """They rise with the gate, on no line."""
    assert probe_twice(headed(lambda z: z * z.sigmoid()), TWO, None, False)[0] == Classify()


@pytest.mark.parametrize(
    ("head", "unsigned"),
    [
        (plain, False),
        (Tensor.relu, True),
        (lambda z: z.square() + 1, True),
        (lambda z: softmax_by_hand(z).log2(), True),
        (lambda z: z.sigmoid(), False),
        (lambda z: z.log_softmax(1), False),
        (lambda z: z - z.logsumexp(1, keepdim=True), False),
    ],
    ids=["logits", "relu", "evidence", "log2", "sigmoid", "log-softmax", "log-softmax by hand"],
)
def test_scores_without_a_sign_are_doubted(head: Head, unsigned: bool) -> None:
    assert read(headed(head))[0].unsigned is unsigned


@pytest.mark.parametrize("last", [nn.Linear(8, 5), nn.Conv2d(8, 5, 1)], ids=["linear", "convolution"])
def test_what_a_linear_layer_gives_are_logits_of_whatever_sign(last: nn.Module) -> None:
    assert isinstance(last.bias, Tensor)
    nn.init.constant_(last.bias, 100.0)
    body = [nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1)]
    net = nn.Sequential(*body, *([nn.Flatten()] if isinstance(last, nn.Linear) else []), last, nn.Flatten())
    assert bool((net(IMAGES) > 0).all())
    assert probe(net.eval().requires_grad_(False), ONE, None, False) == (Classify(), 5)


@pytest.mark.parametrize("turned", [lambda z: z.T.softmax(0).T, lambda z: z.T.sigmoid().T], ids=["softmax", "sigmoid"])
def test_a_table_that_is_turned_for_its_activation_is_turned_back(turned: Head) -> None:
    """Also for as many pictures as classes."""
    net = headed(turned)
    readout, _ = probe(net, TWO, None, False)
    many = nets.noise(5, 3, 12, 16)
    torch.testing.assert_close(readout.outputs(net, many).scores, headed(plain)(many))


def test_the_best_of_a_bag_is_no_ranking() -> None:
    """Multiple instances, of which the best one's logit is the bag's."""
    readout, classes, _ = read(headed(lambda z: z.max(1, keepdim=True).values))
    assert (readout.binary, classes) == (True, 2)


@pytest.mark.parametrize("head", [plain, lambda z: z.relu(), lambda z: z - z.min(), lambda z: (z > 0) * 0.5 + 0.1])
def test_scores_are_not_taken_for_probabilities(head: Head) -> None:
    readout, _, scores = read(headed(head))
    assert not readout.given
    assert torch.equal(scores, headed(head)(IMAGES))


# Gradients.


def grad_cam(net: Headed, task: Classify, class_id: int) -> tuple[Tensor, Tensor]:
    """(the map, the gradient it is made of) at the second convolution, of IMAGES."""
    (layer,) = nets.layers_of(net.body, ONE, "conv2")
    forward = nets.run(net, IMAGES, [layer], task=task)
    evidence = Evidence(forward, nets.of_class(torch.full((len(IMAGES),), class_id)), layer)
    return methods.get("grad-cam").function(evidence), evidence.grads


@pytest.mark.parametrize(
    "head",
    [nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.Sigmoid(), lambda z: z.sigmoid_()],
    ids=["softmax", "log-softmax", "sigmoid", "sigmoid in place"],
)
def test_grad_cam_does_not_see_the_activation(head: Head) -> None:
    net = headed(head)
    readout, _ = probe(net, ONE, None, False)
    for class_id in range(5):
        seen, gradient = grad_cam(net, readout, class_id)
        expected, expected_gradient = grad_cam(headed(plain), Classify(), class_id)
        assert torch.equal(seen, expected)
        assert torch.equal(gradient, expected_gradient)


@pytest.mark.parametrize("ends", [False, True], ids=["logit", "sigmoid"])
def test_the_first_of_two_classes_is_the_logit_negated(ends: bool) -> None:
    net = headed(torch.sigmoid if ends else plain, classes=1)
    readout, _ = probe(net, ONE, None, False)
    no, against = grad_cam(net, readout, 0)
    yes, towards = grad_cam(net, readout, 1)
    assert towards.any()
    assert torch.equal(against, -towards)
    assert no.any()
    assert yes.any()
    assert not torch.equal(no, yes)

    with torch.no_grad():
        acts = net.body.conv2(net.body.activate(net.body.conv1(IMAGES)))
    weights = (net.body.fc.weight[0] * (acts > 0).float().mean((2, 3)) / acts[0, 0].numel())[:, :, None, None]
    torch.testing.assert_close(yes, (weights * acts).sum(1).relu(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(no, (-weights * acts).sum(1).relu(), rtol=1e-5, atol=1e-7)
