"""A result's, or a row's, photo and maps, as small as a page shows them."""

from __future__ import annotations

import base64
import stat
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camcli.drawing import overlays
from camcli.drawing.colours import Pixels
from camcli.drawing.styles import Style
from camcli.errors import InputError, SetupError
from camcli.inputs import clips, decoding
from camcli.inputs.reading import refused
from camcli.inputs.refs import ref_named
from camcli.maps import fingerprints, scaling
from camcli.records import MAX_PIXELS, Attribution, Decoding, Explained, Frame, Kind, Question, Ref, Row
from camcli.sinks.encoding import encoded

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The photo's longer side; of a clip's frames, which lie beside each other in one picture; of a drawn saliency.
SIDE, FRAME_SIDE, SALIENCY_SIDE = 320, 144, 256
# Finer maps are told by the means of so many cells a side.
CELLS = 56
JPEG_QUALITY = 78
_NEWER = "the photo's file is newer than the run: it may be another one now"
# Larger files of raw values are left alone: rows may name any.
_MAX_RAW_BYTES = 200_000_000

# How one answer is shown: `grid`, a map's values as bytes ("7x7:base64", 255 the largest), or `picture`, a drawn
# saliency over all of the photo (JPEG, base64). `coarse`: the grid holds means of the map. `replaced`: the values that
# were saved are not those of the row any more.
Shown = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """The `photo` (JPEG) of one input, b"" and why it is `missing` if there is none, and its answers as `shown`;
    `doubt`: why the photo may be another one than was explained."""

    photo: bytes
    shown: Sequence[Shown]
    missing: str | None = None
    doubt: str | None = None


def of_result(result: Explained) -> Seen:
    """All of a result that a page shows and its row does not tell."""
    return Seen(_photo(result.frame), [_shown(result.frame, result.box, one) for one in result.attributions])


def of_row(row: Row, ref: Ref, max_pixels: int = MAX_PIXELS, written: int | None = None) -> Seen:
    """The same of a row of an earlier run: the photo is read again, and answers come from raw values if those were
    saved, else a saliency from its overlay and a map from the row's own grid.

    A photo that can't be read, or has another size now, is missing. `written`: when the rows were, in nanoseconds; a
    file that is newer may be another one. An overlay is used only if it is known to be older: nothing else tells whose
    it is.
    """
    if "error" in row:
        return Seen(b"", ())
    frame, missing = _read_again(row, ref, max_pixels)
    shown = [_recorded(answer, row, frame, written) for answer in row["explanations"]]
    if frame is None:
        return Seen(b"", shown, missing)
    is_newer = written is not None and ref.path is not None and _changed(ref.path) > written
    return Seen(_photo(frame), shown, doubt=_NEWER if is_newer else None)


