"""Every figure of docs/benchmarks.md in one run: `python benchmarks/report.py --photos DIR`, about 40 minutes.

Runs the other scripts here one after the other, and writes what they print with what was run, on what, when.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
REPORT = HERE.parent / "docs" / "benchmarks.md"
PACKAGES = ("torch", "torchvision", "pillow", "opencv-python", "grad-cam", "torchcam", "captum")

# (title, what it says, script and its arguments; DIR stands for the photos)
PARTS = (
    (
        "Computing",
        "One batch of 16 decoded pictures; a plain eager forward in its own process is 1.",
        "engine.py --peers --rounds 5",
    ),
    ("Folders", "300 JPEGs of ~500x375 in, overlays out.", "folder.py --photos DIR --rounds 3"),
    (
        "Large pictures",
        "40 JPEGs of 12 megapixels.",
        "folder.py --photos DIR --large 40 --rounds 3 --models mobilenet_v3_large",
    ),
    ("Starting", "Whole processes.", "startup.py --rounds 7"),
    ("Memory", "Whole commands.", "memory.py --photos DIR"),
    (
        "Default against --exact",
        "The largest difference, each answer scaled to its own maximum; random networks with lively norms and biases. "
        "(-): activations below zero; no: does not apply.",
        "agreement.py --side 64 --pictures 2 --skip rise is-cam ss-cam score-cam occlusion",
    ),
    ("Perturbation methods", "One picture.", "perturbation.py --rounds 1"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEGs of about 500x375")
    parser.add_argument("--only", nargs="+", help="titles of the parts to run again; the others stay as they are")
    options = parser.parse_args()
    kept = _sections()
    text = [_head()]
    for title, says, call in PARTS:
        if options.only and title not in options.only:
            text.append(kept.get(title, ""))
            continue
        script, *arguments = call.split()
        command = [sys.executable, str(HERE / script), *(str(options.photos) if a == "DIR" else a for a in arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        text.append(f"## {title}\n\n{says} `python benchmarks/{call}`\n\n{done.stdout.strip()}\n")
        print(text[-1], flush=True)
        REPORT.write_text("\n".join(text + [kept.get(rest, "") for rest, *_ in PARTS[len(text) - 1 :]]))
    REPORT.write_text("\n".join(filter(None, text)))


def _head() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        "# Benchmarks\n\nMade by `python benchmarks/report.py --photos DIR`. Ratios hold on other machines; seconds "
        "don't. Arms take turns in processes of their own; ratios are medians of those within a round, with the lowest "
        f"and the highest. {datetime.date.today()}, {_cores()} CPU cores, {platform.system()}, Python "
        f"{platform.python_version()}, {packages}.\n"
    )


def _cores() -> int:
    from camcli.machine.pools import default_workers

    return default_workers()


def _sections() -> dict[str, str]:
    if not REPORT.exists():
        return {}
    parts = REPORT.read_text().split("\n## ")[1:]
    return {part.splitlines()[0]: f"## {part.rstrip()}\n" for part in parts}


if __name__ == "__main__":
    main()
