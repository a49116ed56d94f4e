"""`camcli inspect`: what a checkpoint is, whether it is safe to load, and which architecture it fits."""

from __future__ import annotations

import json as json_
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from camcli.cli import console, report
from camcli.cli.completion import complete_model
from camcli.cli.flags.model import TrustCheckpoint, WeightsKey
from camcli.cli.flags.panels import MODEL
from camcli.cli.flags.run import Debug, Json
from camcli.errors import ExitCode, RequestError, SetupError
from camcli.models import architecture_of, catalog, check_name, presets, with_a_text
from camcli.specs import ModelSpec

if TYPE_CHECKING:
    from camcli.models.weights.checkpoints import Checkpoint

_NEAREST = 3

File = Annotated[str, typer.Argument(help="Checkpoint, an index of shards, or a folder with weights.")]


Wanted = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Model to hold FILE against, by a name as in `camcli models`, timm:NAME or your code; default: whichever "
        "fits.",
        autocompletion=complete_model,
        show_default=False,
        rich_help_panel=MODEL,
    ),
]


@console.guarded
def inspect(
    file: File,
    model: Wanted = None,
    weights_key: WeightsKey = None,
    trust_checkpoint: TrustCheckpoint = False,
    json: Json = False,
    debug: Debug = False,
) -> ExitCode:
    """Say what is in a checkpoint, whether it is safe to load, and which architecture fits. Exit 3 if it can't be used.

    With --model: every tensor that keeps the two apart.
    """
    if model is not None:
        check_name(model)
    path = Path(file)
    if not path.exists():
        raise RequestError(f"no such file: {file}")
    from camcli.models.weights import checkpoints
    from camcli.models.weights.pickles import UnsafeFileError

    facts: dict[str, Any] = {"file": file}
    try:
        checkpoint = checkpoints.read(path, key=weights_key, trust=trust_checkpoint)
        facts |= _contents(checkpoint)
        facts |= _fit(checkpoint, file, model, weights_key)
    except SetupError as error:
        facts |= {"safe": False} if isinstance(error, UnsafeFileError) else {}
        facts |= {"problem": str(error)}
    if json:
        console.out(json_.dumps(facts))
    else:
        report.table(("", ""), [(name, text) for name, value in facts.items() if (text := _words(value))])
    return ExitCode.SETUP if facts["problem"] else ExitCode.OK


def _contents(checkpoint: Checkpoint) -> dict[str, Any]:
    from camcli.models.weights.checkpoints import Digest

    digest = Digest(checkpoint.files)
    tensors = checkpoint.tensors
    return {
        "format": checkpoint.format,
        "bytes": sum(path.stat().st_size for path in checkpoint.files),
        "sha256": digest.hexdigest(),
        "safe": not checkpoint.trusted,
        "key": checkpoint.key,
        "keys": list(checkpoint.keys),
        "beside": dict(checkpoint.extras or {}),
        "tensors": len(tensors),
        "numbers": sum(value.numel() for value in tensors.values()),
        "dtypes": sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()}),
        "labels": list(checkpoint.labels or presets.labels_beside(checkpoint.path) or ()),
        "preset": _preset(checkpoint),
    }


def _preset(checkpoint: Checkpoint) -> str | None:
    """The file beside the weights that gives preprocessing, or what is wrong with it; None if there is none."""
    try:
        beside = presets.beside(checkpoint.path)
    except RequestError as error:
        return str(error)
    return str(beside[0]) if beside else None


def _fit(checkpoint: Checkpoint, file: str, model: str | None, key: str | None) -> dict[str, Any]:
    """The architecture that it fits, or what keeps it from the one named or the nearest."""
    from camcli.models import guess
    from camcli.models.weights import misfits

    if model is None and checkpoint.network is not None:
        return _itself(checkpoint, file)
    if model is not None:
        named = architecture_of(with_a_text(ModelSpec(model, file)), checkpoint.tensors)
        candidates = [guess.candidate(named, checkpoint.tensors)]
    else:
        candidates = guess.ranked(checkpoint.tensors)
    fits = guess.fitting_ones(candidates)
    if not fits:
        wanted = model or f"any of {len(catalog.classifiers())} architectures"
        nearest = {c.name: misfits.differences(c.fit, None if model else 4) for c in candidates[:_NEAREST]}
        why = candidates[0].hint if model else guess.way_on(candidates)
        why = f". {checkpoint.made_for}" if checkpoint.made_for else why
        problem = f"{file} does not fit {wanted}{why}"
        return {"architecture": None, "nearest": nearest, "problem": problem}
    fit = fits[0].fit
    return {
        "architecture": fits[0].name,
        "use": f"camcli explain PICTURE -m {fits[0].name} -w {shlex.quote(file)}"
        + (f" --weights-key {shlex.quote(key)}" if key else ""),
        "alike": [candidate.name for candidate in fits[1:] if candidate.fit.prefix == fit.prefix],
        "other networks": [
            f"{candidate.name} (--weights-key {candidate.fit.prefix.removesuffix('.')})"
            for candidate in fits[1:]
            if candidate.fit.prefix not in ("", fit.prefix)
        ],
        "classes": fits[0].classes,
        "prefix": fit.prefix,
        "head": [f"{head.weight} {'x'.join(map(str, head.shape))}" for head in fit.heads],
        "left aside": list(fit.aside),
        "remarks": misfits.remarks(fit, file),
        "problem": f"{file}: {fits[0].obstacle}" if fits[0].obstacle else None,
    }


def _itself(checkpoint: Checkpoint, file: str) -> dict[str, Any]:
    """The facts about a trusted file's own network, which needs no other."""
    from camcli.models.sources import user_code

    assert checkpoint.network is not None
    arch = user_code.pickled(checkpoint.network, checkpoint.path)
    key = f" --weights-key {checkpoint.key}" if checkpoint.key and len(checkpoint.keys) > 1 else ""
    return {
        "architecture": arch.name,
        "use": f"camcli explain PICTURE -w {file}{key} --trust-checkpoint",
        "remarks": list(arch.remarks),
        "problem": None,
    }


def _words(value: Any) -> str:
    """A fact as a cell of the table; "" for one that says nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no: it can run code"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {text}" for name, text in value.items())
    if isinstance(value, list):
        return ", ".join(value[:8]) + (f", … ({len(value)})" if len(value) > 8 else "")
    return "" if value is None else str(value)
