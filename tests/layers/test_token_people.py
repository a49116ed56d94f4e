"""Tokens are read where the patches stand, in whatever order people put them together; or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import token_people
import torch
from numpy.typing import NDArray
from shell import SAMPLES
from token_people import GRID, PATCHES, SIDE, STANDING
from torch import Tensor, nn
from variants import thinned

from camcli import Engine, Explained, Spec, expand
from camcli.errors import SetupError
from camcli.inputs import decoding, preprocessing
from camcli.inputs.refs import ref_named
from camcli.layers import placing
from camcli.models import load_model

pytestmark = pytest.mark.usefixtures("one_thread")

PHOTO = str(SAMPLES / "cat_chelsea.jpg")


def spec(name: str, **asked: Any) -> Spec:
    return Spec(f"token_people:{name}", "none", resize=SIDE, crop=SIDE, **asked)


def answer(asked: Spec) -> Explained:
    (result,) = Engine(asked).explain(expand([PHOTO]))
    assert isinstance(result, Explained), result
    return result


def view(asked: Spec) -> Tensor:
    frame = decoding.read_frame(ref_named(0, PHOTO))
    return torch.from_numpy(preprocessing.view_of(frame, load_model(asked).preset, "crop").pixels)[None]


def grad_cam(net: nn.Module, x: Tensor, layer: str, patches: list[int], class_id: int | None) -> NDArray[np.float32]:
    """relu(sum_k mean_ij(dy/dA_k) A_k), read from tokens (1, L, C)."""
    assert class_id is not None
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    with net.get_submodule(layer).register_forward_hook(keep):
        score = net(x.requires_grad_())[0, class_id]
    (gradient,) = torch.autograd.grad(score, kept)
    values = (gradient[:, patches].mean(1, keepdim=True) * kept[0][:, patches]).sum(2).relu()
    map_: NDArray[np.float32] = values.detach().view(GRID, GRID).numpy()
    return map_


@pytest.mark.parametrize("name", thinned(STANDING, 2))
@pytest.mark.parametrize("exact", [True, False])
def test_the_patches_are_told_from_other_tokens(name: str, exact: bool) -> None:
    layer, patches = STANDING[name]
    found = answer(spec(name, exact=exact))
    assert found.layer == layer
    net = getattr(token_people, name)().eval()
    expected = grad_cam(net, view(spec(name)), layer, patches, found.top[0].id)
    assert expected.any()
    np.testing.assert_allclose(found.attributions[0].values, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_a_map_that_is_put_back_leaves_the_other_tokens() -> None:
    """What perturbs the layer changes the patches alone."""
    for name in ("class_last", "class_among", "class_first_registers_last"):
        engine = Engine(spec(name))
        (layer,), (_, patches) = engine.layers, STANDING[name]
        tokens = torch.randn(2, PATCHES + {"class_first_registers_last": 4}.get(name, 1), 12)
        others = [i for i in range(tokens.shape[1]) if i not in patches]
        map_ = layer.to_map(tokens, (SIDE, SIDE))
        assert torch.equal(map_.flatten(2).transpose(1, 2), tokens[:, patches])
        changed = layer.from_map(map_ + 1, tokens)
        assert torch.equal(changed[:, patches], tokens[:, patches] + 1)
        assert torch.equal(changed[:, others], tokens[:, others])


@pytest.mark.parametrize(
    ("name", "read"),
    [("class_first", 0), ("class_last", PATCHES), ("class_among", PATCHES // 2), ("registers_last", None),
     ("class_and_registers_last", PATCHES + 1)],
)  # fmt: skip
def test_rollout_reaches_the_token_that_the_score_is_read_from(name: str, read: int | None) -> None:
    """prod_l (A_l + 1) / 2: that token's row, or the mean of all rows."""
    net, x = getattr(token_people, name)().eval(), view(spec(name))
    weights: list[Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        q, k, _ = (part.unflatten(2, (2, -1)).transpose(1, 2) for part in module.qkv(args[0]).chunk(3, dim=-1))
        weights.append((q @ k.transpose(2, 3) / 6**0.5).softmax(-1).mean(1)[0])

    for block in net.blocks:
        block.attn.register_forward_hook(keep)
    net(x)
    rollout = torch.eye(len(weights[0]))
    for attention in weights:
        rollout = (attention + torch.eye(len(attention))) / 2 @ rollout
    row = rollout.mean(0) if read is None else rollout[read]
    expected = row[STANDING[name][1]].detach().view(GRID, GRID).numpy()
    (found,) = answer(spec(name, methods=("attention-rollout",), exact=True)).attributions
    np.testing.assert_allclose(found.values, expected, rtol=1e-4)


METHODS = (
    "grad-cam hires-cam layer-cam xgrad-cam eigen-cam ablation-cam score-cam shapley-cam finer-cam random-cam "
    "attention-rollout gradient"
).split()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("odd", "plain", "layer"),
    [("tokens_first", "batch_first", "layers.1.norm1"), ("last_block_gives_weights", "last_block", "blocks.2")],
)
def test_tokens_before_the_batch_and_in_tuples_say_the_same(
    odd: str, plain: str, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what comes after the layer is run again, by a tape or by the whole network, for several pictures."""
    photos = [str(SAMPLES / name) for name in ("cat_chelsea.jpg", "espresso.jpg")]
    for replayed in (True, False):
        if not replayed:
            monkeypatch.setattr("camcli.network.variants.replays", lambda forward, layer: False)
        both = [
            list(Engine(spec(name, methods=tuple(METHODS), exact=True)).explain(expand(photos)))
            for name in (odd, plain)
        ]
        for one, other in zip(*both, strict=True):
            assert isinstance(one, Explained)
            assert isinstance(other, Explained)
            assert one.layer == other.layer == layer
            for found, expected in zip(one.attributions, other.attributions, strict=True):
                assert found.values.shape == expected.values.shape
                np.testing.assert_allclose(
                    found.values, expected.values, rtol=1e-3, atol=1e-4 * np.abs(expected.values).max(),
                    err_msg=found.method,
                )  # fmt: skip


def test_as_many_pictures_as_tokens_are_not_taken_for_tokens() -> None:
    methods = ("grad-cam", "attention-rollout", "ablation-cam")
    many = list(Engine(spec("tokens_first", methods=methods, batch_size=PATCHES + 1)).explain(
        expand([PHOTO] * (PATCHES + 1))
    ))  # fmt: skip
    alone = answer(spec("tokens_first", methods=methods))
    for one in (many[0], many[-1]):
        assert isinstance(one, Explained)
        for found, expected in zip(one.attributions, alone.attributions, strict=True):
            np.testing.assert_allclose(found.values, expected.values, rtol=1e-3, atol=1e-6)


def test_a_block_may_give_more_than_tokens() -> None:
    plain, tuples = (
        answer(spec(name, methods=("le-grad",), exact=True)).attributions[0].values
        for name in ("class_first", "blocks_give_weights")
    )
    assert plain.any()
    np.testing.assert_array_equal(tuples, plain)


def test_blocks_of_several_sizes_are_no_plain_transformers() -> None:
    with pytest.raises(SetupError, match=r"le-grad does not apply .*: its blocks give tokens of several shapes"):
        Engine(spec("Stages", methods=("le-grad",)))
    engine = Engine(spec("Stages", methods=("all",)))
    assert "le-grad" not in {method.name for method in engine.methods}
    assert "grad-cam" in {method.name for method in engine.methods}


@pytest.mark.parametrize("name", ["by_windows", "by_turns", "rolled", "Windowed", "windows_of_two"])
def test_tokens_in_another_order_are_refused(name: str) -> None:
    with pytest.raises(SetupError, match="keeps its tokens in another order than the picture's rows"):
        Engine(spec(name))
    assert answer(spec(name, methods=("gradient",))).attributions[0].values.any()
    assert answer(spec(name, layers=("embed",))).attributions[0].values.any()


def test_tokens_that_nobody_saw_put_together_are_tried() -> None:
    found, expected = (answer(spec(name, layers=("blocks.2.norm1",))) for name in ("assigned_first", "class_first"))
    np.testing.assert_allclose(found.attributions[0].values, expected.attributions[0].values, rtol=1e-4, atol=1e-7)
    with pytest.raises(SetupError, match="has tokens that, as far as tried, don't lie where a grid"):
        Engine(spec("assigned_last", layers=("blocks.2.norm1",)))


@pytest.mark.parametrize("name", ["Pruned", "Merged"])
def test_tokens_that_are_few_enough_for_a_smaller_grid_are_none(name: str) -> None:
    with pytest.raises(SetupError, match=r"keeps its tokens in another order|don't lie where a grid"):
        Engine(spec(name))


def test_a_map_that_knows_no_places_is_said_and_noted() -> None:
    engine = Engine(spec("Amplitudes", methods=("grad-cam", "gradient")))
    assert [remark for remark in engine.remarks if remark.startswith("warning: body of ") and placing.UNSEEN in remark]
    (result,) = engine.explain(expand([PHOTO]))
    assert isinstance(result, Explained)
    assert [one.note for one in result.attributions] == [placing.UNSEEN, None]


@pytest.mark.parametrize("name", ["Rolled", "Misread"])
def test_a_map_that_changes_elsewhere_than_the_picture_is_refused(name: str) -> None:
    with pytest.raises(SetupError, match="changes, as far as tried, in other places than the picture does"):
        Engine(spec(name))
    assert answer(spec("Convolved")).layer == "body"


def test_tokens_that_are_pooled_lie_on_a_smaller_grid() -> None:
    found = answer(spec("Strided"))
    assert found.layer == "norm"
    assert found.attributions[0].values.shape == (3, 3)


def test_a_complex_map_is_none() -> None:
    found = answer(spec("Spectral"))
    assert found.layer == "late"
    assert found.attributions[0].values.any()


def test_windows_beside_the_batch_leave_a_map_near_the_picture_only() -> None:
    with pytest.raises(SetupError, match="'embed', near the picture"):
        Engine(spec("Windows"))


def test_all_that_comes_after_a_stem_is_no_head() -> None:
    found = answer(spec("Compact"))
    assert found.layer == "classifier.norm"


@pytest.mark.parametrize(("name", "channels"), [("SpaceToDepth", 3), ("GreyCells", 1), ("OfEachChannel", 3)])
def test_channels_are_tried_out_where_the_first_convolution_does_not_tell(name: str, channels: int) -> None:
    model = load_model(spec(name))
    assert len(model.preset.mean) == channels
    assert len(load_model(spec(name, mean=(0.5,), std=(0.25,))).preset.mean) == channels
    found = answer(spec(name))
    with torch.no_grad():
        scores = model.net(view(spec(name)))[0]
    assert found.top[0].id == int(scores.argmax())
    assert found.attributions[0].values.any()


@pytest.mark.parametrize("name", ["CubeLast", "TokensLast"])
@pytest.mark.parametrize("exact", [True, False])
def test_a_layout_that_the_shape_does_not_tell_is_tried_out(name: str, exact: bool) -> None:
    found = answer(spec(name, exact=exact, methods=("grad-cam", "ablation-cam")))
    assert found.layer == "late"
    net, kept = getattr(token_people, name)().eval(), []
    net.late.register_forward_hook(lambda module, args, output: kept.append(output))
    score = net(view(spec(name)).requires_grad_())[0, found.top[0].id]
    (gradient,) = torch.autograd.grad(score, kept)
    tokens, slopes = ((x.flatten(1, 2) if name == "CubeLast" else x.mT)[0] for x in (kept[0].detach(), gradient))
    side = 12 if name == "CubeLast" else GRID
    expected = (tokens * slopes.mean(0)).sum(1).relu().view(side, side).numpy()
    assert expected.any()
    np.testing.assert_allclose(found.attributions[0].values, expected, rtol=1e-4, atol=1e-6 * expected.max())
    assert found.attributions[1].values.shape == (side, side)


def test_a_layout_is_named_where_the_likeliest_was_wrong() -> None:
    (layer,) = Engine(spec("CubeLast")).layers
    assert layer.why.endswith("; read as channels last, as the changes of a picture show")


def test_layers_that_lead_elsewhere_are_not_counted() -> None:
    found = answer(spec("LongAside", output_key="logits"))
    assert found.layer == "body"
