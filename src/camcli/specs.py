"""Specs: what was asked of a run, and where its files go. They decide all its values, and can be pickled."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from camcli.records import Decoding, Fit, Picture, Sides

Colormap = Literal["turbo", "jet", "viridis", "inferno", "magma", "plasma", "cividis", "hot", "bone", "gray"]
COLORMAPS = get_args(Colormap)
# The look of the pictures, and the colours and the opacity that go with it.
Look = Literal["graded", "classic", "print"]
COLORMAP_OF: dict[Look, str] = {"graded": "inferno", "classic": "turbo", "print": "ink"}
OPACITY_OF: dict[Look, float] = {"graded": 0.65, "classic": 0.5, "print": 0.8}
Norm = Literal["image", "run", "fixed"]
Fuse = Literal["mean", "max", "product"]
Augment = Literal["flip", "scale"]
Sanity = Literal["head", "cascade"]
Precision = Literal["fp32", "bf16", "fp16"]
# The numbers that can be explained of a class.
TARGETS = ("logit", "softmax")
# The kinds of answer that a network may give.
Task = Literal[
    "classify", "segment", "detect", "watch", "match", "answer", "caption", "act", "liken", "regress", "embed"
]
TASKS = get_args(Task)
# In the order of Pillow's numbers.
Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
PictureFormat = Literal["jpg", "png"]
FigureFormat = Literal["png", "jpg", "webp", "svg", "pdf"]
# Those that are made of points, and not of pixels alone.
DRAWINGS = ("svg", "pdf")
# The name of the picture that a picture is compared with, among what is bound to it.
PARTNER = "partner"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A network and its weights, and how its pictures and answers are to be read.

    model: a torchvision name, `timm:NAME`, `ultralytics:FILE`, an ONNX file, `module:factory` or
    `path/to/file.py:factory`; None: the bundled one, or, if `weights` is a file, the architecture that fits it.
    weights: DEFAULT, a member of the architecture's weights, "none" (random, seeded), or a file. `model_args` go to the
    constructor. `resize` to `interpolation` change the preset, which `preset` (a JSON file) gives in place of the
    architecture's own; "none": files beside the weights are left alone. task: what the network does, if its output
    alone does not tell. frames: in a clip, of a network that takes clips. texts: the classes of an image-text network,
    each put into the `template`'s braces.
    """

    model: str | None = None
    weights: str = "DEFAULT"
    device: str = "auto"
    model_args: tuple[tuple[str, str], ...] = ()
    weights_key: str | None = None
    trust_checkpoint: bool = False
    labels: str | None = None
    preset: str | None = None
    resize: Sides | None = None
    crop: Sides | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None
    multi_label: bool = False
    output_key: str | None = None
    task: str | None = None
    frames: int | None = None
    texts: tuple[str, ...] = ()
    template: str | None = None

    @property
    def sentences(self) -> list[str]:
        """Each text as the network is given it."""
        return [text if self.template is None else self.template.replace("{}", text) for text in self.texts]


