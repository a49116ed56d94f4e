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


# Words that no help begins with: it is a phrase that starts with a noun or a verb.
NO_BEGINNINGS = set(
    "Of For When Whether Does So A An The All Any Anything Each Every Several Some Only If In On With Where How".split()
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_that_starts_with_a_noun_or_a_verb(command: str) -> None:
    for parameter in COMMANDS[command].params:
        assert parameter.help, parameter.name
        first = parameter.help.split()[0]
        assert first[0].isupper(), parameter.help
        assert first not in NO_BEGINNINGS, parameter.help


def panels(shown: str) -> dict[str, list[str]]:
    """The long options of each panel, in order."""
    parts = re.split(r"╭─ (.*?) ─*╮", shown)[1:]
    return {
        title: re.findall(r"^│ (--[\w-]+)", body, re.MULTILINE) for title, body in zip(*[iter(parts)] * 2, strict=True)
    }


@pytest.mark.parametrize("columns", [80, 100])
def test_explains_options_are_in_titled_panels_the_most_used_first(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("explain", "--help").out
    found = panels(shown)
    assert [title for title in found if title != "Arguments"] == [
        *("Most used", "What is explained", "Model", "Pictures in", "Pictures out", "Speed", "Run"),
    ]
    assert found["Most used"] == [
        *(
            "--class",
            "--method",
            "--layer",
            "--model",
            "--weights",
            "--labels",
            "--output",
            "--save",
            "--show",
            "--json",
        ),
    ]
    options = {option for parameter in COMMANDS["explain"].params for option in parameter.opts if option[:2] == "--"}
    assert {option for own in found.values() for option in own} == options | {"--help"}
    assert max(map(len, shown.splitlines())) == columns
    assert "camcli[ray]" in shown
    assert "camcli[parquet]" in shown


def test_a_command_of_few_options_has_them_in_one_place() -> None:
    assert panels(run("doctor", "--help").out) == {"Run": ["--json", "--debug", "--help"]}


@pytest.mark.parametrize("command", ASKING)
def test_all_commands_take_the_same_model_flags(command: str) -> None:
    taken = {parameter.name for parameter in COMMANDS[command].params}
    assert {field.name for field in fields(ModelFlags)} <= taken
    if command not in ("layers", "classes"):
        assert {field.name for field in fields(PictureFlags)} <= taken
