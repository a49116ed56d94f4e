"""Flags of the model: which network, its weights, and how pictures are preprocessed for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from camcli.cli.completion import (
    complete_device,
    complete_model,
    complete_preset,
    complete_weights,
    complete_weights_key,
)
from camcli.errors import RequestError
from camcli.models import labels, presets
from camcli.specs import TASKS, Interpolation, Task

ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Model: a name (see `camcli models`), timm:NAME, open_clip:NAME, hf:FOLDER or hf:ORG/NAME, "
        "ultralytics:FILE.pt, FILE.onnx, or your code: module:factory, FILE.py:factory. "
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
        help="Weights: a FILE (.pth, .ckpt, .safetensors, an index of shards), https://URL (#sha256=HEX checks it), "
        "DEFAULT, a name such as IMAGENET1K_V1, or none: random.",
        autocompletion=complete_weights,
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
        autocompletion=complete_weights_key,
        show_default=False,
    ),
]

TrustCheckpoint = Annotated[
    bool, typer.Option("--trust-checkpoint", help="Let a pickled FILE run code: only for files you made yourself.")
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
        autocompletion=complete_preset,
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
        help="Standard deviation to divide by: one number, or one a channel: 1,1,1.",
        show_default=False,
    ),
]

InterpolationOption = Annotated[
    Interpolation | None,
    typer.Option(
        "--interpolation",
        metavar="NAME",
        case_sensitive=False,
        help=f"Resampling filter: {', '.join(get_args(Interpolation))}.",
        show_default=False,
    ),
]

MultiLabel = Annotated[
    bool, typer.Option("--multi-label", help="Allow several true classes at once: probabilities are sigmoids.")
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

Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Device: auto, cpu, cuda, cuda:1 or mps.",
        autocompletion=complete_device,
    ),
]


_GIVES: dict[Task, str] = {
    "classify": "classes",
    "segment": "a class at each pixel",
    "detect": "boxes",
    "watch": "classes of a video clip",
    "match": "how well texts fit",
    "answer": "answers to a question (VQA)",
    "caption": "words",
    "act": "actions of a policy",
    "liken": "the similarity of two pictures",
    "regress": "numbers",
    "embed": "an embedding",
}
_TASKS = ", ".join(f"{task} ({_GIVES[task]})" for task in TASKS)
TaskOption = Annotated[
    Task | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help=f"Kind of answer that the model gives, if its output does not tell: {_TASKS}.",
        show_default=False,
    ),
]


Frames = Annotated[
    int | None,
    typer.Option(
        "--frames",
        metavar="N",
        help="Frames in a clip, for models that take clips (video). Default: as many as the model was trained on.",
        min=1,
        show_default=False,
    ),
]


Text = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        "-t",
        metavar="TEXT",
        help="Text that an image-text model (CLIP, SigLIP) is asked about, repeatable: its classes.",
        show_default=False,
    ),
]

TextFile = Annotated[
    str | None,
    typer.Option("--texts", metavar="FILE", help="File of texts as --text takes them, one a line.", show_default=False),
]

Template = Annotated[
    str | None,
    typer.Option(
        "--template", metavar="TEXT", help='Sentence for each text, such as "a photo of {}".', show_default=False
    ),
]


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
    interpolation: InterpolationOption = None
    multi_label: MultiLabel = False
    output_key: OutputKey = None
    task: TaskOption = None
    frames: Frames = None
    text: Text = None
    texts: TextFile = None
    template: Template = None
    device: Device = "auto"

    def for_spec(self) -> dict[str, Any]:
        """The fields of a ModelSpec.

        Raises: RequestError: an argument without "=", numbers that are none, a file without texts.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["texts"] = (*(given.pop("text") or ()), *lines_of(self.texts))
        given["model_args"] = pairs("--model-arg", given.pop("model_arg"))
        for name in ("resize", "crop"):
            given[name] = presets.sides(f"--{name}", given[name]) if given[name] is not None else None
        for name in ("mean", "std"):
            given[name] = presets.numbers(given[name]) if given[name] is not None else None
        return given


def lines_of(path: str | None) -> tuple[str, ...]:
    """The lines of a file that hold something. Raises: RequestError: it can't be read, or holds nothing."""
    if path is None:
        return ()
    return tuple(line.strip() for line in labels.text_of(Path(path)).splitlines() if line.strip())


def pairs(flag: str, arguments: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """The flag's texts as (key, value).

    Raises: RequestError: no "=" in one.
    """
    split = [argument.partition("=") for argument in arguments or ()]
    for key, sign, _ in split:
        if not sign or not key.isidentifier():
            raise RequestError(f"{flag} {key!r}: write KEY=VALUE")
    return tuple((key, value) for key, _, value in split)


ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="Name, as with --model; default: the bundled model, or what fits --weights FILE.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
