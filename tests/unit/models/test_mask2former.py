import pytest
import torch
from safetensors.torch import load_file, save_file

from lexiseg.core.errors import CheckpointError
from lexiseg.models.mask2former import TYPES, load_universal
from lexiseg.runs.load import load
from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, change_json
from tiny_maskformers import NAMES, save_tiny_universal


@pytest.fixture(scope="module", params=sorted(TYPES))
def folder(request, tmp_path_factory):
    return save_tiny_universal(tmp_path_factory.mktemp("universal") / request.param, request.param)


def published_answer(folder, images):
    """What transformers' own class says, told its task by its own tokenizer as its own processor does."""
    import transformers

    kind = folder.name
    told = {"is_training": False} if kind == "oneformer" else {}
    model = getattr(transformers, TYPES[kind][1]).from_pretrained(folder, **told).eval()
    told = {}
    if kind == "oneformer":
        tokens = transformers.CLIPTokenizer.from_pretrained(folder)(
            ["the task is semantic"],
            padding="max_length",
            max_length=77,
            truncation=True,
            return_tensors="pt",
        )
        told["task_inputs"] = (tokens["input_ids"] * tokens["attention_mask"]).float().expand(len(images), -1)
        assert told["task_inputs"].count_nonzero() < 77
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    with torch.no_grad():
        pixels = (images - mean[:, None, None]) / std[:, None, None]
        output = model(pixel_values=pixels, **told)
    return output.class_queries_logits, output.masks_queries_logits


def test_it_says_what_transformers_own_class_says(folder):
    images = torch.rand(2, 3, 64, 96)
    expected = published_answer(folder, images)
    loaded = load_universal(folder)
    assert loaded.class_names == tuple(NAMES)
    assert loaded.network.num_classes == 5
    with torch.no_grad():
        found = loaded.network.propose(images)
    for own, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-4, rtol=1e-4)
        assert theirs.std() > 0.05
    assert not any(value.is_meta for value in loaded.network.state_dict().values())
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_it_labels_with_its_own_classes_and_their_other_names(folder):
    """Label ``k`` is the ``k``-th logit: nothing is shifted, whatever background the training labels had."""
    model = load(folder, device="cpu")
    image = (torch.rand(64, 96, 3, generator=torch.Generator().manual_seed(0)) * 255).byte().numpy()
    size = {"short_side": 64, "max_long_side": 96}
    assert model.segment(image, **size).vocabulary.names == ("wall", "building", "sky", "floor", "tree")
    classes, masks = published_answer(folder, torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    logits = torch.nn.functional.interpolate(masks, size=(64, 96), mode="bilinear")
    scores = torch.einsum("qk,qyx->kyx", classes[0].softmax(-1)[:, :-1], logits[0].sigmoid())
    for label, name in enumerate(NAMES):
        alone = model.segment(image, name.split(",")[-1].strip(), background="none", **size)
        torch.testing.assert_close(torch.from_numpy(alone.score_map), scores[label], atol=1e-4, rtol=1e-3)


def test_a_missing_and_an_unknown_tensor_are_named(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    name = "model.pixel_level_module.encoder.encoder.layers.1.blocks.0.attention.self.key.bias"
    del tensors[name]
    save_file({**tensors, "extra.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="2 that do not fit") as caught:
        load_universal(tmp_path)
    assert "attention.k_proj.bias: file nothing" in str(caught.value)
    assert "extra.weight: file (1,), model nothing" in str(caught.value)


def test_what_cannot_be_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change_json(tmp_path / "config.json", backbone_config={"model_type": "dinat"})
    with pytest.raises(CheckpointError, match="a backbone of type 'dinat'"):
        load_universal(tmp_path)
    change_json(tmp_path / "config.json", id2label={"0": "wall", "2": "sky"})
    with pytest.raises(CheckpointError, match="an id2label with the numbers"):
        load_universal(tmp_path)
