from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision import models
from torchvision.transforms import functional, v2
from torchvision.transforms._presets import ImageClassification
from variants import thinned

from camcli.errors import InputError
from camcli.inputs import guards
from camcli.inputs.decoding import read_frame
from camcli.inputs.preprocessing import view_of
from camcli.records import Fit, Frame, Preset, Ref
from camcli.storage import uris

RGB = NDArray[np.uint8]
RNG = np.random.default_rng(7)
TRANSFORMS = {
    "resnet50 V1": models.ResNet50_Weights.IMAGENET1K_V1.transforms(),
    "resnet50 V2": models.ResNet50_Weights.IMAGENET1K_V2.transforms(),
    "inception": models.Inception_V3_Weights.IMAGENET1K_V1.transforms(),
    "efficientnet bicubic": models.EfficientNet_B3_Weights.IMAGENET1K_V1.transforms(),
    "vit swag 384 of 384": models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1.transforms(),
    "bundled": ImageClassification(crop_size=224, resize_size=256, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
}
LITE = Preset(256, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")


def frame_of(rgb: RGB) -> Frame:
    return Frame(Ref(0, "made"), rgb)


def noise(width: int, height: int) -> RGB:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(picture: Image.Image | RGB, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    made = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    made.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> RGB:
    return read_frame(Ref(0, "-", data=data)).rgb


def refusal(ref: Ref) -> tuple[str, str, str]:
    with pytest.raises(InputError) as caught:
        read_frame(ref)
    return caught.value.stage, caught.value.kind, str(caught.value)


sizes = st.one_of(
    st.tuples(st.integers(1, 16), st.integers(1, 16)),
    st.tuples(st.integers(1, 3), st.integers(20, 90)),
    st.tuples(st.integers(100, 700), st.integers(100, 700)),
    st.tuples(st.integers(1000, 1800), st.integers(700, 1200)),
)


@pytest.mark.parametrize("name", TRANSFORMS)
@settings(max_examples=12, deadline=None)
@given(size=sizes, portrait=st.booleans())
def test_the_view_is_torchvisions_preset_bit_for_bit(name: str, size: tuple[int, int], portrait: bool) -> None:
    transforms = TRANSFORMS[name]
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    method = transforms.interpolation.value
    preset = Preset(transforms.resize_size[0], transforms.crop_size[0], mean, std, method)
    rgb = noise(*(size[::-1] if portrait else size))
    expected: torch.Tensor = transforms(Image.fromarray(rgb))
    assert np.array_equal(view_of(frame_of(rgb), preset, "crop").pixels, expected.numpy())


@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (255, 224), (96, 96)])
@pytest.mark.parametrize("interpolation", ["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"])
@settings(max_examples=4, deadline=None)
@given(size=sizes, portrait=st.booleans())
def test_a_preset_that_squashes_is_torchvisions_resize_to_both_sides(
    resize: int, crop: int, interpolation: str, size: tuple[int, int], portrait: bool
) -> None:
    """Values as `ImageClassification` scales them, by division: v2's ToDtype multiplies, a last bit off."""
    preset = Preset(resize, crop, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), interpolation, squash=True)
    rgb = noise(*(size[::-1] if portrait else size))
    resized = v2.Resize((resize, resize), v2.InterpolationMode(interpolation))(Image.fromarray(rgb))
    tensor = functional.convert_image_dtype(functional.pil_to_tensor(v2.CenterCrop(crop)(resized)), torch.float)
    expected: torch.Tensor = functional.normalize(tensor, mean=preset.mean, std=preset.std)
    assert np.array_equal(view_of(frame_of(rgb), preset, "crop").pixels, expected.numpy())


rectangles = st.tuples(st.integers(1, 90), st.integers(1, 90))


def normalised(image: Image.Image, preset: Preset) -> NDArray[np.float32]:
    tensor = functional.convert_image_dtype(functional.pil_to_tensor(image), torch.float)
    pixels: torch.Tensor = functional.normalize(tensor, mean=preset.mean, std=preset.std)
    return pixels.numpy()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@settings(max_examples=15, deadline=None)
