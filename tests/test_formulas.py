"""Each formula against a slow reference written from its paper, its known properties, and the peers that have it.

A reference sees one picture, works in float64 from a network taken apart by hand, and never sees `Evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import captum.attr
import nets
import pytest
import pytorch_grad_cam
import torch
import torchcam.methods
import torchvision
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputTarget
from torch import Tensor, nn

from camcli import methods
from camcli.evidence import Evidence, Forward, Network
from camcli.outputs import PLAIN, Readout
from camcli.targets import OfClass

SIZE = (9, 14)
IDS = (4, 0, 2)
BLACK = torch.tensor([-2.0, -1.5, -1.8])[:, None, None]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny pictures gain nothing from threads, and lose much where the machine is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Networks that can be taken apart at the layer that is explained.


class Signed(nets.Convolutional):
    """Explained in front of the last ReLU: activations of both signs."""

    layer = "conv2"

    def trunk(self, x: Tensor) -> Tensor:
        acts: Tensor = self.conv2(self.conv1(x).relu())
        return acts

    def head(self, acts: Tensor) -> Tensor:
        scores: Tensor = self.fc(acts.relu().mean((2, 3)))
        return scores


class Pooled(nets.Averaged, Signed):
    """Behind the layer an average and one linear layer, as the original CAM asks."""

    def head(self, acts: Tensor) -> Tensor:
        scores: Tensor = self.fc(acts.mean((2, 3)))
        return scores


class Rectified(Signed):
    """Explained behind a ReLU and in front of another convolution; channel 0 is dead, and there is a batch norm."""

    layer = "last"

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.norm = nn.BatchNorm2d(6)
            self.last = nn.ReLU()
            self.conv3 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
            for values in (self.norm.weight, self.norm.bias, self.norm.running_mean, self.norm.running_var):
                assert values is not None
                nn.init.uniform_(values, 0.5, 1.5)
        with torch.no_grad():
            assert self.conv2.bias is not None
            self.conv2.bias[0] = -100.0

    def trunk(self, x: Tensor) -> Tensor:
        acts: Tensor = self.last(self.conv2(self.norm(self.conv1(x)).relu()))
        return acts

    def head(self, acts: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.conv3(acts).relu().mean((2, 3)))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))


NETS = {"signed": Signed, "rectified": Rectified}


def _images(height: int = SIZE[0], width: int = SIZE[1], pictures: int = 3) -> Tensor:
    return nets.noise(pictures, 3, height, width)


def _evidence(
    name: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS, *, eigen_smooth: bool = False, seed: int = 0
) -> Evidence:
    """What the engine would hand to the method, black pixels and earlier stages included."""
    method = methods.get(name)
    first, layer = nets.layers_of(net, images[:1], "conv1", net.layer)
    forward = Forward(
        Network(net, seed=seed, black=BLACK.to(images), batch_size=64),
        images,
        [layer] if method.at_layer else [],
        method.needs,
        {layer.name: [first, layer]} if "stages" in method.needs else {},
    )
    return Evidence(forward, OfClass(tuple(ids)), layer if method.at_layer else None, eigen_smooth=eigen_smooth)


def _ours(
    name: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS, *, eigen_smooth: bool = False, seed: int = 0
) -> Tensor:
    return methods.get(name).function(_evidence(name, net, images, ids, eigen_smooth=eigen_smooth, seed=seed))


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest, as a share of the other's largest value."""
    assert one.shape == other.shape
    assert other.abs().max() > 0
    return ((one - other).abs().max() / other.abs().max()).item()


