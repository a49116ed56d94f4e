"""Networks that take clips: which frames go in, the map at each moment, and the files that show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import clip_people
import numpy as np
import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from PIL import Image, ImageSequence
from shell import ROOT, run
from torchvision.models import get_model_weights
from variants import thinned

import camcli
from camcli import methods
from camcli.answers.batch import Batch
from camcli.inputs.preprocessing import view_of
from camcli.layers.choosing import resolve
from camcli.layers.tracing import trace
from camcli.maps import moments
from camcli.models import blueprint
from camcli.records import Attribution, Frame, Question, Ref, Row
from camcli.running.engine import Engine
from camcli.specs import ModelSpec, Spec
from camcli.tasks.targets import OfClass
from camcli.tasks.watch import Watch

pytestmark = pytest.mark.usefixtures("one_thread")

CLIPS = ROOT / "tests" / "clip_people.py"
AS_THEY_ARE = ("--task", "watch", "--frames", 8, "--resize", 16, "--crop", 16, "--mean", 0, "--std", 1)


def frames_of(name: str, count: int = 8, red: tuple[int, ...] = (4, 5)) -> str:
    """A folder of frames (16x16), black but for a green dot and, in some, a red square at x 8-11, y 4-7.

    Their names have no zeros in front: the frame after 9 is 10."""
    Path(name).mkdir()
    for number in range(count):
        rgb = np.zeros((16, 16, 3), np.uint8)
        rgb[15, number, 1] = 99  # no two are the same, or an animation would join them
        if number in red:
            rgb[4:8, 8:12, 0] = 255
        Image.fromarray(rgb).save(f"{name}/{number}.png")
    return name


def explained(name: str, *flags: object, network: str = "Blink") -> Row:
    outcome = run("explain", name, "-m", f"{CLIPS}:{network}", *AS_THEY_ARE, "--json", *flags)
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    return row


def test_the_map_is_where_and_when_the_square_is() -> None:
    outcome = run(
        "explain", frames_of("red"), "-m", f"{CLIPS}:Blink", *AS_THEY_ARE, "--json", "--save", "raw,strip,gif"
    )
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    (answer,) = row["explanations"]
    assert (row["top"][0]["id"], answer["layer"]) == (0, "cells")
    values = np.load(answer["files"]["raw"])["values"]
    # One of 64 cells is red: its value 1 times the weight 1/64 of each.
    expected = np.zeros((4, 4, 4), np.float32)
    expected[2, 1, 2] = 1 / 64
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert answer["moment"]["frame"] in (4, 5)
    assert 8 <= answer["peak"][0] < 12
    assert 4 <= answer["peak"][1] < 8
    # In between the steps, which last 2 frames, the map is linear: 1/4 and 3/4 of its step.
    shares = np.array([0, 0, 0, 0.25, 0.75, 0.75, 0.25, 0])
    # bilinear weights in time sum to the step's mean over its 16 cells
    np.testing.assert_allclose(answer["curve"], shares / 64 / 16 / 0.75 * 0.75, rtol=1e-4)
    assert [moment["frame"] for moment in row["clip"]] == list(range(8))
    with Image.open(answer["files"]["gif"]) as gif:
        assert gif.size == (16, 16)
        assert len(list(ImageSequence.Iterator(gif))) == 8
    assert Path(answer["files"]["strip"]).is_file()


def test_the_animation_shows_the_heat_in_its_frames_on_one_scale() -> None:
    row = explained(frames_of("red"), "--save", "gif", "--style", "classic", "--opacity", 1)
    with Image.open(row["explanations"][0]["files"]["gif"]) as gif:
        pictures = [np.asarray(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(gif)]
    greens = [float(picture[4:8, 8:12, 1].mean()) for picture in pictures]
    # Frames 4 and 5 are the same, at 3/4 of the most; 3 and 6 are at 1/4, which a scale of their own would hide.
    assert len(pictures) == 7
    assert max(*greens[:3], greens[6]) < 30 < greens[3] == greens[5] < greens[4] - 50


def test_red_and_blue_have_maps_at_their_own_moments() -> None:
    name = frames_of("both")
    for number in (0, 1):
        rgb = np.zeros((16, 16, 3), np.uint8)
        rgb[12:16, 0:4, 2] = 255
        Image.fromarray(rgb).save(f"{name}/{number}.png")
    red, blue = explained(name, "-c", "0", "-c", "1", "--save", "none")["explanations"]
    assert (red["moment"]["frame"], blue["moment"]["frame"]) == (4, 0)
    assert blue["peak"][0] < 4
    assert blue["peak"][1] >= 12


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("Backwards", "sees the clip's frames in another order"),
        ("Rolled", "sees the clip's frames in another order"),
        ("Halved", "never sees some of the clip's frames"),
        ("Mirrored", "sees the picture mirrored"),
        ("Moments", "must put them together, (N, C, frames, h, w)"),
    ],
)
def test_networks_that_turn_clips_are_refused(network: str, said: str) -> None:
    outcome = run("explain", frames_of("red"), "-m", f"{CLIPS}:{network}", *AS_THEY_ARE)
    assert outcome.code == 3
    assert said in outcome.err


def test_a_map_whose_time_is_no_time_is_refused() -> None:
    outcome = run("explain", frames_of("red"), "-m", f"{CLIPS}:TimeFirst", *AS_THEY_ARE, "-l", "turned")
    assert outcome.code == 3
    assert "sees the clip's frames in another order" in outcome.err


def test_frames_that_are_asked_for_where_there_is_no_film_are_missed() -> None:
    Image.new("RGB", (40, 30), "red").save("red.png")
    for flags in (("--every", 3), ("--start", "5f")):
        assert "are of films, and none was among the inputs" in run("explain", "red.png", *flags, "--save", "none").err


def test_masks_are_of_regions() -> None:
    Image.new("RGB", (40, 30), "red").save("red.png")
    assert "--save mask is of a region" in run("explain", "red.png", "--save", "mask").err


def test_tokens_of_clips_lie_on_a_grid_of_three_axes() -> None:
    row = explained(frames_of("red"), "-M", "grad-cam", "-M", "attention-rollout", "--save", "raw", network="Tokens")
    for answer in row["explanations"]:
        assert np.load(answer["files"]["raw"])["values"].shape == (4, 4, 4)
    assert row["layer"] == "blocks.1.norm1"


@pytest.mark.parametrize(
    "name", thinned([name for name in methods.names() if name not in ("attention-rollout", "le-grad")], 4)
)
def test_each_method_on_a_clip_of_one_frame_is_that_on_the_picture(name: str) -> None:
    fields = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "resize": 20, "crop": 20}
    picture = np.random.default_rng(0).random((1, 3, 20, 20)).astype(np.float32)
    found = []
    for network, pictures in ((clip_people.flat(), picture), (clip_people.deep(), picture[:, :, None])):
        answer = camcli.explain(
            torch.from_numpy(pictures), model=network, method=name, target=1, preset=fields, exact=True
        )
        found.append(answer[0].map)
    assert found[1].shape == (*found[0].shape[:-2], 1, *found[0].shape[-2:])
    if name == "rise":  # its masks have cells in time
        return
    flat, deep = found[0], found[1].reshape(found[0].shape)
    rounding = 0.02 if name == "opti-cam" else 1e-4  # a hundred steps amplify it
    np.testing.assert_allclose(deep, flat, rtol=1e-3, atol=rounding * float(abs(flat).max()))


@pytest.mark.parametrize(
    "name", thinned(["grad-cam", "hires-cam", "layer-cam", "grad-cam-pp", "xgrad-cam", "full-grad", "rise"], 3)
)
def test_a_mean_over_places_is_one_over_moments_too(name: str) -> None:
    """A clip of one picture over and over has that picture's map at each moment, whatever averages over time."""
    fields = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "resize": 20, "crop": 20}
    picture = torch.from_numpy(np.random.default_rng(0).random((1, 3, 20, 20)).astype(np.float32))
    clip = picture[:, :, None].repeat(1, 1, 4, 1, 1)
    (still,) = camcli.explain(picture, model=clip_people.flat(), method=name, target=1, preset=fields)
    (moving,) = camcli.explain(clip, model=clip_people.deep(), method=name, target=1, preset=fields)
    if name == "rise":
        assert moving.map.shape == (4, 20, 20)
        return
    for step in moving.map:
        scaled = [own / own.max() for own in (step, still.map)]
        np.testing.assert_allclose(scaled[0], scaled[1], atol=1e-3)


