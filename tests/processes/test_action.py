"""The GitHub Action: what a commit touches is explained, whatever it is called; wrong and refused pictures fail it."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gate
import pytest
import yaml
from PIL import Image
from shell import ROOT, SAMPLES

ACTION = (ROOT / "action.yml").read_text(encoding="utf-8")
PARSED: dict[str, Any] = yaml.safe_load(ACTION)
STEPS: list[dict[str, Any]] = PARSED["runs"]["steps"]

# Pictures of an espresso, in a repository that is called so: the class that `--class folder` reads off.
RIGHT = [
    *(b"$(touch taken).jpg", b"`touch taken`;&.JPG", b"a\nb.jpg", b"\"quoted\" 'too'.jpg", b"-o taken.jpg"),
    *(b'{"image": "x.jpg"}.jpg', b"*[1].jpg", b"\xff.jpg", b"::error::x.jpg", b"caf\xc3\xa9 \xe2\x80\xaegpj.jpg"),
]
WRONG = b"tiger cat/::warning::|<b>@all www.example.org `x` [y](z).jpg"
ESPRESSO = (SAMPLES / "espresso.jpg").read_bytes()
BROKEN = b"bro|ken.png"
INPUTS = {"DIRECTORY": ".", "PICTURES": "", "BASE": "", "TRUTH": "folder", "MODEL": "", "WEIGHTS": "", "ARGUMENTS": ""}
INPUTS |= {"FAIL_ON": "wrong,refused", "REPORT": "camcli-report.html"}


def git(*arguments: str, cwd: Path) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", *identity, *arguments], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits: the first has a picture that is wrong and one that goes; the second all others, and traps."""
    top = tmp_path_factory.mktemp("work") / "espresso"
    (top / "tiger cat").mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", cwd=top)
    with Image.open(SAMPLES / "espresso.jpg") as photo:
        photo.reduce(2).save(top.parent / "photo.jpg")
    espresso = (top.parent / "photo.jpg").read_bytes()
    for name in ("tiger cat/untouched.jpg", "removed.jpg", "moved.jpg"):
        (top / name).write_bytes(espresso)
    git("add", "--all", cwd=top)
    git("commit", "--quiet", "--message=first", cwd=top)
    for hostile in (*RIGHT, WRONG):
        (top / os.fsdecode(hostile)).write_bytes(espresso)
    (top / os.fsdecode(BROKEN)).write_text("no picture")
    (top / "removed.jpg").unlink()
    (top / "moved.jpg").rename(top / "tiger cat" / "moved.jpg")
    (top / "phone.heic").write_text("a picture of a kind that is not read")
    (top / "notes.txt").write_text("no picture, and not called like one")
    for module in ("json", "torch", "camcli"):
        (top / f"{module}.py").write_text("open('taken', 'w')\n")
    git("add", "--all", cwd=top)
    git("commit", "--quiet", "--message=second", cwd=top)
    return top


@dataclass(frozen=True)
class Step:
    """What a finished step left."""

    code: int
    said: str
    outputs: dict[str, str]
    summary: str


def step(top: Path, folder: Path, **inputs: str) -> Step:
    """Run the step in a checkout, as action.yml does."""
    folder.mkdir(exist_ok=True)
    files = {"GITHUB_OUTPUT": f"{folder}/output", "GITHUB_STEP_SUMMARY": f"{folder}/summary.md"}
    given = {f"GATE_{name}": value for name, value in (INPUTS | inputs).items()}
    environment = os.environ | given | files | {"RUNNER_TEMP": str(folder), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(ROOT / "action" / "gate.py")]
    done = subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    outputs = dict(line.split("=", 1) for line in read(folder / "output").splitlines())
    return Step(done.returncode, done.stderr, outputs, read(folder / "summary.md"))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.fixture(scope="module")
