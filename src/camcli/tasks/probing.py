"""The reading of a network's output, found by asking it: it gives logits, probabilities, or no scores at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from camcli.errors import RequestError, SetupError
from camcli.tasks import segment
from camcli.tasks.activations import Activation, Activations
from camcli.tasks.classify import UNREAD, Classify
from camcli.tasks.embed import Embed
from camcli.tasks.frozen import frozen
from camcli.tasks.outputs import asked
from camcli.tasks.segment import Segment
from camcli.tasks.tables import NoTableError, as_table, scores_in, tensors_in

# Rounding, and the least probability that some code clamps to.
_SUM_WITHIN = 1e-3
_PER_CENT = 100
# By chance fewer logits than these are often all above zero.
_SEVERAL = 4


def takes(net: nn.Module, images: Tensor) -> bool:
    """True if the network runs on pictures (N, C, H, W) of so many channels and that size."""
    try:
        with torch.no_grad(), frozen(net):
            UNREAD.outputs(net, images)
    except SetupError:
        return False
    return True


def probe(net: nn.Module, images: Tensor, key: str | None, multi_label: bool) -> tuple[Classify, int]:
    """(how the output is read, number of classes), found by a forward of these pictures (N, C, H, W).

    Raises:
        RequestError: `key` names none of the outputs.
        NoTableError: several outputs could be the scores, or none.
        SetupError: the network fails on such pictures.
    """
    seen = Activations()
    with torch.no_grad(), frozen(net), seen:
        raw = asked(net, images.clone())  # some networks change what they are given
    key, output = scores_in(raw, key)
    table, others = as_table(output, len(images)), tensors_in(raw)
    if seen.ranks(output, others) or _are_ranks(table, others):
        raise NoTableError(
            "the model gives scores in the order of their size, so that no column is a class: what it gives must come "
            "before its topk, sort or max"
        )
    ended_in = seen.kind_of(output)
    if ended_in == "softmax" and table.shape[1] > 1 and not _is_over_classes(seen.before(output), output, len(images)):
        raise NoTableError("the model ends in a softmax that is not over its classes: dim=1 is")
    if ended_in is None and (scaled := seen.scaled(table)) is not None:
        made_of, slope = scaled
        if slope > 0:
            found, classes = readout(table.shape[1], multi_label, made_of, key)
            return replace(found, scaled=True), classes
        if made_of == "softmax":
            raise NoTableError(
                "the model gives numbers that fall where its softmax rises, so that the largest is the least likely "
                "class: what it gives must come before that"
            )
    if ended_in is None:
        for whole in (1, _PER_CENT):
            if (kind := _probabilities_of(table, seen, whole)) is not None:
                return readout(table.shape[1], multi_label, kind, key, given=whole)
    found, classes = readout(table.shape[1], multi_label, ended_in, key)
    doubtful = ended_in is None and classes >= _SEVERAL and not seen.is_product(output)
    return replace(found, unsigned=doubtful and _is_unsigned(table)), classes


def places(net: nn.Module, images: Tensor, key: str | None, multi_label: bool) -> tuple[Segment, int] | None:
    """(how the output is read, number of classes) of a network that scores each place; None if it does not."""
    with torch.no_grad(), frozen(net):
        raw = asked(net, images.clone())
    return segment.probe(raw, images, key, multi_label)


def probe_twice(net: nn.Module, images: Tensor, key: str | None, multi_label: bool) -> tuple[Classify, int, bool]:
    """The result of `probe`, with several pictures and with one, and whether the network takes only one at a time.

    A network may squeeze the batch's axis away, or mix what pictures of a batch get.

    Raises: as `probe`; NoTableError: the number of classes depends on that of pictures.
    """
    together: tuple[Classify, int] | None = None
    try:
        together = probe(net, images, key, multi_label)
    except NoTableError:
        raise
    except SetupError:  # it may have been written for one picture: said below where it fails on that one too
        pass
    alone = probe(net, images[:1], key, multi_label)
    columns = [1 if found[0].binary else found[1] for found in (together, alone) if found is not None]
    if columns[0] != columns[-1]:
        counts = f"{columns[-1]} numbers of one picture and {columns[0]} each of {len(images)}"
        raise NoTableError(f"the model gives {counts}: it is no classifier")
    return *(together or alone), together is None


def embedding(net: nn.Module, images: Tensor, key: str | None) -> tuple[Embed, bool]:
    """(how the embedding is read, whether the network takes one picture at a time).

    Raises: as `probe`; SetupError: it gives something else than one row of numbers for each picture.
    """
    try:
        found, _, alone = probe_twice(net, images, key, multi_label=False)
    except NoTableError as error:
        raise SetupError(f"{error}, and an embedding is (N, D): let it pool its maps or tokens") from None
    return Embed(found.key), alone


def is_unit(net: nn.Module, images: Tensor, key: str | None) -> bool:
    """True if the network gives a vector of length 1 for each picture, as embeddings are that are to be compared."""
    try:
        with torch.no_grad(), frozen(net):
            table = as_table(scores_in(asked(net, images.clone()), key)[1], len(images))
    except SetupError:
        return False
    return table.shape[1] > 1 and float((table.norm(dim=1) - 1).abs().max()) < _SUM_WITHIN


def readout(
    outputs: int, multi_label: bool, kind: Activation | None = None, key: str | None = None, given: int = 0
) -> tuple[Classify, int]:
    """(how a head with so many outputs is read, number of classes). It ends in an activation of that kind, or, if
    `given`, gives probabilities that one has made.

    Raises:
        RequestError: several labels are asked of a head that makes its classes compete.
    """
    if multi_label and kind == "softmax" and outputs > 1:
        raise RequestError("--multi-label: the model ends in a softmax, so its classes exclude each other")
    binary = outputs == 1
    sigmoid = multi_label or binary or kind == "sigmoid"
    found = Classify(
        key,
        activation="sigmoid" if sigmoid else "softmax",
        activated=kind is not None and not given,
        given=given,
        binary=binary,
    )
    return found, 2 if binary else outputs


def _probabilities_of(table: Tensor, seen: Activations, whole: int) -> Activation | None:
    """The activation that made a table (N, K) of probabilities, as shares of a `whole`; None if it holds scores.

    Probabilities lie in [0, 1] and sum to 1. If they are no per cent, a softmax or a sigmoid of as many numbers that
    ran before will do in place of the sum.
    """
    shares = table / whole
    if float(shares.min()) < 0 or float(shares.max()) > 1 + _SUM_WITHIN:
        return None
    if table.shape[1] > 1 and float((shares.sum(1) - 1).abs().max()) < _SUM_WITHIN:
        return "softmax"
    return seen.kind_like(table) if whole == 1 else None


def _is_unsigned(table: Tensor) -> bool:
    """True if scores are of one sign, but no logarithms of probabilities: softmax makes those of them."""
    if not (bool((table >= 0).all()) or bool((table <= 0).all())):
        return False
    return not bool(((table.double().exp().sum(1) - 1).abs() < _SUM_WITHIN).all())


def _is_over_classes(before: Tensor, output: Tensor, pictures: int) -> bool:
    """True if the output is a softmax or log-softmax of `before` over the classes of each picture."""
    scores, found = as_table(before, pictures).double(), as_table(output, pictures).double()
    return any(
        torch.allclose(over.nan_to_num(neginf=-1e30), found.nan_to_num(neginf=-1e30), rtol=1e-2, atol=1e-3)
        for over in (scores.softmax(1), scores.log_softmax(1))
    )


def _are_ranks(table: Tensor, others: Sequence[Tensor]) -> bool:
    """True if the rows fall, and as many ids stand beside them, none twice in a row, to tell whose scores they are."""
    if table.shape[1] < 2 or not bool((table.diff(dim=1) <= 0).all()):
        return False
    ids = [other for other in others if not (other.is_floating_point() or other.is_complex())]
    return any(
        one.shape == table.shape and one.dtype != torch.bool and bool((one.sort(1).values.diff(dim=1) > 0).all())
        for one in ids
    )
