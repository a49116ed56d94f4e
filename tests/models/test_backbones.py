"""Networks without a head: Hugging Face's backbones, timm's and the user's own, compared by their embedding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from shell import SAMPLES, refused, run
from tiny_configs import STAGES, VIT, WINDOWS
from torch import nn

import camcli

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]

PHOTO, OTHER = SAMPLES / "cat_chelsea.jpg", SAMPLES / "espresso.jpg"
_DINO = VIT | {"image_size": 70, "patch_size": 14}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 32], "depths": [1, 1, 1]}
_POOLED, _TOKEN, _MEAN = "its pooler_output", "its class token", "the mean of its last map or tokens"

# name: (its config, the expected layer, what the embedding is)
BACKBONES: dict[str, tuple[dict[str, Any], str, str]] = {
    "ViT": (VIT, "model.layers.1.layernorm_before", _POOLED),
    "DeiT": (VIT, "model.layers.1.layernorm_before", _POOLED),
    "Beit": (VIT, "model.layers.1", _POOLED),
    "ViTMSN": (VIT, "model.layers.1.layernorm_before", _TOKEN),
    "IJepa": (VIT, "model.layernorm", _MEAN),
    "Dinov2": (_DINO, "model.encoder.layer.1.norm1", _POOLED),
    "Dinov2WithRegisters": (_DINO, "model.encoder.layer.1.norm1", _POOLED),
    "DINOv3ViT": (VIT | {"num_register_tokens": 3}, "model.model.layer.1.norm1", _POOLED),
    "DINOv3ConvNext": (STAGES, "model.model.stages.3", _POOLED),
    "CLIPVision": (VIT, "model.encoder.layers.1.layer_norm1", _POOLED),
    "SiglipVision": (VIT, "model.post_layernorm", _POOLED),
    "Data2VecVision": (VIT, "model.encoder.layer.1.layernorm_before", _TOKEN),
    "ConvNext": (STAGES, "model.encoder.stages.3", _POOLED),
    "ResNet": (_RESNET, "model.encoder.stages.2", _POOLED),
    "Swin": (WINDOWS | {"patch_size": 4}, "model.layernorm", _POOLED),
    "Swinv2": (WINDOWS | {"patch_size": 2}, "model.layernorm", _POOLED),
    "Segformer": (STAGES | {"num_attention_heads": [1, 2, 4, 4]}, "model.stages.3", _MEAN),
    "PoolFormer": (STAGES, "model.encoder.block.3.0", _MEAN),
}
# They take one size of picture.
FIXED = {"ViT", "DeiT", "IJepa", "ViTMSN", "CLIPVision", "SiglipVision"}
QUICK = {"ViT", "Dinov2WithRegisters", "ResNet", "IJepa"}


def _params(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.exhaustive) for name in names]


def _made(name: str, kind: str = "Model", **given: Any) -> Any:
    torch.manual_seed(0)
    words: Any = transformers
    words.logging.disable_progress_bar()
    return getattr(words, f"{name}{kind}")(getattr(words, f"{name}Config")(**BACKBONES[name][0] | given))


def saved(name: str, kind: str = "Model", **given: Any) -> str:
    """A folder with a small random backbone of that family, as `save_pretrained` writes it."""
    _made(name, kind, **given).save_pretrained(name)
    side = 70 if name.startswith("Dinov2") else 64
    words = {"size": {"height": side, "width": side}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    Path(name, "preprocessor_config.json").write_text(json.dumps(words | {"image_processor_type": "ViTImageProcessor"}))
    return f"hf:{name}"


def _pixels(folder: str, photo: Path) -> torch.Tensor:
    theirs: Any = transformers.AutoImageProcessor
    with Image.open(photo) as picture:
        return theirs.from_pretrained(folder)(picture.convert("RGB"), return_tensors="pt")["pixel_values"]  # type: ignore[no-any-return]


def _embedding(net: Any, what: str, pixels: torch.Tensor) -> torch.Tensor:
    """Theirs, as the documentation of each network says it."""
    with torch.no_grad():
        output = net.eval()(pixel_values=pixels)
    if what == _POOLED:
        return output.pooler_output.flatten(1)  # type: ignore[no-any-return]
    last: torch.Tensor = output.last_hidden_state
    if what == _TOKEN:
        return last[:, 0]
    return last.mean((2, 3)) if last.ndim == 4 else last.mean(1)


@pytest.mark.parametrize("name", _params(BACKBONES))
def test_a_backbone_is_explained_by_what_it_pools(name: str) -> None:
    _, layer, what = BACKBONES[name]
    flags = ("-m", saved(name), "--similar-to", OTHER, "--save", "none", "--json")
    outcome = run("explain", PHOTO, *flags)
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    assert f"hf:{name} has no head: the embedding that pictures are compared by is {what}" in outcome.err
    assert (row["layer"], row["top"]) == (layer, [])
    (answer,) = row["explanations"]
    assert answer["target"]["quantity"] == "similarity"
    assert answer["max"] > 0
    net = _made(name)
    own, other = (_embedding(net, what, _pixels(name, photo)) for photo in (PHOTO, OTHER))
    # Their resize rounds to levels of 255.
    assert answer["target"]["value"] == pytest.approx(float(torch.cosine_similarity(own, other)), abs=2e-2)


@pytest.mark.parametrize("name", _params(sorted(BACKBONES.keys() - FIXED)))
def test_pictures_that_are_no_squares(name: str) -> None:
    size = "70x98" if name.startswith("Dinov2") else "64x96"
    flags = ("--resize", size, "--crop", size, "--similar-to", OTHER, "--save", "none", "--json")
    outcome = run("explain", PHOTO, "-m", saved(name), *flags)
    assert outcome.code == 0, outcome.err
    assert (outcome.rows[0]["layer"], outcome.rows[0]["box"]) == (BACKBONES[name][1], [0, 0, 400, 300])
    assert outcome.rows[0]["explanations"][0]["max"] > 0


def test_a_picture_like_itself_is_as_like_as_can_be() -> None:
    (row,) = run("explain", PHOTO, "-m", saved("ResNet"), "--similar-to", PHOTO, "--save", "none", "--json").rows
    assert row["explanations"][0]["target"]["value"] == pytest.approx(1, abs=1e-5)


def test_methods_that_ask_again_ask_for_the_embedding() -> None:
    methods = [
        word for name in ("hires-cam", "score-cam", "ablation-cam", "occlusion", "gradient") for word in ("-M", name)
    ]
    flags = ("--similar-to", OTHER, "--save", "none", "--json", "--augment", "flip")
    outcome = run("explain", PHOTO, "-m", saved("ResNet"), *methods, *flags)
    assert outcome.code == 0, outcome.err
    values = {answer["target"]["value"] for answer in outcome.rows[0]["explanations"]}
    assert len(outcome.rows[0]["explanations"]) == 5
    assert len(values) == 1


def test_without_its_pooler_the_class_token_stands() -> None:
    given = saved("ViT")
    path = Path("ViT/model.safetensors")
    save_file({k: v for k, v in load_file(path).items() if not k.startswith("pooler.")}, path, {"format": "pt"})
    outcome = run("explain", PHOTO, "-m", given, "--similar-to", OTHER, "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    assert "is its class token, after the last layer" in outcome.err
    own, other = (_embedding(_made("ViT"), _TOKEN, _pixels("ViT", photo)) for photo in (PHOTO, OTHER))
    value = outcome.rows[0]["explanations"][0]["target"]["value"]
    assert value == pytest.approx(float(torch.cosine_similarity(own, other)), abs=2e-2)


def test_a_backbone_that_lacks_more_is_refused() -> None:
    given = saved("ViT")
    path = Path("ViT/model.safetensors")
    save_file({k: v for k, v in load_file(path).items() if "layernorm.w" not in k}, path, {"format": "pt"})
    assert "lacks layernorm.weight" in refused(3, "explain", PHOTO, "-m", given, "--similar-to", OTHER)


@pytest.mark.parametrize("name", ["ResNet", "Dinov2"])
def test_what_gives_the_maps_of_several_stages_is_a_backbone_too(name: str) -> None:
    outcome = run("explain", PHOTO, "-m", saved(name, "Backbone"), "--similar-to", OTHER, "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.rows[0]["layer"] == BACKBONES[name][1]
    assert _POOLED in outcome.err


@pytest.mark.exhaustive
def test_large_dinov2_networks_have_their_artefacts_told() -> None:
    said = "keep facts of the whole picture in a few patches"
    flags = ("--similar-to", OTHER, "--save", "none")
    assert said not in run("explain", PHOTO, "-m", saved("Dinov2"), *flags).err
    shutil.rmtree("Dinov2")
    assert said in run("explain", PHOTO, "-m", saved("Dinov2", hidden_size=1024, mlp_ratio=1), *flags).err


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        ("explain", (), "has no head, so it names no class: `camcli explain --similar-to PICTURE`"),
        ("explain", ("-c", "cat"), "has no head"),
        ("classify", (), "has no head"),
        ("explain", ("--output-index", 3), "--output-index does not go with models that embed"),
        ("explain", ("--contrast", "1", "2"), "--contrast does not go with models that embed"),
        ("explain", ("--text", "a cat"), "it takes no --text"),
    ],
)
def test_what_a_network_without_a_head_is_not_asked(command: str, flags: tuple[Any, ...], said: str) -> None:
    assert said in refused(2, command, PHOTO, "-m", saved("ResNet"), *flags)


def test_a_network_without_a_head_has_no_classes_and_no_cam() -> None:
    listed = run("classes", saved("ResNet"))
    assert (listed.code, "hf:ResNet names no class" in listed.err) == (2, True)
    said = refused(3, "explain", PHOTO, "-m", "hf:ResNet", "--similar-to", OTHER, "-M", "cam")
    assert "cam does not go with models that embed" in said


def test_a_function_of_the_embedding() -> None:
    Path("mine.py").write_text("def third(embedding):\n    return embedding[:, 3]\n")
    outcome = run("explain", PHOTO, "-m", saved("ResNet"), "--target", "mine.py:third", "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    own = _embedding(_made("ResNet"), _POOLED, _pixels("ResNet", PHOTO))[0, 3]
    assert outcome.rows[0]["explanations"][0]["target"]["value"] == pytest.approx(float(own), rel=2e-2)


def test_one_that_hides_patches_is_refused_with_the_reason() -> None:
    words: Any = transformers
    words.ViTMAEModel(words.ViTMAEConfig(**VIT)).save_pretrained("mae")
    said = refused(3, "explain", PHOTO, "-m", "hf:mae", "--similar-to", OTHER)
    assert "is a ViTMAEModel, which is not explained: it hides three quarters of a picture by chance" in said


# timm's, and the user's own.


@pytest.mark.parametrize(("name", "layer"), [("resnet10t", "layer4"), ("vit_tiny_patch16_224", "blocks.11.norm1")])
def test_timms_without_a_classifier(name: str, layer: str) -> None:
    flags = ("-m", f"timm:{name}", "-w", "none", "--model-arg", "num_classes=0", "--similar-to", OTHER)
    outcome = run("explain", PHOTO, *flags, "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.rows[0]["layer"] == layer
    assert "has no head: the embedding that pictures are compared by is what it gives" in outcome.err


def test_timms_that_pool_nothing_are_refused() -> None:
    args = ("--model-arg", "num_classes=0", "--model-arg", "global_pool=")
    said = refused(3, "explain", PHOTO, "-m", "timm:resnet10t", "-w", "none", *args, "--similar-to", OTHER)
    assert "an embedding is (N, D): let it pool its maps or tokens" in said


_OWN = """
import torch
from torch import nn


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 7, 4), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16))

    def forward(self, x):
        return self.body(x).mean((2, 3))


