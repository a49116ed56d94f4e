"""What camcli assumes of a network that it has never seen, tried on it before it is trusted.

An answer should be the picture's alone: the same each time it is asked, and whatever other pictures are in the batch.
And a layer's map should lie on the picture as the picture lies in the view.
"""

from __future__ import annotations

import math
import pickle
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from camcli.errors import SetupError
from camcli.evidence import Forward, Network
from camcli.frozen import frozen
from camcli.layers import Layer
from camcli.outputs import Outputs, Readout, tensors_in

# More than other rounding does, less than one unit that is dropped.
SAME_WITHIN = 1e-3
# How often a network is asked again that has drawn a random number.
DRAWS = 16
# The side of the patches that are put into the view's corners, as a share of its own: small, so that most crops leave
# one out, and larger than the stride of any map.
PATCH = 1 / 8
# A share of the view's sides that strides and borders do not reach.
ALONG = 1 / 16
# Places that change by half as much as the one that changes most are where a patch is seen.
SEEN = 0.5
# A patch that is seen at more than this share of the map says nothing of where it lies.
DIFFUSE = 0.3
# Opposite corners of the view are about .8 of the map apart; networks with wide borders of their own bring them nearer.
NEAREST = 0.5
# So many cells of a grid of tokens are changed, one at a time, and those tell that change a token by so many times the
# average over all of them.
CELLS, SHARP = 8, 3.0
# Where tokens lie on a grid that is only assumed: what changes moves with the cell, of most right ones by .84 to 1, of
# wrong ones by up to .66 along one of the sides.
IN_STEP = 0.75
# What is noted on each answer of a network that chance has a part in.
ONE_DRAW = "one draw: the network answers otherwise each time it is asked"
CORNERS = ("top left", "top right", "bottom left", "bottom right")
# Where the corners of the picture lie on the map of a network that moves it.
_MOVES: dict[tuple[int, ...], str] = {
    (1, 0, 3, 2): "mirrored, left to right",
    (2, 3, 0, 1): "upside down",
    (3, 2, 1, 0): "turned by 180 degrees",
    (0, 2, 1, 3): "transposed",
    (3, 1, 2, 0): "transposed along the other diagonal",
    (1, 3, 0, 2): "turned by 90 degrees",
    (2, 0, 3, 1): "turned by 270 degrees",
}


@dataclass(frozen=True, slots=True)
class Habits:
    """What a network's answer depends on besides the picture: chance, or the company of other pictures. changes_input:
    it writes into the pictures that it is given."""

    chance: bool = False
    company: bool = False
    changes_input: bool = False

    def remarks(self, model: str) -> Iterator[str]:
        """What the user should know."""
        if self.chance:
            yield (
                f"warning: {model} answers otherwise each time it is asked: something random is on in eval mode "
                "(dropout without training=self.training?), so scores and maps are those of one draw"
            )
        elif self.company:
            yield (
                f"warning: what {model} says of a picture depends on the others of its batch (batch norm without "
                "running statistics?): each is explained alone"
            )


def habits(net: nn.Module, readout: Readout, images: Tensor, *, alone: bool) -> Habits:
    """Ask the same twice and, unless the network takes pictures `alone`, in other company; `images` (3, C, H, W) are
    noise."""
    with torch.no_grad(), frozen(net):
        given, before = images[:1].clone(), _generators(images.device)
        first = _numbers(readout.outputs(net, given), 1)
        changes_input = not torch.equal(given, images[:1])
        # Two draws of few can be alike.
        again = 1 if _generators(images.device) == before else DRAWS
        chance = any(not _same(first, _numbers(readout.outputs(net, images[:1].clone()), 1)) for _ in range(again))
        if chance or alone:
            return Habits(chance, False, changes_input)
        # Companions brighter and darker, of more and of less contrast: noise of one kind has the same statistics.
        companions = (images[1:2] * 2 + 1, images[2:] * 0.5 - 1)
        company = any(
            not _same(first, _numbers(readout.outputs(net, torch.cat([images[:1], other])), 2)) for other in companions
        )
    return Habits(chance, company, changes_input)


def _generators(device: torch.device) -> list[bytes]:
    """The states of the generators that a network may draw from."""
    numpy_state = np.random.get_state(legacy=False)
    states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    return [state.numpy().tobytes() for state in states] + [pickle.dumps((random.getstate(), numpy_state))]


def _numbers(outputs: Outputs, pictures: int) -> Tensor:
    """All that was said of the first picture."""
    if outputs.readout.table:
        return outputs.scores[0].float()
    own = [tensor for tensor in tensors_in(outputs.raw) if tensor.shape[:1] == (pictures,)]
    return torch.cat([tensor[0].flatten().float() for tensor in own]) if own else torch.zeros(1)


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return float((one - other).abs().max()) <= SAME_WITHIN * float(one.abs().max())


