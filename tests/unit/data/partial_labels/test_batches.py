import dataclasses
import pickle

import numpy as np
import pytest
import torch

from lexiseg.core.batch import Batch
from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import DatasetError
from lexiseg.data.partial_labels.batches import (
    TruthBatch,
    WeakShotBatches,
    WeakShotSettings,
    weak_shot_data,
    whole_image,
)
from lexiseg.data.partial_labels.masked_labels import MaskedLabels
from partial_label_toys import BIRD, CAT, DOG, SEEN, ToyDataset, image_of, toy_samples, with_labels_permuted


def left_half(image, label_map, rng):
    """Crop; ``rng`` decides nothing."""
    half = image.shape[1] // 2
    return image[:, :half], label_map[:, :half], np.zeros((len(image), half), bool)


def batches(samples=None, crop=whole_image, **settings) -> WeakShotBatches:
    settings = WeakShotSettings(**settings)
    masked_labels = MaskedLabels(ToyDataset(samples or toy_samples()), gives_truth=settings.needs_truth)
    return WeakShotBatches(masked_labels, settings, crop, batch_size=4, seed=3)


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    return {
        field.name: value
        for field in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }


def test_permuting_unseen_labels_changes_no_tensor():
    # The leak test at the data's level: where unseen classes are does not matter, only which they are.
    changed = [with_labels_permuted(sample) for sample in toy_samples()]
    assert any(
        (a.label_map != b.label_map).any()
        for a, b in zip(toy_samples(), changed, strict=True)
        if a.label_map is not None
    )
    ours, theirs = batches(), batches(changed)
    for step in range(20):
        one, other = ours(step, 0, 4), theirs(step, 0, 4)
        assert one.sources == other.sources
        for name, tensor in tensors(one).items():
            assert torch.equal(tensor, tensors(other)[name]), name
        assert type(one) is Batch


def test_tags_of_crops_may_know_what_is_in_the_crop_and_nothing_else():
    # cat on the left, dog on the right: the crop of the left half shows no dog
    samples = [image_of(name, 0, CAT, 1, DOG) for name in "abcd"]
    tags = batches(samples, left_half, presence="crop")(0, 0, 4).tags
    assert tags[:, CAT].all()
    assert not tags[:, DOG].any()
    whole = batches(samples, left_half)(0, 0, 4).tags
    assert whole[:, CAT].all()
    assert whole[:, DOG].all()
    # swapping pixels of unseen classes inside the crop keeps everything
    swapped = [image_of(name, 0, CAT, 1, DOG) for name in "abcd"]
    for sample in swapped:
        hidden = sample.label_map[:, :16] == CAT
        sample.label_map[:, :16][hidden] = np.random.default_rng(0).permutation(
            sample.label_map[:, :16][hidden]
        )
    ours, theirs = (batches(each, left_half, presence="crop")(0, 0, 4) for each in (samples, swapped))
    assert all(torch.equal(tensor, tensors(theirs)[name]) for name, tensor in tensors(ours).items())


def test_label_maps_hold_seen_classes_only():
    for step in range(6):
        labels = batches()(step, 0, 4).label_maps
        assert set(labels.unique().tolist()) <= SEEN | {IGNORE_INDEX}


def test_a_row_does_not_depend_on_which_rows_are_asked_for():
    ours = batches()
    whole = ours(5, 0, 4)
    for start in (0, 2):
        part = ours(5, start, start + 2)
        for name, tensor in tensors(part).items():
            assert torch.equal(tensor, tensors(whole)[name][start : start + 2]), name


def test_first_images_of_pairs_go_through_the_data_set_evenly():
    ours = batches()
    seen = [source for step in range(8) for source in ours(step, 0, 4).sources[::2]]
    assert sorted(seen) == sorted(2 * [f"{name}.png" for name in "abcdefgh"])


def test_a_pair_shares_an_unseen_tag_where_it_can():
    ours = batches()
    for step in range(8):
        batch = ours(step, 0, 4)
        for row in (0, 2):
            shared = batch.tags[row] & batch.tags[row + 1]
            if batch.sources[row] != "f.png":  # the one without unseen classes
                assert shared[[CAT, DOG, BIRD]].any(), batch.sources[row : row + 2]


def test_an_image_with_tags_only_has_them_and_no_mask():
    ours = batches()
    for step in range(8):
        batch = ours(step, 0, 4)
        for row, source in enumerate(batch.sources):
            if source == "g.png":
                assert (batch.label_maps[row] == IGNORE_INDEX).all()
                assert batch.tags[row].nonzero().flatten().tolist() == [CAT, BIRD]


def test_the_truth_is_in_a_batch_only_for_ablations():
    batch = batches(truth=True)(0, 0, 4)
    assert isinstance(batch, TruthBatch)
    assert set(batch.truth.unique().tolist()) & {CAT, DOG, BIRD}
    assert batch.part(0, 2).truth.shape[0] == 2
    assert not set(batch.label_maps.unique().tolist()) & {CAT, DOG, BIRD}
    with pytest.raises(AssertionError, match="gives no truth"):
        WeakShotBatches(
            MaskedLabels(ToyDataset(toy_samples())),
            WeakShotSettings(truth=True),
            whole_image,
            batch_size=4,
            seed=0,
        )


def test_a_crop_without_any_label_is_drawn_again_and_in_the_end_refused_by_name():
    samples = [image_of("a", 0, 1), image_of("b", 0, 1)]

    def void(image, label_map, rng):
        return image, np.full_like(label_map, IGNORE_INDEX), np.zeros(label_map.shape, bool)

    calls = []

    def in_the_third_draw(image, label_map, rng):
        calls.append(1)
        return (whole_image if len(calls) % 3 == 0 else void)(image, label_map, rng)

    with pytest.raises(DatasetError, match=r"piece of [ab]\.png for training: found no label in any of 50"):
        batches(samples, void)(0, 0, 4)
    assert (batches(samples, in_the_third_draw)(0, 0, 4).label_maps != IGNORE_INDEX).any()


def test_the_data_have_a_fingerprint_and_facts_and_go_to_worker_processes():
    def data(samples=None, **changes):
        settings = WeakShotSettings(**changes)
        masked_labels = MaskedLabels(ToyDataset(samples or toy_samples()), gives_truth=settings.needs_truth)
        return weak_shot_data(masked_labels, settings, whole_image, batch_size=4, seed=3, crop_facts={})

    assert data().fingerprint() == data().fingerprint()
    assert data().fingerprint() != data(presence="crop").fingerprint()
    assert data().describe()["images_with_masks"] == 7
    assert data().describe()["unseen_classes"] == ["cat", "dog", "bird"]
    assert (
        pickle.loads(pickle.dumps(data().make_batch))(0, 0, 4).sources == data().make_batch(0, 0, 4).sources
    )
    batch = next(data().batches(start_step=7, stop_step=8))
    assert torch.equal(batch.images, batches()(7, 0, 4).images)
