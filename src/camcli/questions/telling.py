"""What a task is told by the spec: the place that a segmentation is asked about, the least score of a detection."""

from __future__ import annotations

from dataclasses import replace

from camcli.errors import InputError, RequestError
from camcli.inputs import decoding
from camcli.inputs.refs import expand
from camcli.specs import Spec
from camcli.tasks.detect import Detect
from camcli.tasks.regions import Within
from camcli.tasks.segment import Segment
from camcli.tasks.task import Task


def told(task: Task, spec: Spec) -> Task:
    """The task, told what the spec says of places and scores.

    Raises: RequestError: the task has no such thing, or the mask can't be read.
    """
    if spec.threshold is not None:
        if not isinstance(task, Detect):
            raise RequestError(f"--threshold is for networks that detect; this one is there to {task.name}")
        task = replace(task, threshold=spec.threshold)
    region = _asked(spec)
    if region is None:
        return task
    if not isinstance(task, Segment):
        raise RequestError(f"--at, --region and --mask are for networks that segment; this one is there to {task.name}")
    return replace(task, within=region)


def _asked(spec: Spec) -> Within | None:
    if spec.mask is not None:
        try:
            (ref,) = expand([spec.mask])
            rgb = decoding.read_frame(ref).rgb
        except (InputError, RequestError, ValueError) as error:
            raise RequestError(f"--mask {spec.mask}: {error}") from None
        return Within(drawn=rgb.max(-1) > 127, name=spec.mask)
    if spec.at is None and spec.region is None:
        return None
    return Within(at=spec.at, box=spec.region)