class Projected(Body):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(16, 12)

    def forward(self, x):
        return self.proj(super().forward(x))


class Unit(Projected):
    def forward(self, x):
        return nn.functional.normalize(super().forward(x), dim=1)
"""


def _value(*flags: object) -> tuple[float, str, str]:
    """(the likeness told, the layer, what was said)."""
    outcome = run("explain", PHOTO, *flags, "--similar-to", OTHER, "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    return row["explanations"][0]["target"]["value"], row["layer"], outcome.err


def test_the_users_embedding_is_what_it_gives() -> None:
    Path("own.py").write_text(_OWN)
    told, _, said = _value("-m", "own.py:Projected", "--task", "embed")
    # Vectors of length 1 are embeddings without a word.
    unit, _, also = _value("-m", "own.py:Unit")
    assert unit == pytest.approx(told, abs=1e-5)
    assert all("has no head" in words for words in (said, also))
    entering, _, doubt = _value("-m", "own.py:Projected")
    assert entering != pytest.approx(told, abs=1e-3)
    assert "compared by what enters 'proj'; if it gives an embedding, say --task embed" in doubt


def test_a_network_that_ends_in_a_norm_is_no_classifier() -> None:
    Path("own.py").write_text(_OWN)
    said = refused(2, "explain", PHOTO, "-m", "own.py:Body", "--similar-to", OTHER)
    assert "ends in 'body.3', which is no classifier: if it gives an embedding, say --task embed" in said
    _, layer, _ = _value("-m", "own.py:Body", "--task", "embed")
    assert layer == "body"  # the last map, which a head would have been


def test_tokens_that_enter_a_linear_head_are_averaged_over_places() -> None:
    Path("tokens.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        torch.manual_seed(0)\n"
        "        self.patch = nn.Conv2d(3, 6, 32, 32)\n        self.head = nn.Linear(6, 4)\n\n"
        "    def forward(self, x):\n        return self.head(self.patch(x).flatten(2).transpose(1, 2).relu()).mean(1)\n"
    )
    told, *_ = _value("-m", "tokens.py:Net")
    Path("pooled.py").write_text(
        "from torch import nn\nfrom tokens import Net\n\n\n"
        "class Pooled(Net):\n    def forward(self, x):\n        return self.patch(x).relu().mean((2, 3))\n"
    )
    pooled, *_ = _value("-m", "pooled.py:Pooled", "--task", "embed")
    assert told == pytest.approx(pooled, abs=1e-5)


def test_timms_network_in_python() -> None:
    net: nn.Module = timm.create_model("resnet10t", num_classes=0).eval()
    answer = camcli.explain(str(PHOTO), net, similar_to=str(OTHER))
    assert answer.result.layer == "layer4"