@given(size=sizes, resize=rectangles, share=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)))
def test_a_rectangle_is_torchvisions_resize_to_height_and_width_and_its_centre(
    interpolation: str, size: tuple[int, int], resize: tuple[int, int], share: tuple[float, float]
) -> None:
    crop = max(1, round(resize[0] * share[0])), max(1, round(resize[1] * share[1]))
    preset = Preset(resize, crop, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), interpolation, squash=True)
    rgb = noise(*size)
    resized = v2.Resize(resize, v2.InterpolationMode(interpolation))(Image.fromarray(rgb))
    view = view_of(frame_of(rgb), preset, "crop")
    assert np.array_equal(view.pixels, normalised(v2.CenterCrop(crop)(resized), preset))
    whole = view_of(frame_of(rgb), preset, "squash")
    squashed = v2.Resize(crop, v2.InterpolationMode(interpolation))(Image.fromarray(rgb))
    assert np.array_equal(whole.pixels, normalised(squashed, preset))
    assert whole.box == (0, 0, *size)


@settings(max_examples=15, deadline=None)
@given(size=sizes, short=st.integers(40, 90), crop=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_a_rectangle_can_be_cut_from_the_centre(size: tuple[int, int], short: int, crop: tuple[int, int]) -> None:
    preset = Preset(short, crop, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), "bilinear")
    rgb = noise(*size)
    expected = v2.CenterCrop(crop)(v2.Resize(short)(Image.fromarray(rgb)))
    assert np.array_equal(view_of(frame_of(rgb), preset, "crop").pixels, normalised(expected, preset))


@pytest.mark.parametrize(
    ("size", "inside", "box"),
    [
        ((300, 200), ((42, 0), (43, 64)), (0, -195, 300, 400)),  # bars above and below
        ((20, 200), ((0, 25), (128, 13)), (-38, 0, 60, 200)),  # and at the sides
        ((50, 100), ((0, 0), (128, 64)), (0, 0, 50, 100)),
    ],
)
def test_a_picture_is_letterboxed_into_a_rectangle(
    size: tuple[int, int], inside: tuple[tuple[int, int], tuple[int, int]], box: tuple[int, int, int, int]
) -> None:
    preset = Preset(128, (128, 64), (0.2, 0.4, 0.6), (0.1, 0.2, 0.3), "bilinear")
    view = view_of(frame_of(np.full((size[1], size[0], 3), 255, dtype=np.uint8)), preset, "pad")
    assert view.pixels.shape == (3, 128, 64)
    rows, columns = (np.flatnonzero(view.pixels[0].any(axis)) for axis in (1, 0))
    assert ((rows[0], columns[0]), (len(rows), len(columns))) == inside
    assert view.box == box


def test_a_preset_that_squashes_has_a_box_with_the_frames_aspect() -> None:
    """A white block of the frame is where the box puts it; 16 of 256 are cut on each side: 40 and 27 frame pixels."""
    preset = replace(LITE, squash=True)
    rgb = np.zeros((427, 640, 3), dtype=np.uint8)
    rgb[100:116, 400:416] = 255
    view = view_of(frame_of(rgb), preset, "crop")
    assert [*view.box] == [40, 27, 600, 400]
    weight = view.pixels[0] + 1
    rows, columns = (np.arange(n) + 0.5 for n in weight.shape)
    assert (weight.sum(0) @ columns) / weight.sum() == pytest.approx((408 - 40) / 560 * 224, abs=1)
    assert (weight.sum(1) @ rows) / weight.sum() == pytest.approx((108 - 27) / 373 * 224, abs=1)
    assert view_of(frame_of(rgb), replace(preset, crop=256), "crop").box == (0, 0, 640, 427)


@pytest.mark.parametrize("fit", ["squash", "pad", "full"])
def test_a_preset_that_squashes_changes_no_other_fit(fit: Fit) -> None:
    frame = frame_of(noise(64, 48))
    view, other = view_of(frame, LITE, fit), view_of(frame, replace(LITE, squash=True), fit)
    assert (view.box, view.pixels.tolist()) == (other.box, other.pixels.tolist())


def test_a_long_picture_is_squashed_all_the_same() -> None:
    assert view_of(frame_of(noise(1, 1500)), replace(LITE, squash=True), "crop").box == (0, 94, 1, 1406)


