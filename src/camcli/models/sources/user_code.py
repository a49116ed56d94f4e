"""The user's own network: `module:factory` or `path/to/file.py:factory`, run only because the user named it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camcli.errors import CamcliError, RequestError, SetupError, unknown
from camcli.models import catalog
from camcli.models.model import USUAL_PRESET, Architecture, Args
from camcli.models.sources import timm


def architecture(name: str, weights: str, args: Args, tensors: Mapping[str, Tensor] | None) -> Architecture:
    """The architecture that the named factory, class or network gives, called with `args`.

    Raises:
        RequestError: no such file, module or factory, or weights by name.
        SetupError: the code raises, or gives no network that can be looked into.
    """
    if tensors is None and weights not in ("DEFAULT", "none"):
        raise RequestError(f"no such weights file: {weights}")
    factory = named(name)
    # Built here and once: a network that user code pretrained or configured tells its preset itself.
    if args and isinstance(factory, nn.Module):
        raise RequestError(f"{name} is a network already: --model-arg has nothing to build")
    with _running(name):
        made = factory if isinstance(factory, nn.Module) else factory(**args)
    weights = "own" if weights == "DEFAULT" and tensors is None else weights
    return of_network(unwrapped(made, name), name, weights)


def pickled(made: nn.Module, file: Path) -> Architecture:
    """A network that was pickled whole, in a file that the user trusts: used as the network that it is.

    Raises:
        SetupError: its layers can't be looked into.
    """
    net = unwrapped(made, str(file))
    kind = f"{type(net).__module__}.{type(net).__qualname__}"
    if kind.startswith("ultralytics."):
        raise SetupError(
            f"{file} is a network of ultralytics ({kind}): name it with -m {catalog.ULTRALYTICS}{file}, "
            "without --weights"
        )
    found = of_network(net, type(net).__name__, file.name)
    return replace(found, remarks=(f"{file} is a whole pickled network ({kind}), used as it is", *found.remarks))


def of_network(net: nn.Module, name: str, weights: str) -> Architecture:
    """`described`, of a network that is ours to change: it becomes float32, and no part of it stays compiled."""
    _uncompile(net)
    others = _other_precisions(net)
    net.float()
    net.forward = _Called(net.forward, others)
    remarks = (f"{name} is made in {_spelled(others)}: computed in float32",) if others else ()
    return replace(described(net, name, weights), remarks=remarks)


def described(net: nn.Module, name: str, weights: str) -> Architecture:
    """The architecture that a network made by somebody is, with the preset that it tells itself."""
    config = config_of(net)
    preset = timm.preset_of(config) if config is not None else None
    return Architecture(
        name=name,
        build=lambda initialise: net,
        preset=preset or USUAL_PRESET,
        labels=None,
        weights=weights,
        probed=True,
        foreign=True,
        assumed_preset=preset is None,
    )


def config_of(net: nn.Module) -> Mapping[str, Any] | None:
    """The network's words on its own preprocessing, as timm's networks have them."""
    config = getattr(net, "pretrained_cfg", None) or getattr(net, "default_cfg", None)
    return config if isinstance(config, Mapping) else None


def is_plain(net: nn.Module) -> bool:
    """True if `of_network` would leave the network as it is, float32 throughout, no part of it compiled, and gradients
    go through it."""
    compiled = any(
        hasattr(part, "_orig_mod") or hasattr(part.forward, "_torchdynamo_orig_callable") for part in net.modules()
    )
    return not compiled and not _other_precisions(net) and not made_to_infer(net)


def made_to_infer(net: nn.Module) -> bool:
    """True if some of it was made under torch.inference_mode, whose tensors let no gradient through; copies do."""
    return any(tensor.is_inference() for tensor in (*net.parameters(), *net.buffers()))


def _other_precisions(net: nn.Module) -> frozenset[torch.dtype]:
    """The precisions of its tensors besides float32. Networks compute in float32 here, also those of half precision."""
    kinds = {tensor.dtype for tensor in (*net.parameters(), *net.buffers()) if tensor.is_floating_point()}
    return frozenset(kinds - {torch.float32})


def _spelled(kinds: Collection[torch.dtype]) -> str:
    return " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))


def named(name: str) -> Callable[..., Any]:
    """The callable that `module:name` or `file.py:name` names; the module is run.

    Raises:
        RequestError: no such file or module, or nothing in it that can be called.
        SetupError: the code raises.
    """
    where, _, attribute = name.rpartition(":")
    return _found(_module(where), attribute, name)


def guarded(name: str) -> Callable[..., Any]:
    """The callable of `named`; its errors when it is called are said to be its own."""
    function = named(name)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _running(name):
            return function(*args, **kwargs)

    return call


def unwrapped(made: Any, name: str) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel and torch.compile, whose layers can be looked into.

    Raises:
        SetupError: no network, or a compiled TorchScript one.
    """
    while isinstance(made, nn.Module):
        if isinstance(made, torch.jit.ScriptModule):
            raise SetupError(f"{name} gives a TorchScript module, whose layers can't be looked into: give the original")
        if isinstance(inner := getattr(made, "_orig_mod", None), nn.Module):
            made = inner
        elif isinstance(made, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            made = made.module
        else:
            return made
    raise SetupError(f"{name} gives a {type(made).__name__}, not a torch.nn.Module")


def _uncompile(net: nn.Module) -> None:
    """Restores modules that torch.compile was given: inside compiled ones no hook is seen."""
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(inner := getattr(child, "_orig_mod", None), nn.Module):
                setattr(module, name, inner)
        if (plain := getattr(module.forward, "_torchdynamo_orig_callable", None)) is not None:
            module.forward = plain


def _module(where: str) -> ModuleType:
    folder = Path(where).parent if where.endswith(".py") else Path()
    # As `python FILE` and `python -m MODULE` would: the code's neighbours can be imported.
    if (entry := str(folder.absolute())) not in sys.path:
        sys.path.insert(0, entry)
    with _running(where):
        if not where.endswith(".py"):
            return _imported(where)
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(spec.name, module)
        spec.loader.exec_module(module)
        return module


def _imported(where: str) -> ModuleType:
    try:
        return import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{where}.".startswith(f"{error.name}."):
            raise RequestError(f"no module {where} here or among the installed packages") from None
        raise


def _found(module: ModuleType, attribute: str, name: str) -> Callable[..., Any]:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise unknown("name", attribute, known, f"python -c 'import {module.__name__} as m; print(dir(m))'")
        found = getattr(found, part)
    if not callable(found):
        raise RequestError(f"{name} is a {type(found).__name__}, nothing that can be called")
    return found  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Called:
    """The network's forward, its prints sent to stderr. In a copy of the network it is the copy's.

    If the network was made in other precisions than float32, casts to one of them give float32 too.
    """

    forward: Callable[..., Any]
    others: frozenset[torch.dtype]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with redirect_stdout(sys.stderr), _InFloat32(self.others) if self.others else nullcontext():
            return self.forward(*args, **kwargs)


_CASTS = {Tensor.double: torch.float64, Tensor.half: torch.float16, Tensor.bfloat16: torch.bfloat16}


class _InFloat32(TorchFunctionMode):
    """Makes float32 of all that would be of one of the other precisions."""

    def __init__(self, others: frozenset[torch.dtype]) -> None:
        super().__init__()
        self._others = others

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if _CASTS.get(func) in self._others:
            func = Tensor.float
        given = func(*map(self._in_float32, args), **{k: self._in_float32(v) for k, v in (kwargs or {}).items()})
        return given.float() if isinstance(given, Tensor) and given.dtype in self._others else given

    def _in_float32(self, argument: Any) -> Any:
        return torch.float32 if isinstance(argument, torch.dtype) and argument in self._others else argument


@contextmanager
def _running(name: str) -> Iterator[None]:
    """The boundary around the user's own code: its errors are said to be its own, its prints are no rows of ours."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except CamcliError:
        raise
    except (Exception, SystemExit) as error:  # anything at all may come out of code that is not ours
        reason = next(iter(str(error).split("\n\n")[0].strip().splitlines()), "")
        raise SetupError(f"{name} raised {type(error).__name__}: {reason} (--debug shows where)") from error
