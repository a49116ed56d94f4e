"""A folder's way through threads: every row, in order, with any number of workers; what is read ahead is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shell import SAMPLES, refused, run

from camcli import Engine, OutputSpec, Spec, expand, open_sinks
from camcli.inputs import decoding, preprocessing
from camcli.inputs.decoding import read_frame
from camcli.inputs.preprocessing import view_of
from camcli.inputs.reading import Item, Reader
from camcli.inputs.refs import shard
from camcli.machine.pools import ahead, pool_of
from camcli.records import Decoding, Frame, Preset, Ref, Result, Row, View
from camcli.running import pipeline

Picture = Callable[..., Path]
PRESET = Preset(32, 24, (0.5,) * 3, (0.5,) * 3, "bilinear")


def timeless(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "ms"}


def rows(spec: Spec, where: OutputSpec, names: list[str], **options: Any) -> list[Row]:
    engine = Engine(spec, **options)
    with open_sinks(where) as files:
        return [timeless(row) for row in pipeline.rows(engine, expand(names), files)]


@pytest.fixture
def mixed(picture: Picture) -> list[str]:
    """Eleven inputs, three of them no pictures, of many sizes."""
    for number in range(8):
        picture(f"in/{number}.jpg", (40 + 30 * number, 300 - 30 * number))
    for name in ("in/1b.jpg", "in/5b.jpg"):
        Path(name).write_bytes(b"\xff\xd8\xff not a picture")
    return ["in", "in/7.jpg"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("workers", [2, 5])
def test_rows_and_files_are_the_same_with_any_number_of_workers(mixed: list[str], workers: int) -> None:
    spec, kinds = Spec(batch_size=4), OutputSpec("one", pictures=("overlay", "raw"))
    alone = rows(spec, kinds, mixed, workers=1)
    several = rows(spec, OutputSpec("many", pictures=("overlay", "raw")), mixed, workers=workers)
    assert [row["input"] for row in alone] == [ref.name for ref in expand(mixed)]
    assert sum("error" in row for row in alone) == 2
    assert repr(several).replace("many/", "one/") == repr(alone)
    assert {p.name: p.read_bytes() for p in Path("one").rglob("*.jpg")} == {
        p.name: p.read_bytes() for p in Path("many").rglob("*.jpg")
    }


@pytest.mark.exhaustive
def test_on_a_device_that_leaves_cores_idle_the_stages_overlap(
    mixed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is a CPU that says so: decoding, computing and drawing then run in threads of their own."""
    alone = rows(Spec(batch_size=2), OutputSpec("out"), mixed)
    monkeypatch.setattr(Engine, "overlaps", True)
    threads = set[str]()
    answer = Engine.answer

    def seen(engine: Engine, items: Sequence[Item]) -> list[Result]:
        threads.add(threading.current_thread().name)
        return answer(engine, items)

    monkeypatch.setattr(Engine, "answer", seen)
    assert rows(Spec(batch_size=2), OutputSpec("out"), mixed) == alone
    assert threading.main_thread().name not in threads


def test_fail_fast_writes_nothing_behind_the_refusal(mixed: list[str]) -> None:
    outcome = run("explain", *mixed, "--fail-fast", "--json", "-o", "out")
    assert outcome.code == 4
    assert [row["input"] for row in outcome.rows] == ["in/0.jpg", "in/1.jpg", "in/1b.jpg"]
    assert len(list(Path("out").rglob("*.jpg"))) == 2


