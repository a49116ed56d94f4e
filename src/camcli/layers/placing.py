"""A test that the map of a layer that nobody here has seen lies on the picture as the picture lies in the view.

Parts of a picture are changed, and the parts of the map that change with them tell.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from camcli.errors import SetupError
from camcli.layers.changes import MIDDLE, Changes, flat_patches, middle_of, place_of
from camcli.network.layer import TOKEN_AXES, Layer
from camcli.network.network import Network

# Opposite corners of the view are about .8 of the map apart; networks with wide borders of their own bring them nearer.
NEAREST = 0.5
# So many cells of the map are changed first near its sides, and as many anywhere, one at a time. If the changes on the
# map do not surely go with them, all cells are changed, but no more than MANY.
CELLS, MANY = 8, 64
# Pearson's correlation between the cells' places and the places of most change. Measured on 35 of timm's families with
# two kinds of random weights, and on the same after a roll, a jigsaw, a misread layout and frequencies (4 of each).
# With CELLS: .98 as a rule in right networks, up to .88 in wrong ones. With MANY: .55 to 1 in right ones, or nothing is
# to be seen; up to .54 in wrong ones, and .84 on maps of 4x4 and 5x5.
SURELY, IN_STEP, BARELY = 0.9, 0.7, 0.5
# The distance of the places that change most with two cells, as a share of the cells' distance: .96 to 1.1 in right
# networks, .8 if the picture has an eighth more on each side.
SMALLER = 0.9
# The change of a cell's own place, as a share of the largest change. Large and dilated kernels, attention and branches
# spread each change. For all but a tenth of the cells it is at least .2 in trained right networks, and in hardly any
# wrong ones, except some whose windows are put together wrongly: those are said to be seen nowhere. For all but a
# quarter it is at least .8 in right ones alone.
PARTLY, MOSTLY = 0.2, 0.8
# With fewer cells a side a map is too small to tell that.
FEW = 5
# A cell tells where it is seen, if a place changes with it by so many times that place's average.
SHARP = 3.0
# A clip is changed in so many parts, one after the other. If they are seen at places in time that are nearer to each
# other than this share of all steps, they tell nothing of its order.
PARTS, STILL = 4, 0.1
# The note on each map that was not seen to lie on the picture.
UNSEEN = "nowhere seen: what changes on the map does not go with where the picture changes, as far as tried"
CORNERS = ("top left", "top right", "bottom left", "bottom right")
# The places of the picture's corners on the map of a network that moves it.
_MOVES: dict[tuple[int, ...], str] = {
    (1, 0, 3, 2): "mirrored, left to right",
    (2, 3, 0, 1): "upside down",
    (3, 2, 1, 0): "turned by 180 degrees",
    (0, 2, 1, 3): "transposed",
    (3, 1, 2, 0): "transposed along the other diagonal",
    (1, 3, 0, 2): "turned by 90 degrees",
    (2, 0, 3, 1): "turned by 270 degrees",
}


def placed(network: Network, layer: Layer, images: Tensor, model: str) -> tuple[Layer, str | None]:
    """The layer, and a note on its map's place; None if the map may lie as the picture does, as far as was seen. If it
    lies so only in another layout that its shape leaves, the layer comes in that one.

    Raises: SetupError: as `check_place`, of the likeliest layout.
    """
    refusal, seen = None, None
    try:
        # If a network divides by the picture's largest value, a part that is larger still changes its map everywhere.
        seen = check_place(network, layer, images, model) is not False or _is_seen_mildly(network, layer, images, model)
    except SetupError as error:
        refusal = error
    if refusal is None and seen:
        return layer, None
    for other in layer.read_otherwise():
        with suppress(SetupError):
            if check_place(network, other, images, model):
                return other, None
    if refusal is not None:
        raise refusal
    return layer, UNSEEN


def _is_seen_mildly(network: Network, layer: Layer, images: Tensor, model: str) -> bool:
    """True if the map changes with the picture as it should when no part is made brighter than the picture is."""
    with suppress(SetupError):
        return check_place(network, layer, images, model, strength=0.5) is True
    return False


def check_place(network: Network, layer: Layer, images: Tensor, model: str, *, strength: float = 3.0) -> bool | None:
    """True if the layer's map changes in the same places as a picture, part by part; `images` (2, C, H, W) are noise.

    False if it does so neither in the same places nor in others: the network may mix all places before the layer, or
    know none. None if the map is too small to tell.

    Raises: SetupError: the network moves, turns or crops the picture before the layer, or keeps its tokens in another
        order than rows of the picture, so that the map would be painted in another place than it was read at.
    """
    seen, patch = Changes(network, layer, images[:1] * 0.5), images[1:] * strength
    height, width = layer.shape[-2:]
    if (how := _moved(seen, (height, width), patch)) is not None:
        raise _misplaced(model, layer, how)
    seen_when = _in_time(seen, patch, layer.shape[1]) if len(layer.shape) == 4 else True
    if isinstance(seen_when, str):
        raise _misplaced(model, layer, seen_when)
    if not seen_when:
        return False
    found = _found_cells(seen, height, width, patch, _some(height, width))
    if not found:
        return None
    if _step(found) >= SURELY and not _shifted(found) and len(_far(found)) <= 1 and not _is_smaller(found, layer):
        return True
    found = _found_cells(seen, height, width, patch, _many(height, width))
    if layer.layout.assumed:
        if _step(found) < IN_STEP or _shifted(found):
            raise _misplaced(
                model, layer, "has tokens that, as far as tried, don't lie where a grid of the picture would"
            )
        return True
    seen_where = _misplacement(found, layer)
    if isinstance(seen_where, bool):
        return seen_where
    in_place = sorted(cell.in_place for cell in found)
    if in_place[len(found) // 10] >= PARTLY:
        return in_place[len(found) // 4] >= MOSTLY and _in_step(found)
    raise _misplaced(model, layer, seen_where)


def _misplacement(found: Sequence[_Cell], layer: Layer) -> str | bool:
    """Words for the wrong places where the cells are seen; True: they are seen in the right ones; False: nowhere."""
    sharp, far = _sharp(found), _far(found)
    # On a fine grid the places of a right network may wander by some cells, to all sides.
    apart = _step(found) < SURELY and 2 * len(sharp) >= len(found) and 5 * len(far) >= 2 * len(sharp)
    if _is_smaller(found, layer):
        return "sees the picture smaller, on a wider ground"
    if _in_step(found) and not apart and not (_shifted(found) and 3 * len(far) >= len(sharp)):
        return True
    if 4 * len(sharp) < len(found) or 3 * len(far) < len(sharp):
        return False
    if layer.layout.arrangement in TOKEN_AXES:
        return "keeps its tokens in another order than the picture's rows"
    return "changes, as far as tried, in other places than the picture does"


def _moved(seen: Changes, grid: tuple[int, int], patch: Tensor) -> str | None:
    """Words for what the network does to the whole picture before the layer; None if nothing, as far as is seen."""
    changes = seen.corners(patch)
    if any(change is None for change in changes):
        if seen.change(patch, MIDDLE) is None:
            return None  # it may be blind to all that differs here
        for other in flat_patches(patch):
            again = seen.corners(other)
            changes = [one if one is not None else other for one, other in zip(changes, again, strict=True)]
    unseen = [corner for corner, change in zip(CORNERS, changes, strict=True) if change is None]
    if unseen:
        return f"never sees the view's {' and '.join(unseen)} corner"
    if (side := seen.unseen_side(grid, patch)) is not None:
        return f"never sees what lies along the view's {side} side"
    places = [place for change in changes if change is not None and (place := place_of(change)) is not None]
    on_map = tuple(2 * (y > 0.5) + (x > 0.5) for y, x in places)
    if how := _MOVES.get(on_map):
        return f"sees the picture {how}"
    near = False
    # Dilation and borders that wrap bring corners nearer too: on a map of more cells the cells between them tell.
    if on_map == tuple(range(len(CORNERS))) and min(grid) < FEW:
        near = max(last - first for first, last in zip(places[0], places[-1], strict=True)) < NEAREST
    return "sees the picture smaller, on a wider ground" if near or seen.wider_ground(patch) else None


def _in_time(seen: Changes, patch: Tensor, steps: int) -> str | bool:
    """Words for the wrong moments at which the parts of a clip are seen; True: they are seen in their order; False: its
    changes do not tell."""
    frames = patch.shape[2]
    parts = min(PARTS, frames)
    borders = [round(part * frames / parts) for part in range(parts + 1)]
    changes = [seen.of_frames(patch, slice(start, end)) for start, end in pairwise(borders)]
    if all(change is None for change in changes):
        return True  # it may be blind to all that differs here
    if any(change is None for change in changes):
        return "never sees some of the clip's frames"
    if steps == 1 or parts == 1:
        return True
    own = torch.stack([change.cpu() for change in changes if change is not None])
    usual = own.mean(0).clamp_min(torch.finfo(own.dtype).tiny)
    shares = (own / usual - 1).clamp_min(0) + torch.finfo(own.dtype).tiny
    middles = ((shares * torch.arange(steps)).sum(1) / shares.sum(1)).tolist()
    if max(middles) - min(middles) < STILL * steps:
        return False
    if _correlation(list(zip(range(parts), middles, strict=True))) < IN_STEP:
        return "sees the clip's frames in another order"
    return True


def _step(found: Sequence[_Cell]) -> float:
    """The correlation of the cells' places with the middles of their changes, along the side on which it is less."""
    # A change that is seen at both ends of a side has no middle that tells.
    whole = [cell for cell in found if not cell.wraps]
    told = whole if 2 * len(whole) >= len(found) else found
    return min(_correlation([(cell.at[axis], cell.middle[axis]) for cell in told]) for axis in (0, 1))


