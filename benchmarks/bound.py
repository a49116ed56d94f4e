"""Pictures that bring a question each, beside the same pictures with one question for all: what binding costs.

    python benchmarks/bound.py [--pictures 200] [--rounds 5] [--start]

Whole processes of `camcli explain`, which take turns, on examples/vqa.py. Questions are told apart by their capitals,
so that each is another one. Without --start, the time of one picture is taken off: starting does not count then.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))
QUESTION = "what colour is the circle"


def spelled(count: int) -> list[str]:
    """So many spellings of the question."""
    letters = itertools.product(*({letter, letter.upper()} for letter in QUESTION[:10]))
    return ["".join(start) + QUESTION[10:] for start in itertools.islice(letters, count)]


def seconds(*arguments: object) -> float:
    with tempfile.TemporaryDirectory() as out:
        net = ("-m", EXAMPLES / "vqa.py:model", "-w", EXAMPLES / "vqa.safetensors")
        command = [sys.executable, "-m", "camcli", "explain", *map(str, (*arguments, *net)), "-o", out, "-q"]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    import shapes

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--start", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = shapes.save([one.pixels for one in shapes.scenes(asked.pictures, seed=0)], folder)
        pairs = zip(names, spelled(asked.pictures), strict=True)
        lines = [json.dumps({"image": picture, "question": question}) for picture, question in pairs]
        (folder / "own.jsonl").write_text("\n".join(lines))
        one = ("--question", QUESTION)
        arms = {"one": (folder / names[0], *one), "same": (folder, *one), "own": (folder / "own.jsonl",)}
        times: dict[str, list[float]] = {arm: [] for arm in arms}
        for _ in range(asked.rounds):
            for arm, given in arms.items():
                times[arm].append(seconds(*given))
        start = 0.0 if asked.start else median(times["one"])
        own, same = (median(times[arm]) - start for arm in ("own", "same"))
        print(
            f"{asked.pictures} pictures: a question each {own:.2f} s, one for all {same:.2f} s: {own / same:.2f} times "
            f"(starting takes {median(times['one']):.2f} s)"
        )


if __name__ == "__main__":
    main()
