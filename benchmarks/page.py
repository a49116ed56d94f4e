"""What the report page costs a folder run, and how it behaves in a browser with many pictures.

    python benchmarks/page.py --photos DIR [--rounds 5] [--pictures 1000 5000 50000]

Runs of whole processes take turns. In the browser (Chromium and playwright): ready is the time until the page's script
is done; jump is 200 jumps anywhere, one a frame, smooth 200 steps of 120 pixels, as milliseconds a frame (median, 95 %,
largest).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from camcli.cli import retyping
from camcli.records import Row
from camcli.sinks import open_page
from camcli.sinks.page import Seen, of_row
from camcli.sinks.rows import ref_of
from camcli.specs import PageSpec

SCROLL = """async jumps => {
  const main = document.getElementById('main'), most = main.scrollHeight - main.clientHeight, gaps = [];
  const frame = () => new Promise(done => requestAnimationFrame(done));
  let seed = 1, last = performance.now();
  for (let i = 0; i < 200; i += 1) {
    seed = (seed * 16807) % 2147483647;
    main.scrollTop = jumps ? seed / 2147483647 * most : main.scrollTop + 120;
    await frame();
    const now = performance.now();
    gaps.push(now - last);
    last = now;
  }
  gaps.sort((a, b) => a - b);
  return [gaps[100], gaps[190], gaps[199]].map(Math.round);
}"""
READY = "Math.round(performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd)"


def seconds(photos: Path, *more: object) -> float:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "camcli", "explain", str(photos), "-o", out, "-q", *map(str, more)]
        started = time.perf_counter()
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started


def of_a_run(photos: Path, folder: Path, rounds: int) -> None:
    """The time of a folder run with a page over that without."""
    ratios = []
    for number in range(rounds):
        arms: dict[str, tuple[object, ...]] = {"without": (), "with": ("--report", folder / "page.html")}
        took = {arm: seconds(photos, *arms[arm]) for arm in sorted(arms, reverse=bool(number % 2))}
        ratios.append(took["with"] / took["without"])
    print(f"a run with --report takes {median(ratios):.3f} times as long ({min(ratios):.3f}-{max(ratios):.3f})")


def written(rows: list[Row], seen: list[Seen], count: int, file: Path) -> Path:
    """A page of so many pictures: those of the rows again and again, each another file and another name."""
    with open_page(PageSpec(str(file)), retyping.described) as page:
        for number in range(count):
            row, own = rows[number % len(rows)], seen[number % len(rows)]
            photo = own.photo and own.photo + number.to_bytes(4, "big")
            page.add({**row, "input": f"{number:06}/{row['input']}"}, replace(own, photo=photo))
    return file


def in_browser(file: Path, browser: Any) -> str:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(file.as_uri())
    page.wait_for_selector("#tiles li")
    told = [
        f"{name} {'/'.join(map(str, page.evaluate(SCROLL, jumps)))} ms" for name, jumps in (("jump", 1), ("smooth", 0))
    ]
    ready = page.evaluate(READY)
    page.close()
    return f"ready {ready} ms, {', '.join(told)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, nargs="*", default=[1000, 5000, 50000])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.rounds:
            of_a_run(asked.photos, folder, asked.rounds)
        command = [sys.executable, "-m", "camcli", "explain", str(asked.photos), "--save", "none", "--json", "-q"]
        lines = subprocess.run(command, check=False, capture_output=True).stdout.splitlines()
        rows = [json.loads(line) for line in lines]
        seen = [of_row(row, ref_of(row)) for row in rows]
        if not asked.pictures:
            return
        from playwright.sync_api import sync_playwright

        chromium = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for count in asked.pictures:
                started = time.perf_counter()
                file = written(rows, seen, count, folder / f"page{count}.html")
                took = time.perf_counter() - started
                size = sum(path.stat().st_size for path in (file, *folder.glob(f"page{count}_files/*")))
                each = f"{size / count / 1000:.1f} kB each, written in {took:.1f} s"
                print(f"{count} pictures: {each}, {in_browser(file, browser)}", flush=True)
            browser.close()


if __name__ == "__main__":
    main()
