"""Nothing lost: what a folder's journal records, and what cutting a run off does to it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from shell import Outcome, finish, refused, run, spawn

from camcli.sinks import lines as lines_
from camcli.storage.scratch import Scratch

Picture = Callable[..., Path]
COMMAND = ("explain", "in", "-o", "out", "--json", "-b", "4")
KILLS = int(os.environ.get("CAMCLI_KILLS", "2"))


@pytest.fixture
def photos(picture: Picture) -> list[str]:
    """Ten pictures, of which one is none."""
    names = [f"in/{i}.png" for i in range(10)]
    for i, name in enumerate(names):
        picture(name, (64 + i, 48))
    Path(names[6]).write_bytes(b"no picture")
    return names


def contents(folder: str = "out") -> dict[str, bytes]:
    """All that is in a folder; of rows all but their timings."""
    return {str(path): _timeless(path) for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def _timeless(path: Path) -> bytes:
    if path.suffix != ".jsonl":
        return path.read_bytes()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return json.dumps([{k: v for k, v in row.items() if k != "ms"} for row in rows]).encode()


def recorded(path: str = "out/rows.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def hidden() -> list[Path]:
    return list(Path("out").rglob(".*"))


def keep_rows(count: int) -> list[str]:
    lines = Path("out/rows.jsonl").read_text().splitlines(keepends=True)
    Path("out/rows.jsonl").write_text("".join(lines[:count]))
    return lines


def test_the_journal_holds_the_rows_and_what_was_asked(photos: list[str]) -> None:
    outcome = run(*COMMAND)
    assert outcome.code == 4
    assert Path("out/rows.jsonl").read_bytes() == outcome.stdout
    asked = json.loads(Path("out/run.json").read_text())["asked"]
    assert asked["classes"] == ["top1"]
    assert (asked["style"], asked["colormap"], asked["opacity"]) == ("graded", "inferno", 0.65)
    assert not hidden()


def test_a_run_into_the_default_folder_keeps_none(picture: Picture) -> None:
    run("explain", picture("a.png"))
    assert {path.suffix for path in Path("camcli_out").iterdir()} == {".jpg"}


@pytest.mark.exhaustive
def test_what_is_done_is_told_and_not_computed_again(photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(*COMMAND)
    pictures = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.jpg")}
    second = run("explain", "in", "-o", "out", "-b", "4")
    assert "9 of 10 pictures answered, 1 refused (10 of them done before)" in second.err
    assert run(*COMMAND).stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in Path("out").glob("*.jpg")} == pictures


@pytest.mark.exhaustive
@pytest.mark.parametrize("done", [0, 3, 4, 9])
def test_a_run_goes_on_behind_its_last_row(photos: list[str], done: int) -> None:
    run(*COMMAND)
    whole = contents()
    for row in recorded()[done:]:
        for answer in row.get("explanations", ()):
            Path(answer["files"]["overlay"]).unlink()
    lines = keep_rows(done)
    outcome = run(*COMMAND)
    assert contents() == whole
    assert [row["input"] for row in outcome.rows] == photos
    assert Path("out/rows.jsonl").read_text().splitlines(keepends=True)[:done] == lines[:done]


@pytest.mark.exhaustive
def test_a_row_whose_files_are_gone_is_computed_again(photos: list[str]) -> None:
    """As after a power cut on a file system that had not kept a rename yet; or somebody has deleted them."""
    first = run(*COMMAND)
    whole = contents()
    for number in (2, 9):
        Path(first.rows[number]["explanations"][0]["files"]["overlay"]).unlink()
    second = run("explain", "in", "-o", "out", "-b", "4")
    assert "(8 of them done before)" in second.err
    assert contents() == whole


@pytest.mark.exhaustive
@pytest.mark.parametrize("save", ["overlay", "none"])
def test_a_picture_that_has_changed_since_is_explained_again(photos: list[str], picture: Picture, save: str) -> None:
    command = ("explain", "in", "-o", "out", "--save", save, "-b", "4")
    first = run(*command, "--json")
    picture(photos[2], (99, 48))  # was explained
    picture(photos[6], (99, 48))  # was refused
    second = run(*command)
    assert "(8 of them done before)" in second.err
    rows = run(*command, "--json").rows
    assert [row["input"] for row in rows] == photos
    assert [row["size"] for row in (rows[2], rows[6])] == [[99, 48], [99, 48]]
    assert [row for row in rows if row["input"] not in (photos[2], photos[6])] == [
        row for row in first.rows if row["input"] not in (photos[2], photos[6])
    ]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd here")
def test_what_the_shell_opens_is_another_picture_each_time(photos: list[str]) -> None:
    with Path(photos[0]).open("rb") as first, Path(photos[1]).open("rb") as second:
        command = ("explain", f"/dev/fd/{first.fileno()}", "-o", "out", "--json")
        assert run(*command).rows[0]["size"] == [64, 48]
        os.dup2(second.fileno(), first.fileno())
        os.utime(photos[1], (0, 0))
        assert run(*command).rows[0]["size"] == [65, 48]


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", ["absolute", "from inside", "URI"])
def test_a_folder_is_the_same_however_it_is_named(photos: list[str], way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path.cwd()
    run("explain", here / "in", "-o", "out", "-b", "4")
    named = {"absolute": here / "out", "from inside": "../out", "URI": f"file://{here}/out"}[way]
    if way == "from inside":
        monkeypatch.chdir("in")
    told = run("explain", here / "in", "-o", named, "-b", "4").err
    assert "(10 of them done before)" in told
    run("explain", here / "in", "-o", named, "-b", "4", "-c", "3", "--overwrite")
    assert len(list((here / "out").glob("*.jpg"))) == 9


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "tail",
    [
        '{"schema": 1, "inp',
        "\0\0\0\0\n",
        "[]\n",
        '{"input": 3}\n',
        '{"input": "a", "top": [], "explanations": [3]}\n',
        "\xff\n",
    ],
)
def test_a_torn_last_line_is_mended(photos: list[str], tail: str) -> None:
    run(*COMMAND)
    whole = contents()
    keep_rows(5)
    with Path("out/rows.jsonl").open("ab") as file:
        file.write(tail.encode("latin-1"))
    run(*COMMAND)
    assert contents() == whole


@pytest.mark.exhaustive
def test_refusals_are_repeated_where_that_is_asked(photos: list[str], picture: Picture) -> None:
    before, broken = run(*COMMAND), Path(photos[6]).stat()
    picture(photos[6])
    os.utime(photos[6], ns=(broken.st_atime_ns, broken.st_mtime_ns))
    assert run(*COMMAND).stdout == before.stdout
    outcome = run(*COMMAND, "--retry-failed")
    assert outcome.code == 0
    assert [row["input"] for row in outcome.rows] == photos
    assert Path("out/rows.jsonl").read_bytes() == outcome.stdout
    again = run(*COMMAND, "--retry-failed")
    assert again.stdout == outcome.stdout


@pytest.mark.exhaustive
def test_a_run_from_before_there_were_styles_goes_on_in_the_classic_one(photos: list[str]) -> None:
    """Such a run recorded its colours, but no style."""
    run(*COMMAND, "--style", "classic")
    recorded = json.loads(Path("out/run.json").read_text())
    for name in ("style", "legend", "font"):
        del recorded["asked"][name]
    Path("out/run.json").write_text(json.dumps(recorded))
    keep_rows(3)
    said = refused(2, *COMMAND)
    assert "(style was classic, now graded, colormap was turbo, now inferno, opacity was 0.5, now 0.65)" in said
    assert "3 of them done before" in run(*COMMAND, "--style", "classic").err


@pytest.mark.exhaustive
def test_another_question_is_refused_with_what_differs(photos: list[str]) -> None:
    run(*COMMAND)
    whole = contents()
    said = refused(2, *COMMAND, "-c", "3", "--opacity", "0.25")
    assert "(opacity was 0.65, now 0.25, classes was top1, now 3)" in said
    assert "--overwrite" in said
    assert "choose another folder" in said
    assert contents() == whole
    assert run(*COMMAND[:-1], "2").code == 4  # the batch size decides no answer


@pytest.mark.exhaustive
def test_overwriting_removes_the_run_that_was_there_and_nothing_else(photos: list[str]) -> None:
    run(*COMMAND)
    Path("out/mine.txt").write_text("mine")
    Path("beside.jpg").write_text("beside")
    Path("elsewhere").mkdir()
    Path("elsewhere/linked.jpg").write_text("linked")
    Path("out/link").symlink_to("../elsewhere")
    rows = recorded()
    rows[0]["explanations"][0]["files"] |= {"heatmap": "out/../beside.jpg", "panel": "out/link/linked.jpg"}
    Path("out/rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = run(*COMMAND, "--overwrite", "-c", "3")
    assert outcome.code == 4
    overlays = {answer["files"]["overlay"] for row in outcome.rows for answer in row.get("explanations", ())}
    assert set(contents()) == {*overlays, "out/mine.txt", "out/rows.jsonl", "out/run.json"}
    assert Path("beside.jpg").exists()
    assert Path("elsewhere/linked.jpg").exists()
    assert recorded() == outcome.rows


def test_overwriting_and_retrying_exclude_each_other(photos: list[str]) -> None:
    assert "leave one out" in refused(2, *COMMAND, "--overwrite", "--retry-failed")
    assert "go with -o FOLDER" in refused(2, "explain", "in", "-o", "memory://out", "--overwrite")
    assert "go with -o FOLDER" in refused(2, "explain", "in", "-o", "one.png", "--retry-failed")


def test_other_weights_under_the_same_name_are_refused(photos: list[str], tmp_path: Path) -> None:
    import torch
    import torchvision

    def train(seed: int) -> None:
        torch.manual_seed(seed)
        torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), "w.pth")

    command = (*COMMAND, "-m", "squeezenet1_1", "-w", "w.pth")
    train(0)
    run(*command)
    keep_rows(5)
    train(1)
    outcome = run(*command)
    assert outcome.code == 2
    assert "a run with other weights (sha256 " in outcome.err
    assert outcome.out == ""


@pytest.mark.exhaustive
def test_inputs_may_come_and_go(photos: list[str], picture: Picture) -> None:
    run(*COMMAND)
    picture("in/00.png")
    Path("in/3.png").unlink()
    outcome = run(*COMMAND)
    told = [row["input"] for row in outcome.rows]
    assert told == ["in/0.png", "in/00.png", *(n for n in photos[1:] if n != "in/3.png")]
    assert [row["input"] for row in recorded()] == ["in/3.png", *told]


def test_the_same_input_twice_is_two_rows(picture: Picture) -> None:
    name = str(picture("a.png"))
    command = ("explain", name, name, "-o", "out", "--json", "-b", "1")
    first = run(*command)
    assert [row.get("again") for row in first.rows] == [None, 2]
    keep_rows(1)
    assert [row.get("again") for row in run(*command).rows] == [None, 2]
    assert len({row["explanations"][0]["files"]["overlay"] for row in recorded()}) == 2


def test_a_picture_through_a_pipe_is_never_taken_for_the_one_before(picture: Picture) -> None:
    for size in ((50, 40), (60, 40)):
        data = picture("a.png", size).read_bytes()
        (row,) = run("explain", "-", "-o", "out", "--json", stdin=data).rows
        assert row["size"] == list(size)
    assert [row["size"] for row in recorded()] == [[60, 40]]


@pytest.mark.exhaustive
def test_shards_keep_journals_of_their_own(photos: list[str]) -> None:
    for number in (1, 2, 3):
        run(*COMMAND, "--shard", f"{number}/3")
    parts = [recorded(f"out/rows.{number}-of-3.jsonl") for number in (1, 2, 3)]
    assert [row["input"] for part in parts for row in part] == photos


@pytest.mark.exhaustive
def test_a_journal_that_is_none_is_refused(photos: list[str]) -> None:
    run(*COMMAND)
    Path("out/run.json").write_text("{")
    assert "out/run.json can't be read: --overwrite starts anew" in refused(2, *COMMAND)
    assert run(*COMMAND, "--overwrite").code == 4


@pytest.mark.parametrize("name", ["rows.jsonl", "run.json", ".camcli-run", ".camcli-run/lock"])
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_no_link_in_the_folder_is_written_through(photos: list[str], name: str, more: tuple[str, ...]) -> None:
    """Issue: a link `rows.jsonl` in a folder of somebody's had a file elsewhere overwritten."""
    Path("mine").mkdir()
    Path("mine/file").write_text("mine")
    link = Path("out", name)
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("mine" if name == ".camcli-run" else "mine/file").absolute())
    assert f"out/{name} is a link" in refused(2, *COMMAND, *more)
    assert {path: path.read_text() for path in Path("mine").iterdir()} == {Path("mine/file"): "mine"}


