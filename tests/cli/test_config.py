"""Settings: who wins, what is refused, and that a folder of somebody else's can't make anything run."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from shell import refused, run

from camcli import cli
from camcli.cli import config

Picture = Callable[..., Path]

COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
SMALL = 'model = "squeezenet1_1"\nweights = "none"\n'


def write(path: str | Path, text: str) -> Path:
    path = Path.cwd() / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def users(text: str) -> str:
    """The path of the user's own file, which says this."""
    write(config.users_file(), text)
    return config.users_file()


def shown(*arguments: object, command: str = "explain") -> dict[str, tuple[Any, str]]:
    """Option -> (value, who says so), of a command's options."""
    outcome = run(*arguments, "config", command, "--json")
    assert outcome.code == 0, outcome.err
    return {row["option"]: (row["value"], row["from"]) for row in outcome.rows if "option" in row}


def looked_for(*arguments: object) -> dict[str, str]:
    """File -> what came of it."""
    rows = run(*arguments, "config", "--json").rows
    return {row["file"]: row["status"] for row in rows if "file" in row}


# Who wins


def test_what_is_typed_wins_then_the_environment_then_the_folders_file(
    picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("camcli.toml", f"{SMALL}top = 2\n")
    tops = []
    for typed, variable in ((("-k", "4"), "3"), ((), "3"), ((), "")):
        monkeypatch.setenv("CAMCLI_TOP", variable)  # an empty one says nothing
        (row,) = run("classify", picture("a.png"), "--json", *typed).rows
        assert row["model"] == "squeezenet1_1"
        assert row["provenance"]["spec"]["weights"] == "none"
        tops.append((len(row["top"]), row["provenance"]["spec"]["top"]))
    assert tops == [(4, 4), (3, 3), (2, 2)]


def test_the_first_file_holds_and_nothing_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = users("top = 9\nopacity = 0.9\n")
    assert shown()["top"] == (9, user)
    outer = write("camcli.toml", "top = 8\n")
    inner = write("a/b/pyproject.toml", "[project]\nname = 'camcli-user'\n[tool.camcli]\nopacity = 0.3\n")
    write("a/b/c/d/none", "")
    monkeypatch.chdir("a/b/c/d")
    assert shown()["opacity"] == (0.3, f"{inner} [tool.camcli]")
    assert shown()["top"] == (5, "default")
    assert looked_for()[str(outer)] == "not read: another one holds"
    beside = write(inner.parent / "camcli.toml", "")
    assert shown()["opacity"] == (None, "default")
    assert looked_for()[str(beside)] == "holds"
    beside.unlink()
    inner.write_text("[project]\nname = 'camcli'\n[tool.other]\nx = 1\n")
    assert shown()["top"] == (8, str(outer))
    assert looked_for()[str(inner)] == "passed over: it has no [tool.camcli]"
    outer.unlink()
    assert shown()["opacity"] == (0.9, user)
    assert list(looked_for())[-1] == user


def test_other_tools_broken_files_are_no_fault_of_ours() -> None:
    write("pyproject.toml", "[project\n")
    assert shown()["top"] == (5, "default")
    write("pyproject.toml", "[tool.camcli\n")
    assert "pyproject.toml is no TOML" in refused(2, "models")


def test_a_commands_own_table_wins_over_what_is_said_of_all() -> None:
    file = write("camcli.toml", "top = 2\nquiet = true\n[explain]\ntop = 3\n[classify]\nquiet = false\n")
    assert shown()["top"] == (3, f"{file} [explain]")
    assert shown(command="classify")["top"] == (2, str(file))
    assert shown(command="classify")["quiet"] == (False, f"{file} [classify]")
    assert shown(command="bench")["quiet"] == (True, str(file))
    assert "top" not in shown(command="doctor")


def test_tables_of_a_pyproject() -> None:
    file = write("pyproject.toml", "[tool.camcli]\ntop = 2\n[tool.camcli.explain]\nopacity = 0.1\n")
    assert shown()["opacity"] == (0.1, f"{file} [tool.camcli.explain]")
    assert shown()["top"] == (2, f"{file} [tool.camcli]")


def test_a_file_that_is_named_holds_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("camcli.toml", "top = 2\n")
    users("top = 9\n")
    write("own.toml", "opacity = 0.1\n")
    found = shown("--config", "own.toml")
    assert (found["opacity"], found["top"]) == ((0.1, "own.toml"), (5, "default"))
    assert looked_for("--config", "own.toml") == {"own.toml": "holds"}
    monkeypatch.setenv("CAMCLI_CONFIG", "own.toml")
    assert shown()["opacity"] == (0.1, "own.toml")
    monkeypatch.setenv("CAMCLI_CONFIG", "gone.toml")
    assert refused(2, "models") == "camcli: error: CAMCLI_CONFIG=gone.toml: not there"
    assert refused(2, "--config", "lost.toml", "models") == "camcli: error: --config lost.toml: not there"


def test_without_config_neither_files_nor_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    write("camcli.toml", "no TOML")
    monkeypatch.setenv("CAMCLI_TOP", "many")
    monkeypatch.setenv("CAMCLI_CONFIG", "gone.toml")
    assert shown("--no-config")["top"] == (5, "default")
    assert looked_for("--no-config") == {}
    assert "exclude each other" in refused(2, "--no-config", "--config", "a.toml", "models")


def test_the_flags_of_config_stand_before_the_command() -> None:
    assert "--config stands before the command" in refused(2, "models", "--config", "a.toml")


def test_help_reads_no_file() -> None:
    write("camcli.toml", "no TOML")
    assert run("explain", "--help").code == 0
    assert run("--help").code == 0
    assert run("--version").code == 0
    assert "camcli.toml is no TOML" in refused(2, "methods")


# What can be written


def test_values_of_all_kinds_in_a_file() -> None:
    write(
        "camcli.toml",
        """
        class = ["tiger cat", 282]
        method = "grad-cam"
        contrast = ["bull mastiff", "tiger cat"]
        opacity = 1
        crop = 224
        mean = 0.5
        batch-size = 4
        resume = false
        no-recursive = true
        norm = "run"
        """,
    )
    file = Path("camcli.toml").rename("own.toml")  # a folder's own could not say resume = false
    found = {name: value for name, (value, origin) in shown("--config", file).items() if origin != "default"}
    assert found == {
        "class": ["tiger cat", "282"],
        "method": ["grad-cam"],
        "contrast": ["bull mastiff", "tiger cat"],
        "opacity": 1.0,
        "crop": "224",
        "mean": "0.5",
        "batch-size": 4,
        "resume": False,
        "recursive": False,
        "norm": "run",
    }


def test_values_of_all_kinds_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "CLASS": "'tiger cat' 282",
        "METHOD": "grad-cam",
        "CONTRAST": "'bull mastiff' tabby",
        "OPACITY": "0.25",
        "BATCH_SIZE": "4",
        "OVERWRITE": "Yes",
        "RECURSIVE": "0",
        "TRUST_CHECKPOINT": "true",
        "SAVE": "overlay,raw",
    }
    for name, text in said.items():
        monkeypatch.setenv(f"CAMCLI_{name}", text)
    found = {name: value for name, (value, origin) in shown().items() if origin != "default"}
    assert found == {
        "class": ["tiger cat", "282"],
        "method": ["grad-cam"],
        "contrast": ["bull mastiff", "tabby"],
        "opacity": 0.25,
        "batch-size": 4,
        "resume": False,
        "recursive": False,
        "trust-checkpoint": True,
        "save": "overlay,raw",
    }
    assert shown()["batch-size"][1] == "CAMCLI_BATCH_SIZE"


