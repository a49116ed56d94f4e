"""Each method against the libraries that have it: where they are right, and where they are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import captum.attr
import formulas
import pytest
import pytorch_grad_cam
import torch
import torchcam.methods
from formulas import BLACK, IDS, NETS, SIZE, Picture, Pooled, Rectified, Signed
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputTarget
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("one_thread")


# Against the peers, where they are right. Scores a million times as large make their epsilons vanish.


def _loud(kind: str, factor: float = 1e6) -> Signed:
    net = NETS[kind]().eval().double() if kind in NETS else Pooled().double()
    with torch.no_grad():
        net.fc.weight.mul_(factor)
        net.fc.bias.mul_(factor)
    return net


def _fine(maps: Tensor) -> Tensor:
    """As pytorch-grad-cam ends: each map scaled, upsampled to the picture and scaled again."""
    return torch.stack([formulas.scaled(formulas.upsample(formulas.scaled(map_.double()), *SIZE)) for map_ in maps])


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
    net, images = _loud(kind), formulas.batch().double()
    formulas.agree(_fine(formulas.ours(name, net, images)), _grad_cam_peer(peer, net, images))


def test_ablation_cam_is_pytorch_grad_cams_where_activations_and_scores_are_positive() -> None:
    net, images = _loud("rectified"), formulas.batch().double()
    with torch.no_grad():
        net.fc.bias.add_(1e6)
    formulas.agree(_fine(formulas.ours("ablation-cam", net, images)), _grad_cam_peer("AblationCAM", net, images))


def test_shapley_cam_is_pytorch_grad_cams_with_the_papers_target() -> None:
    net, images = _loud("rectified", 100), formulas.batch().double()
    ours = _fine(formulas.ours("shapley-cam", net, images))
    formulas.agree(ours, _grad_cam_peer("ShapleyCAM", net, images, target=ClassifierOutputReST), 1e-5)
    logit = _grad_cam_peer("ShapleyCAM", net, images)
    formulas.agree(logit, _grad_cam_peer("GradCAM", net, images))
    assert formulas.difference(logit.double(), ours) > 1e-3


def test_refine_cam_is_pytorch_grad_cams() -> None:
    net, images = _loud("rectified"), formulas.batch().double()
    refine = pytorch_grad_cam.RefineCAM(net, [net.conv1, net.get_submodule(net.layer)])
    theirs = torch.from_numpy(refine(images, [ClassifierOutputTarget(i) for i in IDS]))
    formulas.agree(
        torch.stack([formulas.scaled(map_) for map_ in formulas.ours("refine-cam", net, images)]), theirs, 1e-5
    )


@pytest.mark.parametrize(("name", "peer"), [("eigen-grad-cam", "EigenGradCAM"), ("kpca-cam", "KPCA_CAM")])
@pytest.mark.parametrize("kind", NETS)
def test_component_is_pytorch_grad_cams_but_for_its_sign(name: str, peer: str, kind: str) -> None:
    """numpy's and scikit-learn's singular vectors have the sign that the algorithm happened to give them."""
    net, images = _loud(kind), formulas.batch().double()
    ours = formulas.ours(name, net, images)
    extractor = getattr(pytorch_grad_cam, peer)(net, [net.get_submodule(net.layer)])
    for image, class_id, map_ in zip(images, IDS, ours, strict=True):
        picture = Picture(net, image, class_id)
        arrays = picture.acts[None].numpy(), picture.grads[None].numpy()
        theirs = torch.from_numpy(extractor.get_cam_image(None, None, None, *arrays, False))[0].double()
        assert min(formulas.difference(map_.double(), (sign * theirs).relu()) for sign in (1, -1)) <= 1e-6


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
    net, images = _loud(kind), formulas.batch().double()
    formulas.agree(formulas.ours(name, net, images), _torchcam(peer, net, images))


def test_attributions_are_captums() -> None:
    net, images = Rectified().eval().double(), formulas.batch().double()
    ids = torch.tensor(IDS)
    black = BLACK.double().expand_as(images)
    gradients, leaf = captum.attr.IntegratedGradients(net), images.clone().requires_grad_()
    ours = formulas.ours("integrated-gradients", net, images)
    formulas.agree(ours, gradients.attribute(leaf, black, ids, n_steps=50))
    grey = gradients.attribute(leaf, target=ids, n_steps=50)  # captum's default: zeros, which are no black
    assert formulas.difference(ours, grey) > 0.1
    formulas.agree(
        formulas.ours("grad-x-input", net, images), captum.attr.InputXGradient(net).attribute(leaf, ids).detach()
    )


def test_occlusion_is_captums_where_the_squares_end_at_the_border() -> None:
    net, images = Rectified().eval().double(), formulas.batch(28, 34).double()
    theirs = captum.attr.Occlusion(net).attribute(images, (3, 4, 4), strides=(3, 2, 2), target=torch.tensor(IDS))
    formulas.agree(formulas.ours("occlusion", net, images), theirs[:, 0].relu())


@pytest.mark.parametrize("name", ["smooth-grad", "var-grad"])
def test_noise_tunnel_is_captums_given_the_same_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """captum's own deviation is absolute, and its saliency unsigned by default, which is no mean of gradients."""
    net, images = Rectified().eval().double(), formulas.batch(pictures=1).double()
    normals = Picture(net, images[0], IDS[0]).normals(*images.shape[1:])
    noise = torch.stack([next(normals) for _ in range(50)])
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: deviation * noise)
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(net))
    deviation = 0.15 * float(images.max() - images.min())
    options = {"nt_type": name.replace("-", ""), "nt_samples": 50, "stdevs": deviation, "target": IDS[0]}
    theirs = tunnel.attribute(images.clone().requires_grad_(), abs=False, **options)
    ours = formulas.ours(name, net, images, IDS[:1])
    formulas.agree(ours, theirs if name == "smooth-grad" else theirs.mean(1))
    if name == "smooth-grad":
        assert formulas.difference(ours.abs(), tunnel.attribute(images.clone().requires_grad_(), **options)) > 0.1