def placed(network: Network, layer: Layer, images: Tensor, model: str) -> Layer:
    """The layer, in another of the layouts that its shape leaves where only so its map lies as the picture does.

    Raises: SetupError: as `check_place`, of the likeliest layout.
    """
    try:
        check_place(network, layer, images, model)
        return layer
    except SetupError:
        for other in layer.read_otherwise():
            with suppress(SetupError):
                if check_place(network, other, images, model):
                    return other
        raise


def check_place(network: Network, layer: Layer, images: Tensor, model: str) -> bool:
    """Change parts of a picture and look at where the layer's map changes; `images` (2, C, H, W) are noise.

    Returns whether what changes was seen to go with what is changed.

    Raises: SetupError: the network moves, turns or crops the picture before the layer, or keeps its tokens in another
        order than rows of the picture, so that the map would be painted in another place than it was read at. Networks
        that mix all places before the layer are not judged.
    """
    seen, patch = _Seen(network, layer, images[:1] * 0.5), images[1:] * 3
    if (how := _moved(seen, layer.shape[1:], patch)) is not None:
        raise _misplaced(model, layer, how)
    found = _found_cells(seen, layer.shape[1], layer.shape[2], patch)
    if layer.reading.arrangement != "channels first":
        _check_tokens(found, layer, model)
    elif _apart(found):
        raise _misplaced(model, layer, "changes, as far as tried, in other places than the picture does")
    return len(found) > CELLS / 2 and _in_step(found)


def _moved(seen: _Seen, grid: tuple[int, int], patch: Tensor) -> str | None:
    """What the network does to the picture as a whole before the layer, in words; None: nothing, as far as is seen."""
    changes = seen.corners(patch)
    if any(change is None for change in changes):
        if seen.change(patch, _MIDDLE) is None:
            return None  # it may be blind to all that differs here
        for other in _levels(patch):
            again = seen.corners(other)
            changes = [one if one is not None else other for one, other in zip(changes, again, strict=True)]
    unseen = [corner for corner, change in zip(CORNERS, changes, strict=True) if change is None]
    if unseen:
        return f"never sees the view's {' and '.join(unseen)} corner"
    if (side := seen.unseen_side(grid, patch)) is not None:
        return f"never sees what lies along the view's {side} side"
    places = [place for change in changes if change is not None and (place := _place(change)) is not None]
    on_map = tuple(2 * (y > 0.5) + (x > 0.5) for y, x in places)
    if how := _MOVES.get(on_map):
        return f"sees the picture {how}"
    near = False
    if on_map == tuple(range(len(CORNERS))):
        near = max(last - first for first, last in zip(places[0], places[-1], strict=True)) < NEAREST
    return "sees the picture smaller, on a wider ground" if near or seen.wider_ground(patch) else None


def _check_tokens(found: Sequence[_Cell], layer: Layer, model: str) -> None:
    if not found:
        return
    move, times = Counter(cell.move for cell in found).most_common(1)[0]
    shifted = move != (0, 0) and times > CELLS / 2
    sharp = [max(map(abs, cell.move)) for cell in found if cell.share >= SHARP]
    far = sum(cells > 1 for cells in sharp)
    if far >= max(3, (len(sharp) - far) / 2) and (shifted or not _in_step(found)):
        raise _misplaced(model, layer, "keeps its tokens in another order than the picture's rows")
    if layer.reading.assumed and (shifted or _apart(found)):
        raise _misplaced(model, layer, "has tokens that, as far as tried, don't lie where a grid of the picture would")


def _apart(found: Sequence[_Cell]) -> bool:
    """Whether what changes neither moves with the cells nor is theirs."""
    return bool(found) and not _in_step(found) and sum(cell.move == (0, 0) for cell in found) <= CELLS / 2


def _in_step(found: Sequence[_Cell]) -> bool:
    """Whether what changes moves with the cells, along both sides."""
    return min(_correlation([(cell.at[axis], cell.middle[axis]) for cell in found]) for axis in (0, 1)) >= IN_STEP


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of the grid (row, column) that was changed: the token that changed most, by how many times the average of
    what that token changes by, and the middle of all that changed more than most, as shares of the sides."""

    at: tuple[int, int]
    token: tuple[int, int]
    share: float
    middle: tuple[float, float]

    @property
    def move(self) -> tuple[int, int]:
        """By how many rows and columns the token is away from the cell."""
        return self.token[0] - self.at[0], self.token[1] - self.at[1]


def _found_cells(seen: _Seen, height: int, width: int, patch: Tensor) -> list[_Cell]:
    """Some cells, changed one at a time.

    Attention hands each change on to all tokens, and some change with anything: how much more than on average counts.
    """
    if min(height, width) < 3:
        return []
    # Near the sides: there rows that run the other way are farthest from where they should be.
    columns = (0, width - 1, 1, width - 2)
    cells = [((2 * i + 1) * height // (2 * CELLS), columns[i % 4]) for i in range(CELLS)]
    size = (1 / height, 1 / width)
    tried = {(y, x): seen.change(patch, (y / (height - 1), x / (width - 1)), size) for y, x in cells}
    changes = {at: change for at, change in tried.items() if change is not None}
    if not changes:
        return []
    usual = torch.stack([*changes.values()]).mean(0).clamp_min(torch.finfo(torch.float64).tiny)
    return [_cell(at, change / usual) for at, change in changes.items()]


def _cell(at: tuple[int, int], share: Tensor) -> _Cell:
    row, column = divmod(int(share.argmax()), share.shape[1])
    return _Cell(at, (row, column), float(share.max()), _middle((share - share.median()).clamp_min(0).square()))


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Pearson's; 1 where either does not vary or is not finite: nothing is told then."""
    found = float(torch.corrcoef(torch.tensor(pairs, dtype=torch.float64).T)[0, 1]) if len(pairs) > 1 else 1.0
    return found if math.isfinite(found) else 1.0


