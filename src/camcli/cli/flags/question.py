"""Flags of the question: by which methods, about which class, at which layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, get_args

import typer

from camcli.cli.completion import (
    complete_class,
    complete_class_name,
    complete_layer,
    complete_list,
    complete_method,
    complete_quantity,
    complete_target,
)
from camcli.cli.flags.panels import WHAT
from camcli.errors import RequestError
from camcli.specs import Augment, Fuse, Sanity

Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "-M",
        metavar="NAME",
        help="Method, repeatable; see `camcli methods`. all: every one that applies to the model. Default: grad-cam; "
        "hires-cam for detections, a pixel, region or mask, captions and policies.",
        autocompletion=complete_method,
        rich_help_panel=WHAT,
        show_default=False,
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
        autocompletion=complete_class,
    ),
]

TrueClass = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        "-c",
        metavar="folder",
        help="Take the class that each picture's folder names for its true one: rows say truth and correct.",
        autocompletion=complete_list(("folder",)),
        show_default=False,
    ),
]

Counterfactual = Annotated[
    bool,
    typer.Option("--counterfactual", help="Show what speaks against the class: negated gradients (paper, sec. 3.3)."),
]

Contrast = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--contrast",
        metavar="A B",
        help="Show what speaks for class A rather than B.",
        autocompletion=complete_class_name,
        show_default=False,
    ),
]

TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="WHAT",
        help="Number that is explained: the logit, the softmax (probability), or what your module:function makes of "
        "the output. Other numbers of detections, policies, …: --quantity.",
        autocompletion=complete_target,
    ),
]

Quantity = Annotated[
    str | None,
    typer.Option(
        "--quantity",
        metavar="NAME",
        help="Number that is explained, of those that the kind of answer (--task) has: x0 or mask of a detection, "
        "value of a policy, …; softmax of a class, as with --target.",
        autocompletion=complete_quantity,
        show_default=False,
    ),
]

At = Annotated[
    str | None,
    typer.Option("--at", metavar="X,Y", help="Pixel to explain, of a segmentation.", show_default=False),
]

RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region", metavar="X0,Y0,X1,Y1", help="Box to explain, in pixels, of a segmentation.", show_default=False
    ),
]

MaskFile = Annotated[
    str | None,
    typer.Option(
        "--mask",
        metavar="PICTURE",
        help="Region to explain, white in a picture of the same size, of a segmentation.",
        show_default=False,
    ),
]

Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="SCORE",
        help="Least score of a detection; default: 0.5.",
        min=0.0,
        max=1.0,
        show_default=False,
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
    Sanity | None,
    typer.Option(
        "--sanity",
        metavar="head|cascade",
        help="Check that the answer changes with random weights: in the head, or part by part from it to the picture.",
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
        autocompletion=complete_list(get_args(Augment)),
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
    Fuse | None,
    typer.Option(
        "--fuse",
        metavar="HOW",
        help=f"Join the maps of several layers: {', '.join(get_args(Fuse))}.",
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
        autocompletion=complete_layer,
        rich_help_panel=WHAT,
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class TargetFlags:
    """The options that say what is explained; `spread` gives them to a command."""

    class_: Classes = field(default_factory=lambda: ["top1"])
    counterfactual: Counterfactual = False
    contrast: Contrast = None
    target: TargetOption = "logit"
    quantity: Quantity = None
    at: At = None
    region: RegionOption = None
    mask: MaskFile = None
    threshold: Threshold = None
    output_index: OutputIndex = None
    similar_to: SimilarTo = None
    seed: Seed = 0

    def for_spec(self) -> dict[str, Any]:
        """The fields of a Spec. Raises: RequestError: places that are none."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["classes"] = tuple(given.pop("class_"))
        given["at"] = _numbers("--at", self.at, 2)
        given["region"] = _numbers("--region", self.region, 4)
        return given


def _numbers(flag: str, given: str | None, count: int) -> tuple[float, ...] | None:
    """So many numbers between commas. Raises: RequestError: it is something else."""
    if given is None:
        return None
    try:
        found = tuple(float(part) for part in given.split(","))
    except ValueError:
        found = ()
    if len(found) != count or not all(map(math.isfinite, found)):
        raise RequestError(f"{flag} {given!r}: {count} numbers between commas, in pixels of the picture")
    return found
