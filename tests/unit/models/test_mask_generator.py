import numpy as np
import pytest
import torch
from torch import nn

from lexiseg.models.mask_generator import MaskGenerator, MaskGeneratorSettings
from lexiseg.models.pixel_normalisation import PixelNormalisation
from lexiseg.models.prompted_masks import ImageEmbeddings, PromptedMasks
from lexiseg.models.sam import Sam, load_sam
from lexiseg.models.sam2 import Sam2, load_sam2
from tiny_vision_checkpoints import save_tiny_sam, save_tiny_sam2


class ByColour(PromptedMasks):
    """Answers with the colour under the point (sure), its left half (unsure) and a blurred one (unstable)."""

    min_expected_iou = 0.88

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Identity()
        self.normalisation = PixelNormalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        self.input_side = 32
        self.asked: list[int] = []

    def embed(self, image):
        size = (image.shape[0], image.shape[1])
        return ImageEmbeddings(
            embeddings=(torch.from_numpy(image[..., 0].copy()),), size=size, seen_size=size
        )

    def predict(self, embedded, points, *, multimask_output):
        assert multimask_output
        (colours,) = embedded.embeddings
        self.asked.append(len(points))
        x, y = points[:, 0].long().unbind(1)
        same = colours[None] == colours[y, x][:, None, None]
        half = same & (torch.arange(colours.shape[1]) < 8)
        sure, weak = torch.where(same, 10.0, -10.0), torch.where(same, 0.5, -10.0)
        scores = torch.tensor([0.95, 0.88, 0.99]).repeat(len(points), 1)
        scores[:, 0] += points[:, 0, 0] * 1e-5
        return torch.stack([sure, torch.where(half, 10.0, -10.0), weak], dim=1), scores

    def upsample(self, logits, embedded):
        return logits


def quadrants() -> np.ndarray:
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, 24:], image[16:, :24], image[16:, 24:] = 60, 120, 180
    return image


def test_each_thing_is_found_once_whatever_the_number_of_points():
    network = ByColour()
    found = MaskGenerator(network).propose(quadrants())
    assert network.asked == [64] * 16
    assert len(found) == 4
    assert found.masks.shape == (4, 32, 48)
    assert (found.masks.sum(0) == 1).all()
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_an_expected_iou_at_the_limit_is_too_low_and_an_unstable_mask_is_dropped():
    image = quadrants()
    lower = MaskGenerator(ByColour(), MaskGeneratorSettings(min_expected_iou=0.87)).propose(image)
    assert len(lower) == 6  # the left halves of the two quadrants on the left
    unstable = MaskGenerator(ByColour(), MaskGeneratorSettings(min_stability=0.0)).propose(image)
    assert len(unstable) == 4
    assert unstable.scores.max() == pytest.approx(0.99)


def test_points_are_at_the_centres_of_the_cells():
    seen = []

    class Recording(ByColour):
        def predict(self, embedded, points, *, multimask_output):
            seen.append(points)
            return super().predict(embedded, points, multimask_output=multimask_output)

    MaskGenerator(Recording(), MaskGeneratorSettings(points_per_side=2)).propose(quadrants())
    assert torch.cat(seen)[:, 0].tolist() == [[12, 8], [36, 8], [12, 24], [36, 24]]


def test_images_whose_width_is_no_multiple_of_eight_come_back_whole():
    image = quadrants()[:, 3:]
    found = MaskGenerator(ByColour()).propose(image)
    assert found.masks.shape == (4, 32, 45)
    assert (found.masks.sum(0) == 1).all()


NETWORKS = {"sam": (save_tiny_sam, load_sam), "sam2": (save_tiny_sam2, load_sam2)}


@pytest.fixture(scope="module", params=NETWORKS)
def real(request, tmp_path_factory) -> PromptedMasks:
    """The real classes with tiny weights: a test double that is kinder than they are hides what breaks them."""
    save, load = NETWORKS[request.param]
    return load(save(tmp_path_factory.mktemp("checkpoints") / request.param))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def lenient(network: PromptedMasks, **changes) -> MaskGeneratorSettings:
    """Settings under which masks of random weights pass."""
    passing = {"min_expected_iou": -10.0, "min_stability": 0.0, "stability_offset": 0.0, "max_box_iou": 1.0}
    return MaskGeneratorSettings(**{"points_per_side": 3, "points_per_batch": 4, **passing, **changes})


# Every way in which a batch, or all of them, can yield nothing.
NOTHING = {
    "no answer is good": {"min_expected_iou": 10.0},
    "none is stable": {"min_stability": 2.0},
    "some batches have none": {"points_per_batch": 1, "min_expected_iou": None},
}


