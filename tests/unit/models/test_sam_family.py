"""SAM and SAM 2 against transformers' own classes, image processors included."""

import numpy as np
import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file

from lexiseg.core.errors import CheckpointError
from lexiseg.models.prompted_masks import PromptedMasks
from lexiseg.models.sam import load_sam
from lexiseg.models.sam2 import load_sam2
from tiny_checkpoints import IMAGE_MEAN, IMAGE_STD, change_json
from tiny_vision_checkpoints import save_tiny_sam, save_tiny_sam2

KINDS = {"sam": (save_tiny_sam, load_sam), "sam2": (save_tiny_sam2, load_sam2)}
SIZES = [(64, 64), (64, 48), (37, 64)]  # the long side is the network's own: nothing is resampled for SAM


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    return KINDS[kind][0](tmp_path_factory.mktemp("checkpoints") / kind)


@pytest.fixture(scope="module")
def model(kind, folder) -> PromptedMasks:
    return KINDS[kind][1](folder)


@pytest.fixture(scope="module")
def reference(kind, folder):
    from transformers import Sam2Model, SamModel

    return (SamModel if kind == "sam" else Sam2Model).from_pretrained(folder).eval()


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def transformers_inputs(kind, image, points):
    """Pixels and points as transformers' own processor makes them."""
    if kind == "sam":
        from transformers import SamImageProcessorPil

        processor = SamImageProcessorPil(
            image_mean=IMAGE_MEAN,
            image_std=IMAGE_STD,
            size={"longest_edge": 64},
            pad_size={"height": 64, "width": 64},
            mask_size={"longest_edge": 16},
            mask_pad_size={"height": 16, "width": 16},
        )
        inputs = processor(image, return_tensors="pt")
        return processor, inputs, torch.from_numpy(points)[None]
    height, width = image.shape[:2]
    pixels = rearrange(torch.from_numpy(image), "h w c -> 1 c h w").float() / 255
    pixels = torch.nn.functional.interpolate(pixels, (64, 64), mode="bilinear", antialias=True)
    mean, std = torch.tensor(IMAGE_MEAN), torch.tensor(IMAGE_STD)
    pixels = (pixels - mean[:, None, None]) / std[:, None, None]
    scaled = torch.from_numpy(points)[None] * torch.tensor([64 / width, 64 / height])
    return None, {"pixel_values": pixels}, scaled.float()


@pytest.mark.parametrize("multimask_output", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_logits_and_scores_are_transformers_own(kind, model, reference, size, multimask_output):
    image = photo(*size)
    points = np.array([[[3.0, 5.0], [20.0, 11.0]], [[40.0, 30.0], [0.5, 0.5]]], np.float32)
    _, inputs, scaled = transformers_inputs(kind, image, points)
    with torch.no_grad():
        expected = reference(
            pixel_values=inputs["pixel_values"], input_points=scaled, multimask_output=multimask_output
        )
        logits, scores = model.predict(
            model.embed(image), torch.from_numpy(points), multimask_output=multimask_output
        )
    assert logits.shape == (2, 3 if multimask_output else 1, 16, 16)
    assert expected.pred_masks.std() > 1e-3
    torch.testing.assert_close(logits, expected.pred_masks[0], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(scores, expected.iou_scores[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 48), (37, 64), (93, 130), (20, 9)])
def test_enlarged_masks_are_transformers_own(kind, model, size):
    logits = torch.randn(3, 16, 16)
    read = model.embed(photo(*size))
    enlarged = model.upsample(logits, read)
    assert enlarged.shape == (3, *size)
    if kind == "sam":
        processor, inputs, _ = transformers_inputs(kind, photo(*size), np.zeros((1, 1, 2), np.float32))
        expected = processor.post_process_masks(
            [logits[None]], inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
        )[0][0]
        assert tuple(inputs["reshaped_input_sizes"][0]) == read.seen_size
    else:
        expected = torch.nn.functional.interpolate(logits[None], size, mode="bilinear")[0]
    torch.testing.assert_close(enlarged, expected)


def test_masks_come_best_first_and_one_or_three(model):
    image = photo(40, 56)
    points = np.array([[10, 20], [30, 20]], np.float32)
    three, one = model.masks_at(image, points, multimask_output=True), model.masks_at(image, points)
    assert three.masks.shape == (3, 40, 56)
    assert one.masks.shape == (1, 40, 56)
    assert three.scores.tolist() == sorted(three.scores.tolist(), reverse=True)


def test_the_network_is_frozen_and_whole(model):
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(value.is_meta for value in [*model.parameters(), *model.buffers()])


def test_a_missing_tensor_is_named(kind, tmp_path):
    save, load = KINDS[kind]
    file = save(tmp_path) / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in sorted(tensors) if name.startswith("mask_decoder.iou_prediction_head"))
    del tensors[name]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=f"1 that do not fit:\n  {name}: file nothing"):
        load(tmp_path)


def test_another_kind_of_model_is_refused(kind, tmp_path):
    save, load = KINDS[kind]
    save(tmp_path)
    change_json(tmp_path / "config.json", model_type="clip")
    with pytest.raises(CheckpointError, match=r"found model_type 'clip', .*; expected one of: sam"):
        load(tmp_path)


@pytest.mark.parametrize("kept", ["both", "shared_image_embedding", "prompt_encoder.shared_embedding"])
def test_sam_files_may_hold_either_or_both_of_the_shared_tensor(tmp_path, kept):
    file = save_tiny_sam(tmp_path) / "model.safetensors"
    tensors = load_file(file)
    owners = ("shared_image_embedding", "prompt_encoder.shared_embedding")
    names = [f"{owner}.positional_embedding" for owner in owners]
    value = next(tensors[name] for name in names if name in tensors)
    for name in names:
        tensors.pop(name, None)
        if kept == "both" or name.startswith(kept):
            tensors[name] = value.clone()
    save_file(tensors, file)
    network = load_sam(tmp_path).network
    assert torch.equal(network.shared_image_embedding.positional_embedding, value)
    assert torch.equal(network.prompt_encoder.shared_embedding.positional_embedding, value)


def test_a_video_checkpoint_gives_the_same_network(tmp_path):
    plain, video = (
        load_sam2(save_tiny_sam2(tmp_path / name, video=name == "video")) for name in ("plain", "video")
    )
    image = photo(30, 40)
    assert torch.equal(plain.embed(image).embeddings[-1], video.embed(image).embeddings[-1])
