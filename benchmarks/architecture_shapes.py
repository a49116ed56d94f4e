"""Writes the table by which a file's architecture is looked for: to be run when torchvision has a new classifier.

python benchmarks/architecture_shapes.py > src/camcli/models/architecture_shapes.txt
"""

from __future__ import annotations

from camcli.models import catalog, guess


def main() -> None:
    print(guess.library())
    for name in catalog.classifiers():
        shapes = guess.shapes(guess.state_of(name))
        print(name, *(f"{count}*{'x'.join(map(str, shape))}" for shape, count in shapes.items()))


if __name__ == "__main__":
    main()
