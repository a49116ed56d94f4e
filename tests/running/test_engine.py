"""The engine's invariants: one result per ref, in order; memory is a batch; each picture explains its own class."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shell import SAMPLES

from camcli import Engine, Explained, Failed, Spec, expand
from camcli.records import Ref

Picture = Callable[..., Path]

PHOTOS = ("cat_chelsea.jpg", "espresso.jpg", "honey_bee.jpg", "tripod_gray.jpg")


def refs(*paths: Path) -> Iterator[Ref]:
    return (Ref(i, str(path), path=path) for i, path in enumerate(paths))


@pytest.mark.exhaustive
def test_one_result_per_ref_in_order_whatever_fails(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    paths = [bad, SAMPLES / PHOTOS[0], tmp_path / "missing.png", SAMPLES / PHOTOS[1], bad]
    for batch_size in (1, 2, 3, 16):
        results = list(Engine(Spec(batch_size=batch_size)).explain(refs(*paths)))
        assert [result.ref.path for result in results] == paths
        assert [type(result) for result in results] == [Failed, Explained, Failed, Explained, Failed]


@pytest.mark.exhaustive
def test_a_batch_gives_what_single_pictures_give() -> None:
    """Each picture explains its own best classes; pictures of different shapes (--fit full) share a batch too."""
    spec = Spec(methods=("grad-cam", "guided-grad-cam"), classes=("top2",), fit="full")
    paths = [SAMPLES / name for name in PHOTOS]
    together = list(Engine(spec).explain(refs(*paths)))
    for path, batched in zip(paths, together, strict=True):
        (alone,) = Engine(spec).explain(refs(path))
        assert isinstance(alone, Explained)
        assert isinstance(batched, Explained)
        assert [a.target.name.split()[0] for a in alone.attributions] == [
            a.target.name.split()[0] for a in batched.attributions
        ]
        for one, other in zip(alone.attributions, batched.attributions, strict=True):
            np.testing.assert_allclose(one.values, other.values, atol=2e-4 * np.abs(one.values).max())


def test_pictures_with_fewer_classes_are_answered_once_per_class() -> None:
    """`-c espresso -c top1` is one class where espresso is the best one, and two elsewhere."""
    results = Engine(Spec(classes=("espresso", "top1"))).explain(refs(SAMPLES / PHOTOS[1], SAMPLES / PHOTOS[2]))
    asked = [
        [a.target.name.split()[0] for a in result.attributions] for result in results if isinstance(result, Explained)
    ]
    assert asked == [["967"], ["967", "309"]]


@pytest.mark.exhaustive
def test_rows_are_the_same_with_and_without_methods() -> None:
    (classified,) = Engine(Spec(methods=())).explain(refs(SAMPLES / PHOTOS[0]))
    (explained,) = Engine(Spec()).explain(refs(SAMPLES / PHOTOS[0]))
    assert isinstance(classified, Explained)
    assert isinstance(explained, Explained)
    assert [s.id for s in classified.top] == [s.id for s in explained.top]
    assert classified.top[0].score == pytest.approx(explained.top[0].score, rel=1e-5)


def test_scores_that_are_not_finite_are_a_refusal_not_a_nan() -> None:
    engine = Engine(Spec())
    with torch.no_grad():
        engine.model.net.get_parameter("classifier.1.bias").fill_(float("nan"))
    (result,) = engine.explain(refs(SAMPLES / PHOTOS[0]))
    assert isinstance(result, Failed)
    assert (result.stage, result.kind) == ("predict", "not-finite")


def test_results_come_a_batch_at_a_time(picture: Picture) -> None:
    """The engine asks for no more refs than the batch it is about to answer holds."""
    path = picture("a.png")
    asked: list[int] = []

    def endless() -> Iterator[Ref]:
        index = 0
        while True:
            asked.append(index)
            yield Ref(index, "a.png", path=path)
            index += 1

    results = Engine(Spec(methods=(), batch_size=4)).explain(endless())
    next(results)
    assert asked == [0, 1, 2, 3]


def test_large_pictures_end_a_batch_early(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camcli.inputs.reading.MAX_BATCH_PIXELS", 2 * 64 * 48)
    sizes: list[int] = []
    engine = Engine(Spec(methods=()))
    engine.model.net.register_forward_pre_hook(lambda net, args: sizes.append(len(args[0])))
    list(engine.explain(refs(*[picture("a.png")] * 5)))
    assert sizes == [2, 2, 1]


@pytest.mark.exhaustive
def test_nothing_of_an_answered_batch_is_kept() -> None:
    """Two methods and a saliency: frames, raw values and the graph go when the caller lets go of the result."""
    engine = Engine(Spec(batch_size=2, methods=("grad-cam", "guided-grad-cam")))
    kept: list[weakref.ref[Any]] = []
    tensors: list[int] = []
    for result in engine.explain(refs(*[SAMPLES / PHOTOS[0]] * 6)):
        assert isinstance(result, Explained)
        kept.append(weakref.ref(result.frame.rgb))
        kept.extend(weakref.ref(attribution.values) for attribution in result.attributions)
        gc.collect()
        tensors.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    del result
    gc.collect()
    assert [ref for ref in kept if ref() is not None] == []
    assert len(set(tensors)) == 1


MEMORY_PROBE = """
import os, sys
from pathlib import Path
from camcli import Engine, Spec
from camcli.records import Ref

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

path = Path(sys.argv[1])
pictures = (Ref(i, "a", path=path) for i in range(560))
for number, _ in enumerate(Engine(Spec(batch_size=8)).explain(pictures), 1):
    if number in (60, 560):
        print(megabytes())
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from Linux's /proc")
def test_memory_is_flat_over_500_pictures(picture: Picture) -> None:
    """A batch's views alone are 4.8 MB, and there are 62 batches between the two readings."""
    command = [sys.executable, "-c", MEMORY_PROBE, str(picture("a.jpg", (320, 240)))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    early, late = map(float, done.stdout.split())
    assert late - early < 50


def test_the_public_names_are_imported_when_used() -> None:
    import camcli

    for name in camcli.__all__:
        assert getattr(camcli, name) is not None
    assert set(camcli.__all__) <= set(dir(camcli))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = camcli.nothing
    assert "camcli.running.engine" in sys.modules


def test_python_users_get_the_same_answer_as_the_shell() -> None:
    (result,) = Engine(Spec(classes=("bee",))).explain(expand([str(SAMPLES / "honey_bee.jpg")]))
    assert isinstance(result, Explained)
    assert result.attributions[0].target.label == "bee"
    assert result.attributions[0].values.shape == (7, 7)
