"""What `--help` says: whole, and of the same options under the same words."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
import typer
from shell import run

from camcli import cli
from camcli.cli.flags.model import ModelFlags
from camcli.cli.flags.pictures import PictureFlags

COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
ASKING = ("explain", "classify", "compare", "bench", "layers", "classes")


def words(text: str) -> str:
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("command", COMMANDS)
def test_no_help_text_loses_a_bracket_or_a_word(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich takes `[ray]` for markup, unless it is escaped."""
    monkeypatch.setenv("COLUMNS", "500")
    shown = words(run(command, "--help").out)
    texts = [COMMANDS[command].help, *(parameter.help for parameter in COMMANDS[command].params)]
    assert [text for text in texts if text and words(text.replace("\\[", "[")) not in shown] == []


def test_extras_are_shown_whole() -> None:
    shown = run("explain", "--help").out
    assert "camcli[ray]" in shown
    assert "camcli[parquet]" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_that_stands_alone(command: str) -> None:
    for parameter in COMMANDS[command].params:
        assert parameter.help, parameter.name
        assert parameter.help.split()[0] not in ("Of", "For", "When", "Whether", "Does", "So"), parameter.help


@pytest.mark.parametrize("command", ASKING)
def test_all_commands_take_the_same_model_flags(command: str) -> None:
    taken = {parameter.name for parameter in COMMANDS[command].params}
    assert {field.name for field in fields(ModelFlags)} <= taken
    if command not in ("layers", "classes"):
        assert {field.name for field in fields(PictureFlags)} <= taken
