"""The class that a picture's folder names, as in an ImageFolder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock

from camcli.errors import InputError, RequestError
from camcli.models import Model, labels
from camcli.questions import classes
from camcli.records import Ref


class FolderClasses:
    """The class that each folder stands for; `on_remark` is told which order was taken if no class has a name."""

    def __init__(self, model: Model, on_remark: Callable[[str], None]) -> None:
        self._model = model
        self._on_remark = on_remark
        self._orders: dict[Path, dict[str, int]] = {}
        self._ordering = Lock()

    def __call__(self, ref: Ref) -> int:
        """The class of a picture. Raises: InputError: its folder names none."""
        if ref.path is None:
            raise InputError("target", "no-folder", "it came through a pipe, so no folder names its class")
        folder = ref.path.absolute().parent
        found = self._in_order(folder) if labels.are_stand_ins(self._model.labels) else None
        if found is None:
            found = classes.of_folder(folder.name, self._model.labels, self._model.wordnet_ids)
        if found is None:
            said = f"its folder {folder.name!r} names no class of {self._model.name}"
            raise InputError("target", "unknown-class", said)
        return found

    def _in_order(self, folder: Path) -> int | None:
        """The class that a folder stands for by its place in ImageFolder's order, if no class has a name.

        Raises: RequestError: there are not as many folders as classes, and none of them is called by an id.
        """
        with self._ordering:
            order = self._orders.get(folder.parent)
            if order is None:
                order = self._orders[folder.parent] = self._order_in(folder.parent)
        return order.get(folder.name)

    def _order_in(self, parent: Path) -> dict[str, int]:
        names, unnamed = labels.folders(parent), self._model.labels
        if len(names) == len(unnamed):
            some = ", ".join(f"{i} {name}" for i, name in enumerate(names[:3]))
            more = ", …" if len(names) > 3 else ""
            self._on_remark(f"classes without names: taken in ImageFolder's order of {parent.name}/ ({some}{more})")
            return {name: i for i, name in enumerate(names)}
        if not self._orders and all(classes.of_folder(name, unnamed, None) is None for name in names):
            raise RequestError(
                f"--class folder: {self._model.name} has {len(unnamed)} classes without names, and {parent} has "
                f"{len(names)} folders: name the classes with --labels FILE, or FOLDER of the training set"
            )
        return {}
