"""Results as an engine gives them, made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from camcli.entries import Entry
from camcli.records import Attribution, Explained, Frame, Preset, Provenance, Question, Ref

BOXER = Entry(242, "boxer", 0.75, 9.5)
MASTIFF = Entry(243, "bull mastiff", 0.25, 8.25)


def attributed(
    values: ArrayLike = ((0, 1, 2), (3, 4, 2)),
    *,
    layer: str | None = "layer4",
    target: Entry = BOXER,
    note: str | None = None,
) -> Attribution:
    return Attribution(
        "grad-cam",
        "map",
        layer,
        Question(target.label, target.score or 0.0, entry=target),
        np.asarray(values, dtype=np.float32),
        note,
    )


PROVENANCE = Provenance(
    weights_sha256="0" * 64,
    preset=Preset(256, 224, (0.5,) * 3, (0.25,) * 3, "bilinear"),
    device="cpu",
    dtype="float32",
    versions={"camcli": "0", "torch": "2"},
    spec={"model": "net", "classes": ("top1",)},
)


def explained(ref: Ref | str, *attributions: Attribution, frame: Frame | None = None) -> Explained:
    if isinstance(ref, str):
        ref = Ref(0, ref, path=Path(ref), root=Path())
    if frame is None:
        frame = Frame(ref, np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    ms = {"decode": 1.23456}
    return Explained(
        frame, (8, 0, 32, 24), "net", "V1", "layer4", (BOXER, MASTIFF), attributions or (attributed(),), ms, PROVENANCE
    )
