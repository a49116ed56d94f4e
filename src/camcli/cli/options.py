"""Each flag once: what it is called, what it takes, what `--help` says and what completion offers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import wraps
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from camcli.cli import destinations
from camcli.errors import RequestError
from camcli.models import catalog, presets
from camcli.records import COLORMAPS, MAX_PIXELS, Fit, Fuse, Norm, Picture, Precision, Sanity

T = TypeVar("T")

# The titles of --help under which options stand that more than one command takes.
WHAT, MODEL, OUT, RUN = "What is explained", "Model", "Pictures out", "Run"


def complete_model(incomplete: str) -> list[str]:
    return [name for name in catalog.names() if name.startswith(incomplete)]


def complete_method(incomplete: str) -> list[str]:
    from camcli import methods

    return [name for name in methods.names() if name.startswith(incomplete)]


def _complete_layer(context: typer.Context, incomplete: str) -> list[str]:
    """The one completion that must build a network, and so import torch."""
    from camcli.errors import CamcliError
    from camcli.models import blueprint
    from camcli.records import ModelSpec

    model = context.params.get("model")
    try:
        net = blueprint(ModelSpec(model[0] if isinstance(model, (list, tuple)) else model)).net
    except CamcliError:
        return []
    return [name for name, _ in net.named_modules() if name and name.startswith(incomplete)]


def _offer(choices: Sequence[str]) -> object:
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


ENGINES = ("local", "ray")
# The neurons' strip comes with --neurons.
SAVED = tuple(kind for kind in get_args(Picture) if kind != "neurons")

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUTS",
        help="Pictures, folders, quoted globs, URIs, or - for stdin (a picture, or paths by line or NUL).",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Name (see `camcli models`), timm:NAME, or your code: module:factory, FILE.py:factory. "
        "Default: what fits --weights FILE, else the bundled model.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        "-w",
        metavar="FILE",
        help="FILE (.pth, .ckpt, .safetensors, an index of shards), https://URL (#sha256=HEX checks it), "
        "DEFAULT, a name such as IMAGENET1K_V1, or none: random.",
    ),
]
ModelArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--model-arg",
        metavar="KEY=VALUE",
        help="Argument of the model's constructor, repeatable: num_classes=5.",
        show_default=False,
    ),
]
WeightsKey = Annotated[
    str | None,
    typer.Option(
        "--weights-key",
        metavar="KEY",
        help="State dict to take from a FILE that holds several, such as ema.",
        show_default=False,
    ),
]
TrustCheckpoint = Annotated[
    bool, typer.Option("--trust-checkpoint", help="Let a pickled FILE run code. Only for files you made yourself.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Class names: text (one a line), JSON, or an ImageFolder's root.",
        show_default=False,
    ),
]
PresetFile = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="FILE",
        help="Preprocessing from a JSON FILE (also read from beside the weights; none: not that): camcli's, timm's, "
        "Hugging Face's.",
        show_default=False,
    ),
]
Resize = Annotated[
    str | None,
    typer.Option(
        "--resize",
        metavar="N|HxW",
        help="Short side before the crop, or HEIGHTxWIDTH of the whole picture, aspect lost.",
        show_default=False,
    ),
]
Crop = Annotated[
    str | None,
    typer.Option(
        "--crop",
        metavar="N|HxW",
        help="Side of the network's view, or HEIGHTxWIDTH: without --resize the whole picture, aspect lost.",
        show_default=False,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean", metavar="M", help="Mean to subtract: one number, or one a channel: 0,0,0.", show_default=False
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std",
        metavar="S",
        help="Deviation to divide by: one number, or one a channel: 1,1,1.",
        show_default=False,
    ),
]
Interpolation = Annotated[
    str | None,
    typer.Option(
        "--interpolation",
        metavar="NAME",
        help="Resampling filter: bilinear, bicubic, nearest, box, hamming or lanczos.",
        show_default=False,
    ),
]
MultiLabel = Annotated[
    bool, typer.Option("--multi-label", help="Several classes can be true at once: probabilities are sigmoids.")
]
OutputKey = Annotated[
    str | None,
    typer.Option(
        "--output-key",
        metavar="KEY",
        help="Output that holds the scores, by key or index, of a network that returns several.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Device: auto, cpu, cuda, cuda:1 or mps.")]


@dataclass(frozen=True, slots=True)
class ModelFlags:
    """The options that say which network is asked and how it is read; `spread` gives them to a command."""

    model: ModelName = None
    weights: Weights = "DEFAULT"
    model_arg: ModelArgs = None
    weights_key: WeightsKey = None
    trust_checkpoint: TrustCheckpoint = False
    labels: Labels = None
    preset: PresetFile = None
    resize: Resize = None
    crop: Crop = None
    mean: Mean = None
    std: Std = None
    interpolation: Interpolation = None
    multi_label: MultiLabel = False
    output_key: OutputKey = None
    device: Device = "auto"

    def for_spec(self) -> dict[str, Any]:
        """The fields of a ModelSpec.

        Raises: RequestError: an argument without "=", numbers that are none.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["model_args"] = pairs(given.pop("model_arg"))
        for name in ("resize", "crop"):
            given[name] = presets.sides(f"--{name}", given[name]) if given[name] is not None else None
        for name in ("mean", "std"):
            given[name] = presets.numbers(given[name]) if given[name] is not None else None
        return given


