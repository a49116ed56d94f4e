from __future__ import annotations

import gc
import json
import os
import re
import tempfile
import unicodedata
import weakref
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from results import MASTIFF, PROVENANCE, attributed, explained

from camcli.drawing import overlays
from camcli.drawing.styles import Style
from camcli.entries import Entry
from camcli.errors import InputError, RequestError, SetupError
from camcli.inputs.decoding import read_frame
from camcli.inputs.refs import apart
from camcli.maps.fingerprints import fingerprint
from camcli.maps.locating import locate
from camcli.records import Explained, Failed, Picture, Ref, Truth
from camcli.sinks import as_row, dump, open_sinks
from camcli.sinks.naming import MAX_SLUG, slug_of
from camcli.specs import OutputSpec

OUT = Path("out")


def written(*results: Explained | Failed, **options: Any) -> list[dict[Picture, Path]]:
    with open_sinks(OutputSpec(folder=OUT, **options)) as sinks:
        return [
            {kind: Path(path) for kind, path in paths.items()} for result in results for paths in sinks.write(result)
        ]


def all_files(folder: Path = OUT) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def rgb_of(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_names_tell_the_input_the_method_the_class_and_the_kind() -> None:
    both = (attributed(), attributed(target=MASTIFF))
    kinds: tuple[Picture, ...] = ("overlay", "heatmap", "panel", "raw")
    first, second = written(explained("pets/my dog.jpeg", *both), pictures=kinds)
    stem = OUT / "pets" / "my dog.jpeg.grad-cam.242-boxer"
    assert first == {
        "overlay": Path(f"{stem}.overlay.jpg"),
        "heatmap": Path(f"{stem}.heatmap.png"),
        "panel": Path(f"{stem}.panel.jpg"),
        "raw": Path(f"{stem}.raw.npz"),
    }
    assert second["overlay"].name == "my dog.jpeg.grad-cam.243-bull-mastiff.overlay.jpg"
    assert sorted(all_files()) == sorted([*first.values(), *second.values()])


def test_the_layer_is_in_the_name_where_there_are_several() -> None:
    paths = written(explained("a.png", attributed(), attributed(layer="layer3.0"), attributed(layer=None)))
    assert [path["overlay"].name for path in paths] == [
        "a.png.grad-cam.242-boxer.layer4.overlay.jpg",
        "a.png.grad-cam.242-boxer.layer3.0.overlay.jpg",
        "a.png.grad-cam.242-boxer.overlay.jpg",
    ]


def test_a_class_name_is_made_fit_for_a_file_name() -> None:
    odd = Entry(3, "jack-o'-lantern / ../Über " + "long " * 20, 0.5, 1.0)
    ((_, path),) = written(explained("a.png", attributed(target=odd)))[0].items()
    slug = path.name.removeprefix("a.png.grad-cam.").removesuffix(".overlay.jpg")
    assert slug.startswith("3-jack-o-lantern-über-long-long")
    assert len(os.fsencode(slug)) <= MAX_SLUG
    assert written(explained("b.png", attributed(target=Entry(4, "猫", 1, 1))))[0]["overlay"].exists()


@pytest.mark.parametrize(
    ("label", "slug"),
    [
        ("282 tiger cat", "282-tiger-cat"),
        ("3 jack-o'-lantern_(x)", "3-jack-o-lantern-x"),
        ("1 Tigerkätzchen", "1-tigerkätzchen"),
        ("1 Tigerka\u0308tzchen", "1-tigerkätzchen"),
        ("2 КОТ 猫 고양이", "2-кот-猫-고양이"),
        ("4 बिल्ली", "4-बिल्ली"),
        ("5 ΣΊΣΥΦΟΣ / Straße", "5-σίσυφος-straße"),
        ("6 a/b\\c\x00d\u202ee\u200bf\udce9", "6-a-b-c-d-e-f"),
        ("\u0301 ❤\ufe0f 7", "7"),
        ("../..", ""),
    ],
)
def test_letters_of_all_scripts_are_kept_in_names_and_nothing_else(label: str, slug: str) -> None:
    assert slug_of(label) == slug
    assert slug_of(slug) == slug


@given(st.text(max_size=200))
def test_a_class_of_any_name_has_a_short_harmless_slug(label: str) -> None:
    slug = slug_of(label)
    assert len(os.fsencode(slug)) <= MAX_SLUG
    assert all(one == "-" or one.isalnum() or unicodedata.category(one)[0] == "M" for one in slug)


@given(st.text(st.characters(max_codepoint=127), max_size=200))
def test_the_slug_of_an_ascii_label_is_what_it_always_was(label: str) -> None:
    assert slug_of(label) == re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:80]


