"""`camcli bench`: that what it says is complete and hangs together; never how fast anything is."""

from __future__ import annotations

import json

import pytest
from shell import SAMPLES, refused, run

from camcli.running.timing import Measured, Stage, Variant


@pytest.mark.exhaustive
def test_every_stage_is_measured_on_the_users_pictures() -> None:
    outcome = run("bench", SAMPLES, "-n", "3", "--json", "--max-side", "300", "--save", "overlay,heatmap")
    assert outcome.code == 0, outcome.err
    row = json.loads(outcome.out)
    assert row["pictures"] == 3
    names = ["decode", "preprocess", "forward", "backward", "render", "encode", "write", "row"]
    assert [stage["stage"] for stage in row["stages"]] == names
    assert sum(stage["share"] for stage in row["stages"]) == pytest.approx(1, abs=1e-3)
    for stage in row["stages"]:
        assert stage["ms"] * stage["per_second"] == pytest.approx(1000, rel=0.2)
    variants = {variant["what"]: variant for variant in row["variants"]}
    assert {"as asked", "--exact", "--batch-size 1", "--batch-size 2", "--precision bf16"} <= variants.keys()
    assert variants["as asked"]["top1_agreement"] == 1
    assert variants["as asked"]["largest_deviation"] < 2e-3 < variants["--precision bf16"]["largest_deviation"]
    assert row["advice"]


@pytest.mark.exhaustive
def test_people_get_tables() -> None:
    outcome = run("bench", SAMPLES / "espresso.jpg", "--save", "none", "-q")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("efficientnet_lite0 on cpu: 1 pictures of ")
    assert "\nforward\t" in outcome.out
    assert "encode" not in outcome.out


def test_inputs_that_are_no_pictures() -> None:
    assert "none of the inputs is a picture" in refused(3, "bench", SAMPLES / "SOURCES.md")


def test_advice_follows_from_what_was_measured() -> None:
    variants = (
        Variant("as asked", 100.0, 1.0, 1e-6, 1.0),
        Variant("--batch-size 1", 50.0),
        Variant("--batch-size 8", 97.0),
        Variant("--batch-size 16", 100.0),
        Variant("--precision bf16", 250.0, 0.98, 0.125, 0.99),
        Variant("--precision fp16", 101.0, 1.0, 0.01, 0.99),
    )
    stages = (Stage("decode", 3.0), Stage("forward", 1.0))
    assert Measured(10, 12.0, 2.0, stages, variants).advice == [
        "decode takes most: 75% of the time",
        "the pictures are large: --draft 512 decodes JPEGs at a reduced scale, and moves scores a little",
        "--batch-size 8 is as fast as any",
        "--precision bf16 computes 2.5 times as fast; the best class is the same for 98%, maps differ by up to 0.125 "
        "of their maximum",
    ]
