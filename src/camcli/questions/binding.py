"""What is bound to a picture -> the tensors that go into the network with it, each distinct value encoded once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camcli.errors import InputError, RequestError, SetupError
from camcli.inputs import decoding, preprocessing
from camcli.inputs.json_lines import IMAGE, STATE
from camcli.inputs.refs import ref_named
from camcli.models import Model
from camcli.models.adapters import binding
from camcli.network.network import Network
from camcli.records import Ref
from camcli.specs import PARTNER, Spec
from camcli.tasks.frozen import frozen

# So many distinct values are kept encoded.
_KEPT = 4096
CAPTION = "caption"

# The tensors of one picture; None: the network is to make them of the picture.
Encoded = tuple[Tensor, ...] | None


def likens(spec: Spec, model: Model) -> bool:
    """True if each picture is compared with its partner, by the embeddings of a network that takes pictures alone."""
    return spec.compares and spec.similar_to is None and not binding.taken(model.net)


class Binder:
    """Encodes what goes into one model with its pictures. `compares`: it is the embedding of the picture's partner,
    which the answer is compared with, and nothing goes in.

    Raises: RequestError: the run binds what the model does not take.
    """

    def __init__(self, spec: Spec, model: Model) -> None:
        self._spec, self._model = spec, model
        self._network: Network | None = None
        self.compares = likens(spec, model)
        self._takes = (PARTNER,) if self.compares else tuple(binding.taken(model.net))
        self._encode = lru_cache(_KEPT)(self._encoded)
        if self.compares and (why := model.task.forbids.get("similar_to")):
            raise RequestError(f"--{PARTNER} does not go with models that {model.task.name}: {why}")
        if others := [name for name, _ in spec.bound if name not in self._takes]:
            taken = f"{', '.join(self._takes)} with a picture" if self._takes else "pictures alone"
            raise RequestError(f"--{others[0]}: {model.name} takes {taken}")

    def look_at(self, network: Network) -> None:
        """Take the embedding of partners from this network, if it takes none itself."""
        self._network = network

    @property
    def generates(self) -> bool:
        """True if the network makes what a picture does not bring."""
        return self._takes == (CAPTION,) and callable(getattr(self._model.net, "generate", None))

    def check(self, first: Ref) -> None:
        """Raises: RequestError: the first picture of a run does not bring what the network takes, or flags give what it
        can't take."""
        if (lacking := self._lacking(first.bound)) and first.held is None:
            raise RequestError(self._needs(lacking))
        if self._spec.bound and all(first.bound.get(name) == value for name, value in self._spec.bound):
            try:
                self.encoded(first)
            except InputError as error:
                raise RequestError(f"--{self._spec.bound[0][0]}: {error}") from None

    def encoded(self, ref: Ref) -> Encoded:
        """The tensors that go in with a picture; none if the network takes pictures alone.

        Raises: InputError: it lacks some, or the network does not take them.
        """
        if lacking := self._lacking(ref.bound):
            raise InputError("bind", "missing", self._needs(lacking))
        values = {name: ref.bound[name] for name in self._takes if name in ref.bound}
        if not self._takes:
            return ()
        return self._encode(json.dumps(values, sort_keys=True)) if values else None

    def together(self, each: Sequence[Encoded], images: Tensor) -> list[Tensor]:
        """The tensors that go in with the pictures of one batch (N, …)."""
        if not self._takes:
            return []
        made: Sequence[Tensor] | Tensor = ()
        if any(own is None for own in each):
            with torch.no_grad(), frozen(self._model.net):
                made = self._generated(images)
        rows = [(made[i],) if own is None else own for i, own in enumerate(each)]
        return [torch.stack(parts).to(self._model.device) for parts in zip(*rows, strict=True)]

    def _generated(self, images: Tensor) -> Tensor:
        """What the network makes of the pictures (N, …). Raises: SetupError: it fails, or makes something else."""
        try:
            made: Any = self._model.net.generate(images.clone())  # type: ignore[operator]
        except Exception as error:  # code that is not ours
            reason = (str(error).splitlines() or [""])[0]
            raise SetupError(f"{self._model.name}: generate raised {type(error).__name__}: {reason}") from error
        if not isinstance(made, Tensor) or len(made) != len(images):
            raise SetupError(
                f"{self._model.name}: generate gives {type(made).__name__}, no tensor of {len(images)} rows"
            )
        return made

    def _lacking(self, bound: Mapping[str, Any]) -> list[str]:
        return [] if self.generates else [name for name in self._takes if name not in bound]

    def _needs(self, names: Sequence[str]) -> str:
        name, keys = names[0], ", ".join(f'"{name}": …' for name in names)
        return f'{self._model.name} takes a {name} with each picture: give --{name}, or lines {{"{IMAGE}": …, {keys}}}'

    def _encoded(self, values: str) -> tuple[Tensor, ...]:
        given = {name: self._opened(name, value) for name, value in json.loads(values).items()}
        if self.compares and self._network is not None:
            return (self._network.embedding(given[PARTNER]),)
        return binding.encoded(self._model.net, {name: given[name] for name in self._takes})

    def _opened(self, name: str, value: Any) -> Any:
        """The value as the network's code gets it: pictures and states are read from their files."""
        if name == PARTNER:
            return self._partner(value)
        if name == STATE:
            return _state(value)
        return value

    def _partner(self, value: Any) -> Tensor:
        if not isinstance(value, str):
            raise _unfit(PARTNER, value, "the name of a picture is wanted")
        try:
            return picture(value, self._spec, self._model)
        except InputError as error:
            raise InputError("bind", error.kind, f"{PARTNER} {value}: {error}") from None


def _unfit(name: str, value: Any, said: object) -> InputError:
    return InputError("bind", "unfit", f"{name} {value!r}: {said}")


def picture(name: str, spec: Spec, model: Model) -> Tensor:
    """The view (C, h, w) of the picture of that name, on the model's device. Raises: InputError: it can't be read."""
    frame = decoding.read_frame(ref_named(0, name), spec.decoding)
    view = preprocessing.view_of(frame, model.preset, spec.fit or model.task.fit)
    return torch.from_numpy(view.pixels).to(model.device)


def _state(value: Any) -> Any:
    """A state: the arrays of an .npz file by name, the one of an .npy file, or numbers. Raises: InputError."""
    try:
        if not isinstance(value, str):
            return np.asarray(value, dtype=np.float32)
        held = np.load(value, allow_pickle=False)
        return held if isinstance(held, np.ndarray) else {name: held[name] for name in held.files}
    except OSError as error:
        raise _unfit(STATE, value, error.strerror) from None
    except (ValueError, TypeError):
        raise _unfit(STATE, value, "numbers are wanted, or an .npz or .npy file of them") from None
