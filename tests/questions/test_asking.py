"""What is explained, how it is smoothed and fused, what is said of odd answers, and the sheets that compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from shell import SAMPLES, refused, run

from camcli import Engine, Explained, Spec, expand, methods
from camcli.answers import batch as answers
from camcli.answers import diagnosis
from camcli.answers.attributing import attributions
from camcli.maps import likeness
from camcli.network.evidence import Evidence
from camcli.network.forward import Forward
from camcli.network.network import Network
from camcli.questions.asking import Asked
from camcli.records import Attribution, Question
from camcli.tasks.classify import ClassPrediction as Prediction
from camcli.tasks.targets import Custom, Mixture, Negated, OfClass

BOTH = SAMPLES / "cat_and_espresso.jpg"
CAT, CUP = 282, 967


def explained(**asked: Any) -> list[Attribution]:
    (result,) = Engine(Spec(**asked)).explain(expand([str(BOTH)]))
    assert isinstance(result, Explained)
    return list(result.attributions)


def values(**asked: Any) -> NDArray[np.float32]:
    (attribution,) = explained(**asked)
    return attribution.values


def share_above(map_: NDArray[np.float32]) -> float:
    """How much of the heat is in the upper half, where the cat is."""
    return float(map_[: len(map_) // 2].sum() / map_.sum())


# What is explained.


@pytest.mark.exhaustive
def test_heat_moves_with_what_is_asked() -> None:
    assert share_above(values(classes=("tiger cat",))) > 0.6
    assert share_above(values(classes=("espresso",))) < 0.3
    assert share_above(values(classes=("espresso",), counterfactual=True)) > 0.8
    assert share_above(values(contrast=("espresso", "tiger cat"))) < 0.1
    assert share_above(values(contrast=("tiger cat", "espresso"))) > 0.9
    assert share_above(values(similar_to=str(SAMPLES / "cat_chelsea.jpg"))) > 0.8
    assert share_above(values(similar_to=str(SAMPLES / "espresso.jpg"))) < 0.4


def test_a_contrast_is_the_difference_and_a_counterfactual_the_negation() -> None:
    net, images = nets.Convolutional().eval(), nets.noise(2, 3, 9, 14)
    (layer,) = nets.layers_of(net, images[:1], "conv2")
    forward = nets.run(net, images, [layer])
    cat, cup = OfClass((0, 3)), OfClass((1, 2))
    of = {name: Evidence(forward, target, layer).grads for name, target in {"cat": cat, "cup": cup}.items()}
    contrast = Evidence(forward, Mixture(((1.0, cat), (-1.0, cup))), layer).grads
    torch.testing.assert_close(contrast, of["cat"] - of["cup"])
    assert torch.equal(Evidence(forward, Negated(cat), layer).grads, -of["cat"])
    custom = Custom("minus", lambda scores: scores[[0, 1], [0, 3]] - scores[[0, 1], [1, 2]])
    torch.testing.assert_close(Evidence(forward, custom, layer).grads, contrast)
    probability = Evidence(forward, OfClass((0, 3), probability=True), layer).grads
    p = forward.logits.softmax(1)[[0, 1], [0, 3]]
    expected = torch.zeros_like(probability)
    for k in range(5):
        own = torch.tensor([k == 0, k == 3])
        share = p * (own.float() - forward.logits.softmax(1)[:, k])
        expected += share[:, None, None, None] * Evidence(forward, OfClass((k, k)), layer).grads
    torch.testing.assert_close(probability, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.exhaustive
def test_the_row_says_what_was_asked(tmp_path: Path) -> None:
    def target(*flags: object) -> dict[str, Any]:
        (row,) = run("explain", BOTH, *flags, "--json", "--save", "none").rows
        found: dict[str, Any] = row["explanations"][0]["target"]
        return found

    assert target("-c", "espresso", "--counterfactual").items() >= {"id": CUP, "negated": True}.items()
    contrast = target("--contrast", "espresso", "tiger cat")
    assert (contrast["id"], contrast["minus"]["id"]) == (CUP, CAT)
    assert contrast["value"] == pytest.approx(contrast["logit"] - contrast["minus"]["logit"], abs=1e-3)
    softmax = target("--target", "softmax")
    assert (softmax["quantity"], softmax["value"]) == ("softmax", pytest.approx(softmax["probability"], abs=1e-5))
    output = target("--output-index", 5)
    assert (output["quantity"], output["probability"]) == ("output", None)
    similar = target("--similar-to", BOTH)
    assert similar["value"] == pytest.approx(1)
    assert (similar["id"], similar["name"]) == (None, "similar to cat_and_espresso.jpg")
    (tmp_path / "mine.py").write_text("def cups(output):\n    return output[:, 967] + output[:, 968]\n")
    custom = target("--target", "mine.py:cups")
    assert (custom["quantity"], custom["name"]) == ("function", "mine.py:cups")


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--contrast", "espresso", "tiger cat", "-c", "top2"], 2, "--class and --contrast each say what is explained"),
        (["--contrast", "espresso", "top3"], 2, "--contrast takes two classes"),
        (["--target", "sofmax"], 2, "none of logit, softmax, module:function"),
        (["--target", "nothing.py:score"], 2, "no such file: nothing.py"),
        (["--output-index", "1000"], 2, "--output-index 1000: the model has 1000 outputs"),
        (["--similar-to", "missing.jpg"], 2, "missing.jpg"),
        (["--target", "mine.py:both"], 3, "--target mine.py:both gives 1x1000 for 1 picture(s), not one number each"),
        (
            ["--target", "mine.py:wrong"],
            3,
            "mine.py:wrong raised AttributeError: 'Tensor' object has no attribute 'maps'",
        ),
        (["--fuse", "mean"], 2, "--fuse joins the maps of several layers"),
        (["--fuse", "sum", "-l", "features", "-l", "features.6"], 2, "--fuse 'sum' is none of mean, max, product"),
        (["--augment", "rotate"], 2, "--augment 'rotate' is none of flip, scale"),
        (
            ["--eigen-smooth", "-M", "eigen-cam"],
            2,
            "--eigen-smooth replaces a sum over channels, and eigen-cam has none",
        ),
        (["--sanity", "some"], 2, "--sanity 'some' is none of head, cascade"),
        (["-M", "le-grad"], 3, "le-grad does not apply to efficientnet_lite0"),
    ],
)
def test_what_cannot_be_asked_is_refused(flags: list[str], code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def both(output):\n    return output\n\ndef wrong(output):\n    return output.maps\n"
    )
    assert said in refused(code, "explain", BOTH, *flags)


# Smoothed and fused.


def test_an_augmented_map_is_the_mean_of_those_of_the_changed_views() -> None:
    net, images = nets.RedBlue(), torch.zeros(1, 3, 24, 40)
    images[:, 0, 4:8, 28:32] = 1
    (layer,) = nets.layers_of(net, images)
    plan = answers.Plan(Forward(nets.run(net, images).network, images).network, [methods.get("grad-cam")], [layer])
    flipped = answers.Plan(plan.network, plan.methods, plan.layers, augment=("flip",))
    (plain,) = answers.Batch(plan, images).answers(OfClass((0,)))
    (mean,) = answers.Batch(flipped, images).answers(OfClass((0,)))
    np.testing.assert_allclose(mean.values, plain.values, atol=1e-7)  # stride and picture are symmetric
    assert np.unravel_index(mean.values[0].argmax(), mean.values[0].shape) == (1, 7)
    assert len(answers.augmentations(("flip", "scale"))) == 6


@pytest.mark.parametrize(("how", "expected"), [("mean", [[0.75, 0.5]]), ("max", [[1, 1]]), ("product", [[0.5, 0]])])
def test_fused_maps_are_each_scaled_to_their_maximum_first(how: Any, expected: list[list[float]]) -> None:
    one, other = torch.tensor([[[8.0, 0.0]]]), torch.tensor([[[0.1, 0.1]]])
    other[..., 1] = 0.2
    swapped = answers.fused([one, other], how)
    np.testing.assert_allclose(swapped[0], expected)
    assert answers.fused([one, torch.zeros(1, 2, 4)], how).shape == (1, 2, 4)


def test_fused_layers_are_one_answer() -> None:
    (fused,) = explained(layers=("features.5", "features"), fuse="product")
    assert fused.layer == "features.5+features"
    assert fused.values.shape == (14, 14)
    assert 0 < fused.values.max() <= 1


# What is said of odd answers.


def test_a_class_insensitive_map_is_flagged() -> None:
    """Tiger cat's rival is another class on another thing; a method that never looks at the class is always flagged."""
    (sensible, blind) = explained(methods=("grad-cam", "eigen-cam"), classes=("top1",))
    assert blind.note == "class-insensitive: eigen-cam never looks at the class"
    assert sensible.note is None
    one = np.array([[1.0, 2.0], [0.0, 0.5]], dtype=np.float32)
    assert likeness.same_map(one, 3 * one) == pytest.approx(1)
    assert likeness.same_map(one, one.T) is None
    assert likeness.same_map(one, 0 * one) is None


def test_the_same_map_as_a_sibling_on_one_thing_is_no_verdict() -> None:
    """Two cats on one cat are rightly one map; that of the least likely class is another one."""
    (result,) = Engine(Spec(classes=("top2",))).explain(expand([str(SAMPLES / "cat_chelsea.jpg")]))
    assert isinstance(result, Explained)
    cat, sibling = (attribution.note or "" for attribution in result.attributions)
    assert cat.startswith("the same map as 285 Egyptian cat (cosine 0.99")
    assert sibling.startswith("the same map as 282 tiger cat (cosine 0.99")


@pytest.mark.parametrize(
    ("weights", "classes", "said"),
    [
        # Rows of the last layer, one for each class: best, rival, least likely.
        ([[3.0, 1.0], [2.0, 0.7], [-1.0, 0.2]], 3, "the same map as 1 b (cosine "),
        ([[3.0, 1.0], [2.0, 0.7], [1.0, 0.3]], 3, "class-insensitive: the same map as 1 b (cosine "),
        ([[3.0, 1.0], [2.0, 0.7]], 2, "class-insensitive: the same map as 1 b (cosine "),
        ([[3.0, 0.1], [0.1, 3.0], [-1.0, -1.0]], 3, None),
    ],
)
def test_a_map_is_insensitive_that_is_the_same_for_a_dissimilar_class(
    weights: list[list[float]], classes: int, said: str | None
) -> None:
    net, images = nets.RedBlue(), torch.zeros(1, 3, 24, 40)
    images[:, 0, 4:8, 28:32] = images[:, 2, 12:20, 4:8] = 1
    net.fc = torch.nn.Linear(2, classes, bias=False)
    net.fc.weight.data = torch.tensor(weights)
    layer = nets.layers_of(net.eval(), images)
    batch = answers.Batch(answers.Plan(Network(net), [methods.get("grad-cam")], layer), images)
    logits = batch.forward.logits
    labels = ["a", "b", "c"][:classes]
    found = [Prediction(labels, logits[0].argsort(descending=True).tolist(), logits[0].numpy(), None)]
    best = found[0].ranking[0]
    question = Question(labels[best], 1.0, "logit", entry=found[0].entry(best))
    (answered,) = attributions(batch, [Asked(OfClass((best,)), [question])], found, [], neurons=False)
    assert isinstance(answered, list)
    (attribution,) = answered
    assert (attribution.note or "").startswith(said or "")
    assert (attribution.note is None) == (said is None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("dead", "blank: conv2 is dead: its activations are zero everywhere"),
        ("head", "blank: the gradient at conv2 is zero everywhere"),
        ("against", "blank: no positive evidence for 0 a at conv2"),
        ("saturated", "blank: the probability is saturated at 1; explain the logit, --target logit"),
        ("flat", "flat: the same value everywhere, so it points nowhere"),
    ],
)
def test_a_blank_or_flat_map_names_its_cause(change: str, said: str) -> None:
    from camcli.entries import Entry

    net, images = nets.Averaged().eval(), nets.noise(1, 3, 9, 14)
    assert net.conv2.bias is not None
    with torch.no_grad():
        if change in ("dead", "flat"):
            net.conv2.weight.zero_()
            net.conv2.bias.fill_(float(change == "flat"))
        if change == "head":
            net.fc.weight.zero_()
        if change in ("against", "flat"):
            net.conv2.bias.fill_(9.0)
            net.fc.weight.fill_(-1.0 if change == "against" else 1.0)
        if change == "saturated":
            net.fc.bias[0] = 1e4
    (layer,) = nets.layers_of(net, images, "conv2")
    forward = nets.run(net, images, [layer])
    target = OfClass((0,), probability=change == "saturated")
    quantity = "softmax" if change == "saturated" else "logit"
    question = Question("a", float(forward.values(target)), quantity, Entry(0, "a", 1.0, 1.0))
    map_ = methods.get("grad-cam").function(Evidence(forward, target, layer))[0].numpy()
    assert diagnosis.of_values(map_, forward, target, layer, question, 0) == said