def test_what_is_decoded_ahead_is_bounded(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers and pictures that count as large: at most two wait while the consumer holds one."""
    monkeypatch.setattr("camcli.inputs.reading.MAX_AHEAD_PIXELS", 0)
    monkeypatch.setattr("camcli.inputs.reading.MAX_BATCH_PIXELS", 1)
    path = picture()
    read: list[int] = []
    original = decoding.read

    def counted(ref: Ref, *limits: Any, **options: Any) -> Any:
        read.append(ref.index)
        return original(ref, *limits, **options)

    monkeypatch.setattr(decoding, "read", counted)
    refs = (Ref(index, "a", path=path) for index in range(12))
    with pool_of(2) as pool:
        for done, batch in enumerate(Reader(PRESET, "crop").batches(refs, 12, pool, 2), 1):
            assert len(batch) == 1
            time.sleep(0.01)
            assert len(read) <= done + 2


def test_large_pictures_wait_for_their_turn(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two: workers that could decode eight at once hold no more, and each comes in its place."""
    monkeypatch.setattr("camcli.inputs.reading.MAX_ROOM", 2 * 64 * 48)
    monkeypatch.setattr("camcli.inputs.reading.MAX_BATCH_PIXELS", 1)
    paths = [picture(f"{index}.png", (64, 48)) for index in range(12)]
    paths[5].write_bytes(b"no picture")
    held, most = [0], [0]
    original = preprocessing.view_of

    def counted(frame: Frame, *options: Any) -> View:
        held[0] += 1
        most[0] = max(most[0], held[0])
        return original(frame, *options)

    monkeypatch.setattr(preprocessing, "view_of", counted)
    refs = [Ref(index, path.name, path=path) for index, path in enumerate(paths)]
    order = []
    with pool_of(8) as pool:
        for batch in Reader(PRESET, "crop").batches(refs, 12, pool, 8):
            order += [item.ref.index for item in batch]
            held[0] -= sum(item.frame is not None for item in batch)
            time.sleep(0.01)
    assert order == list(range(12))
    assert most[0] <= 3, "two ahead, and the one whose turn it is"


def test_batches_are_those_of_whole_blocks(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that ends early for its pixels does not shift the ones behind it."""
    monkeypatch.setattr("camcli.inputs.reading.MAX_BATCH_PIXELS", 3 * 64 * 48)
    path = picture()
    refs = [Ref(index, "a", path=path) for index in range(10)]
    with pool_of(2) as pool:
        sizes = [len(batch) for batch in Reader(PRESET, "crop").batches(refs, 4, pool, 2)]
    assert sizes == [3, 1, 3, 1, 2]


def test_one_step_ahead_keeps_the_order_the_errors_and_the_end() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the end")

    found = ahead(numbers())
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the end"):
        next(found)
    assert list(ahead(iter([]))) == []
    with pool_of(1) as pool:
        assert isinstance(pool, ThreadPoolExecutor)


# Pictures that are much larger than what will be seen of them


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A real photo at 2048x1536, as a JPEG."""
    path = tmp_path / "large.jpg"
    with Image.open(SAMPLES / "espresso.jpg") as photo:
        photo.convert("RGB").resize((2048, 1536), Image.Resampling.BICUBIC).save(path, quality=92)
    return path


def test_a_draft_is_decoded_at_the_smallest_scale_that_leaves_so_much(large: Path) -> None:
    ref = Ref(0, "large", path=large)
    sizes = {draft: read_frame(ref, Decoding(draft)).rgb.shape[:2] for draft in (100, 512, 768, 769, 1536)}
    assert sizes == {
        100: (192, 256),
        512: (768, 1024),
        768: (768, 1024),
        769: (1536, 2048),
        1536: (1536, 2048),
    }
    assert read_frame(ref, Decoding(512)).size == (2048, 1536) == read_frame(ref).size


@pytest.mark.parametrize("size", [(1400, 1100), (1001, 1000), (1000, 1001), (1203, 1600)])
def test_lying_pictures_are_reduced_and_set_upright(tmp_path: Path, size: tuple[int, int]) -> None:
    with Image.open(SAMPLES / "espresso.jpg") as photo:
        exif = Image.Exif()
        exif[0x0112] = 6
        photo.convert("RGB").resize(size).save(tmp_path / "lying.jpg", exif=exif, quality=95)
    ref = Ref(0, "lying", path=tmp_path / "lying.jpg")
    whole, reduced = read_frame(ref), read_frame(ref, Decoding(250))
    assert reduced.size == whole.size == size[::-1]
    assert min(reduced.rgb.shape[:2]) < min(whole.rgb.shape[:2]) / 1.9
    one, other = (
        view_of(frame, Preset(64, 56, (0.5,) * 3, (0.5,) * 3, "bilinear"), "crop") for frame in (whole, reduced)
    )
    assert one.box == other.box
    assert np.abs(one.pixels - other.pixels).mean() < 0.02


UNSAVED: list[list[str]] = [[], ["--save", "none"], ["--max-side", "300"]]


@pytest.mark.exhaustive
def test_the_answer_does_not_depend_on_what_is_saved(large: Path) -> None:
    """`classify` and `explain` print one probability for one photo, and the same maps whatever is drawn of them."""
    rows = [run("explain", large, "--json", *save).rows[0] for save in UNSAVED]
    top = run("classify", large, "--json").rows[0]["top"]
    assert all(row["top"] == top for row in rows)
    assert len({row["explanations"][0]["fingerprint"]["sha256"] for row in rows}) == 1


@pytest.mark.exhaustive
def test_a_draft_moves_scores_little(large: Path) -> None:
    full, draft = (
        run("explain", large, "--save", "none", "--json", *flag).rows[0] for flag in ([], ["--draft", "512"])
    )
    assert draft["provenance"]["spec"]["draft"] == 512
    assert full["size"] == draft["size"] == [2048, 1536]
    assert full["box"] == draft["box"]
    assert full["top"] != draft["top"]
    assert full["top"][0]["probability"] == pytest.approx(draft["top"][0]["probability"], abs=0.05)


def test_an_overlay_of_a_draft_is_nearly_the_one_of_the_whole(large: Path) -> None:
    pictures = []
    for name, flag in (("full.png", []), ("draft.png", ["--draft", "512"])):
        assert run("explain", large, "--max-side", "600", "--format", "png", "-o", name, *flag).code == 0
        with Image.open(name) as picture:
            pictures.append(np.asarray(picture).astype(int))
    assert pictures[0].shape == pictures[1].shape == (450, 600, 3)
    assert np.abs(pictures[0] - pictures[1]).mean() < 3


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (["classify"], []),
        (["explain", "--save", "none"], ["--draft", "300"]),
        (["explain", "--max-side", "300"], ["--white", "4095"]),
    ],
)
def test_rows_of_a_large_photo_are_verified(large: Path, command: list[str], flags: list[str]) -> None:
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save("deep.png")
    then = run(command[0], large, "deep.png", *command[1:], *flags, "--json", "-q")
    Path("then.jsonl").write_bytes(then.stdout)
    outcome = run("verify", "then.jsonl")
    assert (outcome.code, outcome.err) == (0, "camcli: 2 identical, 0 equal, 0 differs, 0 gone\n")


