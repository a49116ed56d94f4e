"""The titles of `--help` under which options stand that more than one command takes."""

from __future__ import annotations

WHAT, MODEL, OUT, RUN = "What is explained", "Model", "Pictures out", "Run"
