"""The step of action.yml: explain the pictures that a commit touches, sum up, fail on wrong or refused ones.

Its inputs are environment variables. What the commit holds is not trusted: names of files and classes reach no shell,
no command of the runner and no markup, no file of the commit is imported, and no config file of it is read.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from camcli.errors import ExitCode
from camcli.inputs.kinds import UNREAD_SUFFIXES
from camcli.inputs.refs import IMAGE_SUFFIXES, passed_over
from camcli.sinks.schema import text as as_in_rows

FAILINGS = ("wrong", "refused")
# The runner takes a summary of 1 MiB.
_LISTED, _LONGEST = 100, 200
# One file is attached: the page has no folder beside it up to so many MB.
_EMBED_MB = 400


class InputError(Exception):
    """An input of the action is wrong, or its repository is; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A picture that is wrong, refused or not explained, and what is said about it."""

    how: str
    picture: str
    said: str


def main(given: Mapping[str, str]) -> int:
    """The step's exit code: 0, 1 if it fails on a picture, else that of camcli."""
    try:
        fail_on = _fail_on(given["GATE_FAIL_ON"])
        report = _report(given["GATE_REPORT"], Path(given["RUNNER_TEMP"]))
        arguments = _arguments(given, report)
        named = [line.strip() for line in given["GATE_PICTURES"].splitlines() if line.strip()]
        _enter(given["GATE_DIRECTORY"])
        touched = [] if named else _pictures(files_of_commit(given["GATE_BASE"]))
    except InputError as error:
        _command("error", str(error))
        return ExitCode.REQUEST
    report.unlink(missing_ok=True)
    if not named and not touched:
        _finish(given, 0, [], report, ["### camcli: no picture was touched"])
        return ExitCode.OK
    code, explained, failings = _explain([*arguments, "--", *(named or ["-"])], touched)
    count = len(explained)
    if code not in (ExitCode.OK, ExitCode.SOME_FAILED):
        _finish(given, count, failings, report, [f"### camcli ended with exit code {code}: see the log"])
        return code if code > 0 else ExitCode.BUG
    numbers = ", ".join(f"{number} {how}" for how, number in counted(failings).items())
    said = f"{numbers} of {count} picture{'s' if count != 1 else ''}"
    left_out = missing(touched, explained)
    _finish(given, count, failings, report, summary(said, failings, left_out, report.name if count else ""))
    if left_out or not count:
        _command("error", _not_explained(left_out))
        return ExitCode.BUG
    if not fail_on.isdisjoint(failing.how for failing in failings):
        _command("error", said)
        return ExitCode.BUG
    return ExitCode.OK


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise InputError(
            f"directory is {directory!r}: {error.strerror}: name the folder that the commit is checked out into"
        ) from error


def missing(touched: Iterable[bytes], explained: Iterable[str]) -> list[str]:
    """The touched pictures that no row is about, as rows name them."""
    return sorted((Counter(as_in_rows(os.fsdecode(name)) for name in touched) - Counter(explained)).elements())


def _not_explained(left_out: Sequence[str]) -> str:
    if not left_out:
        return "no picture was explained: `arguments` leave all of them out"
    more = f" and {len(left_out) - _LISTED} more" if len(left_out) > _LISTED else ""
    listed = ", ".join(map(repr, left_out[:_LISTED]))
    return f"{len(left_out)} touched not explained: {listed}{more}: see `arguments`"


def _fail_on(text: str) -> set[str]:
    words = set(text.replace(",", " ").split())
    if words != {"none"} and not (words and words <= {*FAILINGS}):
        raise InputError(f"fail-on is {text!r}: say {', '.join(FAILINGS)}, both by comma, or none")
    return words


def _report(name: str, folder: Path) -> Path:
    if not re.fullmatch(r"\w[\w.-]*\.html", name):
        raise InputError(f"report is {name!r}: name a file of letters, digits, - and _ that ends in .html")
    return folder / name


def _arguments(given: Mapping[str, str], report: Path) -> list[str]:
    """The command's options."""
    if given["GATE_TRUTH"] not in ("folder", "none"):
        raise InputError(f"truth is {given['GATE_TRUTH']!r}: say folder or none")
    classes = ["-c", "top1", *(["-c", "folder"] if given["GATE_TRUTH"] == "folder" else [])]
    page = ["--report", str(report), "--report-embed", str(_EMBED_MB)]
    model = ["--model", given["GATE_MODEL"]] if given["GATE_MODEL"] else []
    weights = ["--weights", given["GATE_WEIGHTS"]] if given["GATE_WEIGHTS"] else []
    try:
        more = shlex.split(given["GATE_ARGUMENTS"])
    except ValueError as error:
        raise InputError(f"arguments can't be read: {error}") from error
    return [*classes, "--save", "none", "--json", *page, *model, *weights, *more]


