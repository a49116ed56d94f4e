"""The shell is the API: run a command line and look at what a user would see."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from camcli import cli

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_images"
SHARED = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Outcome:
    """What a finished command left: exit code, both streams, and the JSON rows if stdout holds some."""

    code: int
    stdout: bytes
    err: str

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: object, stdin: bytes = b"") -> Outcome:
    """Run camcli in this process, with streams of its own that are no terminals."""
    stdout, stderr = io.BytesIO(), io.BytesIO()
    streams: dict[str, Any] = {
        "stdin": io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))),
        "stdout": io.TextIOWrapper(stdout, encoding="utf-8", write_through=True),
        "stderr": io.TextIOWrapper(stderr, encoding="utf-8", write_through=True),
    }
    code = 0
    with patch.multiple(sys, **streams):
        try:
            cli.app([os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments], prog_name="camcli")
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return Outcome(code, stdout.getvalue(), stderr.getvalue().decode())


def refused(exit_code: int, *arguments: object) -> str:
    """The one line that a refused command says."""
    outcome = run(*arguments)
    assert outcome.code == exit_code, outcome.err
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("camcli: error: ")
    return line


def spawn(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start camcli as a real process, pipes on all three streams unless told otherwise."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "camcli", *map(str, arguments)], **(pipes | options))


def finish(process: subprocess.Popen[bytes], stdin: bytes = b"", timeout: float = 120) -> Outcome:
    """Feed a spawned process, wait for it, and collect what it left."""
    stdout, stderr = process.communicate(stdin, timeout=timeout)
    return Outcome(process.returncode, stdout or b"", (stderr or b"").decode())
