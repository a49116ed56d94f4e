"""A target's values for changed pictures, or for a changed map: asked of the network in batches of its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from camcli.network.forward import Forward, or_zeros
from camcli.network.layer import Layer
from camcli.network.network import on_run
from camcli.tasks.frozen import frozen
from camcli.tasks.outputs import Outputs
from camcli.tasks.targets import Target, of_variants

Variant = Callable[[int], Tensor]


def rescore(forward: Forward, target: Target, count: int, variant: Variant, tag: object = None) -> Tensor:
    """The target (count, N) for variants 0 to count of the images.

    `variant(i)` gives (N, C, H, W). With a `tag` the variants are the same for every target, and go through the
    network once for all that were announced.
    """
    return _table(forward, target, count, ("rescore", tag), lambda start, stop: _predict(forward, start, stop, variant))


def resume(forward: Forward, target: Target, layer: Layer, count: int, variant: Variant, tag: object = None) -> Tensor:
    """The target (count, N) for variants 0 to count of the layer's map.

    `variant(i)` gives (N, C, h, w). Only the part after the layer is run again.
    """
    if not forward.tapes:
        raise RuntimeError("the method did not declare in `needs` that it runs the network from a layer on")
    return _table(
        forward,
        target,
        count,
        ("resume", layer.name, tag),
        lambda start, stop: _resumed(forward, layer, start, stop, variant),
    )


def ascend(
    forward: Forward, target: Target, start: Tensor, images: Callable[[Tensor], Tensor], steps: int, rate: float
) -> Tensor:
    """The best parameters (N, K) of each picture: `start`, or one of Adam's `steps` from there to a larger target of
    images(parameters)."""
    parameters = start.clone().requires_grad_()
    adam = torch.optim.Adam([parameters], lr=rate)
    best, best_value = start.clone(), torch.full_like(start[:, 0], -torch.inf)
    for step in range(steps + 1):
        with frozen(forward.network.net), torch.set_grad_enabled(step < steps):
            values = target(forward.network.outputs(images(parameters)))
            cost = -values.sum()
        better = values.detach() > best_value
        best[better], best_value[better] = parameters.detach()[better], values.detach()[better]
        if step < steps:
            (parameters.grad,) = or_zeros(forward.gradients_of(cost, [parameters]), [parameters])
            adam.step()
        forward.network.step(step, steps)
    return best


def _table(
    forward: Forward, target: Target, count: int, key: tuple[Any, ...], run: Callable[[int, int], Outputs]
) -> Tensor:
    forward.ask([target])
    found = forward.tables.get(key) if key[-1] is not None else None
    if found is None or forward.asked[target] >= len(found):
        rows: list[Tensor] = []
        with torch.no_grad(), frozen(forward.network.net):
            for start, stop in chunks(forward, count):
                outputs = run(start, stop)
                rows.append(
                    torch.stack([of_variants(asked)(outputs).view(stop - start, -1) for asked in forward.asked])
                )
                forward.network.step(stop, count)
        found = forward.tables[key] = torch.cat(rows, dim=1)
    return found[forward.asked[target]]


def chunks(forward: Forward, count: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of variants, so many at a time that a forward holds about a batch of pictures."""
    step = max(1, forward.network.batch_size // len(forward.images))
    for start in range(0, count, step):
        yield start, min(start + step, count)


def _predict(forward: Forward, start: int, stop: int, variant: Variant) -> Outputs:
    return forward.network.outputs(torch.cat([variant(i) for i in range(start, stop)]))


def _resumed(forward: Forward, layer: Layer, start: int, stop: int, variant: Variant) -> Outputs:
    given = forward.output(layer)
    outputs = torch.stack([layer.from_map(variant(i), given) for i in range(start, stop)])
    if replays(forward, layer):
        raw, scores = forward.tapes[layer.name].play_many(outputs, [forward.outputs.raw, forward.outputs.scores])
        return Outputs(raw.flatten(0, 1), scores.flatten(0, 1), forward.network.task)
    # (variants, tokens, N, C) if tokens come first.
    first = layer.layout.arrangement == "tokens first"
    outputs = outputs.transpose(0, 1).flatten(1, 2) if first else outputs.flatten(0, 1)
    images = forward.images.detach().repeat(stop - start, *[1] * (forward.images.ndim - 1))
    hook = on_run(layer, lambda output: outputs.clone())
    try:
        return forward.network.outputs(images)
    finally:
        hook.remove()


def replays(forward: Forward, layer: Layer) -> bool:
    """True if the tape can stand for the part after the layer: played with the output seen, it gives the scores.

    If not (outputs that are no tensors, code that a TorchFunctionMode can't see), the whole network runs again.
    """
    if layer.name not in forward.replayed:
        tape, raw, scores = forward.tapes[layer.name], forward.outputs.raw, forward.outputs.scores
        right = forward.network.embedder is None and isinstance(raw, Tensor) and type(forward.outputs) is Outputs
        # An output without the picture's axis can't be told from several pictures' once it is played.
        right = right and raw.shape[:1] == (len(forward.images),)
        right = right and tape.reaches(raw) and tape.reaches(scores)
        if right:
            try:
                (again,) = tape.play_many(forward.output(layer)[None], [scores])
                right = torch.allclose(
                    again[0], forward.logits, rtol=1e-4, atol=1e-5 * float(forward.logits.abs().max())
                )
            except RuntimeError:  # vmap can't do what the network does
                right = False
        forward.replayed[layer.name] = right
    return forward.replayed[layer.name]
