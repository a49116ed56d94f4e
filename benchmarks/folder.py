"""A folder of JPEGs in, overlays out: pictures per second beside what scripts written from READMEs do.

    python benchmarks/folder.py --photos DIR [--models resnet50 ...] [--count 300] [--rounds 3] [--large 40]
        [--device cuda]

Arms are processes of their own that take turns on the same pictures, each after a pass over some of them to warm up;
start-up is not counted (see startup.py). camcli writes overlays of the original's size and JSON rows; torchcam's
script overlays of the original's size, pytorch-grad-cam's and captum's of the 224 pixels that the network saw; the
forward-only loop writes nothing. With --large N pictures of 12 megapixels are made from the same photos, enlarged and
grained, as real cameras' are.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import arms
import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

MODELS = ("resnet50", "mobilenet_v3_large", "efficientnet_lite0")
SMALL = ("camcli", "pytorch-grad-cam", "torchcam", "captum", "forward only")
LARGE = ("camcli", "camcli --max-side 1024 --draft 1024", "pytorch-grad-cam", "torchcam", "forward only")
WARM_UP = 32


def photos(folder: Path, count: int) -> list[Path]:
    """So many of the folder's JPEGs, again from the first where there are fewer."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise SystemExit(f"no JPEGs in {folder}")
    return list(islice(cycle(found), count))


def copied(source: list[Path], into: Path) -> None:
    for number, path in enumerate(source):
        (into / f"{number:04}.jpg").write_bytes(path.read_bytes())


def enlarged(source: list[Path], into: Path) -> None:
    """4000x3000 pictures of 4-5 MB."""
    grain = np.random.default_rng(0).normal(0, 6, (3000, 4000, 1)).astype(np.float32)
    for number, path in enumerate(source):
        with Image.open(path) as photo:
            large = np.asarray(photo.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC), dtype=np.float32)
        Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8)).save(into / f"{number:04}.jpg", quality=92)


def camcli(model: str, side: int | None, device: str) -> Callable[[Path, int], None]:
    from camcli.inputs.refs import expand
    from camcli.machine import process
    from camcli.running import pipeline
    from camcli.sinks import dump, open_sinks
    from camcli.specs import OutputSpec, Spec

    process.tune()
    weights = "DEFAULT" if model == "efficientnet_lite0" else "none"
    spec = Spec(model=model, weights=weights, device=device, draft=side)
    engine = pipeline.open_engine(spec, OutputSpec("unused", max_side=side), workers=None, threads=None)

    def run(folder: Path, count: int) -> None:
        with (
            tempfile.TemporaryDirectory() as out,
            (Path(out) / "rows.jsonl").open("w") as lines,
            open_sinks(OutputSpec(out, max_side=side)) as files,
        ):
            for row in pipeline.rows(engine, islice(expand([str(folder)]), count), files):
                lines.write(dump(row) + "\n")

    return run


def script(arm: str, model: str, device: str) -> Callable[[Path, int], None]:
    """A loop over one picture at a time, as each library's README has it."""
    import torch
    from torchvision.transforms._presets import ImageClassification

    from camcli.layers import choosing
    from camcli.layers.tracing import trace
    from camcli.models import load_model
    from camcli.specs import ModelSpec

    weights = "DEFAULT" if model == "efficientnet_lite0" else "none"
    loaded = load_model(ModelSpec(model, weights, device))
    net = loaded.net
    layer = choosing.choose(net, trace(net, torch.zeros(1, 3, 224, 224, device=device)), model).module
    net.requires_grad_(True)
    preset = loaded.preset
    stock = ImageClassification(crop_size=preset.crop, resize_size=preset.resize, mean=preset.mean, std=preset.std)
    one: Callable[[Path, Path], None] = {
        "pytorch-grad-cam": _jacobgil,
        "torchcam": _torchcam,
        "captum": _captum,
        "forward only": _forward,
    }[arm](net, layer, lambda photo: stock(photo).to(device))

    def run(folder: Path, count: int) -> None:
        with tempfile.TemporaryDirectory() as out:
            for path in islice(sorted(folder.iterdir()), count):
                one(path, Path(out) / path.name)

    return run