# (layer, channels, grid) at 16 frames: BatchNorm's and attention's own strides.
SMALL, LARGE = (2, 7, 7), (8, 7, 7)
GOLDEN = {
    "r3d_18": ("layer4", (512, *SMALL)),
    "r2plus1d_18": ("layer4", (512, *SMALL)),
    "mc3_18": ("layer4", (512, 16, 7, 7)),
    "s3d": ("features", (1024, *SMALL)),
    "mvit_v1_b": ("blocks.15.norm1", (768, *LARGE)),
    "mvit_v2_s": ("blocks.15.norm1", (768, *LARGE)),
    "swin3d_t": ("norm", (768, *LARGE)),
    "swin3d_s": ("norm", (768, *LARGE)),
    "swin3d_b": ("norm", (1024, *LARGE)),
}


def test_torchvision_has_no_other_networks_of_clips() -> None:
    assert set(GOLDEN) == set(torchvision.models.list_models(module=torchvision.models.video))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("r3d_18", "mvit_v2_s") else pytest.mark.exhaustive) for n in GOLDEN]
)
def test_torchvisions_networks_of_clips_are_read_where_all_paths_cross(name: str) -> None:
    frames = None if name.startswith("mvit") else 16
    plan = blueprint(ModelSpec(model=name, weights="none", frames=frames))
    traced = trace(plan.net, torch.zeros(1, *plan.preset.view_shape, device=plan.device), plan.task)
    (layer,) = resolve(plan.net, traced, (), name)
    assert (layer.name, layer.shape) == GOLDEN[name]
    assert isinstance(plan.task, Watch)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", GOLDEN)
