"""Files of weights -> named tensors. Nothing in a file runs unless its reader says so.

torch.save archives (new and old), safetensors, and sharded ones with an index; a state dict alone or inside what a
training loop saved around it. Tensors are memory-mapped if the file allows it: opening costs no reading.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from camcli.errors import RequestError, SetupError
from camcli.models import containers, labels, preset_words
from camcli.models.weights import causes, fitting
from camcli.models.weights.contents import check_sizes, content_of

# Where training loops keep the weights, likeliest first; under other names they are found by what they hold.
_USUAL_KEYS = (
    "state_dict model_state_dict model_state model net network weights params module ema state_dict_ema model_ema "
    "ema_state_dict"
).split()
_MAX_DEPTH = 3
# Where training loops keep their settings, and the names that class names go by there.
_SETTINGS = (
    "hyper_parameters datamodule_hyper_parameters hparams args config cfg opt meta dataset_meta data dataset extra"
).split()
_NAMES = ("class_names", "CLASSES", "class_labels", "categories", "idx2label", "idx_to_label", "label_map", "vocab")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """One state dict from a file: `tensors` by name, at `key` inside the file (None: the file is the state dict).

    `keys` lists all state dicts in it, `labels` class names kept beside them, `extras` what else there is, in words.
    `trusted` says that code in the file has run; `network` is then the pickled network that the tensors are of.
    `normalised`: the place of a mean and a std of pictures in it, in words.
    `made_for`: the library that the folder was made for, and how that reads it; "" if it does not say.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    tensors: Mapping[str, Tensor]
    key: str | None = None
    keys: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    extras: Mapping[str, str] | None = None
    trusted: bool = False
    network: nn.Module | None = None
    normalised: str | None = None
    made_for: str = ""


class Digest:
    """The sha256 of files, one after the other, computed while other work runs."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._hash = hashlib.sha256()
        # Opened here: a file that is not there is the caller's error, and the thread needs no working directory.
        opened = [path.open("rb", buffering=0) for path in files]
        self._thread = threading.Thread(target=self._read, args=(opened,), daemon=True)
        self._thread.start()

    def hexdigest(self) -> str:
        """64 hexadecimal digits; waits for them."""
        self._thread.join()
        return self._hash.hexdigest()

    def _read(self, files: Sequence[FileIO]) -> None:
        # One buffer for all: a new one each time would have the system map memory while the weights are being mapped.
        buffer = memoryview(bytearray(1 << 18))
        for opened in files:
            with opened as file:
                while size := file.readinto(buffer):
                    self._hash.update(buffer[:size])


def read(path: Path, *, key: str | None = None, trust: bool = False) -> Checkpoint:
    """The state dict in a file, or in a folder as the Hugging Face hub lays it out.

    `key` chooses one of several in a file ("ema", "ema.module"), or one network of several in one state dict
    ("teacher"). `trust` lets a pickle run its code.

    Raises:
        RequestError: no state dict at `key`.
        SetupError: unreadable, unsafe without `trust`, no checkpoint, or no state dict in it.
    """
    files, format, content = content_of(path, trust)
    states = dict(_states(content))
    if not states and key is None:
        raise SetupError(f"{path} holds no state dict (names -> tensors), but {_instead(content)}")
    at, tensors = _chosen(path, states, key)
    check_sizes(path, tensors)
    outer = content if isinstance(content, Mapping) and at else {}
    network = _network(content, at) if key in (None, at) else None
    return Checkpoint(
        path=path,
        files=files,
        format=format,
        tensors=tensors,
        key=(at if key is None else key) or None,
        keys=tuple(filter(None, states)),
        labels=_labels(outer) or _labels(vars(getattr(network, "module", network)) if network is not None else {}),
        extras={str(name): _described(value) for name, value in outer.items() if str(name) != at.split(".")[0]},
        trusted=trust,
        network=network,
        normalised=preset_words.normalisation_in(path, outer),
        made_for=causes.of_folder(path),
    )


def _chosen(
    path: Path, states: Mapping[str, Mapping[str, Tensor]], key: str | None
) -> tuple[str, Mapping[str, Tensor]]:
    """(the place of the state dict that is asked for, its tensors or those below a prefix in it)."""
    usual = sorted(states, key=_usualness)
    if key is None or key in states:
        at = usual[0] if key is None else key
        return at, states[at]
    for at in usual:
        if part := fitting.below(states[at], key.removeprefix(f"{at}.")):
            return at, part
    raise RequestError(f"{path} holds no state dict under {key!r}: it has {', '.join(filter(None, states)) or 'none'}")


def _network(content: Any, at: str) -> nn.Module | None:
    """The pickled network at a dotted place, if there is one."""
    for name in at.split(".") if at else ():
        content = content[name]
    return content if isinstance(content, nn.Module) else None


def _labels(outer: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Class names from the usual places: beside the weights, or among what the training was asked for."""
    return next((found for held in _held(outer) if (found := labels.found_in(held))), None)


