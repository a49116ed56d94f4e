from __future__ import annotations

from typing import TYPE_CHECKING

from camcli.methods import method

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from camcli.network.evidence import Evidence

SAMPLES = 50
NOISE = 0.15


def noisy_copies(evidence: Evidence, share: float) -> Callable[[int], Tensor]:
    """Copies of the images (N, 3, H, W), each with its own seeded noise: a share of the picture's range."""
    generator = evidence.generator()
    images = evidence.images
    own = tuple(range(1, images.ndim))
    scale = share * (images.amax(own, keepdim=True) - images.amin(own, keepdim=True))

    def noisy(i: int) -> Tensor:
        noise = images.new_empty(1, *images.shape[1:], device="cpu").normal_(generator=generator)
        return images + scale * noise.to(images.device)

    return noisy


@method(
    kind="saliency",
    needs={"images", "input_grads", "again"},
    paper="arXiv:1706.03825 sec. 3",
    caveat="Smoother is not truer.",
    forwards=1 + SAMPLES,
    backwards=SAMPLES,
)
def smooth_grad(evidence: Evidence) -> Tensor:
    """mean of dy/dx over 50 copies with noise of 15 % of the picture's range, signed, (N, 3, H, W).

    arXiv:1706.03825 sec. 3.
    """
    total = evidence.images * 0
    for other in evidence.again(SAMPLES, noisy_copies(evidence, NOISE)):
        total += evidence.sum_of(other.input_grads)
    return total / SAMPLES
