"""Python's own face: what it takes, that it answers as the command does, and that it leaves a network as it was."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import people
import pytest
import timm
import torch
from PIL import Image
from shell import SAMPLES, run
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torchvision import models as zoo
from torchvision.transforms import Compose, functional, v2
from torchvision.transforms import transforms as v1

import camcli
from camcli.inputs.preprocessing import view_of
from camcli.models import transforms
from camcli.tasks.frozen import frozen

CAT = SAMPLES / "cat_chelsea.jpg"
BEE = SAMPLES / "honey_bee.jpg"
TWELVE = (
    "alexnet vgg11 resnet18 squeezenet1_1 densenet121 mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 mnasnet0_5 "
    "regnet_y_400mf vit_b_32 swin_t"
).split()
SMALL: dict[str, Any] = {
    "resize": 96,
    "crop": 64,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.25, 0.2, 0.3],
    "interpolation": "bicubic",
}

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*"),
]


class Net(people.Plain):
    """A user's network, by no name of ours."""


def net() -> Net:
    return Net()


def small(seed: int = 0, size: int = 64) -> Tensor:
    return torch.randn(3, size, size, generator=torch.Generator().manual_seed(seed))


def explained(pictures: Any, model: Any, **how: Any) -> Any:
    """Without the remark that no preset is known."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no preset|.*no preset is known", camcli.CamcliWarning)
        return camcli.explain(pictures, model, **how)


# As the command does.


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.exhaustive) for name in TWELVE])
def test_a_network_in_memory_is_explained_bit_for_bit_as_by_its_name(name: str) -> None:
    assert run("explain", CAT, BEE, "-m", name, "-w", "none", "-o", "out", "--save", "raw").code == 0
    known = camcli.load_model(camcli.Spec(name, "none"))
    answers = explained([CAT, BEE], known.net, preset=known.preset)
    for answer in answers:
        (path,) = Path("out").glob(f"{Path(answer.name).name}.grad-cam.*.npz")
        with np.load(path) as raw:
            assert np.array_equal(raw["values"], answer.map)
            assert (str(raw["label"]), str(raw["layer"])) == (answer.top[0].label, answer.layer)


def test_the_bundled_model_answers_with_the_commands_row_and_picture() -> None:
    (row,) = run("explain", CAT, "-o", "out", "--format", "png", "--json").rows
    answer = camcli.explain(CAT)
    own = json.loads(json.dumps(answer.row()))
    for told in (own, row):
        del told["ms"], told["input"], told["explanations"][0]["files"]
        del told["provenance"]["spec"]
    assert own == row
    answer.save("own.png")
    (drawn,) = Path("out").glob("*.overlay.png")
    assert Path("own.png").read_bytes() == drawn.read_bytes()
    assert np.array_equal(np.asarray(answer.overlay()), np.asarray(Image.open(drawn)))
    with np.load(_saved(answer, "own.npz")) as raw:
        assert np.array_equal(raw["values"], answer.map)
    peak, bbox = answer.explanation.peak, answer.explanation.bbox
    assert (list(peak or ()), list(bbox or ())) == (row["explanations"][0]["peak"], row["explanations"][0]["bbox"])


def _saved(answer: camcli.Answer, name: str) -> str:
    answer.save(name)
    return name


def test_several_methods_and_classes_are_asked_at_once() -> None:
    answer = camcli.explain(CAT, method=["grad-cam", "hires-cam"], target=["top1", 281, "Egyptian cat"])
    assert [(one.method, one.target) for one in answer.explanations] == [
        (method, target)
        for target in ("282 tiger cat", "281 tabby", "285 Egyptian cat")
        for method in ("grad-cam", "hires-cam")
    ]
    with pytest.raises(camcli.RequestError, match=r"holds 6 explanations .* choose one of \.explanations"):
        _ = answer.map


def test_values_at_the_pictures_size_lie_where_the_overlay_is() -> None:
    answer = camcli.explain(CAT)
    at_size = answer.map_at_size
    assert at_size.shape == (300, 400)
    x0, _, x1, _ = answer.result.box
    assert not at_size[:, :x0].any()
    assert not at_size[:, x1:].any()
    x, y = answer.explanation.peak or (0, 0)
    assert at_size[y, x] == pytest.approx(at_size.max(), rel=0.02)
    assert at_size.max() == pytest.approx(answer.map.max(), rel=0.05)


# Whatever a picture comes as.


@pytest.mark.exhaustive
def test_a_picture_is_the_same_whatever_it_comes_as() -> None:
    picture = Image.open(CAT)
    array = np.asarray(picture)
    held = net()
    expected = explained(CAT, held, preset=SMALL)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for given in (str(CAT), CAT.read_bytes(), picture, array, tensor):
        found = explained(given, held, preset=SMALL)
        assert np.array_equal(found.map, expected.map)
        assert found.top == expected.top
    view = view_of(expected.result.frame, expected.result.provenance.preset, "crop").pixels
    as_given = explained(torch.from_numpy(view), held, preset=SMALL)
    assert np.array_equal(as_given.map, expected.map)
    assert (as_given.name, as_given.result.box) == ("picture 0", (0, 0, 64, 64))


@pytest.mark.exhaustive
def test_a_picture_of_pillows_is_treated_as_its_file() -> None:
    """Set upright by EXIF, alpha over white, a palette's colours."""
    lying = Image.open(CAT)
    lying.getexif()[0x0112] = 6
    lying.save("lying.jpg", exif=lying.getexif())
    with_alpha = Image.open(CAT).convert("RGBA")
    with_alpha.putalpha(Image.linear_gradient("L").resize(with_alpha.size))
    with_alpha.save("alpha.png")
    Image.open(CAT).convert("P").save("palette.png")
    Image.open(CAT).convert("I;16").save("deep.png")
    for name in ("lying.jpg", "alpha.png", "palette.png", "deep.png"):
        file, held = camcli.explain(name), camcli.explain(Image.open(name))
        assert np.array_equal(file.result.frame.rgb, held.result.frame.rgb), name
        assert np.array_equal(file.map, held.map), name


