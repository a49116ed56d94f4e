"""Each method's formula, slowly, from its paper, and networks that can be taken apart to follow it.

A reference sees one picture, works in float64 from a network taken apart by hand, and never sees `Evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from functools import cache

import nets
import torch
from torch import Tensor, nn

from camcli import methods
from camcli.network.evidence import Evidence
from camcli.network.forward import Forward
from camcli.network.network import Network
from camcli.tasks.targets import OfClass

SIZE = (9, 14)
IDS = (4, 0, 2)
BLACK = torch.tensor([-2.0, -1.5, -1.8])[:, None, None]


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


def batch(height: int = SIZE[0], width: int = SIZE[1], pictures: int = 3) -> Tensor:
    return nets.noise(pictures, 3, height, width)


def evidence(
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


def ours(
    name: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS, *, eigen_smooth: bool = False, seed: int = 0
) -> Tensor:
    return methods.get(name).function(evidence(name, net, images, ids, eigen_smooth=eigen_smooth, seed=seed))


def difference(one: Tensor, other: Tensor) -> float:
    """The largest, as a share of the other's largest value."""
    assert one.shape == other.shape
    assert other.abs().max() > 0
    return ((one - other).abs().max() / other.abs().max()).item()


def agree(ours: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    assert difference(ours.double(), expected.double()) <= tolerance


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
def rows(fine: int, coarse: int) -> Tensor:
    """(fine, coarse): linear interpolation, centres at half: source = (i + 1/2) * coarse / fine - 1/2, clamped."""
    rows = torch.zeros(fine, coarse, dtype=torch.float64)
    for i in range(fine):
        source = max((i + 0.5) * coarse / fine - 0.5, 0.0)
        low = int(source)
        rows[i, low] += 1 - (source - low)
        rows[i, min(low + 1, coarse - 1)] += source - low
    return rows


def upsample(map_: Tensor, height: int, width: int) -> Tensor:
    """Bilinear."""
    return rows(height, map_.shape[0]) @ map_ @ rows(width, map_.shape[1]).T


def mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean(0)


def scaled(values: Tensor) -> Tensor:
    """To [0, 1]; a flat one to 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else values * 0


def by_channel(acts: Tensor, weights: Sequence[float]) -> Tensor:
    return torch.stack([weight * channel for weight, channel in zip(weights, acts, strict=True)])


def _alphas(picture: Picture, grads: Tensor) -> list[float]:
    """1/Z sum_ij g_ij, arXiv:1610.02391 eq. 1."""
    return [sum(float(grads[k, i, j]) for i, j in picture.places) / len(picture.places) for k in range(len(grads))]


def _grad_cam(picture: Picture) -> Tensor:
    return by_channel(picture.acts, _alphas(picture, picture.grads))


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
    return by_channel(picture.acts, _plus_plus(picture.acts, g, g**2, g**3))


def _smooth_grad_cam_pp(picture: Picture) -> Tensor:
    """arXiv:1908.01224: D_n the mean of g^n over noisy copies; A is the clean picture's."""
    grads = [picture.grads_at(copy) for copy in picture.copies(10, 0.1)]
    d1, d2, d3 = (mean(g**n for g in grads) for n in (1, 2, 3))
    return by_channel(picture.acts, _plus_plus(picture.acts, d1, d2, d3))


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
    return by_channel(picture.acts, weights)


def _shapley_cam(picture: Picture) -> Tensor:
    """w_k = mean_ij(g - H A / 2) with the whole Hessian H of y + log softmax(y), arXiv:2501.06261."""

    def utility(flat: Tensor) -> Tensor:
        scores = picture.behind(flat.view_as(picture.acts))
        return scores[picture.class_id] + scores.log_softmax(0)[picture.class_id]

    flat = picture.acts.flatten()
    hessian: Tensor = torch.autograd.functional.hessian(utility, flat)  # type: ignore[no-untyped-call]
    return by_channel(
        picture.acts, _alphas(picture, (_slope(utility, flat) - hessian @ flat / 2).view_as(picture.acts))
    )


def _rivals(picture: Picture) -> list[int]:
    """The three classes other than c whose logits are nearest to c's."""
    others = [k for k in range(len(picture.scores)) if k != picture.class_id]
    return sorted(others, key=lambda k: abs(float(picture.scores[k] - picture.scores[picture.class_id])))[:3]


def _finer_cam(picture: Picture) -> Tensor:
    """1/T sum_t alpha^(c,t) A with alpha^(c,t) of y_c - 0.6 y_t, arXiv:2501.11309 eq. 3-5."""
    contrasts = [picture.grads - 0.6 * picture.grads_of(rival) for rival in _rivals(picture)]
    return mean(by_channel(picture.acts, _alphas(picture, contrast)) for contrast in contrasts)


def _random_cam(picture: Picture) -> Tensor:
    weights = torch.empty(picture.channels, dtype=picture.dtype)
    return by_channel(picture.acts, weights.uniform_(-1, 1, generator=torch.Generator().manual_seed(0)).tolist())


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


def component(channels: Tensor, *, centred: bool) -> Tensor:
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
    return component(picture.acts, centred=False).clamp(min=0)


def _eigen_grad_cam(picture: Picture) -> Tensor:
    return component(picture.grads * picture.acts, centred=True).clamp(min=0)


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


def own_mask(channel: Tensor, size: tuple[int, int]) -> Tensor:
    return scaled(upsample(channel, *size))


def masked(
    picture: Picture,
    score: Callable[[Tensor], Tensor],
    mask: Callable[[Tensor, tuple[int, int]], Tensor] = own_mask,
) -> Tensor:
    """relu(sum_k softmax_k(score of mask k) A_k); channels without contrast mask nothing and weigh 0."""
    map_ = torch.zeros_like(picture.acts[0])
    contrast = [k for k in range(picture.channels) if picture.acts[k].max() > picture.acts[k].min()]
    scores = [float(score(mask(picture.acts[k], picture.size))) for k in contrast]
    for k, value in zip(contrast, scores, strict=True):
        map_ += math.exp(value) / sum(map(math.exp, scores)) * picture.acts[k]
    return map_.clamp(min=0)


def _score_cam(picture: Picture) -> Tensor:
    return masked(picture, lambda mask: picture.score(mask * picture.image))


def _ss_cam(picture: Picture) -> Tensor:
    fields = next(picture.normals(10, *picture.size))
    return masked(picture, lambda mask: mean(picture.score((mask + 2 * noise) * picture.image) for noise in fields))


def _is_cam(picture: Picture) -> Tensor:
    return masked(picture, lambda mask: mean(picture.score(i / 10 * mask * picture.image) for i in range(1, 11)))


def _ablation_cam(picture: Picture) -> Tensor:
    """w_k = (y - y_k) / |y|, y_k with channel k set to zero, doi:10.1109/WACV45572.2020.9093360 eq. 4-5."""
    score = float(picture.scores[picture.class_id])
    weights = []
    for k in range(picture.channels):
        without = torch.cat([picture.acts[:k], torch.zeros_like(picture.acts[:1]), picture.acts[k + 1 :]])
        weights.append((score - float(picture.behind(without)[picture.class_id])) / abs(score))
    return by_channel(picture.acts, weights).sum(0).clamp(min=0)


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
    map_ = scaled((picture.gradient(picture.image) * picture.image).abs()).sum(0)
    for module, _, grads in _watched(picture, (nn.Conv2d, nn.BatchNorm2d)):
        channels = int(getattr(module, "in_channels", 0) or getattr(module, "num_features", 0))
        bias = module(torch.zeros(1, channels, 5, 5, dtype=torch.float64))[0, :, 2, 2]
        for channel in scaled((bias[:, None, None] * grads[0]).abs()):
            map_ = map_ + upsample(channel, *picture.size)
    return map_


def _refine_cam(picture: Picture) -> Tensor:
    """The product over stages of Grad-CAM++, scaled, upsampled and scaled again, arXiv:2605.14641 sec. 4."""
    map_ = torch.ones(picture.size, dtype=torch.float64)
    stages = {picture.net.conv1, picture.net.get_submodule(picture.net.layer)}
    for module, acts, grads in _watched(picture, (nn.Module,)):
        if module in stages:
            weights = _plus_plus(acts[0], grads[0], grads[0] ** 2, grads[0] ** 3)
            base = by_channel(acts[0], weights).sum(0).clamp(min=0)
            map_ = map_ * own_mask(scaled(base), picture.size)
    return map_


def _opti_cam(picture: Picture) -> Tensor:
    """The mask after Adam, written out, has looked for the highest score of masked pictures, arXiv:2301.07002."""

    def mask(u: Tensor) -> Tensor:
        weights = u.exp() / u.exp().sum()
        return own_mask((weights[:, None, None] * picture.acts.clamp(min=0)).sum(0), picture.size)

    def score(u: Tensor) -> Tensor:
        return picture.score(picture.black + mask(u) * (picture.image - picture.black))

    u = best = torch.full((picture.channels,), 0.5, dtype=torch.float64)
    mean, square = torch.zeros_like(u), torch.zeros_like(u)
    for step in range(1, 101):
        best = u if score(u) > score(best) else best
        gradient = -_slope(score, u)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        u = u - 0.1 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
    return mask(u if score(u) > score(best) else best)


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
    return mean(picture.gradient(copy) for copy in picture.copies(50, 0.15))


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


def rise_masks(height: int, width: int, count: int) -> Iterator[Tensor]:
    """7 x 7 cells open with chance 1/2, upsampled to a cell more than the picture, shifted by less than a cell."""
    generator = torch.Generator().manual_seed(0)
    cell_y, cell_x = math.ceil(height / 7), math.ceil(width / 7)
    for _ in range(count):
        cells = (torch.rand(1, 1, 7, 7, generator=generator) < 0.5)[0, 0].double()
        y = int(torch.randint(cell_y, (1,), generator=generator))
        x = int(torch.randint(cell_x, (1,), generator=generator))
        yield upsample(cells, 8 * cell_y, 8 * cell_x)[y : y + height, x : x + width]


def _rise(picture: Picture) -> Tensor:
    total = torch.zeros(picture.size, dtype=torch.float64)
    for mask in rise_masks(*picture.size, 4000):
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


def reference(name: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS) -> Tensor:
    pictures = [Picture(net, image, class_id) for image, class_id in zip(images, ids, strict=True)]
    if name in WEIGHTED:
        return torch.stack([WEIGHTED[name](picture).sum(0).clamp(min=0) for picture in pictures])
    return torch.stack([WHOLE[name](picture) for picture in pictures])


def permuted(net: Signed, order: Sequence[int], signs: Sequence[float]) -> Signed:
    """conv2's channels in another order, some negated."""
    changed = deepcopy(net)
    for parameter in changed.conv2.parameters():
        parameter.data = (parameter.data.movedim(0, -1) * torch.tensor(signs)).movedim(-1, 0)[list(order)]
    return changed