def files_of_commit(base: str) -> list[bytes]:
    """Names, from the working directory, of the files in it that the commit adds or changes.

    Without a base, or with one of zeros (a new branch): of all that it holds there.

    Raises: InputError: the working directory is in no repository, or the base can't be had.
    """
    try:
        _git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except InputError as error:
        raise InputError(
            f"no commit is checked out in {str(Path.cwd())!r}: run actions/checkout before, and if it has a path, "
            f"name that as directory ({error})"
        ) from error
    if base.strip("0"):
        changed = ("diff-tree", "-r", "-z", "--relative", "--name-only", "--diff-filter=d", _commit(base), "HEAD")
        names = _git(*changed)
    else:
        names = _git("ls-tree", "-r", "-z", "--name-only", "HEAD")
    return names.split(b"\0")[:-1]


def _pictures(files: Iterable[bytes]) -> list[bytes]:
    """The pictures among files; a warning says how many are of kinds that are not read."""
    by_suffix = [(Path(os.fsdecode(name)).suffix.lower(), name) for name in files]
    passed = Counter(suffix for suffix, _ in by_suffix if suffix in UNREAD_SUFFIXES)
    if passed:
        _command("warning", passed_over(passed))
    return [name for suffix, name in by_suffix if suffix in IMAGE_SUFFIXES]


def _commit(base: str) -> str:
    """The base's number. A checkout of one commit alone does not hold it: it is fetched."""
    verify = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    try:
        return _git(*verify, f"{base}^{{commit}}").decode().strip()
    except InputError:
        try:
            _git("fetch", "--quiet", "--depth=1", "--no-tags", "--", "origin", base)
            return _git(*verify, "FETCH_HEAD^{commit}").decode().strip()
        except InputError as error:
            raise InputError(
                f"the base {base!r} can't be fetched: check out with fetch-depth: 0, or name another ({error})"
            ) from error


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _explain(arguments: Sequence[str], listed: Iterable[bytes]) -> tuple[int, list[str], list[Failing]]:
    """The exit code of `camcli explain`, which picture each of its rows is about, and what fails in them."""
    # What camcli says may hold names of files: while it speaks, the runner takes no command from it.
    token = secrets.token_hex(16)
    print(f"::stop-commands::{token}", file=sys.stderr, flush=True)
    try:
        with TemporaryFile() as names:
            # "./" keeps a name from being read as an option, a URI or the beginning of a picture.
            names.writelines(b"./" + name + b"\0" for name in listed)
            names.seek(0)
            # A camcli.toml of the commit would decide what is explained, by which model, and under which names.
            command = [sys.executable, "-P", "-m", "camcli", "--no-config", "explain", *arguments]
            explained, failings = [], []
            with subprocess.Popen(command, stdin=names, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    row = json.loads(line)
                    explained.append(_picture(row))
                    failings += _failing(row)
    finally:
        print(f"::{token}::", file=sys.stderr, flush=True)
    return process.returncode, explained, failings


def _picture(row: Mapping[str, Any]) -> str:
    name: str = row["input"]
    return name.removeprefix("./")


def _failing(row: Mapping[str, Any]) -> list[Failing]:
    """What fails in a row, if anything does."""
    picture = _picture(row)
    if "error" in row:
        return [Failing("refused", picture, row["error"]["message"])]
    if row.get("correct", True):
        return []
    best = row["top"][0]
    return [Failing("wrong", picture, f"{best['label']} {best['probability']:.2f}, not {row['truth']['label']}")]


def counted(failings: Sequence[Failing]) -> dict[str, int]:
    """Number of the wrong ones, and of the refused ones."""
    return {how: sum(failing.how == how for failing in failings) for how in FAILINGS}


def summary(said: str, failings: Sequence[Failing], left_out: Sequence[str], report: str) -> list[str]:
    """The summary in Markdown, as lines: the counts, the first of what fails, where the page is if there is one."""
    lines = [f"### camcli: {said}{f', {len(left_out)} not explained' if left_out else ''}", ""]
    ordered = [Failing("not explained", picture, "no row is about it") for picture in left_out]
    ordered += sorted(failings, key=lambda failing: FAILINGS.index(failing.how))
    if ordered:
        lines += ["| | picture | |", "|---|---|---|"]
        lines += [f"| {each.how} | {cell(each.picture)} | {cell(each.said)} |" for each in ordered[:_LISTED]]
        lines += ["", *([f"and {len(ordered) - _LISTED} more", ""] if len(ordered) > _LISTED else [])]
    return [*lines, f"The page to look through them is attached to this run: {report}"] if report else lines


def cell(text: str) -> str:
    """The text as code in a cell of a table: no character of it is markup, a mention or a link."""
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return f"<code>{''.join(map(_reference, text))}</code>"


def _reference(letter: str) -> str:
    if letter.isalnum() or letter == " ":
        return letter
    return f"&#{ord(letter)};" if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"


def _finish(
    given: Mapping[str, str], count: int, failings: Sequence[Failing], report: Path, lines: Iterable[str]
) -> None:
    """Tell the runner the outputs and the summary."""
    attached = report if count and report.exists() else ""
    outputs = {"pictures": count, **counted(failings), "report": attached}
    with Path(given["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in outputs.items())
    with Path(given["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _command(name: str, text: str) -> None:
    """Give the runner a command; the text is one line, whatever it holds."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::{name} title=camcli::{text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(os.environ))
