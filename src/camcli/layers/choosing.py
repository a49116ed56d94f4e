"""The choice of the layer that a map is drawn from, and its reason.

The rule, over one traced forward: the last module in execution order whose output is a spatial map larger than 1x1
(tokens on a grid are one), is crossed by every path from the picture's positions to the score, and is neither a pool
nor part of the head. If the score is read from a class token (ViT), that is the input of the last attention: after it
the patches' gradient is exactly zero. A network whose only common map is near the picture is refused.

Networks that answer for each pixel join early maps at their end, so that only the answer itself is crossed by every
path. Their rule is the last map on the coarsest grid, the head left out: in a U-Net the bottleneck (arXiv:2002.11434).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from camcli.errors import SetupError, unknown
from camcli.layers.layouts import fits
from camcli.layers.trace import Run, Trace
from camcli.network.layer import Grid, Layer, Layout

if TYPE_CHECKING:
    from torch import nn

    from camcli.tasks.task import Rule


# Networks that split early and join at the score (EfficientViM, CoaT) have a last common map at a few per cent of their
# depth, which shows edges and no objects; in torchvision's and timm's others it lies beyond 90 %.
MIN_DEPTH = 0.25
# Strides on the way to the coarsest grid: 2 as a rule, 4 in stems.
MAX_STEP = 4.5
# As many as RefineCAM's paper fuses; the part before them is the stem.
MAX_STAGES = 4


def resolve(
    net: nn.Module, trace: Trace, names: Sequence[str], model: str, typed: str | None = None, rule: Rule = "crossing"
) -> list[Layer]:
    """The named layers, or the automatic one if none is named; `typed` as in `classes.parse`.

    Raises:
        RequestError: no module has that name.
        SetupError: the module did not run, or gives no spatial map; or no automatic choice is right.
    """
    if not names and rule == "read-from":
        return _levels(net, trace, model)
    if not names:
        return [choose(net, trace, model, rule)]
    return [_named(net, trace, name, model, typed or model) for name in dict.fromkeys(names)]


def choose(net: nn.Module, trace: Trace, model: str, rule: Rule = "crossing") -> Layer:
    """The automatic choice, with its reason."""
    if rule == "coarsest":
        return _coarsest(net, trace, model)
    spatial = _maps_on_every_path(net, trace)
    if not spatial:
        raise SetupError(
            f"no layer of {model} is a spatial map that every path to the score crosses: {_why_none(trace)}"
        )
    last = spatial[-1]
    outermost = _outermost(trace, spatial, last)
    if _depth(net, trace, last) < MIN_DEPTH:
        raise SetupError(
            f"the last map of {model} that every path to the score crosses is {outermost.name!r}, near the picture: "
            "after it the network splits into branches. Name the layer of one with --layer"
        )
    why = f"the last of {len({run.tensor for run in spatial})} spatial maps that every path to the score crosses"
    if trace.narrowed and len(last.shape) == 3:
        why += "; the score is read from a class token"
    return _layer(net, trace, outermost, why)


def _coarsest(net: nn.Module, trace: Trace, model: str) -> Layer:
    """The last map on the coarsest grid that the picture is brought to step by step; none of the head's.

    A grid that a pool jumps to (pyramids of pooled maps, as in PSPNet) is a side branch, and no step on the way.
    """
    head, made = _head(net, trace), _made(trace)
    # Containers hand on what the head inside of them gives.
    answers = {run.tensor for run in trace.runs if _within(run.name, head)}
    # Our adapters of networks with queries name them: so many tokens may look like a grid.
    apart = getattr(net, "apart", ())
    spatial = [
        run
        for run in trace.runs
        if run.reaches
        and not run.in_attention
        and run.tensor not in answers
        and run.layout is not None
        and not any(_within(run.name, part) for part in apart)
    ]
    pooled = {_grid(run) for run in trace.runs if run.kind.startswith("Adaptive") and run.layout is not None}
    usable = [run for run in spatial if not _only_hands_on(net, trace.runs[made[run.tensor]])]
    grids = sorted({_grid(run) for run in usable} - pooled, key=prod, reverse=True)
    if not grids:
        raise SetupError(f"no layer of {model} is a spatial map on the way to the score: {_why_none(trace)}")
    steps = [grids[0]]
    for grid in grids[1:]:
        if any(before > MAX_STEP * after for before, after in zip(steps[-1], grid, strict=True)):
            break
        steps.append(grid)
    last = max((run for run in usable if _grid(run) == steps[-1]), key=lambda run: made[run.tensor])
    outermost = _outermost(trace, usable, last)
    return _layer(net, trace, outermost, f"the last map on the coarsest of {len(steps)} grids, before the head")


def _levels(net: nn.Module, trace: Trace, model: str) -> list[Layer]:
    """The maps that a detector's head reads, in the order in which they are made.

    In FCOS a map inside of the head is read by both too: its score is that of a class times that of a place.
    """
    by_tensor: dict[int, Run] = {}
    head = _head(net, trace)
    runs = [trace.runs[place] for place in trace.levels if not _within(trace.runs[place].name, head)]
    for run in runs:
        by_tensor.setdefault(run.tensor, _outermost(trace, runs, run))
    if by_tensor and all(_depth(net, trace, run) < MIN_DEPTH for run in runs):
        # Tokens of detections attend to those of patches (YOLOS): the only maps of convolutions are the patches.
        return [choose(net, trace, model)]
    if not by_tensor:
        raise SetupError(f"no map of {model} is read by both its scores and its boxes: name a layer with --layer")
    why = "what the head reads"
    if len(by_tensor) > 1:
        why = (
            f"the {len(by_tensor)} levels that the head reads; a detection's is the one that its gradient reaches last"
        )
    return [_layer(net, trace, run, why) for run in by_tensor.values()]


def _grid(run: Run) -> Grid:
    assert run.layout is not None
    return run.layout.own_grid


def _maps_on_every_path(net: nn.Module, trace: Trace) -> list[Run]:
    """The maps that every path crosses, by when their tensors were made: modules may hand on older ones."""
    head = _head(net, trace)
    made = _made(trace)
    found = [
        run
        for run in trace.runs
        if run.on_every_path
        and not run.in_attention
        and not _within(run.name, head)
        and not _only_hands_on(net, trace.runs[made[run.tensor]])
        and run.layout is not None
    ]
    return sorted(found, key=lambda run: made[run.tensor])


def _made(trace: Trace) -> dict[int, int]:
    """The first place of each tensor in the trace."""
    places: dict[int, int] = {}
    for place, run in enumerate(trace.runs):
        places.setdefault(run.tensor, place)
    return places


def _only_hands_on(net: nn.Module, run: Run) -> bool:
    """True if the module is a pool or a dropout. One with weights is none, whatever it is called."""
    named = any(word in run.kind for word in ("Pool", "Dropout"))
    return named and next(net.get_submodule(run.name).parameters(), None) is None


def _why_none(trace: Trace) -> str:
    """The reason why no layer is found, and what to type."""
    if trace.cut:
        return f"{trace.cut}, or name a layer after that with --layer"
    twice = next((run for run in reversed(trace.runs) if run.call and run.layout is not None), None)
    if twice is not None and not twice.on_every_path:
        top = twice.name.split(".")[0]
        count = len(trace.runs_of(top)) or twice.call + 1
        return (
            f"{top!r} runs {count} times in one forward, and each run sees a picture of its own; --layer names another"
        )
    if not any(run.reaches and run.layout is not None for run in trace.runs):
        apart = next((run for run in reversed(trace.runs) if run.reaches and _gives_maps_apart(trace, run)), None)
        return f"{_named_apart(trace, apart)}; {_WITHOUT}" if apart else f"none gives any; {_WITHOUT}"
    return f"name one with --layer, or {_WITHOUT}"


_WITHOUT = "use a method that looks at no layer (-M gradient, -M occlusion)"


def _gives_maps_apart(trace: Trace, run: Run) -> bool:
    """True if it gives maps, but not one for each picture: networks may cut pictures into tiles."""
    return len(run.shape) in (4, len(trace.images)) and run.shape[0] != trace.images[0]


def _named_apart(trace: Trace, run: Run) -> str:
    size = "x".join(map(str, run.shape[1:]))
    if len(trace.images) == 5:
        return (
            f"layer {run.name!r} gives {run.shape[0]} maps of {size} for {trace.images[0]} clip(s): its frames go in "
            "one by one, and a module after it must put them together, (N, C, frames, h, w)"
        )
    return f"layer {run.name!r} gives {run.shape[0]} maps of {size} for {trace.images[0]} picture(s)"


def _outermost(trace: Trace, runs: Sequence[Run], run: Run) -> Run:
    """The run whose name says most for a tensor: the outermost, as containers hand on the tensor of their last child.

    No Identity, which hands on the tensor before it, if there are others. A module that runs once comes before one
    whose name could mean several runs.
    """
    same = [other for other in runs if other.tensor == run.tensor and other.shape == run.shape]
    same = [other for other in same if other.kind != "Identity"] or same
    same = [other for other in same if len(trace.runs_of(other.name)) == 1] or same
    return min(same, key=lambda other: other.name.count("."))


def stages(net: nn.Module, trace: Trace, layer: Layer) -> list[Layer]:
    """The end of each resolution down to the layer's own: four at most, each the last map that every path crosses.

    It is the last one that can't be negative, if there is one: a method that divides by a sum of activations is decided
    by rounding if they cancel. In a network with one resolution (ViT) it is the layer alone: its blocks' maps have one
    size, which does not tell them apart.
    """
    own = trace.runs_of(layer.name)[layer.call]
    before = {id(run) for run in trace.runs[: trace.runs.index(own)] if run.tensor != own.tensor}
    # A stage is known by its module's name, which must mean one run.
    spatial = [
        run for run in _maps_on_every_path(net, trace) if id(run) in before and len(trace.runs_of(run.name)) == 1
    ]
    ends: dict[Grid, Run] = {}
    for run in spatial:
        assert run.layout is not None
        size = run.layout.own_grid
        if not fits(size, trace.images[2:]):  # MaxViT's windows are no picture
            continue
        if run.never_negative or size not in ends or not ends[size].never_negative:
            ends[size] = run
    last = ends.pop(layer.layout.own_grid, None)
    earlier = [_stage(net, trace, _outermost(trace, spatial, run)) for run in ends.values()]
    if last is not None and last.never_negative and not own.never_negative:
        layer = _stage(net, trace, _outermost(trace, spatial, last))
    return [*earlier[1 - MAX_STAGES :], layer]


def _stage(net: nn.Module, trace: Trace, run: Run) -> Layer:
    kept = "whose values can't be negative" if run.never_negative else "no map of which can't be negative"
    return _layer(net, trace, run, f"the end of a stage, {kept}")


def _depth(net: nn.Module, trace: Trace, run: Run) -> float:
    """The share of the modules with weights on the way to the score that have run once this one has."""
    own, places = _made(trace)[run.tensor], _weighted(net, trace)
    return sum(place <= own for place in places) / max(1, len(places))


def _weighted(net: nn.Module, trace: Trace) -> list[int]:
    """The places in the trace of modules with weights of their own that give a map, tokens or windows to the score."""
    weighted = _with_weights(net)
    return [i for i, run in enumerate(trace.runs) if run.name in weighted and run.reaches and len(run.shape) > 2]


def _with_weights(net: nn.Module) -> set[str]:
    """The names of the modules that have weights of their own."""
    return {name for name, part in net.named_modules() if next(part.parameters(recurse=False), None) is not None}


def _named(net: nn.Module, trace: Trace, name: str, model: str, typed: str) -> Layer:
    modules = dict(net.named_modules())
    if name not in modules or not name:
        raise unknown("layer", name, filter(None, modules), f"camcli layers {typed}")
    runs = trace.runs_of(name)
    see = f"`camcli layers {typed}` lists what can be explained"
    if name in trace.scripted:
        raise SetupError(f"layer {name!r} is compiled by TorchScript, where no output is seen: {see}")
    if not runs:
        raise SetupError(f"layer {name!r} does not run when {model} predicts: {see}")
    maps = [run for run in runs if run.layout is not None]
    if not maps and _gives_maps_apart(trace, runs[-1]):
        raise SetupError(f"{_named_apart(trace, runs[-1])}, and a map is one picture's: {_WITHOUT}")
    if not maps:
        given = "x".join(map(str, runs[-1].shape[1:])) or "no tensor"
        raise SetupError(f"layer {name!r} gives {given}, not a spatial map: {see}")
    last = next((run for run in reversed(maps) if run.on_every_path), maps[-1])
    if len(maps) > 1 and not last.on_every_path:
        raise SetupError(
            f"layer {name!r} runs {len(maps)} times in one forward, side by side, and a map is of one run: {see}"
        )
    if trace.cut and not last.reaches:
        raise SetupError(f"no gradient of the score reaches layer {name!r}: {trace.cut}")
    why = "named with --layer" + (f", run {last.call + 1} of {len(runs)}" if len(runs) > 1 else "")
    return _layer(net, trace, last, why)


def _layer(net: nn.Module, trace: Trace, run: Run, why: str) -> Layer:
    found, *others = run.layouts or (_of_one_cell(trace, run),)
    class_token = trace.read.get(run.shape[found.token_axis]) if len(run.shape) == 3 else None
    return Layer(run.name, net.get_submodule(run.name), found, why, run.call, class_token, tuple(others))


def _of_one_cell(trace: Trace, run: Run) -> Layout:
    """The layout of the last level of some detectors."""
    return Layout(run.shape[1:], "channels first", trace.images[2:])


def _head(net: nn.Module, trace: Trace) -> str:
    """The name of the head: the child with weights that finishes last. If that child holds most of the maps, it is a
    wrapper, or all that comes after a stem, and the head is inside it. "" if weights of no module are the head."""
    if trace.headless:
        return ""
    weighted = {name for name, module in net.named_modules() if next(module.parameters(), None) is not None}
    names = [run.name for run in trace.runs if run.name in weighted and run.reaches]
    maps = _weighted(net, trace)
    prefix = ""
    while True:
        inside = [name for name in names if name.startswith(prefix) and name != prefix[:-1]]
        children = list(dict.fromkeys(name[len(prefix) :].split(".")[0] for name in inside))
        if not children:
            return prefix.rstrip(".")
        last = inside[-1][len(prefix) :].split(".")[0]
        prefix += last + "."
        held = sum(trace.runs[place].name.startswith(prefix) for place in maps)
        if len(children) > 1 and 2 * held <= len(maps):
            found = prefix.rstrip(".")
            return "" if _is_followed(trace, found) else found


def _is_followed(trace: Trace, head: str) -> bool:
    """True if the supposed head gives a map without one channel a class: then weights of no module make the scores."""
    run = trace.last(head)
    found = run.layout if run is not None else None
    # One logit is read as two scores; a background may be left out.
    return found is not None and bool(trace.scores) and found.shape[0] not in (trace.scores, trace.scores - 1)


def last_weighted(net: nn.Module, trace: Trace) -> str:
    """The module with weights of its own that ran last: its input is the picture's embedding."""
    weighted = _with_weights(net)
    return [run.name for run in trace.runs if run.name in weighted][-1]


def _within(name: str, head: str) -> bool:
    return name == head or name.startswith(head + ".")