def test_a_lock_in_the_folder_that_is_a_link_is_left_alone(photos: list[str]) -> None:
    Path("mine").write_text("mine")
    Path("out/.camcli-somebody").mkdir(parents=True)
    Path("out/.camcli-somebody/lock").symlink_to(Path("mine").absolute())
    assert run(*COMMAND).code == 4
    assert Path("mine").read_text() == "mine"


def test_a_pipe_of_the_journals_name_is_refused(photos: list[str]) -> None:
    """Issue: the run waited for a reader for ever."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    Path("out").mkdir()
    os.mkfifo("out/rows.jsonl")
    assert "out/rows.jsonl is a device or pipe" in refused(2, *COMMAND)


def test_links_left_in_the_runs_hidden_folder_are_not_written_through(tmp_path: Path) -> None:
    Path("mine").write_text("mine")
    Path("out/.camcli-run/below").mkdir(parents=True)
    Path("out/.camcli-run/1.tmp").symlink_to(Path("mine").absolute())
    scratch = Scratch(Path("out"), "run")
    assert [path.name for path in scratch.folder.iterdir()] == ["lock"]
    scratch.close()
    assert Path("mine").read_text() == "mine"


NOTES = b"my own notes\nsecond line\n"


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    "content",
    [
        NOTES,
        *(
            pytest.param(own, marks=pytest.mark.exhaustive)
            for own in (b"\xff\xfe" + "a\nb".encode("utf-16-le"), b'{"a": 1}', b"one line")
        ),
    ],
)
def test_a_file_of_the_users_that_has_the_journals_name_is_kept(
    photos: list[str], content: bytes, more: tuple[str, ...]
) -> None:
    """Issue: all from its first line was taken for torn, and cut off without a word."""
    Path("out").mkdir()
    Path("out/rows.jsonl").write_bytes(content)
    assert "out/rows.jsonl is no journal of camcli" in refused(2, *COMMAND, *more)
    Path("out/rows.jsonl").unlink()
    run(*COMMAND)
    Path("out/rows.jsonl").write_bytes(content)
    assert "out/rows.jsonl is no journal of camcli (its line 1 is no row)" in refused(2, *COMMAND, *more)
    assert Path("out/rows.jsonl").read_bytes() == content


def test_rows_that_the_shell_wrote_into_the_folder_are_no_journal(photos: list[str]) -> None:
    rows = run("explain", "in", "--save", "none", "--json").stdout
    Path("out").mkdir()
    Path("out/rows.jsonl").write_bytes(rows)
    assert "(there is no run.json beside it)" in refused(2, *COMMAND)
    assert Path("out/rows.jsonl").read_bytes() == rows


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_stdout_is_not_sent_to_the_journal(photos: list[str], mode: str) -> None:
    """With `>>` each would write into the other's rows."""
    if mode == "ab":
        run(*COMMAND)
    Path("out").mkdir(exist_ok=True)
    with Path("out/rows.jsonl").open(mode) as stdout:
        before = Path("out/rows.jsonl").read_bytes()
        outcome = finish(spawn(*COMMAND, stdout=stdout))
    assert outcome.code == 2
    assert "stdout goes to out/rows.jsonl, where rows are recorded as it is: leave its `>` out" in outcome.err
    assert Path("out/rows.jsonl").read_bytes() == before


