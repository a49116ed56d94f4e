"""The target layer on timm's architectures: one small model of each family, and each way of reading a score."""

from __future__ import annotations

import warnings

import nets
import pytest
import torch
from torch import nn
from variants import thinned

from camcli.errors import SetupError
from camcli.layers import choosing
from camcli.layers.tracing import trace
from camcli.models.weights import filling
from camcli.network.layer import Layer
from camcli.tasks.targets import OfClass

timm = pytest.importorskip("timm")

GOLDEN = [
    ("botnet26t_256", "stages", (2048, 8, 8)),
    ("coat_lite_tiny", "serial_blocks4.1.norm1", (320, 7, 7)),
    ("coatnet_nano_rw_224", "norm", (512, 7, 7)),
    ("convit_small", "blocks.11.norm1", (432, 14, 14)),
    ("convmixer_1024_20_ks9_p14", "blocks", (1024, 16, 16)),
    ("cpubone_s0", "stages", (224, 7, 7)),
    ("darknet17", "stages", (1024, 8, 8)),
    ("davit_tiny", "stages", (768, 7, 7)),
    ("deit3_base_patch16_224", "blocks.11.norm1", (768, 14, 14)),
    ("deit_tiny_distilled_patch16_224", "blocks.11.norm1", (192, 14, 14)),
    ("densenetblur121d", "features", (1024, 7, 7)),
    ("dla34", "level5", (512, 7, 7)),
    ("dpn48b", "features", (832, 7, 7)),
    ("edgenext_xx_small", "stages", (168, 8, 8)),
    ("efficientformer_l1", "norm", (448, 7, 7)),
    ("efficientformerv2_s0", "norm", (176, 7, 7)),
    ("efficientvit_b0", "stages", (128, 7, 7)),
    ("efficientvit_m1", "stages", (192, 4, 4)),
    ("ese_vovnet19b_slim", "stages", (512, 7, 7)),
    ("eva02_tiny_patch14_224", "blocks.11", (192, 16, 16)),
    ("fasternet_t0", "stages", (320, 7, 7)),
    ("fastvit_s12", "final_conv", (1024, 8, 8)),
    ("gcvit_xxtiny", "stages", (512, 7, 7)),
    ("ghostnet_050", "blocks", (480, 7, 7)),
    ("gmlp_ti16_224", "norm", (128, 14, 14)),
    ("hardcorenas_a", "blocks", (960, 7, 7)),
    ("hiera_tiny_224", "blocks.11", (768, 7, 7)),
    ("hrnet_w18_small", "final_layer", (2048, 7, 7)),
    ("inception_next_atto", "stages", (320, 7, 7)),
    ("inception_v4", "features", (1536, 8, 8)),
    ("legacy_seresnet18", "layer4", (512, 7, 7)),
    ("levit_128s", "stages", (384, 4, 4)),
    ("lowformer_e1", "in_conv", (2304, 7, 7)),
    ("mixer_s32_224", "norm", (512, 7, 7)),
    ("mobilevitv2_050", "stages", (256, 8, 8)),
    ("mvitv2_tiny", "norm", (768, 7, 7)),
    ("naflexvit_base_patch16_gap", "blocks.11", (768, 24, 24)),
    ("nest_tiny", "norm", (384, 14, 14)),
    ("pit_ti_distilled_224", "transformers.2.blocks.3.norm1", (256, 7, 7)),
    ("resmlp_12_224", "norm", (384, 14, 14)),
    ("resnest14d", "layer4", (2048, 7, 7)),
    ("resnetv2_18", "norm", (512, 7, 7)),
    ("starnet_s050", "norm", (128, 7, 7)),
    ("swinv2_cr_tiny_384", "stages", (768, 12, 12)),
    ("test_byobnet", "stages", (256, 5, 5)),
    ("test_coatnet", "norm", (128, 5, 5)),
    ("test_convnext3", "stages", (128, 5, 5)),
    ("test_mambaout", "stages", (64, 5, 5)),
    ("test_nfnet", "final_act", (192, 5, 5)),
    ("test_resnet", "layer4", (96, 5, 5)),
    ("test_vit", "blocks.5.norm1", (64, 10, 10)),
    ("test_vit3", "norm", (96, 10, 10)),
    ("tf_mobilenetv3_large_minimal_100", "blocks", (960, 7, 7)),
    ("tiny_vit_5m_224", "stages", (320, 7, 7)),
    ("tresnet_m", "body", (2048, 7, 7)),
    ("vgg11", "features.19", (512, 14, 14)),
    ("visformer_small", "norm", (768, 7, 7)),
    ("vit_base_patch16_reg4_gap_256", "blocks", (768, 16, 16)),
    ("vit_base_patch16_siglip_224", "norm", (768, 14, 14)),
    ("vit_pe_core_base_patch16_224", "norm", (768, 14, 14)),
    ("vit_relpos_base_patch16_clsgap_224", "blocks.11", (768, 14, 14)),
    ("vit_srelpos_medium_patch16_224", "norm", (512, 14, 14)),
    ("vit_tiny_r_s16_p8_224", "blocks.11.norm1", (192, 7, 7)),
    ("xception41p", "act", (2048, 10, 10)),
    pytest.param("caformer_s18", "stages", (512, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("cait_xxs24_224", "blocks", (192, 14, 14), marks=pytest.mark.exhaustive),
    pytest.param("focalnet_tiny_srf", "norm", (768, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("hieradet_small", "blocks.15", (768, 8, 8), marks=pytest.mark.exhaustive),
    pytest.param("iformer_s", "stages", (320, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("inception_resnet_v2", "conv2d_7b", (1536, 8, 8), marks=pytest.mark.exhaustive),
    pytest.param("levit_conv_128s", "stages", (384, 4, 4), marks=pytest.mark.exhaustive),
    pytest.param("mobilevit_xxs", "final_conv", (320, 8, 8), marks=pytest.mark.exhaustive),
    pytest.param("mvitv2_small_cls", "stages.3.blocks.1.norm1", (768, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("nextvit_small", "norm", (1024, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("pvt_v2_b0", "stages", (256, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("rdnet_tiny", "dense_stages", (1040, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("repvit_m2", "stages", (512, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("res2net50_26w_4s", "layer4", (2048, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("selecsls42b", "head", (1024, 4, 4), marks=pytest.mark.exhaustive),
    pytest.param("shvit_s1", "stages", (320, 4, 4), marks=pytest.mark.exhaustive),
    pytest.param("skresnet34", "layer4", (512, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("swiftformer_xs", "norm", (220, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("swin_tiny_patch4_window7_224", "norm", (768, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("tnt_b_patch16_224", "blocks.11.norm_out", (640, 14, 14), marks=pytest.mark.exhaustive),
    pytest.param("twins_pcpvt_small", "norm", (512, 7, 7), marks=pytest.mark.exhaustive),
    pytest.param("vit_base_patch16_sapiens2", "blocks.11.norm1", (768, 64, 48), marks=pytest.mark.exhaustive),
    pytest.param("vit_small_patch14_reg4_dinov2", "blocks.11.norm1", (384, 37, 37), marks=pytest.mark.exhaustive),
    pytest.param("vitamin_base_224", "blocks", (768, 14, 14), marks=pytest.mark.exhaustive),
    pytest.param("volo_d1_224", "post_network.1.norm1", (384, 14, 14), marks=pytest.mark.exhaustive),
    pytest.param("xcit_tiny_12_p8_384", "cls_attn_blocks.1.norm1", (192, 48, 48), marks=pytest.mark.exhaustive),
]

# Read at a map whose fold can be wrong: tokens in several orders, with and without tokens in front, and (N, h, w, C).
FOLDED = [
    "pit_ti_224",
    "test_mambaout",
    "test_vit3",
    "test_vit4",
    "xcit_nano_12_p16_224",
    pytest.param("hiera_tiny_224", marks=pytest.mark.exhaustive),
    pytest.param("mvitv2_tiny", marks=pytest.mark.exhaustive),
    pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.exhaustive),
    pytest.param("volo_d1_224", marks=pytest.mark.exhaustive),
]


def _build(name: str, device: str) -> tuple[nn.Module, tuple[int, int]]:
    with warnings.catch_warnings(), torch.device(device), filling.no_initialisation():
        warnings.simplefilter("ignore")  # of timm's own: deprecated aliases, meshgrid
        net: nn.Module = timm.create_model(name).eval()
    _, height, width = timm.get_pretrained_cfg(name).input_size
    return net, (height, width)


def _choose(name: str, net: nn.Module, images: torch.Tensor) -> Layer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return choosing.choose(net, trace(net, images), name)


@pytest.mark.parametrize(("name", "layer", "shape"), thinned(GOLDEN, 3))
def test_golden_layer_of_each_family(name: str, layer: str, shape: tuple[int, int, int]) -> None:
    net, size = _build(name, "meta")
    chosen = _choose(name, net, torch.zeros(1, 3, *size, device="meta"))
    assert (chosen.name, chosen.shape) == (layer, shape)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crossvit_9_240", "no layer of crossvit_9_240 is a spatial map that every path"),  # two branches
        ("efficientvim_m1", "crosses is 'stages.0.blocks.0', near the picture"),  # the head reads every stage
        ("coat_tiny", "crosses is 'serial_blocks2.1', near the picture"),
        ("qwen3_vit_88m_enc", "no classifier"),  # no head
    ],
)
def test_models_without_a_map_before_the_score_are_refused(name: str, reason: str) -> None:
    net, size = _build(name, "meta")
    with pytest.raises(SetupError, match=reason):
        _choose(name, net, torch.zeros(1, 3, *size, device="meta"))


@pytest.mark.parametrize("name", FOLDED)
def test_positions_are_live_and_in_their_place(name: str) -> None:
    """Each position has a gradient, and noise in a corner of the picture moves the map most in that corner."""
    net, (height, width) = _build(name, "cpu")
    nets.fill(net)
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            if parameter.ndim < 2 and not key.endswith("bias"):
                parameter.fill_(1.0)  # scales of residual branches, some of them zero at first
    images = nets.noise(1, 3, height, width)
    layer = _choose(name, net, images)
    forward = nets.run(net, images, [layer])
    before = forward.activations(layer)
    assert forward.gradient("gradient", OfClass((3,)), layer).abs().amax(1).gt(0).all()
    _, h, w = layer.shape
    for y, x in ((0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1)):
        spoiled = images.clone()
        rows, columns = slice(y * height // h, (y + 1) * height // h), slice(x * width // w, (x + 1) * width // w)
        spoiled[:, :, rows, columns] += 3 * nets.noise(*spoiled[:, :, rows, columns].shape, seed=1)
        moved = (nets.run(net, spoiled, [layer]).activations(layer) - before).norm(dim=1)[0]
        at_y, at_x = divmod(int(moved.argmax()), w)
        assert (2 * at_y >= h, 2 * at_x >= w) == (y > 0, x > 0)
