"""Guards around every call: the network stays as it was, torch is as it is by default, and messages speak Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from camcli.errors import CamcliError, SetupError

# The words of the command line for which Python has other ones.
_WORDS = {
    **{"class": "target", "model-arg": "model_args", "target": "quantity"},
    **dict.fromkeys(("resize", "crop", "mean", "std", "interpolation"), "preset"),
}


def in_words_of_python(text: str) -> str:
    """A message that names flags, with Python's arguments in their place."""
    text = re.sub(r"(?<![\w-])-M ([a-z][a-z-]*)", r'method="\1"', text)
    text = re.sub(r"(?<![\w-])-c ([\w]+)", r'target="\1"', text)
    # A target that is a function; the command's other targets are quantities here.
    text = re.sub(r"--target (?=FUNCTION\b|[^\s:]+:\S)", "target=", text)
    # No command knows a network that is in memory.
    text = re.sub(r"`camcli layers [^`]*'in memory'[^`]*`", "net.named_modules()", text)
    text = re.sub(r"`camcli classes [^`]*'in memory'[^`]*` lists them all", "labels= names them", text)

    def argument(found: re.Match[str]) -> str:
        name = found[1]
        return f"{_WORDS.get(name, name.replace('-', '_'))}="

    text = re.sub(r"(?<![\w-])--([a-z][a-z-]+)( (?=[A-Z]))?", argument, text)
    return re.sub(r"preset=(?:(?:, | and | or )preset=)+", "preset=", text)


@contextmanager
def in_python() -> Iterator[None]:
    """Make errors name arguments, not flags."""
    try:
        yield
    except CamcliError as error:
        error.args = (in_words_of_python(str(error)),)
        raise


@contextmanager
def plain_torch() -> Iterator[None]:
    """Allow gradients and cast nothing, whatever the caller's own block says."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Give buffers of a network in memory their old values back afterwards; nothing else of it is written to."""
    if not isinstance(model, nn.Module):
        yield
        return
    before = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)


class Versions:
    """Notices if a network in memory is trained between two answers: they would be of two networks."""

    def __init__(self, model: Any) -> None:
        self._parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
        self._before = self._now()

    def _now(self) -> list[int]:
        return [0 if parameter.is_inference() else parameter._version for parameter in self._parameters]

    def check(self) -> None:
        """Raises: SetupError: the parameters have changed."""
        if self._now() != self._before:
            raise SetupError("the network's parameters have changed since explain_many began: begin anew")