# Where the peers are wrong: they differ from the reference, and ours does not.


def _ours_is_right(name: str, net: Signed, images: Tensor, ids: Sequence[int] = IDS) -> Tensor:
    ours = formulas.ours(name, net, images, ids)
    formulas.agree(ours, formulas.reference(name, net, images, ids))
    return ours


def test_grad_cam_pps_epsilon_in_pytorch_grad_cam_outweighs_small_gradients() -> None:
    """It adds 1e-6 to 2 g^2 + ..., and behind an average over the map g^2 is no larger than that."""
    net, images = _loud("rectified", 0.1), formulas.batch().double()
    ours = _fine(_ours_is_right("grad-cam-pp", net, images))
    assert formulas.difference(_grad_cam_peer("GradCAMPlusPlus", net, images).double(), ours) > 1e-2


def test_score_cam_in_pytorch_grad_cam_upsamples_with_corners_aligned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its masks lie beside what the layer saw (and beside its own final map); with ours it gives our map."""
    net, images = _loud("signed", 10), formulas.batch().double()
    ours = _fine(_ours_is_right("score-cam", net, images))
    assert formulas.difference(_grad_cam_peer("ScoreCAM", net, images).double(), ours) > 1e-3

    def upsampling(size: tuple[int, int]) -> nn.Module:
        return nn.Upsample(size, mode="bilinear", align_corners=False)

    monkeypatch.setattr(nn, "UpsamplingBilinear2d", upsampling)
    formulas.agree(_grad_cam_peer("ScoreCAM", net, images), ours, 1e-5)


def test_eigen_cam_in_pytorch_grad_cam_turns_over_with_the_channels_order() -> None:
    """It centres, unlike the paper, and takes whichever sign the decomposition gives: then it cuts the other half."""
    net, images = Signed().double(), formulas.batch().double()
    changed = formulas.permuted(net, range(7, -1, -1), [1] * 8)
    formulas.agree(_ours_is_right("eigen-cam", net, images), formulas.ours("eigen-cam", changed, images))
    found = []
    for one in (net, changed):
        extractor = pytorch_grad_cam.EigenCAM(one, [one.conv2])
        acts = one.trunk(images).detach()
        found.append(torch.from_numpy(extractor.get_cam_image(None, None, None, acts.numpy(), None, False)))
    signs = [float((a * b).sum().sign()) for a, b in zip(*found, strict=True)]
    assert -1.0 in signs
    for sign, theirs, other, map_ in zip(signs, *found, net.trunk(images).detach(), strict=True):
        formulas.agree(sign * theirs, other, 1e-5)
        assert (
            min(formulas.difference(theirs, turn * formulas.component(map_, centred=True).float()) for turn in (1, -1))
            < 1e-5
        )


def test_full_grad_in_pytorch_grad_cam_scales_each_channel_alone() -> None:
    """A channel without any say gets a peak of 1 like all others; the authors' code scales a layer as a whole."""
    net, images = _loud("signed"), formulas.batch().double()
    ours = torch.stack([formulas.scaled(map_) for map_ in _ours_is_right("full-grad", net, images)])
    with pytorch_grad_cam.FullGrad(net, []) as extractor:
        targets = [ClassifierOutputTarget(i) for i in IDS]
        theirs = torch.from_numpy(extractor(images.clone().requires_grad_(), targets))
    assert formulas.difference(theirs.double(), ours) > 0.1


def test_finer_cam_in_pytorch_grad_cam_weighs_by_probabilities_that_it_differentiates() -> None:
    """The paper's mean over similar classes has equal weights that depend on nothing."""
    net, images = _loud("signed", 10), formulas.batch(pictures=1).double()
    ours = _fine(_ours_is_right("finer-cam", net, images, IDS[:1]))
    extractor = pytorch_grad_cam.FinerCAM(net, [net.conv2])
    theirs = torch.from_numpy(extractor(images.clone(), alpha=0.6, target_idx=IDS[0]))
    assert formulas.difference(theirs.double(), ours) > 1e-3


