"""The data that flows from one stage to the next: frozen, dumb, free of torch.

Coordinates are pixels, origin top left, x to the right, y down. Boxes are (x0, y0, x1, y1), half open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from camcli.entries import Box, Entry, Placement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A larger picture is refused before it is decoded, if nobody says otherwise: cameras make up to 200 million pixels.
MAX_PIXELS = 210_000_000
# The most that is read of a file that has to be in memory as a whole: JPEGs, pipes, what is decoded elsewhere.
MAX_FILE_BYTES = 1_000_000_000
# An answer with both this rank correlation and this SSIM to the one of random weights has not changed.
UNCHANGED = 0.9
# One side's length in pixels, or (height, width).
Sides: TypeAlias = int | tuple[int, int]
# One result as JSON-ready data.
Row: TypeAlias = dict[str, Any]
Fit = Literal["crop", "squash", "pad", "full", "whole"]
Kind = Literal["map", "saliency"]
Picture = Literal["overlay", "heatmap", "panel", "raw", "neurons", "mask", "strip", "gif"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame's place in its film: its `number`, from 0, and its time in `seconds` from the film's beginning."""

    number: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ref:
    """One input as it was named: a file (`path` or `uri`), the picture's own bytes (`data`) or a picture in
    memory (`held`: Pillow's, an array (H, W, C), or `inputs.memory.Normalised`), one of these. A frame of a film has
    the film's path, its `moment`, and the frame itself (`held`, an `inputs.films.Still`).

    `root` is the folder the user named; a sink mirrors the path below it. `again` tells apart inputs whose files
    would be called the same: 1 for the first of them. `mark` is in the names of its files: one picture has several
    questions, and a file stays one question's in whatever order they come. `bound` is what goes into the network
    together with the picture, as JSON data by name: a question, a caption, a partner's path. What no network takes is
    told in its row alone.
    """

    index: int
    name: str
    path: Path | None = None
    data: bytes | None = field(default=None, repr=False)
    root: Path | None = None
    uri: str | None = None
    again: int = 1
    moment: Moment | None = None
    mark: str = ""
    bound: Mapping[str, Any] = field(default_factory=dict, hash=False)
    held: Any = field(default=None, compare=False, repr=False)

    @property
    def source(self) -> bytes | Path:
        """Its file's bytes, if they are here, or its path."""
        return self.data if self.data is not None else self.path or Path(self.name)


