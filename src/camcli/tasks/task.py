"""A task: a kind of answer that networks give, how it is asked for, and which numbers of it can be explained."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from camcli.entries import Box, Entry, Placement
from camcli.records import Fit

if TYPE_CHECKING:
    from torch import Tensor, nn

    from camcli.tasks.outputs import Outputs
    from camcli.tasks.targets import Target

# (a stable word, a sentence): why a picture has no answer.
Refusal = tuple[str, str]
# The rules by which a layer is chosen (see layers.choosing).
Rule = Literal["crossing", "coarsest", "read-from"]


class Prediction(Protocol):
    """The entries of one picture, the best first. An entry's key is its place among all that can be asked for: a
    class's id where each class is one."""

    @property
    def ranking(self) -> Sequence[int]:
        """The keys, best first; empty if nothing was found."""

    @property
    def refusal(self) -> Refusal | None:
        """The reason why the picture has no answer: NaN or infinity, or nothing where it is asked about."""

    @property
    def covers(self) -> Box | None:
        """What a layer's map covers in the frame; None: the view."""

    def of_class(self, class_id: int) -> Sequence[int]:
        """The keys of the entries of that class, best first; empty if none was found."""

    def told(self, count: int) -> Sequence[int]:
        """The keys of what a report tells if it tells so many."""

    def part(self, number: int) -> Sequence[int]:
        """The key of the detection, or word, of that number, from 1; empty if there is none."""

    def entry(self, key: int) -> Entry: ...


class Ranked:
    """Entries that have no other order than their rank."""

    __slots__ = ()

    def told(self: Prediction, count: int) -> Sequence[int]:
        return self.ranking[:count]

    def part(self: Prediction, number: int) -> Sequence[int]:
        return self.ranking[number - 1 : number]


class Task(Protocol):
    """How a network is asked, what its answer says (entries), and what can be explained of an entry (quantities).

    method: the default one. fit: how a picture becomes the view, unless asked otherwise. rule: how the layer is chosen.
    table: `Outputs.scores` hold all that matters of the network's answer. binary: its one number is read
    as two classes, no and yes. of_places: what it explains is a part of the picture, which a mean over all of the map
    can't find. nothing: what is said if it found nothing. unfound: names among the labels that name no thing. usual:
    the quantity that is explained unless asked otherwise. of_picture: quantities that are the picture's, no entry's.
    """

    @property
    def name(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def fit(self) -> Fit: ...
    @property
    def rule(self) -> Rule: ...
    @property
    def table(self) -> bool: ...
    @property
    def of_places(self) -> bool: ...
    @property
    def binary(self) -> bool: ...
    @property
    def nothing(self) -> str: ...
    @property
    def unfound(self) -> Collection[str]: ...
    @property
    def usual(self) -> str: ...
    @property
    def of_picture(self) -> Collection[str]: ...
    @property
    def lacks(self) -> Mapping[str, str]:
        """Parts of Evidence that this task has not: name -> why."""

    @property
    def forbids(self) -> Mapping[str, str]:
        """Fields of a Spec that this task can't serve: name -> why."""

    @property
    def quantities(self) -> Mapping[str, str]:
        """name -> a line of help."""

    @property
    def absent(self) -> Mapping[str, str]:
        """Quantities that it could have and has not: name -> why."""

    def outputs(self, net: nn.Module, images: Tensor) -> Outputs:
        """The outputs of one forward of images (N, C, H, W).

        Raises: SetupError: the network fails on pictures of this size, or gives something else than the task's answer.
        """

    def predictions(
        self, outputs: Outputs, labels: Sequence[str], placements: Sequence[Placement]
    ) -> Sequence[Prediction]:
        """What the network says of each picture; the views lie in their frames as told."""

    def target(self, outputs: Outputs, found: Sequence[Prediction], keys: tuple[int, ...], quantity: str) -> Target:
        """The target that asks for that quantity of each picture's own entry."""

    def probabilities(self, scores: Tensor) -> Tensor:
        """(N, K) in [0, 1], of scores (N, K)."""

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """(N, K), without the probabilities' loss of digits."""