@pytest.mark.parametrize("why", NOTHING)
def test_batches_without_a_good_mask_are_an_answer_of_the_real_networks(real, why, monkeypatch):
    image, settings = noise(40, 56), lenient(real, **NOTHING[why])
    if settings.min_expected_iou is None:  # one answer above the limit, all others below
        best = MaskGenerator(real, lenient(real)).propose(image).scores
        limit = float(np.sort(best)[-2:].mean())  # between the two: batches of other sizes round otherwise
        settings = lenient(real, **NOTHING[why] | {"min_expected_iou": limit})
    found = MaskGenerator(real, settings).propose(image)
    assert found.masks.shape == (1 if "some" in why else 0, 40, 56)
    assert found.scores.shape == (len(found),)


@pytest.mark.parametrize("size", [(40, 56), (9, 200)])
def test_nothing_upsampled_is_nothing(real, size):
    assert real.upsample(torch.zeros(0, 16, 16), real.embed(noise(*size))).shape == (0, *size)


def test_masks_are_upsampled_within_the_bytes_given_and_come_out_alike(real, monkeypatch):
    image = noise(80, 120)
    whole = MaskGenerator(real, lenient(real)).propose(image)
    assert len(whole) > 4
    upsampled, original = [], type(real).upsample

    def counting(self, logits, embedded):
        upsampled.append(len(logits))
        return original(self, logits, embedded)

    monkeypatch.setattr(type(real), "upsample", counting)
    for masks_at_once in (1, 2, 5):
        upsampled.clear()
        limit = masks_at_once * 4 * (2 * 80 * 120 + real.input_side**2)
        pieces = MaskGenerator(real, lenient(real, upsample_bytes=limit)).propose(image)
        assert max(upsampled) == masks_at_once
        assert np.array_equal(pieces.masks, whole.masks)
        assert np.array_equal(pieces.scores, whole.scores)
    upsampled.clear()
    MaskGenerator(real, lenient(real, upsample_bytes=1)).propose(image)
    assert set(upsampled) == {1}


def test_after_suppression_only_the_survivors_are_upsampled_again():
    network, upsampled = ByColour(), []
    network.upsample = lambda logits, embedded: upsampled.append(len(logits)) or logits
    found = MaskGenerator(network).propose(quadrants())
    assert len(found) == 4
    assert sum(upsampled) == sum(upsampled[:-1]) + 4


def test_each_network_has_its_authors_limit_and_a_given_one_goes_before():
    assert (Sam.min_expected_iou, Sam2.min_expected_iou) == (0.88, 0.8)
    network = ByColour()
    network.min_expected_iou = 0.87  # as on an instance of another class
    assert len(MaskGenerator(network).propose(quadrants())) == 6
    given = MaskGeneratorSettings(min_expected_iou=0.88)
    assert len(MaskGenerator(network, given).propose(quadrants())) == 4


def test_no_mask_is_an_answer():
    found = MaskGenerator(ByColour(), MaskGeneratorSettings(min_expected_iou=2.0)).propose(quadrants())
    assert found.masks.shape == (0, 32, 48)
    assert found.scores.shape == (0,)


@pytest.mark.parametrize(("save", "load"), [(save_tiny_sam, load_sam), (save_tiny_sam2, load_sam2)])
def test_filters_agree_with_transformers_own(tmp_path, save, load):
    from transformers import SamImageProcessorPil

    network = load(save(tmp_path))
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    embedded = network.embed(image)
    x, y = np.meshgrid((np.arange(4) + 0.5) / 4 * 70, (np.arange(4) + 0.5) / 4 * 50)
    points = torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1).astype(np.float32))[:, None]
    with torch.no_grad():
        logits, scores = network.predict(embedded, points, multimask_output=True)
        maps = network.upsample(logits.flatten(0, 1), embedded)
    offset = 0.02  # small, as the logits of random weights are
    stability = (maps > offset).sum((1, 2)) / (maps > -offset).sum((1, 2))
    # transformers takes a limit of zero or less for none
    limits = {"iou": float(scores[scores > 0].quantile(0.2)), "stability": float(stability.quantile(0.4))}
    settings = MaskGeneratorSettings(
        points_per_side=4,
        points_per_batch=5,
        min_expected_iou=limits["iou"],
        min_stability=limits["stability"],
        stability_offset=offset,
        max_box_iou=1.0,
    )
    found = MaskGenerator(network, settings).propose(image)
    _, expected_scores, boxes = SamImageProcessorPil().filter_masks(
        maps.unflatten(0, (16, 3)),
        scores,
        (50, 70),
        [0, 0, 70, 50],
        pred_iou_thresh=limits["iou"],
        stability_score_thresh=limits["stability"],
        stability_score_offset=offset,
    )
    assert 5 < len(expected_scores) < 40
    assert sorted(found.scores.tolist()) == pytest.approx(sorted(expected_scores.tolist()), abs=1e-5)
    inclusive = found.boxes - np.array([0, 0, 1, 1])
    assert sorted(map(tuple, inclusive.tolist())) == sorted(map(tuple, boxes.int().tolist()))


def test_it_moves_with_its_network():
    generator = MaskGenerator(ByColour())
    assert "network.normalisation.mean" in generator.state_dict()