def _agree(ours: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    assert _difference(ours.double(), expected.double()) <= tolerance


# The formulas, slowly.


class Picture:
    """One picture, a class, and the network taken apart, in float64; random numbers are drawn in its dtype."""

    def __init__(self, net: Signed, image: Tensor, class_id: int) -> None:
        self.net = deepcopy(net).double().requires_grad_(False)
        self.dtype = image.dtype
        self.image = image.double()
        self.class_id = class_id
        self.black = BLACK.double()
        self.acts = self.net.trunk(self.image[None])[0]
        self.scores = self.behind(self.acts)
        self.channels, self.height, self.width = self.acts.shape
        self.places = [(i, j) for i in range(self.height) for j in range(self.width)]
        self.size = self.image.shape[1], self.image.shape[2]

    def behind(self, acts: Tensor) -> Tensor:
        """(K,): the scores for a map (C, h, w)."""
        return self.net.head(acts[None])[0]

    def score(self, image: Tensor) -> Tensor:
        """y of another picture."""
        return self.net(image[None])[0, self.class_id]  # type: ignore[no-any-return]

    def grads_of(self, class_id: int) -> Tensor:
        """d y / d A (C, h, w)."""
        return _slope(lambda acts: self.behind(acts)[class_id], self.acts)

    @property
    def grads(self) -> Tensor:
        return self.grads_of(self.class_id)

    def grads_at(self, image: Tensor) -> Tensor:
        """d y / d A (C, h, w) at another picture."""
        return _slope(lambda acts: self.behind(acts)[self.class_id], self.net.trunk(image[None])[0])

    def gradient(self, image: Tensor) -> Tensor:
        """d y / d x (3, H, W) at another picture."""
        return _slope(self.score, image)

    def copies(self, count: int, share: float) -> list[Tensor]:
        """x + N(0, (share * range)^2)."""
        deviation = share * (self.image.max() - self.image.min())
        normals = self.normals(*self.image.shape)
        return [self.image + deviation * next(normals) for _ in range(count)]

    def normals(self, *shape: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(0)
        while True:
            yield torch.empty(shape, dtype=self.dtype).normal_(generator=generator).double()


def _slope(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    leaf = at.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf), leaf)
    return gradient


@cache
def _rows(fine: int, coarse: int) -> Tensor:
    """(fine, coarse): linear interpolation, centres at half: source = (i + 1/2) * coarse / fine - 1/2, clamped."""
    rows = torch.zeros(fine, coarse, dtype=torch.float64)
    for i in range(fine):
        source = max((i + 0.5) * coarse / fine - 0.5, 0.0)
        low = int(source)
        rows[i, low] += 1 - (source - low)
        rows[i, min(low + 1, coarse - 1)] += source - low
    return rows


def _upsample(map_: Tensor, height: int, width: int) -> Tensor:
    """Bilinear."""
    return _rows(height, map_.shape[0]) @ map_ @ _rows(width, map_.shape[1]).T


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(0)


def _scaled(values: Tensor) -> Tensor:
    """To [0, 1]; a flat one to 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values * 0


def _by_channel(acts: Tensor, weights: Sequence[float]) -> Tensor:
    return torch.stack([weight * channel for weight, channel in zip(weights, acts, strict=True)])


def _alphas(picture: Picture, grads: Tensor) -> list[float]:
    """1/Z sum_ij g_ij, arXiv:1610.02391 eq. 1."""
    return [sum(float(grads[k, i, j]) for i, j in picture.places) / len(picture.places) for k in range(len(grads))]


def _grad_cam(picture: Picture) -> Tensor:
    return _by_channel(picture.acts, _alphas(picture, picture.grads))


def _plus_plus(acts: Tensor, first: Tensor, second: Tensor, third: Tensor) -> list[float]:
    """w_k = sum_ij alpha_ij relu(g_ij), arXiv:1710.11063 eq. 5 and 19, from the three derivatives of y.

    exp(y), which multiplies numerator, denominator and g alike, is left out: it scales the whole map.
    """
    weights = []
    for k, channel in enumerate(acts):
        weight = 0.0
        for g1, g2, g3 in zip(first[k].flatten(), second[k].flatten(), third[k].flatten(), strict=True):
            denominator = float(2 * g2 + channel.sum() * g3)
            weight += float(g2) / denominator * max(float(g1), 0.0) if denominator else 0.0
        weights.append(weight)
    return weights


def _grad_cam_pp(picture: Picture) -> Tensor:
    g = picture.grads
    return _by_channel(picture.acts, _plus_plus(picture.acts, g, g**2, g**3))


def _smooth_grad_cam_pp(picture: Picture) -> Tensor:
    """arXiv:1908.01224: D_n the mean of g^n over noisy copies; A is the clean picture's."""
    grads = [picture.grads_at(copy) for copy in picture.copies(10, 0.1)]
    d1, d2, d3 = (_mean(g**n for g in grads) for n in (1, 2, 3))
    return _by_channel(picture.acts, _plus_plus(picture.acts, d1, d2, d3))


def _hires_cam(picture: Picture) -> Tensor:
    return picture.grads * picture.acts


def _grad_cam_elementwise(picture: Picture) -> Tensor:
    return (picture.grads * picture.acts).clamp(min=0)


def _layer_cam(picture: Picture) -> Tensor:
    return picture.grads.clamp(min=0) * picture.acts


def _xgrad_cam(picture: Picture) -> Tensor:
    """w_k = sum_ij (A_ij / sum_ab A_ab) g_ij, arXiv:2008.02312 eq. 8."""
    weights = []
    for channel, grads in zip(picture.acts, picture.grads, strict=True):
        total = float(channel.sum())
        weights.append(sum(float(channel[at] * grads[at]) / total for at in picture.places) if total else 0.0)
    return _by_channel(picture.acts, weights)


def _shapley_cam(picture: Picture) -> Tensor:
    """w_k = mean_ij(g - H A / 2) with the whole Hessian H of y + log softmax(y), arXiv:2501.06261."""

    def utility(flat: Tensor) -> Tensor:
        scores = picture.behind(flat.view_as(picture.acts))
        return scores[picture.class_id] + scores.log_softmax(0)[picture.class_id]

    flat = picture.acts.flatten()
    hessian: Tensor = torch.autograd.functional.hessian(utility, flat)  # type: ignore[no-untyped-call]
    return _by_channel(
        picture.acts, _alphas(picture, (_slope(utility, flat) - hessian @ flat / 2).view_as(picture.acts))
    )


def _rivals(picture: Picture) -> list[int]:
    """The three classes other than c whose logits are nearest to c's."""
    others = [k for k in range(len(picture.scores)) if k != picture.class_id]
    return sorted(others, key=lambda k: abs(float(picture.scores[k] - picture.scores[picture.class_id])))[:3]


def _finer_cam(picture: Picture) -> Tensor:
    """1/T sum_t alpha^(c,t) A with alpha^(c,t) of y_c - 0.6 y_t, arXiv:2501.11309 eq. 3-5."""
    contrasts = [picture.grads - 0.6 * picture.grads_of(rival) for rival in _rivals(picture)]
    return _mean(_by_channel(picture.acts, _alphas(picture, contrast)) for contrast in contrasts)


def _random_cam(picture: Picture) -> Tensor:
    weights = torch.empty(picture.channels, dtype=picture.dtype)
    return _by_channel(picture.acts, weights.uniform_(-1, 1, generator=torch.Generator().manual_seed(0)).tolist())


WEIGHTED = {
    "grad-cam": _grad_cam,
    "grad-cam-pp": _grad_cam_pp,
    "smooth-grad-cam-pp": _smooth_grad_cam_pp,
    "hires-cam": _hires_cam,
    "grad-cam-elementwise": _grad_cam_elementwise,
    "layer-cam": _layer_cam,
    "xgrad-cam": _xgrad_cam,
    "shapley-cam": _shapley_cam,
    "finer-cam": _finer_cam,
    "random-cam": _random_cam,
}


def _component(channels: Tensor, *, centred: bool) -> Tensor:
    """X v_1 for the places X of (C, h, w), v_1 the first right singular vector.

    Its sign: uncentred, most of the map is positive; centred, it goes with the channels' sum.
    """
    places = channels.flatten(1).T
    if centred:
        places = places - places.mean(0)
    projected: Tensor = (places @ torch.linalg.svd(places).Vh[0]).view_as(channels[0])
    agrees = (projected * channels.sum(0)).sum() if centred else projected.sum()
    return projected if agrees >= 0 else -projected


def _eigen_cam(picture: Picture) -> Tensor:
    return _component(picture.acts, centred=False).clamp(min=0)


def _eigen_grad_cam(picture: Picture) -> Tensor:
    return _component(picture.grads * picture.acts, centred=True).clamp(min=0)


def _kpca_cam(picture: Picture) -> Tensor:
    """The first component in the space of the kernel tanh(x y / C + 1), arXiv:2410.00267."""
    places = picture.acts.flatten(1).T
    places = places - places.mean(0)
    count = len(places)
    similar = [[math.tanh(float(x @ y) / picture.channels + 1) for y in places] for x in places]
    kernel = torch.tensor(similar, dtype=torch.float64)
    centring = torch.eye(count, dtype=torch.float64) - 1 / count
    values, vectors = torch.linalg.eigh(centring @ kernel @ centring)
    projected: Tensor = (values[-1].sqrt() * vectors[:, -1]).view(picture.height, picture.width)
    return (projected if (projected * picture.acts.sum(0)).sum() >= 0 else -projected).clamp(min=0)


def _own_mask(channel: Tensor, size: tuple[int, int]) -> Tensor:
    return _scaled(_upsample(channel, *size))


def _masked(
    picture: Picture,
    score: Callable[[Tensor], Tensor],
    mask: Callable[[Tensor, tuple[int, int]], Tensor] = _own_mask,
) -> Tensor:
    """relu(sum_k softmax_k(score of mask k) A_k); channels without contrast mask nothing and weigh 0."""
    map_ = torch.zeros_like(picture.acts[0])
    contrast = [k for k in range(picture.channels) if picture.acts[k].max() > picture.acts[k].min()]
    scores = [float(score(mask(picture.acts[k], picture.size))) for k in contrast]
    for k, value in zip(contrast, scores, strict=True):
        map_ += math.exp(value) / sum(map(math.exp, scores)) * picture.acts[k]
    return map_.clamp(min=0)


def _score_cam(picture: Picture) -> Tensor:
    return _masked(picture, lambda mask: picture.score(mask * picture.image))


def _ss_cam(picture: Picture) -> Tensor:
    fields = next(picture.normals(10, *picture.size))
    return _masked(picture, lambda mask: _mean(picture.score((mask + 2 * noise) * picture.image) for noise in fields))


def _is_cam(picture: Picture) -> Tensor:
    return _masked(picture, lambda mask: _mean(picture.score(i / 10 * mask * picture.image) for i in range(1, 11)))


def _ablation_cam(picture: Picture) -> Tensor:
    """w_k = (y - y_k) / |y|, y_k with channel k set to zero, doi:10.1109/WACV45572.2020.9093360 eq. 4-5."""
    score = float(picture.scores[picture.class_id])
    weights = []
    for k in range(picture.channels):
        without = torch.cat([picture.acts[:k], torch.zeros_like(picture.acts[:1]), picture.acts[k + 1 :]])
        weights.append((score - float(picture.behind(without)[picture.class_id])) / abs(score))
    return _by_channel(picture.acts, weights).sum(0).clamp(min=0)


def _watched(picture: Picture, kinds: tuple[type[nn.Module], ...]) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """(module, its output, d y / d output) for the modules of these kinds, by plain autograd on the whole network."""
    kept: list[tuple[nn.Module, Tensor]] = []
    modules = [module for module in picture.net.modules() if isinstance(module, kinds)]
    hooks = [module.register_forward_hook(lambda m, args, out: kept.append((m, out))) for module in modules]
    score = picture.score(picture.image.clone().requires_grad_())
    for hook in hooks:
        hook.remove()
    grads = torch.autograd.grad(score, [output for _, output in kept])
    return [(module, output.detach(), grad) for (module, output), grad in zip(kept, grads, strict=True)]


def _full_grad(picture: Picture) -> Tensor:
    """arXiv:1905.00780 eq. 5; a layer's implicit bias is what it makes of zeros."""
    map_ = _scaled((picture.gradient(picture.image) * picture.image).abs()).sum(0)
    for module, _, grads in _watched(picture, (nn.Conv2d, nn.BatchNorm2d)):
        channels = int(getattr(module, "in_channels", 0) or getattr(module, "num_features", 0))
        bias = module(torch.zeros(1, channels, 5, 5, dtype=torch.float64))[0, :, 2, 2]
        for channel in _scaled((bias[:, None, None] * grads[0]).abs()):
            map_ = map_ + _upsample(channel, *picture.size)
    return map_


def _refine_cam(picture: Picture) -> Tensor:
    """The product over stages of Grad-CAM++, scaled, upsampled and scaled again, arXiv:2605.14641 sec. 4."""
    map_ = torch.ones(picture.size, dtype=torch.float64)
    stages = {picture.net.conv1, picture.net.get_submodule(picture.net.layer)}
    for module, acts, grads in _watched(picture, (nn.Module,)):
        if module in stages:
            weights = _plus_plus(acts[0], grads[0], grads[0] ** 2, grads[0] ** 3)
            base = _by_channel(acts[0], weights).sum(0).clamp(min=0)
            map_ = map_ * _own_mask(_scaled(base), picture.size)
    return map_


def _opti_cam(picture: Picture) -> Tensor:
    """The mask after Adam, written out, has looked for the highest score of masked pictures, arXiv:2301.07002."""

    def mask(u: Tensor) -> Tensor:
        weights = u.exp() / u.exp().sum()
        return _own_mask((weights[:, None, None] * picture.acts.clamp(min=0)).sum(0), picture.size)

    def score(u: Tensor) -> Tensor:
        return picture.score(picture.black + mask(u) * (picture.image - picture.black))

    u = best = torch.full((picture.channels,), 0.5, dtype=torch.float64)
    mean, square = torch.zeros_like(u), torch.zeros_like(u)
    for step in range(1, 101):
        best = u if score(u) > score(best) else best
        gradient = -_slope(score, u)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        u = u - 0.1 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
    return mask(best)


def _grad_x_input(picture: Picture) -> Tensor:
    return picture.gradient(picture.image) * picture.image


def _gauss_legendre(count: int) -> list[tuple[float, float]]:
    """(point, weight) on [0, 1]: the roots of the Legendre polynomial, by Newton's method."""
    found = []
    for i in range(count):
        x = math.cos(math.pi * (i + 0.75) / (count + 0.5))
        for _ in range(10):
            before, now = 1.0, x
            for n in range(2, count + 1):
                before, now = now, ((2 * n - 1) * x * now - (n - 1) * before) / n
            slope = count * (x * now - before) / (x * x - 1)
            x -= now / slope
        found.append(((x + 1) / 2, 1 / ((1 - x * x) * slope**2)))
    return found


def _integrated_gradients(picture: Picture) -> Tensor:
    way = picture.image - picture.black
    total = torch.zeros_like(way)
    for point, weight in _gauss_legendre(50):
        total += weight * picture.gradient(picture.black + point * way)
    return way * total


def _smooth_grad(picture: Picture) -> Tensor:
    return _mean(picture.gradient(copy) for copy in picture.copies(50, 0.15))


def _var_grad(picture: Picture) -> Tensor:
    grads = torch.stack([picture.gradient(copy) for copy in picture.copies(50, 0.15)])
    return ((grads - grads.mean(0)) ** 2).mean(0).mean(0)


def _occlusion(picture: Picture) -> Tensor:
    """Pixel by pixel, the mean drop over the grey squares that cover it, arXiv:1311.2901 sec. 4.2."""
    height, width = picture.size
    side = round(min(height, width) / 7)

    def starts(length: int) -> list[int]:
        regular = list(range(0, length - side + 1, max(1, side // 2)))
        return regular if regular[-1] == length - side else [*regular, length - side]

    drops = {}
    for y in starts(height):
        for x in starts(width):
            covered = picture.image.clone()
            covered[:, y : y + side, x : x + side] = 0
            drops[y, x] = float(picture.scores[picture.class_id] - picture.score(covered))
    map_ = torch.zeros(height, width, dtype=torch.float64)
    for i in range(height):
        for j in range(width):
            here = [drop for (y, x), drop in drops.items() if y <= i < y + side and x <= j < x + side]
            map_[i, j] = max(sum(here) / len(here), 0.0)
    return map_


def _rise_masks(height: int, width: int, count: int) -> Iterator[Tensor]:
    """7 x 7 cells open with chance 1/2, upsampled to a cell more than the picture, shifted by less than a cell."""
    generator = torch.Generator().manual_seed(0)
    cell_y, cell_x = math.ceil(height / 7), math.ceil(width / 7)
    for _ in range(count):
        cells = (torch.rand(1, 1, 7, 7, generator=generator) < 0.5)[0, 0].double()
        y = int(torch.randint(cell_y, (1,), generator=generator))
        x = int(torch.randint(cell_x, (1,), generator=generator))
        yield _upsample(cells, 8 * cell_y, 8 * cell_x)[y : y + height, x : x + width]


def _rise(picture: Picture) -> Tensor:
    total = torch.zeros(picture.size, dtype=torch.float64)
    for mask in _rise_masks(*picture.size, 4000):
        total += picture.net((picture.image * mask)[None])[0].softmax(0)[picture.class_id] * mask
    return (total - total.min()) / (4000 * 0.5)


WHOLE = {
    "eigen-cam": _eigen_cam,
    "eigen-grad-cam": _eigen_grad_cam,
    "kpca-cam": _kpca_cam,
    "score-cam": _score_cam,
    "ss-cam": _ss_cam,
    "is-cam": _is_cam,
    "ablation-cam": _ablation_cam,
    "full-grad": _full_grad,
    "refine-cam": _refine_cam,
    "opti-cam": _opti_cam,
    "grad-x-input": _grad_x_input,
    "integrated-gradients": _integrated_gradients,
    "smooth-grad": _smooth_grad,
    "var-grad": _var_grad,
    "occlusion": _occlusion,
    "rise": _rise,
}


def _reference(name: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS) -> Tensor:
    pictures = [Picture(net, image, class_id) for image, class_id in zip(images, ids, strict=True)]
    if name in WEIGHTED:
        return torch.stack([WEIGHTED[name](picture).sum(0).clamp(min=0) for picture in pictures])
    return torch.stack([WHOLE[name](picture) for picture in pictures])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("name", [name for name in (*WEIGHTED, *WHOLE) if name != "rise"])
def test_agrees_with_the_papers_formula(name: str, kind: str, dtype: torch.dtype) -> None:
    """To rounding: float32 loses digits where scores nearly cancel, and Adam multiplies what is lost."""
    net = NETS[kind]().eval().to(dtype)
    images = (_images(29, 34) if name == "occlusion" else _images()).to(dtype)
    _agree(_ours(name, net, images), _reference(name, net, images), 5e-5 if dtype == torch.float32 else 1e-6)


def test_rise_agrees_with_the_papers_formula() -> None:
    images = _images(pictures=2).double()
    _agree(_ours("rise", Signed().double(), images, IDS[:2]), _reference("rise", Signed(), images, IDS[:2]))


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_eigen_smooth_is_the_first_component_of_what_would_be_summed(name: str, kind: str) -> None:
    net, images = NETS[kind]().eval().double(), _images().double()
    pictures = [Picture(net, image, class_id) for image, class_id in zip(images, IDS, strict=True)]
    expected = [_component(WEIGHTED[name](picture), centred=True).clamp(min=0) for picture in pictures]
    _agree(_ours(name, net, images, eigen_smooth=True), torch.stack(expected))


def test_cam_is_the_linear_layers_weights_on_the_map() -> None:
    """arXiv:1512.04150 eq. 2; its mean plus the bias is the score, and Grad-CAM is the same map (arXiv:1610.02391)."""
    net, images = Pooled().double(), _images().double()
    pictures = [Picture(net, image, class_id) for image, class_id in zip(images, IDS, strict=True)]
    weight, bias = net.fc.weight.detach(), net.fc.bias.detach()
    maps = torch.stack([_by_channel(p.acts, weight[p.class_id].tolist()).sum(0) for p in pictures])
    scores = torch.stack([p.scores[p.class_id] for p in pictures])
    _agree(_ours("cam", net, images), maps.clamp(min=0))
    _agree(maps.mean((1, 2)) + bias[list(IDS)], scores)
    for name in ("grad-cam", "hires-cam", "xgrad-cam"):
        _agree(_ours(name, net, images) * maps[0].numel(), maps.clamp(min=0))


# Vision transformers: attention by hand.


def _vit(size: int = 24) -> nn.Module:
    """torchvision's, with three blocks and patches of 8x8."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torchvision.models.VisionTransformer(size, 8, 3, 2, 12, 24, num_classes=5)
    nets.fill(net)
    vit: nn.Module = net.eval()
    return vit


def _attention(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """softmax(q k / sqrt(d)) (heads, L, L) of tokens (L, D), and the values (heads, L, d)."""
    q, k, v = (x @ weight.T + bias).view(len(x), 3, heads, -1).permute(1, 2, 0, 3)
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(-1), v


def _vit_by_hand(net: Any, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """(A_l, what the head says of the mean of Z_l) for each block l, the graph from one to the other kept."""
    patches = net.conv_proj(image[None])[0].flatten(1).T
    x = torch.cat([net.class_token[0], patches]) + net.encoder.pos_embedding[0]
    weights, scores = [], []
    for block in net.encoder.layers:
        mix = block.self_attention
        attention, values = _attention(block.ln_1(x), mix.in_proj_weight, mix.in_proj_bias, mix.num_heads)
        weights.append(attention)
        x = x + mix.out_proj((attention @ values).transpose(0, 1).flatten(1))
        x = x + block.mlp(block.ln_2(x))
        scores.append(net.heads(net.encoder.ln(x.mean(0))))
    return weights, scores


def _on_tokens(name: str, net: nn.Module, images: Tensor, ids: Sequence[int], layer: str = "") -> Tensor:
    method = methods.get(name)
    (found,) = nets.layers_of(net, images, *([layer] if layer else []))
    return method.function(nets.run(net, images, [found], method.needs).at(OfClass(tuple(ids)), found))


def _le_grad(net: nn.Module, image: Tensor, class_id: int) -> Tensor:
    """Mean over blocks, heads and queries of relu(d s_l / d A_l), arXiv:2404.03214."""
    weights, scores = _vit_by_hand(net, image)
    total = torch.zeros(weights[0].shape[-1], dtype=image.dtype)
    for attention, score in zip(weights, scores, strict=True):
        (gradient,) = torch.autograd.grad(score[class_id], attention, retain_graph=True)
        for key in range(len(total)):
            total[key] += gradient[:, :, key].clamp(min=0).mean() / len(weights)
    return total[1:].view(3, 3)


def test_le_grad_agrees_with_the_papers_formula_and_torchcam() -> None:
    net, images, ids = _vit().double(), _images(24, 24, 2).double(), [1, 3]
    ours = _on_tokens("le-grad", net, images, ids)
    _agree(ours, torch.stack([_le_grad(net, image, i) for image, i in zip(images, ids, strict=True)]))
    with torchcam.methods.LeGrad(net, list(net.get_submodule("encoder.layers").children())) as extractor:
        net(images)
        _agree(ours, extractor(ids, normalized=False)[0])


def _rollout(weights: Sequence[Tensor]) -> Tensor:
    """R_l = (A_l / 2 + 1 / 2) R_{l-1}, heads averaged, entry by entry; each row is a distribution."""
    tokens = weights[0].shape[-1]
    rollout = torch.eye(tokens, dtype=torch.float64)
    for attention in weights:
        mixed = attention.double().mean(0) / 2 + torch.eye(tokens) / 2
        rows = [[sum(mixed[i, m] * rollout[m, j] for m in range(tokens)) for j in range(tokens)] for i in range(tokens)]
        rollout = torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(rollout.sum(1), torch.ones(tokens, dtype=torch.float64))
    return rollout


def test_attention_rollout_agrees_with_the_papers_formula() -> None:
    net, images = _vit().double(), _images(24, 24, 2).double()
    expected = [_rollout([a.detach() for a in _vit_by_hand(net, image)[0]])[0, 1:].view(3, 3) for image in images]
    ours = _on_tokens("attention-rollout", net, images, [1, 3])
    _agree(ours, torch.stack(expected))
    assert torch.equal(ours, _on_tokens("attention-rollout", net, images, [0, 0]))


@pytest.mark.parametrize(("read", "prefix"), [("mean", 0), ("class", 1), ("class", 5)])
def test_attention_rollout_leaves_registers_out_and_does_without_a_class_token(read: str, prefix: int) -> None:
    net, images = nets.Tokens(read, prefix).double(), _images(24, 16, 1).double()
    x = torch.cat([net.prefix[0], net.embed(images)[0].flatten(1).T]).detach()
    weights = []
    for norm, mix in zip(net.norms, net.mixes, strict=True):
        attention, _ = _attention(norm(x), mix.qkv.weight, mix.qkv.bias, 1)  # type: ignore[union-attr, arg-type]
        weights.append(attention.detach())
        x = x + mix(norm(x)[None])[0].detach()
    rollout = _rollout(weights)
    expected = (rollout[0] if prefix else rollout.mean(0))[prefix:].view(1, 3, 2)
    _agree(_on_tokens("attention-rollout", net, images, [1], "norm"), expected)


# Monte Carlo: the expectation, where it is known.


class Square(nn.Module):
    """y = sum w x^2: the gradient 2 w x of a noisy picture has a normal distribution around that of the clean one."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(nets.noise(*images.shape[1:], seed=5))

    def forward(self, x: Tensor) -> Tensor:
        score = (self.weight * x**2).sum((1, 2, 3))
        return torch.stack([score, -score], 1)


def _without_layer(name: str, net: nn.Module, images: Tensor) -> Tensor:
    method = methods.get(name)
    return method.function(nets.run(net, images, parts=method.needs).at(OfClass((0,) * len(images))))


def _normally_distributed(deviations: Tensor) -> None:
    """Independent deviations over their sigma: none far out, neither a bias nor a wrong sigma over all."""
    count = deviations.numel()
    assert (deviations.abs() > 3).double().mean() < 0.0027 + 3 * math.sqrt(0.0027 / count)
    assert deviations.mean().abs() < 3 / math.sqrt(count)
    assert abs((deviations**2).mean() - 1) < 3 * math.sqrt(2 / count)


def test_smooth_grad_and_var_grad_scatter_around_their_expectations() -> None:
    images = _images(40, 50, 1)
    net = Square(images)
    slope = 2 * net.weight.detach()
    sigma = 0.15 * (images.max() - images.min()) * slope.abs()
    deviations = (_without_layer("smooth-grad", net, images)[0] - slope * images[0]) / (sigma / math.sqrt(50))
    _normally_distributed(deviations)
    expected = (sigma**2 * 49 / 50).mean(0)  # a variance around the sample's own mean
    scatter = (2 * 49 / 50**2 * sigma**4).sum(0).sqrt() / 3  # of 50 squares of normals
    variances = (_without_layer("var-grad", net, images)[0] - expected) / scatter
    assert variances.mean().abs() < 3 / math.sqrt(variances.numel())
    assert abs((variances**2).mean() - 1) < 0.2  # chi-squared, not normal: heavier tails


class Brightness(nn.Module):
    """The probability of class 0 is the weighted brightness of a picture in [0, 1]."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        bright = (x * self.weight).sum((1, 2, 3)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([bright, 1 - bright], 1).log()


def test_rise_scatters_around_its_expectation() -> None:
    """E[p M_j] = sum_i w_i x_i E[M_i M_j]: of 49 independent cells for each of the four shifts, summed exactly."""
    image = _images(pictures=1).sigmoid()
    weight = nets.noise(3, *SIZE, seed=3).sigmoid()
    weight /= weight.sum()
    light = (weight * image[0]).sum(0).double().flatten()
    second = torch.zeros(len(light), len(light), dtype=torch.float64)
    for y in range(2):
        for x in range(2):
            rows, columns = _rows(16, 7)[y : y + SIZE[0]], _rows(16, 7)[x : x + SIZE[1]]
            cells = torch.einsum("ya,xb->yxab", rows, columns).reshape(len(light), 49)
            mean = cells.sum(1) / 2
            second += (mean[:, None] * mean + cells @ cells.T / 4) / 4
    expected = (second @ light).view(SIZE) / 0.5
    samples = torch.stack([(light.view(SIZE) * mask).sum() * mask / 0.5 for mask in _rise_masks(*SIZE, 4000)])
    found = _without_layer("rise", Brightness(weight), image)[0]  # less its smallest value
    deviations = (found - found.mean() - expected + expected.mean()) / (samples.std(0) / math.sqrt(4000))
    assert deviations.abs().max() < 3
    assert deviations.abs().max() > 0.1


class Channels(Signed):
    """The layer's map is the picture; the score is linear in it."""

    layer = "same"

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        self.weight = nn.Parameter(weight)
        with torch.no_grad():
            self.same.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        score = (self.weight * self.same(x)).sum((1, 2, 3))
        return torch.stack([score, -score], 1)


def test_ss_cams_noise_cancels_where_the_score_is_linear() -> None:
    """All channels get the same ten fields, so on a linear score the weights are Score-CAM's."""
    image = torch.zeros(1, 3, 9, 9)
    for k in range(3):
        image[0, k, :, 3 * k : 3 * k + 3] = nets.noise(9, 3, seed=k).sigmoid()
    net = Channels(nets.noise(3, 9, 9, seed=7) / 20)
    places = [(0, 4, 3 * k + 1) for k in range(3)]  # where channel k alone is lit
    (layer,) = nets.layers_of(net, image, "same")

    def log_weights(name: str, seed: int = 0) -> Tensor:
        method = methods.get(name)
        forward = Forward(Network(net, seed=seed, batch_size=64), image, [layer], method.needs)
        map_ = method.function(forward.at(OfClass((0,)), layer))
        return torch.stack([map_[place] / image[0, k][place[1:]] for k, place in enumerate(places)]).log()

    for seed in range(3):
        torch.testing.assert_close(log_weights("ss-cam", seed), log_weights("score-cam"), rtol=1e-4, atol=1e-4)


def test_random_cams_weights_are_uniform() -> None:
    """On a map of ones and zeros the map is relu(w), w uniform in [-1, 1]: mean 1/4, variance 1/6 - 1/16."""
    image = torch.zeros(1, 3, 2, 2)
    image[:, 0] = 1
    net = Channels(torch.ones(3, 2, 2))
    (layer,) = nets.layers_of(net, image, "same")
    drawn = []
    for seed in range(200):
        forward = Forward(Network(net, seed=seed), image, [layer])
        drawn.append(methods.get("random-cam").function(forward.at(OfClass((0,)), layer))[0, 0, 0])
    assert abs(torch.stack(drawn).mean() - 0.25) < 3 * math.sqrt((1 / 6 - 1 / 16) / 200)


@pytest.mark.parametrize("name", ["rise", "smooth-grad", "smooth-grad-cam-pp", "var-grad", "ss-cam", "random-cam"])
def test_another_seed_draws_other_numbers(name: str) -> None:
    net, images = Signed(), _images(pictures=1)
    assert _difference(_ours(name, net, images, IDS[:1], seed=1), _ours(name, net, images, IDS[:1])) > 1e-4


@pytest.mark.parametrize("name", ["score-cam", "ss-cam", "is-cam"])
def test_channels_that_are_dead_in_one_picture_change_nothing_for_it(name: str) -> None:
    """The batch decides which channels are scored, and so must not decide which noise they get."""
    net, images = Rectified().eval(), _images()
    with torch.no_grad():
        net.get_parameter("conv2.bias")[1] -= net.trunk(images)[:, 1].amax((1, 2)).median()
        alive = net.trunk(images).amax((2, 3)) > 0
    assert alive[:, 1].any()
    assert not alive[:, 1].all()
    together = _ours(name, net, images)
    for i in range(3):
        _agree(together[i], _ours(name, net, images[i : i + 1], IDS[i : i + 1])[0], 1e-5)


# What must hold whatever the formula.


@pytest.mark.parametrize("kind", NETS)
def test_integrated_gradients_sum_to_the_difference_of_the_scores(kind: str) -> None:
    """arXiv:1703.01365 prop. 1; the quadrature is exact on a polynomial and misses some of ReLU's kinks."""
    images = _images().double()
    square = Square(images).double()
    exact = _without_layer("integrated-gradients", square, images).sum((1, 2, 3))
    _agree(exact, square(images)[:, 0].detach())
    net = NETS[kind]().eval().double()
    with torch.no_grad():
        ids = torch.tensor(IDS)[:, None]
        expected = (net(images).gather(1, ids) - net(BLACK.double().expand_as(images)).gather(1, ids))[:, 0]
    _agree(_ours("integrated-gradients", net, images).sum((1, 2, 3)), expected, 5e-2)


@pytest.mark.parametrize("kind", NETS)
def test_full_gradients_sum_to_the_score(kind: str) -> None:
    """arXiv:1905.00780 prop. 1 on ReLU networks; the linear layer's bias is in no map."""
    net, images = NETS[kind]().eval().double(), _images().double()
    evidence = _evidence("full-grad", net, images)
    total = (evidence.input_grads * evidence.images).sum((1, 2, 3)) + net.fc.bias.detach()[list(IDS)]
    for term in evidence.bias_grads:
        total = total + term.sum((1, 2, 3))
    _agree(total, evidence.value)


def test_grad_x_input_sums_to_the_score_without_biases() -> None:
    net, images = Signed().double(), _images().double()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    _agree(_ours("grad-x-input", net, images).sum((1, 2, 3)), _evidence("grad-x-input", net, images).value)


def test_layer_cam_and_element_wise_part_where_activations_are_negative() -> None:
    images = _images()
    rectified, signed = Rectified().eval(), Pooled()
    assert torch.equal(_ours("layer-cam", rectified, images), _ours("grad-cam-elementwise", rectified, images))
    signed_maps = _ours("layer-cam", signed, images), _ours("grad-cam-elementwise", signed, images)
    assert _difference(*signed_maps) > 0.1


def test_second_derivative_of_a_logit_is_zero_behind_piecewise_linear_layers() -> None:
    """So Shapley-CAM of the logit is Grad-CAM, which is why the paper recommends the residual softmax target."""
    evidence = _evidence("shapley-cam", Rectified().eval(), _images())
    assert not evidence.curvature.any()
    ours = _ours("shapley-cam", Rectified().eval(), _images())
    assert _difference(ours, _ours("grad-cam", Rectified().eval(), _images())) > 1e-3


def test_finer_cam_without_rivals_is_grad_cam(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = Signed(), _images()
    methods.get("finer-cam")
    monkeypatch.setattr("camcli.methods.finer_cam.STRENGTH", 0.0)
    _agree(_ours("finer-cam", net, images), _ours("grad-cam", net, images))


def test_score_cams_weights_sum_to_one_over_channels_with_contrast() -> None:
    image = torch.zeros(1, 3, 9, 9)
    image[0, 0, :, :3], image[0, 1, :, 3:6], image[0, 2] = 2.0, 3.0, 5.0
    net = Channels(nets.noise(3, 9, 9))
    (layer,) = nets.layers_of(net, image, "same")
    map_ = methods.get("score-cam").function(nets.run(net, image, [layer]).at(OfClass((0,)), layer))[0]
    torch.testing.assert_close(map_[0, 0] / 2 + map_[0, 3] / 3, torch.tensor(1.0))
    assert not map_[:, 6:].any()  # the flat channel would be seen here


def test_opti_cams_mask_scores_no_less_than_equal_weights() -> None:
    net, images = Signed().double(), _images().double()
    for map_, image, class_id in zip(_ours("opti-cam", net, images), images, IDS, strict=True):
        picture = Picture(net, image, class_id)
        start = _own_mask(picture.acts.clamp(min=0).mean(0), picture.size)
        found, first = (picture.score(picture.black + m * (image - picture.black)) for m in (map_, start))
        assert found > first


class Dictionary(Signed):
    """Returns several outputs, which a tape can't stand for."""

    def forward(self, x: Tensor) -> Any:
        return {"scores": super().forward(x), "pixels": x}


class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(2 * x.numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return 2 * gradients[0]


class Opaque(Signed):
    """Ends outside of torch, where no TorchFunctionMode sees anything."""

    def forward(self, x: Tensor) -> Tensor:
        twice: Tensor = _Twice.apply(super().forward(x))
        return twice


class Branching(Signed):
    """Goes one way or the other by what the layer gives."""

    def head(self, acts: Tensor) -> Tensor:
        scores = super().head(acts)
        return scores if acts[:, 0].sum() > acts[:, 3].sum() else -scores


def _without_channel(k: int, channels: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook that zeroes one channel of a map, of tokens behind one class token, or of channels-last."""

    def zero(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        changed = output.clone()
        if output.ndim == 3:
            changed[:, 1:, k] = 0
        elif output.shape[1] == channels:
            changed[:, k] = 0
        else:
            changed[..., k] = 0
        return changed

    return zero


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "vit_b_32", "swin_t", "dictionary", "opaque", "branching"])
def test_ablation_from_the_layer_on_is_that_of_the_whole_network(name: str) -> None:
    own = {"dictionary": (Dictionary, "scores"), "opaque": (Opaque, None), "branching": (Branching, None)}
    if name in own:
        kind, key = own[name]
        net: nn.Module = kind()
        images, readout = _images(pictures=1), Readout(key)
        (layer,) = nets.layers_of(Signed(), images, "conv2")
        layer = replace(layer, module=net.get_submodule("conv2"))
    else:
        (net, images), readout = nets.zoo(name), PLAIN
        (layer,) = nets.layers_of(net, images)
    forward = nets.run(net, images, [layer], {"resume"}, readout)
    target = OfClass((int(forward.logits.argmax()),))
    acts = forward.activations(layer)
    channels = acts.amax((0, 2, 3)).topk(4).indices.tolist()

    def without(i: int) -> Tensor:
        changed = acts.clone()
        changed[:, channels[i]] = 0
        return changed

    resumed = forward.resume(target, layer, len(channels), without)[:, 0]
    assert forward._tape_is_right(layer) == (name not in own)

    for k, found in zip(channels, resumed, strict=True):
        hook = layer.module.register_forward_hook(_without_channel(k, acts.shape[1]))
        expected = readout.outputs(net, images).scores[0, target.ids[0]].detach()
        hook.remove()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(forward.values(target).abs()))
        assert found != forward.values(target)


def _permuted(net: Signed, order: Sequence[int], signs: Sequence[float]) -> Signed:
    """conv2's channels in another order, some negated."""
    changed = deepcopy(net)
    for parameter in changed.conv2.parameters():
        parameter.data = (parameter.data.movedim(0, -1) * torch.tensor(signs)).movedim(-1, 0)[list(order)]
    return changed


def test_eigen_cam_does_not_depend_on_the_channels_order_or_sign() -> None:
    net, images = Signed(), _images()
    changed = _permuted(net, [7, 2, 5, 0, 1, 6, 3, 4], [1, -1, 1, 1, -1, 1, 1, -1])
    _agree(_ours("eigen-cam", changed, images), _ours("eigen-cam", net, images), 1e-5)


# Against the peers, where they are right. Scores a million times as large make their epsilons vanish.


def _loud(kind: str, factor: float = 1e6) -> Signed:
    net = NETS[kind]().eval().double() if kind in NETS else Pooled().double()
    with torch.no_grad():
        net.fc.weight.mul_(factor)
        net.fc.bias.mul_(factor)
    return net


def _fine(maps: Tensor) -> Tensor:
    """As pytorch-grad-cam ends: each map scaled, upsampled to the picture and scaled again."""
    return torch.stack([_scaled(_upsample(_scaled(map_.double()), *SIZE)) for map_ in maps])


def _grad_cam_peer(
    peer: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS, target: Any = ClassifierOutputTarget, **call: Any
) -> Tensor:
    with getattr(pytorch_grad_cam, peer)(net, [net.get_submodule(net.layer)]) as extractor:
        return torch.from_numpy(extractor(images.clone().requires_grad_(), [target(i) for i in ids], **call))


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("grad-cam", "GradCAM"),
        ("hires-cam", "HiResCAM"),
        ("xgrad-cam", "XGradCAM"),
        ("layer-cam", "LayerCAM"),
        ("grad-cam-elementwise", "GradCAMElementWise"),
        ("grad-cam-pp", "GradCAMPlusPlus"),
    ],
)
def test_map_is_pytorch_grad_cams(name: str, peer: str, kind: str) -> None:
    net, images = _loud(kind), _images().double()
    _agree(_fine(_ours(name, net, images)), _grad_cam_peer(peer, net, images))


def test_ablation_cam_is_pytorch_grad_cams_where_activations_and_scores_are_positive() -> None:
    net, images = _loud("rectified"), _images().double()
    with torch.no_grad():
        net.fc.bias.add_(1e6)
    _agree(_fine(_ours("ablation-cam", net, images)), _grad_cam_peer("AblationCAM", net, images))


def test_shapley_cam_is_pytorch_grad_cams_with_the_papers_target() -> None:
    net, images = _loud("rectified", 100), _images().double()
    ours = _fine(_ours("shapley-cam", net, images))
    _agree(ours, _grad_cam_peer("ShapleyCAM", net, images, target=ClassifierOutputReST), 1e-5)
    logit = _grad_cam_peer("ShapleyCAM", net, images)
    _agree(logit, _grad_cam_peer("GradCAM", net, images))
    assert _difference(logit.double(), ours) > 1e-3


def test_refine_cam_is_pytorch_grad_cams() -> None:
    net, images = _loud("rectified"), _images().double()
    refine = pytorch_grad_cam.RefineCAM(net, [net.conv1, net.get_submodule(net.layer)])
    theirs = torch.from_numpy(refine(images, [ClassifierOutputTarget(i) for i in IDS]))
    _agree(torch.stack([_scaled(map_) for map_ in _ours("refine-cam", net, images)]), theirs, 1e-5)


@pytest.mark.parametrize(("name", "peer"), [("eigen-grad-cam", "EigenGradCAM"), ("kpca-cam", "KPCA_CAM")])
@pytest.mark.parametrize("kind", NETS)
def test_component_is_pytorch_grad_cams_but_for_its_sign(name: str, peer: str, kind: str) -> None:
    """numpy's and scikit-learn's singular vectors have the sign that the algorithm happened to give them."""
    net, images = _loud(kind), _images().double()
    ours = _ours(name, net, images)
    extractor = getattr(pytorch_grad_cam, peer)(net, [net.get_submodule(net.layer)])
    for image, class_id, map_ in zip(images, IDS, ours, strict=True):
        picture = Picture(net, image, class_id)
        arrays = picture.acts[None].numpy(), picture.grads[None].numpy()
        theirs = torch.from_numpy(extractor.get_cam_image(None, None, None, *arrays, False))[0].double()
        assert min(_difference(map_.double(), (sign * theirs).relu()) for sign in (1, -1)) <= 1e-6


def _torchcam(
    peer: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS, noise: Callable[[Any], Tensor] | None = None
) -> Tensor:
    with getattr(torchcam.methods, peer)(net, net.layer) as extractor:
        if noise is not None:
            extractor.num_samples = 10
            extractor._distrib.sample = noise
        scores = net(images.clone().requires_grad_())
        (map_,) = extractor(list(ids), scores, normalized=False)
    result: Tensor = map_.detach().relu()
    return result


@pytest.mark.parametrize(
    ("name", "peer", "kind"),
    [
        ("cam", "CAM", "pooled"),
        ("xgrad-cam", "XGradCAM", "rectified"),
        ("layer-cam", "LayerCAM", "signed"),
        ("layer-cam", "LayerCAM", "rectified"),
        ("finer-cam", "FinerCAM", "signed"),
        ("finer-cam", "FinerCAM", "rectified"),
    ],
)
def test_map_is_torchcams(name: str, peer: str, kind: str) -> None:
    net, images = _loud(kind), _images().double()
    _agree(_ours(name, net, images), _torchcam(peer, net, images))


def test_attributions_are_captums() -> None:
    net, images = Rectified().eval().double(), _images().double()
    ids = torch.tensor(IDS)
    black = BLACK.double().expand_as(images)
    gradients, leaf = captum.attr.IntegratedGradients(net), images.clone().requires_grad_()
    ours = _ours("integrated-gradients", net, images)
    _agree(ours, gradients.attribute(leaf, black, ids, n_steps=50))
    grey = gradients.attribute(leaf, target=ids, n_steps=50)  # captum's default: zeros, which are no black
    assert _difference(ours, grey) > 0.1
    _agree(_ours("grad-x-input", net, images), captum.attr.InputXGradient(net).attribute(leaf, ids).detach())


def test_occlusion_is_captums_where_the_squares_end_at_the_border() -> None:
    net, images = Rectified().eval().double(), _images(28, 34).double()
    theirs = captum.attr.Occlusion(net).attribute(images, (3, 4, 4), strides=(3, 2, 2), target=torch.tensor(IDS))
    _agree(_ours("occlusion", net, images), theirs[:, 0].relu())


@pytest.mark.parametrize("name", ["smooth-grad", "var-grad"])
def test_noise_tunnel_is_captums_given_the_same_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """captum's own deviation is absolute, and its saliency unsigned by default, which is no mean of gradients."""
    net, images = Rectified().eval().double(), _images(pictures=1).double()
    normals = Picture(net, images[0], IDS[0]).normals(*images.shape[1:])
    noise = torch.stack([next(normals) for _ in range(50)])
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: deviation * noise)
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(net))
    deviation = 0.15 * float(images.max() - images.min())
    options = {"nt_type": name.replace("-", ""), "nt_samples": 50, "stdevs": deviation, "target": IDS[0]}
    theirs = tunnel.attribute(images.clone().requires_grad_(), abs=False, **options)
    ours = _ours(name, net, images, IDS[:1])
    _agree(ours, theirs if name == "smooth-grad" else theirs.mean(1))
    if name == "smooth-grad":
        assert _difference(ours.abs(), tunnel.attribute(images.clone().requires_grad_(), **options)) > 0.1


# Where the peers are wrong: they differ from the reference, and ours does not.


def _ours_is_right(name: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS) -> Tensor:
    ours = _ours(name, net, images, ids)
    _agree(ours, _reference(name, net, images, ids))
    return ours


def test_grad_cam_pps_epsilon_in_pytorch_grad_cam_outweighs_small_gradients() -> None:
    """It adds 1e-6 to 2 g^2 + ..., and behind an average over the map g^2 is no larger than that."""
    net, images = _loud("rectified", 0.1), _images().double()
    ours = _fine(_ours_is_right("grad-cam-pp", net, images))
    assert _difference(_grad_cam_peer("GradCAMPlusPlus", net, images).double(), ours) > 1e-2


def test_score_cam_in_pytorch_grad_cam_upsamples_with_corners_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its masks lie beside what the layer saw (and beside its own final map); with ours it gives our map."""
    net, images = _loud("signed", 10), _images().double()
    ours = _fine(_ours_is_right("score-cam", net, images))
    assert _difference(_grad_cam_peer("ScoreCAM", net, images).double(), ours) > 1e-3

    def upsampling(size: tuple[int, int]) -> nn.Module:
        return nn.Upsample(size, mode="bilinear", align_corners=False)

    monkeypatch.setattr(nn, "UpsamplingBilinear2d", upsampling)
    _agree(_grad_cam_peer("ScoreCAM", net, images), ours, 1e-5)


def test_eigen_cam_in_pytorch_grad_cam_turns_over_with_the_channels_order() -> None:
    """It centres, unlike the paper, and takes whichever sign the decomposition gives: then it cuts the other half."""
    net, images = Signed().double(), _images().double()
    changed = _permuted(net, range(7, -1, -1), [1] * 8)
    _agree(_ours_is_right("eigen-cam", net, images), _ours("eigen-cam", changed, images))
    found = []
    for one in (net, changed):
        extractor = pytorch_grad_cam.EigenCAM(one, [one.conv2])
        acts = one.trunk(images).detach()
        found.append(torch.from_numpy(extractor.get_cam_image(None, None, None, acts.numpy(), None, False)))
    signs = [float((a * b).sum().sign()) for a, b in zip(*found, strict=True)]
    assert -1.0 in signs
    for sign, theirs, other, map_ in zip(signs, *found, net.trunk(images).detach(), strict=True):
        _agree(sign * theirs, other, 1e-5)
        assert min(_difference(theirs, turn * _component(map_, centred=True).float()) for turn in (1, -1)) < 1e-5


def test_full_grad_in_pytorch_grad_cam_scales_each_channel_alone() -> None:
    """A channel without any say gets a peak of 1 like all others; the authors' code scales a layer as a whole."""
    net, images = _loud("signed"), _images().double()
    ours = torch.stack([_scaled(map_) for map_ in _ours_is_right("full-grad", net, images)])
    with pytorch_grad_cam.FullGrad(net, []) as extractor:
        targets = [ClassifierOutputTarget(i) for i in IDS]
        theirs = torch.from_numpy(extractor(images.clone().requires_grad_(), targets))
    assert _difference(theirs.double(), ours) > 0.1


def test_finer_cam_in_pytorch_grad_cam_weighs_by_probabilities_that_it_differentiates() -> None:
    """The paper's mean over similar classes has equal weights that depend on nothing."""
    net, images = _loud("signed", 10), _images(pictures=1).double()
    ours = _fine(_ours_is_right("finer-cam", net, images, IDS[:1]))
    extractor = pytorch_grad_cam.FinerCAM(net, [net.conv2])
    theirs = torch.from_numpy(extractor(images.clone(), alpha=0.6, target_idx=IDS[0]))
    assert _difference(theirs.double(), ours) > 1e-3


def test_ablation_cam_in_pytorch_grad_cam_turns_over_below_zero_and_never_zeroes_signed_maps() -> None:
    """It divides by y with its sign, and where a map's least value is not 0 it writes that less ten million."""
    net, images = _loud("rectified"), _images().double()
    with torch.no_grad():
        net.fc.bias.sub_(1e6)
    ours = _fine(_ours_is_right("ablation-cam", net, images))
    assert _difference(_grad_cam_peer("AblationCAM", net, images).double(), ours) > 0.1
    net = _loud("pooled")
    with torch.no_grad():
        net.fc.bias.add_(1e6)
    ours = _fine(_ours_is_right("ablation-cam", net, images))
    assert _difference(_grad_cam_peer("AblationCAM", net, images).double(), ours) > 0.1


def test_grad_cam_pp_in_torchcam_never_divides_its_alphas() -> None:
    """`alpha[mask].div_(…)` divides a copy: what it calls weights is sum relu(g)^3. RefineCAM builds on it."""
    net, images = Rectified().eval().double(), _images().double()
    ours = _ours_is_right("grad-cam-pp", net, images)
    theirs = _torchcam("GradCAMpp", net, images)
    cubes = [
        _by_channel(p.acts, [float((g.clamp(min=0) ** 3).sum()) for g in p.grads]).sum(0).clamp(min=0)
        for p in (Picture(net, image, class_id) for image, class_id in zip(images, IDS, strict=True))
    ]
    _agree(theirs, torch.stack(cubes))
    assert _difference(theirs / theirs.max(), ours / ours.max()) > 0.05


def test_smooth_grad_cam_pp_in_torchcam_keeps_the_last_noisy_copy() -> None:
    """relu(D_1) is the last copy's gradient alone, and the last noisy copy's map is weighted, not the clean one's.

    And alpha has sum_ab(A_ab D_3,ab), one number a channel, for D_3,ij sum_ab(A_ab).
    """
    net, images = _loud("rectified", 1e4), _images(pictures=1).double()
    ours = _ours_is_right("smooth-grad-cam-pp", net, images, IDS[:1])
    picture = Picture(net, images[0], IDS[0])
    copies = picture.copies(10, 0.1)
    noise = iter([copy - picture.image for copy in copies])
    theirs = _torchcam("SmoothGradCAMpp", net, images, IDS[:1], lambda size: next(noise)[None])
    assert _difference(theirs, ours) > 1e-2
    grads = [picture.grads_at(copy) for copy in copies]
    second, third = _mean(g**2 for g in grads), _mean(g**3 for g in grads)
    alphas = second / (2 * second + (third * picture.acts).sum((1, 2), keepdim=True)).where(second > 0, 1.0)
    weights = (alphas * grads[-1].clamp(min=0)).sum((1, 2)).tolist()
    last = net.trunk(copies[-1][None])[0].detach()
    _agree(theirs[0], _by_channel(last, weights).sum(0).clamp(min=0), 1e-5)


def _coarse_mask(channel: Tensor, size: tuple[int, int]) -> Tensor:
    return _upsample(_scaled(channel), *size)


def _with_coarse_masks(net: Signed, images: Tensor, strengths: Sequence[float]) -> Tensor:
    """Score-CAM with masks scaled before they are upsampled, and scores averaged over these strengths."""

    def map_of(picture: Picture) -> Tensor:
        def score(mask: Tensor) -> Tensor:
            return _mean(picture.score(strength * mask * picture.image) for strength in strengths)

        return _masked(picture, score, _coarse_mask)

    return torch.stack([map_of(Picture(net, image, i)) for image, i in zip(images, IDS, strict=True)])


def test_score_cam_in_torchcam_scales_its_masks_before_it_upsamples_them() -> None:
    """The paper's masks reach from 0 to 1 on the picture; upsampled after scaling they no longer do."""
    net, images = _loud("signed", 10), _images().double()
    ours, theirs = _ours_is_right("score-cam", net, images), _torchcam("ScoreCAM", net, images)
    _agree(theirs, _with_coarse_masks(net, images, [1.0]))
    assert _difference(theirs, ours) > 1e-3


def test_is_cam_in_torchcam_brightens_up_to_five_and_a_half_times() -> None:
    """It adds i/10 up instead of stepping through them: 0.1, 0.3, … 5.5 are no integral from 0 to 1."""
    net, images = _loud("signed", 10), _images().double()
    ours, theirs = _ours_is_right("is-cam", net, images), _torchcam("ISCAM", net, images)
    _agree(theirs, _with_coarse_masks(net, images, [i * (i + 1) / 20 for i in range(1, 11)]))
    assert _difference(theirs, _with_coarse_masks(net, images, [i / 10 for i in range(1, 11)])) > 0.05
    assert _difference(theirs, ours) > 0.05