def _held(outer: Mapping[Any, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The mapping, labels of other names also under "classes", then the mappings of settings in it."""
    known = {name: containers.plain(value) for name, value in outer.items() if isinstance(name, str)}
    other = [known[name] for name in _NAMES if isinstance(known.get(name), (list, tuple, Mapping))]
    yield ({"classes": other[0]} if other else {}) | known
    for name in _SETTINGS:
        if depth < _MAX_DEPTH and isinstance(known.get(name), Mapping):
            yield from _held(known[name], depth + 1)


def _states(content: Any, at: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Each state dict in what was loaded, by its dotted place in it ("" for the whole)."""
    if isinstance(content, nn.Module):
        yield at, content.state_dict()
    elif isinstance(content, Mapping) and (state := _as_state(content)) is not None:
        yield at, state
    elif isinstance(content, Mapping) and depth < _MAX_DEPTH:
        for name, value in content.items():
            if isinstance(name, str):
                yield from _states(value, f"{at}.{name}" if at else name, depth + 1)


def _as_state(content: Mapping[Any, Any]) -> Mapping[str, Tensor] | None:
    """The tensors of a mapping from names to tensors; a few numbers among them (an epoch) do no harm."""
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    others = len(content) - len(tensors)
    if not any(value.ndim > 1 for value in tensors.values()) or others >= len(tensors):
        return None
    if any(isinstance(value, (Mapping, nn.Module)) for value in content.values()):
        return None
    return tensors if others else content


def _instead(content: Any) -> str:
    """The content of a file without a state dict, and the way on if that is known."""
    held = content if isinstance(content, Mapping) else vars(content) if hasattr(content, "__dict__") else {}
    if isinstance(held.get("shadow_params"), list):
        return (
            "an average's shadow_params (torch_ema), a list of tensors without names: call "
            "ema.copy_to(model.parameters()) before saving the network's state_dict"
        )
    if isinstance(held.get("model"), nn.Module):
        return f"a {type(content).__name__} around a network: save its model.state_dict(), or the model itself"
    if isinstance(content, (list, tuple)) and any(isinstance(value, Tensor) for value in content):
        return f"{_described(content)}, tensors without names: save the network's state_dict"
    if isinstance(held, Mapping) and ("optimizer" in held or "param_groups" in held):
        return f"{_described(content)} ({', '.join(map(str, list(held)[:6]))}): what an optimizer needs, no weights"
    return _described(content)


def _usualness(at: str) -> tuple[int, int]:
    parts = at.split(".") if at else []
    ranks = [_USUAL_KEYS.index(part) if part in _USUAL_KEYS else len(_USUAL_KEYS) for part in parts]
    return (ranks[0] if ranks else -1), len(parts)


def _described(value: Any) -> str:
    """A value of a checkpoint in a few words."""
    value = containers.plain(value)
    if isinstance(value, Tensor):
        return f"a tensor {'x'.join(map(str, value.shape))}"
    if isinstance(value, (bool, int, float, str)) or value is None:
        text = " ".join(str(value).split())
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, (Mapping, list, tuple, set)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