@dataclass(frozen=True, slots=True)
class Spec(ModelSpec):
    """Everything that decides a run's values: a model and what is asked of it.

    methods: none of them: classify only; None: the one that suits the model's task. fit: None: as the task wants.
    target: "logit", "softmax", or the user's `module:function`; quantity: another number of the task's. One of
    classes, contrast, output_index, similar_to and a function says what is explained; at (x, y), region (x0, y0, x1,
    y1) or mask (a file): the place that a segmentation is asked about. threshold: the
    least score of a detection. counterfactual: what speaks against it. augment:
    answers averaged over flips and scales; eigen_smooth: sums over channels replaced by their first component; fuse:
    several layers as one map; neurons: the channels that weigh most; sanity: what is left when weights are randomised.
    seed: of whatever is drawn at random. batch_size: pictures per forward, None: as suits the device. precision: of all
    that runs before the layer; compile: torch.compile builds that; exact: nothing is rearranged to be faster, so that
    every bit is the one of a plain forward. draft, white: see `Decoding`. start, end: the part of a film, as
    `inputs.films.at` reads them; stride: of the frames in a clip; every: of the frames that are pictures of their own.
    bound: what goes into the network with each picture that brings no other: a question, a partner's path.
    """

    methods: tuple[str, ...] | None = None
    classes: tuple[str, ...] = ("top1",)
    layers: tuple[str, ...] = ()
    fit: Fit | None = None
    top: int = 5
    batch_size: int | None = None
    counterfactual: bool = False
    contrast: tuple[str, str] | None = None
    target: str = "logit"
    quantity: str | None = None
    at: tuple[float, float] | None = None
    region: tuple[float, float, float, float] | None = None
    mask: str | None = None
    threshold: float | None = None
    output_index: int | None = None
    similar_to: str | None = None
    augment: tuple[str, ...] = ()
    eigen_smooth: bool = False
    fuse: Fuse | None = None
    neurons: bool = False
    sanity: Sanity | None = None
    seed: int = 0
    precision: Precision = "fp32"
    compile: bool = False
    exact: bool = False
    draft: int | None = None
    white: float | None = None
    start: str | None = None
    end: str | None = None
    stride: int | None = None
    every: int | None = None
    bound: tuple[tuple[str, str], ...] = ()

    @property
    def decoding(self) -> Decoding:
        return Decoding(self.draft, self.white)

    @property
    def compares(self) -> bool:
        """True if each picture is compared with another one."""
        return self.similar_to is not None or self.task == "liken" or any(name == PARTNER for name, _ in self.bound)

    @property
    def asks_function(self) -> bool:
        """True if the target is the user's function, which needs no scores."""
        return self.target not in TARGETS


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """The place of pictures and how they are drawn. `folder` is a path or a URI; None keeps everything in the rows.

    `file` names the one picture of a run that makes one; "-" is stdout. `norm_max` is the value drawn as the
    top of the colour map under norm "fixed", in the units of the raw values. `style`: graded, where the opacity grows
    with the value, classic, with one opacity for all of the map, or print, grey ink on a pale photo; `colormap` and
    `opacity` (the largest): None: the style's own. `legend`: the scale and its ends are drawn too. `font`: a file;
    None: what is there. `durable`: files survive a power cut from the moment that they are there.
    """

    folder: str | Path | None = None
    file: str | None = None
    pictures: tuple[Picture, ...] = field(default=("overlay",))
    style: Look = "graded"
    colormap: Colormap | None = None
    opacity: float | None = None
    legend: bool = False
    font: str | None = None
    norm: Norm = "image"
    norm_max: float | None = None
    max_side: int | None = None
    format: PictureFormat = "jpg"
    durable: bool = False

    @property
    def colours(self) -> str:
        """The colour map that is drawn with."""
        return COLORMAP_OF[self.style] if self.colormap is None else self.colormap

    @property
    def strongest(self) -> float:
        """The largest opacity that is drawn with."""
        return OPACITY_OF[self.style] if self.opacity is None else self.opacity


@dataclass(frozen=True, slots=True)
class FigureSpec:
    """The file of answers side by side, and its form: `columns` of answers in a line. `width` in millimetres, drawn at
    `dpi`; None: the longer side of each picture is `side` pixels."""

    file: str
    format: FigureFormat
    columns: int = 8
    side: int = 240
    width: float | None = None
    dpi: int = 300


@dataclass(frozen=True, slots=True)
class PageSpec:
    """The place of a report page, a path or URI that ends in .html. One of more than `embed_mb` megabytes has its
    pictures in a folder beside it; None: of 40 MB, or of 5,000 pictures."""

    file: str
    embed_mb: float | None = None


@dataclass(frozen=True, slots=True)
class JournalSpec:
    """The treatment of a journal that is there already; `part` of a run in shards, as (number, of)."""

    overwrite: bool = False
    retry_failed: bool = False
    part: tuple[int, int] | None = None