def test_each_explains_a_clip(name: str) -> None:
    outcome = run("explain", frames_of("red"), "-m", name, "-w", "none", "--json", "--save", "strip,gif")
    assert outcome.code == 0, outcome.err
    (row,) = outcome.rows
    (answer,) = row["explanations"]
    assert answer["layer"] == GOLDEN[name][0]
    assert len(answer["curve"]) == len(row["clip"])


@pytest.mark.parametrize("name", ["r3d_18", "mvit_v2_s", "s3d"])
def test_clips_are_made_ready_as_torchvision_does(name: str) -> None:
    preset = blueprint(ModelSpec(model=name, weights="none", frames=None)).preset
    member = get_model_weights(name).DEFAULT
    rgb = np.random.default_rng(0).integers(0, 256, (3, 240, 320, 3), dtype=np.uint8)
    wanted = member.transforms()(torch.from_numpy(rgb).permute(0, 3, 1, 2)).numpy()
    real = blueprint(ModelSpec(model=name, weights="none")).preset
    assert real.frames == preset.frames
    means, stds = tuple(member.transforms().mean), tuple(member.transforms().std)
    view = view_of(Frame(Ref(0, "clip"), rgb), replace(preset, mean=means, std=stds), "crop")
    level = 1 / 255 / min(stds)
    assert view.pixels.shape == wanted.shape
    # A resized value that lies halfway between two levels may be rounded either way.
    assert float(abs(view.pixels - wanted).max()) <= level * 1.01
    assert float((abs(view.pixels - wanted) > 1e-5).mean()) < 1e-3


@pytest.mark.exhaustive
def test_the_map_is_captums() -> None:
    engine = Engine(Spec(model="r3d_18", weights="none", frames=4, exact=True))
    torch.manual_seed(0)
    images = torch.randn(2, 3, 4, 112, 112)
    (answer,) = Batch(engine.plan, images).answers(OfClass((3, 5)))
    net = engine.model.net
    theirs = LayerGradCam(net, net.layer4).attribute(images, target=torch.tensor([3, 5]), relu_attributions=True)
    expected = theirs[:, 0].detach().numpy()
    np.testing.assert_allclose(answer.values, expected, rtol=1e-6, atol=1e-6 * float(expected.max()))


@pytest.mark.exhaustive
def test_a_folded_network_answers_as_the_plain_one() -> None:
    found = []
    for exact in (True, False):
        engine = Engine(Spec(model="r3d_18", weights="none", frames=4, exact=exact))
        torch.manual_seed(0)
        images = torch.randn(1, 3, 4, 112, 112)
        (answer,) = Batch(engine.plan, images).answers(OfClass((3,)))
        found.append(answer.values)
        folded = not any("BatchNorm3d" in type(module).__name__ for module in engine.plan.network.net.modules())
        assert folded is not exact
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3, atol=1e-4 * float(found[0].max()))


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--stride", "2"), 4, "8 frames at a stride of 2 are more than the 4 there are"),
        (("--start", "20f"), 4, "no frame lies between --start and --end"),
        (("--start", "x"), 2, "'x' is no place in a film"),
        (("--every", "2"), 2, "takes clips; --stride says how far apart"),
        (("--neurons",), 2, "--neurons does not go with models that watch"),
    ],
)
def test_what_does_not_go_is_refused(flags: tuple[str, ...], code: int, said: str) -> None:
    outcome = run("explain", frames_of("red"), "-m", f"{CLIPS}:Blink", *AS_THEY_ARE, *flags)
    assert outcome.code == code, outcome.err
    assert said in outcome.err


