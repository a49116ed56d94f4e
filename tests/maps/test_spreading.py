"""Values spread over boxes that don't lie on whole pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from camcli.maps.spreading import cover, spread


def slowly(values: np.ndarray, box: tuple[float, float, float, float], x: int, y: int) -> float:
    """Bilinear between cell centres, the border cells' value beyond them."""
    height, width = values.shape
    u = min(max((x + 0.5 - box[0]) / (box[2] - box[0]) * width - 0.5, 0), width - 1)
    v = min(max((y + 0.5 - box[1]) / (box[3] - box[1]) * height - 0.5, 0), height - 1)
    i, j = int(v), int(u)
    below, right = min(i + 1, height - 1), min(j + 1, width - 1)
    top = values[i, j] * (1 - (u - j)) + values[i, right] * (u - j)
    bottom = values[below, j] * (1 - (u - j)) + values[below, right] * (u - j)
    return float(top * (1 - (v - i)) + bottom * (v - i))


@pytest.mark.parametrize("box", [(0.0, 0.0, 13.4, 9.0), (-2.5, 1.25, 20.0, 14.5), (3.2, 4.8, 9.7, 9.1)])
def test_each_pixel_is_between_its_cells(box: tuple[float, float, float, float]) -> None:
    values = np.random.default_rng(0).random((4, 5), dtype=np.float32)
    found, (x0, y0, x1, y1) = spread(values, box), cover(box)
    assert found.shape == (y1 - y0, x1 - x0)
    for y in range(y0, y1):
        for x in range(x0, x1):
            assert found[y - y0, x - x0] == pytest.approx(slowly(values, box, x, y), abs=1e-6)


def test_whole_boxes_are_opencvs() -> None:
    values = np.random.default_rng(0).random((4, 5), dtype=np.float32)
    assert np.array_equal(spread(values, (2, 3, 17, 12)), cv2.resize(values, (15, 9), interpolation=cv2.INTER_LINEAR))
