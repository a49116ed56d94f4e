"""A network held still while it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Eval mode and frozen parameters for the length of a forward; each flag then goes back to what it was."""
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    training = [module for module in net.modules() if module.training]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        for module in training:
            module.training = False
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True