def test_sanity_tells_what_depends_on_the_weights() -> None:
    """Grad-CAM changes with the head's weights; Eigen-CAM never looks at them (arXiv:1810.03292)."""
    (grad, eigen) = explained(methods=("grad-cam", "eigen-cam"), sanity="head")
    assert [check.randomised for check in grad.sanity] == ["classifier.1"]
    assert grad.sanity[0].rank_correlation < 0.8
    assert eigen.sanity[0].rank_correlation == pytest.approx(1)
    assert eigen.unchanged_by == ("classifier.1",)
    assert eigen.note == "fails the sanity check: random weights in classifier.1 leave it as it is"


def test_a_cascade_goes_from_the_head_to_the_picture_and_leaves_the_model_alone() -> None:
    engine = Engine(Spec(sanity="cascade"))
    before = {name: value.clone() for name, value in engine.model.net.state_dict().items()}
    (result,) = engine.explain(expand([str(BOTH)]))
    assert isinstance(result, Explained)
    parts = [check.randomised for check in result.attributions[0].sanity]
    assert parts == ["classifier", *(f"features.{i}" for i in range(8, -1, -1))]
    assert all(torch.equal(before[name], value) for name, value in engine.model.net.state_dict().items())


def test_an_answer_that_fails_is_stamped_in_row_and_picture() -> None:
    (row,) = run("explain", BOTH, "-M", "eigen-cam", "--sanity", "head", "--json", "--format", "png").rows
    (explanation,) = row["explanations"]
    assert explanation["note"].startswith("fails the sanity check")
    assert explanation["sanity"] == [{"randomised": "classifier.1", "rank_correlation": 1.0, "ssim": 1.0}]
    with Image.open(explanation["files"]["overlay"]) as overlay:
        assert overlay.getpixel((0, overlay.height - 3)) == (190, 0, 0)


