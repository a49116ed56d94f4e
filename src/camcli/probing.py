"""What camcli assumes of a network that it has never seen, tried on it before it is trusted.

An answer should be the picture's alone: the same each time it is asked, and whatever other pictures are in the batch.
And a layer's map should lie on the picture as the picture lies in the view.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from camcli.errors import SetupError
from camcli.evidence import Forward, Network
from camcli.frozen import frozen
from camcli.layers import Layer
from camcli.outputs import Outputs, Readout, tensors_in

# More than other rounding does, less than one unit that is dropped.
SAME_WITHIN = 1e-3
# The side of the patches that are put into the view's corners, as a share of its own: small, so that most crops leave
# one out, and larger than the stride of any map.
PATCH = 1 / 8
# Places that change by half as much as the one that changes most are where a patch is seen.
SEEN = 0.5
# A patch that is seen at more than this share of the map says nothing of where it lies.
DIFFUSE = 0.3
# Opposite corners of the view are about .8 of the map apart; networks with wide borders of their own bring them nearer.
NEAREST = 0.5
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
        given = images[:1].clone()
        first = _numbers(readout.outputs(net, given), 1)
        changes_input = not torch.equal(given, images[:1])
        chance = not _same(first, _numbers(readout.outputs(net, images[:1].clone()), 1))
        if chance or alone:
            return Habits(chance, False, changes_input)
        # Companions brighter and darker, of more and of less contrast: noise of one kind has the same statistics.
        companions = (images[1:2] * 2 + 1, images[2:] * 0.5 - 1)
        company = any(
            not _same(first, _numbers(readout.outputs(net, torch.cat([images[:1], other])), 2)) for other in companions
        )
    return Habits(chance, company, changes_input)


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


def check_place(network: Network, layer: Layer, images: Tensor, model: str) -> None:
    """Change the corners of a picture and look at where the layer's map changes; `images` (2, C, H, W) are noise.

    Raises: SetupError: the network moves, turns or crops the picture before the layer, so that the map would be painted
        in another place than it was read at. Networks that mix all places before the layer are not judged.
    """
    plain, patch = images[:1] * 0.5, images[1:] * 3
    changes = _changes(network, layer, plain, patch)
    if any(change is None for change in changes):
        if _change(network, layer, plain, patch, _MIDDLE) is None:
            return  # it may be blind to all that differs here
        # A network of few units may be blind to one patch of noise.
        for level in (3.0, -3.0):
            again = _changes(network, layer, plain, torch.full_like(patch, level))
            changes = [one if one is not None else other for one, other in zip(changes, again, strict=True)]
    unseen = [corner for corner, change in zip(CORNERS, changes, strict=True) if change is None]
    if unseen:
        raise _misplaced(model, layer, f"never sees the view's {' and '.join(unseen)} corner")
    places = [place for change in changes if change is not None and (place := _place(change)) is not None]
    if len(places) < len(CORNERS):
        return
    on_map = tuple(2 * (y > 0.5) + (x > 0.5) for y, x in places)
    if how := _MOVES.get(on_map):
        raise _misplaced(model, layer, f"sees the picture {how}")
    (y0, x0), *_, (y1, x1) = places
    if on_map == tuple(range(len(CORNERS))) and max(y1 - y0, x1 - x0) < NEAREST:
        raise _misplaced(model, layer, "sees the picture smaller, on a wider ground")


def _misplaced(model: str, layer: Layer, how: str) -> SetupError:
    return SetupError(
        f"layer {layer.name!r} of {model} {how}: its map would be painted in the wrong place. Take what moves the "
        "picture out of forward, or use a method that looks at no layer (-M gradient, -M occlusion)"
    )


def _changes(network: Network, layer: Layer, plain: Tensor, patch: Tensor) -> list[Tensor | None]:
    """For each corner how much each place (h, w) of the map changes with it; None: not at all."""
    return [_change(network, layer, plain, patch, (y, x)) for y in (0.0, 1.0) for x in (0.0, 1.0)]


# Where a patch is put, as shares of the room that it leaves: (0, 0) is the top left corner.
_MIDDLE = (0.5, 0.5)


def _change(network: Network, layer: Layer, plain: Tensor, patch: Tensor, at: tuple[float, float]) -> Tensor | None:
    before = _map(network, layer, plain)
    sides = [max(1, round(side * PATCH)) for side in plain.shape[2:]]
    starts = [round((whole - side) * share) for whole, side, share in zip(plain.shape[2:], sides, at, strict=True)]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    patched = plain.clone()
    patched[..., rows, columns] = patch[..., rows, columns]
    change = (_map(network, layer, patched) - before).square().sum(0)
    return change if float(change.max()) > 1e-12 * float(before.square().sum(0).max()) else None


def _map(network: Network, layer: Layer, image: Tensor) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same draw for each, of a network that draws
        return Forward(network, network.arranged(image), [layer]).activations(layer)[0].double()


def _place(change: Tensor) -> tuple[float, float] | None:
    """The (y, x) of a change on the map, as shares of its sides; None: it is all over the map."""
    seen = change * (change >= SEEN * change.max())
    if float((seen > 0).float().mean()) > DIFFUSE or not change.isfinite().all():
        return None
    shares = []
    for axis in (1, 0):
        weights = seen.sum(axis)
        middles = (torch.arange(len(weights), device=weights.device) + 0.5) / len(weights)
        shares.append(float((weights * middles).sum() / weights.sum()))
    return shares[0], shares[1]