@pytest.mark.parametrize("size", [(640, 427), (427, 640), (300, 300), (1200, 500)])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad", "full"])
def test_the_box_says_where_the_view_lies_in_the_frame(fit: Fit, size: tuple[int, int]) -> None:
    """A white block of the frame is found in the view where the box puts it, to within one view pixel."""
    width, height = size
    for share_x, share_y in [(0.5, 0.5), (0.4, 0.6), (0.62, 0.3)]:
        rgb = np.zeros((height, width, 3), dtype=np.uint8)
        x, y = int(share_x * width), int(share_y * height)
        rgb[y - 8 : y + 8, x - 8 : x + 8] = 255
        view = view_of(frame_of(rgb), LITE, fit)
        # In the padding the view is 0, the mean: grey. The block's weight is what is brighter than that.
        weight = np.clip(view.pixels[0], 0, None)
        rows, columns = (np.arange(n) + 0.5 for n in weight.shape)
        found = (weight.sum(0) @ columns) / weight.sum(), (weight.sum(1) @ rows) / weight.sum()
        x0, y0, x1, y1 = view.box
        assert found[0] == pytest.approx((x - x0) / (x1 - x0) * weight.shape[1], abs=1)
        assert found[1] == pytest.approx((y - y0) / (y1 - y0) * weight.shape[0], abs=1)


def test_each_fit_sees_its_part_of_the_frame() -> None:
    """At 640x427 the preset scales to 383x256 and cuts 224 of them: 374 of the frame's 640 columns."""
    wide, tall = frame_of(noise(640, 427)), frame_of(noise(427, 640))
    assert view_of(wide, LITE, "crop").box == (134, 27, 508, 400)
    assert view_of(tall, LITE, "crop").box == (27, 134, 400, 508)
    assert view_of(wide, LITE, "squash").box == view_of(wide, LITE, "full").box == (0, 0, 640, 427)
    assert view_of(wide, LITE, "pad").box == (0, -106, 640, 536)
    assert view_of(tall, LITE, "pad").box == (-106, 0, 536, 640)
    assert view_of(wide, LITE, "full").pixels.shape == (3, 256, 383)
    assert view_of(tall, LITE, "full").pixels.shape == (3, 383, 256)


def test_padding_is_the_mean_and_the_rest_the_whole_frame() -> None:
    preset = Preset(256, 224, (0.2, 0.4, 0.6), (0.1, 0.2, 0.3), "bilinear")
    pixels = view_of(frame_of(np.full((100, 400, 3), 255, dtype=np.uint8)), preset, "pad").pixels
    assert not pixels[:, :84].any()
    assert not pixels[:, 140:].any()
    assert pixels[:, 84:140] == pytest.approx(np.broadcast_to(np.array([8.0, 3.0, 4 / 3])[:, None, None], (3, 56, 224)))


@pytest.mark.parametrize("fit", ["crop", "squash", "pad", "full"])
def test_a_picture_of_one_pixel_has_a_view(fit: Fit) -> None:
    view = view_of(frame_of(np.full((1, 1, 3), 255, dtype=np.uint8)), LITE, fit)
    assert [*view.box] == [0, 0, 1, 1]
    assert (view.pixels == 1).all()


# The tag says where the stored row 0 and column 0 belong: stored[r, c] of an upright picture of the given size.
STORED: dict[int, Callable[[RGB], RGB]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],  # row 0 top, column 0 right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.transpose(1, 0, 2),  # left, top
    6: lambda a: a[:, ::-1].transpose(1, 0, 2),  # right, top
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda a: a[::-1].transpose(1, 0, 2),  # left, bottom
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_turns_the_frame_upright(orientation: int, kind: str) -> None:
    upright, exif = noise(20, 12), Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    stored = np.ascontiguousarray(STORED[orientation](upright))
    assert np.array_equal(decoded(encoded(stored, kind, exif=exif, **options)), upright)


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_real_photographs_of_every_orientation_are_one_picture(shape: str, shared: Path) -> None:
    folder = shared / "images" / "exif"
    frames = [read_frame(Ref(i, "", path=folder / f"{shape}_{i}.jpg")) for i in range(1, 9)]
    for frame in frames:
        assert frame.size == ((1800, 1200) if shape == "Landscape" else (1200, 1800))
        # Each file was compressed by itself: the pictures agree but for JPEG's noise.
        assert np.abs(frame.rgb.astype(int) - frames[0].rgb).mean() < 4