def pairs(arguments: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """`--model-arg` texts as (key, value).

    Raises: RequestError: no "=" in one.
    """
    split = [argument.partition("=") for argument in arguments or ()]
    for key, sign, _ in split:
        if not sign or not key.isidentifier():
            raise RequestError(f"--model-arg {key!r}: write KEY=VALUE")
    return tuple((key, value) for key, _, value in split)


Methods = Annotated[
    list[str],
    typer.Option(
        "--method",
        "-M",
        metavar="NAME",
        help="Method, repeatable; see `camcli methods`. all: every one that applies to the model.",
        autocompletion=complete_method,
        rich_help_panel=WHAT,
    ),
]
Classes = Annotated[
    list[str],
    typer.Option(
        "--class",
        "-c",
        metavar="CLASS",
        help="Class to explain, repeatable: id, name, part of a name, top1, topN (the N best), or folder: the class "
        "that the picture's folder names; id:2 or name:2 if a name is a number. See `camcli classes`.",
    ),
]
TrueClass = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        "-c",
        metavar="folder",
        help="folder: the class that each picture's folder names is its true one; rows say truth and correct.",
        show_default=False,
    ),
]
Counterfactual = Annotated[
    bool,
    typer.Option("--counterfactual", help="Show what speaks against the class: negated gradients (paper, sec. 3.3)."),
]
Contrast = Annotated[
    tuple[str, str] | None,
    typer.Option("--contrast", metavar="A B", help="Show what speaks for class A rather than B.", show_default=False),
]
TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="WHAT",
        help="Number that is explained: the logit, the softmax (probability), or your module:function of the output.",
    ),
]
OutputIndex = Annotated[
    int | None,
    typer.Option(
        "--output-index",
        metavar="N",
        help="Output to explain, from 0, of a model without classes.",
        min=0,
        show_default=False,
    ),
]
SimilarTo = Annotated[
    str | None,
    typer.Option(
        "--similar-to", metavar="PICTURE", help="Explain what makes an input like PICTURE.", show_default=False
    ),
]
Neurons = Annotated[
    bool,
    typer.Option(
        "--neurons",
        help="Add the channels that weigh most for and against the class, with their maps.",
        rich_help_panel=WHAT,
    ),
]
SanityOption = Annotated[
    str | None,
    typer.Option(
        "--sanity",
        metavar="head|cascade",
        help="Check that the answer changes with random weights: in the head, or part by part from it to the picture.",
        autocompletion=_offer(get_args(Sanity)),
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed for whatever a method draws at random.", min=0)]
AugmentOption = Annotated[
    str | None,
    typer.Option(
        "--augment",
        metavar="HOW",
        help="Average over changed pictures: flip, scale, or both: flip,scale.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
EigenSmooth = Annotated[
    bool,
    typer.Option(
        "--eigen-smooth",
        help="Take the weighted channels' first component in place of their sum.",
        rich_help_panel=WHAT,
    ),
]
FuseOption = Annotated[
    str | None,
    typer.Option(
        "--fuse",
        metavar="HOW",
        help=f"Join the maps of several layers: {', '.join(get_args(Fuse))}.",
        autocompletion=_offer(get_args(Fuse)),
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        "-l",
        metavar="NAME",
        help="Target layer, repeatable; default: chosen, see `camcli layers`.",
        autocompletion=_complete_layer,
        rich_help_panel=WHAT,
        show_default=False,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Folder for the files and a journal of them, which lets a run go on; or, if one picture is made, a file "
        "(.jpg, .png, .webp, .npz) or - for stdout.",
        show_default=f"{destinations.FOLDER}, no journal",
        rich_help_panel=OUT,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--overwrite",
        help="Go on with the run that the folder's journal tells of, or remove it first.",
        rich_help_panel=OUT,
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try again, when going on, what was refused.", rich_help_panel=OUT)
]
Save = Annotated[
    str,
    typer.Option(
        "--save",
        metavar="KINDS",
        help=f"Kinds of files to write, by comma: {', '.join(SAVED)}; or none.",
        autocompletion=_offer(SAVED),
        rich_help_panel=OUT,
    ),
]
FitOption = Annotated[
    str,
    typer.Option(
        "--fit",
        help=f"How the picture becomes the view: {', '.join(get_args(Fit))}.",
        autocompletion=_offer(get_args(Fit)),
    ),
]
Draft = Annotated[
    int | None,
    typer.Option(
        "--draft",
        metavar="SIDE",
        help="Decode larger JPEGs at a reduced scale whose shorter side is at least SIDE, such as 512: faster, and "
        "scores move a little.",
        min=1,
        show_default=False,
    ),
]
White = Annotated[
    float | None,
    typer.Option(
        "--white",
        metavar="VALUE",
        help="Value that is white, in pictures and arrays of more than 8 bits: 4095, 10000.",
        show_default=False,
    ),
]
ColormapOption = Annotated[
    str,
    typer.Option(
        "--colormap",
        metavar="NAME",
        help=f"Colours of the map: {', '.join(COLORMAPS)}.",
        autocompletion=_offer(COLORMAPS),
        rich_help_panel=OUT,
    ),
]
Opacity = Annotated[
    float,
    typer.Option(
        "--opacity", metavar="X", help="Opacity of the map over the photo.", min=0.0, max=1.0, rich_help_panel=OUT
    ),
]
NormOption = Annotated[
    str,
    typer.Option(
        "--norm",
        metavar="image|run|fixed",
        help="End of the colour scale: each image's own maximum, the run's, or --norm-max (fixed).",
        autocompletion=_offer(get_args(Norm)),
        rich_help_panel=OUT,
    ),
]
NormMax = Annotated[
    float | None,
    typer.Option(
        "--norm-max", metavar="X", help="Raw value at the end of the scale, with --norm fixed.", rich_help_panel=OUT
    ),
]
MaxSide = Annotated[
    int | None,
    typer.Option(
        "--max-side",
        metavar="N",
        help="Longer side that written pictures are shrunk to, in pixels.",
        min=16,
        rich_help_panel=OUT,
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format", metavar="jpg|png", help="Format of the overlays and panels in the folder.", rich_help_panel=OUT
    ),
]
Top = Annotated[
    int, typer.Option("--top", "-k", metavar="N", help="Classes in a row, best first.", min=1, rich_help_panel=RUN)
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        help="Pictures per forward; default: 16, on a GPU what fits.",
        min=1,
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        help=f"Precision of all before the layer: {', '.join(get_args(Precision))}. From the layer on it is fp32.",
        autocompletion=_offer(get_args(Precision)),
    ),
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Build what runs before the layer with torch.compile, for long runs."),
]
Exact = Annotated[
    bool, typer.Option("--exact", help="Rearrange nothing to be faster: each bit is that of a plain forward.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", metavar="N", help="Threads that compute; default: one a core.", min=1, show_default=False
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Threads that decode, draw and encode; default: one a core. With --engine ray: engines.",
        min=1,
        show_default=False,
    ),
]
Recursive = Annotated[bool, typer.Option("--recursive/--no-recursive", help="Walk into sub-folders.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first picture that is refused.")]
MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        metavar="N",
        help="Largest picture that is decoded, in pixels.",
        min=1,
        rich_help_panel=RUN,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Part of the inputs, the I-th of N, for job arrays.", show_default=False
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help=r"Engine: local, or ray on a cluster, which needs `pip install camcli\[ray]`.",
        autocompletion=_offer(ENGINES),
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDRESS",
        help="Address of the cluster; default: RAY_ADDRESS, else this machine.",
        show_default=False,
    ),
]
Results = Annotated[
    str | None,
    typer.Option(
        "--results",
        metavar="FILE",
        help=r"Parquet file or URI that gets the rows too; needs `pip install camcli\[parquet]`.",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Write JSON lines to stdout instead of a table.", rich_help_panel=RUN)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say no progress and no summary.", rich_help_panel=RUN)]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=RUN)]
ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="Name, as with --model; default: the bundled model, or what fits --weights FILE.",
        autocompletion=complete_model,
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class PictureFlags:
    """The options that say how a picture becomes the network's view; `spread` gives them to a command."""

    fit: FitOption = "crop"
    draft: Draft = None
    white: White = None

    def for_spec(self) -> dict[str, Any]:
        """The fields of a Spec."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class TargetFlags:
    """The options that say what is explained; `spread` gives them to a command."""

    class_: Classes = field(default_factory=lambda: ["top1"])
    counterfactual: Counterfactual = False
    contrast: Contrast = None
    target: TargetOption = "logit"
    output_index: OutputIndex = None
    similar_to: SimilarTo = None
    seed: Seed = 0

    def for_spec(self) -> dict[str, Any]:
        """The fields of a Spec."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["classes"] = tuple(given.pop("class_"))
        return given