def test_lines_among_the_rows_that_are_none_are_kept(photos: list[str]) -> None:
    run(*COMMAND)
    lines = Path("out/rows.jsonl").read_bytes().splitlines(keepends=True)
    noted = b"".join([*lines[:3], b"a note\n", *lines[3:]])
    Path("out/rows.jsonl").write_bytes(noted)
    assert "(its line 4 is no row)" in refused(2, *COMMAND)
    assert Path("out/rows.jsonl").read_bytes() == noted


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_another_tools_record_is_kept(photos: list[str], more: tuple[str, ...]) -> None:
    Path("out").mkdir()
    Path("out/run.json").write_text('{"id": 3}')
    assert "out/run.json is no record of camcli" in refused(2, *COMMAND, *more)
    assert Path("out/run.json").read_text() == '{"id": 3}'


@pytest.mark.parametrize("kept", [1, 9, 40])
def test_a_first_row_that_was_cut_off_is_mended(photos: list[str], kept: int) -> None:
    run(*COMMAND)
    whole = contents()
    Path("out/rows.jsonl").write_bytes(Path("out/rows.jsonl").read_bytes()[:kept])
    run(*COMMAND)
    assert contents() == whole


def test_a_loop_of_links_is_no_folder(photos: list[str]) -> None:
    """Issue: it was reported as a bug in camcli, before Python 3.13."""
    Path("loop").symlink_to("loop")
    assert "loop is not a folder" in refused(2, "explain", "in", "-o", "loop")
    assert "is not a folder" in refused(2, "explain", "in", "-o", "loop/out")