def touched(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Step:
    return step(repository, tmp_path_factory.mktemp("runner"), BASE=git("rev-parse", "HEAD^", cwd=repository))


def committed(top: Path, **files: bytes | str) -> Path:
    """A repository of one commit with such files."""
    git("init", "--quiet", str(top), cwd=top.parent)
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    git("add", "--all", cwd=top)
    git("commit", "--quiet", "--message=only", cwd=top)
    return top


@pytest.mark.exhaustive
def test_what_the_commit_touches_is_explained_and_the_wrong_and_the_broken_fail_it(touched: Step) -> None:
    assert touched.code == 1, touched.said
    numbers = {name: touched.outputs[name] for name in ("pictures", "wrong", "refused")}
    # The moved one is among them: its new folder makes it wrong.
    assert numbers == {"pictures": str(len(RIGHT) + 3), "wrong": "2", "refused": "1"}
    assert f"::error title=camcli::2 wrong, 1 refused of {len(RIGHT) + 3} pictures" in touched.said.splitlines()


@pytest.mark.exhaustive
def test_the_page_has_the_pictures(touched: Step) -> None:
    report = Path(touched.outputs["report"])
    assert report.name == "camcli-report.html"
    assert [path.name for path in report.parent.iterdir() if "report" in path.name] == [report.name]
    page = report.read_text(encoding="utf-8")
    assert "touch taken" in page
    assert "untouched" not in page


@pytest.mark.exhaustive
def test_the_summary_says_which_without_markup_of_theirs(touched: Step) -> None:
    head, table = touched.summary.split("\n\n| | picture | |\n|---|---|---|\n")
    assert head == f"### camcli: 2 wrong, 1 refused of {len(RIGHT) + 3} pictures"
    first, second, third, _, last = table.splitlines()
    of_one = re.compile(
        r"\| (wrong|refused) \| <code>((?:[\w ]|&#\d+;)+)</code> \| <code>((?:[\w ]|&#\d+;)+)</code> \|"
    )
    rows = [of_one.fullmatch(line) for line in (first, second, third)]
    assert all(rows), table
    told = {html.unescape(row[2]): (row[1], html.unescape(row[3])) for row in rows if row}
    assert told.keys() == {WRONG.decode(), "tiger cat/moved.jpg", BROKEN.decode()}
    assert told[BROKEN.decode()] == ("refused", "not a picture that Pillow can read")
    assert told[WRONG.decode()][0] == "wrong"
    assert re.fullmatch(r"espresso 0\.\d\d, not tiger cat", told[WRONG.decode()][1])
    assert last == "The page to look through them is attached to this run: camcli-report.html"


@pytest.mark.exhaustive
def test_no_name_runs_anything_or_commands_the_runner(touched: Step, repository: Path) -> None:
    assert not (repository / "taken").exists()
    assert [path.name for path in repository.iterdir() if "camcli_out" in path.name] == []
    passed, stop, *spoken, go, last = touched.said.splitlines()
    assert passed == "::warning title=camcli::1 file passed over: 1 .heic"
    token = stop.removeprefix("::stop-commands::")
    assert len(token) == 32
    assert go == f"::{token}::"
    assert last.startswith("::error ")
    assert all(token not in line for line in spoken)


@pytest.mark.exhaustive
def test_a_name_that_begins_like_a_picture_is_a_name(tmp_path: Path) -> None:
    top = committed(tmp_path / "top", **{"GIF89a.jpg": ESPRESSO})
    done = step(top, tmp_path / "a", TRUTH="none")
    assert done.code == 0, done.said
    assert done.summary.startswith("### camcli: 0 wrong, 0 refused of 1 picture\n")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "config",
    [
        '[explain]\nshard = "1/999"\n',
        '[explain]\nlabels = "names.txt"\n',
        '[explain]\nmodel = "squeezenet1_1"\nweights = "none"\n',
        "explain = no TOML",
    ],
)
def test_a_config_file_of_the_commit_is_not_read(config: str, tmp_path: Path) -> None:
    """It once switched the gate off without a word."""
    names = "espresso\n" * 1000
    files: dict[str, bytes | str] = {
        "cup/a.jpg": ESPRESSO,
        "espresso/b.jpg": ESPRESSO,
        "camcli.toml": config,
        "names.txt": names,
    }
    done = step(committed(tmp_path / "top", **files), tmp_path / "a")
    assert done.code == 1, done.said
    assert done.summary.startswith("### camcli: 1 wrong, 0 refused of 2 pictures\n")
    assert html.unescape(done.summary).count("cup/a.jpg") == 1


