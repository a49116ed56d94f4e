"""`camcli explain` and `classify` as a user types them, on the photographs that ship with the project."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shell import SAMPLES, run

from camcli import Engine, OutputSpec, Spec, expand, open_sinks
from camcli.errors import SetupError
from camcli.inputs import decoding
from camcli.records import Frame, Ref

Picture = Callable[..., Path]

# What each sample shows; a tabby is any of ImageNet's three domestic striped cats.
TRUTH = {
    "cat_and_espresso.jpg": {967},
    "cat_chelsea.jpg": {281, 282, 285},
    "espresso.jpg": {967},
    "honey_bee.jpg": {309},
    "large_12mp.jpg": {309},
    "portrait_exif6.jpg": {839},
    "tripod_gray.jpg": {872},
}


def test_one_picture_gives_a_table_and_an_overlay_of_its_own_size() -> None:
    outcome = run("explain", SAMPLES / "espresso.jpg")
    assert outcome.code == 0, outcome.err
    assert "967\tespresso\t0.95" in outcome.out
    assert "made with" not in outcome.out
    assert "layer features" not in outcome.out
    (overlay,) = Path("camcli_out").iterdir()
    assert overlay.name == "espresso.jpg.grad-cam.967-espresso.overlay.jpg"
    assert overlay.as_posix() in outcome.out
    with Image.open(overlay) as written:
        assert (written.format, written.size) == ("JPEG", (600, 400))


def test_verbose_says_what_an_answer_was_made_with() -> None:
    one = run("explain", SAMPLES / "espresso.jpg", "-v", "--save", "none")
    assert "layer features (1280x7x7): the last of 68 spatial maps that every path" in one.out
    assert one.out.splitlines()[-1].startswith(
        "made with efficientnet_lite0 (efficientnet-lite0-57934424.pth, sha256 57"
    )
    many = ("classify", SAMPLES / "espresso.jpg", SAMPLES / "honey_bee.jpg")
    assert "made with efficientnet_lite0" in run(*many, "-v").err
    assert "made with" not in run(*many).err


def test_every_sample_is_named_right() -> None:
    outcome = run("explain", SAMPLES, "--json", "--save", "none")
    assert outcome.code == 0, outcome.err
    found = {Path(row["input"]).name: row["top"][0]["id"] for row in outcome.rows}
    assert found.keys() == TRUTH.keys()
    assert [name for name, best in found.items() if best not in TRUTH[name]] == []
    assert not Path("camcli_out").exists()


def test_the_heat_moves_with_the_class() -> None:
    """The composite shows the cat in its upper half and the cup in its lower one."""
    asked = ("-c", "tiger cat", "-c", "espresso", "--save", "none", "--json")
    (row,) = run("explain", SAMPLES / "cat_and_espresso.jpg", *asked).rows
    cat, cup = row["explanations"]
    assert (cat["target"]["label"], cup["target"]["label"]) == ("tiger cat", "espresso")
    assert cat["peak"][1] < 320 < cup["peak"][1]
    assert cat["bbox"][1] < 200 < cup["bbox"][1]


def test_the_heat_lies_on_the_subject() -> None:
    """Boxes drawn by hand around the bee, the cup and the tripod, in fractions of the picture."""
    subjects = {
        "honey_bee.jpg": (0.1, 0.1, 0.55, 0.9),
        "large_12mp.jpg": (0.05, 0.1, 0.55, 0.95),
        "espresso.jpg": (0.25, 0.0, 0.75, 0.5),
        "tripod_gray.jpg": (0.35, 0.3, 0.85, 1.0),
    }
    pictures = [SAMPLES / name for name in subjects]
    for row in run("explain", *pictures, "--save", "none", "--json").rows:
        x0, y0, x1, y1 = subjects[Path(row["input"]).name]
        (width, height), (x, y) = row["size"], row["explanations"][0]["peak"]
        assert x0 * width <= x <= x1 * width, row["input"]
        assert y0 * height <= y <= y1 * height, row["input"]


def test_an_exif_rotated_photo_is_explained_upright() -> None:
    (row,) = run("explain", SAMPLES / "portrait_exif6.jpg", "--json").rows
    assert row["size"] == [538, 717]
    with Image.open(row["explanations"][0]["files"]["overlay"]) as overlay:
        assert overlay.size == (538, 717)


def test_all_three_methods_of_the_paper_with_every_kind_of_file() -> None:
    methods = ("-M", "grad-cam", "-M", "guided-backprop", "-M", "guided-grad-cam")
    asked = ("-c", "espresso", "-c", "top2", "--save", "overlay,heatmap,panel,raw", "--json")
    outcome = run("explain", SAMPLES / "espresso.jpg", *methods, *asked)
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    pairs = [(e["method"], e["target"]["id"]) for e in row["explanations"]]
    second = row["top"][1]["id"]
    names = ["grad-cam", "guided-backprop", "guided-grad-cam"]
    assert pairs == [(name, 967) for name in names] + [(name, second) for name in names]
    for explanation in row["explanations"]:
        with np.load(explanation["files"]["raw"]) as raw:
            shape = (7, 7) if explanation["method"] == "grad-cam" else (3, 224, 224)
            assert (raw["values"].shape, raw["values"].dtype) == (shape, np.float32)
            assert raw["box"].tolist() == row["box"]
            assert raw["size"].tolist() == row["size"]
            assert raw["target"] == explanation["target"]["id"]
            assert str(raw["method"]) == explanation["method"]
        with Image.open(explanation["files"]["panel"]) as panel:
            assert panel.width == 1200
        with Image.open(explanation["files"]["heatmap"]) as heatmap:
            assert (heatmap.size, heatmap.mode) == ((600, 400), "RGBA")


def test_a_row_has_the_documented_keys() -> None:
    (row,) = run("explain", SAMPLES / "espresso.jpg", "--json").rows
    assert list(row) == [
        "schema",
        "input",
        "size",
        "box",
        "model",
        "weights",
        "layer",
        "top",
        "explanations",
        "provenance",
        "ms",
    ]
    assert row["schema"] == 2
    assert row["box"] == [125, 25, 475, 375]
    assert (row["model"], row["layer"]) == ("efficientnet_lite0", "features")
    assert list(row["top"][0]) == ["id", "label", "probability", "logit"]
    (explanation,) = row["explanations"]
    assert list(explanation) == ["method", "target", "layer", "peak", "bbox", "max", "fingerprint", "files"]
    asked = {"name": "967 espresso", "quantity": "logit", "value": explanation["target"]["value"]}
    assert explanation["target"] == row["top"][0] | asked
    assert asked["value"] == pytest.approx(row["top"][0]["logit"], rel=1e-4)


def test_classify_gives_the_same_rows_without_explanations_or_files() -> None:
    (explained,) = run("explain", SAMPLES / "honey_bee.jpg", "--json", "--save", "none", "-k", "3").rows
    (classified,) = run("classify", SAMPLES / "honey_bee.jpg", "--json", "-k", "3").rows
    assert classified["explanations"] == []
    assert [c["id"] for c in classified["top"]] == [c["id"] for c in explained["top"]]
    assert len(classified["top"]) == 3
    assert classified["layer"] is None
    assert not Path("camcli_out").exists()


def test_a_folder_is_mirrored_and_a_bad_picture_stops_nothing(picture: Picture) -> None:
    picture("photos/b.png")
    picture("photos/deep/er/c.png", (48, 80))
    Path("photos/a.jpg").write_text("no picture")
    outcome = run("explain", "photos", "-o", "out", "--json", "-b", "2")
    assert outcome.code == 4
    assert [row["input"] for row in outcome.rows] == ["photos/a.jpg", "photos/b.png", "photos/deep/er/c.png"]
    assert outcome.rows[0]["error"]["kind"] == "not-a-picture"
    written = [Path(row["explanations"][0]["files"]["overlay"]) for row in outcome.rows[1:]]
    assert [path.parent for path in written] == [Path("out"), Path("out/deep/er")]
    assert all(path.is_file() for path in written)
    assert "2 of 3 pictures answered, 1 refused" in outcome.err


@pytest.mark.exhaustive
def test_the_output_folder_is_not_an_input_of_the_next_run(picture: Picture) -> None:
    picture("photos/a.png")
    for _ in range(2):
        assert [r["input"] for r in run("explain", ".", "-o", "photos/out", "--json").rows] == ["photos/a.png"]


def test_fail_fast_stops_at_the_first_refusal(picture: Picture) -> None:
    Path("a.jpg").write_text("no picture")
    outcome = run("explain", "a.jpg", picture("b.png"), "--fail-fast", "--json", "-b", "1")
    assert outcome.code == 4
    assert len(outcome.rows) == 1


def test_quiet_says_nothing_to_people(picture: Picture) -> None:
    outcome = run("explain", picture("a.png"), picture("b.png"), "-q")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_one_named_output_file(suffix: str) -> None:
    outcome = run("explain", SAMPLES / "espresso.jpg", "-o", f"figure{suffix}")
    assert outcome.code == 0, outcome.err
    with Image.open(f"figure{suffix}") as figure:
        assert figure.size == (600, 400)
    assert not Path("camcli_out").exists()


def test_one_named_file_of_another_kind() -> None:
    picture = SAMPLES / "espresso.jpg"
    assert run("explain", picture, "--save", "raw", "-o", "values.npz").code == 0
    with np.load("values.npz") as raw:
        assert raw["values"].shape == (7, 7)
    assert run("explain", picture, "--save", "heatmap", "-o", "heat.jpg").code == 0
    with Image.open("heat.jpg") as heat:
        assert (heat.size, heat.mode) == ((600, 400), "RGB")


def test_a_picture_in_and_a_picture_out() -> None:
    outcome = run("explain", "-", "-o", "-", stdin=(SAMPLES / "espresso.jpg").read_bytes())
    assert outcome.code == 0, outcome.err
    with Image.open(io.BytesIO(outcome.stdout)) as overlay:
        assert (overlay.format, overlay.size) == ("PNG", (600, 400))


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_a_list_of_paths_on_stdin(picture: Picture, separator: bytes) -> None:
    picture("one.png")
    picture("sub folder/two.png")
    names = [b"sub folder/two.png", b"missing.png", b"one.png"]
    outcome = run("explain", "-", "-o", "out", "--json", stdin=separator.join(names))
    assert outcome.code == 4
    assert [row["input"].encode() for row in outcome.rows] == names
    assert outcome.rows[1]["error"]["kind"] == "missing"
    assert Path(outcome.rows[0]["explanations"][0]["files"]["overlay"]).parent == Path("out/sub folder")


@pytest.mark.exhaustive
def test_fits_show_more_of_the_picture() -> None:
    shown = {}
    for fit in ("crop", "squash", "pad", "full"):
        (row,) = run("explain", SAMPLES / "espresso.jpg", "--fit", fit, "--json", "--save", "raw").rows
        assert row["top"][0]["id"] == 967, fit
        with np.load(row["explanations"][0]["files"]["raw"]) as raw:
            shown[fit] = (row["box"], raw["values"].shape)
    assert shown == {
        "crop": ([125, 25, 475, 375], (7, 7)),
        "squash": ([0, 0, 600, 400], (7, 7)),
        "pad": ([0, -99, 600, 502], (7, 7)),
        "full": ([0, 0, 600, 400], (8, 12)),
    }


def test_max_side_shrinks_the_picture_and_nothing_else() -> None:
    (row,) = run("explain", SAMPLES / "large_12mp.jpg", "--max-side", "400", "--json").rows
    with Image.open(row["explanations"][0]["files"]["overlay"]) as overlay:
        assert overlay.size == (400, 300)
    assert row["size"] == [4000, 3000]


def test_norm_run_makes_pictures_comparable() -> None:
    """Under the run's scale the weaker map is drawn cooler than under its own."""
    names = [SAMPLES / "cat_chelsea.jpg", SAMPLES / "honey_bee.jpg"]
    style = ("--save", "heatmap", "--colormap", "gray", "--json", "-q")
    own = run("explain", *names, "-o", "own", *style).rows
    common = run("explain", *names, "-o", "common", "--norm", "run", *style).rows
    brightest = []
    for row in (*own, *common):
        with Image.open(row["explanations"][0]["files"]["heatmap"]) as heatmap:
            brightest.append(int(np.asarray(heatmap)[..., 0].max()))
    tops = [row["explanations"][0]["max"] for row in own]
    assert brightest[:2] == [255, 255]
    assert brightest[2:] == pytest.approx([255 * top / max(tops) for top in tops], abs=1.5)


