"""nn.Sequential(*net.children()): a known network whose children have numbers for names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from camcli.models.weights.heads import Shape


def in_order(wanted: Mapping[str, Shape], given: Mapping[str, Shape], ignored: Collection[str]) -> dict[str, str]:
    """The file's names -> the network's, one after the other; empty unless that is beyond doubt.

    Each tensor is used once. The head may be of other classes and anywhere. All others have the network's shape and,
    numbers apart, its name below a child; each module has one place of its own, and its distance from the next.
    """
    own = [name for name in wanted if _last(name) not in ignored]
    theirs = [name for name in given if _last(name) not in ignored]
    head = len(own) - next((place for place, name in enumerate(own) if name == _last_weight(own, wanted)), len(own))
    if not 0 < head <= 2 or not len(own) - 1 <= len(theirs) <= len(own):
        return {}
    trunk = len(own) - head
    modules: dict[str, str] = {}
    for name, their in zip(own[:trunk], theirs[:trunk], strict=True):
        module, number = name.rpartition(".")[0], their.rpartition(".")[0]
        if wanted[name] != given[their] or not _is_numbered(name, their):
            return {}
        if modules.setdefault(module, number) != number:
            return {}
    if len(set(modules.values())) != len(modules) or not _is_linear(theirs[trunk:]):
        return {}
    modules[own[trunk].rpartition(".")[0]] = theirs[trunk].rpartition(".")[0]
    return dict(zip(theirs, own, strict=False)) if _keep_their_distance(modules) else {}


def _keep_their_distance(modules: Mapping[str, str]) -> bool:
    """True if modules of one Sequential are as far from each other as in the network: those without weights between
    them can then be the same.
    """
    shifts: dict[str, int] = {}
    for own, their in modules.items():
        parts = own.split(".")
        for place, (part, there) in enumerate(zip(reversed(parts), reversed(their.split(".")), strict=False), start=1):
            if part.isdecimal() and there.isdecimal():
                shift = int(there) - int(part)
                if shifts.setdefault(".".join(parts[:-place]), shift) != shift:
                    return False
            elif part != there:
                break
    return True


def _is_numbered(own: str, their: str) -> bool:
    """True if the file's name has a number for the child or grandchild, and below it, numbers apart, the same names."""
    parts = their.split(".")
    theirs = [part for part in parts if not part.isdecimal()]
    below = [[part for part in own.split(".")[skipped:] if not part.isdecimal()] for skipped in (1, 2)]
    return len(theirs) < len(parts) and any(named and theirs[-len(named) :] == named for named in below)


def _last_weight(own: list[str], wanted: Mapping[str, Shape]) -> str | None:
    return next((name for name in reversed(own) if len(wanted[name]) > 1), None)


def _is_linear(names: list[str]) -> bool:
    """True if the names are those of a weight, or of a weight and its bias."""
    paths = {name.rpartition(".")[0] for name in names}
    return [_last(name) for name in names] in (["weight"], ["weight", "bias"]) and len(paths) == 1


def _last(name: str) -> str:
    return name.rpartition(".")[2]