def test_what_is_no_picture_is_named() -> None:
    held = net()
    for given, said in (
        (torch.zeros(3, 4), r"a tensor of \(3, 4\) is no picture \(C, H, W\)"),
        (torch.zeros(3, 64, 64).long(), "a tensor of torch.int64 is no picture: give uint8, or normalised floats"),
        ([], "no pictures are given"),
        ([3], "a int is no picture: give a file"),
        (
            [(Image.new("RGB", (8, 8)), small())],
            "a tuple of 2 parts holds several pictures: give each as one of the whole",
        ),
        ([{"labels": 3}], "a batch of labels holds none of pixel_values, image"),
    ):
        with pytest.raises(camcli.RequestError, match=said):
            explained(given, held)
    with pytest.raises(camcli.InputError, match=r"picture 0: it has 4 channels, and the network takes 3"):
        explained(torch.cat([small(), small()])[:4], held)
    with pytest.raises(camcli.InputError, match=r"gone\.png: no such file"):
        explained("gone.png", held)


def test_an_open_file_is_one_picture() -> None:
    expected = camcli.explain(CAT)
    with CAT.open("rb") as file:
        found = camcli.explain(file)
    written = io.BytesIO()
    with Image.open(CAT) as picture:
        picture.save(written, "png")  # which leaves it at its end
    assert (found.name, np.array_equal(found.map, expected.map)) == (str(CAT), True)
    kinds = (written, io.BytesIO(CAT.read_bytes()), bytearray(CAT.read_bytes()), memoryview(CAT.read_bytes()))
    for answer in camcli.explain(list(kinds)):
        assert np.array_equal(answer.map, expected.map)
    assert camcli.explain(kinds[1]).name == "picture 0"
    with (
        CAT.open() as text,
        pytest.raises(camcli.RequestError, match=r"can't be read .*: open the file with mode 'rb'"),
    ):
        camcli.explain(text)
    written.close()
    with pytest.raises(camcli.RequestError, match=r"BytesIO can't be read \(I/O operation on closed file"):
        camcli.explain(written)


def test_a_batch_in_a_dict_is_read_as_a_loaders_is() -> None:
    held = net()
    for key in ("pixel_values", "image"):
        (answer,) = explained({"labels": [1], key: small()[None]}, held)
        assert np.array_equal(answer.map, explained(small(), held).map)
        assert isinstance(explained({key: small()}, held), camcli.Answer)
    with pytest.raises(camcli.RequestError, match="a batch of labels holds none of pixel_values, image"):
        explained({"labels": small()[None]}, held)


