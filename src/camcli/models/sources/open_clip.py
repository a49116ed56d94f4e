"""open_clip's image-text networks, as `open_clip:NAME`, with the texts that they are asked about (extra
camcli[open_clip]). The only file that imports open_clip, and only when one is named."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stderr
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import RequestError, SetupError, unknown
from camcli.models import catalog, presets
from camcli.models.adapters import texts as adapters
from camcli.models.model import USUAL_PRESET, Architecture, Args
from camcli.models.sources.boundary import reason_of, saying
from camcli.models.weights import filling
from camcli.records import Preset

# What open_clip saves beside weights that it puts on the hub.
_CONFIG = "open_clip_config.json"
_ARGS = ("force_image_size", "force_quick_gelu", "force_custom_text")
# Where CLIP's text tower lies in files, which newer networks keep under `text.`
_OF_TEXT = ("positional_embedding", "token_embedding", "transformer", "ln_final", "text_projection")
_QUICK = "-quickgelu"
# The normalised embeddings of the two ways through the tower may differ by so much.
_SAME = 1e-4


def architecture(
    name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None, texts: Sequence[str] = ()
) -> Architecture:
    """An image-text network of open_clip, whose classes are the `texts`; `weights` is one of its tags, DEFAULT for the
    first one, or none.

    Raises:
        RequestError: no such network or tag, no texts, an argument that it does not take.
        SetupError: open_clip is not installed, or the tokenizer of its texts can't be had.
    """
    open_clip = _open_clip()
    bare = name.removeprefix(catalog.OPEN_CLIP).replace("/", "-")  # ViT-B/32, as papers write it
    config = open_clip.get_model_config(bare) if bare in open_clip.list_models() else None
    if config is None:
        known = [catalog.OPEN_CLIP + own for own in open_clip.list_models()]
        raise unknown("model", name, known, f"camcli models '{catalog.OPEN_CLIP}*'")
    if wrong := next((key for key in args if key not in _ARGS), None):
        raise RequestError(f"--model-arg {wrong}: {name} takes {', '.join(_ARGS)}")
    if not texts:
        raise RequestError(f"{name} is an image-text network: say what it is asked about with --text")
    file = Path(weights) if tensors is not None else None
    tag = None if file or weights == "none" else _tag(name, bare, weights)
    told = open_clip.get_pretrained_cfg(bare, tag) if tag else {}
    preset, remarks = _preset(name, bare, config | {"args": args}, told, file)
    remarks += _on_gelu(name, bare, config, args, told, file)
    tokens, cut = _encoded(name, bare, texts)
    if told.get("quick_gelu"):
        args = args | {"force_quick_gelu": True}

    def build(initialise: bool) -> nn.Module:
        net: nn.Module
        with saying(name), nullcontext() if initialise else filling.no_initialisation():
            net = open_clip.create_model(bare, load_weights=False, pretrained_text=False, **args)
        return net

    return Architecture(
        name=name,
        build=build,
        preset=preset,
        labels=None,
        weights=tag or weights,
        fetch=partial(_downloaded, name, tag, told) if tag else None,
        rename=_under_text if config.get("custom_text") or args.get("force_custom_text") else str,
        read=adapters.read,
        bind=partial(_with_texts, name, tokens, preset),
        whole=True,
        fixed_size=_of_one_size(config["vision_cfg"]),
        probed=True,
        package="open-clip-torch",
        foreign=True,
        remarks=(*remarks, *cut),
    )


def listing(pattern: str) -> Iterator[catalog.Entry]:
    """open_clip's networks whose names (`open_clip:…`) match a wildcard, with the tags of their weights.

    Raises: SetupError: open_clip is not installed.
    """
    open_clip = _open_clip()
    for bare in open_clip.list_models():
        if fnmatchcase(bare.lower(), pattern.removeprefix(catalog.OPEN_CLIP).lower()):
            tags = tuple(open_clip.list_pretrained_tags_by_model(bare))
            yield catalog.Entry(catalog.OPEN_CLIP + bare, bare.partition("-")[0].lower(), tags, "match")


def _open_clip() -> ModuleType:
    try:
        import open_clip
    except ImportError:
        raise SetupError("open_clip is not installed: `pip install camcli[open_clip]`") from None
    return open_clip


def _tag(name: str, bare: str, weights: str) -> str:
    """The tag, as open_clip writes it. Raises: RequestError: there is none of that name; SetupError: there is none."""
    tags = _open_clip().list_pretrained_tags_by_model(bare)
    if not tags:
        raise SetupError(f"open_clip has no weights of {name}: name a file with --weights FILE")
    found = tags[0] if weights == "DEFAULT" else weights.lower().replace("-", "_")
    if found not in tags:
        raise unknown(f"weights for {name}", weights, ["DEFAULT", *tags, "none"], f"camcli models '{name}'")
    return str(found)


def _downloaded(name: str, tag: str, told: Mapping[str, Any], progress: bool) -> Path:
    """The file of the tag's weights, downloaded if it is not in the cache. Raises: SetupError: it can't be had."""
    try:
        with nullcontext() if progress else redirect_stderr(io.StringIO()):
            return Path(_open_clip().download_pretrained(dict(told)))
    except Exception as error:  # noqa: BLE001  the network, the hub, the licence: anything may be wrong
        raise SetupError(
            f"can't get the weights {tag} of {name} ({reason_of(error)}): download them elsewhere and name the file "
            "with --weights FILE"
        ) from None


def _preset(
    name: str, bare: str, config: Mapping[str, Any], told: Mapping[str, Any], file: Path | None
) -> tuple[Preset, list[str]]:
    """(the preprocessing that belongs to the tag, the file, or else the network's first weights; remarks on it)."""
    open_clip = _open_clip()
    by_tag = {tag: open_clip.get_pretrained_cfg(bare, tag) for tag in open_clip.list_pretrained_tags_by_model(bare)}
    presets_by_tag = {tag: _preset_of(name, config, cfg) for tag, cfg in by_tag.items()}
    if told:
        return _preset_of(name, config, told), []
    if file is not None and (beside := (file if file.is_dir() else file.parent) / _CONFIG).is_file():
        said = _parsed(beside).get("preprocess_cfg")
        if isinstance(said, dict):
            return _preset_of(name, config, said), [f"preset from {beside}"]
    if not presets_by_tag:
        return _preset_of(name, config, {}), []
    first = next(iter(presets_by_tag))
    remarks = []
    if file is not None and len(set(presets_by_tag.values())) > 1:
        others = [tag for tag, preset in presets_by_tag.items() if preset != presets_by_tag[first]]
        remarks.append(f"{name}: preprocessing as {first} has it; {', '.join(others)} have another: see --preset")
    return presets_by_tag[first], remarks


def _preset_of(name: str, config: Mapping[str, Any], said: Mapping[str, Any]) -> Preset:
    """The preset in open_clip's words, CLIP's own where they are silent.

    Raises: RequestError: pictures are fitted by their long side and padded.
    """
    open_clip = _open_clip()
    size = config["args"].get("force_image_size", config["vision_cfg"].get("image_size", 224))
    height, width = (size, size) if isinstance(size, int) else size
    mode = said.get("resize_mode") or "shortest"
    if mode == "longest":
        raise RequestError(f"{name} fits the long side of pictures and pads them: name another preset, --preset FILE")
    # open_clip's resize to a rectangle that is covered is always bicubic.
    plain = mode == "squash" or height == width
    filters = "bilinear" if plain and said.get("interpolation") == "bilinear" else "bicubic"
    fields: dict[str, Any] = {
        "resize": height if height == width else (height, width),
        "crop": height if height == width else (height, width),
        "mean": said.get("mean") or open_clip.OPENAI_DATASET_MEAN,
        "std": said.get("std") or open_clip.OPENAI_DATASET_STD,
        "interpolation": filters,
        "squash": mode == "squash",
    }
    return presets.changed(USUAL_PRESET, fields)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: {reason_of(error)}") from None
    return found if isinstance(found, dict) else {}


def _on_gelu(
    name: str, bare: str, config: Mapping[str, Any], args: Args, told: Mapping[str, Any], file: Path | None
) -> list[str]:
    """What the user should know of the activation: no file tells by which of two its weights were trained."""
    if config.get("quick_gelu") or args.get("force_quick_gelu"):
        return []
    if told.get("quick_gelu"):
        return [f"{name}: computed with QuickGELU, by which these weights were trained"]
    if file is not None and bare + _QUICK in _open_clip().list_models():
        return [
            f"{name} computes with GELU: weights that were trained with QuickGELU (OpenAI's, MetaCLIP's, DFN's) need "
            f"--model {name}{_QUICK}"
        ]
    return []


def _encoded(name: str, bare: str, texts: Sequence[str]) -> tuple[Tensor, list[str]]:
    """(the texts' tokens (K, L) by the network's tokenizer, remarks on those that it cuts).

    Raises: SetupError: the tokenizer lies on the hub and can't be had.
    """
    open_clip = _open_clip()
    source = open_clip.get_model_config(bare)["text_cfg"].get("hf_tokenizer_name")
    try:
        with saying(name), redirect_stderr(io.StringIO()):
            tokenizer = open_clip.get_tokenizer(bare)
    except SetupError as error:
        if source is None or not isinstance(error.__cause__, Exception):
            raise
        raise SetupError(
            f"{name}: the tokenizer of its texts lies on the hub ({source}) and can't be had "
            f"({reason_of(error.__cause__)}): bring the hub's cache from a machine that has it (HF_HOME)"
        ) from None
    with saying(name):
        tokens: Tensor = tokenizer(list(texts))
    own = [text for text in texts if hasattr(tokenizer, "encode") and len(tokenizer.encode(text)) + 2 > tokens.shape[1]]
    return tokens, [f"text {text[:40]!r}… is longer than {tokens.shape[1]} tokens: its end is not read" for text in own]


def _under_text(name: str) -> str:
    """A file's name of a tensor -> that of a network that keeps its text tower under `text.`"""
    return f"text.{name}" if name.startswith(_OF_TEXT) else name


def _of_one_size(vision: Mapping[str, Any]) -> bool:
    """True if the part that sees takes pictures of one size only: all but timm's convolutional networks."""
    if not (timm_name := vision.get("timm_model_name")) or vision.get("timm_pool") == "abs_attn":
        return True
    import timm

    found = timm.get_pretrained_cfg(timm_name, allow_unregistered=True)
    return found is None or bool(found.fixed_input_size)


def _with_texts(name: str, tokens: Tensor, preset: Preset, net: nn.Module) -> nn.Module:
    """The part that sees, asked about the texts; their own part is let go.

    Raises: SetupError: the network's embedding of a picture is not what that part gives.
    """
    model: Any = net.eval()
    noise = torch.randn((1, *preset.view_shape), generator=torch.Generator().manual_seed(0))
    with saying(name), torch.no_grad():
        embedded = model.encode_text(tokens)
        whole = nn.functional.normalize(model.encode_image(noise), dim=1)
        part = nn.functional.normalize(adapters.embedding_of(model.visual(noise)), dim=1)
    if not torch.allclose(whole, part, atol=_SAME):
        raise SetupError(f"{name}: its picture's embedding is not that of its visual part alone: not explained")
    return adapters.asked(model, embedded, ("visual", model.visual), _embed)


def _embed(visual: nn.Module, images: Tensor) -> Any:
    return visual(images)
