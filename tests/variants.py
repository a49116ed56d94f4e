"""Variants of a test: some of them stand for all, but in `make exhaustive`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def thinned(values: Iterable[Any], every: int) -> list[Any]:
    """Parameters of a test: each so-many-th, and all others marked exhaustive."""
    return [
        value
        if number % every == 0 or hasattr(value, "marks")
        else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.exhaustive)
        for number, value in enumerate(values)
    ]
