"""`camcli.explain`: where a network looked, for people who already hold the network, the pictures or a loader."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack, overload

from PIL import Image
from torch import Tensor, nn

from camcli import models
from camcli.api.answer import Answer, Answers
from camcli.api.arguments import How, Labels, Network, Options, Target, bound, layers, names, spec_fields
from camcli.api.given import Pictures, are_many, number_of
from camcli.api.guarding import Versions, in_python, in_words_of_python, plain_torch, untouched
from camcli.api.notebook import progress as progress_of
from camcli.errors import InputError, SetupError
from camcli.inputs.memory import Normalised
from camcli.machine.pools import pool_of
from camcli.models import Model, transforms
from camcli.models.sources import in_memory, user_code
from camcli.records import Failed, Fit, Preset
from camcli.running.engine import Engine
from camcli.specs import Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.utils.data import Dataset


_log = logging.getLogger("camcli")


class CamcliWarning(UserWarning):
    """A warning that an answer may mean something else than it seems to."""


@overload
def explain(pictures: Image.Image | bytes | NDArray[Any], model: Network = None, **how: Unpack[How]) -> Answer: ...
@overload
def explain(
    pictures: Sequence[Image.Image] | Sequence[os.PathLike[str]] | Sequence[NDArray[Any]] | Sequence[Tensor],
    model: Network = None,
    **how: Unpack[How],
) -> list[Answer]: ...
@overload
def explain(
    pictures: str | os.PathLike[str] | Tensor | Iterable[Any] | Dataset[Any],
    model: Network = None,
    **how: Unpack[How],
) -> Any: ...


def explain(
    pictures: Any,
    model: Network = None,
    *,
    method: str | Sequence[str] | None = None,
    target: Target = "top1",
    layer: str | nn.Module | Sequence[str | nn.Module] | None = None,
    preset: Any = None,
    labels: Labels = None,
    weights: str = "DEFAULT",
    top: int = 5,
    fit: Fit | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    **options: Unpack[Options],
) -> Any:
    """Show where the network looked: an `Answer` for one picture, a list of them for several or a folder.

    pictures: a file, folder or URI, a file's bytes, a file opened with mode "rb", a picture of Pillow's, an array
        (H, W, 3) of uint8, or a normalised tensor (C, H, W), as the network takes it; any number of them; a tensor
        (N, C, H, W) is N pictures, and one (N, C, T, H, W) N clips; a batch as `explain_many` takes it. For a network
        that takes clips also a video, or an animated picture.
    model: a network in memory, on any device and in any mode, which is left as it was; or a name, as `camcli models`
        lists them; None: the bundled one.
    method: names as in `camcli methods`; None: grad-cam; hires-cam for detections, a pixel, region or mask, captions
        and policies. target: see `Target`.
    layer: names, or modules of the network; None: found.
    preset: how pictures are preprocessed: a torchvision transform, a timm or Hugging Face config or processor, a dict,
        a JSON file. Tensors are taken as they are.
    labels: the classes' names by id, or a file of them. weights: those of a model that is named by its name.
    top: the number of classes in `Answer.top`. fit: the part of a picture that the network sees, as `--fit`.
    progress: show how many pictures are done, in a notebook or on a terminal. options: see `Options`.

    Raises:
        InputError: a picture can't be read, or explained.
        RequestError: an unknown name, or arguments that exclude each other.
        SetupError: the network fails on such pictures, has no layer that is a map, or a method does not apply to it.
    """
    asked = {"method": method, "target": target, "layer": layer, "preset": preset, "labels": labels}
    answers = Answers()
    for one in list(_answers(pictures, model, weights, top, fit, batch_size, progress, options, stacklevel=4, **asked)):
        if isinstance(one, Failed):
            raise InputError(one.stage, one.kind, f"{one.ref.name}: {one.message}")
        answers.append(one)
    return answers if are_many(pictures) else answers[0]


def explain_many(
    pictures: Iterable[Any] | Dataset[Any],
    model: Network = None,
    *,
    method: str | Sequence[str] | None = None,
    target: Target = "top1",
    layer: str | nn.Module | Sequence[str | nn.Module] | None = None,
    preset: Any = None,
    labels: Labels = None,
    weights: str = "DEFAULT",
    top: int = 5,
    fit: Fit | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    **options: Unpack[Options],
) -> Iterator[Answer | Failed]:
    """Explain any number of pictures, in order and a batch at a time: memory does not grow with them.

    pictures: as `explain` takes them, or a DataLoader or Dataset. In batches and samples that are tuples the first part
        counts, in dicts "pixel_values" or "image". A picture that can't be explained is a `Failed` in its
        place; so is None.
    The other arguments are those of `explain`.

    Raises: as `explain`, but no InputError; SetupError: the network's parameters have changed meanwhile.
    """
    asked = {"method": method, "target": target, "layer": layer, "preset": preset, "labels": labels}
    return _answers(pictures, model, weights, top, fit, batch_size, progress, options, stacklevel=3, **asked)


def _answers(
    pictures: Any,
    model: Network,
    weights: str,
    top: int,
    fit: Fit | None,
    batch_size: int | None,
    progress: bool,
    options: Options,
    *,
    method: str | Sequence[str] | None,
    target: Target,
    layer: Any,
    preset: Any,
    labels: Any,
    stacklevel: int,
) -> Iterator[Answer | Failed]:
    """See `explain_many`; warnings name the line `stacklevel` calls up."""
    with in_python():
        named = Pictures(pictures, bound(options))
        first = named.first()
        spec = Spec(
            weights=weights,
            methods=(method,) if isinstance(method, str) else tuple(method) if method is not None else None,
            top=top,
            fit=fit,
            batch_size=batch_size,
            **spec_fields(target, options),
        )
        if isinstance(first.held, Normalised):
            *frames, height, width = first.held.pixels.shape[1:]
            spec = replace(spec, resize=(height, width), crop=(height, width))
            if frames:
                spec = replace(spec, task="watch", frames=frames[0])
        with plain_torch(), untouched(model), in_memory.tried(model):
            engine = _engine(model, spec, target, layer, preset, labels)
    _tell(engine, first.held, stacklevel)
    watched = Versions(model)
    total = number_of(pictures) if progress else None
    with pool_of(engine.workers) as pool, progress_of(progress, total) as done:
        batches = engine.batches(named.refs(), pool)
        while True:
            with in_python(), plain_torch(), untouched(model):
                watched.check()
                batch = next(batches, None)
            if batch is None:
                return
            for result in batch:
                done(isinstance(result, Failed))
                yield _in_words(result) if isinstance(result, Failed) else Answer(result)


def _in_words(refusal: Failed) -> Failed:
    return replace(refusal, message=in_words_of_python(refusal.message))


def _engine(given: Network, spec: Spec, target: Target, layer: Any, preset: Any, labels: Any) -> Engine:
    named = None if isinstance(labels, (str, os.PathLike)) or labels is None else names(labels)
    if isinstance(labels, (str, os.PathLike)):
        spec = replace(spec, labels=os.fspath(labels))
    fields = None
    if isinstance(preset, (str, os.PathLike)):
        spec = replace(spec, preset=os.fspath(preset))
    elif isinstance(preset, Preset):
        fields = {field: getattr(preset, field) for field in Preset.__slots__}
    elif preset is not None:
        fields = transforms.fields_of(preset)
    if isinstance(given, nn.Module):
        kind = type(given)
        spec = replace(spec, model=f"{kind.__module__}:{kind.__qualname__}", weights=in_memory.WEIGHTS)
        model = models.of_network(given, spec, preset=fields, names=named)
    else:
        model, spec = _loaded(given, spec)
        if fields is not None:
            model = models.with_preset(model, fields)
        if named is not None:
            model = models.with_labels(model, named)
    spec = replace(spec, layers=layers(layer, model.net, given), device=model.device)
    return Engine(spec, model=model, function=target if callable(target) else None)


def _loaded(given: str | Model | None, spec: Spec) -> tuple[Model, Spec]:
    """The model of that name, or that is loaded already, and the spec that names it.

    Raises: SetupError: no gradient goes through it.
    """
    if not isinstance(given, Model):
        spec = replace(spec, model=given)
        return models.load_model(spec), spec
    if user_code.made_to_infer(given.net):
        raise SetupError(
            f"{given.name} was loaded under torch.inference_mode, which lets no gradient through: load it outside of it"
        )
    return given, replace(spec, model=given.name, weights=given.weights)


def _tell(engine: Engine, first: Any, stacklevel: int) -> None:
    """Warn of what can give the answers another meaning; all other remarks go to the logger "camcli"."""
    tensors = isinstance(first, Normalised)
    for remark in engine.remarks:
        assumed = "no preset is known" in remark
        said = in_words_of_python(remark.removeprefix("warning: "))
        if remark.startswith("warning:") or (assumed and not tensors):
            warnings.warn(said, CamcliWarning, stacklevel=stacklevel)
        else:
            _log.info(f"{said} (only for drawing them: tensors are taken as they are)" if assumed else said)
    engine.on_remark = lambda text: _log.info(in_words_of_python(text))
    plain = all(number == 0 for number in engine.model.preset.mean)
    if tensors and not plain and first.pixels.min() >= 0 and first.pixels.max() <= 1:
        warnings.warn(
            "tensors are given to the network as they are, and these lie in [0, 1]: were they normalised?",
            CamcliWarning,
            stacklevel=stacklevel,
        )
