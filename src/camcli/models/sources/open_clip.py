"""open_clip's image-text networks, as `open_clip:NAME`, with the texts that they are asked about (extra
camcli[open_clip]). The only file that imports open_clip, and only when one is named."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camcli.errors import RequestError, SetupError, unknown
from camcli.models import catalog, presets
from camcli.models.adapters import texts as adapters
from camcli.models.model import USUAL_PRESET, Architecture, Args
from camcli.models.sources.boundary import quiet, reason_of, saying
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


@dataclass(frozen=True, slots=True)
class _Named:
    """A network as it was asked for. bare: open_clip's name. config: what it is built by. args: over that.

    tag: of the weights, None without; `told` is what open_clip knows of them. file: of weights that are the user's.
    """

    name: str
    bare: str
    config: Mapping[str, Any]
    args: Args
    tag: str | None
    told: Mapping[str, Any]
    file: Path | None

    @property
    def quick_gelu(self) -> bool:
        """True if it computes with QuickGELU. A tag that was trained so is no less so under the plain name."""
        own = self.args.get("force_quick_gelu") or self.config.get("quick_gelu")
        return bool(own or self.told.get("quick_gelu"))

    @property
    def keeps_text_apart(self) -> bool:
        """True if its tensors of texts are called `text.…`"""
        own = self.args.get("force_custom_text") or self.config.get("custom_text")
        return bool(own or self.config["text_cfg"].get("hf_model_name"))


def architecture(
    name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None, texts: Sequence[str] = ()
) -> Architecture:
    """An image-text network of open_clip, whose classes are the `texts`; `weights` is one of its tags, DEFAULT for the
    first one, or none.

    Raises:
        RequestError: no such network or tag, no texts, an argument that it does not take.
        SetupError: open_clip is not installed, or the tokenizer of its texts can't be had.
    """
    named = _named(name, weights, args, None if tensors is None else Path(weights), texts)
    preset, remarks = _preset(named)
    tokens, cut = _encoded(named, texts)
    return Architecture(
        name=name,
        build=partial(_built, named),
        preset=preset,
        labels=None,
        weights=named.tag or weights,
        fetch=partial(_downloaded, named) if named.file is None and weights != "none" else None,
        rename=_under_text if named.keeps_text_apart else str,
        read=adapters.read,
        bind=partial(_with_texts, name, tokens, preset),
        whole=True,
        fixed_size=_is_of_one_size(named.config["vision_cfg"]),
        probed=True,
        package="open-clip-torch",
        foreign=True,
        remarks=(*remarks, *_on_gelu(named), *cut),
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


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError:
        raise SetupError("open_clip is not installed: `pip install camcli[open_clip]`") from None
    return open_clip


def _named(name: str, weights: str, args: Args, file: Path | None, texts: Sequence[str]) -> _Named:
    """The network of that name and its weights. Raises: RequestError: no such name, tag or argument, or no texts."""
    open_clip = _open_clip()
    bare = name.removeprefix(catalog.OPEN_CLIP).replace("/", "-")  # ViT-B/32, as papers write it
    known = open_clip.list_models()
    if bare not in known:
        listed = [catalog.OPEN_CLIP + own for own in known]
        raise unknown("model", name, listed, f"camcli models '{catalog.OPEN_CLIP}*'")
    if wrong := next((key for key in args if key not in _ARGS), None):
        raise RequestError(f"--model-arg {wrong}: {name} takes {', '.join(_ARGS)}")
    if not texts:
        raise RequestError(f"{name} is an image-text network: say what it is asked about with --text")
    tag = None if file or weights == "none" else _tag(name, bare, weights)
    told = open_clip.get_pretrained_cfg(bare, tag) if tag else {}
    return _Named(name, bare, open_clip.get_model_config(bare), args, tag, told, file)


def _tag(name: str, bare: str, weights: str) -> str | None:
    """The tag, as open_clip writes it; None if it has no weights of the network. Raises: RequestError: no such tag."""
    tags = [str(tag) for tag in _open_clip().list_pretrained_tags_by_model(bare)]
    if weights == "DEFAULT":
        return tags[0] if tags else None
    found = weights.lower().replace("-", "_")
    if found not in tags:
        raise unknown(f"weights for {name}", weights, ["DEFAULT", *tags, "none"], f"camcli models '{name}'")
    return found


def _built(named: _Named, initialise: bool) -> nn.Module:
    net: nn.Module
    args = named.args | ({"force_quick_gelu": True} if named.quick_gelu else {})
    with saying(named.name), nullcontext() if initialise else filling.no_initialisation():
        net = _open_clip().create_model(named.bare, load_weights=False, pretrained_text=False, **args)
    return net


def _downloaded(named: _Named, progress: bool) -> Path:
    """The file of the tag's weights, downloaded if it is not in the cache. Raises: SetupError: it can't be had."""
    if named.tag is None:
        raise SetupError(f"open_clip has no weights of {named.name}: name a file with --weights FILE")
    try:
        with quiet(), nullcontext() if progress else redirect_stderr(io.StringIO()):
            return Path(_open_clip().download_pretrained(dict(named.told)))
    except Exception as error:  # noqa: BLE001  the network, the hub, the licence: anything may be wrong
        raise SetupError(
            f"can't get the weights {named.tag} of {named.name} ({reason_of(error)}): download them elsewhere and name "
            "the file with --weights FILE"
        ) from None


def _preset(named: _Named) -> tuple[Preset, list[str]]:
    """(the preprocessing of the tag, of the file, or else of the network's first weights; remarks on it)."""
    if named.tag:
        return _preset_of(named, named.told), []
    if named.file is not None:
        beside = (named.file if named.file.is_dir() else named.file.parent) / _CONFIG
        if beside.is_file() and isinstance(said := _parsed(beside).get("preprocess_cfg"), dict):
            return _preset_of(named, said), [f"preset from {beside}"]
    open_clip = _open_clip()
    tags = open_clip.list_pretrained_tags_by_model(named.bare)
    by_tag = {tag: _preset_of(named, open_clip.get_pretrained_cfg(named.bare, tag)) for tag in tags}
    if not by_tag:
        return _preset_of(named, {}), []
    (first, preset), *others = by_tag.items()
    unlike = [tag for tag, other in others if other != preset]
    if named.file is None or not unlike:
        return preset, []
    return preset, [f"{named.name}: pictures as {first} has them; {', '.join(unlike)} has another preset: --preset"]


def _preset_of(named: _Named, said: Mapping[str, Any]) -> Preset:
    """The preset in open_clip's words, CLIP's own where they are silent.

    Raises: RequestError: pictures are fitted by their long side and padded.
    """
    open_clip = _open_clip()
    size = named.args.get("force_image_size", named.config["vision_cfg"].get("image_size", 224))
    height, width = (size, size) if isinstance(size, int) else size
    sides = height if height == width else (height, width)
    mode = said.get("resize_mode") or "shortest"
    if mode == "longest":
        raise RequestError(
            f"{named.name}: its pictures are fitted by their long side and padded, which is not done here"
        )
    # open_clip's resize to a rectangle that is covered is always bicubic.
    plain = mode == "squash" or height == width
    filters = "bilinear" if plain and said.get("interpolation") == "bilinear" else "bicubic"
    fields: dict[str, Any] = {
        "resize": sides,
        "crop": sides,
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


def _on_gelu(named: _Named) -> list[str]:
    """What the user should know of the activation: no file tells by which of two its weights were trained."""
    if named.quick_gelu and not (named.config.get("quick_gelu") or named.args.get("force_quick_gelu")):
        return [f"{named.name}: computed with QuickGELU, as {named.tag} was trained"]
    if not named.quick_gelu and named.file is not None and named.bare + _QUICK in _open_clip().list_models():
        return [
            f"{named.name} computes with GELU: weights that were trained with QuickGELU (OpenAI's, MetaCLIP's, DFN's) "
            f"need --model {named.name}{_QUICK}"
        ]
    return []


def _encoded(named: _Named, texts: Sequence[str]) -> tuple[Tensor, list[str]]:
    """(the texts' tokens (K, L) by the network's tokenizer, remarks on those that it cuts).

    Raises: SetupError: the tokenizer lies on the hub and can't be had.
    """
    try:
        with quiet():
            tokenizer = _open_clip().get_tokenizer(named.bare)
            tokens: Tensor = tokenizer(list(texts))
    except Exception as error:  # noqa: BLE001  the network, the hub, a package: anything may be wrong
        source = named.config["text_cfg"].get("hf_tokenizer_name", "a vocabulary of its own")
        raise SetupError(
            f"{named.name}: the tokenizer of its texts ({source}) is not here and can't be had ({reason_of(error)}): "
            "bring the hub's cache from a machine that has it (HF_HOME)"
        ) from None
    longest = tokens.shape[1]
    cut = [text for text in texts if hasattr(tokenizer, "encode") and len(tokenizer.encode(text)) + 2 > longest]
    return tokens, [f"text {text[:40]!r}… has more than {longest} tokens: its end is not read" for text in cut]


def _under_text(name: str) -> str:
    """A file's name of a tensor -> that of a network that keeps its text tower under `text.`"""
    return f"text.{name}" if name.startswith(_OF_TEXT) else name


def _is_of_one_size(vision: Mapping[str, Any]) -> bool:
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