def test_settings_reach_the_run(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    write("camcli.toml", f"{SMALL}[explain]\ncontrast = ['tench', 'goldfish']\nsave = 'none'\nrecursive = false\n")
    monkeypatch.setenv("CAMCLI_METHOD", "hires-cam grad-cam")
    picture("photos/a.png")
    picture("photos/deeper/b.png")
    (row,) = run("explain", "photos", "--json").rows
    spec = row["provenance"]["spec"]
    assert (spec["contrast"], spec["methods"]) == (["tench", "goldfish"], ["hires-cam", "grad-cam"])
    assert [answer["method"] for answer in row["explanations"]] == ["hires-cam", "grad-cam"]


def test_a_repeatable_option_that_is_typed_replaces_the_list() -> None:
    write("camcli.toml", "method = ['hires-cam', 'layer-cam']\n[compare]\nweights = ['a.pth', 'b.pth']\n")
    assert "no such" in run("compare", "gone.png", "-w", "none").err
    assert shown(command="compare")["weights"][0] == ["a.pth", "b.pth"]
    assert shown()["weights"] == ("DEFAULT", "default")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metod = 'cam'", "camcli.toml: unknown key 'metod': did you mean method"),
        ("batch_size = 4", "camcli.toml: unknown key 'batch_size': did you mean batch-size"),
        ("[explian]\ntop = 1", "camcli.toml: unknown key 'explian': did you mean explain"),
        ("[explain]\ntpo = 1", "camcli.toml [explain]: unknown key 'tpo': did you mean top"),
        ("[bench]\ntop = 1", "camcli.toml [bench]: unknown key 'top'"),
        ("[explain.model]\nname = 'x'", "camcli.toml [explain]: model = {'name': 'x'}: write a text or a number"),
        ("classify = 3", "camcli.toml: classify = 3: [classify] is the table of a command"),
        ("config = '/tmp/x'", 'camcli.toml: config = "/tmp/x": [config] is the table of a command'),
        ("[explain]\nhelp = true", "unknown key 'help'"),
        ("inputs = ['a.png']", "unknown key 'inputs'"),
        ("json = 'yes'", 'camcli.toml: json = "yes": write true or false'),
        ("model = true", "camcli.toml: model = true: write a text or a number"),
        ("model = ['a', 'b']", 'camcli.toml: model = ["a", "b"]: write one value, no list'),
        ("class = []", "camcli.toml: class = []: write at least one value"),
        ("class = [['a']]", 'class = [["a"]]: write a text or a number, or a list of them'),
        ("contrast = ['a', 'b', 'c']", 'contrast = ["a", "b", "c"]: write 2 values'),
        ("start = 2026-01-01", "start = 2026-01-01: write a text or a number"),
        ("recursive = true\nno-recursive = true", "camcli.toml: recursive and no-recursive are one option"),
        ("norm = 'none'", "camcli.toml: --norm 'none' is none of image, run, fixed"),
        ("batch-size = 'many'", "camcli.toml: --batch-size 'many': "),
        ("opacity = 7", "camcli.toml: --opacity '7': "),
        ("top = 1\ntop = 2", "camcli.toml is no TOML: "),
        ("top = ", "camcli.toml is no TOML: Invalid value (at end of document)"),
        ("top = " + "[" * 5000, "camcli.toml is no TOML: "),
        ("top = 1 \x00", "camcli.toml is no TOML: "),
    ],
)
def test_what_a_file_can_not_say(text: str, said: str) -> None:
    write("camcli.toml", text)
    assert said in refused(2, "config", "explain")
    assert said in refused(2, "explain", "photo.jpg")


