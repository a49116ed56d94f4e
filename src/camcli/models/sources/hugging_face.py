"""Hugging Face's networks of pictures, and image-text networks with the texts that they are asked about, as `hf:FOLDER`
or `hf:ORG/NAME` (extra camcli[hf]). The only file that imports transformers, and only when one is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import RequestError, SetupError
from camcli.models import presets, transforms
from camcli.models.adapters import backbone, masks, queries, words
from camcli.models.adapters import texts as adapters
from camcli.models.model import DETECTED, USUAL_PRESET, Architecture, Args
from camcli.models.sources.boundary import saying
from camcli.models.sources.hugging_face_files import check_whole, file_in, folder_of, lacking_of
from camcli.models.sources.hugging_face_kinds import Role, kind_of
from camcli.records import Preset
from camcli.tasks.detect import Detect
from camcli.tasks.embed import Embed
from camcli.tasks.segment import Segment
from camcli.tasks.task import Task

# Names that nobody gave.
_STAND_IN = re.compile(r"LABEL_\d+")
# The sizes that masks are brought to by the processors of their networks.
_MASK_SIZES = {"Mask2FormerForUniversalSegmentation": (384, 384)}
# A size of picture that backbones take that name none.
_ANY = (224, 224)
# The width from which on DINOv2 networks have the artefacts that registers take up.
_LARGE = 1024
# 1/255 is written with so many digits.
_RESCALES = 1e-6
# SigLIP's length of a text, in tokens.
_LONGEST = 64
_PROCESSOR = "preprocessor_config.json"


def architecture(
    name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None, texts: Sequence[str] = ()
) -> Architecture:
    """A network of transformers, with the head, the names and the preprocessing that its folder holds; of an image-text
    network the classes are the `texts`.

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
    folder = folder_of(name)
    filled = tensors is None and weights == "DEFAULT"
    with saying(name):
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind, role = kind_of(transformers, config, name)
    if (role == "matches") != bool(texts):
        raise RequestError(
            f"{name} is an image-text network: say what it is asked about with --text"
            if role == "matches"
            else f"{name} takes pictures alone: it takes no --text"
        )
    source = _Source(name, folder, config, kind, role, texts)
    remarks = list(_remarks(name, config, role))
    preset, assumed = (DETECTED, False) if role == "detects" else _preset(folder, config, role, remarks)
    named = role not in ("matches", "embeds", "writes")
    return Architecture(
        name=name,
        build=lambda initialise: source.filled() if filled else source.built(),
        preset=preset,
        labels=_names(config.id2label) if named else None,
        read=source.reading,
        weights=folder.name if filled else weights,
        cached=partial(file_in, folder) if filled else None,
        bind=source.bound,
        whole=role == "matches",
        probed=True,
        assumed_preset=assumed,
        package="transformers",
        foreign=True,
        remarks=tuple(remarks),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """What a folder's config.json names, and how it is put together: a network that takes pictures alone."""

    name: str
    folder: Path
    config: Any
    kind: Any
    role: Role
    texts: Sequence[str]

    def built(self) -> nn.Module:
        """The network, its weights random or about to be filled."""
        with saying(self.name):
            return self._embedding(self.kind(self.config).float(), pools=True)

    def filled(self) -> nn.Module:
        """The network with the folder's weights. Raises: SetupError: they lack some."""
        with saying(self.name):
            net, info = self.kind.from_pretrained(
                self.folder,
                config=self.config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told, and refused here
            )
            lacking = lacking_of(info)
            pooler = {key for key in lacking if self.role == "embeds" and key.startswith("pooler.")}
            check_whole(self.name, lacking - pooler)
            return self._embedding(net, pools=not pooler)

    def bound(self, net: nn.Module) -> nn.Module:
        """The network with its weights, as one that takes pictures alone and answers for its task."""
        with saying(self.name):
            if self.role == "matches":
                return _with_texts(net, self.folder, self.texts)
            if self.role == "detects":
                return _as_detector(net, self.folder, self.config)
            if self.role in ("answers", "writes"):
                return _with_words(net, self.folder, self.config)
            return masks.Masks(net, _MASK_SIZES.get(self.kind.__name__)) if self.role == "masks" else net

    def _embedding(self, net: nn.Module, *, pools: bool) -> nn.Module:
        """A backbone as a network that gives its embedding; any other as it is."""
        if self.role != "embeds":
            return net
        side = getattr(self.config, "image_size", None)
        size = (side, side) if isinstance(side, int) else side or _ANY
        blank = torch.zeros(1, getattr(self.config, "num_channels", 3), *size)
        return backbone.Backbone(net, backbone.part_of(net.eval(), blank, pools=pools))

    @property
    def reading(self) -> Callable[[nn.Module, bool], tuple[Task, int]] | None:
        """See `Architecture.read`."""
        return {
            "matches": adapters.read,
            "detects": lambda net, several: (Detect(), self.config.num_labels),
            "masks": lambda net, several: (Segment(), self.config.num_labels),
            "embeds": _read_embedding,
        }.get(self.role)


def _remarks(name: str, config: Any, role: Role) -> Iterator[str]:
    if role == "masks":
        yield (
            f"{name}: a class's number at a place is the sum over its queries of the class's probability times the "
            "mask's, which may be above 1: the logarithm is explained, and what is told as its probability is the "
            "class's share of all classes' numbers"
        )
    if role == "embeds" and config.model_type == "dinov2" and config.hidden_size >= _LARGE:
        yield (
            f"{name}: large DINOv2 networks without registers keep facts of the whole picture in a few patches of its "
            "background (arXiv:2309.16588), where maps may peak"
        )


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise SetupError("transformers is not installed: `pip install camcli[hf]`") from None
    said: Any = transformers.logging
    said.set_verbosity_error()
    said.disable_progress_bar()
    return transformers


def _with_texts(net: nn.Module, folder: Path, texts: Sequence[str]) -> nn.Module:
    """The image-text network asked about these texts.

    SigLIP was trained on texts that are filled up to their longest, and sees what they are filled with; others see
    texts as they are.
    """
    tokenizer = _tokenizer(folder)
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


def _with_words(net: nn.Module, folder: Path, config: Any) -> nn.Module:
    """The network, told how words go in with a picture."""
    tokenizer = _tokenizer(folder)
    if "QuestionAnswering" in type(net).__name__:
        return words.Answers(net, tokenizer)
    if config.is_encoder_decoder:
        own, start = config.decoder, config.decoder_start_token_id
        return words.Captions(net, tokenizer, start, config.eos_token_id, own.vocab_size, "decoder_input_ids")
    own = config.get_text_config()
    # BLIP's captions end as its sentences are separated.
    end = own.eos_token_id if config.model_type == "git" else own.sep_token_id
    return words.Captions(net, tokenizer, own.bos_token_id, end, own.vocab_size, "input_ids")


def _embed(model: Any, images: Tensor) -> Any:
    return model.get_image_features(pixel_values=images)


def _read_embedding(net: nn.Module, multi_label: bool) -> tuple[Task, int]:
    assert isinstance(net, backbone.Backbone)
    return Embed(gives=backbone.SAID[net.part]), 0


def _as_detector(net: nn.Module, folder: Path, config: Any) -> nn.Module:
    """The detector, whose pictures are made ready as its processor does it. Raises: RequestError: it does otherwise."""
    processor = _processor(folder)
    if not processor.do_rescale or abs(processor.rescale_factor - 1 / 255) > _RESCALES:
        raise RequestError(f"{folder}: its pictures are not divided by 255, as detectors' are")
    normalised = processor.do_normalize
    mean, std = (processor.image_mean, processor.image_std) if normalised else ((0.0,) * 3, (1.0,) * 3)
    # Each processor keeps so many as its own default says.
    most = signature(processor.post_process_object_detection).parameters.get("top_k")
    sizes = queries.Sizes(processor)
    return queries.Queries(net, config.num_labels, sizes, mean, std, most.default if most else None)


def _tokenizer(folder: Path) -> Any:
    """The folder's tokenizer.

    Raises: SetupError: it has none. transformers then makes one that knows no word, and says nothing.
    """
    loading: Any = _transformers().AutoTokenizer
    found = loading.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    files = sorted({*found.vocab_files_names.values(), "tokenizer.json"})
    if not any((folder / name).is_file() for name in files):
        raise SetupError(f"{folder} has no tokenizer ({', '.join(files)}): words can't be told apart")
    return found


def _processor(folder: Path) -> Any:
    """The folder's processor of pictures. Its class knows what the file leaves out."""
    loading: Any = _transformers().AutoImageProcessor
    return loading.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _names(by_id: Mapping[int, Any]) -> tuple[str, ...] | None:
    """The classes' names by id, None if they are stand-ins, or some are missing."""
    if sorted(by_id) != list(range(len(by_id))):
        return None
    names = tuple(str(by_id[i]) for i in range(len(by_id)))
    return None if all(map(_STAND_IN.fullmatch, names)) else names


def _preset(folder: Path, config: Any, role: Role, remarks: list[str]) -> tuple[Preset, bool]:
    """(the preprocessing that the folder's processor says, False), or (the usual one at the config's size, True)."""
    if (folder / _PROCESSOR).is_file():
        with saying(str(folder / _PROCESSOR)):
            processor = _processor(folder)
        size = processor.to_dict()["size"]
        if role == "masks" and {"shortest_edge", "longest_edge"} <= size.keys():
            most, least = size["longest_edge"], size["shortest_edge"]
            processor.size = {"shortest_edge": least}
            remarks.append(
                f"{folder}: pictures more than {most / least:.3g} times as long as high are seen larger than its "
                f"processor makes them, {most} pixels long at most"
            )
        fields, _ = presets.in_unit_range(presets.whole(transforms.fields_of(processor)))
        return presets.changed(USUAL_PRESET, fields), False
    side = getattr(config, "image_size", None)
    if isinstance(side, int):
        return presets.changed(USUAL_PRESET, {"resize": side, "crop": side}), True
    return USUAL_PRESET, True
