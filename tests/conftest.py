from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import shell
import torch
from PIL import Image

# Set once and inherited by every worker, so that all of them agree on the day.
_PART = "CAMCLI_TESTS_PART"
# Of what is exhaustive each day another one of so many parts.
_PARTS = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="run all exhaustive tests, not a twentieth a day")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault(_PART, str(date.today().toordinal() % _PARTS))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of what is exhaustive a twentieth is kept, another one each day."""
    if config.getoption("--exhaustive"):
        return
    today = int(os.environ[_PART])
    kept = [item for item in items if item.get_closest_marker("exhaustive") is None or _part_of(item) == today]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _part_of(item: pytest.Item) -> int:
    return crc32(item.nodeid.encode()) % _PARTS


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts in a folder of its own, so that default outputs land there; downloads have nowhere to go, and
    what the user of this machine has set is not seen."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "user-config"))
    for name in [name for name in os.environ if name.startswith("CAMCLI_") and name != _PART]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch-home"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny pictures gain nothing from threads, and lose much where the machine is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def shared() -> Path:
    """Real checkpoints and photographs that may not be shipped; see CONTRIBUTING."""
    if not shell.SHARED.is_dir():
        pytest.skip("the shared test material is not beside this checkout")
    return shell.SHARED


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Make a seeded noise picture: picture("a.jpg", (width, height))."""

    def make(name: str = "a.png", size: tuple[int, int] = (64, 48), **options: object) -> Path:
        rng = np.random.default_rng(0)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (size[1] // 8 + 1, size[0] // 8 + 1, 3), dtype=np.uint8)
        Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR).save(path, **options)  # type: ignore[arg-type]
        return path

    return make
