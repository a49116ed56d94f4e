"""timm's models, as `timm:NAME` (extra camcli[timm]). The only file that imports timm, and only when one is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from camcli.errors import RequestError, SetupError, unknown
from camcli.models import catalog, preset_values, preset_words, presets
from camcli.models.model import USUAL_PRESET, Architecture, Args
from camcli.models.sources import torchvision
from camcli.models.weights import filling
from camcli.records import Preset

# Arguments of `timm.create_model` that name files: timm unpickles what `--weights` checks and the row would not name.
_FILES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def architecture(name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None) -> Architecture:
    """A timm model; its weights are a tag of its own (`timm:NAME.TAG`), so `weights` is DEFAULT or none.

    Raises:
        RequestError: no such model, weights by name, or a wrong argument.
        SetupError: timm is not installed.
    """
    timm = _timm()
    bare = name.removeprefix(catalog.TIMM)
    if not timm.is_model(bare):
        known = [catalog.TIMM + own for own in timm.list_models()]
        raise unknown("model", name, known, f"camcli models '{catalog.TIMM}*'")
    if tensors is None and weights not in ("DEFAULT", "none"):
        raise RequestError(
            f"unknown weights {weights!r}: timm's stand in the name, {catalog.TIMM}{bare.split('.')[0]}.TAG"
        )
    if wrong := next((key for key in _FILES if key in args), None):
        raise RequestError(f"--model-arg {wrong}: name the file of a timm model's weights with --weights FILE")
    pretrained = tensors is None and weights == "DEFAULT"
    try:
        config = timm.get_pretrained_cfg(bare)
    except RuntimeError:  # a tag that timm does not know
        known = [catalog.TIMM + own for own in timm.list_pretrained(f"{bare.split('.')[0]}.*")]
        raise unknown("model", name, known, f"camcli models '{catalog.TIMM}{bare.split('.')[0]}'") from None
    known_config = config.to_dict() if config is not None else {}

    def build(initialise: bool) -> nn.Module:
        with nullcontext() if initialise or pretrained else filling.no_initialisation(), _building(name):
            return timm.create_model(bare, pretrained=pretrained, **args)  # type: ignore[no-any-return]

    return Architecture(
        name=name,
        build=build,
        preset=preset_of(known_config | _sized(args)),
        labels=torchvision.imagenet_labels() if known_config.get("num_classes") == 1000 else None,
        weights=known_config.get("tag") or weights if pretrained else weights,
        cached=partial(_cached, known_config) if pretrained else None,
        fixed_size=bool(known_config.get("fixed_input_size")),
        probed=True,
        package="timm",
    )


def listing(pattern: str) -> Iterator[catalog.Entry]:
    """timm's models whose names (`timm:…`) match a wildcard, in natural order, with the tags of their weights.

    Raises: SetupError: timm is not installed.
    """
    timm = _timm()
    tags: dict[str, list[str]] = {}
    for pretrained in timm.list_pretrained():
        bare, _, tag = pretrained.partition(".")
        tags.setdefault(bare, []).append(tag)
    for bare in timm.list_models(pattern.removeprefix(catalog.TIMM)):
        family = timm.models.model_entrypoint(bare).__module__.rpartition(".")[2]
        yield catalog.Entry(catalog.TIMM + bare, family, tuple(filter(None, tags.get(bare, []))))


def preset_of(config: Mapping[str, Any]) -> Preset:
    """The preprocessing in a `pretrained_cfg`; timm's defaults if it is silent.

    Raises: RequestError: preprocessing that can't be done here.
    """
    silent = {"input_size": (3, 224, 224), "interpolation": "bicubic"}
    try:
        fields, _ = presets.in_unit_range(preset_words.fields_of({**silent, **config}))
        return presets.changed(USUAL_PRESET, fields)
    except preset_values.WordError as error:
        raise RequestError(f"timm's preprocessing of {config.get('architecture')}: {error}; see --preset") from None


def _sized(args: Args) -> dict[str, Any]:
    """The picture size that a model is built for if `--model-arg img_size=…` says so."""
    match args.get("img_size"):
        case int(side) | (int(side),):
            return {"input_size": (3, side, side), "crop_pct": 1.0}
        case (int(height), int(width)):
            return {"input_size": (3, height, width), "crop_pct": 1.0}
    return {}


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise SetupError("timm is not installed: `pip install camcli[timm]`") from None
    return timm


def _cached(config: Mapping[str, Any]) -> Path | None:
    """The downloaded file, in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    files = (try_to_load_from_cache(config["hf_hub_id"], name) for name in ("model.safetensors", "pytorch_model.bin"))
    return next((Path(file) for file in files if isinstance(file, str)), None) if config.get("hf_hub_id") else None


@contextmanager
def _building(name: str) -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        raise RequestError(f"--model-arg: {name} can't be built: {error}") from None
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise SetupError(
            f"can't get the weights of {name} ({reason}): name a file with --weights FILE, "
            f"or use the bundled model (--model {catalog.BUNDLED}), which needs no network"
        ) from None
