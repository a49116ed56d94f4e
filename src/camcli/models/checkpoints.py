"""Files of weights, and putting them into a network without wasted work."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from camcli.errors import SetupError


def read(path: Path) -> Mapping[str, Tensor]:
    """A plain state dict from safetensors or from torch.save, memory-mapped where the file allows it.

    Raises:
        SetupError: unreadable, unsafe (a pickle of more than tensors), or not a state dict.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return load_file(path)
            except SafetensorError as error:
                raise SetupError(f"{path} is not a readable safetensors file: {error}") from None
        # Files saved before torch 1.6 are no zip archives and can't be mapped.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise SetupError(
            f"{path} is refused: it is not a file of tensors alone, and loading it could run code in it"
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SetupError(f"{path} can't be read as weights (cut off or not a checkpoint): {reason}") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SetupError(f"{path} holds no plain state dict (names -> tensors)")
    return state


def fill(net: nn.Module, state: Mapping[str, Tensor], what: str, rename: Callable[[str], str | None] = str) -> None:
    """Hand each tensor of `state` to the network, all of them and only them; `rename` gives None to drop a name.

    Raises:
        SetupError: a tensor is missing, left over or of another shape: a half-loaded model is never explained.
    """
    renamed = OrderedDict((new, value) for old, value in state.items() if (new := rename(old)) is not None)
    # Modules that changed over the years read their file's version here; a file without it is of today's.
    metadata = getattr(state, "_metadata", None) or getattr(net.state_dict(), "_metadata", None)
    if metadata is not None:
        renamed._metadata = metadata  # type: ignore[attr-defined]
    try:
        net.load_state_dict(renamed, strict=True, assign=True)
    except RuntimeError as error:
        details = [line.strip() for line in str(error).splitlines()[1:]]
        shown = " ".join(details)
        raise SetupError(f"{what}: {shown[:600]}{' …' if len(shown) > 600 else ''}") from None
    net.float()  # half-precision files; a no-op otherwise


@contextmanager
def no_initialisation() -> Iterator[None]:
    """Construct networks without drawing random weights that `fill` would throw away (seconds for VGG)."""
    with ExitStack() as stack:
        for name in dir(nn.init):
            if name.endswith("_") and not name.startswith("_"):
                stack.enter_context(patch.object(nn.init, name, _unchanged))
        yield


def _unchanged(tensor: Tensor, *args: object, **kwargs: object) -> Tensor:
    return tensor
