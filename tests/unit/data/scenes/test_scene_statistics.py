"""Numbers that settings promise, counted over thousands of scenes; tolerances are four standard errors."""

import dataclasses

import numpy as np
import pytest
import torch

from lexiseg.core.constants import IGNORE_INDEX
from lexiseg.data.scenes import SceneSettings, scene_batch, scene_vocabulary
from lexiseg.data.scenes.captions import FILLERS
from lexiseg.data.scenes.class_table import STUFFS, THINGS

pytestmark = pytest.mark.exhaustive

COUNT = 3000
PLAIN = SceneSettings(num_things=10, num_stuffs=6, min_named=0, max_named=8, min_pixels=1, overlap=0.0)


def near(share, wanted, count):
    return abs(share - wanted) <= 4 * (max(wanted * (1 - wanted), 1e-4) / count) ** 0.5


def drawn(settings):
    return scene_batch(settings, 0, 0, 0, COUNT, COUNT)


def named(batch, settings):
    """Return which classes each caption names, by whole words."""
    vocabulary = scene_vocabulary(settings)
    texts = [set(text.split()) for text in batch.captions]
    return torch.tensor([[bool(words & set(names)) for names in vocabulary.all_names()] for words in texts])


def test_captions_name_only_what_is_there():
    settings = dataclasses.replace(
        PLAIN, num_things=24, num_stuffs=12, mention_rate=1.0, synonym_rate=0.5, void_share=0.3
    )
    batch = drawn(settings)
    assert not (named(batch, settings) & ~batch.tags).any()


@pytest.mark.parametrize(("mention_rate", "stuff_mention_rate"), [(0.8, 0.4), (0.25, 0.9)])
def test_classes_are_named_as_often_as_settings_say(mention_rate, stuff_mention_rate):
    settings = dataclasses.replace(
        PLAIN,
        mention_rate=mention_rate,
        stuff_mention_rate=stuff_mention_rate,
        class_mention_rates=(("star", 0.5),),
    )
    batch = drawn(settings)
    words, tags = named(batch, settings), batch.tags
    for labels, wanted in (
        ([0, *range(2, 10)], mention_rate),
        ([1], 0.5),
        (range(10, 16), stuff_mention_rate),
    ):
        there = tags[:, list(labels)]
        share = words[:, list(labels)][there].float().mean().item()
        assert near(share, wanted, int(there.sum()))


def test_captions_name_at_least_and_at_most_so_many_and_the_largest_first():
    settings = dataclasses.replace(PLAIN, mention_rate=1.0, stuff_mention_rate=1.0, min_named=1, max_named=1)
    batch = drawn(settings)
    words = named(batch, settings)
    assert (words.sum(1) == 1).all()
    for row in range(0, COUNT, 10):
        areas = np.bincount(batch.label_maps[row].flatten().numpy(), minlength=16)
        assert areas[words[row].int().argmax()] == areas.max()
    silent = dataclasses.replace(settings, mention_rate=0.0, stuff_mention_rate=0.0)
    assert (named(drawn(silent), silent).sum(1) == 1).all()
    silent = dataclasses.replace(silent, min_named=0)
    assert not named(drawn(silent), silent).any()


@pytest.mark.parametrize("frequency", [0.5, 0.95])
def test_the_common_class_is_as_common_as_settings_say(frequency):
    settings = dataclasses.replace(PLAIN, common_class="house", common_frequency=frequency)
    share = drawn(settings).tags[:, 3].float().mean().item()
    assert near(share, frequency, COUNT)


@pytest.mark.parametrize("chance", [0.0, 0.7, 1.0])
def test_a_pair_is_together_as_often_as_settings_say(chance):
    settings = dataclasses.replace(
        PLAIN, pairs=(("star", "fish", chance),), things_per_scene=(1, 3), thing_size=(0.2, 0.3)
    )
    tags = drawn(settings).tags
    either, both = tags[:, 1] | tags[:, 5], tags[:, 1] & tags[:, 5]
    assert near(both.sum().item() / either.sum().item(), chance, int(either.sum()))
    assert (tags[:, :10].sum(1) <= 3).all()
    assert 0.8 < (tags[:, 1].sum() / tags[:, 5].sum()).item() < 1.25


def test_numbers_of_things_and_stuffs_stay_in_their_ranges_and_vary():
    settings = dataclasses.replace(
        PLAIN, things_per_scene=(2, 4), stuffs_per_scene=(1, 3), thing_size=(0.2, 0.3), common_class="person"
    )
    tags = drawn(settings).tags
    assert tags[:, :10].sum(1).unique().tolist() == [2, 3, 4]
    assert set(tags[:, 10:].sum(1).unique().tolist()) == {1, 2, 3}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.25])
def test_so_many_pixels_are_void(share):
    settings = dataclasses.replace(PLAIN, void_share=share)
    void = (drawn(settings).label_maps == IGNORE_INDEX).float().mean().item()
    assert near(void, share, COUNT * 256)  # squares of 4×4 pixels are drawn, 256 in a scene


def test_synonyms_are_used_as_often_as_settings_say_and_are_in_the_vocabulary_only_then():
    assert scene_vocabulary(PLAIN).synonyms == ((),) * 16
    settings = dataclasses.replace(PLAIN, synonym_rate=0.3, mention_rate=1.0)
    vocabulary = scene_vocabulary(settings)
    assert vocabulary.synonyms[0] == ("human",)
    words = [set(text.split()) for text in drawn(settings).captions]
    first = sum(name in text for text in words for name in vocabulary.names)
    other = sum(name in text for text in words for (name,) in vocabulary.synonyms)
    assert near(other / (first + other), 0.3, first + other)


def test_filler_words_name_no_class_and_fill_captions():
    names = {word for entry in (*THINGS, *STUFFS) for word in (entry.name, entry.synonym)}
    assert len(names) == 72
    assert not names & FILLERS
    bare = dataclasses.replace(PLAIN, caption_prefix="none", adjective_rate=0.0, closing_rate=0.0)
    rich = dataclasses.replace(PLAIN, adjective_rate=1.0, closing_rate=1.0)
    lengths = [np.mean([len(text.split()) for text in drawn(settings).captions]) for settings in (bare, rich)]
    assert lengths[1] > lengths[0] + 6
    words = {word for text in drawn(rich).captions for word in text.split()}
    assert words <= FILLERS | names | {"one", "more", "view", "the", "usual", "a", "nice", "afternoon"}


def test_every_class_is_drawn_about_equally_often():
    shares = drawn(PLAIN).tags.float().mean(0)
    assert (shares[:10].max() / shares[:10].min()).item() < 1.25
    assert (shares[10:].max() / shares[10:].min()).item() < 1.25


def test_a_colour_alone_does_not_name_a_thing():
    # Nearest mean colour inside the true mask: far above chance (1 in 24), far below what a person sees.
    settings = SceneSettings(num_things=24)
    means, labels = [], []
    batch = scene_batch(settings, 0, 0, 0, 1500, 1500, captions=False)
    pixels = batch.images.permute(0, 2, 3, 1).numpy()
    for image, label_map in zip(pixels, batch.label_maps.numpy(), strict=True):
        for label in np.unique(label_map[label_map < 24]):
            means.append(image[label_map == label].mean(0))
            labels.append(label)
    colours, wanted = np.array(means), np.array(labels)
    half = len(wanted) // 2
    centres = np.array([colours[:half][wanted[:half] == label].mean(0) for label in range(24)])
    guessed = ((colours[half:, None] - centres) ** 2).sum(2).argmin(1)
    assert 0.1 < (guessed == wanted[half:]).mean() < 0.4
