"""What starting costs: whole processes, ratios to `python -c "import torch"`, arms in turn.

python benchmarks/startup.py [--rounds 7]

The peers' scripts explain the same picture with torchvision's network of about the bundled model's size, with random
weights: the bundled one is not theirs to load. `python -X importtime -m camcli explain PICTURE` shows what is imported.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import arms

SAMPLE = Path(__file__).parent.parent / "sample_images" / "cat_chelsea.jpg"
_SCRIPT = """
import torch, torchvision
from PIL import Image
net = torchvision.models.efficientnet_b0(weights=None).eval()
transform = torchvision.models.EfficientNet_B0_Weights.DEFAULT.transforms()
"""
TORCHCAM = f"""
from torchcam.methods import GradCAM
from torchcam.utils import overlay_mask
from torchvision.transforms.functional import to_pil_image
{_SCRIPT}
photo = Image.open({str(SAMPLE)!r}).convert("RGB")
with GradCAM(net, net.features) as extractor:
    scores = net(transform(photo)[None])
    (grey,) = extractor(scores.squeeze(0).argmax().item(), scores)
overlay_mask(photo, to_pil_image(grey.squeeze(0), mode="F"), alpha=0.5).save("overlay.jpg")
"""
GRAD_CAM = f"""
import cv2, numpy
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
{_SCRIPT}
photo = Image.open({str(SAMPLE)!r}).convert("RGB")
grey = GradCAM(model=net, target_layers=[net.features])(input_tensor=transform(photo)[None], targets=None)[0]
seen = numpy.float32(photo.resize((224, 224))) / 255
cv2.imwrite("overlay.jpg", show_cam_on_image(seen, grey)[..., ::-1])
"""
ARMS = {
    "import torch": ["-c", "import torch"],
    "import torchvision": ["-c", "import torchvision"],
    "camcli --help": ["-m", "camcli", "--help"],
    "camcli models": ["-m", "camcli", "models"],
    "camcli explain, one picture": ["-m", "camcli", "explain", str(SAMPLE), "-q"],
    "torchcam's script, the same picture": ["-c", TORCHCAM],
    "pytorch-grad-cam's script, the same picture": ["-c", GRAD_CAM],
}


def seconds(arguments: list[str], folder: str) -> float:
    """One process from start to exit."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=folder, env=environment)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {label: [] for label in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            timed = {label: seconds(arguments, folder) for label, arguments in ARMS.items()}
            if number:  # the first round warms the file cache and writes bytecode
                for label, value in timed.items():
                    found[label].append(value)
    base = found["import torch"]
    print("| process | seconds | of `import torch`, median (lowest-highest) |\n|---|---|---|")
    for label, values in found.items():
        print(f"| {label} | {statistics.median(values):.2f} | {arms.ratio(values, base)} |")


if __name__ == "__main__":
    main()
