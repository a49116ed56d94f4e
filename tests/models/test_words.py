"""Hugging Face's networks that take words with a picture, out of a folder: against transformers' own scores."""

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
from tokenizers import Tokenizer, models, pre_tokenizers

from camcli.models import load_model
from camcli.models.adapters.words import LONGEST
from camcli.records import Row
from camcli.specs import Spec

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]

PHOTO = SAMPLES / "cat_chelsea.jpg"
WORDS = "<pad> <s> </s> what is it a dog cat photo of the red on table ##s"
SIGHT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 8,
}
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": len(WORDS.split()),
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
    "pad_token_id": 0,
}
# The layer of each, and its grid.
LAYERS = {
    "VisionEncoderDecoder": "model.encoder.layernorm",
    "Blip": "model.vision_model.post_layernorm",
    "Git": "model.git.encoder.layer.0",
    "Vilt": "model.vilt.encoder.layer.2.layernorm_before",
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words: Any = transformers.logging
    words.set_verbosity_error()
    words.disable_progress_bar()


def network(kind: str) -> Any:
    torch.manual_seed(0)
    t: Any = transformers
    if kind == "Vilt":
        named = {"id2label": {0: "yes", 1: "no", 2: "two"}, "label2id": {"yes": 0, "no": 1, "two": 2}}
        return t.ViltForQuestionAnswering(t.ViltConfig(**(TEXT | SIGHT), **named))
    if kind == "Blip":
        text = TEXT | {"encoder_hidden_size": 32, "projection_dim": 32}
        return t.BlipForConditionalGeneration(t.BlipConfig(text_config=text, vision_config=SIGHT))
    if kind == "Git":
        return t.GitForCausalLM(t.GitConfig(vision_config=SIGHT, **TEXT))
    decoder = t.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=TEXT["vocab_size"], add_cross_attention=True)
    config = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(t.ViTConfig(**SIGHT), decoder)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 1, 2, 0
    return t.VisionEncoderDecoderModel(config=config)


def saved(kind: str) -> Any:
    """The network, saved to a folder of that name with a tokenizer of words and a processor."""
    net = network(kind)
    for parameter in net.parameters():  # captions of several words
        parameter.data += 0.2 * torch.randn_like(parameter)
    net.save_pretrained(kind)
    tokens: Any = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS.split())}, unk_token="a"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped: Any = transformers.PreTrainedTokenizerFast
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    wrapped(tokenizer_object=tokens, **special).save_pretrained(kind)
    size = {"height": 64, "width": 64}
    processor: Any = transformers.ViTImageProcessor
    processor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=2).save_pretrained(kind)
    return net.eval()


def rows_of(*flags: object) -> list[Row]:
    found = run("explain", PHOTO, *flags, "--json", "--save", "none")
    assert found.code == 0, found.err
    return found.rows


def picture() -> torch.Tensor:
    with Image.open(PHOTO) as photo:
        small = photo.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)[None] / 127.5 - 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["VisionEncoderDecoder", "Blip", "Git"])
def test_captions_are_scored_as_transformers_scores_them(kind: str) -> None:
    net = saved(kind)
    text = "a red cat on the table"
    (row,) = rows_of("-m", f"hf:./{kind}", "--caption", text, "-c", "each")
    whole, *words = row["top"]
    assert whole["label"] == text
    assert row["layer"] == LAYERS[kind]
    ids = [WORDS.split().index(word) for word in text.split()]
    assert [word["id"] for word in words] == ids
    before = torch.tensor([[1, *ids[:-1]]])
    given = {"decoder_input_ids" if kind == "VisionEncoderDecoder" else "input_ids": before}
    with torch.no_grad():
        logs = net(pixel_values=picture(), **given).logits[0, -len(ids) :].log_softmax(1)
    expected = [float(logs[i, word]) for i, word in enumerate(ids)]
    assert [word["logit"] for word in words] == pytest.approx(expected, abs=2e-3)
    assert whole["logit"] == pytest.approx(sum(expected), abs=5e-3)
    assert len(row["explanations"]) == 7


@pytest.mark.parametrize("kind", ["VisionEncoderDecoder", "Blip", "Git"])
def test_the_caption_is_the_likeliest_word_after_each(kind: str) -> None:
    net = saved(kind)
    model = load_model(Spec(f"hf:./{kind}"))
    generate: Any = model.net.generate
    with torch.no_grad():
        (tokens,) = generate(picture())
        scores = model.net(picture(), tokens[None])[0]
    end = tokens.tolist().index(2) if 2 in tokens.tolist() else LONGEST - 1
    assert tokens[:end].tolist() == scores[:end].argmax(1).tolist()
    assert set(tokens[end:].tolist()) == {2}
    made = net.generate(pixel_values=picture(), max_new_tokens=LONGEST - 1, do_sample=False, num_beams=1)[0].tolist()
    assert [token for token in made if token not in (1, 2)][:end] == tokens[:end].tolist()


@pytest.mark.exhaustive
def test_pieces_of_words_are_put_together() -> None:
    saved("Blip")
    (row,) = rows_of("-m", "hf:./Blip", "--caption", "red dogs")
    assert [entry["label"] for entry in row["top"]] == ["red dogs", "red", "dog", "##s"]


@pytest.mark.exhaustive
def test_a_question_is_answered_as_transformers_answers_it() -> None:
    net = saved("Vilt")
    values = []
    for question in ("what is it", "is the cat red"):
        (row,) = rows_of("-m", "hf:./Vilt", "--question", question)
        ids = torch.tensor([[WORDS.split().index(word) for word in question.split()]])
        with torch.no_grad():
            logits = net(pixel_values=picture(), input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        assert {entry["label"]: entry["logit"] for entry in row["top"]} == pytest.approx(
            dict(zip(("yes", "no", "two"), logits.tolist(), strict=True)), abs=2e-3
        )
        assert row["layer"] == LAYERS["Vilt"]
        values.append(row["explanations"][0]["fingerprint"]["sha256"])
    assert values[0] != values[1]
    assert "takes a question with each picture" in refused(2, "explain", PHOTO, "-m", "hf:./Vilt")
    assert "at most 40 are taken" in refused(2, "explain", PHOTO, "-m", "hf:./Vilt", "--question", "is it " * 40)


def test_a_folder_without_its_tokenizer_is_refused() -> None:
    saved("Blip")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        Path("Blip", name).unlink()
    assert "Blip has no tokenizer" in refused(3, "explain", PHOTO, "-m", "hf:./Blip")
    config = json.loads(Path("Blip/config.json").read_text())
    Path("Blip/config.json").write_text(json.dumps(config | {"architectures": ["BlipForQuestionAnswering"]}))
    assert "is a BlipForQuestionAnswering" in refused(3, "explain", PHOTO, "-m", "hf:./Blip")
