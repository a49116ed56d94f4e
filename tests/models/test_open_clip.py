"""open_clip's networks by name: scores against its own, texts as classes, weights out of files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from shell import SAMPLES, refused, run
from torch import Tensor

from camcli import Engine, Spec
from camcli.inputs import decoding, preprocessing
from camcli.layers import choosing
from camcli.layers.tracing import trace
from camcli.models import architecture_of, blueprint
from camcli.records import Explained, Ref, Row
from camcli.specs import ModelSpec

open_clip = pytest.importorskip("open_clip")

pytestmark = [pytest.mark.usefixtures("one_thread", "small")]

PHOTO = SAMPLES / "cat_chelsea.jpg"
TEXTS = ("a dog", "a cat")
_TEXT = {"width": 32, "heads": 2, "layers": 2}
_SIGHT = {"image_size": 64, "layers": 3, "width": 64, "patch_size": 16, "head_width": 32}
# One small network of each kind that open_clip has.
SMALL: dict[str, dict[str, Any]] = {
    "small-ViT": {"vision_cfg": _SIGHT},
    "small-ViT-quickgelu": {"vision_cfg": _SIGHT, "quick_gelu": True},
    "small-RN": {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16}},
    "small-sigmoid": {
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "linear"},
        "custom_text": True,
        "init_logit_bias": -1.5,
    },
    "small-convnext": {"vision_cfg": {"image_size": 96, "timm_model_name": "test_convnext"}},
    "small-coca": {
        "vision_cfg": _SIGHT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": _TEXT | {"context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"width": 32, "heads": 2, "layers": 1, "context_length": 76, "attn_pooler_heads": 2},
        "custom_text": True,
    },
}
LAYERS = {
    "small-ViT": "visual.transformer.resblocks.2.ln_1",
    "small-RN": "visual.layer4",
    "small-sigmoid": "visual.trunk.norm",
    "small-convnext": "visual.trunk.stages",
    "small-coca": "visual.attn_pool.ln_k",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """open_clip knows the small networks by name."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in SMALL.items():
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 32, "text_cfg": _TEXT} | config))
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)
    for name in SMALL:
        del open_clip.factory._MODEL_CONFIGS[name]


def made(name: str) -> Any:
    """open_clip's own network, seeded, all of whose numbers differ from those that it begins with."""
    torch.manual_seed(1)
    net = open_clip.create_model(name, load_weights=False).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net


def theirs(net: Any, name: str, texts: Sequence[str] = TEXTS, photo: Path = PHOTO) -> Tensor:
    """The scores that open_clip gives, by its own transform and tokenizer."""
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**net.visual.preprocess_cfg), is_train=False
    )
    with Image.open(photo) as opened, torch.no_grad():
        picture, tokens = transform(opened)[None], open_clip.get_tokenizer(name)(list(texts))
        scores: Tensor
        if hasattr(net, "get_logits"):
            scores = net.get_logits(picture, tokens)[0]
        else:
            found = net(picture.expand(len(tokens), -1, -1, -1), tokens)  # pairs
            scores = found["logit_scale"] * found["image_features"][:1] @ found["text_features"].T
    return scores[0]


def explained(*arguments: object) -> Row:
    outcome = run("explain", PHOTO, *arguments, "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    return row


def asked(*texts: str) -> list[str]:
    return [word for text in texts for word in ("-t", text)]


@pytest.mark.parametrize("name", LAYERS)
def test_scores_are_theirs_and_the_layer_is_the_last_with_places(name: str) -> None:
    net = made(name)
    torch.save(net.state_dict(), "local.pt")
    row = explained("-m", f"open_clip:{name}", "-w", "local.pt", *asked(*TEXTS), "-c", "a cat")
    assert row["layer"] == LAYERS[name]
    found = {entry["label"]: entry for entry in row["top"]}
    scores = theirs(net, name)
    assert [found[text]["logit"] for text in TEXTS] == pytest.approx(scores.tolist(), rel=1e-4, abs=1e-5)
    chances = scores.sigmoid() if name == "small-sigmoid" else scores.softmax(0)
    assert [found[text]["probability"] for text in TEXTS] == pytest.approx(chances.tolist(), rel=1e-4, abs=1e-5)
    assert (row["model"], row["weights"]) == (f"open_clip:{name}", "local.pt")
    assert row["provenance"]["versions"]["open-clip-torch"] == open_clip.__version__


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["small-ViT", "small-sigmoid"])
def test_quantities_are_cosine_score_and_probability(name: str) -> None:
    net = made(name)
    torch.save(net.state_dict(), "local.pt")
    flags = ("-m", f"open_clip:{name}", "-w", "local.pt", *asked(*TEXTS), "-c", "a cat")
    probability = "sigmoid" if name == "small-sigmoid" else "softmax"
    cosine, logit, chance = (
        explained(*flags, "--quantity", quantity)["explanations"][0]["target"]["value"]
        for quantity in ("cosine", "logit", probability)
    )
    bias = 0.0 if net.logit_bias is None else net.logit_bias.item()
    assert logit == pytest.approx(net.logit_scale.exp().item() * cosine + bias, rel=1e-4)
    scores = theirs(net, name)
    expected = scores.sigmoid()[1] if name == "small-sigmoid" else scores.softmax(0)[1]
    assert chance == pytest.approx(expected.item(), rel=1e-4)
    other = {"sigmoid": "softmax", "softmax": "sigmoid"}[probability]
    assert other in refused(2, "explain", PHOTO, *flags, "--quantity", other)


