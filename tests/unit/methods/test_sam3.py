"""SAM 3 on a tiny random checkpoint in the hub's layout."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lexiseg.core.errors import CheckpointError, InputError, MissingWeightsError
from lexiseg.methods.sam3 import Sam3Settings, fuse, names_at_once
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.published_names import published_names
from lexiseg.models.sam3 import NamePredictions, load_sam3
from lexiseg.recipes.sam3 import build_sam3
from published_checkpoints import PUBLISHED
from tiny_checkpoints import write_json
from tiny_vision_checkpoints import save_tiny_sam3

NAMES = ["cat", "dining table", "sky"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_sam3(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="module")
def model(folder):
    return build_sam3(str(folder))


@torch.inference_mode()
def test_names_together_are_transformers_own_answers_one_by_one(folder, model, tmp_path):
    from transformers import Sam3Model

    network, image = model.model, torch.rand(1, 3, 56, 56)
    reference = Sam3Model.from_pretrained(save_tiny_sam3(tmp_path, video=False)).eval()
    found = network.predict(network.encode(image), *network.embed(NAMES))
    for index, name in enumerate(NAMES):
        ids = network.tokenizer.encode(name).ids  # without padding: it must change nothing
        one = torch.tensor([ids])
        expected = reference(
            pixel_values=(image - 0.5) / 0.5, input_ids=one, attention_mask=torch.ones_like(one)
        )
        for got, wanted in (
            (found.masks[index], expected.pred_masks[0]),
            (found.semantic[index], expected.semantic_seg[0, 0]),
            (found.scores[index], expected.pred_logits[0]),
            (found.presence[index], expected.presence_logits.reshape(())),
        ):
            torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-4)


def logit(values) -> torch.Tensor:
    return torch.logit(torch.tensor(values))


def test_both_fusions_are_those_worked_out_by_hand():
    answers = NamePredictions(
        presence=logit([0.9, 0.1]),
        semantic=logit([[[0.6, 0.2]], [[0.7, 0.7]]]),
        scores=logit([[0.8], [0.5]]),
        masks=logit([[[[0.9, 0.1]]], [[[0.9, 0.9]]]]),
    )
    expected = {"v1": [[0.5832, 0.18], [0.07, 0.07]], "v2": [[0.648, 0.18], [0.07, 0.07]]}
    for fusion, wanted in expected.items():
        method = Sam3Settings(fusion=fusion, min_instance_score=0.5)
        found = [fuse(answers, index, (1, 2), method)[0] for index in range(2)]
        torch.testing.assert_close(torch.stack(found), torch.tensor(wanted), atol=1e-5, rtol=0)
    absent = NamePredictions(
        presence=torch.tensor([-1e4]),
        semantic=answers.semantic[:1],
        scores=answers.scores[:1],
        masks=answers.masks[:1],
    )
    for fusion in ("v1", "v2"):
        assert not fuse(absent, 0, (1, 2), Sam3Settings(fusion=fusion)).any()


def test_chunks_permutations_and_memory_change_nothing(model, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    words = [f"cat {index}" for index in range(12)]
    asked = []
    answer = type(model.model).predict
    monkeypatch.setattr(
        type(model.model),
        "predict",
        lambda self, levels, texts, mask: (asked.append(len(texts)), answer(self, levels, texts, mask))[1],
    )
    monkeypatch.setattr("lexiseg.methods.sam3.names_at_once", lambda *_: 5)
    chunked = model.segment(image, words)
    assert asked == [5, 5, 2]
    monkeypatch.setattr("lexiseg.methods.sam3.names_at_once", names_at_once)
    whole = model.segment(image, words)
    np.testing.assert_array_equal(whole.label_map, chunked.label_map)
    back = model.segment(image, words[::-1])
    np.testing.assert_array_equal(11 - back.label_map, whole.label_map)
    assert names_at_once(200, (288, 288), 512) == 8
    assert names_at_once(200, (288, 288), 1) == 1


def test_windows_are_blended_and_one_of_the_whole_image_changes_nothing(model):
    image = np.random.default_rng(1).integers(0, 256, (56, 56, 3), dtype=np.uint8)
    whole = model.segment(image, NAMES)
    one = model.segment(image, NAMES, window=56)
    np.testing.assert_array_equal(one.label_map, whole.label_map)
    encoded = model.encode(image, window=28, window_stride=28)
    assert len(encoded.windows) == 4
    found = model.segment(encoded, NAMES, window=28)
    assert found.label_map.shape == (56, 56)
    corner = model.segment(image[:28, :28], NAMES)
    np.testing.assert_allclose(found.score_map[:28, :28], corner.score_map, atol=0.05)


@pytest.mark.exhaustive
def test_847_names_stay_in_memory_and_their_cost_is_said(model, monkeypatch):
    import tracemalloc

    image = np.zeros((20, 30, 3), np.uint8)
    monkeypatch.setattr("lexiseg.methods.sam3._LONG", 0.0)
    tracemalloc.start()
    with pytest.warns(UserWarning, match=r"s a name, about .* s an image for 847 names"):
        found = model.segment(image, [f"{index}" for index in range(847)], memory_mb=1)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert found.label_map.shape == (20, 30)
    assert found.settings["method"]["fusion"] == "v2"


@pytest.mark.parametrize(
    "change", [{"tiles": "auto"}, {"prompts": "imagenet80"}, {"refine": "guided"}, {"min_area_share": 0.1}]
)
def test_what_it_cannot_follow_is_refused(change, model):
    with pytest.raises(InputError, match="labelling with"):
        model.segment(np.zeros((20, 30, 3), np.uint8), NAMES, **change)


def test_a_detector_alone_loads_and_a_video_checkpoint_without_one_is_refused(folder, tmp_path):
    alone = load_sam3(save_tiny_sam3(tmp_path / "alone", video=False))
    assert alone.fingerprint == load_sam3(folder).fingerprint
    write_json(tmp_path / "alone" / "config.json", {"model_type": "sam3_video"})
    with pytest.raises(CheckpointError, match="without detector_config"):
        load_sam3(tmp_path / "alone")


def test_a_missing_tensor_is_named(tmp_path):
    folder = save_tiny_sam3(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("detector_model.text_projection.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"text_projection.weight: file nothing"):
        load_sam3(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "sam3_video"


def test_the_published_tensors_are_those_of_the_network_at_full_size():
    from transformers import Sam3Config, Sam3Model

    (published,) = (each for each in PUBLISHED if each.name == "sam3")
    with torch.device("meta"):
        network = Sam3Model(Sam3Config())
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    targets = published_names("sam3")
    found = {
        name: tuple(shape)
        for tensors in published.tensors.values()
        for stored, (_, shape) in tensors.items()
        for name in targets(stored)
    }
    assert found == expected


def test_gated_weights_say_how_to_get_access_and_what_to_take_instead(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        MissingWeightsError, match=r"hf auth login.*licence must first be accepted.*need no consent"
    ):
        resolve_checkpoint("facebook/sam3")
