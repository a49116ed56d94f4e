"""Each method against its paper's formula, and its known properties."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import formulas
import nets
import pytest
import torch
import torchcam.methods
import torchvision
from formulas import BLACK, IDS, NETS, SIZE, WEIGHTED, WHOLE, Picture, Pooled, Rectified, Signed
from torch import Tensor, nn

from camcli import methods
from camcli.errors import SetupError
from camcli.network import variants
from camcli.network.evidence import Evidence
from camcli.network.forward import Forward
from camcli.network.network import Network
from camcli.tasks.classify import PLAIN, Classify
from camcli.tasks.targets import OfClass

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "dtype",
    [pytest.param(torch.float32, marks=pytest.mark.exhaustive), torch.float64],
    ids=["float32", "float64"],
)
@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("name", [name for name in (*WEIGHTED, *WHOLE) if name != "rise"])
def test_agrees_with_the_papers_formula(name: str, kind: str, dtype: torch.dtype) -> None:
    """To rounding: float32 loses digits where scores nearly cancel, and Adam multiplies what is lost."""
    net = NETS[kind]().eval().to(dtype)
    images = (formulas.batch(29, 34) if name == "occlusion" else formulas.batch()).to(dtype)
    formulas.agree(
        formulas.ours(name, net, images),
        formulas.reference(name, net, images),
        5e-5 if dtype == torch.float32 else 1e-6,
    )


@pytest.mark.exhaustive
def test_rise_agrees_with_the_papers_formula() -> None:
    images = formulas.batch(pictures=2).double()
    formulas.agree(
        formulas.ours("rise", Signed().double(), images, IDS[:2]), formulas.reference("rise", Signed(), images, IDS[:2])
    )


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_eigen_smooth_is_the_first_component_of_what_would_be_summed(name: str, kind: str) -> None:
    net, images = NETS[kind]().eval().double(), formulas.batch().double()
    pictures = [Picture(net, image, class_id) for image, class_id in zip(images, IDS, strict=True)]
    expected = [formulas.component(WEIGHTED[name](picture), centred=True).clamp(min=0) for picture in pictures]
    formulas.agree(formulas.ours(name, net, images, eigen_smooth=True), torch.stack(expected))


def test_cam_is_the_linear_layers_weights_on_the_map() -> None:
    """arXiv:1512.04150 eq. 2; its mean plus the bias is the score, and Grad-CAM is the same map (arXiv:1610.02391)."""
    net, images = Pooled().double(), formulas.batch().double()
    pictures = [Picture(net, image, class_id) for image, class_id in zip(images, IDS, strict=True)]
    weight, bias = net.fc.weight.detach(), net.fc.bias.detach()
    maps = torch.stack([formulas.by_channel(p.acts, weight[p.class_id].tolist()).sum(0) for p in pictures])
    scores = torch.stack([p.scores[p.class_id] for p in pictures])
    formulas.agree(formulas.ours("cam", net, images), maps.clamp(min=0))
    formulas.agree(maps.mean((1, 2)) + bias[list(IDS)], scores)
    for name in ("grad-cam", "hires-cam", "xgrad-cam"):
        formulas.agree(formulas.ours(name, net, images) * maps[0].numel(), maps.clamp(min=0))


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
    return method.function(Evidence(nets.run(net, images, [found], method.needs), OfClass(tuple(ids)), found))


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
    net, images, ids = _vit().double(), formulas.batch(24, 24, 2).double(), [1, 3]
    ours = _on_tokens("le-grad", net, images, ids)
    formulas.agree(ours, torch.stack([_le_grad(net, image, i) for image, i in zip(images, ids, strict=True)]))
    with torchcam.methods.LeGrad(net, list(net.get_submodule("encoder.layers").children())) as extractor:
        net(images)
        formulas.agree(ours, extractor(ids, normalized=False)[0])


def _shapley_on_tokens(net: nn.Module, module: nn.Module, prefix: int, image: Tensor, class_id: int) -> Tensor:
    """mean over places of g - H A / 2, H and A over the patches alone: the players are the map's places."""
    kept: list[Tensor] = []
    hook = module.register_forward_hook(lambda module, args, output: kept.append(output.detach()))
    net(image[None])
    hook.remove()
    tokens = kept[0]

    def utility(patches: Tensor) -> Tensor:
        given = torch.cat([tokens[:, :prefix], patches.view(1, -1, tokens.shape[2])], 1)
        hook = module.register_forward_hook(lambda module, args, output: given)
        scores = net(image[None])[0]
        hook.remove()
        utility: Tensor = scores[class_id] + scores.log_softmax(0)[class_id]
        return utility

    acts = tokens[0, prefix:]
    flat = acts.flatten().clone().requires_grad_()
    (slope,) = torch.autograd.grad(utility(flat), flat)
    hessian: Tensor = torch.autograd.functional.hessian(utility, flat.detach())  # type: ignore[no-untyped-call]
    weights = (slope - hessian @ flat.detach() / 2).view_as(acts).mean(0)
    return (acts * weights).sum(1).relu()


