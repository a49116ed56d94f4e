"""The boundary around other libraries that build networks: their errors become ours, and they log nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from camcli.errors import CamcliError, SetupError


@contextmanager
def saying(name: str) -> Iterator[None]:
    """Run a library's code for the model of that name. Raises: SetupError: whatever it raised, in a line."""
    try:
        with quiet():
            yield
    except CamcliError:
        raise
    except Exception as error:  # code and files that are not ours
        raise SetupError(f"{name}: {reason_of(error)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is logged: not that each weight is random, nor each try to reach a hub."""
    # Without a handler the first line that a library logs would install one for good.
    silent, before = logging.NullHandler(), logging.root.manager.disable
    logging.root.addHandler(silent)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        logging.root.removeHandler(silent)


def reason_of(error: Exception) -> str:
    """The first line of what an error says."""
    if "trust_remote_code" in str(error):
        return "it needs code of its own, which is not run"
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
