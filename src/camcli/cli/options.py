"""Each flag once: what it is called, what it takes, what `--help` says and what completion offers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from camcli.errors import RequestError
from camcli.models import catalog, presets
from camcli.records import COLORMAPS, MAX_PIXELS, Fit, Fuse, Norm, Picture, Precision, Sanity

T = TypeVar("T")


def _complete_model(incomplete: str) -> list[str]:
    return [name for name in catalog.names() if name.startswith(incomplete)]


def complete_method(incomplete: str) -> list[str]:
    from camcli import methods

    return [name for name in methods.names() if name.startswith(incomplete)]


def _complete_layer(context: typer.Context, incomplete: str) -> list[str]:
    """The one completion that must build a network, and so import torch."""
    from camcli.errors import CamcliError
    from camcli.models import blueprint
    from camcli.records import ModelSpec

    try:
        net = blueprint(ModelSpec(context.params.get("model"))).net
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
        metavar="INPUTS...",
        help="Pictures, folders, quoted globs, or - for stdin (a picture, or paths by line or NUL).",
        show_default=False,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Name (see `camcli models`), timm:NAME, or your code: module:factory, FILE.py:factory. "
        "Default: what fits --weights FILE, else the bundled model.",
        autocompletion=_complete_model,
        show_default=False,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        "-w",
        help="DEFAULT, a name such as IMAGENET1K_V1, none, or a FILE: .pth, .ckpt, .safetensors, an index of shards; "
        "or https://…#sha256=….",
    ),
]
ModelArgs = Annotated[
    list[str] | None,
    typer.Option("--model-arg", help="KEY=VALUE for the model's constructor, repeatable.", show_default=False),
]
WeightsKey = Annotated[
    str | None,
    typer.Option("--weights-key", help="Which state dict, where FILE holds several (ema).", show_default=False),
]
TrustCheckpoint = Annotated[
    bool, typer.Option("--trust-checkpoint", help="Let a pickled FILE run code. Only for files you made yourself.")
]
Labels = Annotated[
    str | None,
    typer.Option("--labels", help="Class names: text, JSON, or an ImageFolder's root.", show_default=False),
]
PresetFile = Annotated[
    str | None,
    typer.Option(
        "--preset",
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
Mean = Annotated[str | None, typer.Option("--mean", help="One number, or one a channel: 0,0,0.", show_default=False)]
Std = Annotated[str | None, typer.Option("--std", help="One number, or one a channel: 1,1,1.", show_default=False)]
Interpolation = Annotated[
    str | None, typer.Option("--interpolation", help="bilinear, bicubic, nearest, …", show_default=False)
]
MultiLabel = Annotated[
    bool, typer.Option("--multi-label", help="Several classes can be true at once: probabilities are sigmoids.")
]
OutputKey = Annotated[
    str | None,
    typer.Option("--output-key", help="Which output holds the scores, by key or index.", show_default=False),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


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
    typer.Option("--method", "-M", help="Method, repeatable; see `camcli methods`.", autocompletion=complete_method),
]
Classes = Annotated[
    list[str],
    typer.Option(
        "--class",
        "-c",
        help="Class to explain, repeatable: id, name, part of a name, top1, topN; folder: the one it names; "
        "id:2, name:2 where a name is a number.",
    ),
]
Counterfactual = Annotated[
    bool, typer.Option("--counterfactual", help="What speaks against it: negated gradients (sec. 3.3 of the paper).")
]
Contrast = Annotated[
    tuple[str, str] | None,
    typer.Option("--contrast", metavar="A B", help="What speaks for class A rather than B.", show_default=False),
]
TargetOption = Annotated[
    str,
    typer.Option(
        "--target", help="Explain the logit, the softmax (probability), or module:function of the model's output."
    ),
]
OutputIndex = Annotated[
    int | None,
    typer.Option("--output-index", help="Explain this output of a model without classes.", min=0, show_default=False),
]
SimilarTo = Annotated[
    str | None,
    typer.Option("--similar-to", metavar="PICTURE", help="Explain how alike it is to PICTURE.", show_default=False),
]
Neurons = Annotated[
    bool, typer.Option("--neurons", help="Add the channels that weigh most for and against it, with their maps.")
]
SanityOption = Annotated[
    str | None,
    typer.Option(
        "--sanity",
        help="Does the answer change with random weights? Of the head, or from it to the picture: cascade.",
        autocompletion=_offer(get_args(Sanity)),
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of whatever a method draws at random.", min=0)]
AugmentOption = Annotated[
    str | None,
    typer.Option("--augment", help="Average over flip, scale, or both: flip,scale.", show_default=False),
]
EigenSmooth = Annotated[
    bool, typer.Option("--eigen-smooth", help="The weighted channels' first component in place of their sum.")
]
FuseOption = Annotated[
    str | None,
    typer.Option(
        "--fuse",
        help=f"Several layers as one map: {', '.join(get_args(Fuse))}.",
        autocompletion=_offer(get_args(Fuse)),
        show_default=False,
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        "-l",
        help="Target layer, repeatable; default: chosen, see `camcli layers`.",
        autocompletion=_complete_layer,
        show_default=False,
    ),
]
OUTPUT = "camcli_out"
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the files and a journal of them; or one file, or - for stdout, where one is made.",
        show_default=f"{OUTPUT}, no journal",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--overwrite", help="Go on with the run that the folder's journal tells of, or remove it first."
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="When going on, try again what was refused.")]
Save = Annotated[
    str,
    typer.Option(
        "--save",
        help=f"What to write, by comma: {', '.join(SAVED)}; or none.",
        autocompletion=_offer(SAVED),
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
ColormapOption = Annotated[
    str, typer.Option("--colormap", help=f"One of {', '.join(COLORMAPS)}.", autocompletion=_offer(COLORMAPS))
]
Opacity = Annotated[float, typer.Option("--opacity", help="Of the map over the photo.", min=0.0, max=1.0)]
NormOption = Annotated[
    str,
    typer.Option(
        "--norm",
        help="What ends the colour scale: each image's own maximum, the run's, or --norm-max (fixed).",
        autocompletion=_offer(get_args(Norm)),
    ),
]
NormMax = Annotated[
    float | None, typer.Option("--norm-max", help="Raw value at the end of the scale, with --norm fixed.")
]
MaxSide = Annotated[int | None, typer.Option("--max-side", help="Shrink pictures to this longer side.", min=16)]
Format = Annotated[str, typer.Option("--format", help="Overlays and panels as jpg or png.")]
Top = Annotated[int, typer.Option("--top", "-k", help="Classes in the report.", min=1)]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", "-b", help="Pictures per forward; default: 16, on a GPU what fits.", min=1, show_default=False
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        help=f"Of all before the layer: {', '.join(get_args(Precision))}. From the layer on it is fp32.",
        autocompletion=_offer(get_args(Precision)),
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="torch.compile what runs before the layer: seconds once, for long runs.")
]
Exact = Annotated[
    bool, typer.Option("--exact", help="Rearrange nothing to be faster: each bit that of a plain forward.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", help="For computing; default: a core each.", min=1, show_default=False)
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Threads that decode, draw and encode; default: a core each. With --engine ray: engines.",
        min=1,
        show_default=False,
    ),
]
Recursive = Annotated[bool, typer.Option("--recursive/--no-recursive", help="Walk into sub-folders.")]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first picture that is refused.")]
MaxPixels = Annotated[int, typer.Option("--max-pixels", help="Refuse larger pictures before they are decoded.", min=1)]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="The I-th of N parts of the inputs, for job arrays.", show_default=False
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine", help="local, or ray: on a cluster, pip install camcli[ray].", autocompletion=_offer(ENGINES)
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray-address", help="Of the cluster; default: RAY_ADDRESS, else this machine.", show_default=False),
]
Results = Annotated[
    str | None, typer.Option("--results", help="Rows as a Parquet FILE or URI too.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
ModelArgument = Annotated[str, typer.Argument(help="Model name.", autocompletion=_complete_model)]


@dataclass(frozen=True, slots=True)
class PictureFlags:
    """The options that say how a picture becomes the network's view; `spread` gives them to a command."""

    fit: FitOption = "crop"

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