def _in_step(found: Sequence[_Cell]) -> bool:
    """True if the changes move with the cells, or barely do while most cells are seen at their own places."""
    step = _step(found)
    return step >= IN_STEP or (step >= BARELY and 2 * sum(cell.near for cell in found) >= len(found))


def _sharp(found: Sequence[_Cell]) -> list[_Cell]:
    """The cells that tell at which place they are seen."""
    return [cell for cell in found if cell.share >= SHARP]


def _far(found: Sequence[_Cell]) -> list[_Cell]:
    """The sharp cells that are seen away from their own places."""
    return [cell for cell in _sharp(found) if not cell.near]


def _is_smaller(found: Sequence[_Cell], layer: Layer) -> bool:
    """True if most cells are seen, nearer to each other than they are: borders are mirrored, repeated or blurred."""
    sharp = _sharp(found)
    if 2 * len(sharp) < len(found) or min(layer.shape[-2:]) < FEW or _step(found) < IN_STEP:
        return False
    sides = torch.tensor(layer.shape[-2:])
    at, move = (torch.tensor(list(way)) for way in zip(*((cell.at, cell.move) for cell in sharp), strict=True))
    token = at + move
    # Near the sides dilated kernels reach inwards alone.
    inner = ((4 * at >= sides) & (4 * at < 3 * sides)).all(1)
    return _shrinks(at, token) and (int(inner.sum()) < FEW or _shrinks(at[inner], token[inner]))