@pytest.mark.parametrize("tail", [b"", b"II", b"II*\0\xff\xff\xff\x7f", b"MM\0*\0\0\0\x08\xff\xff", b"garbage" * 9])
def test_broken_exif_does_not_cost_the_picture(tail: bytes) -> None:
    upright = np.full((12, 20, 3), (200, 30, 60), dtype=np.uint8)
    assert np.abs(decoded(encoded(upright, "JPEG", exif=b"Exif\0\0" + tail)).astype(int) - upright).max() < 4


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    upright, exif = noise(20, 12), Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decoded(encoded(upright, exif=exif)), upright)


# mode, value of every pixel, the RGB it means; alpha goes over white: c * a + 255 * (1 - a).
MODES = [
    ("1", 1, (255, 255, 255)),
    ("L", 77, (77, 77, 77)),
    ("LA", (100, 0), (255, 255, 255)),
    ("LA", (0, 128), (127, 127, 127)),
    ("RGB", (1, 2, 3), (1, 2, 3)),
    ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
    ("RGBA", (200, 100, 0, 128), (227, 177, 127)),
    ("RGBA", (200, 100, 0, 0), (255, 255, 255)),
    ("RGBa", (100, 50, 0, 128), (227, 177, 127)),  # premultiplied: c + 255 * (1 - a)
    ("La", (50, 128), (177, 177, 177)),
    ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ("CMYK", (0, 0, 0, 128), (127, 127, 127)),
    ("YCbCr", (76, 85, 255), (254, 0, 0)),  # R = Y + 1.402 (Cr - 128)
    ("HSV", (170, 255, 200), (0, 0, 200)),  # hue 170 / 255 of a turn is 240 degrees
    ("LAB", (255, 128, 128), (255, 255, 255)),
    ("LAB", (128, 28, 128), (0, 152, 117)),  # L 50, a -100, b 0
    ("I", 200, (200, 200, 200)),
    ("I", 65535, (255, 255, 255)),
    ("I;16", 32768, (128, 128, 128)),
    ("I;16", 200, (1, 1, 1)),
    ("I;16B", 32768, (128, 128, 128)),
    ("F", 0.5, (128, 128, 128)),
    ("F", 100.0, (100, 100, 100)),
]


@pytest.mark.parametrize(("mode", "value", "rgb"), MODES, ids=lambda value: str(value))
def test_every_mode_becomes_the_rgb_it_means(
    mode: str, value: float | tuple[int, ...], rgb: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handed over by a patched `Image.open`, because Pillow reads some modes that it can't write."""
    made = Image.new(mode, (3, 2), value)
    made.format = "PNG"
    monkeypatch.setattr(Image, "open", lambda source: made)
    pixels = decoded(b"made")
    assert pixels.shape == (2, 3, 3)
    assert np.abs(pixels.astype(int) - rgb).max() <= (3 if mode == "LAB" else 1)


def test_palettes_with_and_without_transparency() -> None:
    picture = Image.new("P", (3, 2))
    picture.putpalette([10, 20, 30, 250, 0, 0])
    picture.putpixel((2, 1), 1)
    expected = np.full((2, 3, 3), (10, 20, 30), dtype=np.uint8)
    expected[1, 2] = 250, 0, 0
    assert np.array_equal(decoded(encoded(picture)), expected)
    assert np.array_equal(decoded(encoded(picture.convert("PA"), "TIFF")), expected)
    expected[1, 2] = 255
    assert np.array_equal(decoded(encoded(picture, transparency=1)), expected)
    expected[:] = 127 + np.array((10, 20, 30)) // 2
    expected[1, 2] = 250, 0, 0
    half = decoded(encoded(picture, transparency=b"\x80\xff"))
    assert np.abs(half.astype(int) - expected).max() <= 1


def test_a_transparent_key_colour_goes_over_white() -> None:
    rgb = np.full((2, 3, 3), (9, 8, 7), dtype=np.uint8)
    rgb[0, 0] = 1, 2, 3
    assert decoded(encoded(rgb, transparency=(1, 2, 3)))[0].tolist() == [[255] * 3, [9, 8, 7], [9, 8, 7]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 32768, 65535]], dtype=np.uint16), [0, 128, 255]),  # 16 bits are 16 bits, also in the dark:
        (np.array([[0, 1000, 2570]], dtype=np.uint16), [0, 4, 10]),
        (np.array([[0, 128, 255]], dtype=np.int32), [0, 128, 255]),
        (np.array([[-5, 25700, 51400]], dtype=np.int32), [0, 100, 200]),
        (np.array([[0, 100_000, 200_000]], dtype=np.int32), [0, 128, 255]),
        (np.array([[-0.01, 0.2, 1]], dtype=np.float32), [0, 51, 255]),
        (np.array([[0.5, 20, 250]], dtype=np.float32), [0, 20, 250]),
        (np.array([[0, 25700, 65535]], dtype=np.float32), [0, 100, 255]),
        (np.array([[np.nan, 0.4, 1]], dtype=np.float32), [0, 102, 255]),
    ],
)
def test_deep_greys_keep_their_range(values: NDArray[np.generic], expected: list[int]) -> None:
    assert decoded(encoded(Image.fromarray(values), "TIFF"))[0].tolist() == [[v] * 3 for v in expected]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_is_its_first_frame(kind: str) -> None:
    first, second = (Image.new("RGB", (20, 12), colour) for colour in ("red", "blue"))
    rgb = decoded(encoded(first, kind, save_all=True, append_images=[second]))
    assert np.abs(rgb.astype(int) - (255, 0, 0)).max() < 3


