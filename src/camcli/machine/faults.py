"""Too little memory, or a device that has failed: named as what it is, or worked around."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from camcli.errors import SetupError


def lacks_memory(error: BaseException) -> bool:
    """True if the error says that memory did not suffice; on a CPU and on MPS torch has no class for that."""
    said = str(error)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in said for words in ("can't allocate memory", "out of memory")
    )


def device_failed(error: BaseException) -> bool:
    """True if the error says that a GPU has failed: after most such errors this process can't use it any more."""
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or str(error).startswith("CUDA error")


@contextmanager
def machine_failures() -> Iterator[None]:
    """Turn errors of a failed device, and of memory that suffices for no picture, into errors about this machine.

    Raises: SetupError: instead of what the device and the allocator raise.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        if device_failed(error):
            advice = "start again, which goes on if a journal is kept, or use --device cpu"
            raise SetupError(f"the device has failed ({said}): {advice}") from error
        if lacks_memory(error):
            raise SetupError(f"the model does not fit in memory ({said}): use a smaller one, or --device") from error
        raise


def fits(run: Callable[[], object]) -> bool:
    """True if it ran; False if memory did not suffice."""
    try:
        run()
        return True
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def batch_that_fits(ask: Callable[[int], object], device: torch.device) -> int:
    """Pictures per forward that fill half of the free memory of a CUDA device, a power of two in [8, 256]."""
    ask(1)  # what is loaded once counts for no picture
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    ask(8)
    torch.cuda.synchronize(device)
    each = max(1, torch.cuda.max_memory_allocated(device) - before) / 8
    free = torch.cuda.mem_get_info(device)[0]
    torch.cuda.empty_cache()
    return power_of_two(free / 2 / each)


def power_of_two(pictures: float) -> int:
    """The largest power of two that is no more than `pictures`, at least 8 and at most 256."""
    return 1 << max(3, min(8, int(pictures).bit_length() - 1))
