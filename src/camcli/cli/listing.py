"""The inputs of a run, listed as they are needed: all of them, or one shard of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from camcli.errors import RequestError
from camcli.inputs import refs as inputs_
from camcli.inputs.moving import Moving
from camcli.records import Ref
from camcli.storage import pipes, uris

# Gives the refs of this run, or of this shard of it, when told how many make a batch.
Part = Callable[[int], Iterator[Ref]]


@dataclass(frozen=True, slots=True)
class Listing:
    """The inputs that `arguments` name; `skip` is the run's own output folder."""

    arguments: Sequence[str]
    recursive: bool
    skip: str | None
    moving: Moving
    bound: Mapping[str, str]

    def refs(self, passed: Counter[str] | None = None) -> Iterator[Ref]:
        """One ref for each input; see `inputs.refs.expand`."""
        return inputs_.apart(self._listed(passed))

    def _listed(self, passed: Counter[str] | None = None) -> Iterator[Ref]:
        local = uris.local_path(self.skip) if self.skip is not None else None
        return inputs_.listed(
            self.arguments,
            recursive=self.recursive,
            skip=Path(local) if local is not None else None,
            stdin=sys.stdin.buffer,
            passed=passed,
            moving=self.moving,
            bound=self.bound,
        )

    @property
    def _repeatable(self) -> bool:
        """True if they can be listed twice: a pipe gives its names once."""
        return not any(argument == "-" or pipes.is_open(argument) for argument in self.arguments)

    def once_more(self, shard: tuple[int, int] | None) -> Callable[[], Iterator[Ref]] | None:
        """Lists them anew, so that they can be counted; None if that costs much, or if they are not all of the run."""
        if shard is not None or not self._repeatable or any(map(uris.is_uri, self.arguments)):
            return None
        return self._listed

    def part(self, shard: tuple[int, int] | None, passed: Counter[str]) -> Part:
        """All inputs, or a shard of them; `passed` counts what folders hold besides."""
        if shard is None:
            return partial(_same, self.refs(passed))
        if not self._repeatable:
            names = list(self.refs(passed))
            return lambda block: inputs_.shard(names, len(names), *shard, block)
        # Counted and then listed again: the names of a large run are not kept.
        count = sum(1 for _ in self._listed(passed))
        return lambda block: inputs_.shard(self.refs(), count, *shard, block)


def only_one(part: Part, file: str) -> Part:
    """The same inputs. Raises: RequestError: there are several, and one file."""
    refs = part(1)
    first = list(islice(refs, 2))
    if len(first) > 1:
        raise RequestError(f"-o {file} takes one picture, and there are several: name a folder")
    return partial(_same, chain(first, refs))


def _same(refs: Iterator[Ref], block: int) -> Iterator[Ref]:
    return refs
