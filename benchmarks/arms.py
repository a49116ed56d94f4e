"""Arms of a benchmark that take turns, each in a process of its own, so that what one sets for its process (the
allocator, threads, what is imported) is no other's, and a machine whose speed drifts slows all of them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

# label -> seconds, or whatever an arm measured, a round each
Measured = dict[str, list[float]]


def serve(call: Callable[[], object]) -> None:
    """In an arm's process: one call, timed, for each line on stdin. A call that returns a float has timed itself."""
    call()  # what is built or fetched once counts for nobody
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no result
    print("ready", file=results, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        found = call()
        seconds = time.perf_counter() - start
        print(found if isinstance(found, float) else seconds, file=results, flush=True)


def turns(commands: Mapping[str, Sequence[str]], rounds: int) -> Measured:
    """What each arm measured in each round; `commands` are arguments of Python, by label."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    found: Measured = {label: [] for label in commands}
    with ExitStack() as stack:
        arms = {}
        for label, arguments in commands.items():
            arm = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env=environment,
                )
            )
            arms[label] = arm
            if _line(arm) != "ready":
                raise SystemExit(f"{label} does not run: python {' '.join(arguments)}")
        for _ in range(rounds):
            for label, arm in arms.items():
                assert arm.stdin is not None
                arm.stdin.write("\n")
                arm.stdin.flush()
                found[label].append(float(_line(arm)))
    return found


def _line(arm: subprocess.Popen[str]) -> str:
    assert arm.stdout is not None
    return arm.stdout.readline().strip()


def ratio(of: Sequence[float], to: Sequence[float]) -> str:
    """Median of the ratios within each round, with the lowest and the highest."""
    values = [one / other for one, other in zip(of, to, strict=True)]
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