def test_norm_run_reads_each_picture_once_more_and_draws_all_that_are_still_there(
    picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = picture("gone.png"), picture("kept.png")
    read = []
    original = decoding.read

    def counted(ref: Ref, *limits: Any, **options: Any) -> tuple[Frame, Image.Image | None]:
        read.append(ref.path)
        return original(ref, *limits, **options)

    monkeypatch.setattr(decoding, "read", counted)
    where = OutputSpec(folder=Path("out"), norm="run", pictures=("overlay", "heatmap"))

    def explained_and_lost() -> None:
        with open_sinks(where) as files:
            for result in Engine(Spec(methods=("grad-cam", "gradient"))).explain(expand([str(gone), str(kept)])):
                files.write(result)
            gone.unlink()

    with pytest.raises(SetupError, match=r"1 pictures could not be read again \(first: .*gone\.png: no such file\)"):
        explained_and_lost()
    assert len(list(Path("out").glob("kept.png.*"))) == 4
    assert list(Path("out").glob("gone*")) == []
    assert read.count(kept) == 2


def test_norm_fixed_takes_the_scale_from_the_flag() -> None:
    picture = SAMPLES / "espresso.jpg"
    style = ("--save", "heatmap", "--colormap", "gray", "--json")
    (row,) = run("explain", picture, *style).rows
    top = row["explanations"][0]["max"]
    (row,) = run("explain", picture, "--norm", "fixed", "--norm-max", str(2 * top), *style).rows
    with Image.open(row["explanations"][0]["files"]["heatmap"]) as heatmap:
        assert np.asarray(heatmap)[..., 0].max() == pytest.approx(127.5, abs=1)


def test_several_layers_are_explained_one_by_one() -> None:
    asked = ("-l", "features.5", "-l", "features", "--save", "raw", "--json")
    (row,) = run("explain", SAMPLES / "espresso.jpg", *asked).rows
    assert [e["layer"] for e in row["explanations"]] == ["features.5", "features"]
    shapes = []
    for explanation in row["explanations"]:
        assert f".{explanation['layer']}.raw" in explanation["files"]["raw"]
        with np.load(explanation["files"]["raw"]) as raw:
            shapes.append(raw["values"].shape)
    assert shapes == [(14, 14), (7, 7)]


def test_partly_guided_models_say_so(picture: Picture) -> None:
    outcome = run("explain", picture("a.png"), "-m", "mobilenet_v3_small", "-w", "none", "-M", "guided-backprop")
    assert outcome.code == 0
    assert "14 ReLU activations are bent; hardswish x19, hardsigmoid x9 keep their own gradient" in outcome.err


@pytest.mark.exhaustive
def test_a_blank_map_is_explained_in_words(picture: Picture) -> None:
    """torchvision's ViT heads start at zero: without weights no class has a gradient."""
    outcome = run("explain", picture("a.png"), "-m", "vit_b_32", "-w", "none", "--json")
    assert outcome.code == 0, outcome.err
    (explanation,) = outcome.rows[0]["explanations"]
    assert explanation["note"].startswith("blank: the gradient at encoder.layers.encoder_layer_11.ln_1 is zero")
    assert (explanation["peak"], explanation["bbox"], explanation["max"]) == (None, None, 0.0)


def test_real_weights_by_file(shared: Path) -> None:
    weights = shared / "weights" / "squeezenet1_1_imagenet1k_v1_from_fp16.pth"
    photos = [shared / "images" / "imagenet200" / f"{name}.JPEG" for name in ("n02007558_flamingo", "n02391049_zebra")]
    outcome = run("explain", *photos, "-m", "squeezenet1_1", "-w", weights, "--json")
    assert outcome.code == 0, outcome.err
    assert [row["top"][0]["label"] for row in outcome.rows] == ["flamingo", "zebra"]
    assert {row["weights"] for row in outcome.rows} == {weights.name}


def test_weights_from_the_cache_need_no_network(shared: Path, picture: Picture, tmp_path: Path) -> None:
    cached = tmp_path / "torch-home" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    shutil.copy(shared / "weights" / "squeezenet1_1_imagenet1k_v1_from_fp16.pth", cached)
    (row,) = run("explain", picture("a.png"), "-m", "squeezenet1_1", "--json").rows
    assert row["weights"] == "IMAGENET1K_V1"