def bomb() -> bytes:
    """A PNG of a few bytes that claims 50,000 x 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ("open", "empty", "the file is empty")),
        (b"these are words", ("decode", "not-a-picture", "not a picture that Pillow can read")),
        (encoded(noise(64, 48), "JPEG")[:-900], ("decode", "broken", "truncated: the picture ends too early")),
        (encoded(noise(64, 48))[:-900], ("decode", "broken", "truncated: the picture ends too early")),
        (bomb(), ("decode", "too-large", "larger than 420 megapixels")),
    ],
    ids=["empty", "text", "truncated JPEG", "truncated PNG", "bomb"],
)
def test_what_is_no_picture_is_refused_with_the_reason(data: bytes, expected: tuple[str, str, str]) -> None:
    path = Path("named.jpg")
    path.write_bytes(data)
    assert refusal(Ref(0, "named.jpg", path=path)) == expected
    assert refusal(Ref(0, "-", data=data))[1:] == expected[1:]


def test_what_is_no_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)  # opening it would wait for a writer for ever
    advice = "not a regular file; pipe it in instead: `camcli explain - < FILE`"
    assert refusal(Ref(0, "", path=fifo)) == ("open", "not-a-file", advice)
    assert refusal(Ref(0, "", path=tmp_path)) == ("open", "not-a-file", "it is a folder: name it on the command line")
    assert refusal(Ref(0, "", path=tmp_path / "gone.jpg")) == ("open", "missing", "no such file")
    for unusable in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        assert refusal(Ref(0, "", path=unusable)) == ("open", "missing", "not a usable path")


AS_NOBODY_SPECIAL = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, gone after the exec
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, capability, 0, 0, 0):
        sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
READ = """
import sys, pathlib, camcli.inputs.decoding, camcli.records
try:
    camcli.inputs.decoding.read_frame(camcli.records.Ref(0, "", path=pathlib.Path(sys.argv[1])))
except camcli.inputs.decoding.InputError as error:
    print(error.stage, error.kind, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="drops Linux capabilities")
