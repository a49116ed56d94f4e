"""The titles in `--help` of options that more than one command takes."""

from __future__ import annotations

FIRST, WHAT, MODEL, OUT, RUN = "Most used", "What is explained", "Model", "Pictures out", "Run"
