"""Habits of a network that nobody here has seen: its answer may depend on chance, or on others in the batch."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from camcli.tasks.frozen import frozen
from camcli.tasks.task import Task

# More than other rounding does, less than one unit that is dropped.
SAME_WITHIN = 1e-3
# A network that has drawn a random number is asked again so often.
DRAWS = 16
# The note on each answer of a network that depends on chance.
ONE_DRAW = "one draw: the network answers otherwise each time it is asked"


@dataclass(frozen=True, slots=True)
class Habits:
    """The things that a network's answer depends on besides the picture: chance, or the company of other pictures.
    changes_input: it writes into the pictures that it is given."""

    chance: bool = False
    company: bool = False
    changes_input: bool = False

    def remarks(self, model: str) -> Iterator[str]:
        """Remarks for the user."""
        if self.chance:
            yield (
                f"warning: {model} answers otherwise each time it is asked: something random is on in eval mode "
                "(dropout without training=self.training?), so scores and maps are those of one draw"
            )
        elif self.company:
            yield (
                f"warning: what {model} says of a picture depends on the others of its batch (batch norm without "
                "running statistics, or a step along the batch?): each is explained alone"
            )


def found_in(net: nn.Module, task: Task, images: Tensor, *, alone: bool) -> Habits:
    """The habits found by asking the same twice and, unless the network takes pictures `alone`, in other company.
    `images` (3, C, H, W) are noise."""
    with torch.no_grad(), frozen(net):
        given, before = images[:1].clone(), _generators(images.device)
        first = task.outputs(net, given).numbers()
        changes_input = not torch.equal(given, images[:1])
        # Two draws from few values can be alike.
        again = 1 if _generators(images.device) == before else DRAWS
        chance = any(not _same(first, task.outputs(net, images[:1].clone()).numbers()) for _ in range(again))
        if chance or alone:
            return Habits(chance, False, changes_input)
        # Companions brighter and darker, of more and of less contrast: noise of one kind has the same statistics.
        companions = (images[1:2] * 2 + 1, images[2:] * 0.5 - 1)
        company = any(
            not _same(first, task.outputs(net, torch.cat([images[:1], other])).numbers()) for other in companions
        )
    return Habits(chance, company, changes_input)


def _generators(device: torch.device) -> list[bytes]:
    """The states of the generators that a network may draw from."""
    numpy_state = np.random.get_state(legacy=False)
    states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    return [state.numpy().tobytes() for state in states] + [pickle.dumps((random.getstate(), numpy_state))]


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    finite = one.isfinite() & other.isfinite()
    if not torch.equal(one[~finite], other[~finite]):  # a class that is masked out has a score of minus infinity
        return False
    if not finite.any():
        return True
    return float((one - other)[finite].abs().max()) <= SAME_WITHIN * float(one[finite].abs().max())
