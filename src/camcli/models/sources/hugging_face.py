"""Hugging Face's image classifiers, detectors of queries, and image-text networks with the texts that they are asked
about, as `hf:FOLDER` or `hf:ORG/NAME` (extra camcli[hf]). The only file that imports transformers, and only when one is
named."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import RequestError, SetupError
from camcli.models import catalog, presets, transforms
from camcli.models.adapters import queries
from camcli.models.adapters import texts as adapters
from camcli.models.model import DETECTED, USUAL_PRESET, Architecture, Args
from camcli.models.sources.boundary import quiet, reason_of, saying
from camcli.records import Preset
from camcli.tasks.detect import Detect

# What is needed of a repository: never pickles, never code.
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
_WEIGHTS = "model.safetensors"
# Names that nobody gave.
_STAND_IN = re.compile(r"LABEL_\d+")
_DETECTS = "ForObjectDetection"
# The ends of the names of classes that are explained; those of image-text networks have none.
_EXPLAINED = ("ForImageClassification", _DETECTS, "ForSemanticSegmentation")
# 1/255 is written with so many digits.
_RESCALES = 1e-6
# SigLIP's length of a text, in tokens.
_LONGEST = 64
_PROCESSOR = "preprocessor_config.json"


def architecture(
    name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None, texts: Sequence[str] = ()
) -> Architecture:
    """An image classifier of transformers, with the head, the names and the preprocessing that its folder holds; or an
    image-text network, whose classes are the `texts`.

    Raises:
        RequestError: weights by name, a preprocessing that can't be done, an argument for the constructor, texts for a
            classifier, or none for an image-text network.
        SetupError: transformers is not installed, the files can't be had, or they hold something else.
    """
    if args:
        raise RequestError(f"--model-arg: {name} is built as its config.json says")
    if tensors is None and weights not in ("DEFAULT", "none"):
        raise RequestError(f"unknown weights {weights!r}: {name} has its own; --weights FILE names others")
    transformers = _transformers()
    folder = _folder(name)
    filled = tensors is None and weights == "DEFAULT"
    with saying(name):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = _kind(config, name)
    matches, detects = hasattr(kind, "get_text_features"), _DETECTS in kind.__name__
    if matches != bool(texts):
        raise RequestError(
            f"{name} is an image-text network: say what it is asked about with --text"
            if matches
            else f"{name} classifies pictures: it takes no --text"
        )
    preset, assumed = (DETECTED, False) if detects else _preset(folder, config)

    def bind(net: nn.Module) -> nn.Module:
        with saying(name):
            return _with_texts(net, folder, texts) if matches else _as_detector(net, folder, config)

    def build(initialise: bool) -> nn.Module:
        net: nn.Module
        with saying(name):
            if not filled:
                net = kind(config).float()
                return net
            net, info = kind.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told, and refused below
            )
        _check_whole(name, info)
        return net

    return Architecture(
        name=name,
        build=build,
        preset=preset,
        labels=None if matches else _names(config.id2label),
        read=adapters.read if matches else (lambda net, several: (Detect(), config.num_labels)) if detects else None,
        weights=folder.name if filled else weights,
        cached=partial(_file_in, folder) if filled else None,
        bind=bind if matches or detects else None,
        whole=matches,
        probed=True,
        assumed_preset=assumed,
        package="transformers",
        foreign=True,
    )


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise SetupError("transformers is not installed: `pip install camcli[hf]`") from None
    words: Any = transformers.logging
    words.set_verbosity_error()
    words.disable_progress_bar()
    return transformers


def _folder(name: str) -> Path:
    """The folder of that name, or the repository's files in the hub's cache, downloaded if they are not there.

    Raises: SetupError: they can't be had.
    """
    bare = name.removeprefix(catalog.HF)
    if os.path.isdir(bare):
        return Path(bare)
    if bare.startswith((".", "/", "~")) or bare.count("/") > 1:
        raise SetupError(f"{name}: no such folder")
    from huggingface_hub import snapshot_download

    found = partial(snapshot_download, bare, allow_patterns=list(_FILES))
    try:
        return Path(found(local_files_only=True))
    except Exception:  # noqa: BLE001  not in the cache: what it raises then differs from version to version
        pass
    try:
        with quiet():
            return Path(found())
    except Exception as error:  # noqa: BLE001  the network, the hub, the licence: anything may be wrong
        raise SetupError(
            f"can't get {name} from the hub ({reason_of(error)}): download it elsewhere and name its folder, "
            f"{catalog.HF}./FOLDER"
        ) from None


def _kind(config: Any, name: str) -> Any:
    """The class of transformers that the config names. Raises: SetupError: it is no image classifier of its own."""
    named = [str(own) for own in getattr(config, "architectures", None) or ()]
    for own in named:
        kind = getattr(_transformers(), own, None)
        known = any(end in own for end in _EXPLAINED) or hasattr(kind, "get_text_features")
        if kind is not None and known:
            return kind
    said = ", ".join(named) or f"{config.model_type}, no architecture"
    raise SetupError(
        f"{name} is a {said}: transformers' image classifiers, detectors, segmentation and image-text networks are "
        "explained"
    )


def _with_texts(net: nn.Module, folder: Path, texts: Sequence[str]) -> nn.Module:
    """The image-text network asked about these texts.

    SigLIP was trained on texts that are filled up to their longest, and sees what they are filled with; others see
    texts as they are.
    """
    loading: Any = _transformers().AutoTokenizer
    tokenizer = loading.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    full = "siglip" in type(net).__name__.lower()
    encoded = tokenizer(
        list(texts),
        padding="max_length" if full else True,
        truncation=True,
        max_length=_LONGEST if full else None,
        return_tensors="pt",
    )
    seen = ("input_ids",) if full else ("input_ids", "attention_mask")
    model: Any = net.eval()
    with torch.no_grad():
        embedded = adapters.embedding_of(model.get_text_features(**{key: encoded[key] for key in seen}))
    model.text_model = nn.Identity()  # its work is done
    return adapters.asked(model, embedded, ("model", model), _embed)


def _embed(model: Any, images: Tensor) -> Any:
    return model.get_image_features(pixel_values=images)


def _as_detector(net: nn.Module, folder: Path, config: Any) -> nn.Module:
    """The detector, whose pictures are made ready as its processor does it. Raises: RequestError: it does otherwise."""
    loading: Any = _transformers().AutoImageProcessor
    processor = loading.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not processor.do_rescale or abs(processor.rescale_factor - 1 / 255) > _RESCALES:
        raise RequestError(f"{folder}: its pictures are not divided by 255, as detectors' are")
    normalised = processor.do_normalize
    mean, std = (processor.image_mean, processor.image_std) if normalised else ((0.0,) * 3, (1.0,) * 3)
    return queries.Queries(net, config.num_labels, queries.Sizes(processor), mean, std)


def _names(by_id: Mapping[int, Any]) -> tuple[str, ...] | None:
    """The classes' names by id, None if they are stand-ins, or some are missing."""
    if sorted(by_id) != list(range(len(by_id))):
        return None
    names = tuple(str(by_id[i]) for i in range(len(by_id)))
    return None if all(map(_STAND_IN.fullmatch, names)) else names


