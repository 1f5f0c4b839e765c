import pytest
import torch
from safetensors.torch import load_file, save_file

from lexiseg.core.errors import CheckpointError
from lexiseg.models.maskformer_checkpoint import load_maskformer
from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, change_json
from tiny_maskformers import NAMES, save_tiny_maskformer


@pytest.fixture(scope="module", params=["resnet", "swin"])
def folder(request, tmp_path_factory):
    return save_tiny_maskformer(tmp_path_factory.mktemp("maskformers") / request.param, request.param)


def published_answers(folder, images):
    """What transformers' own modules say after every decoder layer, as the authors have it: norm, then heads."""
    from transformers import MaskFormerForInstanceSegmentation

    model = MaskFormerForInstanceSegmentation.from_pretrained(folder).eval().to(images.dtype)
    layers = []
    for layer in model.model.transformer_module.decoder.layers:
        layer.register_forward_hook(lambda _, __, output: layers.append(output))
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    with torch.no_grad():
        output = model((images - mean[:, None, None]) / std[:, None, None])
        proposals = model.model.transformer_module.decoder.layernorm(torch.stack(layers))
        classes, embeddings = model.class_predictor(proposals), model.mask_embedder(proposals)
    masks = torch.einsum("lbqc,bchw->lbqhw", embeddings, output.pixel_decoder_last_hidden_state)
    torch.testing.assert_close(classes[-1], output.class_queries_logits)
    torch.testing.assert_close(masks[-1], output.masks_queries_logits)
    return classes, masks


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (50, 70)])
def test_every_layer_says_what_transformers_own_modules_say(folder, size):
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    classes, masks = published_answers(folder, images)
    with torch.no_grad():
        ours = load_maskformer(folder).network.double()(images)
    assert len(ours.class_logits) == 3
    torch.testing.assert_close(ours.class_logits, classes, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.mask_logits, masks, atol=1e-5, rtol=0)
    assert masks.std() > 0.1
    assert (classes[0] - classes[-1]).abs().max() > 0.1, "the layers must differ for this to say anything"


def test_in_single_precision_only_rounding_differs(folder):
    images = torch.rand(1, 3, 64, 64)
    classes, masks = published_answers(folder, images)
    with torch.no_grad():
        ours = load_maskformer(folder).network(images)
    for own, theirs in ((ours.class_logits, classes), (ours.mask_logits, masks)):
        assert (own - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_the_names_of_the_classes_come_with_the_network(folder):
    loaded = load_maskformer(folder)
    assert loaded.class_names == tuple(NAMES)
    assert loaded.network.num_classes == len(NAMES)


def test_a_loaded_network_is_frozen_and_has_all_its_memory(folder):
    network = load_maskformer(folder).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(value.is_meta for value in [*network.parameters(), *network.buffers()])


def test_files_in_the_names_of_todays_transformers_load_alike(folder, tmp_path):
    from transformers import MaskFormerForInstanceSegmentation

    expected = load_maskformer(folder).network.state_dict()
    renamed = MaskFormerForInstanceSegmentation.from_pretrained(folder).state_dict()
    assert any(".mlp.fc1." in name for name in renamed)
    for file in folder.iterdir():
        if file.name != "model.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file({name: value.clone() for name, value in renamed.items()}, tmp_path / "model.safetensors")
    found = load_maskformer(tmp_path).network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("model.pixel_level_module.decoder.fpn.layers.0.proj.0.weight", "pixel_decoder.laterals.2.0.weight"),
        ("model.transformer_module.decoder.layers.1.fc2.bias", "mask_decoder.layers.1.narrow.bias"),
        ("mask_embedder.1.0.weight", "mask_head.2.weight"),
    ],
)
def test_a_missing_tensor_is_named(tmp_path, theirs, ours):
    save_tiny_maskformer(tmp_path, "resnet")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[theirs]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="1 that do not fit") as caught:
        load_maskformer(tmp_path)
    assert f"{ours}: file nothing" in str(caught.value)


def test_an_unknown_tensor_is_named(tmp_path):
    save_tiny_maskformer(tmp_path, "resnet")
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "extra.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"extra\.weight: file \(1,\), model nothing"):
        load_maskformer(tmp_path)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"id2label": {"0": "wall", "2": "sky"}}, "an id2label with the numbers [0, 2]"),
        ({"id2label": {}}, "no id2label"),
        ({"id2label": {"wall": "0"}}, "keys are not numbers"),
        ({"mask_feature_size": 16}, "embeddings of different sizes: [16, 32]"),
        ({"decoder_config": None}, "no backbone_config and decoder_config"),
        ({"backbone_config": {"model_type": "vit"}}, "a backbone of type 'vit'"),
        ({"model_type": "mask2former"}, "model_type 'mask2former'"),
    ],
)
def test_a_config_of_another_kind_is_refused_by_name(tmp_path, change, found):
    save_tiny_maskformer(tmp_path, "resnet")
    change_json(tmp_path / "config.json", **change)
    with pytest.raises(CheckpointError) as caught:
        load_maskformer(tmp_path)
    assert found in str(caught.value)
