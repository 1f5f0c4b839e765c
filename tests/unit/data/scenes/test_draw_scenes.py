import dataclasses
import hashlib
import pickle

import numpy as np
import pytest
import torch

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.core.errors import InputError
from lexiseg.data.captions.word_prompts import WordListTagger, WordPrompts
from lexiseg.data.scenes import (
    SceneDataset,
    SceneSettings,
    draw_scene,
    scene_batch,
    scene_training_data,
    scene_vocabulary,
)
from lexiseg.data.scenes.draw import FIRST_EVALUATION_SEED
from lexiseg.data.scenes.settings import PRESETS, weak_shot_scenes

RICH = SceneSettings(
    num_things=24, num_stuffs=12, things_per_scene=(1, 5), stuffs_per_scene=(1, 3), void_share=0.02
)


def corrupt(caption, seed):
    return f"{seed % 1000} {caption}"


def same(first, second):
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.label_maps, second.label_maps)
    assert torch.equal(first.tags, second.tags)
    assert first.captions == second.captions
    assert first.sources == second.sources


def test_a_scene_is_the_same_however_the_batch_is_cut():
    whole = scene_batch(RICH, 3, 2, 0, 12, 12)
    for start, stop in ((0, 5), (5, 12), (11, 12), (2, 8)):
        same(whole.part(start, stop), scene_batch(RICH, 3, 2, start, stop, 12))
    same(whole.part(0, 6), scene_batch(RICH, 3, 4, 0, 6, 6))


def test_one_scene_is_the_row_of_a_batch():
    batch = scene_batch(RICH, 5, 1, 0, 8, 8)
    for row in (7, 0, 3):
        sample = draw_scene(RICH, 5, 8 + row)
        assert np.array_equal(sample.image, batch.images[row].permute(1, 2, 0).numpy())
        assert np.array_equal(sample.label_map, batch.label_maps[row].numpy())
        assert sample.tags == frozenset(batch.tags[row].nonzero().flatten().tolist())
        assert sample.captions == (batch.captions[row],)
        assert str(sample.source) == batch.sources[row] == f"scene-5-{8 + row}"


def test_scenes_are_those_of_other_machines():
    # Written down once: a change of scenes is a change of WORLD_VERSION and of every number reported on them.
    digest = hashlib.sha256()
    batch = scene_batch(RICH, 0, 0, 0, 16, 16)
    for part in (batch.images.numpy(), batch.label_maps.numpy(), "|".join(batch.captions).encode()):
        digest.update(part)
    assert digest.hexdigest()[:16] == "8289e50ddf8e3550"


def test_other_seeds_and_indices_give_other_scenes():
    images = [draw_scene(RICH, seed, index).image.tobytes() for seed in range(4) for index in range(4)]
    assert len(set(images)) == 16


def test_words_and_image_are_drawn_apart():
    talkative = dataclasses.replace(RICH, adjective_rate=1.0, mention_rate=0.1, captions_per_scene=3)
    plain, other = draw_scene(RICH, 1, 1), draw_scene(talkative, 1, 1)
    assert np.array_equal(plain.image, other.image)
    assert len(other.captions) == 3


def test_tags_are_the_classes_of_the_label_map_and_none_is_a_sliver():
    settings = dataclasses.replace(RICH, overlap=1.0, min_pixels=30)
    for index in range(60):
        sample = draw_scene(settings, 0, index)
        labels, counts = np.unique(sample.label_map, return_counts=True)
        there = dict(zip(labels.tolist(), counts.tolist(), strict=True))
        there.pop(IGNORE_INDEX, None)
        assert sample.tags == frozenset(there)
        assert min(there.values()) >= 30