# Parts of a run


@pytest.mark.exhaustive
def test_shards_put_together_are_the_run(mixed: list[str]) -> None:
    whole = run("explain", *mixed, "--json", "-o", "out", "-b", "4").rows
    parts = [run("explain", *mixed, "--json", "-o", "out", "-b", "4", "--shard", f"{n}/3") for n in (1, 2, 3)]
    assert [timeless(row) for part in parts for row in part.rows] == [timeless(row) for row in whole]
    assert [len(part.rows) for part in parts] == [4, 4, 3]
    assert {part.code for part in parts} <= {0, 4}
    listed = "\n".join(row["input"] for row in whole).encode()
    piped = [
        run("explain", "-", "--json", "-o", "o", "-b", "4", "--shard", f"{n}/2", stdin=listed).rows for n in (1, 2)
    ]
    assert [row["input"] for row in piped[0] + piped[1]] == [row["input"] for row in whole]


def test_a_shard_may_be_empty() -> None:
    refs = [Ref(index, "a") for index in range(5)]
    parts = [[ref.index for ref in shard(refs, 5, number, 4, 2)] for number in (1, 2, 3, 4)]
    assert parts == [[], [0, 1], [2, 3], [4]]
    outcome = run("classify", SAMPLES / "espresso.jpg", "--json", "--shard", "1/2")
    assert (outcome.code, outcome.out) == (0, "")


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    assert "write I/N" in refused(2, "explain", SAMPLES / "espresso.jpg", "--shard", text)