def test_sub_folders_of_the_named_folder_are_mirrored_and_nothing_else() -> None:
    walked = explained(Ref(0, "", path=Path("/data/pets/cats/deep/a.png"), root=Path("/data/pets")))
    named = explained(Ref(1, "", path=Path("some/where/b.png"), root=Path("some/where")))
    listed = explained(Ref(2, "", path=Path("/abs/olute/c.png"), root=Path()))
    upwards = explained(Ref(3, "", path=Path("../../d/e.png"), root=Path()))
    piped = explained(Ref(4, "-", data=b"x"))
    paths = [path["overlay"].relative_to(OUT) for path in written(walked, named, listed, upwards, piped)]
    tail = ".grad-cam.242-boxer.overlay.jpg"
    assert [str(path).removesuffix(tail) for path in paths] == ["cats/deep/a.png", "b.png", "c.png", "d/e.png", "stdin"]


def test_inputs_of_one_name_keep_files_of_their_own() -> None:
    """Also where only the case differs: some file systems ignore it."""
    refs = [
        Ref(i, "", path=Path(name), root=Path(name).parent) for i, name in enumerate(["x/a.png", "y/a.png", "z/A.PNG"])
    ]
    refs.append(Ref(3, "", path=Path("w/a.png~2"), root=Path("w")))
    names = [path["overlay"].name for path in written(*map(explained, apart(refs)))]
    assert [name.split(".grad-cam")[0] for name in names] == ["a.png", "a.png~2", "A.PNG~3", "a.png~2~2"]
    assert len({name.casefold() for name in names}) == 4 == len(list(all_files()))


@pytest.mark.parametrize(
    "name",
    [
        "new\nline.png",
        "esc\x1b[31m.png",
        "caf\udce9.png",
        "-leading-dash.png",
        "x" * 251 + ".png",
        "猫" * 83 + ".png",
        "~",
        "a b",
        "…",
    ],
)
def test_odd_names_fit_and_stay_apart(name: str) -> None:
    long = name + "y" if len(os.fsencode(name)) < 255 else name[:-5] + "y.png"
    refs = [Ref(i, n, path=Path(n), root=Path()) for i, n in enumerate([name, long, name])]
    paths = [path["overlay"] for path in written(*map(explained, apart(refs)))]
    assert len(set(paths)) == 3 == len(list(all_files()))
    for path in paths:
        assert path.is_file()
        assert path.parent == OUT
        assert len(os.fsencode(path.name)) <= 255
        assert path.name.isprintable()
        assert path.name.endswith(".grad-cam.242-boxer.overlay.jpg")


hostile = st.lists(
    st.one_of(
        st.sampled_from(["..", ".", "", "/", "a", "A", "\\", "~", "..\\..", "\0", "C:", "out"]), st.text(max_size=30)
    ),
    max_size=6,
).map("/".join)