def test_an_array_that_is_normalised_is_refused_with_what_python_takes() -> None:
    given = small().permute(1, 2, 0).numpy()
    said = r"say what is white with white=VALUE; if it is normalised, give a tensor \(C, H, W\)"
    with pytest.raises(camcli.InputError, match=said):
        explained(given, net())
    (refused,) = camcli.explain_many([given], net(), preset=SMALL)
    assert isinstance(refused, camcli.Failed)
    assert "--" not in refused.message


def test_pictures_in_memory_are_called_by_their_place_and_refused_in_it() -> None:
    with pytest.warns(camcli.CamcliWarning):
        found = list(camcli.explain_many([CAT, small(), None, BEE, Image.open(CAT).copy(), 3], net()))
    assert [one.ref.name if isinstance(one, camcli.Failed) else one.name for one in found] == [
        *(str(CAT), "picture 1", "picture 2", str(BEE), "picture 4", "picture 5")
    ]
    assert [one.message.split(":")[0] for one in found if isinstance(one, camcli.Failed)] == [
        *("None is no picture", "a int is no picture")
    ]
    (refused, answer) = camcli.explain_many([None, small(size=32)], net())
    assert isinstance(refused, camcli.Failed)
    assert isinstance(answer, camcli.Answer)
    assert answer.result.provenance.preset.crop == (32, 32)


@pytest.mark.exhaustive
def test_a_folder_and_a_list_are_lists() -> None:
    assert isinstance(camcli.explain(CAT), camcli.Answer)
    assert [answer.name for answer in camcli.explain([CAT, BEE])] == [str(CAT), str(BEE)]
    folder = camcli.explain(SAMPLES)
    assert len(folder) == len(list(SAMPLES.glob("*.jpg")))
    assert [answer.name for answer in camcli.explain(f"{SAMPLES}/cat_*.jpg")] == [
        str(path) for path in sorted(SAMPLES.glob("cat_*.jpg"))
    ]


# Loaders.