def test_a_scale_of_the_run_needs_the_run() -> None:
    assert "--norm fixed" in refused(2, "explain", SAMPLES, "--norm", "run", "--shard", "1/2")


# Where files and rows go


@pytest.mark.exhaustive
def test_pictures_come_from_uris_and_files_go_there(mixed: list[str]) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in sorted(Path("in").iterdir()):
        memory.pipe_file(f"/photos/deep/{path.name}", path.read_bytes())
    memory.pipe_file("/photos/0.jpg", Path("in/0.jpg").read_bytes())
    memory.pipe_file("/photos/notes.txt", b"no picture")
    outcome = run("explain", "memory://photos", "-o", "memory://out", "--json")
    assert outcome.code == 4, outcome.err
    names = [row["input"] for row in outcome.rows]
    assert names == ["memory:///photos/0.jpg"] + [
        f"memory:///photos/deep/{p.name}" for p in sorted(Path("in").iterdir())
    ]
    answered = [row for row in outcome.rows if "error" not in row]
    local = [row for row in run("explain", "in", "--json", "-o", "out").rows if "error" not in row]
    assert [row["top"] for row in answered[1:]] == [row["top"] for row in local]
    files = [row["explanations"][0]["files"]["overlay"] for row in answered]
    assert files[1].startswith("memory://out/deep/0.jpg.grad-cam.")
    for file, twin in zip(files[1:], local, strict=True):
        assert memory.cat_file(file) == Path(twin["explanations"][0]["files"]["overlay"]).read_bytes()

    (gone,) = run("explain", "-", "--json", stdin=b"memory://photos/gone.jpg\n").rows
    assert gone["error"] == {"stage": "open", "kind": "missing", "message": "no such file"}
    assert run("verify", "-", "--json", stdin=outcome.stdout).code == 0


def test_file_uris_are_paths(mixed: list[str]) -> None:
    here = Path().absolute().as_uri()
    outcome = run("explain", f"{here}/in/0.jpg", "-o", f"{here}/out", "--json", "--results", f"{here}/rows.parquet")
    assert outcome.code == 0, outcome.err
    assert sorted(path.suffix for path in Path("out").iterdir()) == [".jpg", ".json", ".jsonl"]
    assert Path("rows.parquet").exists()


def test_uris_that_cannot_be_are_refused() -> None:
    assert "nothing in it: memory://nowhere" in refused(2, "explain", "memory://nowhere")
    assert "Protocol not known" in refused(2, "explain", "nope://bucket/a.jpg")
    assert "Protocol not known" in refused(2, "explain", SAMPLES / "espresso.jpg", "-o", "nope://bucket")


@pytest.mark.exhaustive
def test_rows_as_parquet_hold_what_the_rows_hold(mixed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("camcli.sinks.parquet.GROUP", 4)
    flags = ("--json", "-o", "out", "--neurons", "--sanity", "head", "-c", "top2", "--results", "rows.parquet")
    outcome = run("explain", *mixed, *flags)
    table = parquet.read_table("rows.parquet").to_pylist(maps_as_pydicts="strict")
    assert [row["input"] for row in table] == [row["input"] for row in outcome.rows]
    for row, flat in zip(outcome.rows, table, strict=True):
        if "error" in row:
            assert flat["error"] == row["error"]
            continue
        assert [{k: v for k, v in entry.items() if v is not None} for entry in flat["top"]] == row["top"]
        assert flat["ms"] == row["ms"]
        for answer, twin in zip(row["explanations"], flat["explanations"], strict=True):
            assert {key: twin[key] for key in answer if key != "target"} == {
                key: value for key, value in answer.items() if key != "target"
            }
            assert {key: twin["target"][key] for key in answer["target"]} == answer["target"]
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_a_table_that_cannot_be_written_is_refused_before_the_run() -> None:
    assert "no such folder" in refused(2, "explain", SAMPLES / "espresso.jpg", "--results", "gone/rows.parquet")
