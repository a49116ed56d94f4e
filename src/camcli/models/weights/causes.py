"""Causes that keep a file from being a plain network's weights, as far as the names in it tell them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

AS_CODE = "give the network as code, --model FILE.py:factory"
WITH_ARGUMENTS = f"name it and them, --model NAME --model-arg width_mult=0.5; else {AS_CODE}"

INTEGERS = (
    "It is a network for integers (torch.ao.quantization: observers, fake or real quantisation), whose scores are "
    "rounded and have no gradient: save the state_dict of the float network, before prepare and convert"
)

# A name that tells -> what it tells, and the way on.
_TELLING = (
    (
        r"(activation_post_process|fake_quant|weight_fake_quant|_packed_params|\.zero_point$)",
        INTEGERS,
    ),
    (
        r"lora_(A|B|down|up|embedding_A|embedding_B)\b",
        "It holds LoRA adapters beside the weights: merge them before saving (peft: model.merge_and_unload()), "
        + f"or {AS_CODE}",
    ),
    (
        r"(^|\.)parametrizations\.",
        "It is parametrised (torch.nn.utils.parametrize), and what computes those weights is code that is not in the "
        "file: call parametrize.remove_parametrizations(module, name) before saving, " + f"or {AS_CODE}",
    ),
    (
        r"_mask$",
        "It is pruned (torch.nn.utils.prune) in a way that its tensors alone don't tell: "
        "call prune.remove(module, name) before saving, " + f"or {AS_CODE}",
    ),
    (
        r"_orig$|_u$|_[gv]$",
        "Its weights are computed from others (weight_norm, spectral_norm or alike) in a way that its tensors alone "
        "don't tell: call remove_weight_norm or remove_spectral_norm before saving, " + f"or {AS_CODE}",
    ),
    (
        r"(^|\.)(rpn\.|roi_heads\.|fpn\.|regression_head|classification_headers|bbox_pred|dfl\.|anchors$)"
        r"|^backbone\.body\.",
        "It is a detector, and what is explained here are classifiers",
    ),
    (
        r"(^|\.)(aux_classifier\.|segmentation_head\.|decoder\.blocks\.)",
        "It is a segmentation network, and what is explained here are classifiers",
    ),
    (
        r"^(vit|swin|swinv2|resnet|convnext|convnextv2|deit|beit|mobilevit|efficientnet|dinov2|mobilenet_v[12])"
        r"\.(embeddings|encoder|embedder|blocks|conv_stem)\b",
        "Its names are those of Hugging Face's transformers: -m "
        "transformers:AutoModelForImageClassification.from_pretrained "
        "--model-arg pretrained_model_name_or_path=FOLDER, the folder that holds its config.json",
    ),
    (
        r"(^|\.)visual\.(conv1|class_embedding|positional_embedding|proj|trunk|attnpool|attn_pool)\b",
        "Its names are those of open_clip's image-text networks: --model open_clip:NAME, the name that it was made by, "
        "with --text",
    ),
    (
        r"(^|\.)(patch_embed\.|conv_stem\.|stages\.\d|blocks\.\d+\.(attn\.qkv|norm1|\d+\.))",
        "Its names look like timm's: --model timm:NAME, the name that it was made by",
    ),
)
_FASTAI_HEAD = ("1.2.running_mean", "1.4.weight", "1.8.weight")
_FASTAI = (
    "It is a fastai Learner's (the body under 0, a head of two Linears under 1), and no file records what lies between "
    "them: give the network as code, --model FILE.py:factory, where the factory returns "
    "fastai.vision.all.create_vision_model(BODY, n_out=CLASSES, pretrained=False), BODY as it was trained: resnet34, …"
)


def told(all_names: Iterable[str], left_over: Iterable[str]) -> str:
    """The cause and the way on, in a sentence or two; "" if nothing is known.

    all_names: the file's. left_over: those that found no place.
    """
    names = set(all_names)
    if names.issuperset(_FASTAI_HEAD):
        return _FASTAI
    left = list(left_over)
    return next((sentence for pattern, sentence in _TELLING if any(re.search(pattern, name) for name in left)), "")


def of_folder(path: Path) -> str:
    """The way to read the weights in a folder, or a file of it, by the library that made its config.json; else ""."""
    folder = path if path.is_dir() else path.parent
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(config, dict):
        return ""
    if isinstance(config.get("architecture"), str):
        return f"Its config.json is timm's: -m timm:{config['architecture']}"
    made = config.get("architectures")
    if not isinstance(made, list) or not made:
        return ""
    preset = folder / "preprocessor_config.json"
    return (
        f"Its config.json is of Hugging Face's transformers ({made[0]}): "
        f"-m transformers:AutoModelForImageClassification.from_pretrained "
        f"--model-arg {quote(f'pretrained_model_name_or_path={folder}')}"
        f"{f' --preset {quote(str(preset))}' if preset.is_file() else ''} "
        f"--labels {quote(str(folder / 'config.json'))}, without --weights"
    )