class Pairs(torch.utils.data.Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        if number >= 10:
            raise IndexError
        return small(number), number


@pytest.mark.exhaustive
def test_loaders_and_datasets_are_read_as_what_they_hold() -> None:
    held = net()
    expected = [explained(small(i), held).map for i in range(10)]

    def batches() -> Iterator[dict[str, Tensor]]:
        for start in (0, 4, 8):
            yield {"labels": torch.arange(4), "pixel_values": torch.stack([small(i) for i in range(start, 10)[:4]])}

    given: list[Any] = [
        torch.utils.data.DataLoader(Pairs(), batch_size=4),
        Pairs(),
        batches(),
        [small(i) for i in range(10)],
        torch.stack([small(i) for i in range(10)]),
    ]
    for pictures in given:
        answers = list(camcli.explain_many(pictures, held, batch_size=4))
        assert [answer.name for answer in answers if isinstance(answer, camcli.Answer)] == [
            f"picture {i}" for i in range(10)
        ]
        for answer, values in zip(answers, expected, strict=True):
            assert isinstance(answer, camcli.Answer)
            np.testing.assert_allclose(answer.map, values, rtol=1e-4, atol=1e-6)


class Endless(torch.utils.data.Dataset[Tensor]):
    """A map-style dataset whose `__getitem__` takes any number: only `__len__` says where it ends."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> Tensor:
        return small(number)


def test_a_dataset_ends_where_its_length_says() -> None:
    held = net()
    found = list(islice(camcli.explain_many(Endless(), held), 5))
    assert [one.name for one in found if isinstance(one, camcli.Answer)] == ["picture 0", "picture 1", "picture 2"]
    assert len(explained(Endless(), held)) == 3


def test_a_loader_is_not_read_ahead_of_its_batches() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Tensor]:
        while True:
            taken.append(0)
            yield small(len(taken))

    answers = camcli.explain_many(endless(), net(), batch_size=2)
    for _ in range(4):
        assert isinstance(next(answers), camcli.Answer)
    assert len(taken) <= 8


def test_a_bad_picture_stands_in_its_place() -> None:
    with pytest.warns(camcli.CamcliWarning):
        found = list(camcli.explain_many([CAT, "gone.png", b"no picture", BEE], net()))
    assert [type(one) for one in found] == [camcli.Answer, camcli.Failed, camcli.Failed, camcli.Answer]
    assert isinstance(found[1], camcli.Failed)
    assert (found[1].ref.name, found[1].message) == ("gone.png", "no such file")


# The network stays as it was.


class Training(nn.Module):
    """On its way through training: dropout, batch norm, gradients, hooks, a buffer that forward writes to."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.early = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(16, 4)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(()))
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        self.kept = self.late(self.early(x))
        scores: Tensor = self.fc(self.drop(self.kept.mean((2, 3))))
        return scores


def state(held: nn.Module) -> dict[str, Any]:
    return {
        "tensors": {name: tensor.clone() for name, tensor in held.state_dict().items()},
        "gradients": {n: None if p.grad is None else p.grad.clone() for n, p in held.named_parameters()},
        "learning": [p.requires_grad for p in held.parameters()],
        "training": [module.training for module in held.modules()],
        "hooks": [
            (list(m._forward_hooks.values()), list(m._forward_pre_hooks.values()), list(m._backward_hooks.values()))
            for m in held.modules()
        ],
        "modules": [id(module) for module in held.modules()],
        "attributes": [set(vars(module)) for module in held.modules()],
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for kind in ("tensors", "gradients"):
        assert one[kind].keys() == other[kind].keys()
        for name, tensor in one[kind].items():
            assert tensor is other[kind][name] is None or torch.equal(tensor, other[kind][name]), name
    for kind in ("learning", "training", "hooks", "modules", "attributes"):
        assert one[kind] == other[kind], kind


def on_its_way() -> Training:
    held = Training().train()
    held.early[0].weight.requires_grad_(False)
    held.late.eval()
    held.fc.register_forward_hook(lambda module, args, output: None)
    held.fc.register_full_backward_hook(lambda module, given, taken: None)
    held(torch.stack([small(1), small(2)])).sum().backward()
    return held


METHODS = ("grad-cam", "guided-backprop", "occlusion", "full-grad", "shapley-cam")


@pytest.mark.parametrize("exact", [False, True], ids=["fast", "exact"])
def test_a_network_in_training_is_left_as_it_was(exact: bool) -> None:
    held = on_its_way()
    before = state(held)
    explained(torch.stack([small(3), small(4)]), held, method=METHODS, target=[0, 1], exact=exact)
    same(before, state(held))
    assert held.seen.item() == 1
    # And it learns on: the last batch's graph is still there.
    optimizer = torch.optim.SGD([p for p in held.parameters() if p.requires_grad], 0.1)
    held(torch.stack([small(1), small(2)])).sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "ask",
    [
        lambda held: explained(small(), held, method="attention-rollout"),
        lambda held: explained(small(), held, target="no such class"),
        lambda held: explained(torch.full((3, 64, 64), torch.nan), held),
        lambda held: explained(small(), held, layer="nowhere"),
        lambda held: (
            next(camcli.explain_many(iter([small(), 3]), held, batch_size=1)) and explained([small(), 3], held)
        ),
    ],
    ids=["method", "class", "not a number", "layer", "in the middle"],
)
def test_a_network_is_left_as_it_was_after_an_error(ask: Callable[[nn.Module], Any]) -> None:
    held = on_its_way()
    before = state(held)
    with pytest.raises(camcli.CamcliError):
        ask(held)
    same(before, state(held))


def test_it_answers_as_the_network_in_eval_mode_does() -> None:
    held = on_its_way()
    answer = explained(small(5), held)
    copy = Training()
    copy.load_state_dict(held.state_dict())
    with torch.no_grad():
        scores: Tensor = copy.eval()(small(5)[None])[0]
    assert {score.id: score.score for score in answer.top} == pytest.approx(
        {i: float(score) for i, score in enumerate(scores)}, abs=1e-4
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "around",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_callers_own_mode_changes_nothing(around: Callable[[], Any]) -> None:
    held = net()
    expected = [one.map for one in explained(small(), held, method=METHODS).explanations]
    alone = explained(small(), held).map
    given = small()
    with around():
        found = [one.map for one in explained(given, held, method=METHODS).explanations]
        inside = explained(torch.stack([given]), held)[0]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(inside.map, alone)


@pytest.mark.parametrize("method", ["grad-cam", "guided-backprop", "occlusion"])
def test_a_network_made_under_inference_mode_is_explained_and_left_as_it_was(method: str) -> None:
    expected = explained(small(), net(), method=method, target=3)
    with torch.inference_mode():
        held, given = net(), small()
    before = [parameter.requires_grad for parameter in held.parameters()]
    assert np.array_equal(explained(given, held, method=method, target=3).map, expected.map)
    assert before == [True for _ in before] == [parameter.requires_grad for parameter in held.parameters()]
    assert all(parameter.is_inference() for parameter in held.parameters())
    with torch.inference_mode():
        loaded = replace(camcli.load_model(camcli.Spec()), net=net())
    with pytest.raises(camcli.SetupError, match=r"loaded under torch\.inference_mode.*: load it outside"):
        explained(given, loaded)


def test_flags_of_inference_tensors_go_back_also_after_an_error() -> None:
    with torch.inference_mode():
        held = net()
    with suppress(ValueError), frozen(held):
        assert not any(parameter.requires_grad for parameter in held.parameters())
        raise ValueError
    assert all(parameter.requires_grad for parameter in held.parameters())


def test_a_network_that_is_trained_on_meanwhile_is_not_two_networks() -> None:
    held = net()
    answers = camcli.explain_many([small(1), small(2), small(3)], held, batch_size=1)
    next(answers)
    with torch.no_grad():
        next(held.parameters()).add_(1.0)
    with pytest.raises(camcli.SetupError, match="parameters have changed since explain_many began"):
        list(answers)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "wrapped",
    [nn.DataParallel, lambda held: torch.compile(held, backend="eager"), lambda held: held.half()],
    ids=["DataParallel", "compiled", "half"],
)
def test_wrapped_compiled_and_half_networks_are_explained(wrapped: Callable[[nn.Module], nn.Module]) -> None:
    expected = explained(small(), net())
    given = wrapped(net())
    kinds = {parameter.dtype for parameter in given.parameters()}
    found = explained(small(), given)
    assert found.top[0].id == expected.top[0].id
    np.testing.assert_allclose(found.map, expected.map, atol=2e-2 * expected.map.max())
    assert {parameter.dtype for parameter in given.parameters()} == kinds


# How pictures are made ready.

RESNET = Compose(
    [
        v1.Resize(96, v1.InterpolationMode.BICUBIC),
        v1.CenterCrop(64),
        v1.ToTensor(),
        v1.Normalize(SMALL["mean"], SMALL["std"]),
    ]
)
RESNET_V2 = v2.Compose(
    [
        v2.ToImage(),
        v2.Compose([v2.Resize((96,), functional.InterpolationMode.BICUBIC), v2.CenterCrop((64, 64))]),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(SMALL["mean"], SMALL["std"]),
    ]
)


@pytest.mark.parametrize("preset", [RESNET, RESNET_V2, SMALL], ids=["v1", "v2", "dict"])
def test_a_transform_is_read_as_a_preset(preset: Any) -> None:
    held = net()
    answer = camcli.explain(CAT, held, preset=preset)
    assert answer.result.provenance.preset == camcli.Preset(96, 64, (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), "bicubic")
    # What it sees is what the transform makes of the picture.
    seen = RESNET(Image.open(CAT))
    assert np.array_equal(camcli.explain(seen, held, preset=preset).map, answer.map)


SIZED = [v1.Resize(96), v1.CenterCrop(64), v1.ToTensor()]


@pytest.mark.parametrize(
    ("preset", "mean", "std"),
    [
        (Compose(SIZED), 0.0, 1.0),
        (v2.Compose([v2.Resize(96), v2.CenterCrop(64), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]), 0.0, 1.0),
        (nn.Sequential(v1.Resize(96), v1.CenterCrop(64), v1.ConvertImageDtype(torch.float32)), 0.0, 1.0),
        (Compose([*SIZED, v1.Normalize((0.5,), (0.25,))]), 0.5, 0.25),
        (Compose([*SIZED, v1.Normalize(0.5, 0.25)]), 0.5, 0.25),
        ({"mean": [0.5], "std": [0.25]}, 0.5, 0.25),
        ({"mean": 0.5, "std": 0.25}, 0.5, 0.25),
    ],
    ids=["v1", "v2", "Sequential", "one", "a number", "dict of one", "dict of a number"],
)
def test_one_number_is_for_all_channels_that_the_network_takes(preset: Any, mean: float, std: float) -> None:
    """A transform without Normalize was refused on networks of three channels."""
    named = camcli.load_model(camcli.Spec("squeezenet1_1", "none"))
    grey = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    for held, channels in ((net(), 3), (named, 3), (grey, 1)):
        found = camcli.explain(CAT, held, preset=preset).result.provenance.preset
        assert (found.mean, found.std) == ((mean,) * channels, (std,) * channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_number_leaves_it_open_how_many_channels_are_flattened(channels: int) -> None:
    held = nn.Sequential(nn.Flatten(), nn.Linear(channels * 28 * 28, 5))
    answer = camcli.explain(CAT, held, method="gradient", preset={"resize": 28, "crop": 28, "mean": 0.5, "std": 0.5})
    assert answer.result.provenance.preset.mean == (0.5,) * channels


def test_a_mean_of_other_channels_is_refused_in_words_of_python() -> None:
    for held in (net(), camcli.load_model(camcli.Spec("squeezenet1_1", "none"))):
        with pytest.raises(camcli.RequestError, match=r"takes 3 .* have 4 numbers: give one or 3 \(preset=\)$"):
            camcli.explain(CAT, held, preset={"mean": [0.1] * 4, "std": [0.2] * 4})


def test_the_presets_of_torchvisions_weights_are_read() -> None:
    for weights in (zoo.ResNet18_Weights.DEFAULT, zoo.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1):
        given = weights.transforms()
        fields = transforms.fields_of(given)
        assert (fields["crop"], fields["interpolation"]) == (given.crop_size[0], given.interpolation.value)
        assert (fields["resize"], fields["mean"]) == (given.resize_size[0], tuple(given.mean))


def test_timms_transforms_and_configs_are_read() -> None:
    held = timm.create_model("resnet10t", num_classes=5)
    config = resolve_model_data_config(held)  # type: ignore[no-untyped-call]
    told = camcli.explain(CAT, held, preset=config)
    made = camcli.explain(CAT, held, preset=create_transform(**config, is_training=False))
    known = camcli.explain(CAT, held)  # the network itself tells
    assert told.result.provenance.preset == made.result.provenance.preset == known.result.provenance.preset
    assert np.array_equal(told.map, made.map)


def test_hugging_faces_processors_are_read() -> None:
    from transformers import ViTImageProcessor

    processor = ViTImageProcessor(size={"height": 64, "width": 64}, image_mean=SMALL["mean"], image_std=SMALL["std"])
    held = net()
    answer = camcli.explain(CAT, held, preset=processor)
    preset = answer.result.provenance.preset
    assert (preset.view_size, preset.squash, preset.mean) == ((64, 64), True, (0.5, 0.4, 0.3))
    seen = processor(Image.open(CAT), return_tensors="pt")["pixel_values"]
    np.testing.assert_allclose(camcli.explain(seen, held, preset=processor)[0].map, answer.map, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        (Compose([v1.RandomHorizontalFlip(), v1.Resize(64)]), "RandomHorizontalFlip.*: it can't be read as a resize"),
        (Compose([v1.Resize(64), v1.ToTensor()]), "resizes the short side and crops nothing"),
        (Compose([v1.CenterCrop(64), v1.Resize(64)]), r"Resize\(size=64.*: it can't be read"),
        (Compose([v1.ToTensor()]), "has no Resize"),
        (Compose([v1.Resize(64, max_size=80), v1.CenterCrop(64)]), "max_size can't be read"),
        (lambda picture: picture, "<function <lambda>.*>: it can't be read"),
        ({"colour": "blue"}, "the preset gives no preprocessing: give some of resize"),
        ({"resize": -1}, "the preset: resize"),
    ],
)
def test_what_is_no_preset_is_refused_with_what_cannot_be_read(preset: Any, said: str) -> None:
    with pytest.raises(camcli.RequestError, match=said):
        camcli.explain(CAT, net(), preset=preset)


# What is asked.


def best_of_all(returned: Tensor) -> Tensor:
    return returned.amax(1)


@pytest.mark.exhaustive
def test_targets_layers_and_labels_are_pythons_own() -> None:
    held = net()
    names = ["cat", "cup", "bee", "2"]
    by_id = explained(small(), held, target=2, labels=names)
    assert by_id.explanation.target == "2 bee"
    assert explained(small(), held, target="name:2", labels=names).explanation.target == "3 2"
    assert explained(small(), held, target="bee", labels=dict(enumerate(names))).map.tolist() == (by_id.map.tolist())
    by_function = explained(small(), held, target=best_of_all)
    assert by_function.explanation.target == f"{__name__}:best_of_all"
    assert np.array_equal(by_function.map, explained(small(), held).map)
    early = explained(small(), held, layer=held.early)
    assert early.layer == "early"
    assert [one.layer for one in explained(small(), held, layer=["early", held.late]).explanations] == ["early", "late"]
    with pytest.raises(camcli.RequestError, match="layer: Linear is no module of the network"):
        explained(small(), held, layer=nn.Linear(1, 1))
    with pytest.raises(camcli.RequestError, match="3 labels, and the model has 4 classes"):
        explained(small(), held, labels=names[:3])
    with pytest.raises(camcli.RequestError, match="ids from 0 on"):
        explained(small(), held, labels={1: "cat"})
    assert explained(small(), held, contrast=(0, 1)).explanation.target.startswith("0 class 0 rather than 1 class 1")
    with pytest.raises(TypeError, match="unexpected keyword argument 'methods'"):
        explained(small(), held, methods="grad-cam")


@pytest.mark.parametrize(
    "target",
    [torch.tensor(2), torch.tensor([2]), [torch.tensor(2)], np.int64(2), np.array(2), np.array([2]), np.uint8(2), (2,)],
)
def test_an_id_is_any_whole_number(target: Any) -> None:
    assert explained(small(), net(), target=target).explanation.target == "2 class 2"
    contrasted = explained(small(), net(), contrast=(torch.tensor(0), np.int64(1)))
    assert contrasted.explanation.target == "0 class 0 rather than 1 class 1"


@pytest.mark.parametrize(
    "target",
    [2.0, True, None, torch.tensor(2.0), torch.tensor(True), np.float32(2), np.bool_(True), [2, 1.5], torch.eye(2)],
)
def test_what_is_no_id_is_refused_in_words(target: Any) -> None:
    with pytest.raises(camcli.RequestError, match=r"target: .* is no class: give an id, which is a whole number"):
        explained(small(), net(), target=target)
    with pytest.raises(camcli.RequestError, match=r"contrast: 1\.5 is no class"):
        explained(small(), net(), contrast=(0, 1.5))


def test_one_of_several_outputs_is_chosen_by_its_place() -> None:
    class Pair(Net):
        def forward(self, x: Tensor) -> Any:
            scores = super().forward(x)
            return scores, scores[:, :3]

    with pytest.raises(camcli.SetupError, match=r"choose one with output_key=, of 0 \(2x4\), 1 \(2x3\)"):
        explained(small(), Pair())
    assert len(explained(small(), Pair(), output_key=1).top) == 3


def test_messages_name_arguments() -> None:
    with pytest.raises(camcli.RequestError, match=r"top_k|unknown class 'cta'"):
        explained(small(), net(), target="cta")
    with pytest.raises(camcli.SetupError) as refusal:
        explained(small(), torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())))
    assert "--" not in str(refusal.value)
    with pytest.warns(camcli.CamcliWarning, match=r"Net: no preset is known.*; see preset=$"):
        camcli.explain(CAT, net())
    with pytest.warns(camcli.CamcliWarning, match=r"these lie in \[0, 1\]: were they normalised\?"):
        camcli.explain(torch.rand(3, 64, 64), net())