@dataclass(frozen=True, slots=True)
class Decoding:
    """The choices in making a frame of a file.

    draft: a larger JPEG is decoded at the smallest of libjpeg's scales that leaves its shorter side so long. white: the
    value that is white, for samples of more than 8 bits.
    """

    draft: int | None = None
    white: float | None = None

    def scale(self, size: tuple[int, int]) -> int:
        """The largest of libjpeg's 1/8, 1/4 and 1/2 that a JPEG of that size may have, as its denominator; else 1."""
        return 1 if self.draft is None else next((s for s in (8, 4, 2) if min(size) // s >= self.draft), 1)


# In full, and white as the file has it.
AS_IT_IS = Decoding()


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The decoded picture: `rgb` uint8 (H, W, 3), EXIF-upright, alpha over white, first frame of an animation; or a
    clip (T, H, W, 3).

    `bands`, uint8 or float32 in [0, 1] (H, W, C), come from a NumPy array that stands for a picture: a network of C
    input channels sees them, and `rgb` shows the first three, or the first one in grey. `full_size` (width, height) is
    the picture's if `rgb` was decoded at a reduced scale. `note` says what was unusual in the file; `decoding` is what
    was asked for, to read it once more. `moments`: the place of each frame of a clip in its film, or of the picture in
    the film that it is of. `rate`: frames a second of a clip that has any.
    """

    ref: Ref
    rgb: NDArray[np.uint8]
    bands: NDArray[Any] | None = None
    full_size: tuple[int, int] | None = None
    note: str | None = None
    decoding: Decoding = AS_IT_IS
    moments: tuple[Moment, ...] = ()
    rate: float | None = None

    @property
    def frames(self) -> int | None:
        """The number of frames of a clip; None for a picture."""
        return len(self.rgb) if self.rgb.ndim == 4 else None

    def still(self, index: int) -> Frame:
        """One frame of a clip, as a picture."""
        return replace(self, rgb=self.rgb[index], moments=self.moments[index : index + 1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture; boxes are in its pixels."""
        return self.full_size or (self.rgb.shape[-2], self.rgb.shape[-3])


@dataclass(frozen=True, slots=True)
class Preset:
    """The preprocessing of the loaded weights: resize the short side, crop the centre, (x - mean) / std.

    `mean` and `std` hold one value per input channel. A `resize` of (height, width) makes the smallest picture that
    covers both. `squash`: the resize ignores the aspect, the whole picture becomes exactly that large before the crop;
    one number stands for both sides then. `interpolation` is one of Pillow's resampling filters, in lower case.
    `antialias`: shrinking looks at all pixels, as Pillow does; if not, at the nearest alone, as OpenCV does.
    `frames`: the number of frames in a clip; None: the network takes pictures. `rate`: frames a second in a clip.
    """

    resize: Sides
    crop: Sides
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    squash: bool = False
    antialias: bool = True
    frames: int | None = None
    rate: float | None = None

    @property
    def view_shape(self) -> tuple[int, ...]:
        """The shape of the view: (C, height, width), of clips (C, frames, height, width)."""
        frames = () if self.frames is None else (self.frames,)
        return (len(self.mean), *frames, *self.view_size)

    @property
    def view_size(self) -> tuple[int, int]:
        """(height, width) of the view."""
        return both(self.crop)


def both(sides: Sides) -> tuple[int, int]:
    """(height, width); of a square if one number is given."""
    return (sides, sides) if isinstance(sides, int) else (sides[0], sides[1])


def spelled(sides: Sides) -> str:
    """Height x width in words; if they differ, it says which is which."""
    height, width = both(sides)
    return f"{height}x{width}" if height == width else f"{height}x{width} (height x width)"


def shortly(sides: Sides) -> str:
    """The sides as `spelled` gives them, but one number as that number."""
    return str(sides) if isinstance(sides, int) else spelled(sides)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture as the network sees it: `pixels` float32 (C, h, w), or a clip (C, T, h, w), normalised.

    C is 3, 1 for a network that takes grey, or an array's number of bands.
    `box` is where the whole view lies in the frame, in frame pixels; with `pad` it sticks out of the frame.
    """

    pixels: NDArray[np.float32]
    box: Box

    def placement(self, frame: tuple[int, int]) -> Placement:
        """Its place in a frame of that (width, height)."""
        return Placement(self.box, (self.pixels.shape[-1], self.pixels.shape[-2]), frame)


@dataclass(frozen=True, slots=True)
class Question:
    """The question that an answer is about: `value` is the number that was explained, before any sign was changed.

    quantity: "logit", "softmax" (the probability), "output" of a network without classes, "function", "similarity".
    `entry` is the class, region or detection, None if it is about none; `minus` the class that it is contrasted with;
    `negated`: what speaks against it (arXiv:1610.02391 sec. 3.3).
    """

    label: str
    value: float
    quantity: str = "logit"
    entry: Entry | None = None
    minus: Entry | None = None
    negated: bool = False

    @property
    def name(self) -> str:
        """The words for a caption: id and label, what it is contrasted with, whether it is negated."""
        name = self.entry.name if self.entry else self.label
        if self.minus is not None:
            name += f" rather than {self.minus.name}"
        return f"not {name}" if self.negated else name


@dataclass(frozen=True, slots=True, eq=False)
class Neuron:
    """One channel of the target layer: `weight` is its alpha, the mean gradient of the target in it (arXiv:1610.02391
    sec. 7); `values` float32 (h, w) its activations."""

    channel: int
    weight: float
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SanityCheck:
    """The likeness of an answer to the one with the weights of `randomised` drawn anew (arXiv:1810.03292).

    Spearman's rank correlation and SSIM of the two answers' absolute values, 1 for the same one.
    """

    randomised: str
    rank_correlation: float
    ssim: float

    @property
    def unchanged(self) -> bool:
        """True if both are so high that the two answers would be taken for one."""
        return min(self.rank_correlation, self.ssim) > UNCHANGED


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """One method's raw, unnormalised answer for one question.

    `values` is float32: a map (h, w) >= 0 at the layer's resolution, or a saliency (3, h, w), signed, on the view; of a
    clip (t, h, w) and (3, t, h, w).
    `layer` is None if the method looks at no layer; fused layers, or the stages that it was read at, are joined by
    "+". `note` says what is wrong with the answer: why it is blank or flat, that it does not depend on the class, that
    rounding can decide it. `box`: what the values cover in the frame, if that is not the view: a detector's own canvas,
    which is padded.
    """

    method: str
    kind: Kind
    layer: str | None
    target: Question
    values: NDArray[np.float32]
    note: str | None = None
    box: Box | None = None
    neurons: tuple[Neuron, ...] = ()
    sanity: tuple[SanityCheck, ...] = ()

    @property
    def unchanged_by(self) -> tuple[str, ...]:
        """The parts, from the head on, whose random weights leave the answer as it is."""
        return tuple(check.randomised for check in takewhile(lambda check: check.unchanged, self.sanity))


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of an answer; `weights_sha256` is None for weights that no file holds.

    `spec` holds the fields of the run's Spec less those that are unset (None, empty, false) by default; `versions` are
    of camcli, torch and the library that the architecture comes from.
    """

    weights_sha256: str | None
    preset: Preset
    device: str
    dtype: str
    versions: dict[str, str]
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Truth:
    """The class that a picture's folder names, and whether it is the best one."""

    id: int
    label: str
    correct: bool


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """One input's answer. `ms` holds wall milliseconds by stage; a picture's share if the batch was one call. `note`
    says why nothing is explained, if so."""

    frame: Frame
    box: Box
    model: str
    weights: str
    layer: str | None
    top: tuple[Entry, ...]
    attributions: tuple[Attribution, ...]
    ms: dict[str, float]
    provenance: Provenance
    truth: Truth | None = None
    note: str | None = None

    @property
    def ref(self) -> Ref:
        return self.frame.ref


@dataclass(frozen=True, slots=True)
class Failed:
    """One input's refusal: the stage that refused, a stable `kind` for programs, a sentence for people."""

    ref: Ref
    stage: str
    kind: str
    message: str


Result = Explained | Failed
