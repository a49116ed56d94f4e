"""The likeness of two answers, as numbers. Free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camcli.maps import scaling

# Two classes' maps that are as parallel as this are one map.
SAME_MAP = 0.99
# SSIM's windows need some pixels: maps of few cells are brought to this side first.
_SIDE = 64


def same_map(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """The cosine of two maps if it is above SAME_MAP, else None; blank maps have none."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    cosine = float((one * other).sum()) / lengths if lengths > 0 else 0.0
    return cosine if cosine > SAME_MAP else None


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Spearman's, of two answers' absolute values, ties ranked by their mean; 0 if one of them is flat."""
    ranks = [_ranks(_sizes(values).ravel()) for values in (one, other)]
    deviations = [rank - rank.mean() for rank in ranks]
    lengths = float(np.linalg.norm(deviations[0]) * np.linalg.norm(deviations[1]))
    return float(deviations[0] @ deviations[1]) / lengths if lengths > 0 else 0.0


def ssim(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Structural similarity of two answers' absolute values, each scaled to its own maximum (Wang et al. 2004,
    doi:10.1109/TIP.2003.819861: Gaussian windows of sigma 1.5, K = 0.01 and 0.03)."""
    import cv2

    def blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), dtype=np.float64)

    x, y = (_scaled(_sizes(values)) for values in (one, other))
    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def _sizes(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return scaling.strength(np.abs(values)).astype(np.float64)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import cv2

    if min(values.shape) < _SIDE:
        values = np.asarray(cv2.resize(values, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR))
    return scaling.scaled(values, float(values.max(initial=0.0)))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: NDArray[np.float64] = last - (counts - 1) / 2
    return mean_rank[places]