@pytest.mark.parametrize(
    ("kind", "layer", "prefix"),
    [
        (lambda: nets.Tokens("class", prefix=1), "norms.1", 1),
        (lambda: nets.Tokens("class", prefix=5), "norms.1", 5),
        (lambda: nets.Tokens("attention", prefix=2), "norm", 2),
        (lambda: nets.Tokens("mean", prefix=0), "norms.1", 0),
        (nets.PatchTransformer, "before", 1),
    ],
)
def test_shapley_cams_players_are_the_maps_places(kind: Callable[[], nn.Module], layer: str, prefix: int) -> None:
    """The class token's share of H A was added to every patch's weight: up to a quarter of the map's maximum."""
    net, images, ids = kind().double().eval(), formulas.batch(16, 24, 2).double(), [1, 3]
    module = net.get_submodule(layer)
    pairs = zip(images, ids, strict=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the fused have no second derivative
        expected = [_shapley_on_tokens(net, module, prefix, image, i).view(2, 3) for image, i in pairs]
    formulas.agree(_on_tokens("shapley-cam", net, images, ids, layer), torch.stack(expected))


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
    net, images = _vit().double(), formulas.batch(24, 24, 2).double()
    expected = [_rollout([a.detach() for a in _vit_by_hand(net, image)[0]])[0, 1:].view(3, 3) for image in images]
    ours = _on_tokens("attention-rollout", net, images, [1, 3])
    formulas.agree(ours, torch.stack(expected))
    assert torch.equal(ours, _on_tokens("attention-rollout", net, images, [0, 0]))


@pytest.mark.parametrize(("read", "prefix"), [("mean", 0), ("class", 1), ("class", 5)])
def test_attention_rollout_leaves_registers_out_and_does_without_a_class_token(read: str, prefix: int) -> None:
    net, images = nets.Tokens(read, prefix).double(), formulas.batch(24, 16, 1).double()
    x = torch.cat([net.prefix[0], net.embed(images)[0].flatten(1).T]).detach()
    weights = []
    for norm, mix in zip(net.norms, net.mixes, strict=True):
        attention, _ = _attention(norm(x), mix.qkv.weight, mix.qkv.bias, 1)  # type: ignore[union-attr, arg-type]
        weights.append(attention.detach())
        x = x + mix(norm(x)[None])[0].detach()
    rollout = _rollout(weights)
    expected = (rollout[0] if prefix else rollout.mean(0))[prefix:].view(1, 3, 2)
    formulas.agree(_on_tokens("attention-rollout", net, images, [1], "norm"), expected)


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
    return method.function(Evidence(nets.run(net, images, parts=method.needs), OfClass((0,) * len(images))))


def _normally_distributed(deviations: Tensor) -> None:
    """Independent deviations over their sigma: none far out, neither a bias nor a wrong sigma over all."""
    count = deviations.numel()
    assert (deviations.abs() > 3).double().mean() < 0.0027 + 3 * math.sqrt(0.0027 / count)
    assert deviations.mean().abs() < 3 / math.sqrt(count)
    assert abs((deviations**2).mean() - 1) < 3 * math.sqrt(2 / count)


def test_smooth_grad_and_var_grad_scatter_around_their_expectations() -> None:
    images = formulas.batch(40, 50, 1)
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


@pytest.mark.exhaustive
def test_rise_scatters_around_its_expectation() -> None:
    """E[p M_j] = sum_i w_i x_i E[M_i M_j]: of 49 independent cells for each of the four shifts, summed exactly."""
    image = formulas.batch(pictures=1).sigmoid()
    weight = nets.noise(3, *SIZE, seed=3).sigmoid()
    weight /= weight.sum()
    light = (weight * image[0]).sum(0).double().flatten()
    second = torch.zeros(len(light), len(light), dtype=torch.float64)
    for y in range(2):
        for x in range(2):
            rows, columns = formulas.rows(16, 7)[y : y + SIZE[0]], formulas.rows(16, 7)[x : x + SIZE[1]]
            cells = torch.einsum("ya,xb->yxab", rows, columns).reshape(len(light), 49)
            mean = cells.sum(1) / 2
            second += (mean[:, None] * mean + cells @ cells.T / 4) / 4
    expected = (second @ light).view(SIZE) / 0.5
    samples = torch.stack([(light.view(SIZE) * mask).sum() * mask / 0.5 for mask in formulas.rise_masks(*SIZE, 4000)])
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
        map_ = method.function(Evidence(forward, OfClass((0,)), layer))
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
        drawn.append(methods.get("random-cam").function(Evidence(forward, OfClass((0,)), layer))[0, 0, 0])
    assert abs(torch.stack(drawn).mean() - 0.25) < 3 * math.sqrt((1 / 6 - 1 / 16) / 200)


@pytest.mark.parametrize("name", ["rise", "smooth-grad", "smooth-grad-cam-pp", "var-grad", "ss-cam", "random-cam"])
def test_another_seed_draws_other_numbers(name: str) -> None:
    net, images = Signed(), formulas.batch(pictures=1)
    assert (
        formulas.difference(
            formulas.ours(name, net, images, IDS[:1], seed=1), formulas.ours(name, net, images, IDS[:1])
        )
        > 1e-4
    )


@pytest.mark.parametrize("name", ["score-cam", "ss-cam", "is-cam"])
def test_channels_that_are_dead_in_one_picture_change_nothing_for_it(name: str) -> None:
    """The batch decides which channels are scored, and so must not decide which noise they get."""
    net, images = Rectified().eval(), formulas.batch()
    with torch.no_grad():
        net.get_parameter("conv2.bias")[1] -= net.trunk(images)[:, 1].amax((1, 2)).median()
        alive = net.trunk(images).amax((2, 3)) > 0
    assert alive[:, 1].any()
    assert not alive[:, 1].all()
    together = formulas.ours(name, net, images)
    for i in range(3):
        formulas.agree(together[i], formulas.ours(name, net, images[i : i + 1], IDS[i : i + 1])[0], 1e-5)


# What must hold whatever the formula.


@pytest.mark.parametrize("kind", NETS)
def test_integrated_gradients_sum_to_the_difference_of_the_scores(kind: str) -> None:
    """arXiv:1703.01365 prop. 1; the quadrature is exact on a polynomial and misses some of ReLU's kinks."""
    images = formulas.batch().double()
    square = Square(images).double()
    exact = _without_layer("integrated-gradients", square, images).sum((1, 2, 3))
    formulas.agree(exact, square(images)[:, 0].detach())
    net = NETS[kind]().eval().double()
    with torch.no_grad():
        ids = torch.tensor(IDS)[:, None]
        expected = (net(images).gather(1, ids) - net(BLACK.double().expand_as(images)).gather(1, ids))[:, 0]
    formulas.agree(formulas.ours("integrated-gradients", net, images).sum((1, 2, 3)), expected, 5e-2)


@pytest.mark.parametrize("kind", NETS)
def test_full_gradients_sum_to_the_score(kind: str) -> None:
    """arXiv:1905.00780 prop. 1 on ReLU networks; the linear layer's bias is in no map."""
    net, images = NETS[kind]().eval().double(), formulas.batch().double()
    evidence = formulas.evidence("full-grad", net, images)
    total = (evidence.input_grads * evidence.images).sum((1, 2, 3)) + net.fc.bias.detach()[list(IDS)]
    for term in evidence.bias_grads:
        total = total + term.sum((1, 2, 3))
    formulas.agree(total, evidence.value)


def test_full_gradients_of_a_batch_norm_without_weights_sum_to_the_score() -> None:
    def evidence(net: nn.Module, images: Tensor) -> Evidence:
        forward = Forward(Network(net.to(images.dtype).eval()), images, [], methods.get("full-grad").needs)
        return Evidence(forward, OfClass(IDS))

    found = evidence(_Plainly(track_running_stats=True), formulas.batch().double())
    total = (found.input_grads * found.images).sum((1, 2, 3))
    formulas.agree(sum((term.sum((1, 2, 3)) for term in found.bias_grads), start=total), found.value)
    with pytest.raises(SetupError, match="a batch norm without running statistics"):
        _ = evidence(_Plainly(track_running_stats=False), formulas.batch()).bias_grads


class _Plainly(nn.Module):
    """A network whose batch norm learns nothing, with running statistics that are not 0 and 1, or without any."""

    def __init__(self, track_running_stats: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False, track_running_stats=track_running_stats), nn.ReLU()
        )
        self.fc = nn.Linear(8, 10, bias=False)
        if track_running_stats:
            norm: Any = self.features[1]
            norm.running_mean.normal_(generator=torch.Generator().manual_seed(0))
            norm.running_var.fill_(0.7)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.features(images).mean((2, 3)))
        return scores


