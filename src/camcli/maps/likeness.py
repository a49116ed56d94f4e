"""The likeness of two answers, as numbers. Free of torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from camcli.maps import scaling
from camcli.records import Kind

# Two classes' maps that are as parallel as this are one map.
SAME_MAP = 0.99
# SSIM's windows need some pixels: maps of few cells are brought to this side first.
_SIDE = 64


def same_map(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """The cosine of two maps if it is above SAME_MAP, else None; blank maps have none."""
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    cosine = float((one * other).sum()) / lengths if lengths > 0 else 0.0
    return cosine if cosine > SAME_MAP else None


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32], kind: Kind = "map") -> float:
    """Spearman's, of two answers' absolute values, ties ranked by their mean; 0 if one of them is flat."""
    ranks = [_ranks(_sizes(values, kind).ravel()) for values in (one, other)]
    deviations = [rank - rank.mean() for rank in ranks]
    lengths = float(np.linalg.norm(deviations[0]) * np.linalg.norm(deviations[1]))
    return float(deviations[0] @ deviations[1]) / lengths if lengths > 0 else 0.0


def ssim(one: NDArray[np.float32], other: NDArray[np.float32], kind: Kind = "map") -> float:
    """Structural similarity of two answers' absolute values, each scaled to its own maximum (Wang et al. 2004,
    doi:10.1109/TIP.2003.819861: Gaussian windows of sigma 1.5, K = 0.01 and 0.03); of clips the mean over their
    steps."""
    scaled = (_scaled(_planes(_sizes(values, kind))) for values in (one, other))
    return float(np.mean([_ssim(x, y) for x, y in zip(*scaled, strict=True)]))


def _ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    import cv2

    def blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), dtype=np.float64)

    mean_x, mean_y = blurred(x), blurred(y)
    var_x, var_y = blurred(x * x) - mean_x**2, blurred(y * y) - mean_y**2
    covariance = blurred(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def _sizes(values: NDArray[np.float32], kind: Kind) -> NDArray[np.float64]:
    return scaling.strength(np.abs(values), kind).astype(np.float64)


def _planes(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The map (h, w), or each step of a clip's, large enough for SSIM's windows."""
    import cv2

    planes = [values] if values.ndim == 2 else list(values)
    if min(values.shape[-2:]) >= _SIDE:
        return planes
    return [np.asarray(cv2.resize(plane, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)) for plane in planes]


def _scaled(planes: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    top = max(float(plane.max(initial=0.0)) for plane in planes)
    return [scaling.scaled(plane, top) for plane in planes]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: NDArray[np.float64] = last - (counts - 1) / 2
    return mean_rank[places]
