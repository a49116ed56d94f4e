"""float32 that is computed as float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def in_fp32() -> Iterator[None]:
    """Compute nothing coarser in the place of float32; afterwards all that was allowed is allowed again.

    PyTorch lets convolutions on CUDA take TF32, with 10 bits of the mantissa's 23, and code that is imported may allow
    that, or bfloat16, everywhere: `torch.set_float32_matmul_precision`.
    """
    try:
        convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:  # set by the names that torch has since 2.9; the older ones can then no longer be read
        with _each_in_fp32():
            yield
        return
    # A setting that is right is not touched: kernels go by whether it was ever set.
    if convolutions:
        torch.backends.cudnn.allow_tf32 = False
    if products != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if convolutions:
            torch.backends.cudnn.allow_tf32 = True
        if products != "highest":
            torch.set_float32_matmul_precision(products)


@contextmanager
def _each_in_fp32() -> Iterator[None]:
    backends: Any = torch.backends
    cuda, cpu = backends.cudnn, backends.mkldnn
    switches = (cuda.conv, cuda.rnn, backends.cuda.matmul, cpu.conv, cpu.rnn, cpu.matmul)
    coarser = [(switch, allowed) for switch in switches if (allowed := switch.fp32_precision) not in ("none", "ieee")]
    for switch, _ in coarser:
        switch.fp32_precision = "ieee"
    try:
        yield
    finally:
        for switch, allowed in coarser:
            switch.fp32_precision = allowed