def _seen(photo: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The 224 pixels that the network sees, as [0, 1]."""
    from torchvision.transforms import functional

    return np.float32(functional.center_crop(functional.resize(photo, [256]), [224])) / np.float32(255)  # type: ignore[return-value]


def _forward(net: torch.nn.Module, layer: torch.nn.Module, transform: Any) -> Callable[[Path, Path], None]:
    import torch

    def one(path: Path, to: Path) -> None:
        with torch.inference_mode():
            net(transform(Image.open(path).convert("RGB"))[None]).argmax().item()

    return one


def _jacobgil(net: torch.nn.Module, layer: torch.nn.Module, transform: Any) -> Callable[[Path, Path], None]:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image

    cam = GradCAM(model=net, target_layers=[layer])

    def one(path: Path, to: Path) -> None:
        photo = Image.open(path).convert("RGB")
        grey = cam(input_tensor=transform(photo)[None], targets=None)[0]
        picture = show_cam_on_image(_seen(photo), grey, use_rgb=True)
        cv2.imwrite(str(to), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    return one


def _torchcam(net: torch.nn.Module, layer: torch.nn.Module, transform: Any) -> Callable[[Path, Path], None]:
    from torchcam.methods import GradCAM
    from torchcam.utils import overlay_mask
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.functional import to_pil_image

    extractor = GradCAM(net, layer)

    def one(path: Path, to: Path) -> None:
        image = decode_image(str(path), ImageReadMode.RGB)
        scores = net(transform(image)[None])
        (grey,) = extractor(scores.squeeze(0).argmax().item(), scores)
        overlay_mask(to_pil_image(image), to_pil_image(grey.squeeze(0), mode="F"), alpha=0.5).save(to)

    return one


def _captum(net: torch.nn.Module, layer: torch.nn.Module, transform: Any) -> Callable[[Path, Path], None]:
    import torch
    from captum.attr import LayerAttribution, LayerGradCam

    captum = LayerGradCam(net, layer)

    def one(path: Path, to: Path) -> None:
        photo = Image.open(path).convert("RGB")
        view = transform(photo)[None]
        with torch.no_grad():
            best = net(view).argmax(1)
        values = LayerAttribution.interpolate(
            captum.attribute(view, best, relu_attributions=True), (224, 224), "bilinear"
        )
        grey = values[0, 0].detach().cpu().numpy()
        colours = cv2.applyColorMap((255 * grey / max(grey.max(), 1e-9)).astype(np.uint8), cv2.COLORMAP_JET)
        seen = (255 * _seen(photo)[..., ::-1]).astype(np.uint8)
        cv2.imwrite(str(to), cv2.addWeighted(colours, 0.5, seen, 0.5, 0))

    return one


def table(
    folder: Path, models: list[str], labels: tuple[str, ...], count: int, rounds: int, device: str
) -> Iterator[str]:
    """Markdown: a line a model and arm, images/s and how much faster camcli is, within each round."""
    yield "| model | arm | images/s | camcli is so much faster, median (lowest-highest) |"
    yield "|---|---|---|---|"
    for model in models:
        common = ["--models", model, "--folder", str(folder), "--count", str(count), "--device", device]
        rates = arms.turns({label: [__file__, "--arm", label, *common] for label in labels}, rounds)
        for label in labels:
            rate = statistics.median(rates[label])
            times = arms.ratio(rates["camcli"], rates[label])
            yield f"| {model} | {label} | {rate:.1f} | {times} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs, sub-folders too")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--large", type=int, default=0, help="pictures of 12 megapixels in place of the photos")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm is None:
        with tempfile.TemporaryDirectory() as made:
            count = options.large or options.count
            (enlarged if options.large else copied)(photos(options.photos, count), Path(made))
            labels = LARGE if options.large else SMALL
            for line in table(Path(made), options.models, labels, count, options.rounds, options.device):
                print(line, flush=True)
        return
    (model,) = options.models
    if options.arm.startswith("camcli"):
        run = camcli(model, 1024 if options.arm.endswith("1024") else None, options.device)
    else:
        run = script(options.arm, model, options.device)
    passes = iter([WARM_UP])

    def timed() -> float:
        count = next(passes, options.count)
        start = time.perf_counter()
        run(options.folder, min(count, options.count))
        return count / (time.perf_counter() - start)

    arms.serve(timed)


if __name__ == "__main__":
    main()
