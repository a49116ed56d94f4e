"""A network held still while it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters for the length of a forward; each flag then goes back to what it was.

    Activation checkpointing is off: it would run modules again in the backward, when no hook is on them.
    """
    import torch

    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    training = [module for module in net.modules() if module.training]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        for module in training:
            module.training = False
        with _without_checkpointing():
            yield
    finally:
        for parameter in learning:
            with torch.inference_mode(parameter.is_inference()):  # there alone such a one may learn again
                parameter.requires_grad_(True)
        for module in training:
            module.training = True


@contextmanager
def _without_checkpointing() -> Iterator[None]:
    """Makes torch.utils.checkpoint just call what it is given, and keep what that computes.

    `checkpoint` itself may have been imported by any name. What it calls has had these names since 1.11.
    """
    import torch.utils.checkpoint as checkpoint

    with ExitStack() as stack:
        for name in vars(checkpoint).copy():
            if name == "CheckpointFunction":
                stack.enter_context(patch.object(checkpoint, name, _Called))
            elif name.startswith("_checkpoint_without_reentrant_generator"):
                stack.enter_context(patch.object(checkpoint, name, _nothing))
        yield


class _Called:
    @staticmethod
    def apply(function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        return function(*args)


def _nothing(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield
