"""Every bad request, machine and picture: its one clear line and its exit code."""

from __future__ import annotations

import ctypes
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shell import SAMPLES, finish, run, spawn

Picture = Callable[..., Path]

PHOTO = SAMPLES / "espresso.jpg"


def refused(code: int, *arguments: object, stdin: bytes = b"") -> str:
    """The one line that a refused command says."""
    outcome = run(*arguments, stdin=stdin)
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    assert line.startswith("camcli: ")
    assert not Path("camcli_out").exists()
    return line


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-m", "resnet5"], "unknown model 'resnet5': did you mean resnet50"),
        (["-M", "gradcm"], "unknown method 'gradcm': did you mean grad-cam"),
        (["-l", "featuress"], "unknown layer 'featuress': did you mean features"),
        (["-c", "expresso"], "unknown class 'expresso': did you mean espresso"),
        (["-c", "terrier"], "class 'terrier' could be 158 toy terrier, 180 American Staffordshire"),
        (["-c", "1000"], "class 1000 is outside 0-999: efficientnet_lite0 has 1000 classes"),
        (["-c", "-1"], "class -1 is outside 0-999"),
        (["-c", "top0"], "top0: efficientnet_lite0 has 1000 classes"),
        (["-w", "IMAGENET1K_V9"], "unknown weights for efficientnet_lite0 'IMAGENET1K_V9': did you mean IMAGENET1K"),
        (["-w", "no/such.pth"], "no such weights file: no/such.pth"),
        (["-m", "vgg16", "-w", "IMAGENET1K_FEATURES"], "features without a classifier"),
        (["--fit", "stretch"], "--fit 'stretch' is none of crop, squash, pad, full"),
        (["--colormap", "rainbows"], "--colormap 'rainbows' is none of turbo"),
        (["--style", "modern"], "--style 'modern' is none of graded, classic"),
        (["--font", "no/such.ttf"], "--font no/such.ttf: no such file"),
        (["--font", __file__], "it can't be read as a font"),
        (["--save", "overlay,none"], "--save 'none' is none of overlay"),
        (["--save", "overlay,tiff"], "--save 'tiff' is none of overlay"),
        (["--norm", "fixed"], "--norm fixed and --norm-max VALUE go together"),
        (["--norm-max", "2"], "--norm fixed and --norm-max VALUE go together"),
        (["-o", "-", "--json"], "-o - and --json both want stdout"),
        (["-o", "-", "-c", "top3"], "-o - takes one picture"),
        (["-o", "one.npz"], "-o one.npz: a .npz file holds --save raw, and nothing else does"),
        (["-o", "one.png", "--save", "raw"], "a .npz file holds --save raw, and nothing else does"),
        (["-o", "one.png", "-M", "grad-cam", "-M", "gradient"], "-o one.png takes one picture"),
        (["-o", "one.png", "-M", "all"], "-o one.png takes one picture"),
        (["--results", "rows.csv"], "--results rows.csv: the table is Parquet and no .csv"),
        (["-m", "best.pth"], "a file or folder of weights is named with --weights best.pth"),
        (["-m", "."], "a file or folder of weights is named with --weights ."),
        (["-m", "torchvision.models.resnet18"], "named with a colon, --model torchvision.models:resnet18"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_runs(flags: list[str], said: str) -> None:
    assert said in refused(2, "explain", PHOTO, *flags)


def test_all_wrong_flags_are_named_at_once() -> None:
    line = refused(2, "explain", PHOTO, "-m", "resnet5", "-M", "gradcm", "--white", "-1")
    assert all(part in line for part in ("resnet5", "gradcm", "--white -1"))


def test_all_values_that_are_none_of_an_option_are_named_at_once_with_its_choices() -> None:
    line = refused(2, "explain", PHOTO, "--fit", "stretch", "--norm", "none", "-b", "many", "--opacity", "3")
    assert "--fit 'stretch' is none of crop, squash, pad, full, whole; " in line
    assert "--norm 'none' is none of image, run, fixed" in line
    assert "--batch-size 'many': " in line
    assert "--opacity '3': " in line


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["missing.jpg"], b"", "no such file or folder: missing.jpg"),
        (["empty"], b"", "no inputs: no pictures in empty"),
        (["-"], b"", "no inputs: stdin is empty"),
        (["-", "-"], b"", "`-` can be given once"),
    ],
)
def test_no_inputs(arguments: list[str], stdin: bytes, said: str) -> None:
    Path("empty").mkdir()
    Path("empty/notes.txt").write_text("no picture")
    assert said in refused(2, "explain", *arguments, stdin=stdin)


def test_one_file_for_two_pictures() -> None:
    assert "takes one picture, and there are several" in refused(2, "explain", SAMPLES, "-o", "-")


def test_an_output_of_too_long_a_name() -> None:
    assert "File name too long" in refused(2, "explain", PHOTO, "-o", "a" * 300 + ".png")


def test_an_output_that_cannot_be_a_folder() -> None:
    Path("taken").write_text("a file")
    assert "can't write to taken/out" in refused(2, "explain", PHOTO, "-o", "taken/out")


@pytest.mark.parametrize("name", ["fig.pdf", "out.gif", "x.jpgg", "a.JEPG", "deep/er/b.pgn", "d.svg", "e.npy"])
def test_what_looks_like_a_file_of_a_kind_that_is_not_written_is_no_folder(name: str) -> None:
    line = refused(2, "explain", PHOTO, "-o", name)
    assert f"-o {name}: no {Path(name).suffix.lower()} is written here" in line
    assert ".jpg, .jpeg, .png, .webp" in line
    assert f"write {name}/" in line


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_rows_that_are_asked_of_output_are_told_where_they_come(name: str) -> None:
    assert "rows come on stdout with --json or as Parquet with --results FILE" in refused(
        2, "explain", PHOTO, "-o", name
    )


@pytest.mark.parametrize("name", ["v1.2", "out.d", "run.2026-01-31", "fig.pdf/", "there.gif", "b.png/"])
def test_folders_may_have_dots(name: str, picture: Picture) -> None:
    Path("there.gif").mkdir()
    outcome = run("explain", picture("a.png"), "-o", name, "-m", "squeezenet1_1", "-w", "none", "-q")
    assert outcome.code == 0, outcome.err
    assert len(list(Path(name).glob("*.overlay.jpg"))) == 1


@pytest.mark.parametrize("arguments", [("explain", "-o", "taken/a.png"), ("compare", "-o", "taken/sheet.png")])
def test_a_file_that_cannot_be_made_is_refused_before_anything_runs(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine(*arguments: object, **options: object) -> None:
        raise AssertionError

    monkeypatch.setattr("camcli.running.pipeline.Engine", engine)
    Path("taken").write_text("a file")
    command, *rest = arguments
    assert "can't write to taken: taken is not a folder" in refused(2, command, PHOTO, *rest)


def test_a_sheet_is_no_folder() -> None:
    Path("sheet.png").mkdir()
    assert "-o sheet.png: it is a folder" in refused(2, "compare", PHOTO, "-o", "sheet.png")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((PHOTO,), f"type `camcli explain {PHOTO}`"),
        (("photos/", "-M", "cam"), "type `camcli explain photos/ -M cam`"),
        (("gone.jpg",), "type `camcli explain gone.jpg`"),
        (("a b.PNG",), "type `camcli explain 'a b.PNG'`"),
        (("*.jpg",), "type `camcli explain '*.jpg'`"),
        (("https://example.org/a",), "type `camcli explain https://example.org/a`"),
        (("-",), "type `camcli explain -`"),
    ],
)
def test_a_picture_in_the_place_of_a_command(arguments: tuple[object, ...], said: str) -> None:
    Path("photos").mkdir()
    assert said in refused(2, *arguments)


@pytest.mark.parametrize("given", ["cat", "top1", "0"])
def test_classify_takes_no_class_but_the_folders(given: str) -> None:
    line = refused(2, "classify", PHOTO, "--class", given)
    assert "classify explains no class" in line
    assert "`camcli explain` takes any class" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain", PHOTO, "--no-such-flag"), "error: no such option: --no-such-flag"),
        (("explain", PHOTO, "--contrast", "cat"), "error: option '--contrast' requires 2 arguments"),
        (("explain",), "error: INPUTS is missing: see `camcli explain --help`"),
        (("models", "a", "b"), "error: got unexpected extra argument"),
        (("nonsense",), "error: no such command 'nonsense'"),
        (("--nonsense",), "error: no such option: --nonsense"),
        (("explain", "--norm", "a\nb\x1b[2J", PHOTO), "error: --norm 'a\\nb\\x1b[2J' is none of image, run, fixed"),
    ],
)
def test_what_typer_refuses_is_one_line_too(arguments: tuple[object, ...], said: str) -> None:
    assert said in refused(2, *arguments)


@pytest.mark.parametrize("method", ["guided-backprop", "guided-grad-cam", "deconvnet"])
def test_the_guided_rule_is_refused_where_nothing_is_guided(method: str) -> None:
    line = refused(3, "explain", PHOTO, "-m", "efficientnet_b0", "-w", "none", "-M", method)
    assert f"{method} does not apply to efficientnet_b0" in line
    assert "silu x49" in line


@pytest.mark.exhaustive
def test_full_pictures_are_refused_by_networks_of_one_size() -> None:
    line = refused(3, "explain", PHOTO, "-m", "vit_b_32", "-w", "none", "--fit", "full")
    assert "vit_b_32 takes 224x224 pictures only" in line


def test_layers_without_a_map_are_refused() -> None:
    assert "'avgpool' gives 1280x1x1, not a spatial map" in refused(3, "explain", PHOTO, "-l", "avgpool")
    assert "'classifier' gives 1000, not a spatial map" in refused(3, "explain", PHOTO, "-l", "classifier")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there() -> None:
    assert "no cuda device here" in refused(3, "explain", PHOTO, "--device", "cuda")


def test_unknown_device() -> None:
    assert "--device" in refused(2, "explain", PHOTO, "--device", "abacus")


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1, 1)}, tmp_path / "other.pth")
    line = refused(3, "explain", PHOTO, "-m", "resnet18", "-w", tmp_path / "other.pth")
    assert "other.pth does not fit resnet18" in line


@pytest.mark.exhaustive
def test_unreachable_weights_name_the_url_the_cache_and_the_bundled_model(tmp_path: Path) -> None:
    """A proxy that refuses connections stands for a machine without network."""
    nowhere = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": ""}
    process = spawn("explain", PHOTO, "--model", "vgg16", "--class", "243", env=os.environ | nowhere)
    outcome = finish(process)
    assert outcome.code == 3
    (line,) = outcome.err.splitlines()
    assert "/models/vgg16-397923af.pth" in line
    assert str(tmp_path / "torch-home" / "hub" / "checkpoints" / "vgg16-397923af.pth") in line
    assert "--model efficientnet_lite0" in line


def bomb() -> bytes:
    """A PNG whose header promises 50,000 x 50,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, body, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "stage", "kind"),
    [
        (b"", "open", "empty"),
        (b"just some text\n", "decode", "not-a-picture"),
        (PHOTO.read_bytes()[:20_000] if PHOTO.exists() else b"", "decode", "broken"),
        (bomb(), "decode", "too-large"),
    ],
    ids=["empty", "text", "truncated", "bomb"],
)
def test_a_bad_picture_is_one_row_and_exit_4(content: bytes, stage: str, kind: str) -> None:
    Path("bad.jpg").write_bytes(content)
    outcome = run("explain", "bad.jpg", PHOTO, "--json", "-q")
    assert outcome.code == 4
    assert outcome.err == ""
    bad, good = outcome.rows
    assert list(bad) == ["schema", "input", "error"]
    assert (bad["error"]["stage"], bad["error"]["kind"]) == (stage, kind)
    assert good["top"][0]["id"] == 967
    said = run("explain", "bad.jpg").err.splitlines()
    assert said == [f"camcli: refused bad.jpg: {bad['error']['message']}"]


def _as_anybody() -> None:
    """Take from the child what lets root read everything: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):
        libc.prctl(24, capability, 0, 0, 0)


@pytest.mark.exhaustive
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_no_permission_to_read_or_write(picture: Picture) -> None:
    picture("secret.png").chmod(0)
    outcome = finish(spawn("explain", "secret.png", "--json", preexec_fn=_as_anybody))
    if os.geteuid() == 0 and outcome.code == 0:
        pytest.skip("root here can't drop its powers")
    assert outcome.code == 4
    assert outcome.rows[0]["error"]["kind"] == "permission"
    Path("closed").mkdir(mode=0o500)
    outcome = finish(spawn("explain", PHOTO, "-o", "closed/out", preexec_fn=_as_anybody))
    assert outcome.code == 2
    assert "can't write to closed/out: no permission" in outcome.err


def test_a_bug_is_one_line_that_asks_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("camcli.running.pipeline.Engine", broken)
    outcome = run("explain", PHOTO)
    assert outcome.code == 1
    (line,) = outcome.err.splitlines()
    assert "ZeroDivisionError: a bug; this is a bug in camcli: please report it" in line
    assert "Traceback" in run("explain", PHOTO, "--debug").err


def test_a_full_disk_is_said_and_leaves_nothing_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    outcome = run("explain", PHOTO)
    assert outcome.code == 3
    assert "No space left on device" in outcome.err
    assert list(Path("camcli_out").iterdir()) == []