def test_likeness() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 7, 7), dtype=np.float32)
    assert likeness.rank_correlation(one, one**3) == pytest.approx(1)
    assert likeness.rank_correlation(one, 1 - one) == pytest.approx(-1)
    # Ties share their mean rank: 1, 2.5, 2.5, 4 against 1, 2, 3, 4.
    tied, ranked = np.array([[0, 1], [1, 2]], dtype=np.float32), np.array([[0, 1], [2, 3]], dtype=np.float32)
    assert likeness.rank_correlation(tied, ranked) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert likeness.rank_correlation(one, 0 * one) == 0
    assert likeness.ssim(one, 5 * one) == pytest.approx(1)
    assert likeness.ssim(one, other) < 0.5


# The channels behind an answer.


def test_neurons_are_the_channels_with_the_largest_and_smallest_weights() -> None:
    (attribution,) = explained(classes=("espresso",), neurons=True)
    weights = [neuron.weight for neuron in attribution.neurons]
    assert len(weights) == 10
    assert weights[:5] == sorted(weights[:5], reverse=True)
    assert weights[5:] == sorted(weights[5:])
    assert min(weights[:5]) > 0 > max(weights[5:])
    total = sum(neuron.weight * neuron.values for neuron in attribution.neurons)
    assert likeness.rank_correlation(np.maximum(total, 0), attribution.values) > 0.3
    (row,) = run("explain", BOTH, "-c", "espresso", "--neurons", "--json").rows
    (explanation,) = row["explanations"]
    assert [n["channel"] for n in explanation["neurons"]["top"]] == [n.channel for n in attribution.neurons[:5]]
    with Image.open(explanation["files"]["neurons"]) as strip:
        assert strip.width > 500


# Sheets.


def test_compare_puts_everything_on_one_sheet() -> None:
    flags = ("-c", "tiger cat", "-c", "espresso", "-M", "grad-cam", "-M", "eigen-cam", "-M", "gradient", "--columns", 2)
    done = run("compare", BOTH, *flags, "--max-side", 160, "--json")
    assert done.code == 0
    assert "7 pictures in compare.png" in done.err
    (row,) = done.rows
    assert [(e["method"], e["target"]["id"]) for e in row["explanations"]] == [
        (method, i) for i in (CAT, CUP) for method in ("grad-cam", "eigen-cam", "gradient")
    ]
    with Image.open("compare.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape[1] == 3 * 160 + 4 * 5  # the photo and two answers, and half a letter between them
    assert (sheet[60:180, 172:320].std(axis=(0, 1)) > 10).all()  # the first answer
    assert run("compare", BOTH, "-M", "grad-cam", "-o", "sheet.txt").code == 2


def test_compare_of_models_and_of_all_methods() -> None:
    done = run(
        "compare", BOTH, "-m", "efficientnet_lite0", "-m", "squeezenet1_1", "-w", "DEFAULT", "-w", "none", "-M", "cam"
    )
    assert done.code == 3  # squeezenet1_1 averages its classes, not its channels
    assert "cam does not apply to squeezenet1_1" in done.err
    assert "2 --model and 3 --weights don't go in step" in refused(
        2, "compare", BOTH, "-m", "vgg11", "-m", "vgg13", "-w", "a", "-w", "b", "-w", "c"
    )
