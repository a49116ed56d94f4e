"""PyAV, which brings FFmpeg: an extra, looked for when a film is met."""

from __future__ import annotations

import re

from camcli.errors import SetupError

INSTALL = "pip install camcli[video]"
# Older ones crash on MPEG streams that are opened with a limit on pixels.
_OLDEST = (17, 1)


def check(done: str) -> None:
    """Refuses to go on without a PyAV that can be used; `done`: "read" or "written". Raises: SetupError: for that."""
    try:
        import av
    except ImportError as error:
        said = "" if isinstance(error, ModuleNotFoundError) and error.name == "av" else f" ({error})"
        raise SetupError(f"films are {done} with PyAV{said}: `{INSTALL}`") from None
    if tuple(map(int, re.findall(r"\d+", av.__version__)[:2])) < _OLDEST:
        needed = ".".join(map(str, _OLDEST))
        raise SetupError(f"films are {done} with PyAV {needed} or later, and {av.__version__} is here: `{INSTALL}`")
