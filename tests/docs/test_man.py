"""The manual page is what the code says, and every reader of manual pages reads it."""

from __future__ import annotations

import re
import shutil
import subprocess

import man
import pytest
import typer

from camcli import cli
from camcli.errors import ExitCode

PAGE = man.PAGE.read_text(encoding="ascii")
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def test_the_page_is_the_codes() -> None:
    assert man.page() == PAGE, "type `make texts`"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_argument_and_option_is_on_the_page(command: str) -> None:
    section = re.split(r"^\.S[HS] ", PAGE.split(f"\n.SS camcli {command}")[1], flags=re.MULTILINE)[0]
    named = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", section.replace("\\-", "-").replace("\\fB", "")))
    for parameter in COMMANDS[command].params:
        if parameter.param_type_name == "argument":
            assert man._text(parameter.help) in section
        else:
            assert {name for name in parameter.opts if name[:2] == "--"} <= named, parameter.opts


def test_every_exit_code_is_on_the_page() -> None:
    status = PAGE.split(".SH EXIT STATUS\n")[1].split(".SH ")[0]
    assert re.findall(r"^\\fB(\d+)\\fR$", status, re.MULTILINE) == [str(int(code)) for code in ExitCode]


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        (".png is written", "\\&.png is written"),
        ("'tis", "\\&'tis"),
        ("--a-b", "\\-\\-a\\-b"),
        ("a\\b", "a\\eb"),
        ("camcli\\[ray]", "camcli[ray]"),
        ("see `camcli -h` …", "see \\fBcamcli \\-h\\fR \\[u2026]"),
    ],
)
def test_no_text_is_taken_for_a_request(text: str, roff: str) -> None:
    assert man._text(text) == roff


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_has_nothing_to_complain_about() -> None:
    shown = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", man.PAGE], capture_output=True, text=True, check=True
    )
    assert shown.stderr == ""
    words = " ".join(shown.stdout.split())
    assert "-c, --class CLASS Class to explain, repeatable: id, name" in words
    assert "needs pip install camcli[ray]" in words
