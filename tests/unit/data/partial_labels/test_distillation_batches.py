import numpy as np
import pytest
import torch

from distillation_toys import toy_batches, toy_view
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.data.augmentation.labelled_crop import LabelledCropSettings
from lexiseg.data.partial_labels.distillation_batches import (
    DistillationBatches,
    WholeImages,
    distillation_data,
    fit_square,
)
from lexiseg.data.partial_labels.pseudo_masks import WithPseudoMasks, write_pseudo_mask
from partial_label_toys import CAT, SIZE, ToyDataset, image_of, toy_samples


def test_a_row_depends_on_the_step_and_its_place_only():
    data = toy_batches(toy_samples())
    whole = data(3, 0, 4)
    halves = [data(3, 0, 2), toy_batches(toy_samples())(3, 2, 4)]
    for name in ("images", "label_maps", "padding", "teacher_maps", "teacher_vectors"):
        assert torch.equal(torch.cat([getattr(half, name) for half in halves]), getattr(whole, name)), name
    assert whole.sources == (*halves[0].sources, *halves[1].sources)


def test_every_image_comes_once_an_epoch():
    data = toy_batches(toy_samples())
    sources = [source for step in range(2) for source in data(step, 0, 4).sources]
    assert sorted(sources) == [f"{name}.png" for name in "abcdefgh"]


def test_a_batch_is_cut_and_moved_with_what_the_teacher_says():
    batch = toy_batches(toy_samples())(0, 0, 4)
    part = batch.part(1, 3).to("cpu")
    assert torch.equal(part.teacher_maps, batch.teacher_maps[1:3])
    assert part.truth is None


def test_mirrored_images_come_with_mirrored_features():
    samples = [image_of("a", 0, 5)]
    data = DistillationBatches(
        toy_view(samples), WholeImages(size=SIZE), toy_batches(samples).features, batch_size=8, seed=0
    )
    batch = data(0, 0, 8)
    mirrored = batch.images[:, 0, 0, 0] > 60
    assert 0 < mirrored.sum() < 8
    assert torch.equal(batch.teacher_maps[:, 5, 0, 0] > 0, mirrored)


def test_squares_hold_the_whole_image_and_padding():
    image = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    labels = np.tile(np.array([0, 0, 0, 0, 1, 1, 1, 1], np.uint16), (4, 1))
    square = fit_square(image, labels, 4, flipped=False)
    assert square.label_map.tolist() == [[0, 0, 1, 1]] * 2 + [[IGNORE_INDEX] * 4] * 2
    assert square.padding.tolist() == [[False] * 4] * 2 + [[True] * 4] * 2
    assert (square.image[2:] == 128).all()
    mirrored = fit_square(image, labels, 4, flipped=True)
    assert mirrored.label_map.tolist() == [[1, 1, 0, 0]] * 2 + [[IGNORE_INDEX] * 4] * 2
    np.testing.assert_array_equal(mirrored.image[:2], square.image[:2, ::-1])
    same = fit_square(image, labels, 8, flipped=False)
    np.testing.assert_array_equal(same.image[:4], image)


def test_an_image_of_one_row_keeps_it():
    square = fit_square(np.zeros((1, 100, 3), np.uint8), np.zeros((1, 100), np.uint16), 8, flipped=False)
    assert (~square.padding).sum() == 8


def test_a_crop_that_is_all_void_is_taken():
    samples = [image_of("a", CAT, void=0)]
    crop = LabelledCropSettings(size=16, max_attempts=1, colour_jitter=False)
    batch = DistillationBatches(toy_view(samples), crop, None, batch_size=2, seed=0)(0, 0, 2)
    assert (batch.label_maps == IGNORE_INDEX).all()
    assert batch.teacher_maps is None


def test_the_fingerprint_knows_teacher_pieces_and_seed():
    def fingerprint(**changes) -> str:
        settings = {"batch_size": 4, "seed": 1, "facts": {}, **changes}
        pieces = settings.pop("pieces", WholeImages(size=SIZE))
        features = settings.pop("features", None)
        return distillation_data(toy_view(toy_samples()), pieces, features, **settings).fingerprint()

    kinds = [
        fingerprint(),
        fingerprint(seed=2),
        fingerprint(pieces=WholeImages(size=SIZE, flip=False)),
        fingerprint(features=toy_batches(toy_samples()).features),
        fingerprint(batch_size=8),
    ]
    assert len(set(kinds)) == len(kinds)
    assert kinds[0] == fingerprint()


def test_pseudo_masks_replace_label_maps(tmp_path):
    samples = [image_of("a", 0, CAT), image_of("b", 1)]
    write_pseudo_mask(tmp_path, "a", np.full((SIZE, SIZE), 4, np.uint16))
    data = WithPseudoMasks(ToyDataset(samples), tmp_path)
    assert (data[0].label_map == 4).all()
    assert data[1].label_map is None
    before = data.fingerprint()
    write_pseudo_mask(tmp_path, "b", np.full((SIZE, SIZE), 4, np.uint16))
    assert data.fingerprint() != before
    write_pseudo_mask(tmp_path, "b", np.full((SIZE, SIZE + 1), 4, np.uint16))
    with pytest.raises(DatasetError, match="expected the same size"):
        data[1]
    assert data[0].tags is None
