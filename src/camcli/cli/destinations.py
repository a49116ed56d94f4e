"""The places of a run's files: what `--output` and `--results` name, and a check that it can be written there."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from camcli.errors import RequestError

# Where pictures go if nobody says.
FOLDER = "camcli_out"
STDOUT = "-"
# Endings of the files that are written; and of other files, which no folder has.
WRITTEN = (".jpg", ".jpeg", ".png", ".webp", ".npz")
_OTHERS = frozenset(
    ".pdf .svg .svgz .eps .ps .gif .apng .tif .tiff .bmp .dib .ico .jpe .jfif .jp2 .j2k .jxl .avif .heic .heif .ppm "
    ".pgm .pbm .pnm .tga .psd .exr .hdr .npy .mat .h5 .hdf5 .pt .pth .pkl .txt .md .html .htm .xml .yaml .yml .docx "
    ".pptx .xlsx .zip .tar .gz .mp4 .mov .avi .mkv .webm".split()
)
_MOVING = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif", ".apng"})
_ROWS = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"})


def of_output(text: str | None) -> tuple[str | None, str | None]:
    """`--output` as (folder or its URI, None) or (None, the one file).

    Raises: RequestError: it looks like a file of a kind that is not written, and no such folder is there.
    """
    if text is None:
        return FOLDER, None
    if text == STDOUT:
        return None, text
    suffix = Path(text).suffix.lower()
    if text.endswith(("/", os.sep)) or os.path.isdir(text) or not _looks_like_a_file(suffix):
        return text, None
    if suffix in WRITTEN:
        return None, text
    rows = "rows come on stdout with --json or as Parquet with --results FILE; " if suffix in _ROWS else ""
    if suffix in _MOVING:
        rows = "films and animations go to a folder, where they have names of their own; "
    raise RequestError(
        f"-o {text}: no {suffix} is written here: {rows}one picture is {', '.join(WRITTEN[:-1])}, --save raw is "
        f"{WRITTEN[-1]}; if it is to be a folder, write {text}/"
    )


def _looks_like_a_file(suffix: str) -> bool:
    """True if a path with this ending is more likely a file than a folder; `v1.2` and `out.d` are folders."""
    return suffix in (*WRITTEN, *_OTHERS, *_ROWS) or bool(get_close_matches(suffix, WRITTEN, n=1, cutoff=0.75))


def check_table(text: str) -> None:
    """Check that `--results` names a Parquet table. Raises: RequestError: its name says that it is something else."""
    if (suffix := Path(text).suffix.lower()) in _ROWS - {".parquet"}:
        raise RequestError(
            f"--results {text}: the table is Parquet and no {suffix}; JSON lines come on stdout, --json > rows.jsonl"
        )


def check_place(file: str) -> None:
    """Check that a file can be made there, before anything is computed. Raises: RequestError: it can't."""
    from camcli.sinks import open_sinks
    from camcli.specs import OutputSpec

    if file != STDOUT:
        with open_sinks(OutputSpec(folder=os.path.dirname(file) or ".")):  # noqa: PTH120  a path or a URI
            pass