def test_grad_x_input_sums_to_the_score_without_biases() -> None:
    net, images = Signed().double(), formulas.batch().double()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    formulas.agree(
        formulas.ours("grad-x-input", net, images).sum((1, 2, 3)), formulas.evidence("grad-x-input", net, images).value
    )


def test_layer_cam_and_element_wise_part_where_activations_are_negative() -> None:
    images = formulas.batch()
    rectified, signed = Rectified().eval(), Pooled()
    assert torch.equal(
        formulas.ours("layer-cam", rectified, images), formulas.ours("grad-cam-elementwise", rectified, images)
    )
    signed_maps = formulas.ours("layer-cam", signed, images), formulas.ours("grad-cam-elementwise", signed, images)
    assert formulas.difference(*signed_maps) > 0.1


def test_second_derivative_of_a_logit_is_zero_behind_piecewise_linear_layers() -> None:
    """So Shapley-CAM of the logit is Grad-CAM, which is why the paper recommends the residual softmax target."""
    evidence = formulas.evidence("shapley-cam", Rectified().eval(), formulas.batch())
    assert not evidence.curvature.any()
    ours = formulas.ours("shapley-cam", Rectified().eval(), formulas.batch())
    assert formulas.difference(ours, formulas.ours("grad-cam", Rectified().eval(), formulas.batch())) > 1e-3