def _shrinks(at: Tensor, token: Tensor) -> bool:
    """True if the tokens (N, 2) are nearer to each other than the cells (N, 2) that change them."""
    at, token = at - at.double().mean(0), token - token.double().mean(0)
    return bool(((at * token).sum(0) < SMALLER * at.square().sum(0)).any())


def _shifted(found: Sequence[_Cell]) -> bool:
    """True if most cells are seen equally far from their own places."""
    move, times = Counter(cell.move for cell in found).most_common(1)[0]
    return move != (0, 0) and 2 * times > len(found)


@dataclass(frozen=True, slots=True)
class _Cell:
    """A changed cell `at` (row, column) of the grid, and the token that changed most for its average.

    move: rows and columns from the cell to that token. share: that token's change, as a multiple of its average.
    in_place: the change at the cell's own place, or at one beside it, as a share of that. middle: the middle of all
    changes above the median, as shares of the sides. wraps: the way to the token leads round a border.
    """

    at: tuple[int, int]
    move: tuple[int, int]
    share: float
    in_place: float
    middle: tuple[float, float]
    wraps: bool

    @property
    def near(self) -> bool:
        """True if the token is the cell's, or one beside it."""
        return max(map(abs, self.move)) <= 1


def _some(height: int, width: int) -> list[tuple[int, int]]:
    """A few cells near the sides, because rows that run the other way are most out of place there. As many again
    anywhere, for tokens that lie window by window."""
    columns = (0, width - 1, 1, width - 2)
    sides = [((2 * i + 1) * height // (2 * CELLS), columns[i % 4]) for i in range(CELLS)]
    return list(dict.fromkeys([*sides, *_many(height, width)[:CELLS]]))


def _many(height: int, width: int) -> list[tuple[int, int]]:
    """All cells, or MANY of them, in an order that no layout could have."""
    cells = [(y, x) for y in range(height) for x in range(width)]
    drawn = torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))
    return [cells[i] for i in drawn[:MANY].tolist()]


def _found_cells(
    seen: Changes, height: int, width: int, patch: Tensor, cells: Sequence[tuple[int, int]]
) -> list[_Cell]:
    """The cells, changed one at a time; none if there are too few.

    Attention hands each change on to all tokens, and some change with anything: so each is divided by its average.
    """
    if min(height, width) < 3:
        return []
    tried = {at: seen.cell(patch, at, (height, width)) for at in cells}
    changes = {at: change for at, change in tried.items() if change is not None}
    if 2 * len(changes) < len(cells):
        return []
    usual = torch.stack([*changes.values()]).mean(0).clamp_min(torch.finfo(torch.float64).tiny)
    return [_cell(at, change / usual, circular=seen.circular) for at, change in changes.items()]


def _cell(at: tuple[int, int], share: Tensor, *, circular: bool) -> _Cell:
    token = divmod(int(share.argmax()), share.shape[1])
    straight = move = token[0] - at[0], token[1] - at[1]
    if circular:
        rows, columns = ((way + side // 2) % side - side // 2 for way, side in zip(straight, share.shape, strict=True))
        move = rows, columns
    middle = middle_of((share - share.median()).clamp_min(0).square())
    most, (y, x) = float(share.max()), at
    own = float(share[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max())
    return _Cell(at, move, most, own / most, middle, wraps=move != straight)


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Pearson's correlation; 1 if either side does not vary or is not finite: nothing is told then."""
    found = float(torch.corrcoef(torch.tensor(pairs, dtype=torch.float64).T)[0, 1]) if len(pairs) > 1 else 1.0
    return found if math.isfinite(found) else 1.0


def _misplaced(model: str, layer: Layer, how: str) -> SetupError:
    return SetupError(
        f"layer {layer.name!r} of {model} {how}: its map would be painted in the wrong place. Name a layer before that "
        "with --layer, take what moves the picture out of forward, or use a method that looks at no layer "
        "(-M gradient, -M occlusion)"
    )
