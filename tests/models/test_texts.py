"""Image-text networks out of a folder: texts as classes, against transformers' own scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from shell import SAMPLES, refused, run
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from camcli.records import Row

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]

PHOTO = SAMPLES / "cat_chelsea.jpg"
WORDS = "<|startoftext|> <|endoftext|> a dog cat photo of the red"
_TEXT = {
    "vocab_size": 9,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_SIGHT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
}


def saved(name: str) -> str:
    """A folder with a small random CLIP or SigLIP, a tokenizer of seven words, and its processor."""
    torch.manual_seed(0)
    words: Any = transformers.logging
    words.disable_progress_bar()
    configs: Any = {"Clip": "CLIP", "Siglip": "Siglip"}
    kind = configs[name]
    own = {"projection_dim": 16} if name == "Clip" else {}
    text = _TEXT if name == "Clip" else _TEXT | {"projection_size": 32}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=_SIGHT, **own)
    net = getattr(transformers, f"{kind}Model")(config)
    if name == "Siglip":
        net.logit_bias.data.fill_(-1.5)
        net.logit_scale.data.fill_(1.0)
    net.save_pretrained(name)
    tokens: Any = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS.split())}, unk_token="a"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<|startoftext|>", 0), ("<|endoftext|>", 1)]
    tokens.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=ends
    )
    made: Any = transformers.PreTrainedTokenizerFast
    made(
        tokenizer_object=tokens, bos_token="<|startoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    ).save_pretrained(name)
    square = {"height": 64, "width": 64}
    processor = {"image_processor_type": f"{kind}ImageProcessor", "size": square}
    if name == "Clip":
        processor |= {"size": {"shortest_edge": 64}, "crop_size": square}
    Path(name, "preprocessor_config.json").write_text(json.dumps(processor))
    return f"hf:{name}"


def explained(*arguments: object) -> Row:
    outcome = run("explain", PHOTO, *arguments, "--save", "none", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    return row


def theirs(name: str, texts: list[str]) -> np.ndarray[Any, Any]:
    """The scores that transformers gives, by its own tokenizer and processor."""
    net: Any = getattr(transformers, "CLIPModel" if name == "Clip" else "SiglipModel").from_pretrained(name).eval()
    tokenizing: Any = transformers.AutoTokenizer
    processing: Any = transformers.AutoImageProcessor
    full = {"padding": "max_length", "max_length": 64} if name == "Siglip" else {"padding": True}
    encoded = tokenizing.from_pretrained(name)(texts, return_tensors="pt", **full)
    encoded.pop("token_type_ids", None)
    if name == "Siglip":
        encoded.pop("attention_mask", None)
    with Image.open(PHOTO) as photo, torch.no_grad():
        pictures = processing.from_pretrained(name)(photo.convert("RGB"), return_tensors="pt")
        scores: np.ndarray[Any, Any] = net(**encoded, **pictures).logits_per_image[0].numpy()
    return scores


@pytest.mark.parametrize(
    ("name", "layer"),
    [("Clip", "model.vision_model.encoder.layers.2.layer_norm1"), ("Siglip", "model.vision_model.post_layernorm")],
)
def test_scores_are_theirs_and_the_layer_is_the_last_one_with_patches(name: str, layer: str) -> None:
    row = explained("-m", saved(name), "-t", "a dog", "-t", "the red cat", "-c", "the red cat")
    assert row["layer"] == layer
    found = {entry["label"]: entry for entry in row["top"]}
    expected = theirs(name, ["a dog", "the red cat"])
    got = [found[text]["logit"] for text in ("a dog", "the red cat")]
    # Their resize is torchvision's, which may be one level of 255 away from Pillow's.
    np.testing.assert_allclose(got, expected, atol=0.02 * float(abs(expected).max()))
    if name == "Clip":
        odds = np.exp(got - np.max(got))
        assert found["a dog"]["probability"] == pytest.approx(odds[0] / odds.sum(), abs=1e-4)
    else:
        assert found["a dog"]["probability"] == pytest.approx(1 / (1 + np.exp(-got[0])), abs=1e-4)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "scale", "bias"), [("Clip", 14.2849, 0.0), ("Siglip", np.e, -1.5)])
def test_a_cosine_is_the_score_before_its_scale(name: str, scale: float, bias: float) -> None:
    given = saved(name)
    texts = ("-t", "a dog", "-t", "a cat", "-c", "a cat")
    cosine = explained("-m", given, *texts, "--quantity", "cosine")["explanations"][0]
    logit = explained("-m", given, *texts)["explanations"][0]
    value = cosine["target"]["value"]
    assert -1 <= value <= 1
    assert logit["target"]["value"] == pytest.approx(scale * value + bias, rel=1e-3)
    # The same map, but for the scale.
    assert logit["max"] == pytest.approx(scale * cosine["max"], rel=1e-3)
    assert logit["fingerprint"]["grid"] == cosine["fingerprint"]["grid"]


@pytest.mark.parametrize("name", ["Clip", "Siglip"])
def test_a_file_of_weights_gives_the_texts_too(name: str) -> None:
    """Texts are encoded by the weights that are asked for, not by those that the network begins with."""
    given = saved(name)
    own = explained("-m", given, "-t", "a dog", "-t", "the red cat")
    Path(name, "model.safetensors").rename("tuned.safetensors")
    tuned = explained("-m", given, "-w", "tuned.safetensors", "-t", "a dog", "-t", "the red cat")
    assert tuned["top"] == own["top"]


def test_one_text_has_a_score_and_no_softmax() -> None:
    given = saved("Clip")
    row = explained("-m", given, "-t", "a dog")
    assert (row["top"][0]["label"], row["top"][0]["probability"]) == ("a dog", None)
    for flag in ("--quantity", "--target"):
        said = refused(2, "explain", PHOTO, "-m", given, "-t", "a dog", flag, "softmax")
        assert "of one text it is 1 whatever the picture shows: give two" in said


def test_two_equal_texts_leave_nothing_to_tell_apart() -> None:
    row = explained("-m", saved("Clip"), "-t", "a dog", "-t", "a dog", "--contrast", "0", "1")
    assert [entry["probability"] for entry in row["top"]] == pytest.approx([0.5, 0.5], abs=1e-5)
    assert row["explanations"][0]["note"].startswith("blank")


def test_texts_of_a_file_in_a_sentence() -> None:
    given = saved("Clip")
    Path("prompts.txt").write_text("dog\n\nred cat\n")
    row = explained("-m", given, "--texts", "prompts.txt", "--template", "a photo of a {}")
    same = explained("-m", given, "-t", "a photo of a dog", "-t", "a photo of a red cat")
    assert {entry["label"] for entry in row["top"]} == {"dog", "red cat"}
    assert [entry["logit"] for entry in row["top"]] == [entry["logit"] for entry in same["top"]]
    assert row["provenance"]["spec"]["texts"] == ["dog", "red cat"]


def test_its_rows_are_verified() -> None:
    given = saved("Clip")
    rows = run("explain", PHOTO, "-m", given, "-t", "a dog", "-t", "a cat", "--save", "none", "--json").stdout
    Path("rows.jsonl").write_bytes(rows)
    assert [row["status"] for row in run("verify", "rows.jsonl", "--json").rows] == ["identical"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-m", "hf:Clip"), "is an image-text network: say what it is asked about with --text"),
        (("-t", "a dog"), "--text goes with image-text models"),
        (("-m", "hf:Clip", "--texts", "empty.txt"), "empty.txt: the file is empty"),
        (("-m", "hf:Clip", "--texts", "blank.txt"), "blank.txt: the file is empty"),
        (("-m", "hf:Clip", "--texts", "none.txt"), "none.txt"),
    ],
)
def test_what_does_not_go_is_refused(flags: tuple[str, ...], said: str) -> None:
    saved("Clip")
    Path("empty.txt").touch()
    Path("blank.txt").write_text("\n\u00a0\n")
    assert said in refused(2, "explain", PHOTO, *flags)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "said"), [("Clip", "has no tokenizer"), ("Siglip", "AutoTokenizer")])
def test_a_folder_without_its_tokenizer_is_refused(name: str, said: str) -> None:
    """transformers makes a tokenizer that knows no word of it, and all texts would be the same."""
    model = saved(name)
    for file in Path(name).glob("tokenizer*"):
        file.unlink()
    assert said in refused(3, "explain", PHOTO, "-m", model, "-t", "a dog", "-t", "a cat")