@pytest.mark.exhaustive
def test_files_as_training_loops_leave_them() -> None:
    """A plain state dict, safetensors in half precision, DDP's names in a training checkpoint, one number in a list."""
    net = made("small-ViT")
    state = net.state_dict()
    torch.save(state, "plain.pt")
    save_file({name: value.half() for name, value in state.items()}, "half.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, "epoch_3.pt")
    save_file(state | {"logit_scale": state["logit_scale"].reshape(1)}, "listed.safetensors")
    expected = theirs(net, "small-ViT").tolist()
    for file in ("plain.pt", "half.safetensors", "epoch_3.pt", "listed.safetensors"):
        row = explained("-m", "open_clip:small-ViT", "-w", file, *asked(*TEXTS))
        got = {entry["label"]: entry["logit"] for entry in row["top"]}
        assert [got[text] for text in TEXTS] == pytest.approx(expected, rel=0.02 if file.startswith("half") else 1e-4)


def test_a_text_tower_of_the_older_names_fits_the_newer_ones() -> None:
    """Files say `token_embedding.weight`, networks with custom text `text.token_embedding.weight`."""
    net = made("small-ViT")
    torch.save(net.state_dict(), "old.pt")
    flags = ("-w", "old.pt", *asked(*TEXTS), "-m", "open_clip:small-ViT")
    custom = explained(*flags, "--model-arg", "force_custom_text=true")
    assert custom["top"] == explained(*flags)["top"]


@pytest.mark.parametrize("change", ["no text tower", "text tower of another width", "other patches"])
def test_a_file_that_does_not_fit_whole_is_refused(change: str) -> None:
    state = made("small-ViT").state_dict()
    if change == "no text tower":
        state = {name: value for name, value in state.items() if name.startswith("visual.")}
    elif change == "text tower of another width":
        state["text_projection"] = torch.zeros(32, 48)
    else:
        state["visual.conv1.weight"] = torch.zeros(64, 3, 8, 8)
    torch.save(state, "other.pt")
    line = refused(3, "explain", PHOTO, "-m", "open_clip:small-ViT", "-w", "other.pt", *asked(*TEXTS))
    assert "other.pt does not fit open_clip:small-ViT" in line


def test_a_head_of_another_size_is_not_put_in() -> None:
    """Classifiers have heads rebuilt; here the last layer of a tower would give embeddings that meet nothing."""
    state = made("small-convnext").state_dict()
    torch.save(state | {"visual.head.proj.weight": torch.zeros(16, state["visual.head.proj.weight"].shape[1])}, "o.pt")
    line = refused(3, "explain", PHOTO, "-m", "open_clip:small-convnext", "-w", "o.pt", *asked(*TEXTS))
    assert "o.pt does not fit open_clip:small-convnext" in line


@pytest.mark.exhaustive
def test_texts_of_a_file_in_a_sentence_and_what_tells_two_apart() -> None:
    Path("prompts.txt").write_text("dog\n\nred cat\n")
    flags = ("-m", "open_clip:small-ViT", "-w", "none")
    row = explained(*flags, "--texts", "prompts.txt", "--template", "a photo of a {}")
    same = explained(*flags, *asked("a photo of a dog", "a photo of a red cat"))
    assert {entry["label"] for entry in row["top"]} == {"dog", "red cat"}
    assert [entry["logit"] for entry in row["top"]] == [entry["logit"] for entry in same["top"]]
    apart = explained(*flags, "--texts", "prompts.txt", "--contrast", "dog", "red cat")
    logits = {entry["label"]: entry["logit"] for entry in explained(*flags, "--texts", "prompts.txt")["top"]}
    (explanation,) = apart["explanations"]
    assert explanation["target"]["value"] == pytest.approx(logits["dog"] - logits["red cat"], abs=2e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["small-ViT", "small-sigmoid", "small-coca"])
def test_grad_cam_and_le_grad_are_drawn_under_the_texts_names(name: str) -> None:
    flags = ("-m", f"open_clip:{name}", "-w", "none", *asked(*TEXTS), "-M", "grad-cam", "-M", "le-grad")
    outcome = run("explain", PHOTO, *flags, "-c", "a dog", "-c", "a cat", "-o", "seen", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    found = [(part["method"], part["target"]["label"], part["max"] > 0) for part in row["explanations"]]
    assert found == [(method, text, True) for text in TEXTS for method in ("grad-cam", "le-grad")]
    files = [file for part in row["explanations"] for file in part["files"].values()]
    assert files
    assert all(Path(file).is_file() for file in files)


def _le_grad(net: Any, picture: Tensor, text: Tensor) -> Tensor:
    """arXiv:2404.03214 sec. 3, step by step: each block's tokens' mean goes through the network's own end."""
    visual = net.visual
    tokens, total = visual._embeds(picture), torch.zeros(4, 4)
    for block in visual.transformer.resblocks:
        joint = block.ln_1(tokens) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
        query, key, value = joint.view(1, 17, 3, block.attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        attention = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)
        tokens = tokens + block.attn.out_proj((attention @ value).transpose(1, 2).flatten(2))
        tokens = tokens + block.mlp(block.ln_2(tokens))
        seen = torch.nn.functional.normalize(visual.ln_post(tokens.mean(1)) @ visual.proj, dim=1)
        score = net.logit_scale.exp() * (seen @ text).sum()
        (gradient,) = torch.autograd.grad(score, attention, retain_graph=True)
        total += gradient.relu().mean((0, 1, 2))[1:].view(4, 4)
    return total / 3


def test_le_grad_is_the_papers_formula() -> None:
    net = made("small-ViT")
    torch.save(net.state_dict(), "local.pt")
    engine = Engine(
        Spec("open_clip:small-ViT", "local.pt", texts=TEXTS, methods=("le-grad",), classes=("a cat",), exact=True)
    )
    (result,) = engine.explain([Ref(0, PHOTO.name, path=PHOTO)])
    assert isinstance(result, Explained)
    text = net.encode_text(open_clip.get_tokenizer("small-ViT")(list(TEXTS)), normalize=True)[1].detach()
    pixels = preprocessing.view_of(result.frame, engine.model.preset, "crop").pixels
    expected = _le_grad(net, torch.from_numpy(pixels.copy())[None], text)
    np.testing.assert_allclose(result.attributions[0].values, expected.numpy(), rtol=1e-3, atol=1e-7)


@pytest.mark.exhaustive
def test_its_rows_are_verified() -> None:
    rows = run("explain", PHOTO, "-m", "open_clip:small-RN", "-w", "none", *asked(*TEXTS), "--save", "none", "--json")
    Path("rows.jsonl").write_bytes(rows.stdout)
    assert [row["status"] for row in run("verify", "rows.jsonl", "--json").rows] == ["identical"]


def test_a_text_that_is_cut_is_named() -> None:
    long = "a photo of " + "very " * 80 + "old dog"
    outcome = run("classify", PHOTO, "-m", "open_clip:small-ViT", "-w", "none", *asked("a cat", long), "--json")
    assert "has more than 77 tokens: its end is not read" in outcome.err
    assert outcome.err.count("tokens") == 1


def test_the_activation_that_no_file_tells_is_named() -> None:
    torch.save(made("small-ViT").state_dict(), "local.pt")
    outcome = run("classify", PHOTO, "-m", "open_clip:small-ViT", "-w", "local.pt", *asked(*TEXTS), "--json")
    assert "QuickGELU (OpenAI's, MetaCLIP's, DFN's) need --model open_clip:small-ViT-quickgelu" in outcome.err
    quick = run("classify", PHOTO, "-m", "open_clip:small-ViT-quickgelu", "-w", "local.pt", *asked(*TEXTS), "--json")
    assert "GELU" not in quick.err
    assert quick.rows[0]["top"] != outcome.rows[0]["top"]


def test_the_config_beside_a_file_gives_its_preset() -> None:
    torch.save(made("small-ViT").state_dict(), "local.pt")
    said = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    Path("open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": said}))
    preset = explained("-m", "open_clip:small-ViT", "-w", "local.pt", *asked(*TEXTS))["provenance"]["preset"]
    assert (preset["mean"], preset["interpolation"], preset["squash"]) == ([0.5] * 3, "bilinear", True)