@pytest.mark.exhaustive
@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(hostile, hostile), min_size=1, max_size=3))
def test_nothing_is_ever_written_outside_the_folder(names: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "deep" / "out"
        with open_sinks(OutputSpec(folder=folder, pictures=("raw",))) as sinks:
            refs = [Ref(i, path, path=Path(path), root=Path(root)) for i, (path, root) in enumerate(names)]
            written = [files for ref in apart(refs) for files in sinks.write(explained(ref))]
            paths = [Path(path) for files in written for path in files.values()]
        assert all(path.resolve().is_relative_to(folder.resolve()) for path in paths)
        assert set(all_files(Path(base))) == set(paths)
        assert len(set(paths)) == len(names)


def test_files_are_renamed_into_place(monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[tuple[str, str]] = []
    replace = Path.replace

    def recorded(self: Path, target: Path) -> Path:
        assert self.stat().st_size > 0
        assert not target.exists()
        moves.append((self.name, target.name))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", recorded)
    (paths,) = written(explained("a.png"), pictures=("overlay", "raw"))
    assert sorted(target for _, target in moves) == sorted(path.name for path in paths.values())
    assert all(source.endswith(".tmp") for source, _ in moves)
    assert set(all_files()) == set(paths.values())


def test_a_full_disk_leaves_no_half_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SetupError, match=r"can't write out/a\.png\..*\.jpg: No space left on device"):
        written(explained("a.png"))
    assert not list(all_files())


def test_a_file_where_a_sub_folder_must_go_is_told() -> None:
    OUT.mkdir()
    (OUT / "sub").write_text("in the way")
    with pytest.raises(SetupError, match=r"can't write out/sub/a\.png"):
        written(explained("sub/a.png"))


def test_a_folder_that_cannot_be_is_refused_before_the_run() -> None:
    Path("file").write_text("in the way")
    for folder in (Path("file"), Path("file/below/it")):
        with pytest.raises(RequestError, match="file is not a folder"), open_sinks(OutputSpec(folder=folder)):
            pytest.fail("the run must not start")
    with open_sinks(OutputSpec(folder=Path("new/deep"))):
        pass  # nothing was written: nothing is made
    assert [path.name for path in Path().iterdir()] == ["file"]


def test_no_folder_and_no_answer_write_nothing() -> None:
    failed = Failed(Ref(0, "a.png", path=Path("a.png")), "decode", "broken", "it is broken")
    assert written(failed) == []
    with open_sinks(OutputSpec()) as sinks:
        assert sinks.write(explained("a.png")) == []
    assert not list(Path().iterdir())


def test_one_named_file() -> None:
    with open_sinks(OutputSpec(file="here/mine.png", pictures=("heatmap",))) as sinks:
        assert sinks.write(explained("a.png")) == [{"heatmap": "here/mine.png"}]
    assert rgb_of(Path("here/mine.png")).shape == (24, 40, 4)


def test_raw_values_are_the_values_and_what_they_answer() -> None:
    own = attributed(np.random.default_rng(2).random((5, 7)) * 1e-3)
    (paths,) = written(explained("a.png", own), pictures=("raw",))
    with np.load(paths["raw"], allow_pickle=False) as raw:
        found = {name: raw[name] for name in raw.files}
    assert found.pop("values").dtype == np.float32
    with np.load(paths["raw"]) as raw:
        assert np.array_equal(raw["values"], own.values)
    assert {name: value.tolist() for name, value in found.items()} == {
        "box": [8, 0, 32, 24],
        "size": [40, 24],
        "target": 242,
        "label": "boxer",
        "method": "grad-cam",
        "layer": "layer4",
    }


def test_pictures_on_disk_are_the_rendered_ones() -> None:
    result = explained("a.png")
    own, style = result.attributions[0], Style("jet", 0.7, max_side=32)
    (paths,) = written(result, pictures=("overlay", "heatmap"), colormap="jet", opacity=0.7, max_side=32)
    assert np.array_equal(rgb_of(paths["heatmap"]), overlays.heatmap(result.frame, result.box, own, style))
    with Image.open(paths["overlay"]) as jpeg:
        assert jpeg.format == "JPEG"
        # 4:4:4: every component sampled 1 by 1.
        assert [component[1:3] for component in jpeg.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
    (lossless,) = written(result, format="png", colormap="jet", opacity=0.7, max_side=32)
    expected = overlays.overlay(result.frame, result.box, own, style)
    assert np.array_equal(rgb_of(lossless["overlay"]), expected)
    assert np.abs(rgb_of(paths["overlay"]).astype(int) - expected).mean() < 8  # not blue for red


def test_one_scale_for_the_run_without_keeping_its_pixels(tmp_path: Path) -> None:
    """The weaker picture is drawn on the stronger one's scale, per layer; the frames are read again for it."""
    refs = []
    for index, name in enumerate(["weak.png", "strong.png"]):
        Image.fromarray(np.full((24, 40, 3), 50 * index, dtype=np.uint8)).save(name)
        refs.append(Ref(index, name, path=tmp_path / name, root=tmp_path))
    weak, strong, other = attributed([[0, 1, 2]]), attributed([[8, 1, 0]]), attributed([[0, 90, 1]], layer="layer3")
    alive = []
    spec = OutputSpec(folder=OUT, pictures=("heatmap", "overlay"), norm="run", format="png")
    with open_sinks(spec) as sinks:
        paths = []
        for ref, own in zip(refs, [(weak,), (strong, other)], strict=True):
            frame = read_frame(ref)
            paths += sinks.write(explained(ref, *own, frame=frame))
            alive.append(weakref.ref(frame.rgb))
            del frame
        gc.collect()
        assert [pixels() for pixels in alive] == [None, None]
        assert not OUT.exists()
    for kinds, ref, drawn, top in zip(paths, [refs[0], *refs[1:] * 2], [weak, strong, other], [8, 8, 90], strict=True):
        frame = read_frame(ref)
        expected = overlays.heatmap(frame, (8, 0, 32, 24), drawn, Style(top=top))
        assert np.array_equal(rgb_of(Path(kinds["heatmap"])), expected)
        assert np.array_equal(
            rgb_of(Path(kinds["overlay"])), overlays.overlay(frame, (8, 0, 32, 24), drawn, Style(top=top))
        )


def test_a_fixed_scale_is_the_one_given() -> None:
    result = explained("a.png")
    (paths,) = written(result, pictures=("heatmap",), norm="fixed", norm_max=16.0)
    expected = overlays.heatmap(result.frame, result.box, result.attributions[0], Style(top=16.0))
    assert np.array_equal(rgb_of(paths["heatmap"]), expected)
    assert not np.array_equal(expected, overlays.heatmap(result.frame, result.box, result.attributions[0], Style()))


def test_the_row_of_an_answer() -> None:
    result = explained("a.png", attributed(), attributed([[0.0, 0.0]], note="no gradient", target=MASTIFF))
    row = as_row(result, [{"overlay": "out/a.jpg", "raw": "out/a.npz"}, {}])
    boxer = {"id": 242, "label": "boxer", "probability": 0.75, "logit": 9.5}
    mastiff = {"id": 243, "label": "bull mastiff", "probability": 0.25, "logit": 8.25}
    first, second = row.pop("explanations")
    assert row == {
        "schema": 2,
        "input": "a.png",
        "size": [40, 24],
        "box": [8, 0, 32, 24],
        "model": "net",
        "weights": "V1",
        "layer": "layer4",
        "top": [boxer, mastiff],
        "provenance": asdict(PROVENANCE) | {"preset": dict(list(asdict(PROVENANCE.preset).items())[:6])},
        "ms": {"decode": 1.23},
    }
    peak, bbox = locate(result.attributions[0], result.box, (40, 24))
    assert peak is not None
    assert bbox is not None
    files = {"overlay": "out/a.jpg", "raw": "out/a.npz"}
    asked = boxer | {"name": "242 boxer", "quantity": "logit", "value": 9.5}
    assert first == {"method": "grad-cam", "target": asked, "layer": "layer4", "max": 4.0} | {
        "peak": list(peak),
        "bbox": list(bbox),
        "fingerprint": fingerprint(attributed().values),
        "files": files,
    }
    nowhere: dict[str, object] = {"peak": None, "bbox": None, "max": 0.0, "files": {}, "note": "no gradient"}
    nowhere["fingerprint"] = fingerprint(np.zeros((1, 2), dtype=np.float32))
    asked = mastiff | {"name": "243 bull mastiff", "quantity": "logit", "value": 8.25}
    assert second == {"method": "grad-cam", "target": asked, "layer": "layer4"} | nowhere
    assert as_row(explained("a.png"))["explanations"][0]["files"] == {}


def test_the_row_of_a_refusal() -> None:
    row = as_row(Failed(Ref(3, "b.png"), "decode", "broken", "it is broken"))
    assert row == {
        "schema": 2,
        "input": "b.png",
        "error": {"stage": "decode", "kind": "broken", "message": "it is broken"},
    }


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=30)  # halves of surrogate pairs too


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT, ANY_TEXT)
@example("caf\udce9.png", "猫\n\x1b[31m")
@example("\udcff\udcfe", "=cmd|' /C calc'!A0,\"</script>")
def test_any_name_and_label_are_one_line_of_ascii_json_and_whole_unicode(name: str, label: str) -> None:
    scored = Entry(1, label, 0.5, -1.25)
    answers = (attributed(target=scored), attributed(note=label))
    result = replace(explained(name, *answers), top=(scored,), model=label, truth=Truth(1, label, correct=True))
    for row in (as_row(result, [{"overlay": name}] * 2), as_row(Failed(Ref(3, name), "decode", "broken", label))):
        line = dump(row)
        assert line.isascii()
        assert len(line.splitlines()) == 1
        assert json.loads(line)["input"] == row["input"]
        json.dumps(row, ensure_ascii=False).encode()  # no half of a surrogate pair


def test_names_that_are_no_utf8_have_their_odd_bytes_replaced() -> None:
    row = as_row(explained("caf\udce9 猫.png"), [{"overlay": "out/\udcff.jpg"}])
    assert row["input"] == "caf\ufffd 猫.png"
    assert row["explanations"][0]["files"] == {"overlay": "out/\ufffd.jpg"}


def test_no_nan_is_ever_a_row() -> None:
    line = dump(as_row(explained("a.png", attributed(np.zeros((2, 3))))))
    json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} in a row"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"probability": float("nan")})


def test_a_link_in_the_folder_leads_nowhere_outside(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    OUT.mkdir()
    (OUT / "sub").symlink_to(elsewhere)
    with pytest.raises(InputError, match="would lie outside out: a link in it leads there"):
        written(explained("sub/a.png"))
    assert not list(elsewhere.iterdir())
    (OUT / "sub").unlink()
    (OUT / "there").mkdir()
    (OUT / "sub").symlink_to("there")
    written(explained("sub/a.png"))
    assert len(list((OUT / "there").iterdir())) == 1
