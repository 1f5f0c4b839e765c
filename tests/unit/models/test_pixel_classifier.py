import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate

from lexiseg.core.errors import CheckpointError
from lexiseg.models.pixel_classifier import TYPES, load_pixel_classifier
from lexiseg.recipes.pixel_classifier import build_pixel_classifier
from lexiseg.runs.load import load
from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, change_json
from tiny_maskformers import NAMES, save_tiny_pixel_classifier


@pytest.fixture(scope="module", params=[*sorted(TYPES), "upernet-convnext"])
def folder(request, tmp_path_factory):
    return save_tiny_pixel_classifier(tmp_path_factory.mktemp("classifier") / request.param, request.param)


def published_answer(folder, images):
    """What transformers' own class says of square images: it takes no others for DPT."""
    import transformers

    name = TYPES[folder.name.partition("-")[0]].model_class
    model = getattr(transformers, name).from_pretrained(folder).eval()
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    with torch.no_grad():
        return model(pixel_values=(images - mean[:, None, None]) / std[:, None, None]).logits


def copied(folder, into):
    for file in folder.iterdir():
        (into / file.name).write_bytes(file.read_bytes())
    return into


def test_it_says_what_transformers_own_class_says(folder):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = published_answer(folder, images)
    loaded = load_pixel_classifier(folder)
    assert loaded.class_names == tuple(NAMES)
    with torch.no_grad():
        found = loaded.network(images)
    if folder.name.startswith("upernet"):  # transformers' class resizes to the image
        assert found.shape[2:] == (16, 16)
        found = interpolate(found, size=(64, 64), mode="bilinear", align_corners=False)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert expected.std() > 1e-3
    assert not any(value.is_meta for value in loaded.network.state_dict().values())
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_images_need_not_be_square_and_a_turned_grid_is_not_the_same(folder):
    network = load_pixel_classifier(folder).network
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wide, tall = network(images), network(images.mT)
    assert wide.shape[2:] == (64 // network.stride, 96 // network.stride)
    assert (wide - tall.mT).abs().max() > 1e-3  # weights are not symmetric: rows are not taken for columns
    edge = images[..., :64]
    with torch.no_grad():
        near, whole = network(edge)[..., :8], wide[..., :8]
    # A grid read in the wrong order would scramble even the corner that both images share.
    assert torch.nn.functional.cosine_similarity(near.flatten(), whole.flatten(), dim=0) > 0.5


def test_label_k_is_the_kth_class_of_the_file_whatever_the_training_labels_counted_from(folder):
    model = load(folder, device="cpu")
    image = (torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0)) * 255).byte().numpy()
    found = model.segment(image)
    assert found.vocabulary.names == ("wall", "building", "sky", "floor", "tree")
    logits = published_answer(folder, torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    scores = interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)[0]
    assert (found.label_map == scores.argmax(0).numpy()).mean() > 0.99
    for label, name in enumerate(NAMES):
        alone = model.segment(image, name.split(",")[-1].strip(), background="none")
        torch.testing.assert_close(torch.from_numpy(alone.score_map), scores[label], atol=1e-3, rtol=1e-3)


def test_one_word_leaves_the_rest_to_the_background(folder):
    model = load(folder, device="cpu")
    image = (torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(1)) * 255).byte().numpy()
    everything = model.segment(image).label_map
    # Names of one class, as of the background, compete on the grid: borders move a little.
    most = int(np.bincount(everything.ravel()).argmax())
    found = model.segment(image, NAMES[most].split(",")[0])
    assert found.vocabulary.names[1] == "background"
    assert ((found.label_map == 0) == (everything == most)).mean() > 0.98


def test_the_file_says_at_which_size_it_was_evaluated(folder):
    settings = build_pixel_classifier(str(folder)).settings
    assert (settings.short_side, settings.max_long_side) == (64, 2048)


def test_what_else_a_family_has_and_what_does_not_fit_is_named(folder, tmp_path):
    copied(folder, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    gone = next(name for name in sorted(tensors) if "encoder" in name and name.endswith("weight"))
    del tensors[gone]
    save_file({**tensors, "extra.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="2 that do not fit"):
        load_pixel_classifier(tmp_path)
    change_json(tmp_path / "config.json", architectures=["DPTForDepthEstimation"])
    with pytest.raises(
        CheckpointError, match=r"found a DPTForDepthEstimation; expected a .*ForSemanticSegmentation"
    ):
        load_pixel_classifier(tmp_path)


@pytest.mark.parametrize(
    ("kind", "change", "found"),
    [
        ("dpt", {"is_hybrid": True}, "a backbone of another family"),
        ("upernet", {"backbone_config": {"model_type": "resnet"}}, "a backbone of type 'resnet'"),
        ("segformer", {"id2label": None}, "no id2label"),
    ],
)
def test_backbones_that_are_not_read_are_refused_by_name(tmp_path, kind, change, found):
    save_tiny_pixel_classifier(tmp_path, kind)
    change_json(tmp_path / "config.json", **change)
    with pytest.raises(CheckpointError, match=found):
        load_pixel_classifier(tmp_path)
