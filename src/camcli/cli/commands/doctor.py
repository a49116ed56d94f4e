"""`camcli doctor`: what this machine has, and whether the bundled model really runs on it."""

from __future__ import annotations

import json as json_
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from camcli._version import __version__
from camcli.cli import console, report
from camcli.cli.flags.run import Debug, Json
from camcli.errors import ExitCode, SetupError, of_import

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "opencv-python",
    "opencv-python-headless",  # serves as well
    "typer",
    "rich",
    "safetensors",
    "timm",
)


@console.guarded
def doctor(json: Json = False, debug: Debug = False) -> ExitCode:
    """Check the installation: versions, devices, the weights cache, and one real explanation. Exit 3 if it fails."""
    facts: dict[str, Any] = {
        "camcli": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _version(name) for name in _PACKAGES},
    }
    try:
        facts |= _machine()
        facts["explains"] = _explains()
        problem = None
    except SetupError as error:
        problem = str(error)
    except ImportError as error:
        problem = str(of_import(error))
    facts["problem"] = problem
    if json:
        console.out(json_.dumps(facts))
    else:
        report.table(("", ""), [(name, "-" if value is None else value) for name, value in facts.items()])
    return ExitCode.SETUP if problem else ExitCode.OK


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    import cv2
    import torch

    cache = Path(torch.hub.get_dir()) / "checkpoints"
    return {
        "opencv": cv2.__version__,
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "weights cache": os.fspath(cache),
        "weights cached": len(list(cache.glob("*"))) if cache.is_dir() else 0,
    }


def _explains() -> bool:
    """True if one grey picture goes through the bundled model and back: weights, operators and gradients all work.

    Raises: SetupError: it doesn't.
    """
    import io

    from PIL import Image

    from camcli.records import Explained, Ref
    from camcli.running.engine import Engine
    from camcli.specs import Spec

    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "grey").save(picture, "PNG")
    (result,) = Engine(Spec()).explain([Ref(0, "grey.png", data=picture.getvalue())])
    if not isinstance(result, Explained):
        raise SetupError(f"the bundled model can't explain a picture: {result.message}")
    return True