@pytest.mark.exhaustive
def test_a_full_disk_tears_nothing_and_the_run_goes_on(photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run(*COMMAND)
    whole = contents()
    run(*COMMAND, "--overwrite")
    lines = keep_rows(3)
    original_write = FileIO.write

    class Full(FileIO):
        def write(self, data: Any) -> int:
            return original_write(self, bytes(data)[:100])

    with monkeypatch.context() as patched:
        patched.setattr(lines_, "FileIO", Full)
        outcome = run(*COMMAND)
    assert outcome.code == 3
    assert "can't write out/rows.jsonl: No space left on device" in outcome.err
    assert Path("out/rows.jsonl").read_text().splitlines(keepends=True) == lines[:3]
    run(*COMMAND)
    assert contents() == whole


@pytest.mark.exhaustive
def test_a_second_process_on_the_folder_is_refused(photos: list[str]) -> None:
    first = spawn("explain", "-", "-o", "out", "--json", "-b", "1")
    assert first.stdin is not None
    assert first.stdout is not None
    first.stdin.write(b"in/0.png\n")
    first.stdin.flush()
    first.stdout.readline()
    second = finish(spawn(*COMMAND))
    assert second.code == 2
    assert second.err == (
        "camcli: error: another camcli is writing to out: wait for it, or choose another folder with --output\n"
    )
    first.kill()
    finish(first)
    assert finish(spawn(*COMMAND)).code == 4  # a crash leaves no lock behind
    assert [row["input"] for row in recorded()] == [f"in/{i}.png" for i in range(10)]


def _stopped(number: int, *more: str) -> Outcome:
    process = spawn(*COMMAND, *more)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    return finish(process)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_run_behind_the_batch(picture: Picture, number: int, code: int) -> None:
    for i in range(60):
        picture(f"in/{i:02}.png")
    outcome = _stopped(number)
    assert outcome.code == code
    assert outcome.err.splitlines()[-1] == "camcli: interrupted; the same command goes on from here"
    done = len(recorded())
    assert done % 4 == 0
    assert done < 60
    assert len(list(Path("out").glob("*.jpg"))) == done
    assert not hidden()
    assert run(*COMMAND).code == 0
    assert [row["input"] for row in recorded()] == [f"in/{i:02}.png" for i in range(60)]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_waiting_for_names_is_ended_at_once(picture: Picture, number: int, code: int) -> None:
    process = spawn("explain", "-", "-o", "out", "--json", "-b", "1")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{picture('a.png')}\n".encode())
    process.stdin.flush()
    process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(number)
    assert process.wait(5) == code
    assert finish(process).err.splitlines()[-1] == "camcli: interrupted; the same command goes on from here"
    assert len(recorded()) == 1
    assert not hidden()


@pytest.mark.exhaustive
def test_a_second_signal_stops_at_once(picture: Picture) -> None:
    picture("in/0.png")
    # One batch that takes minutes.
    process = spawn("explain", "in", "-o", "out", "-M", "rise", "--json")
    while not Path("out/run.json").exists():  # the model is there, and the batch begins
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert finish(process, timeout=5).code == 130


@pytest.mark.exhaustive
def test_the_reader_may_go_away(picture: Picture) -> None:
    for i in range(30):
        picture(f"in/{i:02}.png")
    process = spawn(*COMMAND)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    for stream in (process.stdin, process.stderr):
        assert stream is not None
        stream.close()
    done = len(recorded())
    assert 1 <= done < 30
    assert run(*COMMAND).code == 0
    assert len(recorded()) == 30


@pytest.mark.exhaustive
def test_killed_anywhere_and_resumed_it_is_the_run_that_was_never_killed(picture: Picture) -> None:
    for i in range(24):
        picture(f"in/{i:02}.png", (500 - i, 375))
    # By a process of its own too: in this one MKL may have begun before a command could say in which order it adds.
    assert _killed_behind(24, 0) == 0
    whole = contents()
    rng = random.Random(0)
    kills = 0
    while kills < KILLS:
        shutil.rmtree("out")
        done = 0
        while (code := _killed_behind(rng.randint(done, 24), rng.uniform(0, 0.05))) == -signal.SIGKILL:
            kills += 1
            done = Path("out/rows.jsonl").read_bytes().count(b"\n")
        assert code == 0
        assert contents() == whole
        assert not hidden()


def _killed_behind(rows: int, seconds: float) -> int:
    """So long after more than so many rows are recorded, or never where there are no more."""
    process = spawn(*COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path = Path("out/rows.jsonl")
    while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") > rows):
        time.sleep(0.002)
    with suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    process.kill()
    return process.wait()
