import pytest
import torch
from torch.nn.functional import interpolate

from lexiseg.core.errors import InputError
from lexiseg.losses.set_prediction import SetTargets, match_layers, set_losses
from lexiseg.models.backbones import TinyPyramid, load_swin
from lexiseg.models.maskformer import TINY, MaskFormer, MaskFormerSettings
from tiny_maskformers import save_tiny_classifier

CLASSES = 6


def tiny(**changes):
    torch.manual_seed(0)
    return MaskFormer(TinyPyramid((8, 16, 24)), CLASSES, MaskFormerSettings(**{**vars(TINY), **changes}))


def four_scenes():
    """Rectangles of plain colours, one colour a class, on a ground of class 0."""
    colours = torch.rand(CLASSES, 3, generator=torch.Generator().manual_seed(3))
    labels = torch.zeros(4, 32, 32, dtype=torch.int64)
    for index in range(4):
        labels[index, 2:14, 4 + 2 * index : 20] = 1 + index
        labels[index, 18:30, 6:26] = 1 + (index + 2) % 5
    images = colours[labels].permute(0, 3, 1, 2).contiguous()
    targets = []
    for one in labels:
        present = one.unique()
        masks = one == present[:, None, None]
        targets.append(
            SetTargets(labels=present, masks=masks, has_mask=torch.ones_like(present, dtype=torch.bool))
        )
    return images, labels, targets


def loss_of(network, images, targets):
    output = network(images)
    found = match_layers(output.class_logits, output.mask_logits, targets)
    losses = set_losses(output.class_logits, output.mask_logits, targets, found)
    return losses.classification + 20 * losses.focal + losses.dice


@pytest.mark.parametrize(("chosen", "channels", "side"), [(None, 24, 4), (0, 8, 16), (1, 16, 8)])
def test_the_decoder_looks_at_the_map_that_was_chosen(chosen, channels, side):
    network = tiny(decoder_map=chosen)
    looked_at = []
    network.mask_decoder.register_forward_pre_hook(lambda _, given: looked_at.append(given[0].shape[1:]))
    network(torch.rand(1, 3, 32, 32))
    assert looked_at == [(channels, side, side)]


def test_a_map_that_the_backbone_does_not_have_is_refused():
    with pytest.raises(InputError, match="decoder_map = 3 of 3 maps"):
        tiny(decoder_map=3)


@pytest.mark.exhaustive
def test_it_learns_four_scenes_with_nothing_but_torch():
    images, labels, targets = four_scenes()
    network = tiny()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    history = []
    for _ in range(80):
        loss = loss_of(network, images, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[5] < history[0]
    assert history[-1] < 0.25 * history[0]
    with torch.no_grad():
        output = network.eval()(images, last_only=True)
    classes = output.class_logits[-1].softmax(dim=-1)[..., :-1]

    def right(masks):
        found = torch.einsum("bqc,bqhw->bchw", classes, masks)
        found = interpolate(found, size=(32, 32), mode="bilinear").argmax(dim=1)
        return (found == labels).float().mean()

    early = right(output.mask_logits[-1].sigmoid())  # summed on the grid, then upsampled
    late = right(interpolate(output.mask_logits[-1], size=(32, 32), mode="bilinear").sigmoid())
    print("early", early, "late", late)
    assert late > 0.9
    assert late > early  # which is why segmenters upsample first


def test_every_parameter_takes_part_in_the_loss():
    images, _, targets = four_scenes()
    network = tiny()
    loss_of(network, images, targets).backward()
    assert [name for name, value in network.named_parameters() if value.grad is None] == []


def test_a_mask_is_where_pixel_and_mask_embeddings_agree():
    output = tiny().eval()(torch.rand(2, 3, 32, 48))
    assert output.pixel_embeddings.shape == (2, 32, 16, 24)
    assert output.class_logits.shape == (3, 2, 16, CLASSES + 1)
    product = (output.mask_embeddings[1, 1, 5] * output.pixel_embeddings[1, :, 3, 7]).sum(dim=-1)
    torch.testing.assert_close(output.mask_logits[1, 1, 5, 3, 7], product)


def test_the_last_layer_alone_is_the_last_of_all():
    network, images = tiny().eval(), torch.rand(2, 3, 32, 32)
    whole, last = network(images), network(images, last_only=True)
    assert len(last.class_logits) == len(last.mask_logits) == len(last.mask_embeddings) == 1
    torch.testing.assert_close(last.class_logits[0], whole.class_logits[-1])
    torch.testing.assert_close(last.mask_logits[0], whole.mask_logits[-1])


@pytest.mark.parametrize("size", [(32, 32), (30, 45), (9, 64)])
def test_any_size_will_do(size):
    masks = tiny().eval()(torch.rand(1, 3, *size)).mask_logits
    assert masks.shape[-2:] == ((size[0] + 1) // 2, (size[1] + 1) // 2)


def test_images_of_a_batch_do_not_see_each_other():
    network, images = tiny().eval(), torch.rand(3, 3, 32, 32)
    together, alone = network(images), network(images[1:2])
    torch.testing.assert_close(together.mask_logits[:, 1:2], alone.mask_logits, atol=1e-4, rtol=1e-4)


def test_every_parameter_is_in_one_group():
    network = tiny()
    named = [name for group in network.parameter_groups() for name, _ in group.parameters]
    assert sorted(named) == sorted(name for name, _ in network.named_parameters())
    assert len(named) == len(set(named))


def test_the_backbone_learns_at_a_tenth_and_norms_and_embeddings_are_not_decayed(tmp_path):
    network = MaskFormer(load_swin(save_tiny_classifier(tmp_path, "swin")), CLASSES, TINY)
    decayed, factors = {}, {}
    for group in network.parameter_groups():
        for name, _ in group.parameters:
            decayed[name], factors[name] = group.decayed, group.lr_factor
    assert all(factors[name] == (0.1 if name.startswith("backbone.") else 1.0) for name in factors)
    for name in (
        "mask_decoder.queries.weight",
        "mask_decoder.layers.0.among_norm.bias",
        "pixel_decoder.top.1.weight",
        "backbone.network.hidden_states_norms.0.weight",
        "backbone.network.model.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table",
    ):
        assert not decayed[name], name
    for name in (
        "class_head.weight",
        "class_head.bias",
        "mask_decoder.layers.0.among.query.weight",
        "pixel_decoder.embedding.weight",
        "backbone.network.model.embeddings.patch_embeddings.projection.weight",
    ):
        assert decayed[name], name


def test_frozen_parameters_are_in_no_group():
    network = tiny()
    network.backbone.requires_grad_(False)
    assert all(group.lr_factor == 1.0 for group in network.parameter_groups())