@pytest.mark.exhaustive
def test_a_touched_picture_that_is_not_explained_fails_the_step(tmp_path: Path) -> None:
    top = committed(tmp_path / "top", **{"espresso/a.jpg": ESPRESSO, "espresso/b.jpg": ESPRESSO})
    shards = [step(top, tmp_path / part, ARGUMENTS=f"--shard {part}/2", FAIL_ON="none") for part in "12"]
    assert sum(int(shard.outputs["pictures"]) for shard in shards) == 2
    for shard in shards:
        left_out = 2 - int(shard.outputs["pictures"])
        listed = re.findall(r"'(espresso/\w\.jpg)'", shard.said.splitlines()[-1])
        assert len(listed) == left_out
        assert [name for name in listed if name not in html.unescape(shard.summary)] == []
        if left_out:
            assert shard.code == 1
            assert f"::error title=camcli::{left_out} touched not explained: 'espresso/" in shard.said
            assert shard.summary.startswith(
                f"### camcli: 0 wrong, 0 refused of {2 - left_out} pictures, {left_out} not"
            )


@pytest.mark.exhaustive
def test_a_step_that_explains_nothing_fails_and_names_no_page(tmp_path: Path) -> None:
    top = committed(tmp_path / "top", **{"espresso/a.jpg": ESPRESSO})
    shards = [step(top, tmp_path / part, ARGUMENTS=f"--shard {part}/2", PICTURES="espresso") for part in "12"]
    (done,) = (shard for shard in shards if shard.outputs["pictures"] == "0")
    assert done.code == 1
    assert "::error title=camcli::no picture was explained: `arguments` leave all of them out" in done.said
    assert done.outputs["report"] == ""
    assert "page" not in done.summary


def test_the_missing_are_told_by_number_and_name() -> None:
    touched = [b"a.jpg", b"b.jpg", b"\xff.jpg"]
    assert gate.missing(touched, ["b.jpg", "b.jpg", "\N{REPLACEMENT CHARACTER}.jpg"]) == ["a.jpg"]
    assert gate.missing([b"\xff.jpg", b"\xfe.jpg"], ["\N{REPLACEMENT CHARACTER}.jpg"]) == [
        "\N{REPLACEMENT CHARACTER}.jpg"
    ]


@pytest.mark.exhaustive
def test_the_checkout_may_lie_in_a_folder(tmp_path: Path) -> None:
    """Of a folder in it, what lies there counts, under its name there."""
    top = committed(tmp_path / "sub", **{"data/espresso/a.jpg": ESPRESSO, "b.jpg": ESPRESSO})
    done = step(tmp_path, tmp_path / "a", DIRECTORY="sub/data", ARGUMENTS="--top 1")
    assert done.code == 0, done.said
    assert done.outputs["pictures"] == "1"
    assert not (top / "camcli_out").exists()


def test_a_folder_without_a_checkout_says_what_to_name(tmp_path: Path) -> None:
    committed(tmp_path / "sub", **{"a.jpg": ESPRESSO})
    done = step(tmp_path, tmp_path / "a", BASE="HEAD^")
    assert done.code == 2
    assert "::error title=camcli::no commit is checked out in " in done.said
    assert "if it has a path, name that as directory" in done.said
    assert "fetch-depth" not in done.said
    assert "directory is 'sup': No such file or directory" in step(tmp_path, tmp_path / "a", DIRECTORY="sup").said


@pytest.mark.exhaustive
def test_it_fails_on_what_it_is_told_to(repository: Path, tmp_path: Path) -> None:
    """Named pictures take the place of touched ones; options of the command are quoted as in a shell."""
    named = {"PICTURES": "tiger cat/untouched.jpg\n", "ARGUMENTS": "--top 1 -M 'grad-cam'"}
    lenient = step(repository, tmp_path / "a", **named, FAIL_ON="refused")
    assert lenient.code == 0, lenient.said
    assert lenient.outputs["wrong"] == "1"
    assert lenient.summary.startswith("### camcli: 1 wrong, 0 refused of 1 picture\n")
    assert Path(lenient.outputs["report"]).is_file()


@pytest.mark.exhaustive
def test_without_a_truth_no_picture_is_wrong(repository: Path, tmp_path: Path) -> None:
    done = step(repository, tmp_path / "a", PICTURES="tiger cat/untouched.jpg", TRUTH="none")
    assert done.code == 0, done.said
    assert done.outputs["wrong"] == "0"


def test_a_wrong_request_fails_with_the_commands_code_and_attaches_nothing(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "camcli-report.html").write_text("of a step before")
    done = step(repository, tmp_path, PICTURES="tiger cat", ARGUMENTS="--norm never")
    assert done.code == 2
    assert "--norm 'never'" in done.said
    assert done.outputs["report"] == ""
    assert done.summary == "### camcli ended with exit code 2: see the log\n"