def test_ablation_cam_in_pytorch_grad_cam_turns_over_below_zero_and_never_zeroes_signed_maps() -> None:
    """It divides by y with its sign, and where a map's least value is not 0 it writes that less ten million."""
    net, images = _loud("rectified"), formulas.batch().double()
    with torch.no_grad():
        net.fc.bias.sub_(1e6)
    ours = _fine(_ours_is_right("ablation-cam", net, images))
    assert formulas.difference(_grad_cam_peer("AblationCAM", net, images).double(), ours) > 0.1
    net = _loud("pooled")
    with torch.no_grad():
        net.fc.bias.add_(1e6)
    ours = _fine(_ours_is_right("ablation-cam", net, images))
    assert formulas.difference(_grad_cam_peer("AblationCAM", net, images).double(), ours) > 0.1


def test_grad_cam_pp_in_torchcam_never_divides_its_alphas() -> None:
    """`alpha[mask].div_(…)` divides a copy: what it calls weights is sum relu(g)^3. RefineCAM builds on it."""
    net, images = Rectified().eval().double(), formulas.batch().double()
    ours = _ours_is_right("grad-cam-pp", net, images)
    theirs = _torchcam("GradCAMpp", net, images)
    cubes = [
        formulas.by_channel(p.acts, [float((g.clamp(min=0) ** 3).sum()) for g in p.grads]).sum(0).clamp(min=0)
        for p in (Picture(net, image, class_id) for image, class_id in zip(images, IDS, strict=True))
    ]
    formulas.agree(theirs, torch.stack(cubes))
    assert formulas.difference(theirs / theirs.max(), ours / ours.max()) > 0.05


def test_smooth_grad_cam_pp_in_torchcam_keeps_the_last_noisy_copy() -> None:
    """relu(D_1) is the last copy's gradient alone, and the last noisy copy's map is weighted, not the clean one's.

    And alpha has sum_ab(A_ab D_3,ab), one number a channel, for D_3,ij sum_ab(A_ab).
    """
    net, images = _loud("rectified", 1e4), formulas.batch(pictures=1).double()
    ours = _ours_is_right("smooth-grad-cam-pp", net, images, IDS[:1])
    picture = Picture(net, images[0], IDS[0])
    copies = picture.copies(10, 0.1)
    noise = iter([copy - picture.image for copy in copies])
    theirs = _torchcam("SmoothGradCAMpp", net, images, IDS[:1], lambda size: next(noise)[None])
    assert formulas.difference(theirs, ours) > 1e-2
    grads = [picture.grads_at(copy) for copy in copies]
    second, third = formulas.mean(g**2 for g in grads), formulas.mean(g**3 for g in grads)
    alphas = second / (2 * second + (third * picture.acts).sum((1, 2), keepdim=True)).where(second > 0, 1.0)
    weights = (alphas * grads[-1].clamp(min=0)).sum((1, 2)).tolist()
    last = net.trunk(copies[-1][None])[0].detach()
    formulas.agree(theirs[0], formulas.by_channel(last, weights).sum(0).clamp(min=0), 1e-5)


def _coarse_mask(channel: Tensor, size: tuple[int, int]) -> Tensor:
    return formulas.upsample(formulas.scaled(channel), *size)


def _with_coarse_masks(net: Signed, images: Tensor, strengths: Sequence[float]) -> Tensor:
    """Score-CAM with masks scaled before they are upsampled, and scores averaged over these strengths."""

    def map_of(picture: Picture) -> Tensor:
        def score(mask: Tensor) -> Tensor:
            return formulas.mean(picture.score(strength * mask * picture.image) for strength in strengths)

        return formulas.masked(picture, score, _coarse_mask)

    return torch.stack([map_of(Picture(net, image, i)) for image, i in zip(images, IDS, strict=True)])


def test_score_cam_in_torchcam_scales_its_masks_before_it_upsamples_them() -> None:
    """The paper's masks reach from 0 to 1 on the picture; upsampled after scaling they no longer do."""
    net, images = _loud("signed", 10), formulas.batch().double()
    ours, theirs = _ours_is_right("score-cam", net, images), _torchcam("ScoreCAM", net, images)
    formulas.agree(theirs, _with_coarse_masks(net, images, [1.0]))
    assert formulas.difference(theirs, ours) > 1e-3


def test_is_cam_in_torchcam_brightens_up_to_five_and_a_half_times() -> None:
    """It adds i/10 up instead of stepping through them: 0.1, 0.3, … 5.5 are no integral from 0 to 1."""
    net, images = _loud("signed", 10), formulas.batch().double()
    ours, theirs = _ours_is_right("is-cam", net, images), _torchcam("ISCAM", net, images)
    formulas.agree(theirs, _with_coarse_masks(net, images, [i * (i + 1) / 20 for i in range(1, 11)]))
    assert formulas.difference(theirs, _with_coarse_masks(net, images, [i / 10 for i in range(1, 11)])) > 0.05
    assert formulas.difference(theirs, ours) > 0.05