@dataclass(frozen=True, slots=True)
class ComputeFlags:
    """The options that say how it is computed; `spread` gives them to a command."""

    batch_size: BatchSize = None
    precision: PrecisionOption = "fp32"
    compile: Compile = False
    exact: Exact = False
    threads: Threads = None
    workers: Workers = None

    def for_spec(self) -> dict[str, Any]:
        """The fields of a Spec."""
        return {name: getattr(self, name) for name in ("batch_size", "precision", "compile", "exact")}


@dataclass(frozen=True, slots=True)
class RunFlags:
    """The options that say where inputs are explained and where rows go; `spread` gives them to a command."""

    recursive: Recursive = True
    fail_fast: FailFast = False
    max_pixels: MaxPixels = MAX_PIXELS
    shard: Shard = None
    engine: EngineOption = "local"
    ray_address: RayAddress = None
    results: Results = None
    json: Json = False
    quiet: Quiet = False


# The flags that a command takes as one parameter, and their title in --help.
_GROUPS: dict[object, str] = {
    ModelFlags: MODEL,
    PictureFlags: "Pictures in",
    TargetFlags: WHAT,
    ComputeFlags: "Speed",
    RunFlags: RUN,
}


def spread(command: Callable[..., T]) -> Callable[..., T]:
    """A command whose parameters of a type with flags become one option a field.

    A field that the command has a parameter of its own for, such as a repeatable --model, keeps its default.
    """
    taken = list(inspect.signature(command, eval_str=True).parameters.values())
    groups = {p.name: p.annotation for p in taken if p.annotation in _GROUPS}
    own = {p.name for p in taken}
    given = {name: [f.name for f in fields(kind) if f.name not in own] for name, kind in groups.items()}
    parameters: list[inspect.Parameter] = []
    for parameter in taken:
        name = parameter.name
        options = _options_of(parameter.annotation, given[name]) if name in groups else [parameter]
        parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in options]

    @wraps(command)
    def run(**options: Any) -> T:
        made = {name: kind(**{field: options.pop(field) for field in given[name]}) for name, kind in groups.items()}
        return command(**options, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options_of(kind: type, names: Collection[str]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for hint in hints.values():
        hint.__metadata__[0].rich_help_panel = _GROUPS[kind]
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=f.default if f.default_factory is MISSING else f.default_factory(),
            annotation=hints[f.name],
        )
        for f in fields(kind)
        if f.name in names
    ]


def shard_numbers(text: str) -> tuple[int, int]:
    """`--shard` as (which from 1, of how many).

    Raises: RequestError: it is no I/N with 1 <= I <= N.
    """
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise RequestError(f"--shard {text!r}: write I/N, from 1/N to N/N")
    return int(number), int(of)