_GROUPS = (ModelFlags, PictureFlags, TargetFlags, ComputeFlags, RunFlags)


def spread(command: Callable[..., T]) -> Callable[..., T]:
    """A command whose parameters of a type with flags become one option a field."""
    taken = list(inspect.signature(command, eval_str=True).parameters.values())
    groups = {p.name: p.annotation for p in taken if p.annotation in _GROUPS}
    parameters: list[inspect.Parameter] = []
    for parameter in taken:
        own = _options_of(parameter.annotation) if parameter.name in groups else [parameter]
        parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]

    @wraps(command)
    def run(**options: Any) -> T:
        made = {name: kind(**{f.name: options.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
        return command(**options, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options_of(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=f.default if f.default_factory is MISSING else f.default_factory(),
            annotation=hints[f.name],
        )
        for f in fields(kind)
    ]


def output_path(text: str | None) -> tuple[str | None, str | None]:
    """`--output` as (folder or its URI, None) or (None, the one file)."""
    if text is None:
        return OUTPUT, None
    if text == "-":
        return None, text
    path = Path(text)
    if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".npz") and not path.is_dir():
        return None, text
    return text, None


def shard_numbers(text: str) -> tuple[int, int]:
    """`--shard` as (which from 1, of how many).

    Raises: RequestError: it is no I/N with 1 <= I <= N.
    """
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise RequestError(f"--shard {text!r}: write I/N, from 1/N to N/N")
    return int(number), int(of)