@pytest.mark.parametrize("flags", [("--frames", "8"), ("--stride", "2"), ("--save", "gif")])
def test_flags_of_clips_are_refused_for_models_of_pictures(flags: tuple[str, ...]) -> None:
    Image.new("RGB", (40, 30)).save("grey.png")
    assert run("explain", "grey.png", *flags).code == 2


def test_which_frames_are_the_clip() -> None:
    name = frames_of("ten", 12, red=(10, 11))
    told = explained(name, "--start", "2f", "--save", "none")
    assert [moment["frame"] for moment in told["clip"]] == [2, 3, 4, 5, 6, 7, 8, 9]
    told = explained(name, "--start", "1f", "--end", "4f", "--save", "none")
    assert [moment["frame"] for moment in told["clip"]] == [1, 1, 2, 2, 2, 2, 3, 3]
    assert told["note"] == "3 frames for a clip of 8: some are there twice"


def test_a_still_picture_is_no_clip() -> None:
    frames_of("red")
    outcome = run("explain", "red/0.png", "-m", f"{CLIPS}:Blink", *AS_THEY_ARE)
    assert outcome.code == 4
    assert "still picture" in outcome.err


def test_folders_of_frames_and_animations_in_a_folder_are_clips() -> None:
    Path("all").mkdir()
    frames_of("all/one")
    frames_of("all/two", red=(0, 1))
    frames = [Image.open(f"all/one/{number}.png") for number in range(8)]
    frames[0].save("all/moving.gif", save_all=True, append_images=frames[1:], duration=50)
    outcome = run("explain", "all", "-m", f"{CLIPS}:Blink", *AS_THEY_ARE, "--json", "--save", "none")
    assert [row["input"] for row in outcome.rows] == ["all/moving.gif", "all/one", "all/two"]
    assert [row["explanations"][0]["moment"]["frame"] for row in outcome.rows] == [4, 4, 0]
    assert outcome.rows[0]["clip"][4] == {"frame": 4, "seconds": 0.2}


def test_rows_of_clips_are_verified() -> None:
    name = frames_of("red")
    rows = run("explain", name, "-m", f"{CLIPS}:Blink", *AS_THEY_ARE, "--json", "--save", "none").stdout
    Path("rows.jsonl").write_bytes(rows)
    outcome = run("verify", "rows.jsonl", "--model", f"{CLIPS}:Blink", "--json")
    assert [row["status"] for row in outcome.rows] == ["identical"], outcome.err


def test_a_clip_that_is_no_clip_says_how_to_say_so() -> None:
    frames_of("red")
    outcome = run("explain", "red", "-m", f"{CLIPS}:Blink")
    assert outcome.code == 3
    assert "say so with --task watch" in outcome.err


def test_python_explains_clips() -> None:
    clip = torch.zeros(3, 8, 16, 16)
    clip[0, 4:6, 4:8, 8:12] = 1
    (answer,) = camcli.explain(clip[None], model=clip_people.Blink(), preset={"mean": [0.0] * 3, "std": [1.0] * 3})
    assert answer.map.shape == (4, 4, 4)
    assert answer.map[2, 1, 2] == answer.map.max() > 0
    assert answer.row()["explanations"][0]["moment"]["frame"] == 4
    assert answer.overlay().size == (16, 16)


def test_a_maps_moments() -> None:
    values = np.zeros((2, 1, 1), np.float32)
    values[1] = 4
    own = Attribution("grad-cam", "map", None, Question("x", 0.0), values)
    assert [float(moments.at_frame(own, frame, 4).values[0, 0]) for frame in range(4)] == [0, 1, 3, 4]
    assert moments.curve(own, 4).tolist() == [0, 1, 3, 4]
    assert moments.peak_frame(own, 4) == 3
