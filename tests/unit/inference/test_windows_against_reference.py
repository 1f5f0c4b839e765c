"""Windowed label maps against an independent, naive pipeline: every class at full size, in plain torch."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from lexiseg.inference.predict import grid_scores
from toy_segmenter import ColourSegmenter

STRIDE = 4
WORDS = ["red", "green", "blue", "white", "black", "grey one", "grey two"]


def starts(size: int, window: int, step: int) -> list[int]:
    count = max(size - window + step - 1, 0) // step + 1
    return [max(min(i * step, size - window), 0) for i in range(count)]


def tent(length: int) -> torch.Tensor:
    rise = torch.minimum(torch.arange(1, length + 1), torch.arange(length, 0, -1)).float()
    return rise / rise.max()


def resized(image: np.ndarray, short_side: int, max_long_side: int) -> torch.Tensor:
    height, width = image.shape[:2]
    scale = min(short_side / min(height, width), max_long_side / max(height, width))
    size = [max(1, round(side * scale / STRIDE)) * STRIDE for side in (height, width)]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    return interpolate(pixels, size=size, mode="bilinear", antialias=True).float() / 255


@torch.inference_mode()
def stitched(
    model, image: np.ndarray, window: int, step: int, blend: str, max_long_side: int
) -> torch.Tensor:
    """Blend all classes at the resized image's size: 1 K H W."""
    pixels = resized(image, model.settings.short_side, max_long_side)
    height, width = pixels.shape[2:]
    embeddings = model.embed_texts(WORDS, "single")
    total, weights = torch.zeros(1, len(WORDS), height, width), torch.zeros(height, width)
    for top in starts(height, window, step):
        for left in starts(width, window, step):
            crop = pixels[:, :, top : top + window, left : left + window]
            scores = model.class_scores(model.encode_images(crop), embeddings)
            size = crop.shape[2:]
            weight = torch.ones(size) if blend == "mean" else tent(size[0])[:, None] * tent(size[1])
            place = (..., slice(top, top + size[0]), slice(left, left + size[1]))
            total[place] += weight * interpolate(scores, size=size, mode="bilinear")
            weights[place] += weight
    return total / weights


@pytest.mark.parametrize("blend", ["mean", "tent"])
@pytest.mark.parametrize(
    ("size", "window", "step", "max_long_side"),
    [((90, 130), 32, 20, 2048), ((77, 200), 40, 12, 100), ((61, 61), 32, None, 2048)],
)
def test_windowed_label_maps_equal_the_naive_pipeline(size, window, step, max_long_side, blend):
    image = np.random.default_rng(3).integers(0, 255, (*size, 3), np.uint8)
    image = np.asarray(np.repeat(np.repeat(image[::6, ::6], 6, 0), 6, 1)[: size[0], : size[1]])
    model = ColourSegmenter(short_side=64, max_long_side=max_long_side)
    found = model.segment(image, WORDS, window=window, window_stride=step, blend=blend)
    wanted = stitched(model, image, window, step or window // 2, blend, max_long_side)
    final = interpolate(wanted, size=size, mode="bilinear")[0]
    best, labels = final.max(dim=0)
    top_two = final.topk(2, dim=0).values
    clear = (top_two[0] - top_two[1] > 1e-4).numpy()
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(found.label_map[clear], labels.numpy()[clear])
    np.testing.assert_allclose(found.score_map, best.numpy(), atol=1e-4)


def test_scores_for_refinement_lie_where_the_windows_saw_them():
    image = np.random.default_rng(5).integers(0, 255, (80, 120, 3), np.uint8)
    model = ColourSegmenter(short_side=64, window=32, window_stride=16)
    encoded = model.encode(image)
    embeddings = model.embed_texts(WORDS, "single")
    wanted_classes = [4, 0, 2]
    found = grid_scores(
        encoded, model.class_scores, embeddings, [1] * len(WORDS), wanted_classes, settings=model.settings
    )
    full = stitched(model, image, 32, 16, "mean", 2048)[0, wanted_classes]
    torch.testing.assert_close(found, torch.nn.functional.avg_pool2d(full, STRIDE), rtol=1e-4, atol=1e-4)


def test_a_pixel_exactly_at_the_threshold_keeps_its_word():
    image = np.zeros((8, 8, 3), np.uint8)
    result = ColourSegmenter(short_side=8).segment(image, "black, red", background="threshold", threshold=0.0)
    assert result.score_map.max() == 0.0
    assert (result.label_map == 0).all()