def test_a_file_that_is_too_large_is_refused_at_once_and_long_values_are_shortened() -> None:
    """Issue: 60 MB were parsed anew for each command, for minutes."""
    write("camcli.toml", f"text = '{'a' * 1_000_000}'")
    assert "camcli.toml is larger than 1 MB" in refused(2, "config")
    write("camcli.toml", f"text = '{'a' * 900_000}'")
    outcome = run("config")
    assert outcome.code == 0
    assert len(outcome.out) < 2000
    assert "aaa…" in outcome.out
    assert shown()["text"][0] == ["a" * 900_000]
    write("camcli.toml", f"top = '{'a' * 900_000}'")
    assert len(refused(2, "config")) < 1000


def test_a_file_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, loads = [], tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: parsed.append(text) or loads(text))  # type: ignore[func-returns-value]
    write("camcli.toml", "top = 3")
    assert run("config").code == 0
    assert len(parsed) == 1


def test_a_file_that_is_no_text() -> None:
    Path("camcli.toml").write_bytes(b"top = '\xff'")
    assert "camcli.toml is no TOML: " in refused(2, "models")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("CAMCLI_QUIET", "perhaps", "CAMCLI_QUIET=perhaps: write one of 1, true, yes, on, 0, false, no, off"),
        ("CAMCLI_CLASS", "'tiger", "CAMCLI_CLASS='tiger: No closing quotation"),
        ("CAMCLI_CONTRAST", "tench", "CAMCLI_CONTRAST=tench: write 2 values"),
        ("CAMCLI_NORM", "none", "CAMCLI_NORM: --norm 'none' is none of image, run, fixed"),
        ("CAMCLI_TOP", "many", "CAMCLI_TOP: --top 'many': "),
    ],
)
def test_what_a_variable_can_not_say(name: str, text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)
    assert said in refused(2, "config", "explain")
    assert said in refused(2, "explain", "photo.jpg")


