"""The origin of a row's answers, in words."""

from __future__ import annotations

from camcli.records import Row, shortly


def made_with(row: Row) -> str:
    """The origin of an answer in one line: weights, preprocessing, machine, versions."""
    made = row["provenance"]
    preset = made["preset"]
    sha256 = f"sha256 {made['weights_sha256'][:16]}" if made["weights_sha256"] else "no file"
    fit = made["spec"].get("fit")
    size = (
        "the whole picture"
        if fit == "whole"
        else f"{fit} to {shortly(preset['crop'])}"
        if fit in ("squash", "pad")
        else f"{'squash' if preset['squash'] else 'resize'} {shortly(preset['resize'])} crop {shortly(preset['crop'])}"
    )
    if preset.get("frames"):
        size = f"{preset['frames']} frames, {size}"
    numbers = " ".join(f"{name} {','.join(map(str, preset[name]))}" for name in ("mean", "std"))
    versions = " ".join(f"{package} {version}" for package, version in made["versions"].items())
    return (
        f"made with {row['model']} ({row['weights']}, {sha256}), {size} {preset['interpolation']} {numbers}, "
        f"{made['device']} {made['dtype']}, {versions}"
    )
