"""The fuzzers of `tests/fuzz`, each for a short time; what they find is a crash of theirs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent


@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")
def test_any_bytes_are_a_picture_or_one_refusal(tmp_path: Path) -> None:
    # No limit on its peak memory: Linux counts what this process had when it was started.
    options = ["-runs=3000", "-seed=1", "-max_len=20000", "-timeout=10", "-rss_limit_mb=0", "-malloc_limit_mb=2000"]
    command = [sys.executable, str(FUZZ / "decode_view.py"), "corpus", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    # libFuzzer counts what it starts with too, and by its own account: 3000 on one machine, 3001 on another.
    ran = re.search(r"Done (\d+) runs", done.stderr)
    assert ran is not None
    assert int(ran[1]) >= 3000
    assert [path for path in tmp_path.iterdir() if path.name != "corpus"] == []
