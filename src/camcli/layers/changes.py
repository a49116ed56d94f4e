"""Changes of parts of a picture, and the places on a layer's map that change with them."""

from __future__ import annotations

import torch
from torch import Tensor

from camcli.network.forward import Forward
from camcli.network.layer import Layer
from camcli.network.network import Network

# The side of the patches that are put into the view's corners, as a share of its own: small, so that most crops leave
# one out, and larger than the stride of any map.
PATCH = 1 / 8
# A share of the view's sides that strides and borders do not reach.
ALONG = 1 / 16
# A patch is seen at the places that change by this share of the largest change or more.
SEEN = 0.5
# A patch that is seen at more than this share of the map says nothing of its place.
DIFFUSE = 0.3
# A patch's place, as shares of the room that it leaves: (0, 0) is the top left corner.
MIDDLE = (0.5, 0.5)


class Changes:
    """The layer's map of a plain picture (1, C, H, W) or clip (1, C, T, H, W), and its changes with parts of that.

    circular: some convolution goes on beyond one border at the other.
    """

    def __init__(self, network: Network, layer: Layer, plain: Tensor) -> None:
        self._network, self._layer, self._plain = network, layer, plain
        self._before = self._map(plain)
        self._cells: dict[tuple[int, int], Tensor | None] = {}
        self.circular = any(getattr(part, "padding_mode", None) == "circular" for part in network.net.modules())

    def corners(self, patch: Tensor) -> list[Tensor | None]:
        """The change of each place (h, w) of the map with each corner; None for a corner that changes nothing."""
        return [self.change(patch, (y, x)) for y in (0.0, 1.0) for x in (0.0, 1.0)]

    def unseen_side(self, grid: tuple[int, int], patch: Tensor) -> str | None:
        """A side of the view along which nothing is seen; None if there is none. At the bottom and the right strides
        may leave out as much as a cell of the grid."""
        below, beside = (min(1.0, ALONG + 1 / cells) for cells in grid)
        strips = {
            "top": (0.0, (ALONG, 1.0)),
            "bottom": (1.0, (below, 1.0)),
            "left": (0.0, (1.0, ALONG)),
            "right": (1.0, (1.0, beside)),
        }
        for side, (at, size) in strips.items():
            if all(self.change(one, (at, at), size) is None for one in (patch, *flat_patches(patch))):
                return side
        return None

    def wider_ground(self, patch: Tensor) -> bool:
        """True if a border of the map, of more than ALONG of its sides, is the same for every picture."""
        tried = [self.change(one, MIDDLE, (1.0, 1.0)) for one in (patch, *flat_patches(patch))]
        changes = [change for change in tried if change is not None]
        if not changes:
            return False
        changed = torch.stack([change > 1e-9 * change.max() for change in changes]).any(0)
        for axis in (0, 1):
            alive = changed.any(1 - axis).nonzero().flatten()
            length = changed.shape[axis]
            if max(int(alive[0]), length - 1 - int(alive[-1])) > ALONG * length:
                return True
        return False

    def cell(self, patch: Tensor, at: tuple[int, int], grid: tuple[int, int]) -> Tensor | None:
        """The change of each place with that cell (row, column) of a grid, made once; None if there is none."""
        if at not in self._cells:
            (y, x), (height, width) = at, grid
            self._cells[at] = self.change(patch, (y / (height - 1), x / (width - 1)), (1 / height, 1 / width))
        return self._cells[at]

    def change(
        self, patch: Tensor, at: tuple[float, float], size: tuple[float, float] = (PATCH, PATCH)
    ) -> Tensor | None:
        """The change of each place (h, w) with a patch at `at`, of such shares of the sides; None if there is none. A
        clip is changed in all of its frames, and the changes of all steps are added up."""
        sides = self._plain.shape[-2:]
        parts = [max(1, round(side * share)) for side, share in zip(sides, size, strict=True)]
        starts = [round((side - part) * share) for side, part, share in zip(sides, parts, at, strict=True)]
        rows, columns = (slice(start, start + side) for start, side in zip(starts, parts, strict=True))
        patched = self._plain.clone()
        patched[..., rows, columns] = patch[..., rows, columns]
        change = self._changed(patched)
        return change if change is None or change.ndim == 2 else change.sum(0)

    def of_frames(self, patch: Tensor, frames: slice) -> Tensor | None:
        """The change of each step (t,) of a clip's map with some of its frames; None if there is none."""
        patched = self._plain.clone()
        patched[:, :, frames] = patch[:, :, frames]
        change = self._changed(patched)
        return None if change is None else change.sum((1, 2))

    def _changed(self, image: Tensor) -> Tensor | None:
        """The change of each place (*grid) from the plain picture's; None if there is none."""
        change = (self._map(image) - self._before).square().sum(0)
        return change if float(change.max()) > 1e-12 * float(self._before.square().sum(0).max()) else None

    def _map(self, image: Tensor) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # a network that draws at random draws the same for each
            forward = Forward(self._network, self._network.arranged(image), [self._layer])
        return forward.activations(self._layer)[0].double()


def flat_patches(patch: Tensor) -> list[Tensor]:
    """Other patches for the same part of a picture: a network of few units may be blind to one patch of noise."""
    return [torch.full_like(patch, level) for level in (3.0, -3.0)]


def place_of(change: Tensor) -> tuple[float, float] | None:
    """The (y, x) of a change on the map, as shares of its sides; None if it is all over the map."""
    seen = change * (change >= SEEN * change.max())
    if float((seen > 0).float().mean()) > DIFFUSE or not change.isfinite().all():
        return None
    return middle_of(seen)


def middle_of(weights: Tensor) -> tuple[float, float]:
    """The (y, x) of a map's centre of mass, as shares of its sides."""
    shares = []
    for axis in (1, 0):
        along = weights.sum(axis)
        # By whole numbers: on a 2x2 map corners are exactly NEAREST apart, and rounding must not bring them nearer.
        index = (along * torch.arange(len(along), device=along.device)).sum() / along.sum()
        shares.append((float(index) + 0.5) / len(along))
    return shares[0], shares[1]