class Widened(nn.Module):
    """Its map (N, 8, 8, 12) of a square picture could also have its channels last: that grid is square."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        maps = (layer for own, kept in ((3, 8), (8, 8), (8, 8)) for layer in (nn.Conv2d(own, kept, 3, 2, 1), nn.ReLU()))
        self.body = nn.Sequential(*maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Any:
        return self.body(nn.functional.pad(x, (32, 0, 0, 0)))


def test_a_network_without_tokens_is_not_said_to_have_any() -> None:
    with pytest.raises(camcli.SetupError, match="changes, as far as tried, in other places than the picture does"):
        explained(small(), Widened())


def test_messages_about_layers_and_functions_name_what_python_has() -> None:
    for held in (net(), nn.DataParallel(net())):
        with pytest.raises(
            camcli.RequestError, match=r"unknown layer 'lat': did you mean late.*net\.named_modules\(\)"
        ):
            explained(small(), held, layer="lat")
    with pytest.raises(camcli.SetupError, match=r"layer 'fc' gives 4.*: net\.named_modules\(\) lists"):
        explained(small(), net(), layer="fc")
    with pytest.raises(camcli.RequestError, match=r"unknown class 'cta': did you mean cat\? labels= names them$"):
        explained(small(), Net(outputs=40), target="cta", labels=["cat", *map(str, range(39))])
    with pytest.raises(camcli.SetupError, match=r"^target=\S+:\S+<lambda> gives one number in all for . picture"):
        explained(small(), net(), target=lambda returned: returned.sum())


@pytest.mark.parametrize("wrapped", [nn.DataParallel, lambda held: torch.compile(held, backend="eager")])
def test_a_layer_may_be_named_as_its_wrapper_names_it(wrapped: Callable[[nn.Module], nn.Module]) -> None:
    given = wrapped(net())
    for name in ("late", next(name for name, _ in given.named_modules() if name.endswith(".late"))):
        assert explained(small(), given, layer=name).layer == "late"


@pytest.mark.parametrize("made", [lambda: net().half(), lambda: nn.DataParallel(net().half())])
def test_a_module_of_a_network_that_is_copied_is_its_copy(made: Callable[[], Any]) -> None:
    given = made()
    assert explained(small(), given, layer=getattr(given, "module", given).early).layer == "early"


def test_of_tensors_the_usual_preset_is_said_to_be_for_drawing_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "camcli"):
        camcli.explain(small(), net())
    (said,) = [message for message in caplog.messages if "no preset is known" in message]
    assert said.endswith("(only for drawing them: tensors are taken as they are)")


def test_a_tensor_of_another_size_than_the_usual_is_what_is_traced() -> None:
    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.fc = nn.Linear(4 * 32 * 32, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.fc(self.conv(x).relu().flatten(1))
            return scores

    assert explained(small(size=32), Tiny()).map.shape == (32, 32)


# The whole surface.


def test_nothing_escapes_from_the_face() -> None:
    for name in camcli.__all__:
        assert getattr(camcli, name) is not None
    assert dir(camcli) == camcli.__all__ == sorted(camcli.__all__, key=str)
    assert set(camcli.__all__) == {*camcli._HOME, "__version__"}
    with pytest.raises(AttributeError, match="module 'camcli' has no attribute 'explian'"):
        camcli.explian  # noqa: B018


def test_every_error_is_exported_and_drawn() -> None:
    def below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
        for own in kind.__subclasses__():
            yield own
            yield from below(own)

    known = [getattr(camcli, name) for name in camcli.__all__]  # all of it imported
    found = (camcli.CamcliError, *below(camcli.CamcliError))
    kinds: list[Any] = [kind for kind in found if kind.__module__.startswith("camcli.")]
    assert len(kinds) == 6
    for error in kinds:
        assert error in known
        assert f"── {error.__name__} " in str(camcli.__doc__)


def test_a_vision_transformer_of_another_precision_keeps_its_one_size() -> None:
    held = zoo.VisionTransformer(image_size=64, patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16)
    for given in (held, held.half()):
        preset = explained(CAT, given).result.provenance.preset
        assert (preset.resize, preset.crop) == (64, 64)


@pytest.mark.exhaustive
def test_a_preset_is_checked_alike_for_a_network_and_a_name() -> None:
    bytes_ = {**SMALL, "mean": [128.0, 110.0, 90.0], "std": [64.0, 60.0, 70.0]}
    named = camcli.explain(CAT, "squeezenet1_1", weights="none", preset=bytes_)
    held = camcli.explain(CAT, camcli.load_model(camcli.Spec("squeezenet1_1", "none")).net, preset=bytes_)
    assert named.result.provenance.preset == held.result.provenance.preset
    assert max(named.result.provenance.preset.mean) < 1
    assert np.array_equal(named.map, held.map)
    with pytest.raises(camcli.RequestError, match="vit_b_32 takes 224x224 pictures only"):
        camcli.explain(CAT, "vit_b_32", weights="none", preset=SMALL)