def test_the_mask_is_where_the_thing_was_painted():
    # The same scene, once with things and once without: stuffs are drawn from streams of their own.
    bare = dataclasses.replace(RICH, things_per_scene=(0, 0), void_share=0.0, min_pixels=1, noise=0.0)
    full = dataclasses.replace(bare, things_per_scene=(1, 1))
    disagreeing = 0
    for index in range(40):
        with_thing, without = draw_scene(full, 0, index), draw_scene(bare, 0, index)
        if with_thing.tags.isdisjoint(range(24)):
            continue
        masked = with_thing.label_map < 24
        changed = (with_thing.image != without.image).any(2)
        assert not (masked & ~changed).sum() > 0.05 * masked.sum()
        disagreeing += int(
            (changed & ~masked).sum() > masked.sum()
        )  # only pixels of the rim, under half covered
    assert disagreeing == 0


def test_background_and_void_stuffs_are_neither_tags_nor_words():
    background = dataclasses.replace(RICH, stuff_as="background", void_share=0.0)
    vocabulary = scene_vocabulary(background)
    assert vocabulary.names[:2] == ("background", "person")
    assert vocabulary.background == 0
    assert len(vocabulary) == 25
    for index in range(20):
        sample = draw_scene(background, 0, index)
        assert (sample.label_map == 0).any()
        assert 0 not in sample.tags
        assert "background" not in " ".join(sample.captions)
    void = draw_scene(dataclasses.replace(background, stuff_as="void"), 0, 3)
    assert (void.label_map == IGNORE_INDEX).any()
    assert max(void.tags) < 24


def test_unseen_classes_are_hidden_labelled_or_absent_in_training_only():
    settings = weak_shot_scenes()
    vocabulary = scene_vocabulary(settings)
    unseen = set(range(len(vocabulary))) - vocabulary.seen
    assert {vocabulary.names[label] for label in unseen} == {"fish", "tree", "sand"}
    held = torch.tensor(sorted(unseen))
    hidden = scene_batch(settings, 0, 0, 0, 100, 100, training=True)
    shown = scene_batch(settings, 0, 0, 0, 100, 100)
    assert not torch.isin(hidden.label_maps, held).any()
    assert torch.isin(shown.label_maps, held).any()
    assert torch.equal(hidden.tags, shown.tags)
    assert hidden.tags[:, held].any(0).all()
    assert torch.equal(hidden.images, shown.images)
    seen_pixels = hidden.label_maps != IGNORE_INDEX
    assert torch.equal(hidden.label_maps[seen_pixels], shown.label_maps[seen_pixels])
    absent = dataclasses.replace(settings, unseen_in_training="absent", pairs=())
    batch = scene_batch(absent, 0, 0, 0, 200, 200, training=True)
    assert not batch.tags[:, held].any()
    assert not any(word in " ".join(batch.captions) for word in ("fish", "tree", "sand"))
    labelled = dataclasses.replace(settings, unseen_in_training="labelled")
    assert torch.equal(scene_batch(labelled, 0, 0, 0, 100, 100, training=True).label_maps, shown.label_maps)


def test_larger_shares_of_unseen_classes_contain_smaller_ones():
    before = set()
    for share in (0.1, 0.25, 0.5, 0.75):
        vocabulary = scene_vocabulary(dataclasses.replace(RICH, unseen_share=share))
        unseen = set(range(36)) - vocabulary.seen
        assert len(unseen) == round(36 * share)
        assert before <= unseen
        before = unseen


def test_training_data_is_a_function_of_the_step_and_crosses_processes():
    data = scene_training_data(RICH, seed=1, batch_size=6, label_maps=True, tags=True, corruption=corrupt)
    again = pickle.loads(pickle.dumps(data))
    steps = list(data.batches(start_step=0, stop_step=3))
    same(steps[2], next(again.batches(start_step=2, stop_step=3)))
    same(steps[2].part(3, 6), next(data.batches(start_step=2, stop_step=3, rank=1, world_size=2)))
    (worked,) = data.batches(start_step=1, stop_step=2, num_workers=1)
    same(steps[1], worked)
    plain = scene_batch(RICH, 1, 0, 0, 6, 6, training=True)
    assert [text.partition(" ")[2] for text in steps[0].captions] == list(plain.captions)
    assert len({text.partition(" ")[0] for text in steps[0].captions}) > 3


