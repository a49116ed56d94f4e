"""Flags of the way from a picture to the network's view."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, get_args

import typer

from camcli.cli.flags.model import pairs
from camcli.records import Fit

FitOption = Annotated[
    Fit | None,
    typer.Option(
        "--fit",
        metavar="HOW",
        help=f"Way from the picture to the view: {', '.join(get_args(Fit))}. Default: crop; full for segmentation, "
        "whole for detection.",
        show_default=False,
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


Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="TIME",
        help="Beginning in a video: seconds (2.5, 1:30), or a frame (40f).",
        show_default=False,
    ),
]

End = Annotated[
    str | None,
    typer.Option("--end", metavar="TIME", help="End in a video, itself left out.", show_default=False),
]

Every = Annotated[
    int | None,
    typer.Option(
        "--every",
        metavar="N",
        help="Take each N-th frame of a video as a picture of its own; animated pictures are videos then. Default: "
        "all.",
        min=1,
        show_default=False,
    ),
]

Stride = Annotated[
    int | None,
    typer.Option(
        "--stride",
        metavar="N",
        help="Take each N-th frame of a video into the clip, for models that take clips. Default: as many a second as "
        "the model was trained on.",
        min=1,
        show_default=False,
    ),
]


Question = Annotated[
    str | None,
    typer.Option(
        "--question",
        metavar="TEXT",
        help="Question that goes in with each picture, of a model that answers questions (VQA).",
        show_default=False,
    ),
]

Caption = Annotated[
    str | None,
    typer.Option(
        "--caption",
        metavar="TEXT",
        help="Caption to explain in place of the model's own, of a model that writes captions.",
        show_default=False,
    ),
]

State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="State that goes in with each picture, of a policy: an .npz or .npy FILE.",
        show_default=False,
    ),
]

Partner = Annotated[
    str | None,
    typer.Option(
        "--partner",
        metavar="PICTURE",
        help="Picture that each picture is compared with: a map on each of the two shows what makes them alike.",
        show_default=False,
    ),
]

Bind = Annotated[
    list[str] | None,
    typer.Option(
        "--bind",
        metavar="NAME=VALUE",
        help="Value of anything else that your model takes with each picture, repeatable.",
        show_default=False,
    ),
]

# The options of what goes in with a picture that have names of their own.
_BOUND = ("question", "caption", "state", "partner")


@dataclass(frozen=True, slots=True)
class PictureFlags:
    """The options that say how a picture becomes the network's view, and what goes in with it; `spread` gives them to a
    command."""

    fit: FitOption = None
    draft: Draft = None
    white: White = None
    start: Start = None
    end: End = None
    every: Every = None
    stride: Stride = None
    question: Question = None
    caption: Caption = None
    state: State = None
    partner: Partner = None
    bind: Bind = None

    def for_spec(self) -> dict[str, Any]:
        """The fields of a Spec. Raises: RequestError: a value without its name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        named = [(name, given.pop(name)) for name in _BOUND]
        given["bound"] = (*(own for own in named if own[1] is not None), *pairs("--bind", given.pop("bind")))
        return given