def _changed(path: str | Path) -> int:
    """When the file was changed last, in nanoseconds; never of one that is not there or is no regular one."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return 0
    return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else 0


def _read_again(row: Row, ref: Ref, max_pixels: int) -> tuple[Frame | None, str | None]:
    if ref.name == "-" or (ref.held is None and ref.path is None and ref.uri is None):
        return None, "it came through a pipe, which keeps nothing"
    if "\ufffd" in ref.name and ref.held is None:
        return None, "its name is no text, so the row does not tell which file it is"
    try:
        if "clip" in row:
            frame = _clip(ref, [moment["frame"] for moment in row["clip"]], max_pixels)
        else:
            white = row["provenance"]["spec"].get("white")
            frame, _ = decoding.read(ref, Decoding(2 * SIDE, white), max_pixels)
    except SetupError as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001  the boundary of one input: it stops no other
        return None, refused(ref, error, "read").message
    if list(frame.size) != list(row["size"]):
        width, height = frame.size
        return None, f"it is another picture now, of {width}x{height} pixels"
    return frame, None


def _clip(ref: Ref, numbers: Sequence[int], max_pixels: int) -> Frame:
    """The clip of those frames. Raises: InputError: they are not there any more."""
    wanted, found = set(numbers), {}
    with clips.opened(ref, max_pixels) as film:
        for still in film.stills(None, None, 1):
            if still.moment.number in wanted:
                found[still.moment.number] = still.rgb()
            if len(found) == len(wanted):
                return Frame(ref, np.stack([found[number] for number in numbers]))
    raise InputError("open", "missing", "the film has no such frames any more")


def _recorded(answer: Row, row: Row, frame: Frame | None, written: int | None) -> Shown:
    """An answer of a row as it is shown."""
    # A row does not say which kind an answer is: only maps have a box around what is strong.
    kind: Kind = "saliency" if answer["bbox"] is None and answer["peak"] is not None else "map"
    values = _raw(answer["files"].get("raw"))
    is_other = values is not None and fingerprints.sha256(values) != answer["fingerprint"]["sha256"]
    if values is not None and not is_other:
        question = Question(answer["target"]["label"], answer["target"]["value"])
        attribution = Attribution(answer["method"], kind, answer["layer"], question, values)
        if answer.get("box"):
            attribution = replace(attribution, box=tuple(answer["box"]))
        if kind == "map":
            return _map(attribution)
        if frame is not None:
            return _shown(frame, tuple(row["box"]), attribution)
    if kind == "saliency" and (drawn := _drawn(answer["files"].get("overlay"), written)) is not None:
        return drawn
    grid = answer["fingerprint"]["grid"]
    sides = grid.partition(":")[0].split("x")
    coarse = kind == "saliency" or any(int(side) >= fingerprints.CELLS for side in sides)
    return {"grid": grid, **({"coarse": True} if coarse else {}), **({"replaced": True} if is_other else {})}


def _raw(path: str | None) -> NDArray[np.float32] | None:
    """The values of a file that `--save raw` wrote, None if there is no such file."""
    if path is None or not _changed(path):
        return None
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:  # noqa: PTH123  a row may name anything
            if archive.getinfo("values.npy").file_size > _MAX_RAW_BYTES:
                return None
            with archive.open("values.npy") as held:
                values = np.lib.format.read_array(held, allow_pickle=False)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    usable = values.dtype == np.float32 and 2 <= values.ndim <= 4 and values.size and np.isfinite(values).all()
    return values if usable else None


def _drawn(path: str | None, written: int | None) -> Shown | None:
    """A saliency as its overlay shows it, None if that can't be read, or is not known to be of the run."""
    if path is None or written is None or not 0 < _changed(path) <= written:
        return None
    try:
        frame, _ = decoding.read(ref_named(0, path), Decoding(2 * SALIENCY_SIDE))
    except (InputError, SetupError):
        return None
    return _picture(_small(frame.rgb, SALIENCY_SIDE))


def _shown(frame: Frame, box: tuple[float, float, float, float], attribution: Attribution) -> Shown:
    if attribution.kind == "map":
        return _map(attribution)
    return _picture(overlays.heatmap(frame, box, attribution, Style(max_side=SALIENCY_SIDE))[..., :3])


def _picture(drawn: Pixels) -> Shown:
    return {"picture": base64.b64encode(encoded(drawn, ".jpg", JPEG_QUALITY, whole_colour=False)).decode()}


def _map(attribution: Attribution) -> Shown:
    strength = scaling.strength(attribution.values, attribution.kind)
    grid = fingerprints.grid(strength.clip(min=0), CELLS)
    return {"grid": grid, **({"coarse": True} if max(strength.shape) > CELLS else {})}


def _photo(frame: Frame) -> bytes:
    """The photo as JPEG; a clip's frames beside each other."""
    if frame.frames is None:
        picture = _small(frame.rgb, SIDE)
    else:
        picture = np.concatenate([_small(still, FRAME_SIDE) for still in frame.rgb], axis=1)
    return encoded(picture, ".jpg", JPEG_QUALITY, whole_colour=False)


def _small(rgb: Pixels, side: int) -> Pixels:
    """The picture (H, W, 3), its longer side no longer than `side`."""
    import cv2

    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale == 1.0:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