def test_both_names_of_an_option_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMCLI_RESUME", "1")
    monkeypatch.setenv("CAMCLI_OVERWRITE", "1")
    assert "CAMCLI_RESUME and CAMCLI_OVERWRITE are one option" in refused(2, "explain", "photo.jpg")


def test_other_commands_tables_are_read_for_their_keys_only() -> None:
    write("camcli.toml", "[explain]\nnorm = 'none'\nmodel = 'evil.py:Net'\n")
    assert run("methods").code == 0


def test_a_wrong_request_is_told_who_made_it() -> None:
    file = write("camcli.toml", "contrast = ['tench', 'goldfish']\ntop = 3\n")
    outcome = run("explain", "photo.jpg", "-c", "tabby")
    assert outcome.code == 2
    error, note = outcome.err.splitlines()
    assert "--class and --contrast each say what is explained" in error
    assert note == f"camcli: {file} sets --contrast, --top"


def test_options_that_mean_another_thing_are_set_by_their_own_table_only(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "model = 'resnet18'\noutput = 'o'\nclass = 'tabby'\ntask = 'segment'\ndevice = 'cpu'\nweights = 'w.pth'\n"
    write("camcli.toml", text)
    for name in ("MODEL", "OUTPUT", "CLASS", "DEVICE", "WEIGHTS", "TARGET", "TRUST_CHECKPOINT"):
        monkeypatch.setenv(f"CAMCLI_{name}", "true")
    for command, options in (
        ("classify", ("class",)),
        ("compare", ("output",)),
        ("report", ("output",)),
        ("inspect", ("model",)),
        ("models", ("task",)),
        ("verify", ("model", "weights", "target", "trust-checkpoint", "device")),
    ):
        found = shown(command=command)
        assert {found[option][1] for option in options} == {"default"}
    write("camcli.toml", f"{text}[verify]\ndevice = 'cuda'\n")
    assert shown(command="verify")["device"][0] == "cuda"


def test_a_model_that_is_typed_as_an_argument_wins() -> None:
    write("camcli.toml", "model = 'vgg16'\n")
    assert json.loads(run("layers", "--json").out)["model"] == "vgg16"
    assert json.loads(run("layers", "alexnet", "--json").out)["model"] == "alexnet"
    assert "are two models" in refused_with_note("layers", "alexnet", "-m", "resnet18")
    assert run("classes", "tench").out.split("\t")[-1].strip() == "tench"
    assert run("classes", "alexnet", "tench").code == 0


def refused_with_note(*arguments: object) -> str:
    outcome = run(*arguments)
    assert outcome.code == 2
    return outcome.err


# What a folder's file can't say

NUMBERS = "may name a file that runs code (numbers, true, false and none can't)"
EVIL = "import pathlib\npathlib.Path('ran').touch()\ndef net(): ...\n"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("model = 'evil.py:net'", "runs code"),
        ("model = 'evil:net'", "runs code"),
        ("model = 'ultralytics:best.pt'", "runs code"),
        ("target = 'evil.py:net'", "runs code"),
        ("target = 'evil:net'", "runs code"),
        ("trust-checkpoint = true", "lets others run code here"),
        ("ray-address = '10.0.0.1:6379'", "lets others run code here"),
        ("model-arg = ['checkpoint_path=evil.pth']", NUMBERS),
        ('model-arg = \'pretrained_cfg={"file": "evil.pth"}\'', NUMBERS),
        ("model-arg = 'norm=lambda: 1'", NUMBERS),
        ("model = 'hf:org/name'", "fetches something"),
        ("model = 'hf:evil'", "fetches something"),
        ("model = 'timm:hf-hub:org/name'", "fetches something"),
        ("model = 'open_clip:hf-hub:org/name'", "fetches something"),
        ("weights = 'https://example.org/w.pth'", "fetches something"),
        ("weights = 'http://example.org/w.pth'", "fetches something"),
        ("similar-to = 's3://bucket/a.png'", "fetches something"),
        ("bind = ['image=https://example.org/a.png']", "fetches something"),
        ("labels = '//host/share/names.txt'", "fetches something"),
        ("labels = '\\\\host\\share\\names.txt'", "fetches something"),
        ("overwrite = true", "removes an earlier run"),
        ("resume = false", "removes an earlier run"),
        ("output = '/tmp/elsewhere'", "writes outside the working directory"),
        ("output = '../elsewhere'", "writes outside the working directory"),
        ("output = 'a/../../elsewhere'", "writes outside the working directory"),
        ("output = 'link/a'", "writes outside the working directory"),
        ("output = 'loop/a'", "writes outside the working directory"),
        ("output = 's3://bucket/a'", "writes outside the working directory"),
        ("output = 'file:///tmp/a'", "writes outside the working directory"),
        ("results = '/tmp/rows.parquet'", "writes outside the working directory"),
        ("report = '../report.html'", "writes outside the working directory"),
    ],
)
def test_a_folders_file_runs_fetches_removes_and_writes_nothing_elsewhere(
    line: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("camcli.toml", line)
    write("evil.py", EVIL)
    monkeypatch.syspath_prepend(os.getcwd())  # noqa: PTH109
    Path("link").symlink_to(tmp_path.parent)
    Path("loop").symlink_to("../gone/loop")
    said = refused(2, "explain", "photo.jpg")
    option = line.partition(" ")[0]
    ways = f"--{option}, CAMCLI_{option.upper().replace('-', '_')} or {config.users_file()}"
    assert said.startswith(f"camcli: error: {file}: {option} = ")
    assert said.endswith(f" {why}: only {ways} can say so")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("camcli.toml", "[explain]\n"),
        ("pyproject.toml", "[tool.camcli]\n"),
        ("pyproject.toml", "[tool.camcli.explain]\n"),
    ],
)
@pytest.mark.parametrize("below", [False, True])
def test_no_form_of_a_folders_file_names_code(
    name: str, head: str, below: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(name, f"{head}model = 'evil.py:net'\n")
    write("sub/evil.py", EVIL)
    write("evil.py", EVIL)
    if below:
        monkeypatch.chdir("sub")
    for arguments in (("explain", "photo.jpg"), ("config", "explain")):
        said = refused(2, *arguments)
        assert str(file) in said
        assert 'model = "evil.py:net" runs code' in said
    assert not list(file.parent.glob("**/ran"))


@pytest.mark.parametrize(
    "line",
    [
        "model = 'timm:resnet18'",
        "model = 'hf:own'",
        "model = 'open_clip:ViT-B/32'",
        "model = 'net.onnx'",
        "target = 'softmax'",
        "trust-checkpoint = false",
        "weights = 'best.pth'",
        "model-arg = ['num_classes=5', 'global_pool=none', 'dropout=1e-3', 'aux=TRUE']",
        "output = 'out/deep'",
        "output = '-'",
        "report = 'pages/report.html'",
        "resume = true",
        "engine = 'ray'",
        "question = 'what is https://example.org ?'",
    ],
)
def test_a_folders_file_says_all_else(line: str) -> None:
    write("camcli.toml", line)
    Path("own").mkdir()
    assert shown()[line.partition(" ")[0]][1].endswith("camcli.toml")


@pytest.mark.parametrize("by", ["user", "named", "environment"])
def test_the_user_may_say_all(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own file, one that is named, and variables are as good as what is typed."""
    write("evil.py", EVIL)
    line = "model = 'evil.py:net'\ntrust-checkpoint = true\noutput = '/tmp/a'\n"
    arguments: tuple[str, ...] = ()
    if by == "user":
        users(line)
    elif by == "named":
        write("camcli.toml", line)
        arguments = ("--config", "camcli.toml")
    else:
        for name, value in (("MODEL", "evil.py:net"), ("TRUST_CHECKPOINT", "1"), ("OUTPUT", "/tmp/a")):
            monkeypatch.setenv(f"CAMCLI_{name}", value)
    found = shown(*arguments)
    assert (found["model"][0], found["trust-checkpoint"][0], found["output"][0]) == ("evil.py:net", True, "/tmp/a")
    run(*arguments, "layers")
    assert Path("ran").exists()


def test_trust_is_of_files_that_the_user_names(monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("camcli.toml", "weights = 'evil.pth'\n")
    said = refused(2, "explain", "photo.jpg", "--trust-checkpoint")
    assert f"--trust-checkpoint lets a file run code, and {file} names it" in said
    assert said.endswith("say yourself which one, --weights evil.pth")
    monkeypatch.setenv("CAMCLI_TRUST_CHECKPOINT", "1")
    assert refused(2, "layers") == said
    assert "no such weights file: own.pth" in run("layers", "-w", "own.pth").err
    write("camcli.toml", "model = 'resnet18'\n")
    assert "--trust-checkpoint lets a file run code" in refused(2, "layers", "-w", "own.pth")


# Options of free text, of which it has been thought what they can do if a folder's file sets them.
THOUGHT_OF = set(
    "at augment bind caption class contrast crop device end font labels layer mask mean method model model-arg output "
    "output-key partner preset quantity question ray-address region report resize results save shard similar-to start "
    "state std target template text texts weights weights-key width".split()
)


def test_each_option_of_free_text_has_been_thought_of() -> None:
    """A new one may name code, or fetch, or write: see `camcli.cli.foreign`, then add it here."""
    free = set()
    for name, command in COMMANDS.items():
        for param in command.params:
            if param.param_type_name == "option" and not param.is_flag and not command.choices(param.name):
                kind = command.hint(param.name)
                free |= {param.opts[0][2:]} if "str" in str(kind) else set()
        assert name
    assert free == THOUGHT_OF


# `camcli config`


def test_config_lists_each_option_of_a_command_once() -> None:
    for name, command in COMMANDS.items():
        options = [param.opts[0][2:] for param in command.params if param.param_type_name == "option"]
        assert list(shown(command=name)) == options


def test_config_through_a_pipe_is_columns_and_files_are_for_people() -> None:
    file = write("camcli.toml", "top = 2\nmethod = ['grad-cam', 'hires-cam']\nquiet = true\n[report]\nquiet = false\n")
    outcome = run("config")
    lines = [line.split("\t") for line in outcome.out.splitlines()]
    assert ["explain", "method", '["grad-cam", "hires-cam"]', str(file)] in lines
    assert ["classify", "top", "2", str(file)] in lines
    assert ["report", "quiet", "false", f"{file} [report]"] in lines
    assert not [line for line in lines if line[3] == "default"]
    assert f"camcli: {file}: holds" in outcome.err.splitlines()
    assert run("config", "explain").out.count("\n") > 50


def test_config_of_nothing() -> None:
    outcome = run("config")
    assert (outcome.code, outcome.out) == (0, "")
    assert f"camcli: {config.users_file()}: not there" in outcome.err
    assert "nothing is set" in outcome.err
    assert "unknown command 'explian': did you mean explain" in refused(2, "config", "explian")


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir("gone")
    Path.cwd().rmdir()
    assert list(looked_for()) == [config.users_file()]


def test_names_of_files_are_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a\x1b[31m[bold]\nb"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write("camcli.toml", "metod = 'cam'")
    assert "\x1b" not in refused(2, "models")


def test_where_the_users_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/xdg-of-mine")
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert config.users_file() == "/etc/xdg-of-mine/camcli/config.toml"