def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of no meaning, for networks whose tokenizer lies on the hub."""

    def tokenizer(name: str) -> Callable[[Sequence[str]], Tensor]:
        length = open_clip.get_model_config(name)["text_cfg"].get("context_length", 77)
        return lambda texts: torch.ones(len(texts), length, dtype=torch.long)

    monkeypatch.setattr(open_clip, "get_tokenizer", tokenizer)


# CLIP, SigLIP, CLIPA and MobileCLIP: each way of making pictures ready that open_clip has.
@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16-SigLIP", "ViT-H-14-CLIPA-336", "MobileCLIP-S1"])
@pytest.mark.parametrize("photo", ["cat_chelsea.jpg", "portrait_exif6.jpg", "tripod_gray.jpg", "espresso.jpg"])
def test_the_pixels_are_those_of_its_transform(name: str, photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch)
    preset = architecture_of(ModelSpec(f"open_clip:{name}", "none", texts=TEXTS)).preset
    tag = open_clip.list_pretrained_tags_by_model(name)[0]
    said = open_clip.transform.merge_preprocess_dict(
        asdict(open_clip.transform.PreprocessCfg()), open_clip.get_pretrained_cfg(name, tag)
    ) | {"size": open_clip.get_model_config(name)["vision_cfg"]["image_size"]}
    transform = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**said), is_train=False)
    with Image.open(SAMPLES / photo) as opened:
        expected = transform(ImageOps.exif_transpose(opened))
    frame = decoding.read_frame(Ref(0, photo, path=SAMPLES / photo))
    pixels = preprocessing.view_of(frame, preset, "crop").pixels
    assert np.array_equal(pixels, expected.numpy())


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("ViT-B-32", "visual.transformer.resblocks.11.ln_1", (768, 7, 7)),
        ("RN50", "visual.layer4", (2048, 7, 7)),
        pytest.param("ViT-B-16-SigLIP", "visual.trunk.norm", (768, 14, 14), marks=pytest.mark.exhaustive),
        ("MobileCLIP-S1", "visual.trunk.final_conv", (1024, 8, 8)),
        ("coca_ViT-B-32", "visual.attn_pool.ln_k", (768, 7, 7)),
        pytest.param("convnext_base", "visual.trunk.stages", (1024, 7, 7), marks=pytest.mark.exhaustive),
        ("ViTamin-S", "visual.trunk.blocks", (384, 14, 14)),
        ("EVA02-B-16", "visual.trunk.blocks.11.norm1", (768, 14, 14)),
        ("PE-Core-T-16-384", "visual.trunk.norm", (192, 24, 24)),
    ],
)
def test_golden_layer_of_each_family(
    name: str, layer: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(monkeypatch)
    model = blueprint(ModelSpec(f"open_clip:{name}", "none", texts=TEXTS))
    traced = trace(model.net, torch.zeros(2, *model.preset.view_shape), model.task)
    (chosen,) = choosing.resolve(model.net, traced, (), model.name, rule=model.task.rule)
    assert (chosen.name, chosen.shape) == (layer, shape)


def test_its_networks_are_listed_by_wildcard() -> None:
    listed = {row["name"]: row for row in run("models", "open_clip:vit-b-32*", "--json").rows}
    assert listed["open_clip:ViT-B-32"]["task"] == "match"
    assert "laion2b_s34b_b79k" in listed["open_clip:ViT-B-32"]["weights"]
    assert "open_clip:ViT-B-32-quickgelu" in listed
    assert "open_clip:ViT-B-32-256" in run("models", "open_clip:*256").out
    assert "no model matches 'open_clip:nothing*'" in refused(2, "models", "open_clip:nothing*")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-m", "open_clip:small-ViT"), "is an image-text network: say what it is asked about with --text"),
        (("-m", "open_clip:ViT-B32", "-t", "a"), "did you mean open_clip:ViT-B-32 or"),
        (("-m", "open_clip:hf-hub:org/net", "-t", "a"), "unknown model 'open_clip:hf-hub:org/net'"),
        (("-m", "open_clip:ViT-B-32", "-t", "a", "-w", "laion2b_s34b_b79"), "did you mean laion2b_s34b_b79k"),
        (("-m", "open_clip:small-ViT", "-t", "a", "-w", "missing.pt"), "no such weights file: missing.pt"),
        (
            ("-m", "open_clip:small-ViT", "-t", "a", "-w", "none", "--model-arg", "jit=true"),
            "open_clip:small-ViT takes force_image_size",
        ),
        (
            ("-m", "open_clip:small-ViT", "-t", "a", "-w", "none", "--quantity", "softmax"),
            "of one text it is 1 whatever the picture shows: give two",
        ),
        (("-m", "open_clip:small-ViT", "-t", "a", "-w", "none", "--crop", "96"), "64x64 pictures only"),
        (("-m", "open_clip:small-ViT", "-t", "a", "-w", "none", "-c", "a bird"), "a bird"),
        (("-t", "a dog"), "--text goes with image-text models, open_clip:NAME or hf:FOLDER"),
    ],
)
def test_what_does_not_go_is_refused(flags: tuple[str, ...], said: str) -> None:
    assert said in refused(2, "explain", PHOTO, *flags)


def test_a_network_without_weights_of_its_own_asks_for_a_file() -> None:
    line = refused(3, "explain", PHOTO, "-m", "open_clip:small-ViT", "-t", "a")
    assert "open_clip has no weights of open_clip:small-ViT: name a file with --weights FILE" in line


def test_what_is_the_same_for_all_texts_needs_none() -> None:
    (listing,) = run("layers", "open_clip:small-ViT", "--json").rows
    assert (listing["layer"], listing["shape"]) == (LAYERS["small-ViT"], [64, 4, 4])
    torch.save(made("small-ViT").state_dict(), "local.pt")
    (facts,) = run("inspect", "local.pt", "-m", "open_clip:small-ViT", "--json").rows
    assert (facts["architecture"], facts["problem"]) == ("open_clip:small-ViT", None)
    assert [row["label"] for row in run("classes", "open_clip:small-ViT", *asked(*TEXTS), "--json").rows] == [*TEXTS]
    line = refused(3, "explain", PHOTO, "-w", "local.pt")
    assert "Its names are those of open_clip's image-text networks: --model open_clip:NAME" in line


@pytest.mark.exhaustive
def test_a_network_of_another_size_is_built_for_it() -> None:
    flags = ("-m", "open_clip:small-ViT", "-w", "none", *asked(*TEXTS), "--model-arg", "force_image_size=96")
    row = explained(*flags)
    assert row["provenance"]["preset"]["crop"] == 96
    assert row["explanations"][0]["fingerprint"]["grid"].startswith("6x6:")


# Without open_clip, and without its weights.


def test_without_open_clip_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camcli.models.sources.find_spec", lambda name: None)
    said = "open_clip is not installed: `pip install camcli[open_clip]`"
    assert said in refused(3, "explain", PHOTO, "-m", "open_clip:ViT-B-32", "-t", "a")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert said in refused(3, "models", "open_clip:*")


@pytest.mark.parametrize(
    ("name", "weights", "said"),
    [
        ("ViT-B-32", "laion2b_s34b_b79k", "can't get the weights laion2b_s34b_b79k of open_clip:ViT-B-32"),
        ("ViT-B-32", "DEFAULT", "can't get the weights openai of open_clip:ViT-B-32"),
        ("ViT-B-16-SigLIP", "none", "the tokenizer of its texts (timm/ViT-B-16-SigLIP) is not here and can't be had"),
    ],
)
def test_what_lies_on_the_hub_and_cannot_be_had_is_named(
    name: str, weights: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert said in refused(3, "explain", PHOTO, "-m", f"open_clip:{name}", "-w", weights, "-t", "a dog")


def test_a_tags_file_in_the_cache_is_taken_as_it_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tag says by which activation, and how pictures were made ready; open_clip only warns of the former."""
    net = made("small-ViT-quickgelu")
    save_file(net.state_dict(), "open_clip_model.safetensors")
    told = {"file": "open_clip_model.safetensors", "quick_gelu": True, "resize_mode": "squash", "mean": (0.5, 0.5, 0.5)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small-ViT", {"first": told})
    outcome = run("explain", PHOTO, "-m", "open_clip:small-ViT", *asked(*TEXTS), "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    assert row["weights"] == "first"
    assert len(row["provenance"]["weights_sha256"]) == 64
    assert "computed with QuickGELU, as first was trained" in outcome.err
    net.visual.preprocess_cfg |= {"resize_mode": "squash", "mean": (0.5, 0.5, 0.5)}
    got = {entry["label"]: entry["logit"] for entry in row["top"]}
    assert [got[text] for text in TEXTS] == pytest.approx(theirs(net, "small-ViT-quickgelu").tolist(), rel=1e-4)
