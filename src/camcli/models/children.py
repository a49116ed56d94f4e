"""nn.Sequential(*net.children()): a known network whose children have numbers for names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from camcli.models.heads import Shape


def in_order(wanted: Mapping[str, Shape], given: Mapping[str, Shape], ignored: Collection[str]) -> dict[str, str]:
    """The file's names -> the network's, one after the other; empty unless that is beyond doubt.

    Each tensor is used once. All but the head, which may be of other classes and anywhere, have the network's shape
    and its name below a child, and each child one number of its own.
    """
    own = [name for name in wanted if _last(name) not in ignored]
    theirs = [name for name in given if _last(name) not in ignored]
    head = len(own) - next((place for place, name in enumerate(own) if name == _last_weight(own, wanted)), len(own))
    if not 0 < head <= 2 or not len(own) - 1 <= len(theirs) <= len(own):
        return {}
    trunk = len(own) - head
    numbers: dict[str, str] = {}
    for name, their in zip(own[:trunk], theirs[:trunk], strict=True):
        child, _, tail = name.partition(".")
        number = their.removesuffix(f".{tail}")
        if not tail or number == their or not _last(number).isdecimal() or wanted[name] != given[their]:
            return {}
        if numbers.setdefault(child, number) != number:
            return {}
    if len(set(numbers.values())) != len(numbers) or not _is_linear(theirs[trunk:]):
        return {}
    return dict(zip(theirs, own, strict=False))


def _last_weight(own: list[str], wanted: Mapping[str, Shape]) -> str | None:
    return next((name for name in reversed(own) if len(wanted[name]) > 1), None)


def _is_linear(names: list[str]) -> bool:
    """A weight, or a weight and its bias."""
    paths = {name.rpartition(".")[0] for name in names}
    return [_last(name) for name in names] in (["weight"], ["weight", "bias"]) and len(paths) == 1


def _last(name: str) -> str:
    return name.rpartition(".")[2]
