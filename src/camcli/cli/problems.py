"""All that is wrong with a command's flags, refused at once and before anything heavy is imported."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from camcli import methods, models
from camcli.cli import destinations
from camcli.cli.flags.model import ModelFlags
from camcli.cli.flags.pictures import PictureFlags
from camcli.cli.flags.question import TargetFlags
from camcli.cli.flags.run import RunFlags, shard_numbers
from camcli.drawing import lettering
from camcli.errors import RequestError
from camcli.inputs.stills import at
from camcli.models import presets
from camcli.questions import conflicts
from camcli.specs import Norm, Spec
from camcli.storage import uris


class Problems:
    """Collects problems; `raise_any` refuses them."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, problem: str) -> None:
        self._found.append(problem)

    def listed(self, flag: str, given: str | None, choices: Sequence[str]) -> tuple[str, ...]:
        """The parts of `given` between commas, each checked."""
        parts = tuple(part.strip() for part in given.split(",")) if given else ()
        for part in parts:
            if part not in choices:
                self.add(f"{flag} {part!r} is none of {', '.join(choices)}")
        return parts

    def catch(self, check: Callable[[], object]) -> None:
        try:
            check()
        except RequestError as error:
            self.add(str(error))

    def of_model(self, flags: ModelFlags) -> dict[str, Any]:
        """The model's part of a Spec."""
        if flags.model is not None:
            self.catch(partial(models.check_name, flags.model))
        for name in ("labels", "preset"):
            path = getattr(flags, name)
            if path is not None and (name, path) != ("preset", presets.NONE) and not os.path.exists(path):
                self.add(f"--{name} {path}: no such file")
        given: dict[str, Any] = {}
        self.catch(lambda: given.update(flags.for_spec()))
        return given

    def of_pictures(self, pictured: PictureFlags) -> None:
        """Check how a picture becomes the view."""
        if pictured.white is not None and not 0 < pictured.white < math.inf:
            self.add(f"--white {pictured.white:g}: a number above 0")
        self.catch(pictured.for_spec)
        for name in ("start", "end"):
            if (text := getattr(pictured, name)) is not None:
                self.catch(partial(at, text))

    def of_asked(self, asked: TargetFlags, names: Iterable[str]) -> None:
        """Check the methods, and what they explain."""
        for name in names:
            if methods.canonical(name) != methods.ALL:
                self.catch(partial(methods.get, name))
        self.catch(lambda: conflicts.check_targets(Spec(**asked.for_spec())))

    def of_font(self, font: str | None) -> None:
        """Check `--font`."""
        if font is not None:
            self.catch(partial(lettering.check, font))

    def of_true_class(self, classes: Sequence[str] | None) -> None:
        """Check `--class` of `classify`."""
        for text in classes or ():
            if text.strip().lower() != "folder":
                self.add(
                    f"--class {text!r}: classify explains no class, it tells the best ones; only `--class folder`, the "
                    "class that a picture's folder names, is compared with them. `camcli explain` takes any class"
                )

    def of_flow(self, flow: RunFlags) -> None:
        """Check where it is computed, and where rows go."""
        if flow.shard is not None:
            self.catch(partial(shard_numbers, flow.shard))
        if flow.results is not None:
            self.catch(partial(destinations.check_table, flow.results))
        if flow.ray_address is not None and flow.engine != "ray":
            self.add("--ray-address goes with --engine ray")

    def of_output(self, given: str | None) -> tuple[str | None, str | None]:
        """`--output` as (folder, None) or (None, file)."""
        found: list[tuple[str | None, str | None]] = []
        self.catch(lambda: found.append(destinations.of_output(given)))
        return found[0] if found else (None, None)

    def of_norm(self, norm: Norm, largest: float | None) -> None:
        """Check the end of the colour scale."""
        if (norm == "fixed") != (largest is not None):
            self.add('--norm fixed and --norm-max VALUE go together (rows give each answer\'s own "max")')
        elif largest is not None and largest <= 0:
            self.add("--norm-max must be above 0")

    def of_one_file(self, file: str, pictures: Sequence[str], classes: Sequence[str], answers: int, json: bool) -> None:
        """Check that `-o FILE` or `-o -` gets one picture: of one answer, in one form, where it can be seen."""
        if not pictures:
            self.add(f"-o {file} takes one picture, and --save none makes none")
        several_classes = any(re.fullmatch(r"top(?!1$)\d+", text.strip(), re.IGNORECASE) for text in classes)
        if answers * len(pictures) > 1 or several_classes:
            self.add(f"-o {file} takes one picture: one method, one class, one layer and one --save kind")
        if file == destinations.STDOUT:
            if json:
                self.add("-o - and --json both want stdout")
            if sys.stdout.isatty():
                self.add("-o - would write a picture to the terminal: pipe it or redirect it to a file")
        elif pictures and (Path(file).suffix.lower() == ".npz") != (tuple(pictures) == ("raw",)):
            self.add(f"-o {file}: a .npz file holds --save raw, and nothing else does")

    def of_show(self, norm: str, flow: RunFlags, file: str | None) -> None:
        """Check that pictures can be shown on the terminal."""
        if flow.json or file == destinations.STDOUT:
            self.add(f"--show and {'--json' if flow.json else '-o -'} both want stdout")
        if norm == "run":
            self.add("--show draws each picture when it is done, and --norm run when all of them are: leave one out")
        if flow.engine != "local":
            self.add("--show needs the pictures in this process, and --engine ray has them elsewhere: leave one out")

    def of_journal(self, folder: str | None, norm: str, *, resume: bool, retry_failed: bool) -> bool:
        """True if the run keeps a journal: in a folder of this machine, of pictures that are there with their rows."""
        if retry_failed and not resume:
            self.add("--retry-failed goes on with a run, and --overwrite starts anew: leave one out")
        if folder is None or norm == "run" or not uris.is_local(folder):
            if not resume or retry_failed:
                self.add("--overwrite and --retry-failed go with -o FOLDER of this machine, and not with --norm run")
            return False
        return True

    def raise_any(self) -> None:
        if self._found:
            raise RequestError("; ".join(dict.fromkeys(self._found)))