def test_finer_cam_without_rivals_is_grad_cam(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = Signed(), formulas.batch()
    methods.get("finer-cam")
    monkeypatch.setattr("camcli.methods.finer_cam.STRENGTH", 0.0)
    formulas.agree(formulas.ours("finer-cam", net, images), formulas.ours("grad-cam", net, images))


def test_score_cams_weights_sum_to_one_over_channels_with_contrast() -> None:
    image = torch.zeros(1, 3, 9, 9)
    image[0, 0, :, :3], image[0, 1, :, 3:6], image[0, 2] = 2.0, 3.0, 5.0
    net = Channels(nets.noise(3, 9, 9))
    (layer,) = nets.layers_of(net, image, "same")
    map_ = methods.get("score-cam").function(Evidence(nets.run(net, image, [layer]), OfClass((0,)), layer))[0]
    torch.testing.assert_close(map_[0, 0] / 2 + map_[0, 3] / 3, torch.tensor(1.0))
    assert not map_[:, 6:].any()  # the flat channel would be seen here


def test_opti_cams_mask_scores_no_less_than_equal_weights() -> None:
    net, images = Signed().double(), formulas.batch().double()
    for map_, image, class_id in zip(formulas.ours("opti-cam", net, images), images, IDS, strict=True):
        picture = Picture(net, image, class_id)
        start = formulas.own_mask(picture.acts.clamp(min=0).mean(0), picture.size)
        found, first = (picture.score(picture.black + m * (image - picture.black)) for m in (map_, start))
        assert found > first


def test_opti_cams_last_step_is_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one step the second place is the last, and the score there is higher than at the start."""
    net, images = Signed().double(), formulas.batch(pictures=1).double()
    maps = []
    for steps in (0, 1):
        monkeypatch.setattr("camcli.methods.opti_cam.STEPS", steps)
        maps.append(formulas.ours("opti-cam", net, images, IDS[:1])[0])
    picture = Picture(net, images[0], IDS[0])
    first, second = (picture.score(picture.black + map_ * (images[0] - picture.black)) for map_ in maps)
    assert second > first


def test_opti_cam_does_not_depend_on_the_batch_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps amplify rounding, and other batches round otherwise: so each picture goes alone, to the same bits."""
    monkeypatch.setattr("camcli.methods.opti_cam.STEPS", 20)
    net, images = Rectified().eval(), formulas.batch(40, 56)
    together = formulas.ours("opti-cam", net, images)
    others = formulas.ours("opti-cam", net, images.flip(0)[:2], IDS[::-1][:2])
    assert torch.equal(together[1:].flip(0), others)
    for i in range(3):
        assert torch.equal(together[i], formulas.ours("opti-cam", net, images[i : i + 1], IDS[i : i + 1])[0])


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

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x))

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
        images, task = formulas.batch(pictures=1), Classify(key)
        (layer,) = nets.layers_of(Signed(), images, "conv2")
        layer = replace(layer, module=net.get_submodule("conv2"))
    else:
        (net, images), task = nets.zoo(name), PLAIN
        (layer,) = nets.layers_of(net, images)
    forward = nets.run(net, images, [layer], {"resume"}, task)
    target = OfClass((int(forward.logits.argmax()),))
    acts = forward.activations(layer)
    channels = acts.amax((0, 2, 3)).topk(4).indices.tolist()

    def without(i: int) -> Tensor:
        changed = acts.clone()
        changed[:, channels[i]] = 0
        return changed

    resumed = variants.resume(forward, target, layer, len(channels), without)[:, 0]
    assert variants.replays(forward, layer) == (name not in own)

    for k, found in zip(channels, resumed, strict=True):
        hook = layer.module.register_forward_hook(_without_channel(k, acts.shape[1]))
        expected = task.outputs(net, images).scores[0, target.ids[0]].detach()
        hook.remove()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(forward.values(target).abs()))
        assert found != forward.values(target)


def test_eigen_cam_does_not_depend_on_the_channels_order_or_sign() -> None:
    net, images = Signed(), formulas.batch()
    changed = formulas.permuted(net, [7, 2, 5, 0, 1, 6, 3, 4], [1, -1, 1, 1, -1, 1, 1, -1])
    formulas.agree(formulas.ours("eigen-cam", changed, images), formulas.ours("eigen-cam", net, images), 1e-5)
