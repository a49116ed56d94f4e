"""The titles in `--help` of options that more than one command takes."""

from __future__ import annotations

WHAT, MODEL, OUT, RUN = "What is explained", "Model", "Pictures out", "Run"
