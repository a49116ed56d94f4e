"""The network of examples/vqa.py on questions that somebody else made: easy-vqa's, on its own test split.

    pip install easy-vqa
    python benchmarks/easy_questions.py [--epochs 6]

It prints how many test questions are answered right, and how often Grad-CAM's peak lies on the picture's one shape, for
200 test pictures that are asked about its shape or colour, with the share of the picture that the shape's box takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import easy_vqa
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from training import fit
from vqa import Vqa

SIDE = 32
LAYER = "blocks.1"


def pictures(paths: dict[int, str]) -> NDArray[np.uint8]:
    """(N, 32, 32, 3): the pictures in the order of their numbers, from 0."""
    return np.stack(
        [np.asarray(Image.open(paths[number]).convert("RGB").resize((SIDE, SIDE))) for number in range(len(paths))]
    )


def network(questions: Sequence[str], answers: Sequence[str]) -> Vqa:
    """Untrained, with the words of the questions."""
    words = tuple(sorted({word for question in questions for word in plain(question).split()}))
    longest = max(len(question.split()) for question in questions)
    return Vqa(words, tuple(answers), longest)


def plain(question: str) -> str:
    return question.lower().rstrip("?").replace(",", "")


def encoded(net: Vqa, questions: Sequence[str]) -> Tensor:
    return torch.stack([net.encode(plain(question)) for question in questions])


def prepared(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def box(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of what differs from the corner, the background."""
    rows, columns = np.nonzero(abs(pixels.astype(int) - pixels[0, 0]).sum(2) > 60)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def grad_cam(net: Vqa, images: Tensor, questions: Tensor, answers: Tensor) -> Tensor:
    """relu(sum_c mean(dy/dA_c) * A_c) at the last block, at the pictures' size, (N, 32, 32). arXiv:1610.02391."""
    kept: list[Tensor] = []
    hook = net.get_submodule(LAYER).register_forward_hook(lambda module, given, made: kept.append(made))
    scores = net(images, questions)[torch.arange(len(answers)), answers]
    hook.remove()
    (slopes,) = torch.autograd.grad(scores.sum(), kept)
    maps = functional.relu((slopes.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True))
    return functional.interpolate(maps, images.shape[2:], mode="bilinear").detach()[:, 0]


def peaks(net: Vqa, pixels: NDArray[np.uint8], asked: Sequence[tuple[str, str, int]]) -> tuple[float, float]:
    """How often the peak lies in the shape's box, and the box's share of the picture."""
    questions, answers, numbers = zip(*asked, strict=True)
    shown = pixels[list(numbers)]
    maps = grad_cam(
        net, prepared(shown), encoded(net, questions), torch.tensor([net.labels.index(answer) for answer in answers])
    )
    hits, shares = [], []
    for one, peak in zip(shown, maps.flatten(1).argmax(1).tolist(), strict=True):
        y, x = divmod(peak, SIDE)
        x0, y0, x1, y1 = box(one)
        hits.append(x0 <= x < x1 and y0 <= y < y1)
        shares.append((x1 - x0) * (y1 - y0) / SIDE**2)
    return float(np.mean(hits)), float(np.mean(shares))


def open_questions(
    questions: Sequence[str], answers: Sequence[str], numbers: Sequence[int]
) -> list[tuple[str, str, int]]:
    """For each picture its first question about what shape or colour it shows: those that aren't answered yes or no."""
    found: dict[int, tuple[str, str, int]] = {}
    for question, answer, number in zip(questions, answers, numbers, strict=True):
        if answer not in ("yes", "no"):
            found.setdefault(number, (question, answer, number))
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    questions, answers, numbers = easy_vqa.get_train_questions()
    net = network(questions, easy_vqa.get_answers())
    pixels = pictures(easy_vqa.get_train_image_paths())
    images, asked = prepared(pixels), encoded(net, questions)
    truth, shown = torch.tensor([net.labels.index(answer) for answer in answers]), torch.tensor(numbers)
    fit(
        net,
        lambda rows: functional.cross_entropy(net(images[shown[rows]], asked[rows]), truth[rows]),
        samples=len(questions),
        epochs=options.epochs,
    )
    net.eval()
    questions, answers, numbers = easy_vqa.get_test_questions()
    pixels = pictures(easy_vqa.get_test_image_paths())
    images, asked, shown = prepared(pixels), encoded(net, questions), torch.tensor(numbers)
    batches: Sequence[Tensor] = torch.arange(len(asked)).split(256)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        said = torch.cat([net(images[shown[rows]], asked[rows]).argmax(1) for rows in batches])
    right = np.mean([net.labels[number] == answer for number, answer in zip(said.tolist(), answers, strict=True)])
    print(f"{right:.1%} of {len(answers)} test questions answered right")
    hits, share = peaks(net, pixels, open_questions(questions, answers, numbers)[:200])
    print(f"the peak lies on the shape in {hits:.1%} of 200 test pictures; its box takes {share:.1%} of the picture")


if __name__ == "__main__":
    main()
