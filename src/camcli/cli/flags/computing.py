"""Flags of the computation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args

import typer

from camcli.specs import Precision

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
    Precision,
    typer.Option(
        "--precision",
        metavar="NAME",
        help=f"Precision of all before the layer: {', '.join(get_args(Precision))}. From the layer on it is fp32.",
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