@pytest.mark.parametrize("locked", ["file", "folder"])
def test_a_picture_nobody_may_read_is_refused(locked: str, picture: Callable[..., Path]) -> None:
    path = picture("folder/a.png")
    closed = path if locked == "file" else path.parent
    closed.chmod(0)
    command = [sys.executable, "-c", AS_NOBODY_SPECIAL, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    closed.chmod(0o700)
    if done.returncode == 77:
        pytest.skip("this root may not drop its capabilities")
    assert (done.stdout, done.stderr) == ("open permission no permission to read it\n", "")


@pytest.mark.parametrize(
    ("fit", "size", "message"),
    [
        ("crop", (1, 1500), "1x1500 is too elongated to resize"),
        ("crop", (1500, 1), "1500x1 is too elongated to resize"),
        ("full", (810, 100), "810x100 is too elongated for --fit full"),
        ("full", (100, 810), "100x810 is too elongated for --fit full"),
    ],
)
def test_too_elongated_a_picture_is_refused(fit: Fit, size: tuple[int, int], message: str) -> None:
    frame = frame_of(noise(*size))
    with pytest.raises(InputError) as caught:
        view_of(frame, LITE, fit)
    assert (caught.value.stage, caught.value.kind, str(caught.value)) == ("preprocess", "elongated", message)
    assert view_of(frame, LITE, "squash").box == (0, 0, *size)
    assert view_of(frame, LITE, "pad").pixels.any()


def a_frame_or_one_refusal(data: bytes, origin: str) -> bool:
    """True if there is a frame; a refusal is one line in our own words; anything else would end the whole run."""
    message = None
    try:
        rgb = decoded(data)
    except InputError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{origin} raised {error!r}") from error
    if message is None:
        assert rgb.ndim == 3, origin
        assert rgb.shape[2] == 3, origin
    else:
        assert not re.search(r"\n|\b0x|<_io", message), origin
    return message is None


@pytest.mark.parametrize(
    "kind", thinned(["JPEG", "GIF", "BMP", "PNG", "WEBP", "PPM", "TIFF", "JPEG2000", "AVIF", "ICO", "DDS"], 3)
)
def test_no_damage_is_more_than_a_refusal(kind: str) -> None:
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow can't write {kind}")
    whole, rng = encoded(noise(24, 16), kind), np.random.default_rng(0)
    assert a_frame_or_one_refusal(whole, kind)
    # Each picture of the formats that are not linear starts a process.
    for trial in range(60 if kind in guards.LINEAR else 12):
        damaged = bytearray(whole)
        where = rng.integers(0, min(len(whole), 400) if trial % 2 else len(whole), 1 + trial % 5)
        for position in where:
            damaged[position] = (0, 255, rng.integers(256))[trial % 3]
        a_frame_or_one_refusal(bytes(damaged[: where[0] if trial % 4 == 0 else None]), f"{kind} trial {trial}")


def test_every_hostile_file_is_a_frame_or_one_refusal(shared: Path) -> None:
    with tarfile.open(shared / "hostile.tar") as tar:
        members = {m.name: tar.extractfile(m) for m in tar if m.isfile()}
        refused = {n for n, file in members.items() if file and not a_frame_or_one_refusal(file.read(), n)}
    assert {Path(name).name for name in refused} == {
        "LICENSE.txt",  # words
        "text_named.jpg",
        "empty.jpg",
        "zero_width.gif",  # no pixels
        "no_cursors.cur",
        "chelsea_truncated_tail.jpg",  # cut off
        "truncated_end_chunk.png",
        "decompression_bomb.ico",  # too large
        "giant-image.jpg",
        "oom-8ed3316a4109213ca96fb8a256a0bfefdece1461.icns",
        "cielab-dagams.tiff",  # 16-bit LAB, which Pillow can't read
    }


# Networks that take other than three channels.


@pytest.mark.parametrize("fit", ["crop", "squash", "full"])
def test_grey_is_torchvisions_grayscale(fit: Fit) -> None:
    preset = Preset(64, 48, (0.4,), (0.3,), "bilinear")
    rgb = noise(97, 71)
    resize = {"crop": v2.Resize(64), "squash": v2.Resize((48, 48)), "full": v2.Resize(64)}[fit]
    image = resize(v2.Grayscale()(Image.fromarray(rgb)))
    if fit == "crop":
        image = v2.CenterCrop(48)(image)
    expected = functional.normalize(functional.to_tensor(image), [0.4], [0.3])
    assert np.array_equal(view_of(frame_of(rgb), preset, fit).pixels, expected.numpy())


def _array(array: NDArray[np.generic]) -> Frame:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return read_frame(Ref(0, "-", data=buffer.getvalue()))


def test_an_array_of_three_bytes_is_seen_as_the_picture_would_be() -> None:
    rgb = noise(97, 71)
    frame = _array(rgb)
    assert np.array_equal(frame.rgb, rgb)
    own, pictures = view_of(frame, LITE, "crop"), view_of(frame_of(rgb), LITE, "crop")
    assert own.box == pictures.box
    assert np.array_equal(own.pixels, pictures.pixels)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_each_band_is_resized_and_normalised_by_itself(channels: int) -> None:
    means, stds = tuple(0.1 * n for n in range(channels)), tuple(1.0 + n for n in range(channels))
    preset = Preset(40, 32, means, stds, "bicubic")
    bands = RNG.integers(0, 256, (50, 70, channels), dtype=np.uint8)
    view = view_of(_array(bands), preset, "crop")
    for band in range(channels):
        one = Preset(40, 32, (means[band],), (stds[band],), "bicubic")
        alone = view_of(_array(bands[..., band]), one, "crop")
        assert np.array_equal(view.pixels[band], alone.pixels[0])
    shown = bands[..., :3] if channels >= 3 else bands[..., :1].repeat(3, axis=2)
    assert np.array_equal(_array(bands).rgb, shown)


def test_deep_arrays_are_scaled_to_the_range_of_bytes() -> None:
    preset = Preset(20, 20, (0.0, 0.0), (1.0, 1.0), "nearest")
    bands = RNG.random((20, 20, 2)).astype(np.float64)
    assert np.array_equal(view_of(_array(bands), preset, "crop").pixels, bands.astype(np.float32).transpose(2, 0, 1))
    deep = (bands * 65535).astype(np.uint16)
    expected = (deep.astype(np.float32) / np.float32(65535)).transpose(2, 0, 1)
    assert np.array_equal(view_of(_array(deep), preset, "crop").pixels, expected)
    assert np.array_equal(_array(bands).rgb[..., 0], np.rint(bands[..., 0].astype(np.float32) * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4, 5), dtype=np.uint8), "array of 2x3x4x5, not"),
        (np.zeros(7, dtype=np.uint8), "array of 7, not"),
        (np.zeros((0, 4, 3), dtype=np.uint8), "array of 0x4x3, not"),
        (np.full((4, 4, 3), 2.0), "neither uint8"),
        (np.full((4, 4, 3), np.nan), "neither uint8"),
        (np.zeros((4, 4, 3), dtype=np.int64), "neither uint8"),
        (np.array([[object()]]), "an array of Python objects, not of numbers"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _array(array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_array_of_greys_is_read_as_a_grey_picture(dtype: Any) -> None:
    grey = noise(30, 40)[..., 0]
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    scaled: NDArray[Any] = (grey.astype(np.float64) / 255 * white).astype(dtype)
    expected = view_of(frame_of(grey[..., None].repeat(3, axis=2)), LITE, "crop").pixels
    for array in (scaled, scaled[..., None]):
        found = view_of(_array(array), LITE, "crop").pixels
        # Only bytes are rounded when they are resized.
        assert np.abs(found - expected).max() < (1e-6 if dtype == np.uint8 else 0.02)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_list_that_is_named_as_a_picture_is_told_where_lists_go(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.jpg'}\ngone.jpg\n", encoding=encoding)
    with pytest.raises(InputError, match="names of files come through stdin, `camcli explain - < LIST`"):
        read_frame(Ref(0, "list.txt", path=tmp_path / "list.txt"))
    (tmp_path / "notes.txt").write_text("these are words\n")
    with pytest.raises(InputError, match=r"can read$"):
        read_frame(Ref(0, "notes.txt", path=tmp_path / "notes.txt"))


def test_a_files_uri_may_be_percent_encoded(tmp_path: Path) -> None:
    odd = tmp_path / "50% off é.png"
    Image.fromarray(noise(8, 6)).save(odd)
    for uri in (odd.as_uri(), f"file://{odd}"):
        assert uris.local_path(uri) == str(odd)
        assert read_frame(Ref(0, uri, uri=uri)).size == (8, 6)


def test_channels_that_do_not_suit_the_network_are_refused() -> None:
    five = Preset(20, 20, (0.5,) * 5, (0.5,) * 5, "bilinear")
    with pytest.raises(InputError, match=r"a picture has 3 channels, and the network takes 5: give a \.npy array"):
        view_of(frame_of(noise(30, 30)), five, "crop")
    grey, eleven = (Preset(20, 20, (0.5,) * count, (0.5,) * count, "bilinear") for count in (1, 11))
    for shape, preset, said in (
        ((30, 30, 2), LITE, "an array of 30x30x2, (height, width, channels), and the network takes 3 channels"),
        ((30, 30, 3), grey, "an array of 30x30x3, (height, width, channels), and the network takes 1 channel"),
        ((30, 30, 3), eleven, "an array of 30x30x3, (height, width, channels), and the network takes 11 channels"),
        ((3, 30, 40), LITE, "the network takes 3 channels: its channels come first, transpose it"),
        ((1, 30, 40), grey, "the network takes 1 channel: its channels come first, transpose it"),
    ):
        with pytest.raises(InputError, match=re.escape(said) + "$"):
            view_of(_array(np.zeros(shape, dtype=np.uint8)), preset, "crop")
    whole = io.BytesIO()
    np.save(whole, np.zeros((30, 30, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="can't be decoded"):
        read_frame(Ref(0, "-", data=whole.getvalue()[:-100]))
