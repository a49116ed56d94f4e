"""What is not needed is not imported: seen from outside, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from shell import SAMPLES

PROBE = """
import sys
from camcli import cli
sys.argv = ["camcli", *{arguments!r}]
try:
    cli.main()
except SystemExit:
    pass
print(*(name for name in {names!r} if name in sys.modules), file=sys.stderr)
"""


def imported(*arguments: str, of: tuple[str, ...]) -> set[str]:
    """Which of these modules a command imports."""
    code = PROBE.format(arguments=arguments, names=of)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "command", ["--help", "--version", "explain --help", "methods", "models", "bench --help", "config explain"]
)
def test_help_and_listings_import_nothing_heavy(command: str) -> None:
    heavy = ("torch", "torchvision", "numpy", "PIL", "cv2", "ray", "pyarrow", "fsspec")
    assert imported(*command.split(), of=heavy) == set()


def test_a_wrong_request_imports_no_torch() -> None:
    assert imported("explain", "gone.jpg", "--method", "nothing", of=("torch", "numpy")) == set()


@pytest.mark.exhaustive
def test_an_explanation_does_without_torchs_compiler() -> None:
    photo = str(SAMPLES / "espresso.jpg")
    others = ("torch._dynamo", "sympy", "fsspec.core", "ray", "timm", "transformers", "open_clip")
    found = imported("explain", photo, "-o", "a.jpg", "-q", of=("torch", *others))
    assert found == {"torch"}


@pytest.mark.exhaustive
def test_the_probe_sees_what_is_imported() -> None:
    assert imported("classes", "resnet18", "tench", of=("torch", "numpy")) == {"torch", "numpy"}


@pytest.mark.exhaustive
def test_what_torchvision_wanted_of_the_compiler_is_there_when_it_is_called() -> None:
    code = """
import sys, torch
from camcli.models.sources import torchvision as torchvision_zoo
from torchvision.ops.roi_align import is_compile_supported
assert "torch._dynamo" not in sys.modules
assert is_compile_supported("cpu") in (True, False)
assert hasattr(sys.modules["torch._dynamo"], "optimize")
from torch._dynamo.utils import is_compile_supported as real
assert real("cpu") == is_compile_supported("cpu")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