def test_a_commit_without_pictures_passes(repository: Path, tmp_path: Path) -> None:
    done = step(repository, tmp_path, BASE="HEAD")
    assert done.code == 0
    assert done.summary == "### camcli: no picture was touched\n"
    assert done.outputs == {"pictures": "0", "wrong": "0", "refused": "0", "report": ""}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"FAIL_ON": "wrogn"}, "fail-on is 'wrogn': say wrong, refused, both by comma, or none"),
        ({"FAIL_ON": ""}, "fail-on is '': say wrong"),
        ({"FAIL_ON": "none,wrong"}, "fail-on is 'none,wrong'"),
        ({"TRUTH": "yes"}, "truth is 'yes': say folder or none"),
        ({"REPORT": "../a.html"}, "report is '../a.html'"),
        ({"REPORT": "a.html\nreport=b"}, "report is 'a.html\\nreport=b'"),
        ({"ARGUMENTS": "--text 'a"}, "arguments can't be read: No closing quotation"),
        ({"BASE": "0123456789"}, "the base '0123456789' can't be fetched: check out with fetch-depth: 0"),
        ({"BASE": "--output=taken"}, "the base '--output=taken' can't be fetched"),
    ],
)
def test_a_wrong_input_says_what_to_write(inputs: dict[str, str], said: str, repository: Path, tmp_path: Path) -> None:
    done = step(repository, tmp_path, **inputs)
    assert done.code == 2
    assert done.said.startswith(f"::error title=camcli::{said}")
    assert not (repository / "taken").exists()


@pytest.mark.parametrize("base", ["", "0" * 40])
def test_without_a_base_all_files_of_the_commit_count(
    base: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    others = {b"notes.txt", b"phone.heic", b"json.py", b"torch.py", b"camcli.py"}
    everything = {*RIGHT, WRONG, BROKEN, *others, b"tiger cat/untouched.jpg", b"tiger cat/moved.jpg"}
    assert set(gate.files_of_commit(base)) == everything
    assert set(gate.files_of_commit("HEAD^")) == everything - {b"tiger cat/untouched.jpg"}
    assert gate.files_of_commit("HEAD") == []


def test_a_checkout_of_one_commit_fetches_the_base(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """actions/checkout does that, unless told otherwise. A server gives any commit that a branch has."""
    base = git("rev-parse", "HEAD^", cwd=repository)
    git("config", "uploadpack.allowReachableSHA1InWant", "true", cwd=repository)
    git("clone", "--quiet", "--depth=1", f"file://{repository}", "shallow", cwd=tmp_path)
    monkeypatch.chdir(tmp_path / "shallow")
    assert set(gate.files_of_commit(base)) >= {*RIGHT, WRONG, BROKEN}
    assert b"tiger cat/untouched.jpg" not in gate.files_of_commit(base)


def test_a_long_list_is_cut_and_says_so() -> None:
    failings = [gate.Failing("refused", "a" * 300, "b")] * 120 + [gate.Failing("wrong", "c", "d")]
    lines = gate.summary("said", failings, [], "a.html")
    assert lines[4].startswith("| wrong |")
    assert sum(line.startswith("| refused") for line in lines) == 99
    assert "and 21 more" in lines
    assert f"<code>{'a' * 199}&#8230;</code>" in lines[5]


def test_every_input_and_output_of_the_action_is_used_and_documented() -> None:
    assert set(re.findall(r"\binputs\.([\w-]+)", ACTION)) == PARSED["inputs"].keys()
    script = Path(gate.__file__).read_text(encoding="utf-8")
    given = {name for each in STEPS for name in each.get("env", {}) if name.startswith("GATE_")}
    assert given == {f"GATE_{name}" for name in INPUTS} == set(re.findall(r'"(GATE_\w+)"', script))
    assert {name: value["value"] for name, value in PARSED["outputs"].items()} == {
        name: f"${{{{ steps.gate.outputs.{name} }}}}" for name in ("pictures", "wrong", "refused", "report")
    }
    guide = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert [name for name in (*PARSED["inputs"], *PARSED["outputs"]) if f"`{name}`" not in guide] == []


def test_no_input_becomes_a_shells_text_and_other_actions_have_a_version() -> None:
    for each in STEPS:
        assert "${{" not in each.get("run", "")
        assert re.fullmatch(r"actions/[\w-]+@v\d+", each.get("uses", "actions/none@v1"))
        if "run" in each:
            assert each["env"]["PYTHONSAFEPATH"] == "1"
            subprocess.run(["bash", "-n", "-c", each["run"]], check=True)