def _misplaced(model: str, layer: Layer, how: str) -> SetupError:
    return SetupError(
        f"layer {layer.name!r} of {model} {how}: its map would be painted in the wrong place. Name a layer before that "
        "with --layer, take what moves the picture out of forward, or use a method that looks at no layer "
        "(-M gradient, -M occlusion)"
    )


# Where a patch is put, as shares of the room that it leaves: (0, 0) is the top left corner.
_MIDDLE = (0.5, 0.5)


class _Seen:
    """What the layer's map is of a plain picture (1, C, H, W), and how it changes with a part of it."""

    def __init__(self, network: Network, layer: Layer, plain: Tensor) -> None:
        self._network, self._layer, self._plain = network, layer, plain
        self._before = self._map(plain)

    def corners(self, patch: Tensor) -> list[Tensor | None]:
        """For each corner how much each place (h, w) of the map changes with it; None: not at all."""
        return [self.change(patch, (y, x)) for y in (0.0, 1.0) for x in (0.0, 1.0)]

    def unseen_side(self, grid: tuple[int, int], patch: Tensor) -> str | None:
        """A side of the view along which nothing is seen; at the bottom and the right strides may leave out as much as
        a cell of the grid."""
        below, beside = (min(1.0, ALONG + 1 / cells) for cells in grid)
        strips = {
            "top": (0.0, (ALONG, 1.0)),
            "bottom": (1.0, (below, 1.0)),
            "left": (0.0, (1.0, ALONG)),
            "right": (1.0, (1.0, beside)),
        }
        for side, (at, size) in strips.items():
            if all(self.change(one, (at, at), size) is None for one in _levels(patch)):
                return side
        return None

    def wider_ground(self, patch: Tensor) -> bool:
        """Whether a border of the map, of more than ALONG of its sides, is the same for every picture."""
        changes = [change for one in _levels(patch) if (change := self.change(one, _MIDDLE, (1.0, 1.0))) is not None]
        if not changes:
            return False
        changed = torch.stack([change > 1e-9 * change.max() for change in changes]).any(0)
        for axis in (0, 1):
            alive = changed.any(1 - axis).nonzero().flatten()
            length = changed.shape[axis]
            if max(int(alive[0]), length - 1 - int(alive[-1])) > ALONG * length:
                return True
        return False

    def change(
        self, patch: Tensor, at: tuple[float, float], size: tuple[float, float] = (PATCH, PATCH)
    ) -> Tensor | None:
        """How much each place (h, w) changes with a patch there, of such shares of the sides; None: not at all."""
        sides = self._plain.shape[2:]
        parts = [max(1, round(side * share)) for side, share in zip(sides, size, strict=True)]
        starts = [round((side - part) * share) for side, part, share in zip(sides, parts, at, strict=True)]
        rows, columns = (slice(start, start + side) for start, side in zip(starts, parts, strict=True))
        patched = self._plain.clone()
        patched[..., rows, columns] = patch[..., rows, columns]
        change = (self._map(patched) - self._before).square().sum(0)
        return change if float(change.max()) > 1e-12 * float(self._before.square().sum(0).max()) else None

    def _map(self, image: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same draw for each, of a network that draws
            forward = Forward(self._network, self._network.arranged(image), [self._layer])
        return forward.activations(self._layer)[0].double()


def _levels(patch: Tensor) -> Iterator[Tensor]:
    """What a part of a picture is changed to: a network of few units may be blind to one of these."""
    yield patch
    for level in (3.0, -3.0):
        yield torch.full_like(patch, level)


def _place(change: Tensor) -> tuple[float, float] | None:
    """The (y, x) of a change on the map, as shares of its sides; None: it is all over the map."""
    seen = change * (change >= SEEN * change.max())
    if float((seen > 0).float().mean()) > DIFFUSE or not change.isfinite().all():
        return None
    return _middle(seen)


def _middle(weights: Tensor) -> tuple[float, float]:
    """The (y, x) of a map's centre of mass, as shares of its sides."""
    shares = []
    for axis in (1, 0):
        along = weights.sum(axis)
        # By whole numbers: on a 2x2 map corners are exactly NEAREST apart, and rounding must not bring them nearer.
        index = (along * torch.arange(len(along), device=along.device)).sum() / along.sum()
        shares.append((float(index) + 0.5) / len(along))
    return shares[0], shares[1]