def test_word_prompts_are_made_of_each_scene_s_caption_wherever_the_row_is_drawn():
    prompts = WordPrompts(tagger=WordListTagger(scene_vocabulary(RICH).names))
    data = scene_training_data(RICH, seed=1, batch_size=6, word_prompts=prompts)
    (batch,) = data.batches(start_step=1, stop_step=2)
    (half,) = data.batches(start_step=1, stop_step=2, rank=1, world_size=2)
    assert batch.word_prompts[3:] == half.word_prompts
    for caption, sentences in zip(batch.captions, batch.word_prompts, strict=True):
        assert len(sentences) == 3
        named = prompts.tagger.words(caption)
        assert sentences.count(caption) == max(0, 3 - len(named))
        assert all(any(word in text for word in named) for text in sentences if text != caption)
    plain = scene_training_data(RICH, seed=1, batch_size=6)
    assert torch.equal(next(plain.batches(start_step=1, stop_step=2)).images, batch.images)
    assert plain.fingerprint() != data.fingerprint()


def test_batches_hold_only_what_was_asked_for():
    (batch,) = scene_training_data(RICH, seed=1, batch_size=2).batches(start_step=0, stop_step=1)
    assert batch.label_maps is None
    assert batch.tags is None
    assert len(batch.captions) == 2


def test_the_fingerprint_follows_settings_seed_and_size_of_the_batch():
    prints = [
        scene_training_data(settings, seed=seed, batch_size=size, tags=tags).fingerprint()
        for settings, seed, size, tags in (
            (RICH, 0, 4, False), (RICH, 1, 4, False), (RICH, 0, 8, False), (RICH, 0, 4, True),
            (dataclasses.replace(RICH, mention_rate=0.5), 0, 4, False),
        )
    ]  # fmt: skip
    assert len(set(prints)) == 5
    assert prints[0] == scene_training_data(RICH, seed=0, batch_size=4).fingerprint()


def test_scenes_to_evaluate_on_are_never_those_of_training():
    dataset = SceneDataset(RICH, 5)
    assert len(dataset) == 5
    assert dataset.seed >= FIRST_EVALUATION_SEED
    assert np.array_equal(dataset[-1].image, dataset[4].image)
    assert [str(sample.source) for sample in dataset] == dataset.stems
    with pytest.raises(IndexError):
        dataset[5]
    assert dataset.fingerprint() != SceneDataset(RICH, 5, seed=1).fingerprint()
    assert dataset.fingerprint() == SceneDataset(RICH, 5).fingerprint()
    with pytest.raises(
        InputError, match=r"the seed 1099511627776; expected a whole number from 0 to 2\*\*40 - 1"
    ):
        scene_training_data(RICH, seed=FIRST_EVALUATION_SEED, batch_size=2)
    with pytest.raises(InputError, match="found 0 scenes of seed 0; expected 1 or more"):
        SceneDataset(RICH, 0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_draws_all_its_classes(name):
    settings = PRESETS[name]()
    batch = scene_batch(settings, 0, 0, 0, 300, 300)
    background = scene_vocabulary(settings).background
    drawn = batch.tags.any(0)
    assert all(drawn[label] or label == background for label in range(len(drawn)))
    assert set(batch.tags.sum(1).tolist()) <= {1, 2, 3, 4, 5}


@pytest.mark.parametrize("size", [32, 100, 128])
def test_other_sizes_tile_the_whole_image(size):
    batch = scene_batch(dataclasses.replace(RICH, size=size, void_share=0.0, min_pixels=1), 0, 0, 0, 6, 6)
    assert batch.images.shape == (6, 3, size, size)
    assert (batch.label_maps < 36).all()