def _preset(folder: Path, config: Any) -> tuple[Preset, bool]:
    """(the preprocessing that the folder's processor says, False), or (the usual one at the config's size, True)."""
    if (folder / _PROCESSOR).is_file():
        with saying(str(folder / _PROCESSOR)):
            # Its class knows what the file leaves out.
            loading: Any = _transformers().AutoImageProcessor
            processor = loading.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        fields, _ = presets.in_unit_range(presets.whole(transforms.fields_of(processor)))
        return presets.changed(USUAL_PRESET, fields), False
    side = getattr(config, "image_size", None)
    if isinstance(side, int):
        return presets.changed(USUAL_PRESET, {"resize": side, "crop": side}), True
    return USUAL_PRESET, True


def _check_whole(name: str, info: Mapping[str, Any]) -> None:
    """Raises: SetupError: the files lack weights, which transformers fills at random."""
    lacking = sorted({*info.get("missing_keys", ()), *map(_first, info.get("mismatched_keys", ()))})
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise SetupError(
            f"{name} lacks {', '.join(lacking[:3])}{more}: it has no such head, or another; its scores would be random"
        )


def _first(key: Any) -> str:
    return str(key if isinstance(key, str) else key[0])


def _file_in(folder: Path) -> Path | None:
    """The file of its weights; of several, the index that names them."""
    found = (folder / name for name in (_WEIGHTS, f"{_WEIGHTS}.index.json"))
    return next((path for path in found if path.is_file()), None)
